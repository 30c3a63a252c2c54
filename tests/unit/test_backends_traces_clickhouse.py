"""What ClickHouse's HTTP interface may answer, simulated: a real engine is tried by ``make clickhouse``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from sloctl.backends.spans import mixed
from sloctl.backends.traces import clickhouse
from sloctl.backends.traces import clickhouse_calls as calls
from sloctl.backends.traces.client import open_traces
from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendRefused,
    BackendTimeout,
    BadAnswer,
    QueryRejected,
)
from sloctl.settings.backends import TracesSettings
from tests.support.faulty_server import Behaviour, FaultyServer, Handler, Sleeps, as_json, status

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
END = START + timedelta(minutes=5)
NANOS = int(START.timestamp()) * 10**9
ROWS = b"".join(
    struct.pack("<QQQQqqQ", 0, trace, 10 * trace + place, 10 * trace if place else 0, NANOS, 5, 77)
    for trace in range(1, 101)
    for place in (0, 1)
)
SAID = ["77", "5", "web", "GET /", "Server", "Error", {"http.status_code": "503", "istio.namespace": "shop"}]


def table(*rows: object, kind: str = "Map(LowCardinality(String), String)") -> dict[str, Any]:
    meta = [{"name": "SpanAttributes", "type": kind}]
    return {"meta": meta, "data": list(rows), "rows": len(rows), "statistics": {"elapsed": 0.1}}


class Fake:
    """A ClickHouse of 200 spans that takes limits or does not, and notes what it is asked."""

    def __init__(self, *, readonly: bool = False, kind: str = "Map(LowCardinality(String), String)") -> None:
        self.readonly, self.kind = readonly, kind
        self.settings = [["limit", "0"], ["result_overflow_mode", "throw"]]
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def __call__(self, handler: Handler) -> None:
        form, sql = handler.received.form, handler.received.body.decode()
        self.asked.append((sql, form))
        self._answer(sql, form)(handler)

    def _answer(self, sql: str, form: Mapping[str, str]) -> Behaviour:
        if self.readonly and "max_execution_time" in form:
            return error(164, "Cannot modify 'max_execution_time' setting in readonly mode")
        if "system.settings" in sql:
            return as_json(table(*self.settings))
        if "LIMIT 0" in sql:
            return as_json(table(kind=self.kind))
        if sql.startswith("SELECT sum(size)"):
            return as_json(table([200, 0, 0, 3]))
        if "ARRAY JOIN" in sql:
            return status(200, struct.pack("<7Q", 0, calls.PLAIN, 0, 0, 100, 200, 0))
        if "WHERE bad" in sql:
            return status(200)
        if sql.endswith("RowBinary"):
            rows = np.frombuffer(ROWS, clickhouse._ROW)
            kept = rows[mixed(rows["low"]) <= np.uint64(int(form["param_sample"]))]
            return status(200, kept.tobytes())
        return as_json(table(SAID))


def error(code: int, said: str, answer: int = 500) -> Behaviour:
    text = f"Code: {code}. DB::Exception: {said}. (NAME) (version 25.8.1.1 (official build))\n"
    return status(answer, text, {"X-ClickHouse-Exception-Code": str(code)})


def reader(url: str, **options: Any) -> Any:
    return open_traces(TracesSettings(url), "clickhouse", sleep=Sleeps(), jitter=lambda: 1.0, **options)


def test_spans_come_as_numbers_and_what_they_say_once() -> None:
    fake = Fake()
    with FaultyServer(fake) as server, reader(server.url, table="otel.spans") as source:
        found = source.spans(START, END, ["it's\\"])
    assert len(found.frame) == 200
    assert (found.one_in, found.rejected, found.incomplete) == (1, {"ids are not valid": 3}, ())
    first = found.frame.astype({"service": "str", "code": "str", "kind": "str"}).iloc[1]
    assert (first["trace_low"], first["span"], first["parent"], first["duration"]) == (1, 11, 10, 5)
    assert (first["service"], first["code"], first["kind"], first["error"]) == ("web", "503", "server", True)
    assert first["start"].value == NANOS
    for sql, form in fake.asked:
        assert "`otel`.`spans`" in sql
        assert "it's" not in sql
        assert (form["wait_end_of_query"], form["max_execution_time"]) == ("1", "30")
        assert (form["result_overflow_mode"], form["skip_unavailable_shards"]) == ("throw", "0")
    assert fake.asked[0][1]["param_services"] == r"['it\'s\\']"


def test_of_more_spans_than_are_held_whole_traces_are_asked_for_by_a_hash() -> None:
    fake = Fake()
    with FaultyServer(fake) as server, reader(server.url, max_spans=100) as source:
        found = source.spans(START, END)
    assert found.one_in in (8, 16)
    assert 0 < len(found.frame) <= 100
    assert found.counted is not None
    assert (found.counted.totals["traces"], found.counted.one_in) == (100, 1)
    lows = found.frame["trace_low"].to_numpy()
    assert (np.unique(lows, return_counts=True)[1] == 2).all()
    assert (mixed(lows) < np.uint64(2**64 // found.one_in)).all()


def test_a_server_that_cannot_count_gives_a_sample_and_says_so() -> None:
    def cannot(handler: Handler) -> None:
        if "ARRAY JOIN" in handler.received.body.decode():
            error(241, "Memory limit (total) exceeded")(handler)
        else:
            Fake()(handler)

    with FaultyServer(cannot) as server, reader(server.url, max_spans=100) as source:
        found = source.spans(START, END)
    assert (found.counted, found.one_in > 1, len(found.frame) > 0) == (None, True, True)
    [said] = found.incomplete
    assert said.startswith("ClickHouse did not count the calls of all traces: trace backend at http://127.")
    assert "too much at once (241)" in said


def test_a_user_who_may_not_set_limits_asks_without_them() -> None:
    fake = Fake(readonly=True)
    with FaultyServer(fake) as server, reader(server.url) as source:
        found = source.spans(START, END)
        assert (len(found.frame), found.incomplete) == (200, ())
        fake.settings = [["limit", "0"], ["result_overflow_mode", "break"], ["skip_unavailable_shards", "1"]]
        [said] = source.spans(START, END).incomplete
    assert said.endswith("the user has result_overflow_mode = break, skip_unavailable_shards = 1")
    assert sum("max_execution_time" in form for _, form in fake.asked) == 1


def test_a_span_whose_text_is_gone_is_rejected() -> None:
    def forgets(handler: Handler) -> None:
        if "any(ServiceName)" in handler.received.body.decode():
            as_json(table())(handler)
        else:
            Fake()(handler)

    with FaultyServer(forgets) as server, reader(server.url) as source:
        found = source.spans(START, END)
    assert len(found.frame) == 0
    assert found.rejected["its text was gone by the time that it was asked for"] == 200


FAULTS: dict[str, tuple[Any, type[BackendError], str]] = {
    "memory": (error(241, "Memory limit (total) exceeded"), BackendLimit, "ask for a shorter time"),
    "time": (error(159, "Timeout exceeded: elapsed 30 s", 408), BackendTimeout, "SLOCTL_TRACES_TIMEOUT"),
    "password": (error(516, "default: Authentication failed", 403), BackendRefused, "SLOCTL_TRACES_USERNAME"),
    "rights": (error(497, "u: Not enough privileges"), BackendRefused, "SLOCTL_TRACES_USERNAME"),
    "no table": (error(60, "Unknown table expression", 404), BadAnswer, "sources.traces.table"),
    "another table": (error(47, "Unknown identifier `TraceId`", 404), BadAnswer, "sources.traces.table"),
    "busy": (error(202, "Too many simultaneous queries"), BackendRateLimit, "SLOCTL_TRACES_CONCURRENCY"),
    "other": (error(43, "Illegal types of arguments", 400), QueryRejected, "rejected (43)"),
    "within an answer": (
        status(200, '{"meta":[],"data":[\n["web"]Code: 241. DB::Exception: Memory limit exceeded'),
        BackendLimit,
        "too much at once (241)",
    ),
    "within an answer, by a header": (
        status(200, '{"meta":[],"data":[', {"X-ClickHouse-Exception-Code": "159"}), BackendTimeout, "(159)",
    ),
    "rows are missing": (
        as_json({"meta": [], "data": [["a"]], "rows": 2}), BadAnswer, "an answer of an unknown form",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_error(name: str) -> None:
    behaviour, kind, part = FAULTS[name]
    with FaultyServer(behaviour) as server, reader(server.url) as source:
        with pytest.raises(kind) as caught:
            source.services(START, END)
        assert part in f"{caught.value} {caught.value.hint}"


def test_spans_that_break_off_with_an_exception_are_none() -> None:
    def breaks(handler: Handler) -> None:
        if handler.received.body.decode().endswith("RowBinary"):
            text = b"Code: 241. DB::Exception: Memory limit exceeded"
            status(200, ROWS[:5600] + text + b" " * (-len(text) % 56))(handler)
        else:
            Fake()(handler)

    with FaultyServer(breaks) as server, reader(server.url) as source, pytest.raises(BackendLimit):
        source.spans(START, END)


def test_a_service_may_be_called_like_an_exception() -> None:
    name = "Code: 241. DB::Exception: x"
    with FaultyServer(as_json(table([name]))) as server, reader(server.url) as source:
        assert source.services(START, END) == [name]


def test_attributes_of_another_type_are_refused() -> None:
    with FaultyServer(Fake(kind="String")) as server, reader(server.url) as source:
        with pytest.raises(BadAnswer, match="attributes of type String") as caught:
            source.spans(START, END)
        assert "sources.traces.table" in caught.value.hint


def test_links_lead_to_pages_that_are_named_or_nowhere() -> None:
    assert reader("http://ch:8123").link("ab") == ""
    assert reader("http://ch:8123", ui="https://traces.example.org/").link("a/b") == (
        "https://traces.example.org/trace/a%2Fb"
    )
