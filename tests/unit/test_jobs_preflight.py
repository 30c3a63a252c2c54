"""Preflight against servers in memory: a good one, and one slip after the other."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alert_rules import manifest
from jobs.preflight import CODES, render, run
from jobs.preflight.cost import ask
from jobs.preflight.labelsets import LabelSet, evaluate, labels, matches
from jobs.preflight.survey import seconds_of
from sloctl import naming, spec
from sloctl.backends.protocols import Series
from sloctl.cli.validate import preflight_text
from sloctl.errors import BadAnswer
from sloctl.model import SloSet
from sloctl.promql import parsing
from sloctl.promql.parsing import Aggregate, Binary, Call, Expr, Literal, Select, parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
mesh: {matchers: {cluster: eu1}}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: latency, service: checkout, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
  - name: age
    service: billing
    objective: 99
    sli: {events: {bad: "rate(jobs_late_total[$window])", total: "rate(jobs_total[$window])"}}
guardrails:
  - {preset: retry-amplification}
  - {preset: sidecar-restarts}
"""
PROXY = {"job": "proxies", "instance": "10.0.0.1:15020", "pod": "checkout-1", "cluster": "eu1"}
KSM = {"job": "ksm", "instance": "10.0.0.9:8080", "pod": "ksm-0", "cluster": "eu1"}
SERVICE = {
    "destination_service_name": "checkout",
    "destination_service_namespace": "shop",
    "source_workload": "web",
    "source_workload_namespace": "shop",
    "request_protocol": "http",
    "response_code": "200",
    "response_flags": "-",
}
BOUNDS = ("5", "25", "100", "250", "1000", "+Inf")
All = list[dict[str, str]]


def good() -> All:
    """What a whole mesh exposes for the file above."""
    found: All = [{"__name__": "up", **PROXY}, {"__name__": "up", **KSM}]
    found.append({"__name__": "kube_pod_start_time", **KSM, "namespace": "shop", "pod": "checkout-1"})
    for reporter in ("source", "destination"):
        own = {**PROXY, **SERVICE, "reporter": reporter}
        found.append({"__name__": "istio_requests_total", **own})
        bucket = "istio_request_duration_milliseconds_bucket"
        found += [{"__name__": bucket, **own, "le": bound} for bound in BOUNDS]
    for name in ("jobs_total", "jobs_late_total"):
        found.append({"__name__": name, **PROXY})
    upstream = "outbound|8080||checkout.shop.svc.cluster.local"
    for name in ("upstream_rq_total", "upstream_rq_completed", "upstream_rq_pending_overflow"):
        found.append({"__name__": f"envoy_cluster_{name}", **PROXY, "cluster_name": upstream})
    for name in ("restarts_total", "last_terminated_reason"):
        own = {**KSM, "namespace": "shop", "pod": "checkout-1", "container": "istio-proxy", "reason": "Error"}
        found.append({"__name__": f"kube_pod_container_status_{name}", **own, "uid": "1"})
    return found


