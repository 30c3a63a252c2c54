"""What dashboards are about: the recorded series of a set, and what its file watches.

A panel can only read what some rule records: :meth:`Subject.series` refuses anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from sloctl import naming, promql
from sloctl.guardrails.plans import base_labels, plans, recorded
from sloctl.guardrails.shared.queries import in_set, one_of, selected
from sloctl.mesh import Result
from sloctl.model import GRID, TILE, CounterSli, Guardrail, Matcher, Slo, SloSet
from sloctl.model.durations import duration

ANY_NAMESPACE = Matcher(naming.NAMESPACE, "=~", "$namespace")
"""The namespaces that the variable chooses: a variable of several values is a regular expression."""
ANY_SERVICE = Matcher(naming.SERVICE, "=~", "$service")
ONE_NAMESPACE = Matcher(naming.NAMESPACE, "=", "$namespace")
"""The one namespace that the variable chooses: of one value, it must not be a regular expression."""
ONE_SERVICE = Matcher(naming.SERVICE, "=", "$service")
CLUSTER = "cluster"
"""The label of every series of a set that says of which cluster it is, if its file has it."""
RECENT = duration(2 * GRID + TILE)
"""How far back the last sample of a series of the budget grid may lie."""
STEP = "$__interval"
SHOWN = "$__range"
"""All of the time that is shown."""


@dataclass(frozen=True)
class Subject:
    """A set, with what its rules record, and the mesh's configuration where that was given."""

    slo_set: SloSet
    configured: Result | None = None

    @cached_property
    def guardrails(self) -> dict[str, Guardrail]:
        """The guardrails of the file, by preset."""
        return {guardrail.preset: guardrail for guardrail in self.slo_set.guardrails}

    @cached_property
    def on_mesh(self) -> tuple[Slo, ...]:
        """The SLOs that count the mesh's own requests."""
        return tuple(slo for slo in self.slo_set.slos if isinstance(slo.sli, CounterSli))

    @cached_property
    def clustered(self) -> bool:
        """Whether the set's series say of which cluster they are."""
        return CLUSTER in dict(self.slo_set.labels)

    @cached_property
    def own(self) -> tuple[Matcher, ...]:
        """The matchers of everything that is recorded for the set, in the clusters that the variable chooses."""
        chosen = (Matcher(CLUSTER, "=~", f"${CLUSTER}"),) if self.clustered else ()
        return (*in_set(self.slo_set), *chosen)

    @cached_property
    def owners(self) -> dict[str, str]:
        """A regular expression of the ids of each owner's SLOs."""
        ids: dict[str, list[str]] = {}
        for slo in sorted(self.slo_set.slos, key=lambda slo: slo.id):
            if slo.owner:
                ids.setdefault(slo.owner, []).append(
                    promql.regex_quote(slo.id.removeprefix(self.slo_set.name))
                )
        name = promql.regex_quote(self.slo_set.name)
        return {owner: f"{name}({'|'.join(found)})" for owner, found in sorted(ids.items())}

    @cached_property
    def owned(self) -> tuple[Matcher, ...]:
        """The matcher of the SLOs that the variable ``owner`` chooses; none where there is no choice."""
        return (Matcher(naming.SLO_ID, "=~", "$owner"),) if len(self.owners) > 1 else ()

    @cached_property
    def slow(self) -> tuple[Matcher, ...]:
        """The matcher of latency SLOs, whose bad events are slow requests; none if the file has no such SLO."""
        slow = [slo for slo in self.slo_set.slos if _threshold(slo) is not None]
        names = {slo.name for slo in slow}
        if names & {slo.name for slo in self.slo_set.slos if _threshold(slo) is None}:
            return one_of(naming.SLO_ID, sorted(slo.id for slo in slow))
        return one_of(naming.SLO, sorted(names)) if names else ()

    @property
    def native(self) -> bool:
        """Whether latencies are native histograms."""
        return self.slo_set.mesh.histograms == "native"

    @property
    def le(self) -> tuple[str, ...]:
        """The label by which buckets of latencies are told apart; native histograms have none."""
        return () if self.native else ("le",)

    @cached_property
    def has_failures(self) -> bool:
        """Whether any SLO's bad events are failures, told apart by cause."""
        return self.records(naming.BAD_CAUSES) and any(_threshold(slo) is None for slo in self.on_mesh)

    @cached_property
    def failed(self) -> tuple[Matcher, ...]:
        """The matcher of all other SLOs."""
        negated = {"=": "!=", "=~": "!~"}
        return tuple(replace(matcher, op=negated[matcher.op]) for matcher in self.slow)

    @cached_property
    def burn_windows(self) -> tuple[int, ...]:
        """Every window (seconds) of which a burn rate is recorded, the shortest first."""
        policies = (slo.policy for slo in self.slo_set.slos if slo.policy)
        return tuple(sorted({length for policy in policies for length in policy.lengths}))

    @cached_property
    def mesh_labels(self) -> frozenset[str]:
        """The labels by which the mesh's requests are recorded; none if no guardrail reads them."""
        return frozenset(base_labels(plans(self.slo_set)))

    @cached_property
    def recorded(self) -> frozenset[str]:
        """The names of all series that the set's rules record."""
        return frozenset(item.record for item in recorded(self.slo_set))

    def records(self, *metrics: str) -> bool:
        """Whether the set's rules record all of these."""
        return self.recorded.issuperset(metrics)

    def series(self, metric: str, *matchers: Matcher) -> str:
        """The selector of a recorded series of the set. Raises KeyError for one that no rule records."""
        if metric not in self.recorded:
            raise KeyError(f"no rule of {self.slo_set.name} records {metric}")
        return promql.selector(metric, (*self.own, *matchers))

    def raw(self, metric: str, *matchers: Matcher) -> str:
        """The selector of a raw series, with the mesh's own matchers."""
        return selected(self.slo_set, metric, *matchers)

    def firing(self, *matchers: Matcher) -> str:
        """The set's alerts that fire."""
        return promql.firing(self.slo_set.name, *self.own[1:], *matchers)

    def firing_of_owner(self, *matchers: Matcher) -> str:
        """Those of them that the variable ``owner`` chooses, those of guardrails too."""
        if not self.owned:
            return self.firing(*matchers)
        theirs = self.firing(Matcher("owner", "=", "${owner:text}"), *matchers)
        return f"{self.firing(*self.owned, *matchers)} or {theirs}"

    def latest(self, metric: str, *matchers: Matcher) -> str:
        """The last value of a series of the budget grid; an instant selector may miss it."""
        return f"last_over_time({self.series(metric, *matchers)}[{RECENT}])"

    def summed(
        self,
        metric: str,
        matchers: Iterable[Matcher],
        by: Sequence[str],
        window: str = STEP,
        offset: str = "",
    ) -> str:
        """Recorded events of a window, by labels; ``offset`` moves the window into the past."""
        past = f"[{window}] offset {offset}" if offset else f"[{window}]"
        return f"{summing(by)} (sum_over_time({self.series(metric, *matchers)}{past}))"

    def per_second(self, metric: str, matchers: Iterable[Matcher], by: Sequence[str]) -> str:
        """Recorded events of a minute as a rate, by labels.

        A mean of counts per minute: the number of samples in a window differs by one where the window begins on one.
        """
        return f"{summing(by)} (avg_over_time({self.series(metric, *matchers)}[{STEP}])) / {TILE}"

    def bad_share(
        self,
        matchers: Sequence[Matcher],
        by: Sequence[str],
        window: str = STEP,
        *,
        fine: bool = False,
        offset: str = "",
    ) -> str:
        """The share of bad events of a window: nothing without events. ``fine`` sums minutes, not five of them."""
        names = promql.event_metrics(TILE if fine else GRID)
        bad, total = (self.summed(name, matchers, by, window, offset) for name in names)
        return f"{bad}\n/ ({total} > 0)"

    def good_share(self, matchers: Sequence[Matcher], by: Sequence[str], window: str = STEP) -> str:
        """The share of good events of a window: nothing without events."""
        return f"1 - {self.bad_share(matchers, by, window)}"

    def limit(self, preset: str) -> float:
        """A guardrail's limit in its own unit."""
        limit = self.guardrails[preset].limit
        assert limit is not None
        return float(limit)


def _threshold(slo: Slo) -> Decimal | None:
    return slo.sli.threshold if isinstance(slo.sli, CounterSli) else None


def summing(by: Sequence[str]) -> str:
    """The operator that sums by some labels, or everything."""
    return f"sum by ({', '.join(by)})" if by else "sum"


def zero_if(expr: str, there: str) -> str:
    """``expr``, which is one number, or 0 where it is nothing although ``there`` has data."""
    return f"{expr}\nor\n0 * count({there})"


def top(count: int, expr: str) -> str:
    """The largest values of ``expr`` now that are above 0: for tables and bars."""
    return f"topk({count},\n{promql.indent(expr)}\n  > 0\n)"


def foremost(count: int, series: str, *, least: bool = False) -> str:
    """Of some series (a selector), those that were largest at any moment of the time shown: the same ones throughout.

    With ``least``, those that were smallest. ``topk`` alone would choose anew for each point of a graph.
    """
    choose, extreme = ("bottomk", "min_over_time") if least else ("topk", "max_over_time")
    return f"{series}\nand {choose}({count}, {extreme}({series}[{SHOWN}:{STEP}] @ end()))"
