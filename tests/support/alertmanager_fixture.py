"""A real Alertmanager for tests, alone (no cluster), on a free port, with a storage of its own.

::

    with start_alertmanager("route: {receiver: nobody}\\nreceivers: [{name: nobody}]") as alertmanager:
        alertmanager.url
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from sloctl.demo.programs import ChildProcess

SILENT = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
"""A configuration that tells nobody."""


def alertmanager_program() -> str:
    """Its path; Debian calls it ``prometheus-alertmanager``. Skips the test without it, but fails it in CI."""
    for name in ("alertmanager", "prometheus-alertmanager"):
        if found := shutil.which(name):
            return found
    reason = (
        "the program alertmanager is not on PATH (Debian, Ubuntu: apt-get install prometheus-alertmanager)"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class AlertmanagerServer:
    """A running one; ``stop`` ends it and removes its storage, and may be called twice."""

    def __init__(self, config_text: str, *flags: str) -> None:
        program = alertmanager_program()
        self._folder = tempfile.TemporaryDirectory(prefix="alertmanager-")
        folder = Path(self._folder.name)
        (folder / "alertmanager.yml").write_text(config_text, encoding="utf-8")
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log"
        command = [
            program,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{port}",
            *flags,
        ]
        self._process = ChildProcess(command, log=self.log)
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._process.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.exit_code is None:
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{self.url}/-/ready"),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError(f"Alertmanager is not ready:\n{self.log.read_text()}")


def start_alertmanager(config_text: str = SILENT, *flags: str) -> AlertmanagerServer:
    """A ready Alertmanager with this configuration."""
    return AlertmanagerServer(config_text, *flags)