@dataclass
class Memory:
    """A server of these series, each with the same value; ``interval`` is seconds between scrapes."""

    series: All
    interval: float = 15.0
    version: str = "2.53.0"
    retention: str = "60d"
    groups: list[dict[str, Any]] = field(default_factory=list)
    warnings: Sequence[str] = ()
    silent: bool = False
    asked: int = 0
    build: Mapping[str, str] = field(default_factory=dict)
    started: datetime | None = None

    @property
    def queries(self) -> int:
        return self.asked

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        self.asked += 1
        found = self._values(parse(expr))
        return [{"metric": dict(key), "value": [at.timestamp(), str(value)]} for key, value in found.items()]

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        raise AssertionError("a preflight asks of one instant")

    def metric_names(
        self, match: str | Sequence[str] = (), start: datetime | None = None, end: datetime | None = None
    ) -> Sequence[str]:
        return self.label_values("__name__", match, start, end)

    def label_values(
        self,
        label: str,
        match: str | Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[str]:
        self.asked += 1
        chosen = self.series
        if match:
            assert isinstance(match, str)
            node = parse(match)
            assert isinstance(node, Select)
            chosen = [one for one in self.series if _selected(one, node)]
        return sorted({one[label] for one in chosen if label in one})

    def build_info(self) -> Mapping[str, str]:
        return {"version": self._tell(self.version), **self.build}

    def runtime_info(self) -> Mapping[str, str]:
        started = {"startTime": self.started.isoformat()} if self.started else {}
        return {"storageRetention": self._tell(self.retention), **started}

    def alertmanagers(self) -> Sequence[str]:
        return []

    def rules(self) -> Sequence[dict[str, Any]]:
        self._tell("")
        return self.groups

    def _tell(self, text: str) -> str:
        self.asked += 1
        if self.silent:
            raise BadAnswer("not found (404)", backend="prometheus", url="http://memory")
        return text

    def lookup(self, select: Select) -> list[LabelSet]:
        return [labels(one) for one in self.series if _selected(one, select)]

    def _values(self, node: Expr) -> dict[LabelSet, float]:
        match node:
            case Aggregate(operator="count" | "group"):
                found: dict[LabelSet, float] = {}
                for item in self._values(node.expr):
                    key = frozenset(pair for pair in item if (pair[0] in node.labels) != node.without)
                    found[key] = found.get(key, 0.0) + 1 if node.operator == "count" else 1.0
                return found
            case Binary(operator=">", left=Aggregate(operator="count"), right=Literal(value=limit)):
                return {key: value for key, value in self._values(node.left).items() if value > float(limit)}
            case Binary(operator="unless", left=Binary(operator=">" | "unless"), on=on):
                right = {_only(item, on) for item in self._values(node.right)}
                return {k: v for k, v in self._values(node.left).items() if _only(k, on) not in right}
            case Aggregate(operator="quantile"):
                (read,) = [r for r in parsing.reads(node) if r.select.range]
                return dict.fromkeys(
                    evaluate(node, self.lookup) or (), float(read.select.range // self.interval)
                )
            case Binary(operator="or"):
                return self._values(node.left) | self._values(node.right)
            case Call(
                function="label_replace",
                args=(inner, Literal(value=str(label)), Literal(value=value), _, Literal(value="")),
            ):
                return {key | {(label, str(value))}: number for key, number in self._values(inner).items()}
        return dict.fromkeys(evaluate(node, self.lookup) or (), 1.0)


def _only(item: LabelSet, names: Sequence[str] | None) -> LabelSet:
    return item if names is None else frozenset(pair for pair in item if pair[0] in names)


def _selected(one: dict[str, str], select: Select) -> bool:
    if select.metric and one["__name__"] != select.metric:
        return False
    return matches(frozenset(one.items()), select.matchers)


def loaded(text: str = FILE) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO(text.encode()))


def without(*names: str) -> Callable[[All], All]:
    return lambda series: [one for one in series if not re.fullmatch("|".join(names), one["__name__"])]


def changed(where: dict[str, str], **new: str) -> Callable[[All], All]:
    """Series with the labels ``where``, with other labels (an empty value removes one)."""

    def change(series: All) -> All:
        return [
            {k: v for k, v in (one | new).items() if v} if where.items() <= one.items() else one
            for one in series
        ]

    return change


def findings(server: Memory, text: str = FILE) -> list[tuple[str, str]]:
    preflight = run(server, loaded(text), NOW)
    for item in preflight.found:
        assert item.severity in CODES[item.code], item
    return [(item.severity, item.code) for item in preflight.found]


def serious(server: Memory, text: str = FILE) -> set[tuple[str, str]]:
    return {(severity, code) for severity, code in findings(server, text) if severity != "info"}


def test_a_good_server_has_nothing_to_find_fault_with() -> None:
    server = Memory(good())
    preflight = run(server, loaded(), NOW)
    assert [item for item in preflight.found if item.severity != "info"] == []
    assert not preflight.fails
    assert {item.code for item in preflight.found} == {"not-yet", "rules-not-loaded"}
    assert server.asked < 20


def test_without_any_start_time_it_says_what_is_not_counted() -> None:
    found = run(Memory(without("kube_pod_start_time")(good())), loaded(), NOW).found
    [told] = [item for item in found if item.code == "no-start-time"]
    assert told.severity == "info" and "before its first scrape" in told.message
    assert "istio_agent_process_start_time_seconds" in told.hint


REQUESTS = "istio_requests_total"
ENVOY = "envoy_cluster_.*"


def twice(series: All) -> All:
    """Every proxy is scraped by another job too, whose targets have other labels."""
    other = {"job": "pods", "instance": "10.0.0.1:15090", "kubernetes_pod_name": "checkout-1"}
    return series + [
        one | other
        for one in series
        if one.get("job") == "proxies" and not one["__name__"].startswith("jobs_")
    ]


SLIPS: dict[str, tuple[Callable[[All], All], set[tuple[str, str]], str]] = {
    "nothing at all": (lambda _: [], {("error", "no-data")}, "is it the right server"),
    "pods scraped by two jobs": (
        twice,
        {("error", "scraped-twice")},
        "two targets each expose 1 of 1 pods",
    ),
    "no requests": (without(REQUESTS), {("error", "no-metric")}, "SLOs without data: shop:shop/checkout/availability"),
    "Envoy's statistics are off": (
        without(ENVOY),
        {("warning", "optional-metric")},
        "see less: RetryAmplificationHigh",
    ),
    "Envoy's statistics are off but for xds": (
        changed({"cluster_name": "outbound|8080||checkout.shop.svc.cluster.local"}, cluster_name="xds-grpc"),
        {("warning", "optional-metric")},
        r"cluster\.outbound.*\.upstream_rq_total",
    ),
    "no kube-state-metrics": (without("kube_.*"), {("error", "no-metric")}, "no data is not zero"),
    "a metric of the user's": (without("jobs_late_total"), {("error", "no-metric")}, "is it called jobs_total?"),
    "another cluster": (
        changed({"cluster": "eu1", "job": "proxies"}, cluster="us1"),
        {("error", "mesh-matchers"), ("warning", "optional-metric")},
        'cluster="eu1"',
    ),
    "another service": (
        changed({"destination_service_name": "checkout"}, destination_service_name="checkout-v2"),
        {("error", "no-service")},
        "near: checkout-v2",
    ),
    "another namespace": (
        changed({"destination_service_namespace": "shop"}, destination_service_namespace="shops"),
        {("error", "no-namespace")},
        "checkout has requests in shops",
    ),
    "servers only": (
        lambda series: [one for one in series if one.get("reporter") != "source"],
        {("error", "wrong-side")},
        "'side: server'",
    ),
    "an ambient mesh": (changed({"reporter": "source"}, reporter="waypoint"), {("error", "wrong-side")}, "waypoint"),
    "other bounds": (
        lambda series: [one for one in series if one.get("le") not in ("250", "1000")],
        {("error", "no-bound")},
        "it has 5, 25, 100",
    ),
    "native histograms alone": (
        lambda series: [
            {**{k: v for k, v in one.items() if k != "le"}, "__name__": one["__name__"].removesuffix("_bucket")}
            for one in series
        ],
        {("error", "other-histograms")},
        "always_scrape_classic_histograms: true",
    ),
    "no honor_labels": (
        changed({"container": "istio-proxy"}, exported_namespace="shop", exported_pod="checkout-1", namespace="kube"),
        {("error", "renamed-label")},
        "honorLabels: true",
    ),
    "no pod on up": (
        changed({"__name__": "up", "job": "proxies"}, pod=""),
        {("error", "target-labels"), ("warning", "target-labels")},
        "share job, instance, cluster",
    ),
    "a label dropped": (
        changed({"__name__": REQUESTS}, response_code=""),
        {("warning", "no-label")},
        "no series has the label response_code",
    ),
    "cut responses cannot be told": (
        changed({"__name__": REQUESTS}, response_flags=""),
        {("warning", "no-label")},
        "no series has the label response_flags",
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_of_a_mesh(slip: str) -> None:
    change, expected, told = SLIPS[slip]
    preflight = run(Memory(change(good())), loaded(), NOW)
    found = {(item.severity, item.code) for item in preflight.found if item.severity != "info"}
    assert found == expected
    assert told in preflight_text(preflight)
    assert preflight.fails == any(severity == "error" for severity, _ in expected)


def test_labels_that_slos_choose_by_and_no_series_has() -> None:
    text = FILE.replace(
        "preset: availability", "preset: availability, where: {path: {not: [/health]}, %s}", 1
    )
    assert text != FILE
    found = run(Memory(good()), loaded(text % "tenant: a"), NOW).found
    said = [item.message for item in found if item.code == "filter-label"]
    assert [message.partition("has the label ")[2] for message in said] == [
        "path, so the SLO counts all requests",
        "tenant, so the SLO counts nothing",
    ]
    [nothing] = [item for item in found if item.code == "no-service"]
    assert 'it counts {path!="/health",tenant="a"} only' in nothing.hint
    there = [
        one | {"path": "/health", "tenant": "a"} if one["__name__"] == REQUESTS else one for one in good()
    ]
    codes = {item.code for item in run(Memory(there), loaded(text % "tenant: a"), NOW).found}
    assert "filter-label" not in codes and "no-service" in codes


@pytest.mark.parametrize("form", ["pilot_proxy_convergence_time", "pilot_proxy_convergence_time_bucket"])
def test_either_form_of_histograms_will_do_where_rules_read_both(form: str) -> None:
    text = FILE.replace("mesh: {", "mesh: {histograms: native, ") + "  - {preset: control-plane}\n"
    istiod = {"job": "istiod", "instance": "10.0.0.9:15014", "pod": "istiod-1", "cluster": "eu1"}
    there = [{"__name__": "up", **istiod}, {"__name__": form, **istiod, "le": "10"}]

    def said(series: All) -> list[str]:
        found = run(Memory([*good(), *series]), loaded(text), NOW).found
        return [item.message for item in found if "convergence" in item.message]

    assert not said(there)
    assert said(there[:1])


def test_an_alert_is_silent_only_if_nothing_is_left_of_what_it_looks_at() -> None:
    text = FILE + "  - {preset: ejections}\n  - {preset: gateway-errors}\n"
    found = run(Memory(without(ENVOY)(good())), loaded(text), NOW).found
    [cluster] = [item for item in found if item.code == "optional-metric" and item.severity == "error"]
    assert "stay silent: CircuitBreakerEjecting" in cluster.message
    # Without kube-state-metrics's word, the targets' own still counts.
    assert all("GatewayDown" not in item.message.partition("see less")[0] for item in found)
    assert any("see less: GatewayDown" in item.message for item in found)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "2.37.0"}, {("warning", "old-server")}),
        ({"version": "3.5.0"}, set()),
        ({"retention": "15d"}, {("warning", "retention")}),
        ({"retention": "15d or 40GiB"}, {("warning", "retention")}),
        ({"interval": 45.0}, {("warning", "scrape-interval")}),
        ({"interval": 120.0}, {("error", "scrape-interval")}),
        ({"warnings": ["a store is away"]}, {("warning", "server-warning")}),
    ],
)
def test_slips_of_a_server(change: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert serious(Memory(good(), **change)) == expected


def test_a_server_that_tells_nothing_of_itself_is_no_error() -> None:
    found = findings(Memory(good(), silent=True))
    assert ("info", "not-told") in found
    assert all(severity == "info" for severity, _ in found)


def test_loaded_rules() -> None:
    groups = [
        {"name": group.name, "rules": [{"name": "x", "health": "ok"} for _ in group.rules]}
        for file in manifest.rule_files(loaded())
        for group in file.groups
    ]
    alive = [
        {"__name__": naming.TOTAL_GRID, naming.SLO_SET: "shop", naming.SLO_ID: slo.id}
        for slo in loaded().slos
    ]
    assert ("info", "rules-loaded") in findings(Memory(good(), groups=groups))
    assert serious(Memory(good(), groups=groups)) == {("warning", "rules-silent")}
    assert serious(Memory(good() + alive[:1])) == {("warning", "rules-silent")}, "some record, some do not"
    assert ("info", "rules-live") in findings(Memory(good() + alive))
    assert serious(Memory(good() + alive, groups=groups[1:])) == {("warning", "rules-differ")}
    groups[0]["rules"] = [
        *groups[0]["rules"][1:],
        {"name": "y", "health": "err", "lastError": "many-to-many"},
    ]
    assert serious(Memory(good() + alive, groups=groups)) == {("warning", "rule-fails")}


def as_loaded() -> list[dict[str, Any]]:
    """The rule groups as a server tells them."""
    return [
        {
            "name": group.name,
            "rules": [
                {"name": getattr(rule, "record", "") or getattr(rule, "alert", ""), "query": rule.expr}
                for rule in group.rules
            ],
        }
        for file in manifest.rule_files(loaded())
        for group in file.groups
    ]


def test_a_matcher_that_was_put_into_every_selector_is_named() -> None:
    plain = Memory(good(), groups=as_loaded())
    assert ("warning", "enforced-label") not in findings(plain)
    groups = [
        {**group, "rules": [{**rule, "query": _put(rule["query"])} for rule in group["rules"]]}
        for group in as_loaded()
    ]
    [told] = [
        item
        for item in run(Memory(good(), groups=groups), loaded(), NOW).found
        if item.code == "enforced-label"
    ]
    assert 'namespace="shop"' in told.message and "excludedFromEnforcement" in told.hint
    groups[0]["rules"][0]["query"] = "no PromQL ("
    assert ("warning", "enforced-label") in findings(Memory(good(), groups=groups))


def _put(expr: str) -> str:
    """The expression with namespace="shop" in each selector, as the operator's enforcement writes it."""
    texts = {read.select.metric for read in parsing.selectors(expr)}
    for metric in sorted(texts, key=len, reverse=True):
        expr = re.sub(rf'(?<![\w:"]){metric}(?![\w:"])(?:\{{)?', lambda m: _opened(m[0]), expr)
    return expr


def _opened(found: str) -> str:
    metric, brace, _ = found.partition("{")
    return f'{metric}{{namespace="shop"' + ("," if brace else "}")


def test_what_is_not_prometheus_is_no_old_prometheus() -> None:
    old = ("warning", "old-server")
    assert old in serious(Memory(good(), version="2.24.0", build={"revision": "02e9"}))
    assert serious(Memory(good(), version="2.24.0")) == {("warning", "other-engine")}
    told = FILE + 'sources: {prometheus: {url: "http://vm:8428", engine: victoriametrics}}\n'
    assert serious(Memory(good(), version="2.24.0"), told) == set()
    assert serious(Memory(good(), version="2.10.0", build={"application": "Grafana Mimir"})) == set()
    assert serious(Memory(good(), version="0.37.2", build={"revision": "02e9"})) == set()


def test_rules_that_victoria_metrics_refuses_for_their_length_are_named() -> None:
    queues = " + ".join(f'rate(jobs_total{{queue="{number}"}}[$window])' for number in range(12))
    text = FILE.replace('total: "rate(jobs_total[$window])"', f"total: '{queues}'")
    assert text != FILE
    for engine, expected in (("victoriametrics", True), ("prometheus", False)):
        told = text + f'sources: {{prometheus: {{url: "http://vm:8428", engine: {engine}}}}}\n'
        found = [item for item in run(Memory(good()), loaded(told), NOW).found if item.code == "long-rule"]
        assert bool(found) == expected
        assert not found or ("slo:total_events:increase5m" in found[0].about and "KiB" in found[0].hint)


def test_replicas_that_nobody_deduplicates_are_an_error() -> None:
    def each(*names: str) -> All:
        return [one | {"prometheus_replica": name} for name in names for one in good()]

    assert ("error", "replicas") not in findings(Memory(each("a")))
    found = [item for item in run(Memory(each("a", "b")), loaded(), NOW).found if item.code == "replicas"]
    assert [item.message.split(":")[0] for item in found] == [
        "2 targets are there once for each value of prometheus_replica"
    ]


@pytest.mark.parametrize(("age", "judged"), [(100, False), (900, True), (86400, True)])
def test_a_young_server_is_judged_by_what_it_can_have_scraped(age: int, judged: bool) -> None:
    server = Memory(good(), interval=120, started=NOW - timedelta(seconds=age))
    assert (("error", "scrape-interval") in findings(server)) == judged


def test_what_a_server_remarks_on_an_expression_is_no_warning() -> None:
    found = findings(Memory(good(), warnings=["PromQL info: metric might not be a counter"]))
    assert ("info", "server-info") in found and ("warning", "server-warning") not in found


def test_no_events_yet_is_a_warning() -> None:
    text = FILE.replace("rate(jobs_total[$window])", 'rate(jobs_total{kind=\\"x\\"}[$window])')
    assert serious(Memory(good()), text) >= {("warning", "no-events")}


def test_the_cost_of_a_wildcard_grows_with_services() -> None:
    text = FILE.replace("service: checkout", 'service: "*"')
    one = run(Memory(good()), loaded(text), NOW).cost
    assert ask(Memory(good()), loaded(text), NOW) == one, "alone, it is the same"
    more = good()
    for name in ("cart", "search"):
        more += changed({"destination_service_name": "checkout"}, destination_service_name=name)(
            [series for series in good() if "destination_service_name" in series]
        )
    three = run(Memory(more), loaded(text), NOW).cost
    assert one is not None and three is not None
    by_name: dict[str, list[tuple[int, int]]] = {}
    for rule, other in zip(one.rules, three.rules, strict=True):
        by_name.setdefault(rule.rule, []).append((rule.series, other.series))
    assert by_name["slo:total_events:increase1m"][-1] in ((1, 1), (1, 3))
    # Of the parts, what restarted and what is new are there for some counters only.
    assert by_name["service:requests:increase1m"][0] == (2, 6)
    assert three.samples_per_second > one.samples_per_second > 0
    assert len(three.costliest) == 5


def test_json_has_what_the_text_says() -> None:
    preflight = run(Memory(without(ENVOY)(good())), loaded(), NOW)
    objects = json.loads(json.dumps(render.as_objects(preflight)))
    assert [item["code"] for item in objects["findings"]] == [item.code for item in preflight.found]
    assert objects["cost"]["groups"][0]["rules"] > 1
    text = preflight_text(preflight)
    assert all(item["message"] in text and item["hint"] in text for item in objects["findings"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15d", 1296000), ("1y2w", 32745600), ("0s or 10GiB", 0), ("10GiB", None), ("", None)],
)
def test_retention_is_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("sum by (a) (x)", [{"a": "1"}, {"a": "2"}]),
        ("sum without (a) (x)", [{"b": "1"}]),
        ("x and on (a) y", [{"a": "1", "b": "1"}]),
        ("x unless on (a) y", [{"a": "2", "b": "1"}]),
        ("x or on (a) y", [{"a": "1", "b": "1"}, {"a": "2", "b": "1"}]),
        ("x * on (a) group_left (c) y", [{"a": "1", "b": "1", "c": "9"}]),
        ("x / on (a) y", [{"a": "1"}]),
        ('label_replace(y, "d", "$1-x", "c", "(.*)")', [{"a": "1", "c": "9", "d": "9-x"}]),
        ("vector(1)", [{}]),
        ("absent(x)", []),
        ("2 * x > 1", [{"a": "1", "b": "1"}, {"a": "2", "b": "1"}]),
    ],
)
def test_label_sets_of_expressions(expr: str, expected: list[dict[str, str]]) -> None:
    series = {"x": [{"a": "1", "b": "1"}, {"a": "2", "b": "1"}], "y": [{"a": "1", "c": "9"}]}
    found = evaluate(parse(expr), lambda select: [labels(one) for one in series[select.metric]])
    assert found == {labels(one) for one in expected}


