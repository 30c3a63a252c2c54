"""The job ``retry_amplification`` on spans whose calls are known, with trace sources and metrics that misbehave."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs import retry_amplification
from jobs.reports import slo_report
from jobs.retry_amplification import Choice, RetryFrames, folded, of_spans, place, recent, rows, run
from sloctl import spec
from sloctl.backends.spans import Spans, mixed
from sloctl.backends.traces import decode_zipkin
from sloctl.backends.traces.columns import concat
from sloctl.demo.programs import find_program
from sloctl.errors import BackendUnavailable, UsageError
from sloctl.model import SloSet
from sloctl.report.health import EdgeAmplification
from sloctl.telemetry import textfile
from tests.support.simulated import Simulated

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {traces: {backend: zipkin, url: "http://zipkin:9411", sampling: 100}}
defaults: {owner: team}
slos: [{name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}]
"""
GUARDRAIL = "guardrails: [{preset: retry-amplification, max: 1.1, owner: team}]\n"


def loaded(more: str = GUARDRAIL) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO((FILE + more).encode()))


def zipkin(tries: Sequence[int], age: timedelta = timedelta(minutes=10)) -> Spans:
    """Calls of ``web`` to ``cart``, each of so many attempts of which the last succeeds, as Envoy tells Zipkin."""
    began = int((AT - age).timestamp() * 1_000_000)
    spans: list[dict[str, Any]] = []
    for number, count in enumerate(tries, start=1):
        trace = f"{number:032x}"
        client = {"traceId": trace, "id": f"{number:016x}", "name": "cart.shop.svc.cluster.local:80/*"}
        length = 20_000 * count
        spans.append(
            {
                **client,
                "kind": "CLIENT",
                "timestamp": began,
                "duration": length,
                "localEndpoint": {"serviceName": "web.shop"},
                "tags": {
                    "http.status_code": "200",
                    "upstream_cluster": "outbound|80||cart.shop.svc.cluster.local",
                },
            }
        )
        for attempt in range(count):
            code = "200" if attempt == count - 1 else "503"
            spans.append(
                {
                    **client,
                    "kind": "SERVER",
                    "shared": True,
                    "timestamp": began + 20_000 * attempt,
                    "duration": 1000,
                    "localEndpoint": {"serviceName": "cart.shop"},
                    "tags": {"http.status_code": code},
                }
            )
    return decode_zipkin.decode(json.dumps(spans).encode())


class Traces:
    """A trace source that gives what it is told to."""

    queries = 1

    def __init__(self, answer: Callable[[], Spans]) -> None:
        self.answer = answer
        self.asked: tuple[datetime, datetime] | None = None

    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        self.asked = (start, end)
        return self.answer()

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        return ()

    def link(self, trace_id: str) -> str:
        return f"http://traces/{trace_id}"


def metrics(requests: float, attempts: float) -> EdgeAmplification:
    return EdgeAmplification("shop/web", "shop/cart", requests, attempts, attempts / requests, "metrics")


def codes(found: RetryFrames) -> set[str]:
    return {finding.code for finding in found.findings}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("checkout.shop", "shop/checkout"),
        ("checkout", "checkout"),
        ("", ""),
        (".shop", ".shop"),
        ("a.b.shop", "shop/a.b"),
        ("orders.worker", "orders.worker"),
        ("Shop.Catalog.Api", "Shop.Catalog.Api"),
    ],
)
def test_services_are_called_as_in_metrics(service: str, expected: str) -> None:
    assert place(service, {"shop"}) == expected


def test_edges_are_counted_and_held_against_metrics() -> None:
    found = of_spans(zipkin([1, 1, 3, 1]), loaded(), [metrics(400, 600)])
    (row,) = rows(found)["edges"]
    assert (row["source"], row["destination"]) == ("shop/web", "shop/cart")
    assert (row["requests"], row["attempts"], row["amplification"]) == (4, 6, 1.5)
    assert (row["by_metrics"], row["verdict"], row["retried"], row["recovered"]) == (1.5, "agree", 0.25, 1.0)
    assert row["worst_case"] == 3
    (edge,) = found.amplification
    assert (edge.origin, edge.requests, edge.attempts, edge.amplification) == ("traces", 4, 6, 1.5)


def test_a_disagreement_is_a_finding_with_both_numbers() -> None:
    found = of_spans(zipkin([1, 1, 3, 1]), loaded(), [metrics(400, 1200)])
    (finding,) = (item for item in found.findings if item.code == "retry-sources-disagree")
    assert "1.500" in finding.message and "3.000" in finding.message
    assert finding.scope == {"client": "shop/web", "server": "shop/cart"}


