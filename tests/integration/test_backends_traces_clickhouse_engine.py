"""Spans in a real ClickHouse: read and counted there as everywhere else. ``make clickhouse`` runs this."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("chdb", reason="chdb is not installed: make clickhouse")

from jobs import retry_amplification
from sloctl import retries, spec
from sloctl.backends.spans import COLUMNS, of_sample, problems
from sloctl.backends.traces.client import open_traces
from sloctl.backends.traces.decode_otlp import decode
from sloctl.errors import BadAnswer
from sloctl.settings.backends import TracesSettings
from tests.support import mesh_spans
from tests.support.clickhouse import JSON, MAP, Engine, rows_of_frame, rows_of_otlp, served
from tests.support.retry_cases import BEGIN, CASES, document, span

pytestmark = pytest.mark.xdist_group("clickhouse")
NOW = datetime.fromtimestamp(BEGIN // 10**9, UTC)
GOLDEN = Path(__file__).parents[1] / "golden"
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
    assert found.one_in == 16
    low = everything["trace_low"].to_numpy()
    assert ordered(found.frame) == ordered(everything[of_sample(low, 16)])
    assert len(found.frame) <= 250 < len(everything)
    odd = found.counted.others["trace_low"].to_numpy()
    assert found.counted.one_in > 1
    assert len(odd) <= 750
    assert of_sample(odd, found.counted.one_in).all()


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


TWO_NAMES = "short names in an Istio mesh"


def same(traces: Any) -> tuple[int, int]:
    """Holds what is counted in SQL against the frame's own counts; the spans of plain traces, and of others."""
    everything = traces.spans(START, END)
    counted = traces.counted(START, END)
    assert everything.one_in == counted.one_in == 1
    ours, theirs = retries.calls(counted.others, counted), retries.calls(everything.frame)
    for sampled in (0.0, 0.1):
        found, expected = (retries.edges(table, sampled=sampled) for table in (ours, theirs))
        durations = ["p50", "p95"]
        pd.testing.assert_frame_equal(
            found.drop(columns=durations), expected.drop(columns=durations), check_exact=False, rtol=1e-9
        )
    named = [(item.code, item.scope) for item in retries.findings(theirs)]
    assert [(item.code, item.scope) for item in retries.findings(ours)] == named
    pd.testing.assert_frame_equal(retries.worst_traces(ours), retries.worst_traces(theirs))
    counts = {
        name: theirs.counts[name] for name in ("spans", "traces", "skewed", "missing_parents", "orphans")
    }
    assert {name: ours.counts[name] for name in counts} == counts
    return counted.totals["spans"], len(counted.others)


@pytest.mark.parametrize("name", [name for name in CASES if name != TWO_NAMES])
def test_cases_are_counted_as_the_frame_does(engine: Engine, url: str, name: str) -> None:
    engine.fill("spans", rows_of_otlp(document(CASES[name][0])))
    with reader(url) as traces:
        same(traces)


def test_all_cases_together_are_counted_as_the_frame_does(engine: Engine, url: str) -> None:
    bodies = [body for body, name in zip(cases(), CASES, strict=True) if name != TWO_NAMES]
    engine.fill("spans", rows_of_otlp(b"\n".join(bodies)))
    with reader(url) as traces:
        assert same(traces)[0] > 0


def test_services_of_two_names_are_for_the_frame(engine: Engine, url: str) -> None:
    rows = [row | {"trace": f"{trace:032x}"} for trace in range(1, 21) for row in CASES[TWO_NAMES][0]]
    engine.fill("spans", rows_of_otlp(document(rows)))
    with reader(url, max_spans=40) as traces:
        assert traces.counted(START, END) is None
        found = traces.spans(START, END)
    assert (found.counted, found.one_in) == (None, 2)


def test_names_that_mean_one_service_are_one_edge(engine: Engine, url: str) -> None:
    """Requests that nobody answered, under several names of a service that answers others, in the same trace too."""
    rows: list[dict[str, Any]] = []
    for trace, calls in enumerate(("ab", "a", "aAb", "AB", "bba", "xxy"), 1):
        own: dict[str, Any] = {"trace": f"{trace:032x}"}
        rows.append(span("web", "server", 1, **own))
        for place, name in enumerate(calls):
            tags = {"peer.service": f"outbound|{ord(name.lower())}||shop.ns.svc.cluster.local"}
            if name in "xy":
                tags = {"peer.service": f"outbound|{ord(name)}||redis.ns.svc.cluster.local"}
            rows.append(span("web", "client", 10 + place, 1, tags=tags, **own))
            if name in "ab":
                rows.append(span("shop", "server", 20 + place, 10 + place, **own))
    engine.fill("spans", rows_of_otlp(document(rows)))
    with reader(url) as traces:
        assert same(traces) == (len(rows), 0)
        edges = retries.edges(retries.calls(pd.DataFrame(traces.spans(START, END).frame)))
    assert edges["requests"].tolist() == [3, 11]


def test_a_job_has_all_requests_of_more_spans_than_are_held(engine: Engine, url: str) -> None:
    mesh = mesh_spans.chain(mesh_spans.TRACERS["opentelemetry"], 3, 0.05, 600)
    engine.fill("spans", rows_of_frame(mesh.frame()))
    slo_set = spec.load([GOLDEN / "valid" / "traces-clickhouse.yaml"])
    with reader(url, max_spans=1500) as traces:
        found = retry_amplification.run(None, traces, slo_set, END, 3600)
    edges = found.edges.set_index(["client", "server"])
    assert edges["requests"].to_dict() == dict(mesh.requests)
    assert edges["attempts"].to_dict() == dict(mesh.attempts)
    [thinned] = [item.message for item in found.findings if item.code == "traces-thinned"]
    assert thinned.startswith("requests and attempts of edges are of all traces")
    assert found.counts["traces"] == 600
    assert 0 < found.paths["entry_requests"].max() < 600


@pytest.mark.parametrize("tracer", mesh_spans.TRACERS)
def test_meshes_are_counted_as_the_frame_does(engine: Engine, url: str, tracer: str) -> None:
    mesh = mesh_spans.chain(mesh_spans.TRACERS[tracer], 3, 0.3, 40)
    engine.fill("spans", rows_of_frame(mesh.frame()))
    with reader(url) as traces:
        plain, _ = same(traces)
    assert (plain > 0) == (tracer.partition("-")[0] == "opentelemetry")
