"""An export holds everything, and an import enters exactly what was not known."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sloctl.errors import UsageError
from sloctl.ledger.check import verify
from sloctl.ledger.protocol import Batch, Bucket, Keep
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.ledger.transfer.files import Format, export, import_file
from sloctl.ledger.transfer.lines import COLUMNS, text_of
from sloctl.report.numbers import cell
from sloctl.settings.secret import Secret
from tests.support.ledger_steps import DAYS, Exclude, Prune, fill, operations
from tests.support.ledgers import DAY, STEP, T0

NUMBERS = itertools.count()


@pytest.mark.slow
def test_a_round_trip_through_both_databases_gives_the_same_bytes(
    sqlite_url: str, postgres_url: str, tmp_path: Path
) -> None:
    second = f"sqlite:///{tmp_path / 'second.db'}"
    files = [tmp_path / f"{n}.csv" for n in range(3)] + [tmp_path / f"{n}.parquet" for n in range(3)]
    for n, url in enumerate((sqlite_url, postgres_url, second)):
        with open_ledger(Secret(url)) as ledger:
            if n == 0:
                fill(ledger)
                whole = [
                    ledger.sums(name, [(T0, T0 + 4 * DAY), (T0 + 2 * DAY + 600, T0 + 4 * DAY)])
                    for name in ("a set", "b")
                ]
                why = ledger.causes("a set", T0, T0 + 4 * DAY)
            else:
                form: Format = "csv" if n == 1 else "parquet"
                source = files[n - 1] if form == "csv" else files[n + 2]
                done = import_file(ledger, source, form)
                assert done.sets == ["a set", "b"]
                assert import_file(ledger, source, form).buckets == 0
            export(ledger, files[n], "csv")
            export(ledger, files[n + 3], "parquet")
            assert verify(ledger) == []
            assert whole == [
                ledger.sums(name, [(T0, T0 + 4 * DAY), (T0 + 2 * DAY + 600, T0 + 4 * DAY)])
                for name in ("a set", "b")
            ]
            assert why == ledger.causes("a set", T0, T0 + 4 * DAY)
            assert ledger.missing("a set", ["a:1", "a:2"], T0, T0 + 4 * DAY) == {
                "a:1": [],
                "a:2": [(T0 + 4 * DAY - STEP * 10, T0 + 4 * DAY)],
            }
            assert [interval.comment for interval in ledger.muted("a set")] == ["why\n"]
            said = ledger.annotations("a set", T0, T0 + 10)
            assert [(one.text, one.end - T0, one.service) for one in said] == [
                ('a "text"\n=1', 9, ""),
                ("v2", 900, "cart"),
            ]
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    assert files[3].read_bytes() == files[4].read_bytes() == files[5].read_bytes()


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations, operations)
@pytest.mark.slow
def test_any_ledger_comes_back(
    tmp_path: Path,
    sqlite_url: str,
    steps: list[list[Batch] | Exclude | Prune],
    others: list[list[Batch] | Exclude | Prune],
) -> None:
    name = "set"
    number = next(NUMBERS)
    first, second = tmp_path / f"{number}.csv", tmp_path / f"{number}-again.csv"
    with open_ledger(Secret(f"sqlite:///{tmp_path / f'{number}.db'}")) as ledger:
        act(ledger, name, steps)
        export(ledger, first, "csv")
        whole = ledger.sums(name, [(T0, T0 + DAYS * DAY)])
    with open_ledger(Secret(f"sqlite:///{tmp_path / f'{number}-2.db'}")) as ledger:
        import_file(ledger, first, "csv")
        export(ledger, second, "csv")
        assert second.read_bytes() == first.read_bytes()
        assert ledger.sums(name, [(T0, T0 + DAYS * DAY)]) == whole
        assert verify(ledger) == []
    with open_ledger(Secret(f"sqlite:///{tmp_path / f'{number}-3.db'}")) as ledger:
        act(ledger, name, others)
        import_file(ledger, first, "csv")
        assert verify(ledger) == []
        assert import_file(ledger, first, "csv").buckets == 0


def act(ledger: DatabaseLedger, name: str, steps: list[list[Batch] | Exclude | Prune]) -> None:
    for step in steps:
        if isinstance(step, Exclude):
            ledger.exclude(name, step.excluded, *step.interval)
        elif isinstance(step, Prune):
            buckets, hours = T0 + step.buckets * DAY, T0 + min(step.hours, step.buckets) * DAY
            now = max(ledger.newest(name).values(), default=T0)
            ledger.prune(name, Keep(now - buckets, now - hours, 1000 * DAY), now + 1234, step.edges)
        else:
            ledger.record(name, step)


@given(st.text())
@example("=1+1")
@example("'=x")
@example("\\u001b \x1b[2J")
@example("-\u202e")
def test_a_cell_is_no_formula_nor_an_order_to_a_terminal(text: str) -> None:
    written = cell(text)
    assert text_of(written) == text
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", written)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_names_that_are_formulas_come_back(ledger: DatabaseLedger, tmp_path: Path, form: Format) -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "'", "'=", "a\x1b[2J\nb", "\\u001b"]
    end = T0 + STEP
    ledger.record("=s", [Batch("@a", "-a", (T0, end), [Bucket("+n", name, end, 5, 1) for name in names])])
    export(ledger, tmp_path / "x", form)
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        import_file(other, tmp_path / "x", form)
        assert other.keys("=s") == sorted(("@a", "+n", name) for name in names)
        export(other, tmp_path / "y", form)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_what_is_yet_to_come_and_what_is_of_no_service_is_refused(tmp_path: Path) -> None:
    """Of an export made by a clock that was ahead, or edited."""
    path, end = tmp_path / "x.csv", T0 + STEP
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'a.db'}")) as ledger:
        ledger.record("s", [Batch("a", "a", (T0, end), [Bucket("n", "cart", end, 5, 1)])])
        export(ledger, path, "csv")
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'b.db'}")) as ledger:
        with pytest.raises(UsageError, match=r"x\.csv:2:8: end: lies in the future: it is 2024") as caught:
            import_file(ledger, path, "csv", now=end - 61)
        assert "a clock was ahead" in caught.value.hint
        path.write_text(path.read_text().replace("cart", ""))
        with pytest.raises(UsageError, match=r"x\.csv:3:6: service: is empty: events are of a service"):
            import_file(ledger, path, "csv", now=end)
        assert ledger.newest("s") == {}
        path.write_text(path.read_text().replace(",n,,", ",n,cart,"))
        assert import_file(ledger, path, "csv", now=end - 60).buckets == 1


def test_a_part_is_of_whole_days(ledger: DatabaseLedger, tmp_path: Path) -> None:
    fill(ledger)
    count = export(
        ledger, tmp_path / "x.csv", "csv", sets=["a set"], since=T0 + DAY + 5, until=T0 + 2 * DAY - 5
    )
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert {row["set"] for row in rows[:-1]} == {"a set"}
    ends = {row["end"] for row in rows[:-1] if row["kind"] not in ("coverage", "exclusion")}
    assert min(ends) > "2024-10-05T00:00:00Z"
    assert max(ends) == "2024-10-06T00:00:00Z"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    folder = tmp_path_factory.mktemp("exported")
    files: dict[Format, Path] = {"csv": folder / "x.csv", "parquet": folder / "x.parquet"}
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        fill(ledger)
        for form, path in files.items():
            export(ledger, path, form)
    return files


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseLedger]:
    """A ledger for what must not get into it."""
    with open_ledger(Secret(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'ledger.db'}")) as ledger:
        yield ledger
        assert ledger.keys("a set") == []
        assert ledger.newest("a set") == {}
        assert ledger.muted("a set") == []


def edited(column: str, value: str, kind: str = "bucket") -> Callable[[list[dict[str, str]]], None]:
    def edit(rows: list[dict[str, str]]) -> None:
        next(row for row in rows if row["kind"] == kind)[column] = value

    return edit


def doubled(rows: list[dict[str, str]]) -> None:
    rows.insert(-2, dict(rows[-3]))


def cut(rows: list[dict[str, str]]) -> None:
    del rows[-1]


def shorter(rows: list[dict[str, str]]) -> None:
    del rows[-2]


def swapped(rows: list[dict[str, str]]) -> None:
    rows[-3], rows[-2] = rows[-2], rows[-3]


def grown(rows: list[dict[str, str]]) -> None:
    rows.append(dict(rows[-1]))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited("bad", "-1"), "is no number of events"),
        (edited("bad", "NaN"), "is no number of events"),
        (edited("bad", "1e3"), "is no number of events"),
        (edited("bad", "١"), "is no number of events"),
        (edited("total", "99999999999999999"), "is no number of events"),
        (edited("total", "9"), r"is not good \+ bad"),
        (edited("gap_seconds", "301"), "more than 300 s"),
        (edited("gap_seconds", "1.5"), "no whole number of seconds"),
        (edited("state", "fine"), "the other columns make it"),
        (edited("excluded", "300"), "the other columns make it"),
        (edited("end", "2024-10-04T00:07:00Z"), "not a multiple of 300 s"),
        (edited("end", "2024-13-04T00:05:00Z"), "is no time"),
        (edited("end", "2024-10-04T00:05:00+02:00"), "is no time"),
        (edited("end", ""), "is no time"),
        (edited("slo_id", "unknown"), "no line of kind coverage names it"),
        (edited("slo", "other"), "belongs to the SLO"),
        (edited("peak", "1"), "must be empty"),
        (edited("kind", "buckets"), "is none of coverage"),
        (edited("end", "2024-10-03T00:05:00Z", "coverage"), "is not after start"),
        (edited("state", "weeks", "coverage"), "none of buckets, hours, days"),
        (edited("detail", "{}x", "cause"), "no JSON"),
        (edited("detail", '{"b":"1", "a":"2"}', "cause"), "not as sloctl writes labels"),
        (edited("detail", '{"a":"\\u0000"}', "cause"), "a NUL character"),
        (edited("detail", '{"a":"\\u005cu0000"}', "cause"), "no JSON"),
        (edited("detail", "[]", "silence"), "no JSON object with comment"),
        (edited("detail", "[]", "annotation"), "no JSON object with author"),
        (edited("detail", '{"author":"a","text":"b","what":"x"}', "annotation"), "what is one of deploy"),
        (edited("detail", '{"author":"a", "text":"b","what":"note"}', "annotation"), "not as sloctl writes"),
        (edited("peak", "1000000000", "hour"), "more than all events"),
        (edited("detail", "5 5", "coverage"), "must be empty unless"),
        (doubled, "belongs above the one before it, or is the same"),
        (swapped, "belongs above the one before it, or is the same"),
        (cut, "the last line, of kind end, is missing"),
        (shorter, "lines should stand above"),
        (grown, "a line after the one of kind end"),
    ],
)
def test_an_edited_file_is_refused_as_a_whole(
    exported: dict[Format, Path],
    empty: DatabaseLedger,
    tmp_path: Path,
    edit: Callable[[list[dict[str, str]]], None],
    message: str,
) -> None:
    path = tmp_path / "x.csv"
    with exported["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    edit(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UsageError, match=message) as caught:
        import_file(empty, path, "csv")
    assert str(caught.value).startswith(f"{path}:")
    assert caught.value.hint


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_any_cut_of_a_file_is_refused(
    exported: dict[Format, Path], empty: DatabaseLedger, tmp_path: Path, form: Format
) -> None:
    path = tmp_path / "x"
    data = exported[form].read_bytes()
    for length in {0, 1, 100, len(data) // 3, len(data) // 2, len(data) - 20, len(data) - 5}:
        path.write_bytes(data[:length])
        with pytest.raises(UsageError):
            import_file(empty, path, form)


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "\0", "\udcff", '"', ",".join(COLUMNS) + '\n"bucket', "PAR1"]
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_is_no_export_is_refused(empty: DatabaseLedger, tmp_path: Path, text: str, form: Format) -> None:
    path = tmp_path / "x"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError):
        import_file(empty, path, form)
