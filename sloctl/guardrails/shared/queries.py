"""PromQL that guardrails share: requests of the whole mesh, what was just recorded, shares, exact counts.

A guardrail's expression is built once, by a function of :class:`Queries`, and comes out in two forms: over recorded
series for the rules, and over raw series alone for reports where no rules are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sloctl import naming, promql
from sloctl.guardrails.shared.kinds import Signal
from sloctl.model import TILE, Guardrail, Matcher, SloSet
from sloctl.promql.presets import REQUESTS

RENAMED = {
    naming.SOURCE_NAMESPACE: "source_workload_namespace",
    naming.SOURCE: "source_workload",
    naming.NAMESPACE: "destination_service_namespace",
    naming.SERVICE: "destination_service_name",
}
"""Recorded labels that Istio calls otherwise; all others keep Istio's name."""
SERVICE_LABELS = (naming.NAMESPACE, naming.SERVICE)
SERVICES = promql.services(naming.SERVICE)
"""What Istio calls a service and is one."""
ALL: tuple[tuple[Matcher, ...], ...] = ((),)
"""The parts of a family that are everything."""


@dataclass(frozen=True, slots=True)
class Family:
    """Raw counters, and the series ``record`` that holds what they count a minute.

    ``names`` are recorded labels that are called otherwise in the raw series, ``where`` matchers of raw labels.
    ``group`` aggregates raw series by recorded labels, where renaming them does not do.
    """

    record: str
    metric: str
    names: Mapping[str, str]
    where: tuple[Matcher, ...] = ()
    group: Callable[[str, Sequence[str]], str] | None = None


REQUEST_FAMILY = Family(naming.MESH_REQUESTS, REQUESTS, RENAMED)


class Queries(Protocol):
    """The two forms of an expression's parts."""

    def counts(
        self, family: Family, parts: Sequence[Iterable[Matcher]], window: int, by: Sequence[str]
    ) -> str:
        """What a family counted in the last ``window`` seconds in any of some disjoint ``parts``, summed by labels."""

    def requests(self, matchers: Iterable[Matcher], window: int, by: Sequence[str]) -> str:
        """Requests of the last ``window`` seconds, summed by recorded labels; missing where there are none."""

    def read(self, signal: Signal) -> str:
        """A signal, as recorded in this very evaluation, or computed."""


@dataclass(frozen=True, slots=True)
class RecordedQueries:
    """Over series that rules recorded earlier in the same group.

    Where these are not seen at once, only sums over time are read, and everything else is computed again.
    """

    slo_set: SloSet

    def counts(
        self, family: Family, parts: Sequence[Iterable[Matcher]], window: int, by: Sequence[str]
    ) -> str:
        """See :class:`Queries`."""
        ours = in_set(self.slo_set)
        selectors = [promql.selector(family.record, (*ours, *part)) for part in parts]
        sums = [f"sum_over_time({series}[{promql.milliseconds(window)}])" for series in selectors]
        return f"sum by ({', '.join(by)}) ({' or '.join(sums)})"

    def requests(self, matchers: Iterable[Matcher], window: int, by: Sequence[str]) -> str:
        """See :class:`Queries`."""
        return self.counts(REQUEST_FAMILY, (tuple(matchers),), window, by)

    def read(self, signal: Signal) -> str:
        """See :class:`Queries`."""
        if not self.slo_set.sources.chained:
            return f"(\n{promql.indent(signal.expr)}\n)"
        return promql.just_recorded(promql.selector(signal.record, in_set(self.slo_set)))


@dataclass(frozen=True, slots=True)
class LiveQueries:
    """Over raw series alone."""

    slo_set: SloSet

    def counts(
        self, family: Family, parts: Sequence[Iterable[Matcher]], window: int, by: Sequence[str]
    ) -> str:
        """See :class:`Queries`."""
        return raw_counts(self.slo_set, family, by, window, parts)

    def requests(self, matchers: Iterable[Matcher], window: int, by: Sequence[str]) -> str:
        """See :class:`Queries`."""
        return mesh_requests(self.slo_set, by, window, matchers)

    def read(self, signal: Signal) -> str:
        """See :class:`Queries`."""
        return f"(\n{promql.indent(signal.live)}\n)"


def in_set(slo_set: SloSet) -> tuple[Matcher, ...]:
    """The matcher of everything that is recorded for a set."""
    return (Matcher(naming.SLO_SET, "=", slo_set.name),)


