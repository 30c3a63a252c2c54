"""The catalogue holds every raw metric and label that a generated expression reads, and nothing else.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/unit/test_promql_catalogue.py`` writes ``docs/metrics.md`` anew.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from alert_rules import manifest
from alert_rules.groups import RecordingRule
from dashboards.manifest import boards
from sloctl import naming, promql, spec
from sloctl.guardrails.plans import BUILDERS, plans
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS, GuardrailPreset
from sloctl.model import (
    CounterSli,
    ExprSli,
    Guardrail,
    Job,
    Matcher,
    Mesh,
    MeshMode,
    RollingWindow,
    SampleSli,
    Slo,
    SloSet,
    Sources,
)
from sloctl.model.policies import POLICIES
from sloctl.promql import parsing
from sloctl.promql.catalogue import METRICS, ORIGINS, remedies, remedy
from sloctl.promql.parsing import Call, Expr, Literal, Select, children, labels_named, reads
from sloctl.promql.presets import PRESETS, PresetProblem
from tests.support.yaml_text import read_yaml

pytestmark = pytest.mark.xdist_group("catalogue")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
SCRAPES = ROOT.parent / "shared" / "data" / "scrapes"
LISTS = ROOT.parent / "shared" / "data" / "istio-metric-names"

OWN_LABELS = frozenset(
    {naming.SLO_ID, naming.SLO_SET, naming.SLO, naming.SCOPE, naming.SERVICE, naming.NAMESPACE, naming.SOURCE}
    | {naming.SOURCE_NAMESPACE, naming.GUARDRAIL, naming.TELEMETRY}
)
parse = cache(parsing.parse)
TARGET = frozenset(Mesh().target_labels)
MODES: tuple[MeshMode, ...] = ("sidecar", "ambient")
CLUSTER = (Matcher("cluster", "=", "eu1"),)


def slo_of(preset: str, mesh: Mesh, params: dict[str, object], service: str) -> Slo:
    return Slo(
        set_name="shop",
        name=preset,
        service=service,
        namespace="shop",
        objective=Decimal("99.9"),
        window=RollingWindow(30 * 86400, "30d"),
        sli=PRESETS[preset].build(params, mesh),
        policy=POLICIES["mesh"],
    )


PARAMS: dict[str, list[dict[str, object]]] = {
    "availability": [{}, {"side": "server"}],
    "errors": [{}, {"codes": ("4xx", "503")}, {"side": "server"}],
    "grpc": [{}, {"codes": ("INTERNAL",)}, {"side": "server"}],
    "latency": [{"threshold": "250ms"}, {"threshold": "250ms", "side": "server"}],
    "gateway": [{}],
}


def guardrails_of(kind: GuardrailPreset) -> Iterator[Guardrail]:
    limit = kind.limit.default if kind.limit else None
    yield Guardrail(kind.name, limit)
    everything: dict[str, object] = {
        "namespaces": ("shop", "pay-1"),
        "gateways": ("istio-ingressgateway", "istio-egressgateway"),
        "versions": (("checkout", ("v1", "v2")),),
        "min_events": 0,
        "critical": Decimal(20),
    }
    given = {name: value for name, value in everything.items() if name in kind.params}
    if given:
        yield Guardrail(kind.name, limit, **given)  # type: ignore[arg-type]
    if kind.limit and kind.limit.side == "max" and kind.limit.unit == "percent":
        yield Guardrail(kind.name, kind.limit.highest / 2)


@cache
def sets() -> tuple[SloSet, ...]:
    """Every preset and every guardrail with all their parameters, in both modes; and all golden cases."""
    assert set(PARAMS) == set(PRESETS)
    found: list[SloSet] = []
    for mode in MODES:
        for matchers in ((), CLUSTER):
            mesh = Mesh(mode=mode, matchers=matchers)
            found += of_presets(mesh)
        # With matchers in one mode; the golden cases have them in the other one.
        found += of_guardrails(Mesh(mode=mode, matchers=CLUSTER if mode == "ambient" else ()))
    for case in sorted((ROOT / "tests" / "golden" / "rules").iterdir()):
        file = case / "slo.yaml"
        if file.is_file():
            found.append(spec.load([file]))
    return tuple(found)


def of_presets(mesh: Mesh) -> Iterator[SloSet]:
    for preset, variants in PARAMS.items():
        for params in variants:
            try:
                slos = [slo_of(preset, mesh, params, service) for service in ("checkout", "*")]
            except PresetProblem:
                assert mesh.mode == "ambient" and "side" in params
                continue
            yield from (SloSet("shop", (slo,), mesh=mesh) for slo in slos)


def of_guardrails(mesh: Mesh) -> Iterator[SloSet]:
    slo = slo_of("availability", mesh, {}, "checkout")
    jobs = (Job("slis", every=300), Job("report", cron="0 9 * * 1"))
    for name in BUILDERS:
        for guardrail in guardrails_of(GUARDRAIL_PRESETS[name]):
            for backend in ("zipkin", "jaeger", "tempo") if name == "telemetry-gap" else ("",):
                sources = Sources(traces_backend=backend)
                yield SloSet("shop", (slo,), mesh=mesh, guardrails=(guardrail,), jobs=jobs, sources=sources)


def expressions(slo_set: SloSet) -> Iterator[tuple[str, str]]:
    """What a set evaluates, with a name: rules, alerts, and what stands for them where no rules are loaded."""
    for file in manifest.rule_files(slo_set):
        for group in file.groups:
            for rule in group.rules:
                yield (rule.record if isinstance(rule, RecordingRule) else rule.alert), rule.expr
    for plan in plans(slo_set):
        yield from ((f"{signal.record} (live)", signal.live) for signal in plan.signals)
    for slo in slo_set.slos:
        for kind, expr in promql.events(slo, slo_set.mesh, 300).items():
            yield f"{slo.id} {kind} (raw)", expr
    yield from of_dashboards(slo_set)


def of_dashboards(slo_set: SloSet) -> Iterator[tuple[str, str]]:
    for kind, board in boards(slo_set):
        panels = [panel for panel in board["panels"] for panel in (panel, *panel.get("panels", ()))]
        for panel in panels:
            for target in panel.get("targets", ()):
                if "expr" in target:
                    yield f"dashboard {kind}: {panel['title']}", filled(target["expr"])
        for item in board["annotations"]["list"]:
            if "expr" in item:
                yield f"dashboard {kind}: annotation {item['name']}", filled(item["expr"])


@cache
def evaluated() -> tuple[tuple[SloSet, tuple[tuple[str, str], ...]], ...]:
    """The sets, each with its expressions."""
    return tuple((slo_set, tuple(expressions(slo_set))) for slo_set in sets())


def filled(expr: str) -> str:
    """A panel's expression with values in place of Grafana's variables of time and the prices of a text box."""
    expr = re.sub(r"\$__(interval|range|rate_interval)", "5m", expr)
    return re.sub(r"\$(core|gib)_hour", "1", expr)


def given_by_users(slo_set: SloSet) -> set[str]:
    """Metrics of a file's own expressions, which no catalogue can know."""
    slis = [slo.sli for slo in slo_set.slos if isinstance(slo.sli, ExprSli)]
    calls = [
        call
        for sli in slis
        for text in (sli.total, sli.bad, sli.good)
        for call in promql.range_calls(text)[0]
    ]
    gauges = [slo.sli.gauge for slo in slo_set.slos if isinstance(slo.sli, SampleSli)]
    return {parse(selector).metric for selector in (*(call[1] for call in calls), *gauges)}  # type: ignore[union-attr]


