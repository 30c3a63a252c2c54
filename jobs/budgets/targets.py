"""How the targets of a mesh are scraped, where that makes numbers wrong: pods that two of them expose, or no ``up``.

Every count doubles of a pod that two targets expose, and so may attempts per request. Where a target has no ``up``
(OTLP, remote write) nobody can tell a scrape gap from silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from sloctl import naming, promql
from sloctl.backends.answers import apart
from sloctl.backends.protocols import MetricSource, Series
from sloctl.errors import BackendError
from sloctl.model import SloSet
from sloctl.promql import targets
from sloctl.report.data import Finding

MERGED = "15020"
"""The port of Istio's agent, which has the proxy's counters and the application's."""


@dataclass(frozen=True, slots=True)
class ScrapedTwice:
    """Pods whose events count twice: ``text`` says which, ``remedy`` what to write, or why that does not do."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Scraping:
    """``twice`` and, by selector, (targets without ``up``, targets)."""

    twice: tuple[ScrapedTwice, ...]
    unseen: Mapping[str, tuple[int, int]]


def look(source: MetricSource, slo_set: SloSet, at: datetime) -> Scraping:
    """How targets are scraped now: one query, and one more for each metric that is scraped twice.

    Raises ``BackendError``.
    """
    counters = targets.counted_by(slo_set)
    if not counters:
        return Scraping((), {})
    found = apart(source.query(targets.scraping(slo_set), at), promql.PART)
    numbers = {name: _first(series) for name, series in found.items()}
    twice = []
    for number, (series, own) in enumerate(counters.items()):
        if pods := numbers.get(f"twice {number}", 0):
            twice.append(_told(source, slo_set, at, (series, own), pods))
    unseen = {
        series: (lost, numbers.get(f"targets {number}", lost))
        for number, series in enumerate(counters)
        if (lost := numbers.get(f"no up {number}", 0)) > 0
    }
    return Scraping(tuple(twice), unseen)


def findings(source: MetricSource, slo_set: SloSet, at: datetime) -> list[Finding]:
    """The same for reports and jobs; that it could not be read is one too."""
    scope = {naming.SLO_SET: slo_set.name}
    try:
        found = look(source, slo_set, at)
    except BackendError as error:
        text = f"how targets are scraped could not be read: {error}"
        return [Finding("info", "targets-not-read", text, scope)]
    said = [Finding("warning", "scraped-twice", f"{item.text}; {item.remedy}", scope) for item in found.twice]
    for series, (lost, number) in found.unseen.items():
        text = (
            f"{series}: {lost} of {number} targets have no 'up' here: whether they could be scraped is not known, so "
            "that a gap of theirs looks like silence, and is in no gap that is reported"
        )
        said.append(Finding("warning", "gaps-not-known", text, scope))
    return said


def _number(item: Series) -> int:
    """A number of targets or pods; none where an answer has what cannot be one."""
    value = float(item["value"][1])
    return round(value) if isfinite(value) else 0


def _first(series: Sequence[Series]) -> int:
    return _number(series[0]) if series else 0


def _told(
    source: MetricSource, slo_set: SloSet, at: datetime, counter: tuple[str, Sequence[str]], twice: int
) -> ScrapedTwice:
    found = apart(source.query(targets.scraped_twice(*counter, slo_set.mesh), at), promql.PART)
    pods = _first(found.get("pods", ()))
    examples = (item["metric"] for item in found.get("examples", ()))
    names = sorted({metric.get("pod") or metric.get(targets.POD, "") for metric in examples})
    counts = {name: _by(of, name.partition(" ")[2]) for name, of in found.items()}
    jobs = sorted(counts.get("twice job", {}))
    text = (
        f"{counter[0]}: two targets each expose {twice} of {pods} pods (job{'s' if len(jobs) > 1 else ''} "
        f"{' and '.join(jobs)}; {', '.join(names)}): their events count twice, and attempts per request may be doubled"
    )
    return ScrapedTwice(text, _remedy(slo_set, pods, counts, of_user=not counter[1]))


def _by(series: Sequence[Series], label: str) -> dict[str, int]:
    return {item["metric"].get(label, ""): _number(item) for item in series}


def _remedy(slo_set: SloSet, pods: int, counts: Mapping[str, Mapping[str, int]], *, of_user: bool) -> str:
    """The matcher that leaves every pod one target, and of all others the most."""
    taken = () if of_user else [matcher.label for matcher in slo_set.mesh.matchers]
    choices: list[tuple[int, bool, str, str]] = []
    for label in targets.TELLING:
        name = "instance" if label == targets.PORT else label
        twice, up = counts.get(f"twice {label}", {}), counts.get(f"up {label}", {})
        if len(twice) < 2 or name in taken:
            continue
        for kept in twice:
            if counts.get(f"all {label}", {}).get(kept, 0) < pods:
                continue
            others = sorted(set(twice) - {kept})
            lost = sum(max(0, up.get(value, 0) - twice[value]) for value in others)
            choices.append(
                (lost, kept != MERGED, _matcher(name, others, of_user=of_user), " and ".join(others))
            )
    if not choices:
        return "no matcher leaves each of them one target: let one job scrape them, and each once"
    lost, _, matcher, left_out = min(choices)
    what = f"{matcher} in the SLI's expressions" if of_user else f"mesh.matchers: {matcher}"
    text = f"write {what}, or scrape them once only"
    return f"{text} ({lost} other targets of {left_out} are left out too)" if lost else text


def _matcher(label: str, values: Sequence[str], *, of_user: bool) -> str:
    """A matcher for all but some jobs, or ports of ``instance``: in PromQL, or as an SLO file has it."""
    pattern = "|".join(promql.regex_quote(value) for value in values)
    if label == "instance":
        pattern = f".*:{pattern}" if len(values) == 1 else f".*:({pattern})"
    elif len(values) == 1:
        value = promql.quote(values[0])
        return f"{label}!={value}" if of_user else f"{{{label}: {{not: {value}}}}}"
    value = promql.quote(pattern)
    return f"{label}!~{value}" if of_user else f"{{{label}: {{not_regex: {value}}}}}"