def mesh_requests(
    slo_set: SloSet, by: Sequence[str], window: int = TILE, matchers: Iterable[Matcher] = ()
) -> str:
    """Requests of the last ``window`` seconds from raw counters, counted exactly, summed by recorded labels."""
    return raw_counts(slo_set, REQUEST_FAMILY, by, window, (tuple(matchers),))


def raw_counts(
    slo_set: SloSet, family: Family, by: Sequence[str], window: int, parts: Sequence[Iterable[Matcher]] = ALL
) -> str:
    """What a family counted in the last ``window`` seconds, from raw counters, exactly, summed by recorded labels."""
    texts, siblings = [], promql.selector(family.metric, (*family.where, *slo_set.mesh.matchers))
    for part in parts:
        raw = raw_matchers(part, family.names)
        series = promql.selector(family.metric, (*family.where, *raw, *slo_set.mesh.matchers))
        texts.append(series)
    text = promql.increments(texts, window, slo_set.mesh, siblings)
    return family.group(text, by) if family.group else renamed(text, by, family.names)


def raw_matchers(matchers: Iterable[Matcher], names: Mapping[str, str] = RENAMED) -> list[Matcher]:
    """Matchers of recorded labels as those of raw series, which ``names`` calls otherwise."""
    return [replace(matcher, label=names.get(matcher.label, matcher.label)) for matcher in matchers]


def tiles(slo_set: SloSet, family: Family, by: Sequence[str]) -> Signal:
    """What a family counts a minute, recorded: longer windows are summed from it."""
    return raw_signal(family.record, raw_counts(slo_set, family, by, TILE))


def connections(guardrail: Guardrail, record: str, metric: str, *matchers: Matcher) -> Family:
    """TCP connections to the services that a guardrail watches, as ztunnel reports them at their destination."""
    names = {label: RENAMED[label] for label in SERVICE_LABELS}
    where = (
        Matcher("reporter", "=", "destination"),
        promql.services(names[naming.SERVICE]),
        *in_namespaces(guardrail, names[naming.NAMESPACE]),
        *matchers,
    )
    return Family(record, metric, names, where)


def sides(slo_set: SloSet) -> tuple[Matcher, ...]:
    """Who reports the requests of a service: its clients' proxies, or else its own; in ambient mode the waypoint."""
    names = ("waypoint",) if slo_set.mesh.mode == "ambient" else ("source", "destination")
    return tuple(Matcher("reporter", "=", name) for name in names)


def reported(
    slo_set: SloSet,
    q: Queries,
    matchers: Sequence[Matcher],
    window: int,
    parts: Sequence[tuple[Matcher, ...]] = ALL,
) -> str:
    """Requests by service as the first of :func:`sides` reports them that reports any of the service.

    ``parts`` are disjoint matchers that choose among the requests.
    """

    def count(side: Matcher, chosen: Sequence[tuple[Matcher, ...]]) -> str:
        every = [(side, *part, SERVICES, *matchers) for part in chosen]
        return q.counts(REQUEST_FAMILY, every, window, SERVICE_LABELS)

    first, *rest = sides(slo_set)
    text = f"({count(first, parts)} > 0)"
    for side in rest:
        text += f"\nor\n  ({count(side, parts)} > 0"
        text += f"\n    unless on ({', '.join(SERVICE_LABELS)}) ({count(first, ALL)} > 0))"
    return text


def renamed(expr: str, by: Sequence[str], names: Mapping[str, str], operator: str = "sum") -> str:
    """``expr`` aggregated by the labels ``by``, of which those in ``names`` are called otherwise there."""
    raw = ", ".join(names.get(label, label) for label in by)
    text = f"{operator} by ({raw}) (\n{promql.indent(expr)}\n)"
    new = [label for label in by if names.get(label, label) != label]
    if not new:
        return text
    for label in new:
        text = f'label_replace(\n{promql.indent(text)},\n  "{label}", "$1", "{names[label]}", "(.*)"\n)'
    return f"sum by ({', '.join(by)}) (\n{promql.indent(text)}\n)"


def signal(slo_set: SloSet, record: str, build: Callable[[Queries], str]) -> Signal:
    """A signal whose expression ``build`` makes in both forms."""
    return Signal(record, build(RecordedQueries(slo_set)), build(LiveQueries(slo_set)))


def raw_signal(record: str, expr: str) -> Signal:
    """A signal that reads raw series in both forms."""
    return Signal(record, expr, expr)