def test_without_metrics_nothing_is_compared() -> None:
    found = of_spans(zipkin([1, 2]), loaded())
    (row,) = rows(found)["edges"]
    assert row["verdict"] == "" and row["by_metrics"] != row["by_metrics"]
    assert not codes(found) & {"retry-edge-without-metrics", "retry-sources-disagree"}


def test_the_verdict_goes_by_what_is_sure() -> None:
    assert rows(of_spans(zipkin([3] * 50), loaded()))["edges"][0]["guardrail"] == "violated"
    # All traces are kept, so that nothing is left to chance; of a sample, one retry in three calls proves nothing.
    sampled = loaded(GUARDRAIL)
    unknown = spec.load(
        [Path("-")], stdin=io.BytesIO((FILE.replace(", sampling: 100", "") + GUARDRAIL).encode())
    )
    few = zipkin([1, 1, 2])
    assert rows(of_spans(few, sampled))["edges"][0]["guardrail"] == "violated"
    assert rows(of_spans(few, unknown))["edges"][0]["guardrail"] == "ok"
    assert rows(of_spans(few, loaded("")))["edges"][0]["guardrail"] == ""


def test_one_trace_alone_has_no_verdict() -> None:
    assert rows(of_spans(zipkin([3]), loaded()))["edges"][0]["guardrail"] == "no_data"


@pytest.mark.parametrize(
    ("undecided", "violated", "guardrail"),
    [(0, 0, "ok"), (1, 0, "ok"), (40, 0, "no_data"), (40, 30, "violated"), (300, 30, "no_data")],
)
def test_what_is_undecided_judges_no_guardrail(undecided: int, violated: int, guardrail: str) -> None:
    """Of 100 requests some had an answer after one that is not to be tried again, as far as anybody knows."""
    tries = zipkin([2] * undecided + [3] * violated + [1] * max(0, 100 - undecided - violated)).frame
    unclear = (tries["code"] == "503") & (tries["trace_low"] <= undecided)
    found = of_spans(Spans(tries.assign(code=tries["code"].astype("str").mask(unclear, "404").astype("category"),
                                        error=tries["error"] & ~unclear)), loaded())  # fmt: skip
    (row,) = rows(found)["edges"]
    assert row["guardrail"] == guardrail
    assert (row["undecided"], row["attempts"] - row["requests"]) == (undecided, 2 * violated)
    messages = [item.message for item in found.findings if item.code == "retry-undecided"]
    assert bool(messages) == bool(undecided)
    total = row["attempts"] + undecided
    assert all(f"{total} attempts at {row['requests']} to" in message for message in messages)


def test_names_with_dots_are_not_taken_apart() -> None:
    began = int((AT - timedelta(minutes=1)).timestamp() * 1_000_000)
    ends = (("CLIENT", "Shop.Catalog.Api", "1"), ("SERVER", "orders.worker", "2"))
    spans = [
        {"traceId": "a", "id": own, "parentId": "1", "kind": kind, "localEndpoint": {"serviceName": service},
         "timestamp": began, "duration": 10}
        for kind, service, own in ends
    ]  # fmt: skip
    del spans[0]["parentId"]
    found = of_spans(decode_zipkin.decode(json.dumps(spans).encode()), loaded())
    (edge,) = rows(found)["edges"]
    assert (edge["source"], edge["destination"]) == ("Shop.Catalog.Api", "orders.worker")
    known = EdgeAmplification("Shop.Catalog/x", "worker/orders", 1, 1, 1.0, "metrics")
    (edge,) = rows(of_spans(decode_zipkin.decode(json.dumps(spans).encode()), loaded(), [known]))["edges"]
    assert edge["destination"] == "worker/orders"


def test_the_window_is_asked_for_and_worst_traces_are_linked() -> None:
    traces = Traces(lambda: zipkin([1, 3]))
    found = run(None, traces, loaded(), AT, 600)
    assert traces.asked == (AT - timedelta(minutes=10), AT)
    (worst,) = rows(found)["worst_traces"]
    assert worst["link"] == f"http://traces/{worst['trace']}"
    assert (worst["attempts"], worst["codes"]) == (3, "503 503 200")


