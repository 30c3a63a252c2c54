"""The connection to the ledger's database: transactions, migrations, and errors that a user can act on.

Every exception of SQLAlchemy and of the drivers ends here. SQLite is opened with a write-ahead log, so that a long
export keeps no run from recording, and full synchronisation, so that what is recorded survives a crash; a writer takes
its lock at the beginning of a transaction, so that two of them wait for each other and never fail half-way. A file that
is made is its owner's alone; one that may be read and not written can be read.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc, text
from sqlalchemy.engine import URL, Connection, make_url

from sloctl import extras
from sloctl.errors import (
    BackendError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    SloctlError,
    UsageError,
)
from sloctl.ledger.damage import cut_off, damage, too_small
from sloctl.settings.secret import Secret

T = TypeVar("T")

HEAD = "0004"
"""The newest migration in ``migrations/versions``; a test holds it."""
BUSY = 30.0
"""Seconds that a writer waits for another one in SQLite."""
_ATTEMPTS = 4
_REFUSED = (
    r"password authentication|no password supplied|permission denied|pg_hba|role .* does not exist|"
    r"database .* does not exist|certificate"
)
_FORMS = "sqlite:////var/lib/sloctl/ledger.db or postgresql://user@host/database"


class Database:
    """A database of the ledger, with its newest schema.

    ``sleep``, and ``busy`` (seconds that a writer waits for another one in SQLite), are for tests. Raises UsageError
    for an address that cannot be one, a file that is no database, or a schema of a later sloctl; BackendError where
    the database cannot be reached.
    """

    def __init__(
        self, url: Secret, *, sleep: Callable[[float], object] = time.sleep, busy: float = BUSY
    ) -> None:
        self._sleep = sleep
        self._busy = busy
        parsed = _parse(url.reveal())
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.name = _shown(parsed)
        # Of a connection that the system refuses, such as one file too many.
        system = () if self.sqlite else (OSError,)
        self._faults = (exc.DBAPIError, exc.TimeoutError, sqlite3.Error, *system)
        self._read_only = self.sqlite and not _writable(parsed)
        options: dict[str, Any] = {"pool_pre_ping": not self.sqlite, "pool_size": 4, "max_overflow": 8}
        if not self.sqlite:
            options["connect_args"] = {
                "connect_timeout": 10,
                "application_name": "sloctl",
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            }
        elif parsed.database in (None, "", ":memory:"):
            raise UsageError("a ledger in memory would be lost", hint=f"give an address such as {_FORMS}")
        else:
            options["connect_args"] = {"timeout": busy, "check_same_thread": False}
            if self._read_only:
                address = _read_only_address(Path(str(parsed.database)))
                options["creator"] = lambda: sqlite3.connect(
                    address, uri=True, timeout=busy, check_same_thread=False
                )
        try:
            with extras.needed("postgres", "a ledger in PostgreSQL"):
                self._engine = sa.create_engine(parsed, **options)  # imports the driver
        except (exc.ArgumentError, ValueError):
            raise UsageError("the ledger's address is not one", hint=f"write {_FORMS}") from None
        if self.sqlite:
            sa.event.listen(self._engine, "connect", _on_connect)
            sa.event.listen(self._engine, "begin", _on_begin)
            sa.event.listen(self._engine, "checkout", _same_file(str(parsed.database)))
        try:
            if self.sqlite and too_small(Path(str(parsed.database))):
                raise self._no_ledger()
            if self.sqlite and (missing := cut_off(Path(str(parsed.database)))):
                raise self._error(sqlite3.DatabaseError(f"the file is corrupt: {missing}"))
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self._engine.dispose()

    @property
    def engine(self) -> sa.Engine:
        """For migrations and tests."""
        return self._engine

    def write(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives, in a transaction that happens wholly or not at all.

        It may be called again after a lost connection or a conflict, so it must have no other effect. Raises
        BackendError, and UsageError where the ledger can be read alone.
        """
        if self._read_only:
            raise UsageError(
                f"{self.name}: the ledger cannot be written", hint="its file and folder must be writable"
            )
        return self._run(work, write=True)

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives, on one consistent state of the data. Raises BackendError."""
        return self._run(work, write=False)

    def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._engine.connect() as connection:
                    if not self.sqlite and not write:
                        connection = connection.execution_options(
                            isolation_level="REPEATABLE READ", postgresql_readonly=True
                        )
                    elif self.sqlite:
                        connection = connection.execution_options(sloctl_write=write)
                    with connection.begin():
                        return work(connection)
            except self._faults as error:
                if attempt == _ATTEMPTS or not _passing(error):
                    raise self._error(error) from error
            except (SloctlError, MemoryError, OSError):
                raise
            except Exception as error:
                if found := self._damage():
                    raise self._error(sqlite3.DatabaseError(f"the file is corrupt: {found}")) from error
                raise
            self._sleep(0.2 * 4**attempt / 4)
        raise AssertionError("unreachable")

    def _damage(self) -> str:
        """What is wrong with the file, where what it holds could not be understood; "" if nothing is."""
        try:
            with self._engine.connect() as connection:
                return next((f"{place}: {found}" for place, found in damage(connection)), "")
        except (exc.DBAPIError, UnicodeDecodeError) as error:
            return _cause(error)

    def _error(self, error: Exception) -> BackendError:
        cause = _cause(error)
        kind: type[BackendError] = BackendUnavailable
        hint = "what was recorded is safe, and the next run catches up"
        if "locked" in cause and self.sqlite:
            kind, cause = BackendTimeout, f"another process has held it for {self._busy:.0f} s"
        elif re.search(r"statement timeout|canceling statement", cause):
            kind = BackendTimeout
        elif re.search(r"\bfull\b|disk I/O|No space left|could not extend file", cause):
            hint = f"make room on the disk; {hint}"
        elif re.search(r"readonly|read-only", cause):
            hint = "its file and its folder must be writable" if self.sqlite else "name the primary server"
        elif re.search(_REFUSED, cause):
            kind = BackendRefused
            hint = (
                "user, password and database are in the address: SLOCTL_LEDGER_URL or SLOCTL_LEDGER_URL_FILE"
            )
        elif re.search(r"invalid (connection option|port number|integer value|\w+ value)", cause):
            hint = f"look at the ledger's address; write {_FORMS}"
        elif re.search(r"malformed|corrupt|invalid page|Could not decode", cause):
            hint = "restore a backup, or export and import what can be read; sloctl ledger verify says what is wrong"
        elif "no such table" in cause:
            hint = "the file was replaced while it was in use; start again"
        return kind(f"the ledger {self.name}: {cause}", backend="ledger", url=self.name, hint=hint)

    def _no_ledger(self) -> UsageError:
        return UsageError(f"{self.name} is not a ledger, nor any SQLite database", hint="name another file")

    def _migrate(self) -> None:
        def version(connection: Connection) -> str | None:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

        try:
            found = self.read(version)
        except BackendError as error:
            if "not a database" in str(error):
                raise self._no_ledger() from error
            raise
        if found == HEAD:
            return
        if self._read_only:
            raise UsageError(
                f"{self.name}: the ledger is empty or of an earlier sloctl, and cannot be written",
                hint="its file and folder must be writable once, to be brought up to date",
            )

        self.write(lambda connection: upgrade(connection, self.name))


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise UsageError("the ledger's address is not one", hint=f"write {_FORMS}") from None
    backend = url.get_backend_name()
    if "\0" in text or "%00" in text:
        raise UsageError("the ledger's address holds a NUL character", hint=f"write {_FORMS}")
    if backend in ("postgresql", "postgres"):
        if text.count("@") > 1:
            raise UsageError(
                "the ledger's address has more than one '@'",
                hint="write one in a user's name, a password or an option as %40, a slash as %2F, a colon as %3A",
            )
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        if url.username or url.password or url.host or url.port or url.query:
            raise UsageError(
                "the address of an SQLite ledger is its path alone: it has no user, host, port or options",
                hint="write sqlite:////var/lib/sloctl/ledger.db (with four slashes), or the path",
            )
        return url.set(drivername="sqlite+pysqlite")
    raise UsageError(f"the ledger's address begins with {backend!r}", hint=f"write {_FORMS}")


def _shown(url: URL) -> str:
    """The address without what identifies the user."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{url.host or 'localhost'}{port}/{url.database or ''}"


