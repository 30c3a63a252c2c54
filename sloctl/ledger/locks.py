"""Locks that processes and machines hold against each other, as rows with a lease.

A lease is renewed by a thread of its process. That its process is gone is known at once on the same machine, and by
the lease's end elsewhere. Whoever loses a lease without knowing does no harm: all writes to the ledger can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.errors import BackendError
from sloctl.ledger.database import Database
from sloctl.ledger.protocol import AHEAD
from sloctl.ledger.schema import locks


def clock(connection: Connection, local: Callable[[], float] = time.time) -> float:
    """The time that all who use this database agree on: PostgreSQL's own, or this machine's."""
    if connection.dialect.name == "sqlite":
        return local()
    return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


@contextlib.contextmanager
def hold(
    database: Database, name: str, lease: float, *, local: Callable[[], float] = time.time
) -> Iterator[bool]:
    """See :meth:`sloctl.ledger.protocol.Ledger.lock`. ``local`` is this machine's clock."""
    owner = new_owner()
    if not database.write(lambda connection: _acquire(connection, name, owner, lease, local)):
        yield False
        return
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease / 3):
            with contextlib.suppress(BackendError):  # a database that restarts: try again
                if not database.write(lambda connection: _renew(connection, name, owner, lease, local)):
                    return

    heart = threading.Thread(target=beat, name=f"lease of {name}", daemon=True)
    heart.start()
    try:
        yield True
    finally:
        done.set()
        heart.join(1)
        with contextlib.suppress(BackendError):  # then the lease ends by itself
            database.write(
                lambda connection: connection.execute(
                    locks.delete().where(locks.c.name == name, locks.c.owner == owner)
                )
            )


def held(connection: Connection) -> list[tuple[str, str, float]]:
    """Name, machine and process, and the time of acquiring, of each lock that is held."""
    now = clock(connection)
    rows = connection.execute(sa.select(locks).order_by(locks.c.name)).all()
    found = []
    for row in rows:
        if not _void(row, now):
            parts = _parts(row.owner)
            found.append((row.name, f"{parts[0]}, process {parts[3]}" if parts else row.owner, row.acquired))
    return found


def _acquire(connection: Connection, name: str, owner: str, lease: float, local: Callable[[], float]) -> bool:
    query = sa.select(locks).where(locks.c.name == name).with_for_update()
    row = connection.execute(query).one_or_none()
    now = clock(connection, local)
    values = {"owner": owner, "acquired": now, "renewed": now, "expires": now + lease}
    if row is None:
        # A second one who inserts at the same moment fails by the key, is called again, and finds the row.
        connection.execute(locks.insert().values(name=name, **values))
        return True
    if not _void(row, now):
        return False
    taken = connection.execute(
        locks.update().where(locks.c.name == name, locks.c.owner == row.owner).values(**values)
    )
    return taken.rowcount == 1


def _renew(connection: Connection, name: str, owner: str, lease: float, local: Callable[[], float]) -> bool:
    now = clock(connection, local)
    mine = locks.update().where(locks.c.name == name, locks.c.owner == owner)
    return connection.execute(mine.values(renewed=now, expires=now + lease)).rowcount == 1


def _void(row: sa.Row[tuple[object, ...]], now: float) -> bool:
    return row.expires <= now or row.renewed > now + AHEAD or gone(row.owner)


def new_owner() -> str:
    """A name for something that this process does, which no other has."""
    return f"{_process(os.getpid())}:{uuid.uuid4().hex}"


def _process(pid: int) -> str:
    """A process among all of all machines: host, boot, namespace of process ids, id, and its start."""
    host = re.sub(r"[^\w.-]", "_", socket.gethostname()) or "_"
    return f"{host}:{_boot()}:{_namespace()}:{pid}:{_start(pid)}"


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    return ""


def _start(pid: int) -> str:
    """When a process started, in ticks since the boot; ``-`` if it has ended, empty where that cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "-" if fields[0] in "ZX" else fields[19]


def _parts(owner: str) -> list[str] | None:
    """Host, boot, namespace, process id, start and a random text."""
    parts = owner.split(":")
    return parts if len(parts) == 6 and parts[3].isdecimal() else None


def gone(owner: str) -> bool:
    """Whether an owner is a process of this machine that does not live; False where nobody can know."""
    parts = _parts(owner)
    if parts is None:
        return False
    pid = int(parts[3])
    now = _process(pid).split(":")
    if parts[:3] != now[:3]:
        return False
    return not _exists(pid) or bool(now[4] and parts[4] and now[4] != parts[4])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
