"""A ledger as text: everything that it says, without the numbers that a database made up, in one order."""

from __future__ import annotations

import sqlalchemy as sa

from sloctl.ledger import schema
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret

_SERIES = ("set_name", "slo_id", "namespace", "service")
_BIG = ("total", "bad", "gap", "excluded", "excluded_total", "excluded_bad", "carry", "peak", "carried")


def rows(url: str) -> str:
    """One line for each row of the tables that budgets are made of, sorted."""
    with open_ledger(Secret(url)) as ledger:
        return ledger.database.read(_lines)


def _lines(connection: sa.Connection) -> str:
    definitions, series, causes = schema.definitions, schema.series, schema.causes
    named = {
        row.id: (row.set_name, row.slo_id, row.slo, row.oldest, row.newest)
        for row in connection.execute(sa.select(definitions))
    }
    of = {
        row.id: (*named[row.definition][:2], row.namespace, row.service)
        for row in connection.execute(sa.select(series))
    }
    why = {row.id: row.labels for row in connection.execute(sa.select(causes))}
    lines = [f"definition {value}" for value in named.values()]
    for row in connection.execute(sa.select(schema.coverage)).mappings():
        rest = [row[name] for name in (*schema.MASKS, "fine", "pruned")]
        lines.append(f"coverage {named[row['definition']][:2]} {row['day']} {rest}")
    for table in (schema.buckets, schema.hours, schema.days):
        for row in connection.execute(sa.select(table)).mappings():
            rest = [row[name] for name in _BIG if name in row]
            lines.append(f"{table.name} {of[row['series']]} {row['time']} {rest}")
    for table in (schema.cause_buckets, schema.cause_days):
        for row in connection.execute(sa.select(table)).mappings():
            if row["bad"]:
                lines.append(
                    f"{table.name} {of[row['series']]} {row['time']} {why[row['cause']]} {row['bad']}"
                )
    return "\n".join(sorted(lines)) + "\n"