def made(node: Expr) -> set[str]:
    """Labels that an expression makes."""
    found = set[str]().union(*(made(child) for child in children(node)))
    if isinstance(node, Call) and node.function in ("label_replace", "label_join"):
        target = node.args[1]
        assert isinstance(target, Literal)
        found.add(str(target.value))
    return found


@cache
def made_by(expr: str) -> frozenset[str]:
    return frozenset(made(parse(expr)))


@cache
def read() -> dict[str, set[str]]:
    """Every raw metric that some expression reads, with the labels that it is matched by or stands beside."""
    found: dict[str, set[str]] = {}
    for expr in {expr for _, evaluated_ in evaluated() for _, expr in evaluated_}:
        node = parse(expr)
        named = labels_named(node)
        for item in reads(node):
            used = found.setdefault(item.select.metric, set())
            used |= named | {matcher.label for matcher in item.select.matchers}
    return found


@pytest.mark.slow
def test_every_metric_and_label_is_in_the_catalogue() -> None:
    unknown: set[str] = set()
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for slo_set, found in evaluated():
        recorded = {
            rule.record: set(rule.labels) | made_by(rule.expr)
            for file in manifest.rule_files(slo_set)
            for group in file.groups
            for rule in group.rules
            if isinstance(rule, RecordingRule)
        }
        recorded["ALERTS"] = {"alertname", "alertstate", "severity", "owner"}
        # What one rule makes, the next one passes on.
        passed = set[str]().union(*recorded.values())
        users, mesh = given_by_users(slo_set), {matcher.label for matcher in slo_set.mesh.matchers}
        slis = [slo.sli for slo in slo_set.slos if isinstance(slo.sli, CounterSli)]
        named = {matcher.label for sli in slis for matcher in sli.where}
        free = OWN_LABELS | TARGET | set(slo_set.mesh.target_labels) | mesh | named | passed
        for name, expr in found:
            if (expr, tuple(sorted(users))) in seen:
                continue
            seen.add((expr, tuple(sorted(users))))
            node = parse(expr)
            usable = set(free) | made_by(expr)
            for item in reads(node):
                usable |= _labels(item.select, recorded, users)
                unknown |= {f"{name}: {problem}" for problem in _problems(item.select, recorded, users, free)}
            unknown |= {f"{name}: groups by {label}" for label in labels_named(node) - usable}
    assert unknown == set()


