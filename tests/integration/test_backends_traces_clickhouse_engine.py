"""Spans in a real ClickHouse: read and counted there as everywhere else. ``make clickhouse`` runs this."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("chdb", reason="chdb is not installed: make clickhouse")

from sloctl.backends.spans import COLUMNS, of_sample, problems
from sloctl.backends.traces.client import open_traces
from sloctl.backends.traces.decode_otlp import decode
from sloctl.errors import BadAnswer
from sloctl.settings.backends import TracesSettings
from tests.support import mesh_spans
from tests.support.clickhouse import JSON, MAP, Engine, rows_of_frame, rows_of_otlp, served
from tests.unit.test_retries_cases import BEGIN, CASES, document, span

pytestmark = pytest.mark.xdist_group("clickhouse")
NOW = datetime.fromtimestamp(BEGIN // 10**9, UTC)
START, END = NOW - timedelta(minutes=30), NOW + timedelta(minutes=30)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("clickhouse"))


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with served(engine) as address:
        yield address


def reader(url: str, **options: Any) -> Any:
    return open_traces(TracesSettings(url), "clickhouse", table="default.spans", **options)


def ordered(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    plain = frame.astype({name: "str" for name, dtype in COLUMNS.items() if dtype == "category"})
    return sorted(plain.itertuples(index=False, name=None), key=repr)


def cases() -> list[bytes]:
    """A document for each case of retries, a trace of its own where the case does not name one."""
    return [
        document([{"trace": f"{number:032x}", **row} for row in rows])
        for number, (rows, _) in enumerate(CASES.values(), 100)
    ]


@pytest.mark.parametrize("attributes", [MAP, JSON])
def test_spans_are_what_otlp_says_that_they_are(engine: Engine, url: str, attributes: str) -> None:
    bodies = cases()
    engine.fill("spans", rows_of_otlp(b"\n".join(bodies)), attributes)
    with reader(url) as traces:
        found = traces.spans(START, END)
        assert traces.services(START, END) == sorted(set(found.frame["service"]))
        assert traces.services(END, END + timedelta(hours=1)) == []
    assert problems(found.frame) == []
    assert ordered(found.frame) == ordered(pd.concat([decode(body).frame for body in bodies]))
    assert (found.rejected, found.incomplete, found.one_in) == ({}, (), 1)


def test_traces_belong_to_the_time_in_which_they_began(engine: Engine, url: str) -> None:
    def trace(number: int, at: float, **root: Any) -> list[dict[str, Any]]:
        own: dict[str, Any] = {"trace": f"{number:032x}"}
        return [
            span("web", "server", 1, at=at, **own, **root),
            span("shop", "server", 2, 1, at=at - 5, **own),
            span("shop", "server", 3, 1, at=at + 120_000, **own),
        ]

    whole = 30 * 60_000.0
    rows = [*trace(1, -whole - 1), *trace(2, -whole), *trace(3, whole - 1), *trace(4, whole)]
    rows += [row | {"trace": f"{5:032x}"} for row in trace(5, -whole)[1:]]
    engine.fill("spans", rows_of_otlp(document(rows)))
    with reader(url) as traces:
        found = traces.spans(START, END)
        assert sorted(found.frame["trace_low"]) == [2, 2, 2, 3, 3, 3]
        assert sorted(traces.spans(START, END, ["web"]).frame["trace_low"]) == [2, 2, 2, 3, 3, 3]
        assert len(traces.spans(START, END, ["cart"]).frame) == 0


def test_names_are_data_whatever_they_hold(engine: Engine, url: str) -> None:
    names = [
        "it's",
        'a"b',
        "back\\slash",
        "{first:Int64}",
        "x'); DROP TABLE spans; --",
        "tab\tnew\nline",
        "ü€",
    ]
    rows = [
        span(name, "server", 1, trace=f"{number:032x}", name=name, tags={"upstream_cluster": name})
        for number, name in enumerate(names, 1)
    ]
    engine.fill("spans", rows_of_otlp(document(rows)))
    with reader(url) as traces:
        assert traces.services(START, END) == sorted(names)
        for name in names:
            [service] = traces.spans(START, END, [name]).frame["service"]
            assert service == name


def test_of_more_spans_than_are_held_whole_traces_come_by_a_hash(engine: Engine, url: str) -> None:
    mesh = mesh_spans.chain(mesh_spans.TRACERS["opentelemetry"], 3, 0.3, 400)
    engine.fill("spans", rows_of_frame(mesh.frame()))
    with reader(url) as traces:
        everything = traces.spans(START, END).frame
    with reader(url, max_spans=1000) as traces:
        found = traces.spans(START, END)
    assert found.one_in == 4
    low = everything["trace_low"].to_numpy()
    assert ordered(found.frame) == ordered(everything[of_sample(low, 4)])
    assert len(found.frame) <= 1000 < len(everything)


def test_a_span_that_came_twice_is_one(engine: Engine, url: str) -> None:
    rows = rows_of_otlp(document([span("web", "client", 1), span("shop", "server", 2, 1)]))
    engine.fill("spans", rows * 2)
    with reader(url) as traces:
        found = traces.spans(START, END)
    assert (len(found.frame), found.duplicates) == (2, 2)


def test_ids_that_cannot_be_are_counted(engine: Engine, url: str) -> None:
    rows = rows_of_otlp(document([span("web", "client", 1), span("shop", "server", 2, 1)]))
    engine.fill("spans", [rows[0], rows[1] | {"TraceId": ""}])
    with reader(url) as traces:
        found = traces.spans(START, END)
    assert (len(found.frame), found.rejected) == (1, {"ids are not valid": 1})


def test_a_table_that_is_missing_or_another_one_is_named(engine: Engine, url: str) -> None:
    engine.ask("CREATE OR REPLACE TABLE others (Timestamp DateTime) ENGINE = Memory")
    for table, said in (("nowhere", "there is no table nowhere"), ("others", "others is not one of spans")):
        with (
            open_traces(TracesSettings(url), "clickhouse", table=table) as traces,
            pytest.raises(BadAnswer, match=said) as caught,
        ):
            traces.spans(START, END)
        assert "sources.traces.table" in caught.value.hint
