"""The live pages: an overview whose order and filter are in its address, one SLO, where failures begin, the mesh.

They are made of the parts of the report's page, and say how old they are. Names come from servers and files: the
templates escape everything. This module must not know where the numbers come from, nor who asks.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from sloctl import __version__, naming, promql
from sloctl.model import GRID, CalendarWindow, CounterSli, Matcher, Slo, SloSet
from sloctl.model.durations import duration, number, rfc3339
from sloctl.report import markdown
from sloctl.report import mesh as report_mesh
from sloctl.report.data import PARTIAL, Report, SloStatus
from sloctl.report.history import MOST_BUCKETS, BudgetHistory
from sloctl.report.html import FOLDER, charts, environment, graph, view
from sloctl.report.latency import QUANTILES, Observed, Quantiles
from sloctl.report.markdown import STATUS_WORDS
from sloctl.report.mesh import Edge, MeshCalls, chosen
from sloctl.report.numbers import NOTHING, budget_share, count, percent, plain, rate

ROWS = 100
"""Rows of a page of the overview."""
CARDS = 12
"""SLOs that are told of one by one at the top, because their alerts fire."""
FAST = 6
"""SLOs that are named because they burn with no alert."""
LONGEST_TEXT = 200
RANGES = {"1h": 3600, "3h": 3 * 3600, "6h": 6 * 3600, "1d": 86400, "3d": 3 * 86400, "7d": 7 * 86400}
"""Parts of a window that can be looked at."""
WHOLE = "window"
"""The name of the range that is the whole window."""
RECENT = timedelta(minutes=11)
"""An alert whose last look is no older than this still fires: the past is looked at every five minutes."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old what a page shows is, and why it is not younger. ``late`` seconds after ``at`` it is old in any case.

    ``refused`` says why the SLO file, which has changed, is not used.
    """

    at: datetime
    seconds: int
    every: int
    late: int
    stale: bool = False
    why: str = ""
    refused: str = ""

    @property
    def age(self) -> str:
        """As people say it: ``25s``, ``4m``."""
        return age_text(self.seconds)

    @property
    def clock(self) -> str:
        """The time in UTC."""
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def iso(self) -> str:
        """The same for programs."""
        return rfc3339(self.at)


def age_text(seconds: float) -> str:
    """A length of time in its largest units: ``25s``, ``4m``, ``3h20m``, ``2d4h``."""
    seconds = max(0, int(seconds))
    unit = 1 if seconds < 120 else 60 if seconds < 86400 else 3600
    return duration(seconds // unit * unit)


CLUSTER = "cluster"
"""The label of an SLO, of its set or of all its series that says which cluster it is of."""
_NONE: Mapping[int, str] = {}


def clusters(slo_set: SloSet, definitions: Mapping[int, Slo]) -> dict[int, str]:
    """The cluster of each budget whose SLO carries one, by the id of the budget."""
    every = {matcher.label: matcher.value for matcher in slo_set.mesh.matchers if matcher.op == "="}
    every |= dict(slo_set.labels)
    return {
        budget: plain(name)
        for budget, slo in definitions.items()
        if (name := (every | dict(slo.labels)).get(CLUSTER, ""))
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which budgets to show, in which order: all of it is in a page's address. ``page`` counts from 1."""

    q: str = ""
    status: str = ""
    owner: str = ""
    namespace: str = ""
    cluster: str = ""
    sort: str = ""
    down: bool = False
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Wanted:
        """What an address asks for; what means nothing is left out."""
        texts = {
            name: plain(given.get(name, ""))[:LONGEST_TEXT]
            for name in ("q", "owner", "namespace", "cluster", "sort")
        }
        status, page = given.get("status", ""), given.get("page", "")
        return cls(
            **texts,
            status=status if status in STATUS_WORDS or status == "firing" else "",
            down=given.get("order") == "down",
            page=int(page) if page.isdecimal() and 0 < len(page) < 7 and int(page) else 1,
        )

    def address(self, path: str = "/", **changes: Any) -> str:
        """A path that asks for this, with some changes."""
        new = replace(self, **changes)
        asked = {
            name: getattr(new, name) for name in ("q", "status", "owner", "namespace", "cluster", "sort")
        }
        asked |= {"order": "down" if new.down else "", "page": str(new.page) if new.page > 1 else ""}
        text = urlencode({name: value for name, value in asked.items() if value})
        return f"{path}?{text}" if text else path

    def select(self, report: Report, clusters: Mapping[int, str] = _NONE) -> list[SloStatus]:
        """The budgets that are asked for, in order; ``clusters`` by the id of the budget."""
        words = self.q.lower().split()

        def fits(item: SloStatus) -> bool:
            text = " ".join((item.name, item.owner, *item.alerts)).lower()
            return (
                (
                    not self.status
                    or (bool(item.alerts) if self.status == "firing" else item.status == self.status)
                )
                and self.owner in ("", plain(item.owner))
                and self.namespace in ("", plain(item.namespace))
                and self.cluster in ("", clusters.get(id(item), ""))
                and all(word in text for word in words)
            )

        found = [item for item in by_urgency(report) if fits(item)]
        key = _SORTS.get(self.sort) or _burn(self.sort)
        if key is None:
            return found[::-1] if self.down and self.sort == "" else found
        known = [item for item in found if key(item) is not None]
        unknown = [item for item in found if key(item) is None]
        return sorted(known, key=key, reverse=self.down) + unknown


