"""What a budget report needs to know of every SLO and service, whichever way it was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf, isfinite

from sloctl import budget, naming
from sloctl.backends.protocols import Series
from sloctl.budget import EventCounts
from sloctl.ledger.protocol import Bucket
from sloctl.model import GRID, CalendarWindow, CounterSli, SeriesKey, Slo, SloSet
from sloctl.model.calendar import containing
from sloctl.model.policies import POLICIES, AlertPolicy, BurnWindow, Evidence, Gate
from sloctl.report.data import BudgetSource, Finding

DEFAULT_WINDOWS = POLICIES["mesh"].lengths


@dataclass(slots=True)
class Collected:
    """Events of the period and of each burn window (seconds), and what is known of their quality."""

    period: dict[SeriesKey, EventCounts] = field(default_factory=dict)
    burn: dict[int, dict[SeriesKey, EventCounts]] = field(default_factory=dict)
    seasoned: dict[tuple[int, int], set[SeriesKey]] = field(default_factory=dict)
    """By the long and the short window of a policy's line: of what it has a step that is old enough to be judged by."""
    eventful: dict[SeriesKey, list[int]] = field(default_factory=dict)
    """The numbers of the buckets of the last week that had events, where nothing is recorded (see ``stopped``)."""
    gaps: dict[SeriesKey, float] = field(default_factory=dict)
    excluded: dict[SeriesKey, float] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    """When it begins what is known of each definition (Unix seconds); of the whole window where nothing is said."""
    recorded: bool = False
    """Whether Prometheus has series that the rules recorded."""
    peak: dict[SeriesKey, float] = field(default_factory=dict)
    sides: dict[SeriesKey, tuple[EventCounts, EventCounts]] = field(default_factory=dict)
    alerts: dict[SeriesKey, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    buckets: dict[SeriesKey, dict[int, EventCounts]] = field(default_factory=dict)
    """The period in buckets, numbered from the newest (0); only where a history is asked for."""
    unsure: dict[str, set[str]] = field(default_factory=dict)
    """The definitions whose numbers may lack events, by what the server said of its answers."""
    origins: dict[str, BudgetSource] = field(default_factory=dict)
    """Where the numbers of each definition are from."""
    carried: dict[SeriesKey, list[Bucket]] = field(default_factory=dict)
    """The recorded buckets of the period that have events from before them, by time."""
    disputed: dict[SeriesKey, int] = field(default_factory=dict)
    """How many recorded buckets had another truth when they were read again, of budgets that it would change."""
    blind: set[SeriesKey] = field(default_factory=set)
    """What has requests of which nothing is measured any more."""
    unread: dict[str, str] = field(default_factory=dict)
    """The definitions that could not be read, with the code of the finding that says so."""

    def add(self, more: Collected, slos: Iterable[Slo]) -> None:
        """Take over what was read of some SLOs."""
        ids = {slo.id for slo in slos}
        for name in (
            "period",
            "gaps",
            "excluded",
            "peak",
            "sides",
            "alerts",
            "buckets",
            "carried",
            "disputed",
            "eventful",
        ):
            into = getattr(self, name)
            into |= {key: value for key, value in getattr(more, name).items() if key[0] in ids}
        for window, counts in more.burn.items():
            into = self.burn.setdefault(window, {})
            into |= {key: value for key, value in counts.items() if key[0] in ids}
        for line, keys in more.seasoned.items():
            self.seasoned.setdefault(line, set()).update(key for key in keys if key[0] in ids)
        self.since |= {slo_id: time for slo_id, time in more.since.items() if slo_id in ids}
        self.unread |= {slo_id: code for slo_id, code in more.unread.items() if slo_id in ids}
        self.findings += [item for item in more.findings if item not in self.findings]
        for text, unsure in more.unsure.items():
            self.unsure.setdefault(text, set()).update(unsure)
        self.recorded = self.recorded or more.recorded

    def doubt(self, said: Iterable[str], slos: Iterable[Slo]) -> None:
        """Note that what was read of some SLOs may lack events."""
        ids = {slo.id for slo in slos}
        for text in said:
            self.unsure.setdefault(text, set()).update(ids)


def burn_windows(slo: Slo) -> tuple[int, ...]:
    """The windows (seconds) over which an SLO's burn rate is reported, shortest first; always with one hour."""
    if slo.policy is None:
        return DEFAULT_WINDOWS
    return tuple(sorted({*slo.policy.lengths, 3600}))


def period_start(slo: Slo, at: datetime) -> datetime:
    """When the SLO's window began: midnight of the first day of a calendar window, in its time zone."""
    if not isinstance(slo.window, CalendarWindow):
        return at - timedelta(seconds=slo.window.seconds)
    return containing(slo.window.unit, slo.window.timezone, at, slo.window.starts).start


def period_end(slo: Slo, at: datetime) -> datetime | None:
    """When the SLO's calendar window ends and the next one begins; None for a rolling window."""
    if not isinstance(slo.window, CalendarWindow):
        return None
    return containing(slo.window.unit, slo.window.timezone, at, slo.window.starts).end


def period_seconds(slo: Slo, at: datetime) -> int:
    """Length of the SLO's window so far, in seconds; at least one grid step."""
    return max(300, int((at - period_start(slo, at)).total_seconds()))


def recorded_of(slo: Slo, at: datetime, found: Collected) -> float | None:
    """How much of the SLO's window is recorded, in seconds; None if that is all of it, but for two grid steps."""
    period = period_seconds(slo, at)
    recorded = at.timestamp() - found.since.get(slo.id, -inf)
    return max(0.0, recorded) if recorded < period - 2 * GRID else None


def wants_peak(slo: Slo, at: datetime, found: Collected) -> bool:
    """Whether a budget of the SLO depends on the most events that there may have been while nothing is known."""
    if any(gap > 0 for key, gap in found.gaps.items() if key[0] == slo.id):
        return True
    limit = float(slo.budget) * (1 - budget.AT_RISK_REMAINING)
    return recorded_of(slo, at, found) is not None and any(
        bad > total * limit for key, (bad, total) in found.period.items() if key[0] == slo.id
    )


def key_of(metric: Mapping[str, str], first: str = naming.SLO_ID) -> SeriesKey:
    """What a recorded series is of, by its labels."""
    return metric.get(first, ""), metric.get(naming.NAMESPACE, ""), metric.get(naming.SERVICE, "")


def numbers(series: Sequence[Series], first: str = naming.SLO_ID) -> dict[SeriesKey, float]:
    """The values of an instant query by (label ``first``, namespace, service).

    NaN is left out, as no data is, and so is what is not finite: it cannot be a number of events.
    """
    out: dict[SeriesKey, float] = {}
    for item in series:
        value = float(item["value"][1])
        if isfinite(value):
            out[key_of(item["metric"], first)] = value
    return out


def counts(bad: Mapping[SeriesKey, float], total: Mapping[SeriesKey, float]) -> dict[SeriesKey, EventCounts]:
    """Bad and total events side by side, where both are known."""
    return {key: (bad[key], value) for key, value in total.items() if key in bad}


def two_sided(slo_set: SloSet) -> list[Slo]:
    """The SLOs whose events clients and servers count apart."""
    return [slo for slo in slo_set.slos if isinstance(slo.sli, CounterSli) and slo.sli.other_side]


def would_fire(slo: Slo, key: SeriesKey, found: Collected) -> list[str]:
    """The alerts whose condition holds; how long it has held is not known here."""
    names = []
    for line in slo.policy.windows if slo.policy else ():
        assert slo.policy
        long, short = (found.burn.get(window, {}).get(key, (0.0, 0.0)) for window in (line.long, line.short))
        seasoned = key in found.seasoned.get((line.long, line.short), ())
        if seasoned and holds(slo, slo.policy, line, long, short):
            names.append(naming.alert_name(slo, line))
    return names


def holds(slo: Slo, policy: AlertPolicy, line: BurnWindow, long: EventCounts, short: EventCounts) -> bool:
    """Whether the condition of a policy's line holds, of bad and total events of its windows that are old enough.

    In the order of the rules' own operations, so that both agree to the last bit.
    """
    (bad, total), (short_bad, short_total) = long, short
    if not (total > 0 and short_total > 0):
        return False
    period = slo.window.seconds
    factor, gate = float(policy.scaled(line, period)), policy.gate(line, period)
    burn, burn_short = (part / float(slo.budget) for part in (bad / total, short_bad / short_total))
    return burn > factor and burn_short > factor and _enough(gate, bad, total, burn)


def _enough(gate: Gate, bad: float, total: float, burn: float) -> bool:
    if isinstance(gate, Evidence):
        return gate.enough(bad, burn)
    return total >= gate.events and bad >= gate.bad


def lines(slos: Iterable[Slo]) -> list[tuple[int, int]]:
    """The long and short windows (seconds) of all lines of some SLOs' policies."""
    return sorted({(line.long, line.short) for slo in slos if slo.policy for line in slo.policy.windows})


def would_fire_all(slos: Iterable[Slo], out: Collected) -> None:
    """Fill in the alerts whose condition holds, of every service with events."""
    by_id = {slo.id: slo for slo in slos}
    for key in out.period:
        slo = by_id.get(key[0])
        if slo is not None and (names := would_fire(slo, key, out)):
            out.alerts[key] = names
