"""A real Prometheus over a TSDB made from OpenMetrics text, for the adapter's tests."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MISSING = [program for program in ("prometheus", "promtool") if shutil.which(program) is None]


@contextlib.contextmanager
def running_prometheus(folder: Path, openmetrics: str, *flags: str, config: str = "") -> Iterator[str]:
    """The address of a Prometheus that holds the samples of ``openmetrics`` and answers queries."""
    samples, tsdb = folder / "samples.om", folder / "tsdb"
    samples.write_text(openmetrics)
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=720h", samples, tsdb],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (folder / "prometheus.yml").write_text(config or "global: {}\n")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={tsdb}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *flags,
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _await_ready(url, process, folder / "log")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/-/ready"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus is not ready:\n{log.read_text()}")
