"""Exports a ledger to a file, CSV or Parquet, and imports it again: the same bytes for the same ledger.

A file is written whole or not at all, and imported wholly or not at all. The names of its columns are an interface.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from sloctl import extras
from sloctl.artefacts import atomic
from sloctl.errors import UsageError
from sloctl.ledger import check, grid
from sloctl.ledger.grid import DAY
from sloctl.ledger.protocol import Interval
from sloctl.ledger.store import DatabaseLedger
from sloctl.ledger.transfer import exporting, importing
from sloctl.ledger.transfer.importing import Imported
from sloctl.ledger.transfer.lines import COLUMNS, BadLine, Line, Parser, Writer, at, text_of
from sloctl.report.numbers import cell

Format = Literal["csv", "parquet"]


def form_of(path: str) -> Format:
    """The format that a file's name says."""
    return "parquet" if path.lower().endswith((".parquet", ".pq")) else "csv"


def export(
    store: DatabaseLedger,
    path: Path,
    form: Format,
    *,
    sets: Sequence[str] | None = None,
    since: int = 0,
    until: int = grid.LATEST,
) -> int:
    """Write the ledger, or some sets of it, to a file; how many lines.

    ``since`` and ``until`` are Unix seconds, widened to whole UTC days. Raises BackendError, OSError, and UsageError
    where Parquet's library is missing, or the path is that of something else than a file.
    """
    if path.exists() or path.is_symlink():
        path = atomic.target(path)
    write = _csv_writer if form == "csv" else _parquet_module().write
    interval: Interval = (grid.down(since, DAY), grid.up(until, DAY))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        count = store.database.read(
            lambda connection: write(
                Path(name),
                exporting.lines(
                    connection, check.set_names(connection) if sets is None else sorted(set(sets)), interval
                ),
            )
        )
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return count


def import_file(
    store: DatabaseLedger, path: Path, form: Format, *, name: str = "", now: float | None = None
) -> Imported:
    """Enter a file into the ledger: what it does not know yet; ``name`` is the file's in errors.

    ``now`` (Unix seconds; the clock's, if not given) is when nothing later can have been recorded.

    Raises UsageError, which names the place of the first mistake, and BackendError; in both cases nothing was
    entered.
    """
    name = name or str(path)
    if not path.is_file():
        raise UsageError(f"{name}: no such file", hint="give a file that  sloctl ledger export  wrote")
    read: Callable[[Path, str, _Place], Generator[Line]]
    read = _csv_lines if form == "csv" else _parquet_lines
    place = _Place()
    at_most = time.time() if now is None else now

    def work(connection: object) -> Imported:
        place.row = 0
        with contextlib.closing(read(path, name, place)) as lines:
            return importing.enter(connection, lines, at_most)  # type: ignore[arg-type]

    try:
        return store.database.write(work)
    except BadLine as error:
        raise at(name, place.row, error) from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{name}:{place.row + 1}: not UTF-8", hint="give a file that  sloctl ledger export  wrote"
        ) from None


class _Place:
    """The row that was read last."""

    row = 0


def _csv_writer(path: Path, lines: Iterable[Line]) -> int:
    writer = Writer()
    count = 0

    def rows() -> Iterator[list[str]]:
        nonlocal count
        for line in lines:
            count += 1
            yield [cell(text) for text in writer.fields(line)]

    with path.open("w", encoding="utf-8", newline="") as file:
        output = csv.writer(file, lineterminator="\n")
        output.writerow(COLUMNS)
        output.writerows(rows())
        file.flush()
        os.fsync(file.fileno())
    return count


def _csv_lines(path: Path, name: str, place: _Place) -> Generator[Line]:
    parser = Parser()
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = next(rows, [])
            place.row = max(1, rows.line_num)
            if tuple(header) != COLUMNS:
                missing = [column for column in COLUMNS if column not in header]
                other = [column for column in header if column not in COLUMNS]
                found = [
                    *(f"no column {n}" for n in missing[:3]),
                    *(f"a column {n[:40]!r}" for n in other[:3]),
                ]
                raise BadLine(
                    "", "; ".join(found) or "columns in another order", f"columns: {','.join(COLUMNS)}"
                )
            for fields in rows:
                place.row = rows.line_num
                yield parser.line([text_of(field) for field in fields])
        except csv.Error as error:
            place.row = rows.line_num
            raise BadLine("", f"no CSV: {error}", "the file may be damaged or cut off") from None


def _parquet_lines(path: Path, name: str, place: _Place) -> Generator[Line]:
    module = _parquet_module()
    for row, line in module.read(path, name):
        place.row = row
        if isinstance(line, BadLine):
            raise line
        yield line


def _parquet_module() -> _Parquet:
    with extras.needed("parquet", "Parquet", otherwise=", or use CSV"):
        from sloctl.ledger.transfer import parquet
    return parquet  # type: ignore[return-value]


class _Parquet:
    """What the module of the same name has; it is imported only where it is needed."""

    write: Callable[[Path, Iterable[Line]], int]
    read: Callable[[Path, str], Iterator[tuple[int, Line | BadLine]]]


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
