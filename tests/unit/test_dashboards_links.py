"""Links of alerts and dashboards lead somewhere: to dashboards of the set with variables that they have, to pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from alert_rules import health, manifest
from alert_rules.groups import AlertRule
from dashboards.lint.checks import links, panels
from dashboards.lint.variables import Reference, references
from dashboards.manifest import BUILDERS, boards
from sloctl.model import SloSet
from sloctl.model.dashboards import KINDS
from tests.support.boards import CASES, ROOT, Json, boards_of, loaded

REFERENCE = re.compile(r"\$\{[^}]*\}")


def variables(board: Json) -> set[str]:
    return {variable["name"] for variable in board["templating"]["list"]}


def broken(url: str, made: Mapping[str, Json]) -> Iterator[str]:
    """What is wrong with a link to a dashboard; ``made`` are all there are, by UID."""
    found = re.match(r"(?:https?://[^/]+)?/d/([^/?#]+)", url)
    if found is None:
        return
    if found[1] not in made:
        yield f"no dashboard {found[1]}: {url}"
        return
    known = variables(made[found[1]])
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name.startswith("var-") and name.removeprefix("var-") not in known:
            yield f"{found[1]} has no variable {name}: {url}"
        if not name.startswith("var-") and name not in ("from", "to") and not REFERENCE.fullmatch(name):
            yield f"no variable: {name}: {url}"


def by_uid(made: Mapping[str, Json]) -> dict[str, Json]:
    return {board["uid"]: board for board in made.values()}


def alerts(slo_set: SloSet) -> Iterator[AlertRule]:
    for file in manifest.rule_files(slo_set):
        for group in file.groups:
            yield from (rule for rule in group.rules if isinstance(rule, AlertRule))


def urls(board: Json) -> list[str]:
    found = [link for part in (board, *panels(board)) for link in links(part)]
    return [link["url"] for link in found if link.get("type") != "dashboards"]


def test_every_kind_is_made() -> None:
    assert tuple(BUILDERS) == KINDS
    assert set(health.DASHBOARDS.values()) <= set(KINDS)


@pytest.mark.parametrize("case", CASES)
def test_alerts_lead_to_dashboards(case: str) -> None:
    slo_set, made = loaded(case), by_uid(boards_of(case))
    own = {slo.dashboard for slo in slo_set.slos} | {item.dashboard for item in slo_set.guardrails}
    found = set()
    for rule in alerts(slo_set):
        url = rule.annotations.get("dashboard_url", "")
        if f"{slo_set.sources.grafana}/d/sloctl-" in url:
            found |= {f"{rule.alert}: {problem}" for problem in broken(url, made)}
        else:
            assert own != {""}, f"{rule.alert} leads to no dashboard"
    assert found == set()


@pytest.mark.parametrize("case", CASES)
def test_dashboards_lead_to_dashboards(case: str) -> None:
    made = by_uid(boards_of(case))
    found = {
        f"{kind}: {p}"
        for kind, board in boards_of(case).items()
        for url in urls(board)
        for p in broken(url, made)
    }
    assert found == set()


@pytest.mark.parametrize("left_out", KINDS)
def test_nothing_leads_to_a_dashboard_that_is_left_out(left_out: str) -> None:
    slo_set = loaded("guardrails")
    slo_set = replace(slo_set, dashboards=replace(slo_set.dashboards, leave_out=(left_out,)))
    made = {kind: board for kind, board in boards(slo_set) if kind != left_out}
    assert len(made) == len(KINDS) - 1
    given = [url for board in made.values() for url in urls(board)]
    given += [rule.annotations.get("dashboard_url", "") for rule in alerts(slo_set)]
    assert [problem for url in given for problem in broken(url, by_uid(made))] == []
    assert sum("/d/sloctl-" in url for url in given) > 10


@pytest.mark.parametrize("case", CASES)
def test_without_their_address_nothing_links_to_runbooks(case: str) -> None:
    slo_set = loaded(case)
    slo_set = replace(slo_set, sources=replace(slo_set.sources, runbooks=""))
    given = [url for _, board in boards(slo_set) for url in urls(board)]
    assert [url for url in given if url.endswith(".md")] == []


@pytest.mark.parametrize("case", CASES)
def test_runbooks_are_pages(case: str) -> None:
    slo_set = loaded(case)
    base = "https://wiki.example.org/runbooks"
    slo_set = replace(slo_set, sources=replace(slo_set.sources, runbooks=base))
    given = [url for _, board in boards(slo_set) for url in urls(board)]
    given += [rule.annotations["runbook_url"] for rule in alerts(slo_set)]
    pages = {url.removeprefix(f"{base}/") for url in given if url.startswith(f"{base}/")}
    assert pages
    assert [page for page in pages if not (ROOT / "docs" / "runbooks" / page).is_file()] == []


@pytest.mark.parametrize("case", CASES)
def test_links_to_explore_are_panes(case: str) -> None:
    """As Grafana reads them, once it has filled in texts that are percent-encoded."""
    backend = loaded(case).sources.traces_backend
    given = [url for board in boards_of(case).values() for url in urls(board) if url.startswith("/explore")]
    assert bool(given) == bool(backend)
    for url in given:
        asked = dict(parse_qsl(urlsplit(REFERENCE.sub("a%22b", url)).query))
        assert asked["schemaVersion"] == "1"
        (pane,) = json.loads(asked["panes"].replace('a"b', r"a\"b")).values()
        assert pane["queries"][0]["datasource"]["type"] == backend
        assert {"from", "to"} == set(pane["range"])
        names = {reference.name for reference in references(unquote(url))}
        assert {"traces", "__from", "__to"} <= names
        assert all(Reference(name).built_in or name in {"traces", "service", "namespace"} for name in names)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("/d/sloctl-shop-services?var-service=x", "no dashboard sloctl-shop-services"),
        ("https://grafana.example.org/d/sloctl-shop-budgets", "no dashboard sloctl-shop-budgets"),
        ("/d/sloctl-shop-service?var-slo=x", "sloctl-shop-service has no variable var-slo"),
        ("/d/sloctl-shop-budget?var-namespace=", None),
        ("/d/sloctl-shop-budget?slo=x", "no variable: slo"),
        ("/d/sloctl-shop-budget?${__url_time_range}&var-slo=x", None),
        ("https://wiki.example.org/x?y=1", None),
    ],
)
def test_a_link_that_leads_nowhere_is_noticed(url: str, problem: str | None) -> None:
    found: list[Any] = list(broken(url, by_uid(boards_of("minimal"))))
    assert [text.rpartition(": ")[0] for text in found] == ([problem] if problem else [])
