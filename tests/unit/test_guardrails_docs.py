"""Alerts, runbook pages and the guardrails' page belong together.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/unit/test_guardrails_docs.py`` writes the page's tables anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from alert_rules import manifest, runbooks
from alert_rules.groups import AlertRule
from sloctl import naming
from sloctl.guardrails.plans import BUILDERS, plans
from sloctl.guardrails.shared.kinds import HealthAlert
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model import MeshMode, Sources
from sloctl.model.durations import duration
from tests.support.guardrail_sets import everything

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGE = ROOT / "docs" / "guardrails.md"
SECTIONS = ["Meaning", "Impact", "First five minutes", "Causes", "Fix", "Silence"]
MODES: tuple[MeshMode, ...] = ("sidecar", "ambient")


def alerts() -> dict[str, tuple[str, HealthAlert]]:
    """Every alert of the guardrails by name, with its preset."""
    found: dict[str, tuple[str, HealthAlert]] = {}
    for mode in MODES:
        for backend in ("zipkin", "jaeger", "tempo", ""):
            for plan in plans(everything(mode, backend)):
                for alert in plan.alerts:
                    found.setdefault(alert.name, (plan.preset, alert))
    return found


def test_every_guardrail_of_the_file_is_built() -> None:
    assert set(BUILDERS) == set(GUARDRAIL_PRESETS)


def queries(file: str) -> list[str]:
    return re.findall(r"```promql\n(.*?)```", runbooks.page(file), re.DOTALL)


def generated() -> Iterator[AlertRule]:
    for mode in MODES:
        for file in manifest.rule_files(everything(mode)):
            for group in file.groups:
                yield from (rule for rule in group.rules if isinstance(rule, AlertRule))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    names = [*alerts(), naming.BUDGET_BURN, naming.LATENCY_BURN, naming.TRAFFIC_STOPPED]
    pages = {naming.runbook_page(name) for name in names}
    assert {page.name for page in RUNBOOKS.glob("*.md")} == pages


def test_every_alert_says_how_to_get_its_page() -> None:
    for rule in generated():
        assert "runbook_url" not in rule.annotations
        command = rule.annotations["description"].rpartition(" What to do: sloctl runbooks ")[2]
        assert (RUNBOOKS / runbooks.file_of(command.split()[0])).is_file(), rule.alert


def test_pages_stand_alone_with_the_names_of_an_alert() -> None:
    text = runbooks.page("service-errors-critical.md", {"namespace": "pay", "service": "bank"})
    assert 'destination_service_name="bank"' in text and "checkout" not in text
    for file in runbooks.names():
        page = runbooks.page(file)
        assert "](.." not in page
        for link in re.findall(r"\]\(([^)]+\.md)\)", page):
            assert link in runbooks.names(), f"{file}: {link}"


def test_queries_say_whose_requests_they_count_and_forget_no_grpc_failure() -> None:
    """Both proxies report a request, services of two namespaces may have one name, and a gRPC failure has code 200."""
    for file in runbooks.names():
        for query in queries(file):
            for selected in re.findall(r"istio_request\w+\{([^}]*)\}", query):
                assert "reporter" in selected or "reporter" in query.partition("(")[2], f"{file}: {query}"
                for side in ("destination_service", "source_workload"):
                    named = f"{side}_name" if side == "destination_service" else side
                    if re.search(rf'\b{named}="(?!BlackHole)', selected):
                        assert f"{side}_namespace=" in selected, f"{file}: {query}"
            if '"5..|0"' in query:
                assert "grpc_response_status=~" in query, f"{file}: {query}"


def test_pages_begin_with_the_dashboard_of_their_alert() -> None:
    slo_set = replace(everything("sidecar"), sources=Sources(grafana="https://g.example.org"))
    for name in (*alerts(), "BudgetBurn"):
        text = runbooks.page(naming.runbook_page(name), {"service": "bank"}, slo_set)
        if name in {alert.name for plan in plans(slo_set) for alert in plan.alerts} | {"BudgetBurn"}:
            assert text.splitlines()[2].startswith("[Dashboard](https://g.example.org/d/sloctl-shop-"), name


@pytest.mark.parametrize(
    "name", [*sorted(alerts()), naming.BUDGET_BURN, naming.LATENCY_BURN, naming.TRAFFIC_STOPPED]
)
def test_a_runbook_says_what_somebody_needs_at_night(name: str) -> None:
    text = (RUNBOOKS / naming.runbook_page(name)).read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    parts = dict(zip(SECTIONS, re.split(r"^## .*$", text, flags=re.MULTILINE)[1:], strict=True))
    assert all(len(part.split()) > 7 for part in parts.values()), "a section says nothing"
    assert re.search(r"```(sh|promql)\n", parts["First five minutes"]), "no command to start with"
    assert "sloctl silence" in parts["Silence"] or name == "Watchdog"


def test_what_every_alert_carries() -> None:
    for rule in generated():
        labels, notes = rule.labels, rule.annotations
        assert labels["severity"] in ("page", "ticket", "none"), rule.alert
        assert labels["owner"] == "team-platform", rule.alert
        assert labels[naming.GUARDRAIL] in GUARDRAIL_PRESETS
        assert labels[naming.SLO_SET] == "shop"
        assert notes["summary"], rule.alert
        assert notes["description"], rule.alert
        assert "{label" not in str(notes), rule.alert
        assert "{value}" not in str(notes), rule.alert


def table() -> str:
    """The alerts, as the page shows them."""
    rows = [
        "| alert | guardrail | severity | for | stays for | failure mode | says |",
        "|---|---|---|---|---|---|---|",
    ]
    order = list(GUARDRAIL_PRESETS)
    for name, (preset, alert) in sorted(
        alerts().items(), key=lambda item: (order.index(item[1][0]), item[0])
    ):
        link = f"[`{name}`](runbooks/{naming.runbook_page(name)})"
        times = [duration(t) if t else "–" for t in (alert.for_, alert.keep_firing_for)]
        says = re.sub(r"\{label:([a-z_]+)\}", r"`\1`", alert.summary)
        says = says.replace("{percent}", "… %").replace("{value}", "…").replace("|", "\\|")
        rows.append(
            f"| {link} | `{preset}` | {alert.severity} | {times[0]} | {times[1]} | {alert.failure_mode} | {says} |"
        )
    return "\n".join(rows)


def signals() -> str:
    """The recorded series, as the page shows them."""
    found: dict[str, tuple[str, str]] = {}
    for mode in MODES:
        for backend in ("zipkin", "jaeger", "tempo"):
            for plan in plans(everything(mode, backend)):
                verdicts = {v.signal.record: v for v in plan.verdicts}
                for signal in plan.signals:
                    verdict = verdicts.get(signal.record)
                    what = f"`{verdict.name}`" if verdict else "–"
                    found.setdefault(signal.record, (plan.preset, what))
    order = list(GUARDRAIL_PRESETS)
    rows = ["| recorded series | guardrail | verdict in the report |", "|---|---|---|"]
    rows += [
        f"| `{record}` | `{preset}` | {what} |"
        for record, (preset, what) in sorted(
            found.items(), key=lambda item: (order.index(item[1][0]), item[0])
        )
    ]
    return "\n".join(rows)


@pytest.mark.parametrize("name", ["alerts", "series"])
def test_the_page_has_them_all(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = table() if name == "alerts" else signals()
    new = re.sub(
        rf"(<!-- {name} -->\n\n)(?:(?!<!--).)*(\n\n<!-- end -->)",
        lambda m: m[1] + made + m[2],
        text,
        count=1,
        flags=re.DOTALL,
    )
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        PAGE.write_text(new, encoding="utf-8")
    assert made in PAGE.read_text(encoding="utf-8")