def _labels(select: Select, recorded: dict[str, set[str]], users: set[str]) -> set[str]:
    if select.metric in METRICS:
        return set(METRICS[select.metric].labels)
    if select.metric in recorded:
        # What recorded series keep of the raw ones is named in the catalogue, too.
        kept = {label for metric in METRICS.values() for label in metric.labels}
        return recorded[select.metric] | kept
    return {matcher.label for matcher in select.matchers} if select.metric in users else set()


def _problems(
    select: Select,
    recorded: dict[str, set[str]],
    users: set[str],
    free: frozenset[str],
) -> Iterator[str]:
    if select.metric not in METRICS and select.metric not in recorded and select.metric not in users:
        yield f"reads {select.metric or select}"
        return
    for matcher in select.matchers:
        if matcher.label not in _labels(select, recorded, users) | set(free):
            yield f"{select.metric} is matched by {matcher.label}"


def test_the_check_notices_what_is_not_there() -> None:
    recorded: dict[str, set[str]] = {"slo:x": {"slo_id"}}
    for expr, problem in (
        ("istio_request_total", "reads istio_request_total"),
        ('istio_requests_total{destination="x"}', "istio_requests_total is matched by destination"),
        ('slo:y{slo_id="x"}', "reads slo:y"),
    ):
        (item,) = reads(parse(expr))
        assert list(_problems(item.select, recorded, set(), OWN_LABELS)) == [problem]


@pytest.mark.slow
def test_no_entry_is_dead() -> None:
    assert set(GUARDRAIL_PRESETS) == set(BUILDERS)
    assert set(METRICS) - set(read()) == set()


@pytest.mark.slow
def test_no_label_is_dead() -> None:
    unused = {name: set(metric.labels) - read().get(name, set()) for name, metric in METRICS.items()}
    assert {name: labels for name, labels in unused.items() if labels} == {}


@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.evidence])
def test_evidence_is_in_the_real_scrape(name: str) -> None:
    for file in METRICS[name].evidence:
        text = (SCRAPES / file).read_text(encoding="utf-8", errors="replace")
        assert re.search(rf"^{name}[{{ ]", text, re.MULTILINE), f"{name} is not in {file}"


@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
def test_what_real_scrapes_hold_is_cited() -> None:
    for file in {file for metric in METRICS.values() for file in metric.evidence}:
        found = set(re.findall(r"^([a-z_]+)[{ ]", (SCRAPES / file).read_text(errors="replace"), re.MULTILINE))
        cited = {name for name, metric in METRICS.items() if file in metric.evidence}
        # Mixer's and a bare Envoy's metrics have other labels under the same names.
        if not file.startswith(("istio-1.1", "envoy_")):
            assert {name for name in found & set(METRICS) if METRICS[name].labels} <= cited, file


@pytest.mark.skipif(not LISTS.is_dir(), reason="no lists of Istio's metrics in ../shared/data")
def test_names_of_istiod_and_its_agent_are_in_their_source() -> None:
    listed = (LISTS / "istiod_agent_cni_metrics_from_source.txt").read_text(encoding="utf-8")
    names = set(re.findall(r"^(\w+) \|", listed, re.MULTILINE))
    for name, metric in METRICS.items():
        # Those of the process are of every Go program, and are in a scrape.
        if metric.origin in ("istiod", "agent") and "_process_" not in name:
            assert name.removeprefix("istio_agent_").removesuffix("_bucket") in names, name
    ztunnel = (LISTS / "ztunnel_metrics_from_source.txt").read_text(encoding="utf-8")
    for name, metric in METRICS.items():
        if metric.origin == "ztunnel" or name.startswith("istio_tcp_"):
            assert name in ztunnel, name


@pytest.mark.skipif(not LISTS.is_dir(), reason="no lists of Istio's metrics in ../shared/data")
def test_labels_of_requests_are_those_that_proxies_write() -> None:
    golden = (LISTS / "proxy_metric_goldens" / "server_request_total.yaml.tmpl").read_text(encoding="utf-8")
    labels = set(re.findall(r"- name: (\w+)", golden)) - {"istio_requests_total"}
    assert set(METRICS["istio_requests_total"].labels) <= labels


