"""A real PostgreSQL of the tests' own: a cluster in a temporary folder, and a fresh database for each test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "not-a-secret:@/"  # with what an address must escape
_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
)


def program(name: str) -> str | None:
    """Where a program of PostgreSQL's server is: Debian keeps them off PATH, by version."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    versioned = sorted(folders, key=lambda folder: int(folder.parent.name.split(".")[0]))
    found = [str(folder / name) for folder in versioned if (folder / name).exists()]
    return found[-1] if found else shutil.which(name)


@dataclass
class Cluster:
    """A server on 127.0.0.1 and a Unix socket, both of this test run alone."""

    folder: Path
    safe: bool = False
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _databases: int = field(default=0)

    def create(self) -> None:
        """Make the cluster's files."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, *_unprivileged())
        else:
            self.folder.chmod(0o700)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            *("initdb", "-D", str(self.folder / "data"), "-U", "sloctl", "-E", "UTF8", "--locale=C.UTF-8"),
            *("--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--no-instructions"),
        )
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]

    def start(self) -> None:
        """Start, and return once it answers."""
        settings = ["shared_buffers=64MB", "max_connections=60", "log_min_messages=warning"]
        settings += [] if self.safe else _FAST
        command = [
            *(
                _required("postgres"),
                "-D",
                str(self.folder / "data"),
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
            ),
            *("-k", str(self.folder)),
            *(part for setting in settings for part in ("-c", setting)),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_with_us,
                **_user(),
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url()):
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL does not answer:\n{(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """Stop, cutting off who is connected; the files are whole."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash of the machine would: nothing is written any more."""
        if self._process is not None:
            # The server's helpers have sessions of their own; they end when they miss their parent.
            self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Crash, and come back."""
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None

    def url(self, database: str = "postgres", *, password: str = PASSWORD, user: str = "sloctl") -> str:
        """The address of a database, as psycopg and sloctl understand it."""
        from urllib.parse import quote

        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """The address of a database over the Unix socket."""
        from urllib.parse import quote

        return (
            f"postgresql://sloctl:{quote(PASSWORD, safe='')}@/{database}?host={self.folder}&port={self.port}"
        )

    def new_database(self, template: str = "template0") -> str:
        """The address of a fresh copy of ``template``."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the owner of everything."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def drop(self, url: str) -> None:
        """Remove the database of an address."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [_required(name), *arguments], capture_output=True, text=True, cwd=self.folder, **_user()
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}{done.stdout}")


@contextlib.contextmanager
def running_cluster(*, safe: bool = False) -> Iterator[Cluster]:
    """A cluster for the length of the context; ``safe``: one that keeps its promises when it is killed."""
    _required("initdb"), _required("postgres")
    # Not pytest's folder, which other users may not enter; a short path, for that of a Unix socket is limited.
    folder = Path(tempfile.mkdtemp(prefix="sloctl-pg-", dir="/tmp"))
    cluster = Cluster(folder, safe=safe)
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _with_us() -> None:
    """Have the server shut down when the process of the tests is gone, however it ended."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _required(name: str) -> str:
    found = program(name)
    if found is None:
        pytest.skip(f"{name} of PostgreSQL is not installed")
    return found


def _unprivileged() -> tuple[int, int]:
    """Who the server runs as where the tests run as root, as which PostgreSQL refuses to run."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    pytest.skip("there is no user that PostgreSQL could run as")


def _user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user, group = _unprivileged()
    return {"user": user, "group": group, "extra_groups": []}
