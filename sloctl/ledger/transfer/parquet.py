"""Lines of an export as Parquet: events as decimals, times as timestamps in UTC. The only user of pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sloctl.errors import UsageError
from sloctl.ledger.transfer.lines import (
    COLUMNS,
    EVENTS,
    KINDS,
    MOST,
    NEEDED,
    SECONDS,
    TIMES,
    BadLine,
    Line,
)

_GROUP = 50_000
"""Rows of a row group: what is in memory at once."""
_EXACT = Context(prec=60)


def _type(column: str) -> pa.DataType:
    if column in TIMES:
        return pa.timestamp("ms", tz="UTC")
    if column in EVENTS:
        return pa.decimal128(28, 6)
    return pa.int32() if column in SECONDS else pa.string()


SCHEMA = pa.schema([pa.field(column, _type(column)) for column in COLUMNS])


def write(path: Path, lines: Iterable[Line]) -> int:
    """Write lines to a file; how many."""
    count = 0
    rest = iter(lines)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=True) as writer:
        while group := list(islice(rest, _GROUP)):
            count += len(group)
            columns = [
                pa.array([_value(name, value) for value in values], field.type)
                for name, values, field in zip(COLUMNS, zip(*group, strict=True), SCHEMA, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
    return count


def read(path: Path, name: str) -> Iterator[tuple[int, Line | BadLine]]:
    """The lines of a file, each with its number; a bad one is given, not raised, for the caller knows the place."""
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow
            if [(field.name, field.type) for field in found] != [(f.name, f.type) for f in SCHEMA]:
                raise UsageError(
                    f"{name}: its columns are not those of an export",
                    hint=f"columns: {', '.join(f'{f.name} {f.type}' for f in SCHEMA)}",
                )
            row = 0
            for batch in file.iter_batches(batch_size=10_000):
                columns = [_column(name, array) for name, array in zip(COLUMNS, batch.columns, strict=True)]
                for values in zip(*columns, strict=True):
                    row += 1
                    try:
                        line: Line | BadLine = _line(values)
                    except BadLine as error:
                        line = error
                    yield row, line
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name}: no Parquet file: {text}", hint="the file may be damaged or cut off"
        ) from None


def _value(name: str, value: Any) -> Any:
    if value is None or name not in EVENTS:
        return value * 1000 if name in TIMES and value is not None else value
    return Decimal(value).scaleb(-6, _EXACT)


def _column(name: str, array: Any) -> list[Any]:
    if name in TIMES:
        return [None if value is None else value / 1000 for value in array.cast(pa.int64()).to_pylist()]
    values: list[Any] = array.to_pylist()
    return values


def _line(values: tuple[Any, ...]) -> Line:
    kind = values[0]
    needed = NEEDED.get(kind)
    if needed is None:
        raise BadLine("kind", f"{str(kind)[:40]!r} is none of {', '.join(KINDS)}")
    found = [kind]
    for name, value in zip(COLUMNS[1:], values[1:], strict=True):
        found.append(_checked(name, value, name in needed, kind))
    return Line(*found)


def _checked(name: str, value: Any, needed: bool, kind: str) -> Any:
    text = name not in TIMES and name not in EVENTS and name not in SECONDS
    if not needed:
        if value:
            raise BadLine(name, f"must be empty in a line of kind {kind}")
        return "" if text else None
    if value is None:
        raise BadLine(name, f"is empty in a line of kind {kind}")
    if text:
        if "\0" in value:
            raise BadLine(name, "holds a NUL character, which no database can")
        return value
    if name in EVENTS:
        value = int(value.scaleb(6, _EXACT))
    if value < 0 or value != int(value):
        raise BadLine(name, f"{value} is not a whole number from 0")
    if value > MOST:
        raise BadLine(name, "more than can be")
    return int(value)
