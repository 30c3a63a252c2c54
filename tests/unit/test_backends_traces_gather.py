"""What is kept of many answers: each trace once, by when it began, within bounds; and what SLO files say of traces."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sloctl import spec
from sloctl.backends.spans import ATTEMPT_TAGS, Spans, mixed, problems
from sloctl.backends.traces.decode_zipkin import decode
from sloctl.backends.traces.gather import READ, Answer, Collector, run
from sloctl.backends.traces.reader import TracePage, TraceReader
from sloctl.backends.traces.sampling import Sample
from sloctl.settings.backends import TracesSettings
from sloctl.spec.sections.sources import TRACES
from tests.support.trace_backends import Span, Trace, rows_of, write

HOUR = 3600 * 10**6
GOLDEN = Path(__file__).parents[1] / "golden"


def spans_of(*traces: Trace) -> Spans:
    (body,) = write(traces) or [b"[]"]
    return decode(body)


def collected(*answers: Spans, start: int = HOUR, end: int = 2 * HOUR, max_spans: int = 1000) -> Spans:
    """``start`` and ``end`` are in microseconds."""
    collector = Collector(start * 1000, end * 1000, max_spans)
    for answer in answers:
        collector.add(Answer(answer))
    return collector.result()


@pytest.mark.parametrize(
    ("root", "child", "kept"),
    [
        (HOUR, HOUR + 5, True),
        (HOUR - 1, HOUR + 5, False),
        (2 * HOUR - 1, 2 * HOUR + 5, True),
        (2 * HOUR, 2 * HOUR + 5, False),
        # Clocks differ: a child may seem to begin before the call of it.
        (HOUR, HOUR - 5, True),
        (2 * HOUR, 2 * HOUR - 5, False),
    ],
)
def test_a_trace_belongs_to_the_time_of_its_root(root: int, child: int, kept: bool) -> None:
    trace = Trace(1, (Span(2, 1, "b", child), Span(1, 0, "a", root)))
    assert len(collected(spans_of(trace)).frame) == (2 if kept else 0)


@pytest.mark.parametrize(("first", "kept"), [(HOUR - 1, False), (HOUR, True), (2 * HOUR - 1, True)])
def test_a_trace_without_a_root_belongs_to_the_time_of_its_earliest_span(first: int, kept: bool) -> None:
    trace = Trace(1, (Span(2, 9, "b", first + 7), Span(1, 9, "a", first)))
    assert len(collected(spans_of(trace)).frame) == (2 if kept else 0)


def test_of_several_roots_the_earliest_counts() -> None:
    trace = Trace(1, (Span(1, 0, "a", HOUR), Span(1, 0, "b", HOUR - 1)))
    assert len(collected(spans_of(trace)).frame) == 0


def test_a_trace_that_comes_again_counts_once_and_one_that_grew_is_completed() -> None:
    young = Trace(1, (Span(1, 0, "a", HOUR),))
    grown = Trace(1, (*young.spans, Span(2, 1, "b", HOUR + 1)))
    other = Trace((1 << 64) + 1, (Span(1, 0, "a", HOUR),))
    expected = sorted(grown.rows() + other.rows())
    for answers in ((young, grown, other), (grown, young, other), (grown, other, grown, young)):
        found = collected(*map(spans_of, answers))
        assert problems(found.frame) == []
        assert rows_of(found.frame) == expected
        assert found.duplicates == sum(len(trace.spans) for trace in answers) - 3


@pytest.mark.parametrize("at_once", [10, 17, 200])
def test_beyond_the_bound_whole_traces_stay_by_their_hash(at_once: int) -> None:
    """However they come, again and again too, and with ids that some answers cut to 64 bits."""
    traces = [
        Trace(number % 2 << 64 | number, (Span(1, 0, "a", HOUR + number), Span(2, 1, "b", HOUR + number)))
        for number in range(1, 201)
    ]
    pages = [traces[at : at + at_once] for at in range(0, len(traces), at_once)]
    found = collected(*(spans_of(*page) for page in [*pages, *reversed(pages)]), max_spans=100)
    kept = [
        one for one in traces if int(mixed(np.array([one.id % 2**64], np.uint64))[0]) * found.one_in < 2**64
    ]
    assert (found.one_in > 1, found.incomplete) == (True, ())
    assert rows_of(found.frame) == sorted(row for trace in kept for row in trace.rows())
    assert 20 < len(found.frame) <= 100
    assert collected(spans_of(*traces), max_spans=400).one_in == 1


def test_one_large_trace_does_not_displace_the_others() -> None:
    large = Trace(300, tuple(Span(number, 0, "a", HOUR) for number in range(1, 200)))
    traces = [Trace(number, (Span(1, 0, "a", HOUR + number),)) for number in range(1, 71)]
    found = collected(spans_of(*traces), spans_of(large), spans_of(large), max_spans=100)
    assert (len(found.frame), found.one_in) == (70, 1)
    assert found.incomplete == ("1 trace of more than 12 spans left out",)


def test_what_is_lost_is_said_once_with_its_number() -> None:
    collector = Collector(0, 1, 10)
    for _ in range(2):
        collector.add(Answer(lost={"{n} trace{s} expired": 1}))
    collector.add(
        Answer(Spans(spans_of().frame, {"no trace id": 2}, 0, ("a page was lost",)), lost={"{n} page{s}": 1})
    )
    found = collector.result()
    assert found.incomplete == ("a page was lost", "1 page", "2 traces expired")
    assert found.rejected == {"no trace id": 2}


def test_tasks_run_in_parallel_and_lead_to_others() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def task(depth: int, at: int) -> Answer:
        if depth == 0:
            barrier.wait()
        trace = Trace(at + 1, (Span(at + 1, 0, "a", HOUR + at),))
        more = [partial(task, depth + 1, 3 * at + k) for k in (1, 2, 3)] if depth < 3 else []
        return Answer(spans_of(trace), more)

    collector = Collector(0, 2 * HOUR * 1000, 10**6)
    with ThreadPoolExecutor(3) as pool:
        run([partial(task, 0, at) for at in (1000, 2000, 3000)], pool, 3, collector)
    assert len(collector.result().frame) == 3 * (1 + 3 + 9 + 27)


def test_the_first_error_ends_all() -> None:
    done: list[int] = []

    def task(number: int) -> Answer:
        done.append(number)
        if number == 5:
            raise ValueError("broken")
        return Answer()

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="broken"):
        run([partial(task, number) for number in range(100)], pool, 1, Collector(0, 1, 1))
    assert done[-1] == 5


def test_reading_has_an_end_and_what_was_read_is_spread_evenly() -> None:
    done: list[int] = []

    def task(number: int) -> Answer:
        done.append(number)
        return Answer(spans_of(Trace(number + 1, (Span(1, 0, "a", HOUR + number),))))

    collector = Collector(0, 2 * HOUR * 1000, 10)
    with ThreadPoolExecutor(1) as pool:
        run([partial(task, n) for n in range(800)], pool, 1, collector)
    assert len(done) == READ * 10 + 1
    assert {number // 100 for number in done} == set(range(8))
    assert collector.result().incomplete == (
        "reading stopped after 160 spans with 639 questions left: ask for a shorter time or fewer services",
    )


def test_the_slo_file_says_what_is_to_be_known_of_traces() -> None:
    sources = spec.load([GOLDEN / "valid" / "traces.yaml"]).sources
    assert (sources.traces_backend, sources.traces) == ("tempo", "http://tempo:3200")
    assert (sources.traces_ui, sources.attempt_tag) == ("https://grafana.example.org", "envoy.attempt_count")
    assert sources.sampling == Decimal("0.1")
    plain = spec.load([GOLDEN / "valid" / "design.yaml"]).sources
    assert (plain.traces_ui, plain.attempt_tag, plain.sampling) == ("", "", None)
    assert spec.load([GOLDEN / "valid" / "traces-clickhouse.yaml"]).sources.traces_table == "otel.otel_traces"


def test_the_reference_names_the_tags_that_are_looked_at() -> None:
    (field,) = (item for item in TRACES.fields if item.key == "attempt_tag")
    assert [tag for tag in ATTEMPT_TAGS if f"`{tag}`" not in field.without] == []


class InMemory(TraceReader[str]):
    """A backend that holds traces in memory, and gives ``limit`` of a window at most; its unit is a millisecond."""

    UNIT = 10**6
    LIMIT = 3

    def __init__(self, traces: Sequence[Trace], limit: int | None = None) -> None:
        super().__init__(TracesSettings("http://in-memory"), limit=limit)
        self.traces = traces
        self.asked: list[tuple[int, int]] = []

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        return ["a"]

    def link(self, trace_id: str) -> str:
        return ""

    def _whats(
        self, services: tuple[str, ...], start: datetime, end: datetime, sample: Sample
    ) -> tuple[Sequence[str], Mapping[str, int]]:
        return ["all"], {}

    def _page(self, what: str, start: int, end: int) -> TracePage:
        assert what == "all"
        self.asked.append((start, end))
        found = [trace for trace in self.traces if start <= trace.begin // 1000 <= end][: self._limit]
        return TracePage(len(found), spans_of(*found))


@pytest.mark.parametrize("length", [3, 8, 17])
def test_windows_of_any_length_are_halved_without_loss(length: int) -> None:
    """A trace in each millisecond, of which three are too many for one answer."""
    traces = [Trace(n + 1, (Span(1, 0, "a", HOUR + n * 1000),)) for n in range(length)]
    start = datetime.fromtimestamp(HOUR / 10**6, UTC)
    with InMemory(traces) as reader:
        found = reader.spans(start, start + timedelta(milliseconds=length))
        asked = sorted(reader.asked)
    assert (len(found.frame), found.incomplete) == (length, ())
    # A second more is asked for on either side, for clocks differ.
    assert (asked[0][0], max(end for _, end in asked)) == (HOUR // 1000 - 1000, HOUR // 1000 + length + 1000)
    assert len(asked) == len(set(asked)), "no window is asked for twice"


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_full_answer_says_into_how_many_parts_its_window_is_cut(newest_first: bool) -> None:
    """2,000 traces, of which 100 are an answer: what is thrown away is little, if the newest come first."""
    traces = [Trace(n + 1, (Span(1, 0, "a", HOUR + n * 900_000),)) for n in range(2_000)]
    ordered = traces[::-1] if newest_first else random.Random(1).sample(traces, len(traces))
    start = datetime.fromtimestamp(HOUR / 10**6, UTC)
    with InMemory(ordered, limit=100) as reader:
        found = reader.spans(start, start + timedelta(minutes=30))
    assert (len(found.frame), found.incomplete) == (2_000, ())
    assert len(reader.asked) <= (27 if newest_first else 63)
