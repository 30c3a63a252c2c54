"""Judges the server itself: version, retention, the rules that it has loaded, what it warned of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.preflight.findings import PreflightFinding, named
from jobs.preflight.needs import Needs, slo_selectors, text_of
from jobs.preflight.survey import VICTORIA_METRICS, Survey, seconds_of
from sloctl import promql
from sloctl.model import Matcher
from sloctl.model.durations import duration
from sloctl.promql.parsing import parse, reads

OLDEST = (2, 42)
"""The first Prometheus that knows ``keep_firing_for``."""
MAX_QUERY = 16_384
"""Bytes of a query that VictoriaMetrics takes by default (``-search.maxQueryLen``)."""


def judge(needs: Needs, survey: Survey, warnings: Sequence[str]) -> Iterator[PreflightFinding]:
    """Findings about the server."""
    if not survey.names:
        text = "the server has had none of the metrics that sloctl knows in the last hour"
        yield PreflightFinding("error", "no-data", text, "is it the right server, and the right time (--at)?")
    untold = [
        what
        for what, answer in (
            ("its version", survey.version),
            ("its retention", survey.retention),
            ("its rules", survey.groups),
        )
        if answer is None
    ]
    if untold:
        text = f"the server does not tell {named(untold)}: not checked"
        yield PreflightFinding("info", "not-told", text)
    yield from _version(survey)
    yield from _engine(needs, survey)
    yield from _retention(needs, survey.retention)
    if survey.groups is not None:
        yield from _rules(needs, survey)
        yield from _enforced(needs, survey.groups)
    yield from _live(needs, survey)
    for label, targets in survey.replicas.items():
        yield PreflightFinding(
            "error",
            "replicas",
            f"{targets:.0f} targets are there once for each value of {label}: every event counts more than once",
            f"deduplicate: --query.replica-label={label} (Thanos Query), the HA tracker (Mimir), or drop the label and "
            "set -dedup.minScrapeInterval (VictoriaMetrics)",
        )
    for warning in warnings:
        if warning.startswith("PromQL info:"):
            yield PreflightFinding("info", "server-info", f"the server remarked: {warning}")
        else:
            yield PreflightFinding("warning", "server-warning", f"the server warned: {warning}")


def _engine(needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    """Is the server what the file says, and are the rules as it takes them?"""
    engine = needs.slo_set.sources.engine
    if survey.server == "VictoriaMetrics" and engine == "prometheus":
        text = "the server is VictoriaMetrics, and the rules are for Prometheus: in vmalert their alerts never fire"
        yield PreflightFinding("warning", "other-engine", text, "sources.prometheus.engine: victoriametrics")
    long = [rule.name for rule in needs.rules if len(rule.expr.encode()) > MAX_QUERY]
    if long and engine == "victoriametrics":
        most = max(len(rule.expr.encode()) for rule in needs.rules)
        yield PreflightFinding(
            "warning",
            "long-rule",
            f"VictoriaMetrics refuses queries over {MAX_QUERY} bytes, and so what evaluates {named(long, 20)}",
            f"start vmselect, or the single node, with -search.maxQueryLen={-(-most // 16384) * 16}KiB",
            about=tuple(long),
        )


def _live(needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    """Do the rules record? That a group is loaded does not show it."""
    slos = [item.slo.id for item in slo_selectors(needs.slo_set)
            if any(survey.counts.get(text_of(select)) for select in item.total)]  # fmt: skip
    silent = tuple(slo_id for slo_id in slos if slo_id not in survey.live)
    loaded = {str(group.get("name")) for group in survey.groups or ()}
    if silent and (survey.live or any(rule.group in loaded for rule in needs.rules)):
        yield PreflightFinding(
            "warning",
            "rules-silent",
            f"there are raw events, and nothing was recorded in the last quarter of an hour, of {named(silent)}",
            "rules that were just loaded need ten minutes; else see the ruler's log, and whether it writes here",
            about=silent,
        )
    elif survey.live:
        text = f"rules record: events of {len(survey.live)} SLOs in the last quarter of an hour"
        yield PreflightFinding("info", "rules-live", text)


def _enforced(needs: Needs, groups: Sequence[Mapping[str, Any]]) -> Iterator[PreflightFinding]:
    """Has something put a matcher of its own into every selector of the loaded rules, as the operator can?"""
    ours = {(rule.group, rule.name): rule for rule in needs.rules if not rule.guardrail}
    found: set[Matcher] | None = None
    for group in groups:
        for rule in group.get("rules") or ():
            wanted = ours.get((str(group.get("name")), str(rule.get("name"))))
            if wanted is None:
                continue
            try:
                selects = [read.select for read in reads(parse(str(rule.get("query"))))]
            except (ValueError, RecursionError):
                continue  # a ruler may be of another PromQL
            if not selects:
                continue
            own = {matcher for read in wanted.reads for matcher in read.select.matchers}
            added = set[Matcher].intersection(*(set(select.matchers) for select in selects)) - own
            found = added if found is None else found & added
    for matcher in sorted(found or (), key=str):
        added_text = f"{matcher.label}{matcher.op}{promql.quote(matcher.value)}"
        yield PreflightFinding(
            "warning",
            "enforced-label",
            f"the server evaluates every rule with {added_text} added to all its selectors: what gateways and callers "
            "in other namespaces report is not counted",
            "exempt the PrometheusRule: spec.excludedFromEnforcement of the Prometheus object",
        )


def _version(survey: Survey) -> Iterator[PreflightFinding]:
    version = survey.version
    numbers = re.match(r"v?([1-9]\d*)\.(\d+)", version or "")
    # Thanos counts from 0, and others say the version of something else.
    if survey.server != "Prometheus" or numbers is None or (int(numbers[1]), int(numbers[2])) >= OLDEST:
        return
    oldest = ".".join(map(str, OLDEST))
    text = f"Prometheus {version} is older than {oldest}: it refuses rules with keep_firing_for"
    yield PreflightFinding("warning", "old-server", text, f"upgrade to {oldest} or later")


def too_old(needs: Needs, version: str | None) -> PreflightFinding | None:
    """Names that the server's version has no form for: it refuses every query that has one."""
    numbers = re.match(r"v?2\.(\d+)", version or "")
    names = sorted(needs.quoted)
    if numbers is None or not names or version == VICTORIA_METRICS:
        return None
    text = (
        f"Prometheus {version} takes no names such as {named(names)}, and so none of the rules that have them"
    )
    hint = "upgrade to Prometheus 3, or relabel: letters, digits and '_' alone are names everywhere"
    return PreflightFinding("error", "quoted-names", text, hint)