_SORTS: Mapping[str, Callable[[SloStatus], Any]] = {
    "status": lambda item: list(STATUS_WORDS).index(item.status),
    "service": lambda item: (item.namespace, item.service),
    "SLO": lambda item: item.slo,
    "owner": lambda item: item.owner or None,
    "budget left": lambda item: 1 - item.partial.alike if item.partial else item.remaining,
    view.WEEK: lambda item: item.history.spent_in(charts.WEEK) if item.history and not item.partial else None,
    "SLI": lambda item: item.sli,
    "objective": lambda item: item.objective,
    "alerts": lambda item: len(item.alerts) or None,
    "runs out (UTC)": lambda item: item.exhausted_at,
    "window": lambda item: item.window,
    "events": lambda item: item.total,
    "bad": lambda item: item.bad,
    "source": lambda item: item.source,
}


def _burn(title: str) -> Callable[[SloStatus], Any] | None:
    kind, _, window = title.partition(" ")
    return (lambda item: item.burn_rates.get(window)) if kind == "burn" and window else None


def by_urgency(report: Report) -> list[SloStatus]:
    """The budgets: those first that page, then those whose tickets fire, the fastest burn first of each.

    The others are as the report has them.
    """

    def key(item: SloStatus) -> tuple[bool, bool, float]:
        return not item.alerts, not item.pages, -(burning(item) or 0.0) if item.alerts else 0.0

    return sorted(markdown.ordered(report), key=key)


def burning(item: SloStatus) -> float | None:
    """The burn rate that holds now: the least of the two shortest windows."""
    rates = list(item.burn_rates.values())[:2]
    known = [value for value in rates if value is not None]
    return min(known) if len(known) == len(rates) and known else None


def since(item: SloStatus, at: datetime) -> datetime | None:
    """Since when alerts of an SLO fire that do now, to five minutes; None where that was not read."""
    if not item.alerts:
        return None
    marks = [mark.start for mark in item.detail.marks if mark.what == "alert" and mark.end >= at - RECENT]
    return min(marks, default=None)


def range_of(item: SloStatus, slo: Slo, asked: str) -> str:
    """The range of an SLO's page: what is asked for, or hours (of tickets, days) while an alert fires; "" is all."""
    if asked in RANGES:
        return asked
    while_firing = "6h" if item.pages else "3d"
    shorter = isinstance(slo.window, CalendarWindow) or RANGES[while_firing] < slo.window.seconds
    return while_firing if item.alerts and shorter and asked != WHOLE else ""