def test_a_service_that_fell_silent_is_a_finding() -> None:
    old = run(None, Traces(lambda: zipkin([1], timedelta(minutes=20))), loaded(), AT)
    assert [f.message for f in old.findings if f.code == "trace-gap"] == [
        "shop/cart: its newest span is 20m old; the limit is 5m",
        "shop/web: its newest span is 20m old; the limit is 5m",
    ]
    fresh = run(None, Traces(lambda: zipkin([1], timedelta(minutes=2))), loaded(), AT)
    assert "trace-gap" not in codes(fresh)
    wider = loaded(GUARDRAIL.replace("]", ", {preset: telemetry-gap, max: 30m, owner: team}]"))
    assert "trace-gap" not in codes(run(None, Traces(lambda: zipkin([1], timedelta(minutes=20))), wider, AT))


def test_a_report_with_traces_says_what_the_job_says() -> None:
    slo_set = loaded("")
    traces = Traces(lambda: zipkin([1, 3], timedelta(minutes=20)))
    job = run(None, traces, slo_set, AT)
    report = slo_report.build(Simulated(slo_set), slo_set, AT, "rules", traces=traces)
    assert traces.asked == (AT - timedelta(minutes=30), AT)
    assert "trace-gap" in codes(job)
    assert [item for item in report.findings if item in job.findings] == list(job.findings)
    assert list(report.retry_amplification) == job.amplification


def test_what_could_not_be_read_is_said() -> None:
    whole = zipkin([1])
    partial = Spans(whole.frame, {"no trace id": 3}, 0, ("a window was cut",))
    messages = {f.code: f.message for f in of_spans(partial, loaded()).findings}
    assert messages["spans-rejected"] == "3 spans could not be read: no trace id"
    assert messages["traces-incomplete"] == "a window was cut"


def test_what_was_not_read_is_neither_lost_nor_scaled() -> None:
    elsewhere = EdgeAmplification("shop/web", "shop/rare", 10, 10, 1.0, "metrics")
    old = zipkin([1, 1, 3, 1], timedelta(minutes=20))
    for spans in (replace(old, one_in=8), replace(old, incomplete=("a window was cut",))):
        part = recent(Traces(partial(replace, spans)), loaded(), AT, lambda: [elsewhere])
        assert not codes(part) & {"trace-gap", "retry-edge-without-traces"}
    whole = recent(Traces(lambda: old), loaded(), AT, lambda: [elsewhere])
    assert codes(whole) >= {"trace-gap", "retry-edge-without-traces"}

    thinned = of_spans(replace(old, one_in=8), loaded())
    (said,) = (finding.message for finding in thinned.findings if finding.code == "traces-thinned")
    assert said.startswith("1 of 8 traces was analysed")
    (edge,), (all_of_it,) = rows(thinned)["edges"], rows(whole)["edges"]
    same = ("requests", "attempts", "amplification")
    assert [edge[name] for name in same] == [all_of_it[name] for name in same]
    # All traces are kept by the mesh, but an eighth of them was read: the rest is open.
    assert edge["interval"][1] > all_of_it["interval"][1]


def test_of_more_edges_than_fit_those_of_some_traces_are_reported_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_amplification, "BREADTH", 60)
    tries = zipkin([1 + number % 3 for number in range(200)]).frame
    names = [f"{name}-{low}" for name, low in zip(tries["service"], tries["trace_low"], strict=True)]
    spans = Spans(tries.assign(service=pd.Categorical(names)), one_in=2)
    found = of_spans(spans, loaded())
    (said,) = (finding.message for finding in found.findings if finding.code == "traces-thinned")
    one_in = int(said.split()[2])
    assert one_in in (4, 8)
    assert 10 < len(found.edges) <= 60
    kept = tries[[int(one) * one_in < 2**64 for one in mixed(tries["trace_low"].to_numpy())]]
    assert len(found.edges) == kept["trace_low"].nunique()
    assert found.edges["attempts"].sum() == (kept["kind"] == "server").sum()


def test_no_spans_are_no_retries_and_no_error() -> None:
    found = run(None, Traces(lambda: zipkin([])), loaded(), AT)
    assert {name: len(items) for name, items in rows(found).items()} == {
        "edges": 0,
        "paths": 0,
        "services": 0,
        "worst_traces": 0,
        "findings": 0,
    }
    assert found.amplification == []


def test_a_failing_backend_fails_the_job() -> None:
    def down() -> Spans:
        raise BackendUnavailable("trace backend at http://zipkin:9411: refused", backend="traces", url="")

    with pytest.raises(BackendUnavailable):
        run(None, Traces(down), loaded(), AT)


def test_a_chain_that_could_melt_down_is_named() -> None:
    found = of_spans(zipkin([12]), loaded())
    (finding,) = (item for item in found.findings if item.code == "retry-meltdown")
    assert "12 attempts" in finding.message
    assert retry_amplification.WINDOW == 1800


