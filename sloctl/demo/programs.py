"""Finds foreign programs (``prometheus``, ``promtool``, …), and keeps none of them as an orphan.

Knows how to find, install and end a process; it must not know what the process serves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from sloctl.errors import UsageError
from sloctl.settings.variables import environment

_PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
_OTHER_NAMES = {"alertmanager": "prometheus-alertmanager"}
"""What Debian calls a program that has another name elsewhere."""
_DOWNLOADS = "https://prometheus.io/download/"
_NO_SERVICES = Path("/usr/sbin/policy-rc.d")
"""While this script exists and exits 101, Debian's packages do not start the services they install."""


def find_program(name: str, *, install: bool = False) -> Path:
    """The path of ``prometheus``, ``promtool``, ``alertmanager`` or ``amtool``.

    It is looked up on PATH. With ``install``, and only as root on a system with apt-get, a missing one is
    installed from the distribution, without starting its service.

    Raises UsageError with what to install when it cannot be had.
    """
    found = _on_path(name)
    if found is None and install and _can_install():
        _apt_install(_PACKAGES.get(name, name))
        found = _on_path(name)
    if found is None:
        package = _PACKAGES.get(name, name)
        raise UsageError(
            f"the program {name} is not on PATH",
            hint=f"install it: apt-get install {package}, brew install {package}, or {_DOWNLOADS}",
        )
    return Path(found)


def _on_path(name: str) -> str | None:
    return shutil.which(name) or shutil.which(_OTHER_NAMES.get(name, name))


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def _apt_install(package: str) -> None:
    variables = {**environment(), "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
    with _services_stay_down():
        for attempt in (command, ["apt-get", "update", "-q"], command):
            done = subprocess.run(attempt, env=variables, capture_output=True, text=True, check=False)
            if attempt is command and done.returncode == 0:
                return
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    raise UsageError(f"apt-get could not install {package}: {last}", hint=f"download it from {_DOWNLOADS}")


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    ours = not _NO_SERVICES.exists()
    if ours:
        _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        _NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _NO_SERVICES.unlink(missing_ok=True)


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """What a Ctrl-C or a termination raises is raised at the end: a child cannot be started and not be known of."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)


class ChildProcess:
    """A process in a session of its own that ends with us, however we end.

    A Ctrl-C at the terminal does not reach it, so that we decide when it ends; and if we are killed, a
    guard (a shell that waits for the end of a pipe which only we hold) ends its process group.
    """

    def __init__(self, command: list[str], *, log: Path, directory: Path | None = None) -> None:
        """Start ``command``; both its output streams are appended to the file ``log``."""
        self._guard: subprocess.Popen[bytes] | None = None
        try:
            with _signals_later(), log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    start_new_session=True,
                )
                self._guard = subprocess.Popen(
                    [
                        "/bin/sh",
                        "-c",
                        'read -r line || kill -s TERM -- "-$1"',
                        "guard",
                        str(self._process.pid),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except BaseException:
            if hasattr(self, "_process"):
                self.stop(grace=0.0)
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end; gives its exit code."""
        return self._process.wait()

    def stop(self, grace: float = 15.0) -> None:
        """SIGTERM to its group, then SIGKILL after ``grace`` seconds; does nothing when it is gone."""
        try:
            self._end(grace)
        finally:
            if self._guard is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._guard.communicate(b"done\n")

    def _end(self, grace: float) -> None:
        if self._process.poll() is not None:
            return
        try:
            self._signal(signal.SIGTERM)
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a second Ctrl-C ends the wait
            if self._process.poll() is None:
                self._signal(signal.SIGKILL)
                self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
