"""Judges the server itself: version, retention, the rules that it has loaded, what it warned of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobs.preflight.findings import PreflightFinding, named
from jobs.preflight.needs import Needs
from jobs.preflight.survey import Survey, seconds_of
from sloctl.model.durations import duration

OLDEST = (2, 42)
"""The first Prometheus that knows ``keep_firing_for``."""


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
    yield from _version(survey.version)
    yield from _retention(needs, survey.retention)
    if survey.groups is not None:
        yield from _rules(needs, survey)
    for warning in warnings:
        yield PreflightFinding("warning", "server-warning", f"the server warned: {warning}")


def _version(version: str | None) -> Iterator[PreflightFinding]:
    numbers = re.match(r"v?(\d+)\.(\d+)", version or "")
    if numbers is None or (int(numbers[1]), int(numbers[2])) >= OLDEST:
        return
    oldest = ".".join(map(str, OLDEST))
    text = f"Prometheus {version} is older than {oldest}: it refuses rules with keep_firing_for"
    yield PreflightFinding("warning", "old-server", text, f"upgrade to {oldest} or later")


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
