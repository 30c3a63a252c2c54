"""Brings a ledger's schema up to date, by Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from sloctl.errors import UsageError

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
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise UsageError(
            f"the ledger {name} has the schema {found[:40]!r}, which this sloctl does not know",
            hint="a later version of sloctl made it; use that one",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