def test_envoys_counters_are_held_against_all_calls_of_a_service() -> None:
    spans = zipkin([1, 1, 3, 1])
    agree = EdgeAmplification("*", "shop/cart", 400, 600, 1.5, "metrics")
    found = of_spans(spans, loaded(), [agree])
    assert not codes(found) & {
        "retry-sources-disagree",
        "retry-edge-without-metrics",
        "retry-edge-without-traces",
    }
    found = of_spans(spans, loaded(), [EdgeAmplification("*", "shop/cart", 400, 1200, 3.0, "metrics")])
    (finding,) = (item for item in found.findings if item.code == "retry-sources-disagree")
    assert finding.message.startswith("* to shop/cart: traces say 1.500")


@pytest.mark.parametrize(
    ("sampling", "code"),
    [("", "sampling-unknown"), (", sampling: 20", "traces-sampled"), (", sampling: 100", "")],
)
def test_what_is_sampled_is_said(sampling: str, code: str) -> None:
    text = FILE.replace(", sampling: 100", sampling) + GUARDRAIL
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(text.encode()))
    assert codes(of_spans(zipkin([1, 2]), slo_set)) & {"sampling-unknown", "traces-sampled"} == (
        {code} - {""}
    )


def test_the_edges_are_written_as_metrics(tmp_path: Path) -> None:
    found = of_spans(zipkin([1, 3]), loaded())
    path = tmp_path / "retries.prom"
    for _ in range(2):
        textfile.write_gauges(path, retry_amplification.metrics(found, 'sh"op'), retry_amplification.GAUGES)
    labels = '{slo_set="sh\\"op",source="shop/web",destination="shop/cart"}'
    samples = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert samples == [
        f"sloctl_retry_requests{labels} 2.0",
        f"sloctl_retry_attempts{labels} 4.0",
        f"sloctl_retry_amplification_ratio{labels} 2.0",
    ]
    done = run_promtool(path)
    assert done.returncode == 0, done.stderr
    with pytest.raises(UsageError, match=r"\.prom"):
        textfile.write_gauges(tmp_path / "retries.txt", [], retry_amplification.GAUGES)


def run_promtool(path: Path) -> subprocess.CompletedProcess[str]:
    program = find_program("promtool")
    text = path.read_text(encoding="utf-8")
    return subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True)


def of_many_services(count: int) -> RetryFrames:
    """Calls of so many services to others, the first of which are tried most often."""
    frames = []
    for number in range(count):
        frame = zipkin([1, 1 + (number < 30) * (30 - number)]).frame
        to = {
            "cart.shop": f"cart-{number}.shop",
            "web.shop": f"web-{number}.shop",
            "outbound|80||cart.shop.svc.cluster.local": f"outbound|80||cart-{number}.shop.svc.cluster.local",
        }
        renamed = {name: frame[name].cat.rename_categories(to) for name in ("service", "remote")}
        frames.append(frame.assign(trace_low=frame["trace_low"] + 10 * number, **renamed))
    return of_spans(Spans(concat(frames)), loaded())


def test_people_are_shown_what_adds_most_load_and_may_ask_for_more() -> None:
    whole = rows(of_many_services(60))
    shown = Choice().of(whole)
    assert [row["destination"] for row in shown["edges"]] == [f"shop/cart-{number}" for number in range(10)]
    assert {name: len(items) for name, items in shown.items()} == {
        "edges": 10,
        "paths": 5,
        "services": 5,
        "worst_traces": 5,
        "findings": 10,
    }
    assert shown["services"][0]["service"] == "shop/cart-0"
    assert [len(items) for items in Choice(top=3).of(whole).values()] == [3] * 5
    assert {name: len(items) for name, items in Choice(whole=True).of(whole).items()} == {
        name: len(items) for name, items in whole.items()
    }
    for name in ("cart-41", "shop/cart-41"):
        one = Choice(services=(name,), whole=True).of(whole)
        assert [row["destination"] for row in one["edges"]] == ["shop/cart-41"]
        assert [row["path"] for row in one["paths"]] == [["shop/cart-41"]]
        assert [row["service"] for row in one["services"]] == ["shop/cart-41"]


def test_findings_of_one_kind_are_one_with_a_count() -> None:
    found = folded(rows(of_many_services(60))["findings"])
    assert len({(row["severity"], row["code"]) for row in found}) == len(found)
    (meltdowns,) = (row for row in found if row["code"] == "retry-meltdown")
    assert meltdowns["count"] == 22
    assert "web-0 to shop/cart-0" in meltdowns["message"]
