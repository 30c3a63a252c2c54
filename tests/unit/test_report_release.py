"""What budgets mean to a release: the policy at its limits, and the forms in which a pipeline reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from sloctl.model.release import ReleasePolicy
from sloctl.report import release
from sloctl.report.data import Finding, PartialBudget, Report, SloStatus

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE, TICKET = "AvailabilityBudgetBurnPage1h", "AvailabilityBudgetBurnTicket3d"
POLICY = ReleasePolicy(freeze_below=Decimal(0), fixes_below=Decimal(25))


def budget(remaining: float | None, *alerts: str, service: str = "checkout") -> SloStatus:
    return SloStatus(
        "availability",
        service,
        "shop",
        99.9,
        "30d",
        "ok",
        0.999,
        None,
        1.0,
        0.0,
        1.0,
        None,
        remaining,
        {},
        None,
        alerts,
    )


def gate(
    *slos: SloStatus, policy: ReleasePolicy = POLICY, fix: bool = False, findings: tuple[Finding, ...] = ()
) -> release.Gate:
    report = Report("shop", AT, "prometheus", slos, findings)
    return release.judge(report, policy, fix=fix)


@pytest.mark.parametrize(
    ("remaining", "alerts", "any_release", "fix"),
    [
        (1.0, (), "allowed", "allowed"),
        (0.25, (), "allowed", "allowed"),
        (0.2499999, (), "refused", "allowed"),
        (0.0000001, (), "refused", "allowed"),
        (0.0, (), "refused", "refused"),
        (-1.35, (), "refused", "refused"),
        (0.9, (PAGE,), "refused", "allowed"),
        (0.9, (TICKET,), "allowed", "allowed"),
        (0.1, (PAGE,), "refused", "allowed"),
        (-0.1, (PAGE,), "refused", "refused"),
        (None, (), "unknown", "unknown"),
    ],
)
def test_the_policy_at_its_limits(
    remaining: float | None, alerts: tuple[str, ...], any_release: str, fix: str
) -> None:
    assert gate(budget(remaining, *alerts)).verdict == any_release
    assert gate(budget(remaining, *alerts), fix=True).verdict == fix


def test_a_gap_alone_shuts_no_gate() -> None:
    assert gate(replace(budget(0.9), doubts=("scrape-gap",))).verdict == "allowed"
    both = gate(replace(budget(0.9), doubts=("scrape-gap", "sli-blind")))
    assert both.verdict == "unknown"
    assert "(sli-blind)" in both.judgements[0].reason


def test_one_that_refuses_is_enough_and_doubt_is_no_permission() -> None:
    good, spent = budget(0.9), budget(-0.2, service="cart")
    doubtful = replace(budget(0.9, service="cart"), doubts=("partial-answer",))
    young = replace(budget(None, service="cart"), partial=PartialBudget(0.1, 0.0))
    assert gate(good, spent).verdict == "refused"
    for unsure in (doubtful, young, budget(None, service="cart")):
        assert gate(good, unsure).verdict == "unknown"
        assert gate(spent, unsure).verdict == "refused"
        assert gate(good, unsure, policy=replace(POLICY, unknown="allow")).verdict == "allowed"


def test_an_alert_pages_by_its_severity_and_not_by_the_name_of_its_slo() -> None:
    assert gate(budget(0.9, "BudgetBurnPageBudgetBurnTicket3d")).verdict == "allowed"
    assert gate(budget(0.9, "BudgetBurnPageBudgetBurnPage1h")).verdict == "refused"
    assert gate(budget(0.9, "LatencyBudgetBurnPage1h")).verdict == "refused"


def test_where_alerts_could_not_be_read_a_page_may_fire() -> None:
    unread = (Finding("warning", "prometheus-not-read", "Prometheus could not be asked"),)
    found = gate(budget(0.9), findings=unread)
    assert found.verdict == "unknown"
    assert "whether a page fires is not known: Prometheus could not be asked" in release.lines(found)[1]
    assert gate(budget(0.9), findings=unread, fix=True).verdict == "allowed"
    assert gate(budget(0.9), findings=unread, policy=replace(POLICY, pages="allow")).verdict == "allowed"
    assert gate(budget(-0.1), findings=unread).verdict == "refused"


def test_of_no_slo_nobody_can_say() -> None:
    """A service's name that is misspelt opens no gate."""
    assert gate().verdict == "unknown"
    assert (
        release.lines(gate())[-1]
        == "  no SLO of that service, namespace or owner had events: is it its name?"
    )


