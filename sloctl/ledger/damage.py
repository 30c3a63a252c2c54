"""What a damaged SQLite file holds that no sloctl wrote: broken pages, values of another type, times that cannot be.

PostgreSQL refuses such pages and values by itself. It must not know what the tables mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import grid, schema

TIMES = frozenset({"time", "day", "since", "until", "oldest", "newest"})
BITS = {"fine": grid.ALL_HOURS} | dict.fromkeys(schema.MASKS, (1 << 48) - 1)
JSON = frozenset({"labels", "matchers", "progress"})


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
    if column.name in JSON:
        wrong.append(sa.not_(sa.func.json_valid(column)))
    return sa.or_(*wrong)