def counted(slo_set: SloSet, series: str, window: int) -> str:
    """What each counter of ``series`` (a selector) counted in the last ``window`` seconds, its first events too."""
    return f"(\n{promql.indent(promql.increments(series, window, slo_set.mesh))}\n)"


def share(bad: str, total: str, on: Sequence[str]) -> str:
    """``bad`` over ``total`` by the labels ``on``: 0 where nothing is bad, missing where there is nothing at all."""
    by = f"on ({', '.join(on)})"
    return (
        f"(\n{promql.indent(bad)}\nor {by}\n  0 * {promql.indent(total).lstrip()}\n)\n"
        f"/ {by}\n  ({promql.indent(total).lstrip()} > 0)"
    )


def flagged(*flags: str) -> Matcher:
    """The matcher of requests with any of Envoy's response flags, which are listed with commas: ``UF,URX``."""
    return Matcher("response_flags", "=~", f"(?:.+,)?(?:{'|'.join(flags)})(?:,.+)?")


def selected(slo_set: SloSet, metric: str, *matchers: Matcher) -> str:
    """A raw selector with the mesh's own matchers."""
    return promql.selector(metric, (*matchers, *slo_set.mesh.matchers))


def in_namespaces(guardrail: Guardrail, label: str = naming.NAMESPACE) -> tuple[Matcher, ...]:
    """The matcher of the guardrail's namespaces; none if it watches all."""
    return one_of(label, guardrail.namespaces) if guardrail.namespaces else ()


def one_of(label: str, values: Sequence[str]) -> tuple[Matcher, ...]:
    """A matcher for any of some plain values."""
    if len(values) == 1:
        return (Matcher(label, "=", values[0]),)
    return (Matcher(label, "=~", "|".join(promql.regex_quote(value) for value in values)),)


def enough(q: Queries, total: Signal, guardrail: Guardrail, on: Sequence[str]) -> str:
    """The gate for low traffic: nothing of it for ``min_events: 0``."""
    if guardrail.min_events <= 0:
        return ""
    return f"\nand on ({', '.join(on)})\n  {q.read(total)} >= {guardrail.min_events}"


CLUSTER = "cluster_name"
"""Istio's label for the Envoy cluster (upstream) of a series: ``outbound|8080|v1|payments.shop.svc.cluster.local``."""
_BAR = "(?:[|]|_[.])"
_OUTBOUND = "(?:outbound|inbound-vip)"
_HEAD = f"{_OUTBOUND}{_BAR}[0-9]+{_BAR}[^|]*?{_BAR}"


def outbound(namespaces: Sequence[str] = ()) -> Matcher:
    """The matcher of clusters that requests leave by; only those to services of ``namespaces``, if there are any.

    A sidecar's are called ``outbound|…``, a waypoint's ``inbound-vip|…``.
    """
    if not namespaces:
        return Matcher(CLUSTER, "=~", f"{_OUTBOUND}{_BAR}.*")
    names = "|".join(promql.regex_quote(name) for name in namespaces)
    return Matcher(CLUSTER, "=~", f"{_HEAD}[^.|]+[.](?:{names})[.]svc(?:[.;].*)?")


def cluster_service(expr: str, keep: Sequence[str] = (), operator: str = "sum") -> str:
    """``expr`` (series of outbound clusters) aggregated by the service that each cluster belongs to, and ``keep``.

    ``outbound|8080|v1|payments.shop.svc.cluster.local`` is the service payments in shop, whatever the port, the subset,
    the cluster's domain, and with the ``;`` that newer proxies end it with, or ``_.`` for ``|`` (gateways between
    networks). Any other host, as of a ServiceEntry, is the service itself, and has no namespace. ``keep`` must not
    have the service's two labels: those of a scrape target (its pod's namespace) are dropped here.
    """
    text = f"{operator} by ({', '.join((CLUSTER, *keep))}) (\n{promql.indent(expr)}\n)"
    name = "([^.;|]+)[.]([^.;|]+)[.]svc(?:[.;].*)?"
    for label, group, pattern in (
        (naming.SERVICE, "$1", f"{_HEAD}([^;|]+);?.*"),
        (naming.SERVICE, "$1", f"{_HEAD}{name}"),
        (naming.NAMESPACE, "$2", f"{_HEAD}{name}"),
    ):
        text = (
            f"label_replace(\n{promql.indent(text)},\n"
            f'  "{label}", "{group}", "{CLUSTER}", {promql.quote(pattern)}\n)'
        )
    return f"{operator} by ({', '.join((*keep, *SERVICE_LABELS))}) (\n{promql.indent(text)}\n)"
