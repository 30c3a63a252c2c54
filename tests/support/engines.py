"""Engines besides the Prometheus on PATH: VictoriaMetrics with vmalert, and Prometheus 3.

``scripts/install-tools engines`` builds them, where there is ``go``, in the versions that stand here.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.cache import cache_root
from sloctl.demo.mesh.web import free_ports
from sloctl.demo.programs import ChildProcess
from sloctl.errors import UsageError

MODULES = {
    "github.com/VictoriaMetrics/VictoriaMetrics@v1.140.0": ("victoria-metrics", "vmalert", "vmalert-tool"),
    "github.com/prometheus/prometheus@v0.316.0": ("prometheus", "promtool"),
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


def _send(url: str, body: bytes | None = None) -> None:
    with urllib.request.urlopen(url, body):
        pass


def _ready(url: str, child: ChildProcess, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.exit_code is None:
        with suppress(urllib.error.URLError, OSError):
            return _send(url)
        time.sleep(0.05)
    raise RuntimeError(f"VictoriaMetrics is not ready:\n{log.read_text()}")
