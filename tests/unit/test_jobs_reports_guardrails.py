"""Verdicts of guardrails over a simulated Prometheus, and how reports show them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from jobs.reports import guardrails, slo_report
from sloctl import naming, spec
from sloctl.backends.protocols import Series
from sloctl.model import SloSet
from sloctl.report import markdown
from sloctl.report.data import json_schema, to_json
from tests.support.simulated import Simulated

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RATIO = "service:mtls:ratio5m"
TEXT = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
guardrails:
  - {preset: mtls, min: 99}
"""


def slo_set(text: str = TEXT) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO(text.encode()))


def place(service: str, namespace: str = "shop") -> dict[str, str]:
    return {"namespace": namespace, "service": service, "slo_set": "shop", "team": "platform"}


def source(*values: tuple[str, float]) -> Simulated:
    return Simulated(slo_set(), health={RATIO: [(place(service), value) for service, value in values]})


def test_verdicts_are_judged_and_the_worst_come_first() -> None:
    found, findings = guardrails.run(
        source(("cart", 1.0), ("checkout", 0.5), ("edge", 0.99)), slo_set(), AT, recorded=True
    )
    assert [(item.scope["service"], item.status) for item in found] == [
        ("checkout", "violated"),
        ("cart", "ok"),
        ("edge", "ok"),
    ]
    assert found[0].scope == {"namespace": "shop", "service": "checkout"}
    assert (found[0].value, found[0].limit, found[0].unit) == (0.5, 0.99, "ratio")
    assert findings == []


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_data_is_neither_kept_nor_violated(value: float | None) -> None:
    asked = source() if value is None else source(("checkout", value))
    [item], [finding] = guardrails.run(asked, slo_set(), AT, recorded=True)
    assert (item.status, item.value, item.scope) == ("no_data", None, {})
    assert (finding.code, finding.scope) == ("guardrail-no-data", {"guardrail": "mtls"})


def test_no_data_of_two_ways_to_measure_the_same_is_said_once() -> None:
    wanted = slo_set(TEXT.replace("{preset: mtls, min: 99}", "{preset: retry-amplification, max: 1.5}"))
    found, findings = guardrails.run(Simulated(wanted, health={}), wanted, AT, recorded=True)
    assert [(item.name, item.status) for item in found] == [("retry-amplification", "no_data")]
    assert [finding.code for finding in findings] == ["guardrail-no-data"]


def test_of_two_replicas_the_worse_one_counts() -> None:
    asked = source()
    asked.health[RATIO] = [(place("checkout") | {"replica": r}, v) for r, v in (("a", 0.9), ("b", 1.0))]
    [item], _ = guardrails.run(asked, slo_set(), AT, recorded=True)
    assert item.value == 0.9


def test_without_rules_raw_series_are_asked() -> None:
    asked = source(("checkout", 1.0))
    guardrails.run(asked, slo_set(), AT, recorded=False)
    assert len(asked.asked) == 1
    assert "istio_requests_total" in asked.asked[0]
    assert "mesh:requests" not in asked.asked[0]


def test_without_guardrails_nothing_is_asked() -> None:
    plain = slo_set(TEXT.partition("guardrails:")[0])
    asked = Simulated(plain)
    assert guardrails.run(asked, plain, AT, recorded=True) == ([], [])
    assert asked.asked == []


def test_the_report_has_them_as_json_and_as_text() -> None:
    hostile = "</td><!channel>|x\x1b[2J"
    values = [(place("cart"), 1.0), (place(hostile), 0.2), (place("web"), 0.995)]
    report = slo_report.build(Simulated(slo_set(), health={RATIO: values}), slo_set(), AT)
    data = to_json(report)
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    assert data["guardrails"][0] == {
        "name": "mtls",
        "scope": {"namespace": "shop", "service": hostile},
        "value": 0.2,
        "limit": 0.99,
        "unit": "ratio",
        "status": "violated",
    }
    shown = markdown.shown_guardrails(report)
    assert [item.scope["service"] for item in shown] == [hostile], (
        "what is fine is not shown beside violations"
    )
    text = markdown.markdown(report)
    assert "\x1b" not in text
    assert "<" not in text.partition("## Guardrails")[2].partition("## Findings")[0].replace("\\<", "")
    assert "20.00 %" in text
    assert "≥ 99.00 %" in text
    assert json.dumps(data)