def _retention(needs: Needs, retention: str | None) -> Iterator[PreflightFinding]:
    kept = seconds_of(retention or "")
    slos = [slo for slo in needs.slo_set.slos if kept is not None and slo.window.seconds > kept]
    if kept is None or not slos:
        return
    longest = max(slos, key=lambda slo: slo.window.seconds)
    yield PreflightFinding(
        "warning",
        "retention",
        f"the server keeps {retention}, and the longest window is {longest.window.text}: budgets cover less than that",
        f"--storage.tsdb.retention.time={duration(longest.window.seconds + 86400)}, or a longer-lived storage",
        about=tuple(slo.id for slo in slos),
    )


def _rules(needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    groups = survey.groups or ()
    loaded = {str(group.get("name")): group for group in groups}
    wanted: dict[str, int] = {}
    for rule in needs.rules:
        wanted[rule.group] = wanted.get(rule.group, 0) + 1
    there = [name for name in wanted if name in loaded]
    if not there:
        text = "none of the rules is loaded yet"
        yield PreflightFinding(
            "info", "rules-not-loaded", text, "sloctl generate writes them; see operations"
        )
        return
    differ = [name for name in there if len(loaded[name].get("rules") or ()) != wanted[name]]
    missing = [name for name in wanted if name not in loaded]
    if differ or missing:
        parts = [f"{len(missing)} of {len(wanted)} groups are not loaded"] if missing else []
        parts += [f"{named(differ, 3)} {'has' if len(differ) == 1 else 'have'} other rules"] if differ else []
        yield PreflightFinding(
            "warning", "rules-differ", "; ".join(parts), "load what sloctl generate writes from this file"
        )
    else:
        yield PreflightFinding("info", "rules-loaded", f"all {len(wanted)} groups are loaded")
    for name in there:
        for rule in loaded[name].get("rules") or ():
            if rule.get("health") == "err":
                text = f"{name}: {rule.get('name')} fails: {str(rule.get('lastError'))[:200]}"
                yield PreflightFinding("warning", "rule-fails", text)