def test_long_ranges_and_texts_are_parsed() -> None:
    node = parse('sum_over_time(x{a="7775999999ms"}[7775999999ms])')
    (read,) = parsing.reads(node)
    assert read.select.range == 7775999.999
    assert read.select.matchers[0].value == "7775999999ms"


def test_every_code_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "preflight.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ((?:error|warning|info)[a-z, ]*) \|", page, re.MULTILINE)
    assert [(code, tuple(severities.split(", "))) for code, severities in rows] == list(CODES.items())


def test_every_code_is_found_by_some_check() -> None:
    folder = Path(__file__).parents[2] / "jobs" / "preflight"
    source = "".join(
        file.read_text(encoding="utf-8") for file in folder.glob("*.py") if file.stem != "findings"
    )
    assert {code for code in CODES if f'"{code}"' not in source} == set()


def test_keys_of_the_json_form_are_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "preflight.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z_]+)`", page.partition("## The JSON form")[2]))
    objects = render.as_objects(run(Memory(good()), loaded(), NOW))
    cost = objects["cost"]
    assert {*objects, *objects["findings"][0], *cost, *cost["groups"][0], *cost["costliest"][0]} <= told


DOTS = FILE.replace("{cluster: eu1}", "{cluster: eu1, k8s.cluster.name: eu1}")


@pytest.mark.parametrize(("version", "refused"), [("2.53.4", True), ("3.5.0", False)])
def test_names_with_dots_are_for_prometheus_3(version: str, *, refused: bool) -> None:
    server = Memory(
        [one | {"k8s.cluster.name": "eu1"} if one["job"] == "proxies" else one for one in good()],
        version=version,
    )
    told = [item for item in run(server, loaded(DOTS), NOW).found if item.code == "quoted-names"]
    assert len(told) == refused
    if refused:
        assert f"Prometheus {version} takes no names such as k8s.cluster.name" in told[0].message
        assert server.asked == 1  # all else would be refused
