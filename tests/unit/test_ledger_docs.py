"""The page on the ledger names every table and every column of an export."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sloctl.ledger import schema
from sloctl.ledger.transfer import lines, parquet
from tests.support.doc_pages import table

PAGE = Path(__file__).parents[2] / "docs/ledger.md"
TYPES = {
    pa.string(): "string",
    pa.int32(): "int32",
    pa.decimal128(28, 6): "decimal(28, 6)",
    pa.timestamp("ms", tz="UTC"): "timestamp, UTC",
}


def test_every_table_is_documented() -> None:
    documented = {row["table"].strip("`") for row in table(PAGE, "table")}
    assert documented == set(schema.METADATA.tables)


def test_every_column_and_kind_of_an_export_is_documented() -> None:
    rows = table(PAGE, "column")
    assert [row["column"].strip("`") for row in rows] == list(lines.COLUMNS)
    assert [row["in Parquet"] for row in rows] == [TYPES[field.type] for field in parquet.SCHEMA]
    assert [row["kind"].strip("`") for row in table(PAGE, "kind")] == list(lines.KINDS)