def _writable(url: URL) -> bool:
    """Whether the file can be written; it is made if it is not there, as its owner's alone.

    Raises UsageError if it can be neither written nor read.
    """
    if not url.database or url.database == ":memory:":
        return True
    path = Path(url.database)
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file in it, for example ledger.db")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One that is there must not be opened: closing it would end the locks of this process's connections.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot make the ledger: {error.strerror}",
            hint="its folder must be writable; or give another address with --ledger or SLOCTL_LEDGER_URL",
        ) from error
    if not path.is_file():
        raise UsageError(f"{path} is not a file", hint="name one, for example ledger.db")
    if not _may(path, os.R_OK):
        raise UsageError(f"{path}: the ledger cannot be read", hint="its file must be readable")
    return _may(path, os.W_OK) and _may(path.parent, os.W_OK)  # SQLite keeps files beside its own


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _read_only_address(path: Path) -> str:
    """The address by which SQLite changes nothing.

    It reads a log that a writer left beside the file. Where there is none it cannot make one, and takes the file as it
    is.
    """
    log = path.with_name(f"{path.name}-wal")
    whole = not log.exists() or not log.stat().st_size
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if whole else ''}"


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where this module says so
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",  # where a file system cannot have one, the rollback journal stays
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -65536",
        "temp_store = MEMORY",
    ):
        # Another process may be in the middle of a commit: these need no lock, but reading the file does. What is wrong
        # with a damaged one (whose names may be no text) is said when it is used.
        with contextlib.suppress(sqlite3.OperationalError, UnicodeDecodeError):
            cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("sloctl_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _same_file(path: str) -> Callable[[Any, Any, Any], None]:
    """A listener that gives up connections to a file that was removed or replaced: what they write would be lost."""

    def check(_connection: object, record: Any, _proxy: object) -> None:
        try:
            found = Path(path).stat()
            now: tuple[int, int] | None = found.st_dev, found.st_ino
        except OSError:
            now = None
        if record.info.setdefault("file", now) != now:
            record.info.pop("file")
            raise exc.DisconnectionError

    return check


def _cause(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    text = " ".join(str(original).split()) or type(original).__name__
    return text[:300]


def _passing(error: Exception) -> bool:
    """Whether the same may succeed a moment later."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if re.search(_REFUSED, _cause(error)):
        return False
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    # Conflicts of transactions, of two processes that make the same row, and a server that restarts.
    if state in ("40001", "40P01", "23505", "42P07") or state.startswith(("08", "57P")):
        return True
    return "connection" in _cause(error) and not isinstance(error, exc.TimeoutError) and not state


SCRIPTS = Path(__file__).with_name("migrations")
_LOCK = 7_310_042
"""Two processes that find an old schema at the same moment: PostgreSQL lets the second one wait."""


def upgrade(connection: Connection, name: str) -> None:
    """Run what is missing, in the transaction of ``connection``.

    ``name`` is the ledger's, for errors. Raises UsageError if a later sloctl made it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    if not (SCRIPTS / "env.py").exists():
        config.set_main_option("sourceless", "true")  # an install of bytecode alone
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise UsageError(
            f"the ledger {name} has the schema {found[:40]!r}, which this sloctl does not know",
            hint="a later version of sloctl made it; use that one",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
