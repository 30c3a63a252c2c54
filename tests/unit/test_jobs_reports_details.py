"""What the page of a report shows of each budget besides its numbers, over a simulated Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jobs.reports import details, slo_report
from sloctl import naming
from sloctl.backends.protocols import Series
from sloctl.errors import BackendTimeout
from sloctl.ledger.protocol import Annotation, Ledger
from sloctl.ledger.store import open_ledger
from sloctl.model import SloSet, Sources
from sloctl.report.data import Detail, Report
from sloctl.settings.secret import Secret
from tests.support.shop_slos import AT, CHECKOUT, DAY, EVERY, LATENCY, MAINTENANCE, NOW, flow, slos
from tests.support.simulated import Simulated

WEB = {"source_workload_namespace": "shop", "source_workload": "web"}


def built(slo_set: SloSet, *, fails: bool = False, ledger: Ledger | None = None) -> Report:
    """A report in whose world checkout failed by two causes, and paged two days ago for an hour."""
    of = {naming.SLO_ID: slo_set.slos[0].id, "namespace": "shop", "service": "checkout"}

    def answers(query: str) -> list[Series] | None:
        if fails and ("by_cause" in query or query.startswith("max by (alertname")):
            raise BackendTimeout("took too long", backend="prometheus", url="http://simulated")
        if "slo:bad_events_by_cause" in query:
            causes = (
                (60.0, {"response_code": "503", "response_flags": "UF"} | WEB),
                (20.0, {"response_code": "504"}),
            )
            gone = {naming.SLO_ID: "gone", "namespace": "shop", "service": "checkout"}
            return [
                *({"metric": of | labels, "value": [NOW, str(bad)]} for bad, labels in causes),
                {"metric": gone | {"response_code": "500"}, "value": [NOW, "9"]},
            ]
        if query.startswith(f"max by (alertname, {naming.SLO_ID}"):
            times = [NOW - 2 * DAY + 300 * number for number in range(12)]
            return [
                {"metric": of | {"alertname": "CheckoutPage1h"}, "values": [[time, "1"] for time in times]}
            ]
        return None

    flows = [flow(slo_set, number, "checkout", 10, 0.05) for number in range(len(slo_set.slos))]
    source = Simulated(slo_set, flows, override=answers)
    report = slo_report.build(source, slo_set, AT, "rules", history=True)
    return details.add(report, source, slo_set, ledger)


def of(report: Report, slo: str = "availability") -> Detail:
    (found,) = [item.detail for item in report.slos if item.slo == slo]
    return found


def test_causes_and_what_happened_meanwhile() -> None:
    detail = of(built(slos(CHECKOUT, more=MAINTENANCE)))
    assert detail.causes == (("503 UF, from shop/web", 60.0), ("504", 20.0))
    alert, maintenance = detail.marks
    assert (alert.what, alert.name) == ("alert", "CheckoutPage1h")
    assert (alert.start, alert.end) == (
        AT - timedelta(days=2, minutes=5),
        AT - timedelta(days=2) + timedelta(minutes=55),
    )
    assert (maintenance.what, maintenance.name) == ("maintenance", "upgrade")


def test_what_people_said_is_a_mark_of_the_services_that_it_is_of(tmp_path: Path) -> None:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.annotate(
            "shop", Annotation(int(NOW) - DAY, int(NOW) - DAY + 60, "incident", "#17", "ann", "shop")
        )
        ledger.annotate(
            "shop", Annotation(int(NOW) - 60, int(NOW) - 60, "deploy", "v2", "ci", "shop", "cart")
        )
        ledger.annotate(
            "shop", Annotation(int(NOW) - 90 * DAY, int(NOW) - 90 * DAY, "note", "long ago", "ann")
        )
        detail = of(built(slos(CHECKOUT), ledger=ledger))
    said = [mark for mark in detail.marks if mark.what != "alert"]
    assert [(mark.what, mark.name) for mark in said] == [("incident", "#17 (ann)")]
    assert said[0].end - said[0].start == timedelta(minutes=1)


def test_many_deploys_hide_no_alert(tmp_path: Path) -> None:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        for number in range(30):
            when = int(NOW) - 3600 - number
            ledger.annotate("shop", Annotation(when, when, "deploy", f"v{number}", "ci"))
        marks = of(built(slos(CHECKOUT), ledger=ledger)).marks
    assert [mark.what for mark in marks].count("deploy") == details.MOST_MARKS
    assert [mark.name for mark in marks if mark.what == "alert"] == ["CheckoutPage1h"]


def test_what_cannot_be_read_is_said() -> None:
    report = built(slos(CHECKOUT), fails=True)
    assert (of(report).causes, of(report).marks) == ((), ())
    texts = [item.message for item in report.findings if item.code == "details-not-read"]
    assert len(texts) == 2 and "causes" in texts[0] and "alerts" in texts[1]


def links(slo_set: SloSet, slo: str = "availability", **sources: Any) -> dict[str, str]:
    return dict(of(built(replace(slo_set, sources=Sources(**sources))), slo).links)


def test_links_lead_to_what_the_file_names_and_to_nothing_else() -> None:
    bare = slos(CHECKOUT, LATENCY)
    bare = replace(bare, slos=tuple(replace(slo, runbook="") for slo in bare.slos))
    assert links(bare) == {}
    own = links(slos(CHECKOUT))
    assert own == {"Runbook": "https://runbooks.example.org/availability"}
    pages: dict[str, str] = {"grafana": "https://g.example.org/", "runbooks": "https://wiki.example.org/rb"}
    found = links(bare, **pages, traces_backend="jaeger", traces="https://t.example.org")
    assert list(found) == ["Dashboard", "Failing traces", "Runbook"]
    board = parse_qs(urlsplit(found["Dashboard"]).query)
    assert board["var-service"] == ["checkout"] and board["from"] == [str(int(NOW - 30 * DAY) * 1000)]
    times = parse_qs(urlsplit(found["Failing traces"]).query)
    assert (times["start"], times["end"]) == ([str(int(NOW - DAY) * 10**6)], [str(int(NOW) * 10**6)])
    assert found["Runbook"] == "https://wiki.example.org/rb/budget-burn.md"
    slow = links(bare, "latency", **pages, traces_backend="jaeger", traces="https://t.example.org")
    assert "minDuration=250ms" in slow["Slow traces"] and slow["Runbook"].endswith("/latency-budget-burn.md")


def test_the_query_is_that_of_the_row_also_of_a_wildcard() -> None:
    slo_set = slos(EVERY)
    query = links(slo_set, prometheus="http://p.example.org")["Query"]
    (expr,) = parse_qs(urlsplit(query).query)["g0.expr"]
    assert (
        query.startswith("http://p.example.org/graph?") and expr.count(f'slo_id="{slo_set.slos[0].id}"') == 2
    )
    assert expr.count('service="checkout"') == 2 and naming.BAD_GRID in expr
    other = links(slo_set, prometheus="http://v.example.org", engine="victoriametrics")["Query"]
    assert other.startswith("http://v.example.org/vmui/#/?g0.expr=")


def test_the_alerts_are_those_of_the_row_in_alertmanager() -> None:
    address = links(slos(CHECKOUT), alertmanager="http://a.example.org/")["Alerts"]
    page, _, query = address.partition("?")
    assert page == "http://a.example.org/#/alerts"
    (which,) = parse_qs(query)["filter"]
    assert which == '{slo_id="shop:shop/checkout/availability",namespace="shop",service="checkout"}'


def test_names_are_escaped_in_links() -> None:
    slo_set = slos(EVERY)
    made = built(replace(slo_set, sources=Sources(grafana="https://g.example.org")))
    (item,) = made.slos
    odd = replace(item, service="a&b=c d")
    found: Sequence[tuple[str, str]] = details.links_of(
        replace(slo_set, sources=Sources(grafana="https://g.example.org")), slo_set.slos[0], odd, AT
    )
    assert "var-service=a%26b%3Dc%20d&" in dict(found)["Dashboard"]
