"""Reports as Block Kit: within Slack's limits and harmless, whatever names and however many there are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.model import Guardrail, SloSet
from sloctl.model.job_names import RoutineKind
from sloctl.posting.slack import mrkdwn
from sloctl.posting.slack.message import REPLIES, messages
from sloctl.report.data import Finding, PartialBudget, Quality, Report
from sloctl.report.health import EdgeAmplification, GuardrailStatus, SidecarRestarts
from sloctl.report.routine import Routine, RoutineColumn, RoutineSection, last_period
from tests.support.block_kit import problems
from tests.support.slack_reports import AT, SLO_SET, report, slo

HOSTILE = (
    "<!channel> look",
    "<@U123>",
    "@here",
    "@everyone",
    "*bold* _it_ ~no~ `code` ```block```",
    "&lt;!here&gt;",
    "<https://evil.example|click>",
    "\u202eevil\u202c",
    "a\nb\r\n\x1b[31m",
    ":bomb: :+1:",
    "`",
    "```",
    "\x00",
    "名前" * 40,
    "x" * 5000,
    "&<>" * 900,
    "https://evil.example/login",
    "",
    " ",
)
names = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


def everything(made: Report, slo_set: SloSet = SLO_SET) -> list[dict[str, Any]]:
    found = messages(made, slo_set, "what the chart shows")
    assert len(found.replies) <= REPLIES
    return [message.as_json() for message in (found.main, *found.replies, found.single)]


def check(made: Report, slo_set: SloSet = SLO_SET) -> list[dict[str, Any]]:
    found = everything(made, slo_set)
    for message in found:
        assert problems(message) == []
    return found


def hostile(texts: list[str], number: int, kind: RoutineKind | None) -> Report:
    def text(place: int) -> str:
        return texts[place % len(texts)]

    shares = (-0.5, 0.05, 0.6, None)
    slos = tuple(
        replace(
            slo(text(place), text(place + 1), shares[place % 4]),
            namespace=text(place + 2),
            alerts=tuple(text(place + n) for n in range(place % 4)),
            owner=text(place),
        )
        for place in range(number)
    )
    routine = None
    if kind:
        columns = (RoutineColumn("a", "a"), RoutineColumn("b", "b", "count"), RoutineColumn("c", "c", "time"))
        rows = tuple((text(place), float(place), text(place + 1)) for place in range(number * 3))
        sections = tuple(
            RoutineSection(f"s{place}", f"Section {place}", columns, rows, text(0), text(1))
            for place in range(5)
        )
        routine = Routine(last_period(kind, AT), sections)
    return Report(
        text(0),
        AT,
        "prometheus",
        slos,
        tuple(Finding("warning", "x", text(place), {}) for place in range(number)),
        tuple(GuardrailStatus(text(n), {text(n): text(n + 1)}, 1.0, 0.5, text(n)) for n in range(number)),
        tuple(EdgeAmplification(text(n), text(n + 1), 10, 20, 2.0, "metrics") for n in range(number)),
        tuple(SidecarRestarts(text(n), text(n + 1), 1, 2, 3.0, {text(n): 1.0}) for n in range(number)),
        routine,
    )


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(names, min_size=1, max_size=6),
    st.integers(0, 40),
    st.sampled_from((None, "daily", "weekly", "monthly")),
)
def test_whatever_names_there_are(texts: list[str], number: int, kind: RoutineKind | None) -> None:
    check(hostile(texts, number, kind))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    for message in check(hostile([name], 9, "weekly")):
        for text in _mrkdwn(message):
            assert "<!" not in text and "<@" not in text and "<https://evil" not in text


def _mrkdwn(message: dict[str, Any]) -> list[str]:
    found = [message["text"]]
    for block in message["blocks"]:
        items = [block.get("text"), *block.get("elements", ())]
        found += [item["text"] for item in items if item and item["type"] == "mrkdwn"]
    return found


@pytest.mark.parametrize("number", [0, 1, 8, 9, 100, 1000])
def test_any_number_of_budgets(number: int) -> None:
    found = check(report(number, rows=number))
    texts = json.dumps(found, ensure_ascii=False)
    if number == 1000:
        assert "… and 392 more at risk" in texts, "of 400, 8 are shown"
        assert "more rows" not in texts.replace("… and", "") or "more" in texts


def test_what_is_folded_is_counted() -> None:
    """Rows shown and rows said to be left out are all rows, in each table of the thread."""
    made = report(300, rows=150)
    for reply in messages(made, SLO_SET).replies[:1]:
        shown = sum(
            1
            for block in reply.blocks
            if block["type"] == "section" and block["text"]["type"] == "mrkdwn"
            for line in block["text"]["text"].split("\n")
            if line.startswith("shop/service-")
        )
        said = [item["text"] for block in reply.blocks for item in block.get("elements", ())]
        assert said == [f"… and {150 - shown} more"]


def test_links_go_to_the_files_own_grafana_only() -> None:
    texts = json.dumps(everything(report()))
    assert "<https://grafana.example.org/d/sloctl-shop-executive|executive dashboard>" in texts
    evil = replace(SLO_SET, sources=replace(SLO_SET.sources, grafana="https://x/|<!channel>`"))
    check(report(), evil)
    none = replace(SLO_SET, sources=replace(SLO_SET.sources, grafana=""))
    assert "http" not in json.dumps(check(report(), none))


def test_budgets_lead_to_their_dashboard_and_none_leads_to_one_that_is_not_generated() -> None:
    texts = json.dumps(everything(report()), ensure_ascii=False)
    link = (
        "/d/sloctl-shop-budget?var-slo=availability&amp;var-namespace=shop&amp;var-service=service-0|budget>"
    )
    assert link in texts
    assert "sidecars dashboard" not in texts, "no guardrail of sidecars: no such dashboard"
    watched = replace(SLO_SET, guardrails=(Guardrail("sidecar-restarts"),))
    assert "sloctl-shop-sidecars|sidecars dashboard" in json.dumps(check(report(), watched))
    left_out = replace(SLO_SET, dashboards=replace(SLO_SET.dashboards, leave_out=("budget",)))
    assert "sloctl-shop-budget" not in json.dumps(check(report(), left_out))
    evil = replace(report(), slos=(slo("|<!channel>&", "x>|y", -1.0),))
    text = json.dumps(check(evil, SLO_SET))
    assert "<!channel>" not in text and "var-service=x%3E%7Cy" in text


def test_a_message_says_how_much_of_the_windows_is_recorded() -> None:
    made = replace(report(5), routine=None)
    first, *rest = made.slos
    part = replace(first, status="at_risk", remaining=None, spent=None, alerts=("Page",))
    part = replace(part, partial=PartialBudget(34.0, 0.008), quality=Quality(recorded=600.0))
    found = check(replace(made, slos=(part, *rest)))
    text = json.dumps(found, ensure_ascii=False)
    assert "only 10m of 30d is recorded for 1 of 5 budgets" in text
    assert "-3,300 … 99.2 % left, of `10m of 30d`" in text
    (table,) = [message for message in found if message["text"] == "All budgets"]
    assert "10m of 30d" in json.dumps(table)


def test_the_message_says_what_to_look_at() -> None:
    found = messages(report(5), SLO_SET, "alt")
    texts = [block["text"]["text"] for block in found.main.blocks if "text" in block]
    assert texts[0] == "Weekly SLO report: shop"
    assert texts[1] == "Budgets: *1 exhausted*, *1 at risk*, 1 no data, 2 ok"
    lines = texts[2].split("\n")
    assert lines[0].startswith(
        "✕ `shop/service-0 availability`  -50.0 % left  <https://grafana.example.org/d/"
    )
    assert lines[1].startswith(
        "! `shop/service-1 availability`  5.0 % left, burns 14 times too fast, runs out 2026-03-02"
    )
    assert found.main.blocks[1]["elements"][0]["text"] == (
        "23 Feb – 1 Mar 2026 (Europe/Paris). Budgets as of 2026-03-02T09:00:00Z"
    )
    assert [reply.blocks[0]["text"]["text"] for reply in found.replies] == [
        "Restarts of proxies",
        "Telemetry gaps",
        "All budgets",
        "Findings",
    ]
    assert "No gap was seen." in json.dumps(found.replies[1].as_json())


def test_without_anything_to_look_at() -> None:
    calm = replace(report(0, None), slos=(slo(),), findings=())
    assert "No budget is at risk." in json.dumps(check(calm)[0])
    check(replace(calm, slos=()))


def test_escape() -> None:
    assert mrkdwn.escape("<!channel> & @here \x1b\u202e") == "&lt;!channel&gt; &amp; @\u2060here \ufffd\ufffd"
    assert mrkdwn.code("a`b") == "`aˋb`" and mrkdwn.code("  ") == "`–`"
    assert mrkdwn.cut("abcdef", 4) == "abc…"
    assert mrkdwn.whole_lines(["aaaa", "bbbb", "cccc"], 18, "more") == "aaaa\n… and 2 more"


def test_the_table_of_budgets_says_where_each_is_from_if_they_differ() -> None:
    one, two = (
        replace(slo(), source="ledger"),
        replace(slo("latency"), source="raw", doubts=("partial-answer",)),
    )
    mixed, plain = (replace(report(), slos=slos) for slos in ((one, two), (one,)))
    texts = []
    for shown in (mixed, plain):
        (reply,) = [reply for reply in messages(shown, SLO_SET).replies if reply.text == "All budgets"]
        texts.append(json.dumps(reply.as_json(), ensure_ascii=False))
    assert all(word in texts[0] for word in ("source", "ledger", "raw", "(?)"))
    assert not any(word in texts[1] for word in ("source", "ledger", "(?)"))
