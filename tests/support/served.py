"""Live pages of reports made by hand, without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.reports.routine_budgets import statuses
from sloctl import spec
from sloctl.errors import UsageError
from sloctl.model import CounterSli, Slo, SloSet
from sloctl.model.durations import rfc3339
from sloctl.report.data import Detail, Finding, Mark, Report, SloStatus
from sloctl.report.history import BudgetHistory
from sloctl.report.latency import Observed, Slow
from sloctl.report.mesh import Edge, MeshCalls, Node
from sloctl.serve.access import Access, Guard
from sloctl.serve.application import Pages, application
from sloctl.serve.cache import Asked, Explained, Refresher
from tests.support.reports import AT, drawn, item, report

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
  - {name: late, service: billing, objective: 99, sli: {events: {bad: 'rate(a[$window])', total: 'rate(b[$window])'}}}
"""
NOTHING = dict.fromkeys(("sli", "sli_interval", "spent", "remaining"))


def slo_set(folder: Path, text: str = SLO_FILE) -> SloSet:
    path = folder / "slo.yaml"
    path.write_text(text)
    return spec.load([path])


def shop() -> Report:
    """What burns, what is well, what has no data, and what has no namespace."""
    alert = "AvailabilityBudgetBurnPage1h"
    burning = drawn(
        5.0,
        status="exhausted",
        alerts=(alert,),
        burn_rates={"5m": 21.5, "1h": 15.25, "3d": 1.0},
        owner="team-pay",
        detail=Detail(
            causes=(("503, from shop/frontend", 800.0),),
            marks=(Mark(AT - timedelta(minutes=25), AT - timedelta(minutes=5), "alert", alert),),
            links=(("Dashboard", "https://grafana.example.org/d/x"),),
        ),
    )
    fast = drawn(0.2, service="cart", burn_rates={"5m": 3.0, "1h": 2.5, "3d": 0.1})
    doubtful = drawn(0.1, service="search", doubts=("partial-answer",), owner="team-find")
    quiet = item(
        service="quiet",
        status="no_data",
        total=0.0,
        good=0.0,
        bad=0.0,
        burn_rates={"5m": None, "1h": None},
        **NOTHING,
    )
    late = drawn(0.1, slo="late", namespace="", service="billing")
    finding = Finding("warning", "partial-answer", "Prometheus: a store is away", {"service": "search"})
    return report(quiet, doubtful, late, fast, burning, findings=(finding,))


WEB, CHECKOUT, STOCK, CART = (Node("shop", name) for name in ("frontend", "checkout", "inventory", "cart"))
EDGES = (
    Edge(WEB, CHECKOUT, 1000.0, 264.0, 10.0, 1010.0, 31.5, 1.0),
    Edge(CHECKOUT, STOCK, 1000.0, 280.0, 250.0, 2100.0, 12.0, 1.0),
    Edge(WEB, CART, 5000.0, 2.0, 0.0, 5000.0, 3.0, 1.0),
    Edge(CART, Node("data", "store"), 5000.0, 0.0, 0.0, None, None, 0.5),
    Edge(Node("data", "store"), CART, 10.0, 1.0),
)
"""A cascade, what is fine, calls without mTLS, and one failure."""


OBSERVED = Observed(
    (
        ("5 minutes", (12.5, 180.0, 3_600_000.0)),
        ("1 hour", (11.0, 90.0, 240.0)),
        ("1 hour, a day before", (None,) * 3),
    ),
    (
        Slow("caller", "shop/frontend", 9000.0, (12.0, 190.0, 400.0)),
        Slow("version", "v2", 100.0, (80.0, 300.0, None)),
    ),
    threshold=250.0,
    longest=3_600_000.0,
    changes=(Mark(AT - timedelta(minutes=40), AT - timedelta(minutes=35), "version", "v2 begins to serve"),),
)


class Site:
    """Pages whose time, reports and questions a test decides."""

    def __init__(self, slos: SloSet, found: Callable[[], Report] = shop, *, every: float = 60.0) -> None:
        self.now, self.asked = AT, 0
        self.slo_set = slos
        self.report = found
        self.refresher = Refresher(self, lambda: self.now, every)
        self.answers = Asked(seconds=every)
        self.part: Callable[[Slo, SloStatus, Report, int], BudgetHistory | None] = self._part
        self.mesh: Callable[[int], MeshCalls] = lambda ago: MeshCalls(later(-ago), 900, EDGES)
        self.verdict = "wait"
        self.canaries: list[tuple[str, str, str, str]] = []
        self.lines: tuple[str, ...] = ("shop/checkout: 26.4 % fail since about 11:35 UTC",)

    def explained(self, report: Report) -> Explained | None:
        return self.explain("", "", 3600) if any(each.alerts for each in report.slos) else None

    def explain(self, namespace: str, service: str, seconds: int, at: datetime | None = None) -> Explained:
        self.asked += 1
        return Explained(
            (*self.lines, f"asked: {namespace}/{service} {seconds}"),
            {"time": rfc3339(at or self.now), "failing": []},
            True,
        )

    def observed(self, slo: Slo, _item: SloStatus, _report: Report, _seconds: int) -> Observed | None:
        return OBSERVED if isinstance(slo.sli, CounterSli) else None

    def _part(self, _slo: Slo, found: SloStatus, _report: Report, _seconds: int) -> BudgetHistory | None:
        self.asked += 1
        return found.history

    def canary(
        self, service: str, baseline: str, canary: str, by: str, since: datetime | None
    ) -> Mapping[str, Any]:
        self.canaries.append((service, baseline, canary, by))
        if service == "shop/none":
            raise UsageError("there is no SLO of shop/none")
        asked = {"service": service, "baseline": baseline, "canary": canary, "by": by}
        begun = rfc3339(since) if since else None
        return {
            "verdict": self.verdict,
            "reasons": ["the reason"],
            "doubts": [],
            "asked": asked,
            "from": begun,
        }

    def definitions(self, found: Report) -> Mapping[int, Slo]:
        return {id(each): slo for slo, each in statuses(self.slo_set, found).values()}

    def application(self, access: Access | None = None) -> Guard:
        pages = Pages(self.refresher, self.answers, lambda: self.now)
        return application(pages, access or Access(rate=1e6, burst=1_000_000))


def later(seconds: float) -> datetime:
    return (AT + timedelta(seconds=seconds)).astimezone(UTC)