def test_entries_are_whole() -> None:
    for name, metric in METRICS.items():
        assert metric.help.endswith("."), name
        assert metric.origin in ORIGINS, name
        assert metric.evidence or metric.source, name
        assert set(metric.values) <= set(metric.labels), name
        assert set(metric.instead) <= set(METRICS) - {name}, name
        assert remedy(name) is not None, name


def test_the_inclusion_list_has_every_cluster_statistic_and_no_other() -> None:
    """But for retries, which are read where requests that ended are not there."""
    wanted = {name for name, metric in METRICS.items() if name.startswith("envoy_cluster_")}
    wanted -= {"envoy_cluster_upstream_rq_retry"}
    statistics = {name: name.removeprefix("envoy_cluster_") for name in wanted}
    clusters = ("cluster.outbound|8080||checkout.shop.svc.cluster.local", "cluster.outbound|80|v1|a.b.svc.x;")
    for cluster in clusters:
        for statistic in statistics.values():
            raw = f"{cluster}.{statistic.replace('outlier_detection_', 'outlier_detection.')}"
            assert any(re.fullmatch(pattern, raw) for pattern in remedies.INCLUSION), raw
        for other in (
            "upstream_rq_retry",
            "upstream_rq_retry_success",
            "upstream_cx_active",
            "upstream_rq_200",
        ):
            assert not any(re.fullmatch(pattern, f"{cluster}.{other}") for pattern in remedies.INCLUSION)
    assert not any(re.fullmatch(p, "cluster.inbound|80||.upstream_rq_total") for p in remedies.INCLUSION)
    assert len(remedies.INCLUSION) == len(wanted)


def test_snippets_are_yaml() -> None:

    cures = {cure for name in METRICS if (cure := remedy(name)) is not None and cure.snippet}
    for cure in cures:
        assert isinstance(read_yaml(cure.snippet), dict)
        assert len({*cure.snippet.splitlines()}) == len(cure.snippet.splitlines()), "nothing twice"


# docs/metrics.md

HEAD = """# Metrics

Every raw metric that sloctl's rules, jobs, reports and dashboards read: where it comes from, which of its labels are
used, and what to switch on where it is missing. This page is generated from the catalogue
(`sloctl/promql/catalogue/`), which tests hold against the generated rules and dashboards, in both directions.
`sloctl validate --prometheus` [asks a server](preflight.md) for them.

Besides the labels below, rules join by the labels of the scrape target ([`mesh.target_labels`](slo-file.md#mesh)) and
match [`mesh.matchers`](slo-file.md#mesh). *exposed* says when a metric is there: always, from the first event it counts
on (until then, missing means no event), or on request only. *seen in* names files of real scrapes that hold it, and
where its name and labels were looked up.
"""


UNBROKEN: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def page() -> str:
    parts = [HEAD]
    for origin in ORIGINS.values():
        metrics = [metric for metric in METRICS.values() if metric.origin == origin.key]
        if not metrics:
            continue
        parts.append(
            f"\n## {origin.title}\n\nScraped from {origin.scraped}. [Reference]({origin.reference}).\n\n"
        )
        parts.append("| metric | type | exposed | labels used | seen in |\n|---|---|---|---|---|\n")
        for metric in metrics:
            note = f" ({metric.versions})" if metric.versions else ""
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
            seen = ", ".join([*(f"`{file}`" for file in metric.evidence), *filter(None, [metric.source])])
            parts.append(
                f"| `{metric.name}`: {metric.help}{note} | {metric.type} | {metric.exposed} | {labels} | {seen} |\n"
            )
        values = dict.fromkeys((label, text) for metric in metrics for label, text in metric.values.items())
        if values:
            parts.append("\nValues of labels:\n\n")
            parts += [f"- `{label}`: {text}\n" for label, text in values]
        cures = dict.fromkeys(metric.remedy or origin.remedy for metric in metrics)
        for cure in cures:
            names = [f"`{metric.name}`" for metric in metrics if (metric.remedy or origin.remedy) == cure]
            missing = f"Missing {', '.join(names)}" if len(cures) > 1 else "Missing"
            parts.append("\n" + textwrap.fill(f"*{missing}?* {cure.text}", 120, **UNBROKEN) + "\n")
            if cure.snippet:
                parts.append(f"\n```yaml\n{cure.snippet.rstrip()}\n```\n")
    return "".join(parts)


def test_the_page_is_what_the_catalogue_says() -> None:
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