def slo_path(item: SloStatus) -> str:
    """The path below ``/slo/`` of an SLO's page."""
    return "/".join((item.namespace or "-", item.service, item.slo))


def slo_address(item: SloStatus, start: str = "/slo/") -> str:
    """The address of an SLO's page; the names in it mean nothing else."""
    return start + "/".join(quote(part, safe="") for part in (item.namespace or "-", item.service, item.slo))


@cache
def files() -> Mapping[str, tuple[bytes, str, str]]:
    """What pages load by name: content, type, and an address that changes with it."""
    found = {}
    for name, parts, kind in (
        ("style.css", ("style.css", "live.css"), "text/css; charset=utf-8"),
        ("live.js", ("live.js",), "text/javascript; charset=utf-8"),
    ):
        content = b"".join((FOLDER / part).read_bytes() for part in parts)
        found[name] = content, kind, f"/static/{name}?{hashlib.sha256(content).hexdigest()[:12]}"
    return found


def _page(template: str, **given: Any) -> str:
    addresses = {name: address for name, (_, _, address) in files().items()}
    return (
        environment()
        .get_template(template)
        .render(
            version=__version__, files=addresses, charts=charts, signs=view.SIGNS, **{"refresh": 0} | given
        )
    )


def message(set_name: str, title: str, text: str, *, hint: str = "") -> str:
    """A page that says one thing."""
    return _page(
        "live_message.html.j2", name=plain(set_name), title=title, text=plain(text), hint=hint, fresh=None
    )


@dataclass(frozen=True, slots=True)
class Card:
    """An SLO whose alerts fire."""

    address: str
    name: str
    status: str
    word: str
    alerts: str
    since: str
    burns: tuple[tuple[str, str], ...]
    left: str
    ends: str


def _card(item: SloStatus, at: datetime) -> Card:
    began = since(item, at)
    return Card(
        slo_address(item),
        plain(item.name),
        item.status,
        markdown.state(item),
        plain(", ".join(item.alerts)),
        f"since about {began:%H:%M} UTC ({age_text((at - began).total_seconds())})" if began else "",
        tuple((window, rate(value)) for window, value in list(item.burn_rates.items())[:3]),
        markdown.left(item),
        f"{item.exhausted_at:%Y-%m-%d %H:%M} UTC" if item.exhausted_at else "",
    )


def _groups(
    report: Report, attribute: str, wanted: Wanted, name_of: Callable[[SloStatus], str]
) -> list[tuple[str, str, dict[str, int], int, str]]:
    """By owner, namespace or cluster: name, address, numbers in each state and firing, and the least that is left."""
    groups: dict[str, list[SloStatus]] = {}
    for item in report.slos:
        groups.setdefault(plain(name_of(item)), []).append(item)
    found = []
    for name, items in groups.items():
        numbers = {status: sum(1 for item in items if item.status == status) for status in STATUS_WORDS}
        known = [item.remaining for item in items if item.remaining is not None]
        least = budget_share(min(known)) if known else NOTHING
        changes: dict[str, Any] = {attribute: name, "page": 1}
        address = wanted.address(**changes) if name else ""
        firing = sum(1 for item in items if item.alerts)
        found.append((name or "–", address, numbers, firing, least))
    return sorted(found, key=lambda row: (-row[3], -row[2]["exhausted"], -row[2]["at_risk"], row[0]))


