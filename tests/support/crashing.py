"""A PostgreSQL that dies as on a machine without power, or finds its disk full; a proxy that cuts answers off."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.postgres import Cluster, _required


@dataclass
class CrashingCluster(Cluster):
    """A cluster that keeps its promises, however it ends.

    Its write-ahead log is in small files, so that a limit of the size of files is met by tables first.
    """

    safe: bool = True

    def crash(self) -> None:
        """SIGKILL to the server and to all of its processes at once."""
        assert self._process is not None
        family = [self._process.pid, *_children(self._process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(20)
        self._process = None
        deadline = time.monotonic() + 20
        while any(_alive(pid) for pid in family[1:]):
            assert time.monotonic() < deadline, "a process of PostgreSQL does not die"
            time.sleep(0.01)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """The kernel lets no file of the server grow beyond a segment of its log."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.stop()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
        try:
            self.start()  # which hands the limit on
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        try:
            yield
        finally:
            self.stop()
            self.start()

    def _run(self, name: str, *arguments: str) -> None:
        super()._run(name, *arguments, *(("--wal-segsize=1",) if name == "initdb" else ()))


@contextlib.contextmanager
def running_crashing_cluster() -> Iterator[CrashingCluster]:
    """A cluster for the length of the context. Skips without programs."""
    _required("initdb"), _required("postgres")
    folder = Path(tempfile.mkdtemp(prefix="sloctl-pg-", dir="/tmp"))
    cluster = CrashingCluster(folder)
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def broken_proxy(url: str, most: Callable[[], int]) -> Iterator[str]:
    """The address of a proxy before a server that breaks each connection off after ``most()`` bytes of answers."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    thread = threading.Thread(
                        target=_relay, args=(client, parts.hostname, parts.port, most())
                    )
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _relay(client: socket.socket, host: str, port: int, most: int) -> None:
    with client, socket.create_connection((host, port)) as server:

        def forward() -> None:
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)

        asking = threading.Thread(target=forward)
        asking.start()
        left = most
        with contextlib.suppress(OSError):
            while left > 0 and (data := server.recv(min(left, 65536))):
                client.sendall(data)
                left -= len(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        asking.join()
