"""What a damaged SQLite file holds that no sloctl wrote: broken pages, values of another type, times that cannot be.

PostgreSQL refuses such pages and values by itself. It must not know what the tables mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import grid, schema

TIMES = frozenset({"time", "day", "since", "until", "oldest", "newest"})
BITS = {"fine": grid.ALL_HOURS} | dict.fromkeys(schema.MASKS, (1 << 48) - 1)
JSON = frozenset({"labels", "matchers", "progress"})
AMOUNTS = frozenset({"total", "bad", "gap", "excluded", "carried", "excluded_total", "excluded_bad", "peak"})
"""What is never below 0."""


_MAGIC = b"SQLite format 3\0"
_SMALLEST = 512
"""Bytes of the smallest file of SQLite: shorter ones it takes for empty, whatever is in them."""


def cut_off(path: Path) -> str:
    """How many bytes a file of SQLite lacks at its end; "" for none. What its journal still holds is no lack.

    SQLite itself reads zeros there, and numbers that are wrong. https://www.sqlite.org/fileformat2.html
    """
    try:
        if any(_size(f"{path}{end}") for end in ("-wal", "-journal")):
            return ""
        with path.open("rb") as file:
            head = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return ""
    if 0 < size < _SMALLEST and _MAGIC.startswith(head[: len(_MAGIC)]):
        return f"it ends after {size:,} bytes"
    page = int.from_bytes(head[16:18], "big")
    if not head.startswith(_MAGIC) or len(head) < 100 or not page:
        return ""
    pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
    page = 65536 if page == 1 else page
    whole = max(pages * page, -(-size // page) * page)
    return "" if size >= whole else f"{whole - size:,} of {whole:,} bytes are missing at its end"


def too_small(path: Path) -> bool:
    """Whether a file is too small for one of SQLite, and not empty."""
    size = _size(str(path))
    if not 0 < size < _SMALLEST:
        return False
    with path.open("rb") as file:
        return not file.read(len(_MAGIC)).startswith(_MAGIC[:size])


def _size(name: str) -> int:
    path = Path(name)
    return path.stat().st_size if path.exists() else 0


def damage(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each thing that is wrong with the file: where, and what was found. It reads all of it."""
    if connection.dialect.name != "sqlite":
        return
    for row in connection.exec_driver_sql("PRAGMA integrity_check(100)").scalars().all():
        if row != "ok":
            yield "the file", str(row)
    there = set(sa.inspect(connection).get_table_names())
    for table in schema.METADATA.sorted_tables:
        if table.name not in there:  # of a later schema
            continue
        for column in table.columns:
            query = sa.select(sa.func.count()).select_from(table).where(_impossible(column))
            if count := connection.execute(query).scalar_one():
                yield f"{table.name}.{column.name}", f"{count} values that it cannot have"


def _impossible(column: sa.Column[object]) -> sa.ColumnElement[bool]:
    """Whether a value is none that sloctl writes."""
    kinds = ["text"] if isinstance(column.type, sa.Text) else ["integer"]
    if isinstance(column.type, sa.Double):
        kinds.append("real")
    if column.nullable:
        kinds.append("null")
    wrong: list[sa.ColumnElement[bool]] = [sa.func.typeof(column).not_in(kinds)]
    if column.name in TIMES:
        wrong.append(sa.not_(column.between(0, grid.LATEST - 1)))
    if column.name in BITS:
        wrong.append(sa.not_(column.between(0, BITS[column.name])))
    if column.name in AMOUNTS:
        wrong.append(column < 0)
    if column.name == "bad" and column.table is schema.buckets:
        wrong.append(column > column.table.c.total)
    if column.name in JSON:
        wrong.append(sa.not_(sa.func.json_valid(column)))
    return sa.or_(*wrong)