def test_of_what_is_fine_the_one_nearest_its_limit_is_shown() -> None:
    report = slo_report.build(source(("cart", 1.0), ("web", 0.991)), slo_set(), AT)
    assert [item.scope["service"] for item in markdown.shown_guardrails(report)] == ["web"]


def test_an_answer_that_is_no_vector_does_not_pass_silently() -> None:
    def strange(_expr: str) -> list[Series]:
        return [{"metric": {}, "value": [AT.timestamp(), "0.5"]}]

    asked = Simulated(slo_set(), override=strange)
    [item], _ = guardrails.run(asked, slo_set(), AT, recorded=True)
    assert (item.scope, item.status) == ({}, "violated")


RETRIES = TEXT.replace("{preset: mtls, min: 99}", "{preset: retry-amplification, max: 1.1}")


def edge(source: str, service: str) -> dict[str, str]:
    return {"source_namespace": "shop", "source": source, "namespace": "shop", "service": service}


def test_retries_by_edge_and_by_envoy_where_servers_do_not_count() -> None:
    shop = slo_set(RETRIES)
    asked = Simulated(
        shop,
        health={
            naming.EDGE_REQUESTS: [
                (edge("web", "cart"), 100.0),
                (edge("web", "pay"), 50.0),
                (edge("web", "idle"), 0.0),
                (edge("web", "plain"), 10.0),
            ],
            naming.EDGE_ATTEMPTS: [
                (edge("web", "cart"), 130.0),
                (edge("web", "pay"), 150.0),
                (edge("web", "idle"), 0.0),
            ],
            naming.ENVOY_REQUESTS: [(place("plain"), 176.0), (place("cart"), 1.0)],
            naming.ENVOY_ATTEMPTS: [(place("plain"), 691.0), (place("cart"), 9.0)],
        },
    )
    report = slo_report.build(asked, shop, AT)
    assert [(e.source, e.destination, e.requests, e.attempts) for e in report.retry_amplification] == [
        ("*", "shop/plain", 176, 691),
        ("shop/web", "shop/pay", 50, 150),
        ("shop/web", "shop/cart", 100, 130),
    ]
    assert report.retry_amplification[0].amplification == pytest.approx(3.926, abs=1e-3)
    jsonschema.Draft202012Validator(json_schema()).validate(to_json(report))
    assert "3.93" in markdown.markdown(report)


def test_restarts_are_in_the_report() -> None:
    shop = slo_set(TEXT.replace("{preset: mtls, min: 99}", "{preset: sidecar-restarts}"))
    pod = {"namespace": "shop", "workload": "cart", "pod": "cart-7d9c5b8f4-x2k4z", "reason": "OOMKilled"}
    asked = Simulated(
        shop,
        health={
            "restarts by reason": [(pod, 3.0)],
            "mean pods": [({"namespace": "shop", "workload": "cart"}, 2.0)],
            "mesh:sidecar_restarts_per_pod_day:ratio1d": [({}, 0.3)],
        },
    )
    report = slo_report.build(asked, shop, AT)
    data = to_json(report)
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    assert data["sidecar_restarts"] == [
        {
            "namespace": "shop",
            "workload": "cart",
            "pods": 2,
            "restarts": 3,
            "per_pod_day": 1.5,
            "reasons": {"OOMKilled": 3},
        }
    ]
    assert data["guardrails"][0]["status"] == "violated"
    assert "OOMKilled 3" in markdown.markdown(report)


def test_of_two_ways_to_measure_the_same_one_will_do() -> None:
    shop = slo_set(RETRIES)
    asked = Simulated(shop, health={"edge:retry_amplification:ratio30m": [(edge("web", "cart"), 1.0)]})
    found, findings = guardrails.run(asked, shop, AT, recorded=True)
    assert [(item.name, item.status) for item in found] == [("retry-amplification", "ok")]
    assert findings == []
