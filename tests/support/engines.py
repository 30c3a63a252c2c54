"""Engines besides the Prometheus on PATH: VictoriaMetrics with vmalert, Prometheus 3, and Thanos.

``scripts/install-tools engines`` builds them, where there is ``go``, in the versions that stand here.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.cache import cache_root
from sloctl.demo.mesh.web import free_ports
from sloctl.demo.programs import ChildProcess
from sloctl.errors import UsageError

MODULES = {
    "github.com/VictoriaMetrics/VictoriaMetrics@v1.140.0": ("victoria-metrics", "vmalert", "vmalert-tool"),
    "github.com/prometheus/prometheus@v0.316.0": ("prometheus", "promtool"),
    "github.com/thanos-io/thanos@v0.36.1": ("thanos",),
}
"""Go modules, read by scripts/install-tools too: one a line, with its programs. v0.316.0 is Prometheus 3.16.0."""


def find_engine(program: str) -> Path:
    """One of the programs above. Raises UsageError, for which a test is skipped, where it is not."""
    [module] = [module for module, programs in MODULES.items() if program in programs]
    built = cache_root(os.environ) / "engines" / module.rpartition("/")[2] / program
    if built.exists():
        return built
    # Prometheus on PATH is of any version.
    found = None if "prometheus@" in module else shutil.which(program)
    if found is None:
        raise UsageError(
            f"the program {program} of {module} is not on PATH", hint="scripts/install-tools engines"
        )
    return Path(found)


@contextmanager
def running_victoria_metrics(folder: Path, series: Iterable[SampledSeries]) -> Iterator[str]:
    """The address of a VictoriaMetrics that holds some series and answers queries."""
    program = find_engine("victoria-metrics")
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [str(program), f"-storageDataPath={folder / 'data'}", f"-httpListenAddr={address}"]
    log = folder / "victoria-metrics.log"
    child = ChildProcess([*command, "-retentionPeriod=100y", "-loggerLevel=ERROR"], log=log)
    try:
        _ready(f"http://{address}/health", child, log)
        lines = (
            json.dumps(
                {"metric": one.labels, "values": one.values.tolist(), "timestamps": one.timestamps.tolist()}
            )
            for one in series
        )
        _send(f"http://{address}/api/v1/import", "\n".join(lines).encode())
        _send(f"http://{address}/internal/force_flush")
        yield f"http://{address}"
    finally:
        child.stop()


@contextmanager
def running_thanos(folder: Path, prometheus: Sequence[str], *flags: str) -> Iterator[str]:
    """The address of a Thanos Querier with these flags over some servers of Prometheus, each behind a sidecar."""
    program = find_engine("thanos")
    grpc, web = free_ports(len(prometheus)), free_ports(len(prometheus) + 1)
    folder.mkdir()
    log = folder / "thanos.log"
    with ExitStack() as stack:
        for url, store, port in zip(prometheus, grpc, web[1:], strict=True):
            own = [f"--grpc-address=127.0.0.1:{store}", f"--http-address=127.0.0.1:{port}"]
            sidecar = ChildProcess([str(program), "sidecar", f"--prometheus.url={url}", *own], log=log)
            stack.enter_context(sidecar)
            _ready(f"http://127.0.0.1:{port}/-/ready", sidecar, log)
        [spare] = free_ports(1)
        command = [
            str(program),
            "query",
            f"--http-address=127.0.0.1:{web[0]}",
            f"--grpc-address=127.0.0.1:{spare}",
        ]
        stores = [f"--endpoint-strict=127.0.0.1:{store}" for store in grpc]
        querier = stack.enter_context(ChildProcess([*command, *stores, *flags], log=log))
        address = f"http://127.0.0.1:{web[0]}"
        _ready(f"{address}/-/ready", querier, log)
        deadline = time.monotonic() + 60
        while _stores(address) < len(prometheus) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield address


def _stores(address: str) -> int:
    """How many sidecars a Querier has found, which know their labels."""
    with urllib.request.urlopen(f"{address}/api/v1/stores") as answer:
        found = json.load(answer)["data"].get("sidecar", [])
    return sum(1 for store in found if store["labelSets"] and not store["lastError"])


def _send(url: str, body: bytes | None = None) -> None:
    with urllib.request.urlopen(url, body):
        pass


def _ready(url: str, child: ChildProcess, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.exit_code is None:
        with suppress(urllib.error.URLError, OSError):
            return _send(url)
        time.sleep(0.05)
    raise RuntimeError(f"It is not ready:\n{log.read_text()}")
