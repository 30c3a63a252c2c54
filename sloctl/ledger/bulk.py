"""Many rows at once, in the way that is fastest in each database. It must not know what the rows mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_ARRAYS = {"TEXT": "text", "BIGINT": "bigint", "INTEGER": "int", "SMALLINT": "smallint"}
_MOST = 20_000
"""Rows of a statement in PostgreSQL: its parameters are arrays, which are in memory as a whole."""


def insert(
    connection: Connection,
    table: sa.Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    conflict: str = "",
) -> None:
    """Insert rows; ``conflict`` is the clause ON CONFLICT. The names are those of the schema, never a user's."""
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({places}) {conflict}", rows)  # noqa: S608
        return
    sql = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({_arrays(table, columns)}) {conflict}"  # noqa: S608
    for chunk in chunks(rows, _MOST):
        connection.exec_driver_sql(sql, tuple(list(column) for column in zip(*chunk, strict=True)))


def update(
    connection: Connection,
    table: sa.Table,
    change: Sequence[str],
    where: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Set the columns ``change`` of the rows that ``where`` names; each row has the values of both, in order."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        changes = ", ".join(f"{name} = ?" for name in change)
        places = " AND ".join(f"{name} = ?" for name in where)
        connection.exec_driver_sql(f"UPDATE {table.name} SET {changes} WHERE {places}", rows)  # noqa: S608
        return
    columns = (*change, *where)
    changes = ", ".join(f"{name} = v.{name}" for name in change)
    places = " AND ".join(f"{table.name}.{name} = v.{name}" for name in where)
    arrays = _arrays(table, columns)
    sql = f"UPDATE {table.name} SET {changes} FROM unnest({arrays}) AS v({', '.join(columns)}) WHERE {places}"  # noqa: S608
    for chunk in chunks(rows, _MOST):
        connection.exec_driver_sql(sql, tuple(list(column) for column in zip(*chunk, strict=True)))


def chunks(rows: Sequence[Any], most: int) -> Iterable[Sequence[Any]]:
    """The rows in pieces of at most ``most``."""
    return (rows[place : place + most] for place in range(0, len(rows), most))


def _arrays(table: sa.Table, columns: Sequence[str]) -> str:
    return ", ".join(f"%s::{_ARRAYS[str(table.c[name].type)]}[]" for name in columns)
