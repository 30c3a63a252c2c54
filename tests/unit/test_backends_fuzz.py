"""Whatever servers and files of spans hold, sloctl answers with results or with errors of its own (``make fuzz``)."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.recording import record
from jobs.reports import slo_report
from sloctl.backends.alertmanager import client as alertmanager
from sloctl.backends.answers import judged
from sloctl.backends.http.answers import Failure, Reply
from sloctl.backends.prometheus import session as prometheus
from sloctl.backends.protocols import MetricSource, Series
from sloctl.backends.spans import problems
from sloctl.backends.traces import files, jaeger, tempo
from sloctl.backends.traces.judge import Gone, judge
from sloctl.errors import SloctlError, UsageError
from sloctl.ledger.store import open_ledger
from sloctl.model import SloSet
from sloctl.settings.secret import Secret
from tests.support.scripted import Scripted, scrape_times
from tests.support.shop_slos import AT, CHECKOUT, EVERY, JOBS, LATENCY, NOON, flow, slos
from tests.support.simulated import Simulated
from tests.support.spans_documents import TRACE, otlp, zipkin
from tests.support.spans_documents import jaeger as jaeger_document

JUNK: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1e308,
        10**30,
        "",
        "NaN",
        "+Inf",
        "-Inf",
        "1e400",
        "x",
        "\0",
        "\ud800",
        "\U0001f600",
    ),
    *([], {}, [[]], [{}], {"": {}}, [1, "1"], "9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+14:00"),
]
_EXAMPLES = settings().max_examples
FAST, SLOW = (max(3, _EXAMPLES // share) for share in (4, 25))
"""How many examples: as many as ``make fuzz`` asks for, by what one takes."""
TIME = "2024-03-01T00:00:00Z"
SILENCE = {
    "id": "a",
    "matchers": [{"name": "a", "value": "b", "isRegex": False, "isEqual": True}],
    "startsAt": TIME,
    "endsAt": TIME,
    "createdBy": "me",
    "comment": "why",
    "status": {"state": "active"},
}
ALERT = {
    "labels": {"a": "b"},
    "annotations": {},
    "receivers": [{"name": "x"}],
    "startsAt": TIME,
    "endsAt": TIME,
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
}


def success(data: object) -> object:
    return {"status": "success", "data": data, "warnings": ["w"], "infos": [], "isPartial": False}


@dataclass(frozen=True)
class Target:
    """An answer as it should be, and what reads it."""

    read: Callable[[Reply], object]
    document: object


def asked(path: str, document: object) -> Target:
    return Target(partial(prometheus.judge, path), success(document))


MATRIX = {"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": [[1, "1"], [2, "NaN"]]}]}
TARGETS: Mapping[str, Target] = {
    "vector": asked(
        "/api/v1/query",
        {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, "1"]}], "stats": {}},
    ),
    "scalar": asked("/api/v1/query", {"resultType": "scalar", "result": [1, "1"]}),
    "matrix": asked("/api/v1/query_range", MATRIX),
    "label values": asked("/api/v1/label/a/values", ["a"]),
    "series": asked("/api/v1/series", [{"a": "b"}]),
    "rules": asked("/api/v1/rules", {"groups": [{"name": "a", "rules": [{"health": "ok"}]}]}),
    "silences": Target(
        partial(alertmanager._many, alertmanager._SILENCES, alertmanager._silence), [SILENCE, SILENCE]
    ),
    "alerts": Target(partial(alertmanager._many, alertmanager._ALERTS, alertmanager._alert), [ALERT]),
    "Jaeger's services": Target(partial(judge, jaeger._services_of("data")), {"data": ["a", "b"]}),
    "Tempo's search": Target(
        partial(judge, tempo._search),
        {
            "traces": [{"traceID": "a", "startTimeUnixNano": "1"}],
            "metrics": {"totalJobs": 5, "completedJobs": "3"},
        },
    ),
    "Tempo's count": Target(
        partial(judge, tempo._total), {"series": [{"samples": [{"value": 1.5}, {"value": "2"}]}]}
    ),
    "Tempo's values": Target(
        partial(judge, tempo._values), {"tagValues": [{"type": "string", "value": "a"}]}
    ),
}
SPANS: Mapping[str, object] = {
    "Zipkin": [zipkin(TRACE)],
    "Jaeger": jaeger_document(TRACE),
    "OTLP": otlp(TRACE),
    "Tempo": {"trace": otlp(TRACE, ids="base64", names=True)},
}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a document."""
    yield path
    if isinstance(node, dict | list):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(item, (*path, key))


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a place."""
    if not path:
        return value
    if isinstance(node, dict):
        return node | {path[0]: changed(node[path[0]], path[1:], value)}
    return [changed(item, path[1:], value) if at == path[0] else item for at, item in enumerate(node)]


@st.composite
def bodies(draw: st.DrawFn, document: object) -> bytes:
    """A document in which values are replaced, and of which bytes are cut out, put in or changed."""
    for _ in range(draw(st.integers(0, 3))):
        document = changed(
            document, draw(st.sampled_from(list(places(document)))), draw(st.sampled_from(JUNK))
        )
    body = json.dumps(document).encode()
    if draw(st.booleans()):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
        body = body[:at] + draw(st.binary(max_size=4)) + (body[end:] if draw(st.booleans()) else body[at:])
    return body


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=FAST)
@given(data=st.data())
def test_an_answer_of_a_server_is_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    body = data.draw(bodies(target.document))
    status = data.draw(st.sampled_from([200, 200, 200, 200, 400, 404, 422, 429, 500, 503]))
    with suppress(Failure, Gone):
        target.read(Reply(status, {}, body, 0))


@pytest.mark.parametrize("name", TARGETS)
def test_an_answer_as_it_should_be_is_read(name: str) -> None:
    target = TARGETS[name]
    assert target.read(Reply(200, {}, json.dumps(target.document).encode(), 0))


@pytest.mark.parametrize("name", SPANS)
@settings(max_examples=FAST, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_of_spans_is_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(data.draw(bodies(SPANS[name])))
    with suppress(UsageError):
        assert problems(files.read([path]).frame) == []


# --- what jobs make of answers that have the right form


class Hostile:
    """A metric source that asks another one, and changes numbers, times and labels of what it answers."""

    warnings: Sequence[str] = ()
    queries = 0
    VALUES = ("NaN", "+Inf", "-Inf", "1e200", "-1e200", "5e-324", "-5", "0", "0.1", "1e18")
    TIMES = (0.5, -0.001, 7, -300, 86400, 1e8, -1e9)

    def __init__(self, source: MetricSource, chance: random.Random) -> None:
        self._source, self._chance = source, chance

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        return self._odd(self._source.query(expr, at))

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self._odd(found) for name, found in self._source.query_many(queries, at).items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        return self._odd(self._source.query_range(expr, start, end, step))

    def _odd(self, found: Sequence[Series]) -> Sequence[Series]:
        chance = self._chance
        if chance.random() < 0.5:
            return found
        series = [item for item in found if chance.random() < 0.95]
        series += [item for item in series if chance.random() < 0.1]
        return judged(map(self._one, series))

    def _one(self, item: Series) -> Series:
        chance = self._chance
        metric = dict(item["metric"])
        for name in list(metric):
            if chance.random() < 0.05:
                metric[name] = chance.choice(["", "x", "\ufffd", "9" * 300, "a\nb"])
            elif chance.random() < 0.02:
                del metric[name]
        if "value" in item:
            return {"metric": metric, "value": self._sample(*item["value"])}
        return {"metric": metric, "values": [self._sample(*pair) for pair in item["values"]]}

    def _sample(self, time: float, text: str) -> tuple[float, str]:
        chance = self._chance.random()
        if chance < 0.1:
            text = self._chance.choice(self.VALUES)
        elif chance < 0.15:
            time += self._chance.choice(self.TIMES)
        return float(time), text


@given(seed=st.integers(0, 2**32))
@example(seed=262145)
@settings(max_examples=SLOW)
def test_a_report_survives_what_has_the_right_form(seed: int) -> None:
    chance = random.Random(seed)
    slo_set = slos(CHECKOUT, EVERY, LATENCY, JOBS)
    flows = [flow(slo_set, index, "checkout", 100, 1) for index in range(len(slo_set.slos))]
    failing = {slo.id: 0.0 for slo in slo_set.slos if chance.random() < 0.3}
    source = Hostile(Simulated(slo_set, flows, failing=failing), chance)
    with suppress(SloctlError):
        report = slo_report.build(source, slo_set, AT, chance.choice(["auto", "rules", "raw"]))
        assert all(
            0 <= item.bad <= item.total < float("inf") for item in report.slos if item.total is not None
        )


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's file with its tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    open_ledger(Secret(f"sqlite:///{path}")).close()
    return path


@given(seed=st.integers(0, 2**32))
@settings(max_examples=SLOW)
def test_recording_survives_what_has_the_right_form(seed: int, empty: Path) -> None:
    chance = random.Random(seed)
    slo_set: SloSet = slos(CHECKOUT, EVERY, LATENCY)
    copy = shutil.copy(empty, empty.with_name(f"{seed}.db"))
    source = Hostile(Scripted(slo_set, scrape_times(NOON - 7200, NOON + 600, 30)), chance)
    with open_ledger(Secret(f"sqlite:///{copy}")) as ledger, suppress(SloctlError):
        record.run(source, slo_set, ledger, datetime.fromtimestamp(NOON, UTC))