def overview(
    report: Report,
    wanted: Wanted,
    fresh: Freshness,
    explained: Sequence[str] = (),
    refresh: int = 0,
    cluster_of: Mapping[int, str] = _NONE,
) -> str:
    """The first page."""
    chosen = wanted.select(report, cluster_of)
    pages = max(1, -(-len(chosen) // ROWS))
    wanted = replace(wanted, page=min(wanted.page, pages))
    shown = chosen[(wanted.page - 1) * ROWS : wanted.page * ROWS]
    common = view.frame(report)
    rows = [(slo_address(item), view.section(item, common, "", None)) for item in shown]
    firing = [item for item in by_urgency(report) if item.alerts]
    fast = [item for item in report.slos if not item.alerts and (burning(item) or 0) > 1]
    fast.sort(key=lambda item: -(burning(item) or 0))
    counts = view.status_counts(report)
    columns = [
        (
            column,
            wanted.address(sort=column.title, down=column.title == wanted.sort and not wanted.down, page=1),
        )
        for column in common.columns
    ]
    owners = sorted({plain(item.owner) for item in report.slos if item.owner})
    namespaces = sorted({plain(item.namespace) for item in report.slos if item.namespace})
    of_clusters = sorted(set(cluster_of.values()))
    groups = [("Namespace", _groups(report, "namespace", wanted, lambda item: item.namespace))]
    if owners:
        groups.insert(0, ("Owner", _groups(report, "owner", wanted, lambda item: item.owner)))
    if of_clusters:
        by_cluster = _groups(report, "cluster", wanted, lambda item: cluster_of.get(id(item), ""))
        groups.append(("Cluster", by_cluster))
    return _page(
        "live_overview.html.j2",
        name=plain(report.set_name),
        fresh=fresh,
        here="budgets",
        headline=view.headline(counts, markdown.part_recorded(report)),
        worst="exhausted" if firing else next((state for state, count in counts.items() if count), "no_data"),
        counts=[(status, view.SIGNS[status], word, counts[status]) for status, word in STATUS_WORDS.items()],
        cards=[_card(item, report.at) for item in firing[:CARDS]],
        firing=len(firing),
        fast=[(slo_address(item), plain(item.name), rate(burning(item))) for item in fast[:FAST]],
        fast_more=max(0, len(fast) - FAST),
        fast_address=Wanted(
            sort=next((t for t in common.titles if t.startswith("burn ")), ""), down=True
        ).address(),
        wanted=wanted,
        columns=columns,
        sortable=frozenset(_SORTS) | {title for title in common.titles if title.startswith("burn ")},
        rows=rows,
        number=len(chosen),
        total=len(report.slos),
        pages=pages,
        owners=owners,
        namespaces=namespaces,
        clusters=of_clusters,
        groups=groups,
        explained=[plain(line) for line in explained],
        tables=view.health_tables(report),
        findings=view.findings_of(report),
        reloads=wanted.address() + ("&" if "?" in wanted.address() else "?") + "refresh=60",
        **{"refresh": refresh} if refresh else {},
    )


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """A line of an alert policy, and where its burn rates stand."""

    severity: str
    factor: str
    windows: tuple[tuple[str, str], ...]
    state: str
    word: str


def policy_lines(slo: Slo, item: SloStatus) -> list[PolicyLine]:
    """What alerts, and how far from it the burn rates are."""
    found = []
    for line in slo.policy.windows if slo.policy else ():
        factor = slo.policy.scaled(line, slo.window.seconds) if slo.policy else line.factor
        rates = [
            (duration(length), item.burn_rates.get(duration(length))) for length in (line.long, line.short)
        ]
        known = [value for _, value in rates if value is not None]
        if len(known) < 2:
            state, word = "no_data", "no data"
        elif all(value > float(factor) for value in known):
            state, word = "exhausted", "above, both"
        elif any(value > float(factor) for value in known):
            state, word = "at_risk", "above, one of two"
        else:
            state, word = "ok", "below"
        cells = tuple((window, rate(value)) for window, value in rates)
        found.append(PolicyLine(line.severity, f"{number(factor)} ×", cells, state, word))
    return found


def queries(slo_set: SloSet, slo: Slo, item: SloStatus) -> list[tuple[str, str]]:
    """The PromQL behind each number."""
    which = (
        Matcher(naming.SLO_ID, "=", slo.id),
        Matcher(naming.NAMESPACE, "=", item.namespace),
        Matcher(naming.SERVICE, "=", item.service),
    )
    found = []
    if item.source != "raw":
        if not isinstance(slo.window, CalendarWindow):
            bad, total = (
                f"sum(sum_over_time({promql.selector(metric, which)}[{duration(slo.window.seconds)}]))"
                for metric in (naming.BAD_GRID, naming.TOTAL_GRID)
            )
            found.append(("SLI of the window", f"1 - {bad} / {total}"))
            found.append(("budget left", promql.selector(naming.REMAINING, which)))
        for window in slo.policy.lengths if slo.policy else ():
            series = promql.selector(naming.burn_rate(window), which)
            found.append((f"burn rate over {duration(window)}", series))
        found.append(("alerts that fire", promql.firing(slo_set.name, *which)))
        found.append(("causes", promql.selector(naming.BAD_CAUSES, which)))
    raw = promql.events(slo, slo_set.mesh, GRID)
    found += [(f"{kind} events of five minutes, from raw counters", expr) for kind, expr in raw.items()]
    return found


def silence_command(slo: Slo, item: SloStatus) -> str:
    """The command that silences an SLO's alerts, for a shell."""
    words = ["sloctl", "silence", "-f", "slo.yaml"]
    words += ["--namespace", item.namespace] if item.namespace else []
    words += ["--service", item.service, "--slo", item.slo, "--for", "1h", "--comment", "WHY"]
    return plain(" ".join(map(shlex.quote, words)))


def verdict(slo: Slo, item: SloStatus, at: datetime) -> list[tuple[str, str]]:
    """What is wrong, since when, and how sure that is: a state and a sentence each."""
    return [*_burns(slo, item, at), _left(item), *_doubts(item)]


def _burns(slo: Slo, item: SloStatus, at: datetime) -> Iterator[tuple[str, str]]:
    if item.alerts:
        began = since(item, at)
        when = ""
        if began:
            when = f" since about {began:%Y-%m-%d %H:%M} UTC ({age_text((at - began).total_seconds())})"
        verb = "fires" if len(item.alerts) == 1 else "fire"
        yield "exhausted", f"{', '.join(map(plain, item.alerts))} {verb}{when}."
    now = burning(item)
    if now is None:
        yield "no_data", "Whether it burns now is not known: the shortest windows have no events."
    elif now > 1:
        windows = " and ".join(list(item.burn_rates)[:2])
        yield "at_risk", f"It burns now: at least {rate(now)} × what lasts, over {windows} both."
    elif item.alerts:
        yield (
            "ok",
            "In the shortest windows it does not burn any more: it may be over, or traffic stays away.",
        )
    else:
        yield "ok", "It does not burn now."
    if now is not None and now > 1 and not item.alerts:
        why = "it is below the thresholds of its policy" if slo.policy else "it has no alert policy"
        if any(line.state == "exhausted" for line in policy_lines(slo, item)):
            why = "too few events to be sure, too little recorded, or rules that are not evaluated"
        yield "no_data", f"No alert fires: {why}."


def _left(item: SloStatus) -> tuple[str, str]:
    if item.partial is not None:
        return "no_data", f"What is left is open, {markdown.left(item)}: only {item.of_window} is recorded."
    if item.remaining is None:
        return "no_data", "No events in the window: the objective is neither met nor missed."
    ends = ""
    if item.exhausted_at:
        ends = f", and runs out at {item.exhausted_at:%Y-%m-%d %H:%M} UTC at the pace of the last hour"
    return item.status, f"{budget_share(item.remaining)} of the budget is left{ends}."


def _doubts(item: SloStatus) -> Iterator[tuple[str, str]]:
    if item.doubts:
        why = ", ".join(plain(code) for code in item.doubts)
        part = " A server said itself that data is missing." if PARTIAL in item.doubts else ""
        yield "no_data", f"These numbers may be wrong ({why}): see the findings.{part}"
    if item.quality.gaps >= 60:
        yield "no_data", f"Nothing is known of {age_text(item.quality.gaps)} of the window (gaps)."


def findings_for(report: Report, item: SloStatus) -> list[tuple[str, str, str]]:
    """What limits the numbers of one SLO, or of all."""
    found: list[tuple[str, str, str]] = []
    for finding in markdown.findings(report):
        scope = finding.scope
        names = {naming.NAMESPACE: item.namespace, naming.SERVICE: item.service, naming.SLO: item.slo}
        of_other = any(scope.get(name, value) != value for name, value in names.items())
        of_other = of_other or not scope.get(naming.SLO_ID, f"/{item.slo}").endswith(f"/{item.slo}")
        if not of_other:
            found.append((finding.severity, plain(finding.message), finding.code))
    return found


def one(
    report: Report,
    slo_set: SloSet,
    slo: Slo,
    item: SloStatus,
    fresh: Freshness,
    *,
    part: BudgetHistory | None = None,
    chosen: str = "",
    part_failed: str = "",
    observed: Observed | None = None,
    observe_failed: str = "",
    explained: Sequence[str] | None = None,
    explain_failed: str = "",
) -> str:
    """The page of one SLO. ``part`` is what is drawn in place of its whole window; ``chosen`` is its name."""
    drawn = replace(item, history=part) if part is not None else item
    if observed is not None and observed.changes:
        marks = sorted((*item.detail.marks, *observed.changes), key=lambda mark: (mark.start, mark.end))
        drawn = replace(drawn, detail=replace(item.detail, marks=tuple(marks)))
    made = view.section(drawn, view.frame(report), "plots", view.Grain(60, max(MOST_BUCKETS, 360)))
    address = slo_address(item)
    ranges = [(name, f"{address}?range={name}", name == chosen) for name in RANGES]
    ranges.append((f"window ({item.window})", f"{address}?range={WHOLE}", not chosen))
    where = {"service": item.service} | ({"namespace": item.namespace} if item.namespace else {})
    return _page(
        "live_slo.html.j2",
        name=plain(report.set_name),
        fresh=fresh,
        here="",
        worst="exhausted" if item.alerts else item.status,
        section=made,
        title=plain(item.name),
        description=plain(slo.description),
        verdict=verdict(slo, item, report.at),
        lines=policy_lines(slo, item),
        policy=slo.policy.name if slo.policy else "",
        ranges=ranges,
        part_failed=plain(part_failed),
        queries=[(what, expr) for what, expr in queries(slo_set, slo, item)],
        raw=item.source == "raw",
        silence=silence_command(slo, item),
        latency=_latency(observed) if observed else (),
        slow=_slow(observed) if observed else (),
        threshold=_milliseconds(observed.threshold, None) if observed and observed.threshold else "",
        observe_failed=plain(observe_failed),
        explained=None if explained is None else [plain(line) for line in explained],
        explain_failed=plain(explain_failed),
        slowness=isinstance(slo.sli, CounterSli) and slo.sli.threshold is not None,
        explain_address=f"/explain?{urlencode(where)}",
        findings=findings_for(report, item),
        badge=slo_address(item, "/badge/") + ".svg",
        api=slo_address(item, "/api/v1/slo/"),
    )


Timed = tuple[tuple[str, str, bool], ...]
"""Quantiles: name, value, and whether it is over the threshold."""


def _milliseconds(value: float | None, longest: float | None) -> str:
    if value is None:
        return NOTHING
    text = f"{value:,.0f} ms" if value >= 100 else f"{value:,.3g} ms"
    return f"≥ {text}" if longest is not None and value >= longest else text


def _quantiles(found: Observed, values: Quantiles) -> Timed:
    over = found.threshold
    return tuple(
        (
            f"p{round(100 * share)}",
            _milliseconds(value, found.longest),
            over is not None and value is not None and value > over,
        )
        for share, value in zip(QUANTILES, values, strict=True)
    )


def _latency(found: Observed) -> list[tuple[str, Timed]]:
    return [(words, _quantiles(found, values)) for words, values in found.latency]


def _slow(found: Observed) -> list[tuple[str, str, str, Timed]]:
    return [
        (one.what, plain(one.name), count(one.requests), _quantiles(found, one.quantiles))
        for one in found.slow
    ]


def explanation(
    set_name: str,
    asked: Mapping[str, str],
    lines: Sequence[str] = (),
    at: str = "",
    failed: str = "",
) -> str:
    """The page of where failures begin, as it was found at a time (RFC 3339)."""
    return _page(
        "live_explain.html.j2",
        name=plain(set_name),
        fresh=None,
        here="explain",
        worst="no_data",
        asked=asked,
        now="/explain?"
        + urlencode({name: asked[name] for name in ("service", "namespace", "last") if asked[name]}),
        budgets=Wanted(q=asked["service"]).address(),
        lasts=("10m", "1h", "3h", "6h"),
        lines=[plain(line) for line in lines],
        at=plain(at),
        failed=plain(failed),
    )


AGOS = {"now": 0, "15m": 900, "1h": 3600, "3h": 3 * 3600, "6h": 6 * 3600, "12h": 12 * 3600}
"""How long ago the mesh can be looked at."""
DRAWN, LISTED = 300, 1000
"""Edges that are drawn, and that are in the table."""


@dataclass(frozen=True, slots=True)
class Call:
    """A row of the table of calls."""

    state: str
    word: str
    source: str
    destination: str
    source_address: str
    destination_address: str
    cells: tuple[tuple[str, str], ...]


def _call(edge: Edge, address: Callable[[str], str]) -> Call:
    state, word = ("exhausted", "✕ fails") if edge.failing else ("ok", "✓ fine")
    if edge.odd and not edge.failing:
        state, word = "at_risk", f"! {', '.join(edge.odd)}"
    source, destination = plain(edge.source.text), plain(edge.destination.text)
    ratio = edge.amplification
    return Call(
        state,
        word,
        source,
        destination,
        address(source),
        address(destination),
        (
            ("requests", count(edge.requests)),
            ("fail", percent(edge.share, 2)),
            ("no answer", count(edge.unreached)),
            ("attempts per request", NOTHING if ratio is None else f"{ratio:.2f}"),
            ("mean latency", NOTHING if edge.latency is None else f"{edge.latency:,.1f} ms"),
            ("mTLS", percent(edge.mtls, 1)),
        ),
    )


def mesh(set_name: str, asked: Mapping[str, str], calls: MeshCalls | None, failed: str = "") -> str:
    """The page of the mesh; without ``calls``, ``failed`` says why."""
    edges = calls.edges if calls else ()
    wanted = chosen(edges, q=asked["q"], namespace=asked["namespace"], everything=asked["show"] == "all")

    def address(name: str) -> str:
        return f"/mesh?{urlencode({'q': name} | ({'ago': asked['ago']} if asked['ago'] != 'now' else {}))}"

    return _page(
        "live_mesh.html.j2",
        name=plain(set_name),
        fresh=None,
        here="mesh",
        worst="no_data",
        asked=asked,
        agos=tuple(AGOS),
        at=f"{calls.at:%Y-%m-%d %H:%M:%S} UTC" if calls else "",
        minutes=calls.seconds // 60 if calls else 0,
        failed=plain(failed),
        doubts=[plain(doubt) for doubt in calls.doubts] if calls else [],
        namespaces=sorted(
            {plain(node.namespace) for node in (calls.nodes if calls else ()) if node.namespace}
        ),
        edges=len(edges),
        nodes=len(calls.nodes) if calls else 0,
        failing=sum(1 for edge in edges if edge.failing),
        odd=sum(1 for edge in edges if edge.odd and not edge.failing),
        drawing=graph.drawn(wanted[:DRAWN]),
        graph=graph,
        limits=report_mesh,
        box_address=lambda box: address(box.text),
        rows=[_call(edge, address) for edge in wanted[:LISTED]],
        shown=min(DRAWN, len(wanted)),
        left_out=max(0, len(wanted) - LISTED),
    )