def test_of_a_service_among_others_that_has_no_slo_nobody_can_say() -> None:
    report = Report("shop", AT, "prometheus", (budget(0.9),))
    found = release.judge(report, POLICY, missing=("chek:out",))
    assert found.verdict == "unknown"
    assert release.lines(found)[1] == "  chek:out: no SLO of it had events: is it its name? [unknown]"
    assert release.as_object(found)["missing"] == ["chek:out"]
    assert release.github(found) == ["::error title=chek%3Aout::no SLO of it had events: is it its name?"]
    suite = ElementTree.fromstring(release.junit(found))
    assert (suite.get("tests"), suite.get("errors")) == ("2", "1")
    assert [[child.tag for child in case] for case in suite] == [[], ["error"]]
    allowing = replace(POLICY, unknown="allow")
    assert release.judge(report, allowing, missing=("chek:out",)).verdict == "allowed"


def test_of_what_could_not_be_read_nobody_can_say() -> None:
    found = release.unread("shop", AT, POLICY, "no connection")
    assert found.verdict == "unknown"
    assert release.lines(found)[1:] == ["  no budget could be read: no connection [unknown]"]
    assert release.as_object(found)["failed"] == "no budget could be read: no connection"
    assert release.github(found) == ["::error title=sloctl gate::no budget could be read: no connection"]
    suite = ElementTree.fromstring(release.junit(found))
    assert (suite.get("tests"), suite.get("errors"), [case[0].tag for case in suite]) == ("1", "1", ["error"])
    assert release.unread("shop", AT, replace(POLICY, unknown="allow"), "").verdict == "allowed"


def test_a_budget_may_be_overdrawn_and_pages_ignored_where_the_file_says_so() -> None:
    lenient = ReleasePolicy(freeze_below=Decimal(-20), fixes_below=Decimal(-10), pages="allow")
    assert gate(budget(-0.05, PAGE), policy=lenient).verdict == "allowed"
    assert gate(budget(-0.15), policy=lenient).verdict == "refused"
    assert gate(budget(-0.15), policy=lenient, fix=True).verdict == "allowed"
    assert gate(budget(-0.21), policy=lenient, fix=True).verdict == "refused"


def test_the_text_says_what_refuses_first() -> None:
    found = gate(
        budget(0.9), budget(None, service="cart"), budget(-0.2, service="search"), budget(0.1, service="web")
    )
    assert release.lines(found) == [
        "refused: a release, by 4 SLOs as of 2026-03-01T12:00:00Z",
        "  shop/search availability: -20.0 % of the budget is left, less than 0 %: nothing is released",
        "  shop/web availability: 10.0 % of the budget is left, less than 25 %: only a fix is released",
        "  shop/cart availability: no data [unknown]",
    ]


def test_forms_for_pipelines() -> None:
    hostile = budget(-0.2, service="a:b,c\n::error::x<&\x1b[31m")
    found = gate(budget(0.9), budget(None, service="cart"), hostile)
    data = json.loads(json.dumps(release.as_object(found)))
    assert (data["schema"], data["verdict"]) == ("sloctl.gate/v1", "refused")
    assert [item["verdict"] for item in data["slos"]] == ["allowed", "unknown", "refused"]
    suite = ElementTree.fromstring(release.junit(found))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    assert [[child.tag for child in case] for case in suite] == [[], ["error"], ["failure"]]
    allowing = ElementTree.fromstring(
        release.junit(gate(budget(None), policy=replace(POLICY, unknown="allow")))
    )
    assert [child.tag for child in allowing[0]] == ["skipped"]
    lines = release.github(found)
    assert len(lines) == 2
    assert all(
        line.startswith("::error title=shop/") and "\n" not in line and "\x1b" not in line for line in lines
    )
    assert lines[1].count("::") == 2, "what a name contains begins no command"
    assert release.github(gate(budget(0.9)))[0].startswith("::notice::allowed")
