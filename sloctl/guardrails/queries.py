"""PromQL that guardrails share: requests of the whole mesh, what was just recorded, shares, exact counts.

A guardrail's expression is built once, by a function of :class:`Queries`, and comes out in two forms: over recorded
series for the rules, and over raw series alone for reports where no rules are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sloctl import naming, promql
from sloctl.guardrails.kinds import Signal
from sloctl.model import TILE, Guardrail, Matcher, SloSet
from sloctl.presets import REQUESTS

RENAMED = {
    naming.SOURCE_NAMESPACE: "source_workload_namespace",
    naming.SOURCE: "source_workload",
    naming.NAMESPACE: "destination_service_namespace",
    naming.SERVICE: "destination_service_name",
}
"""Recorded labels that Istio calls otherwise; all others keep Istio's name."""
SERVICE_LABELS = (naming.NAMESPACE, naming.SERVICE)


class Queries(Protocol):
    """The two forms of an expression's parts."""

    def requests(self, matchers: Iterable[Matcher], window: int, by: Sequence[str]) -> str:
        """Requests of the last ``window`` seconds, summed by recorded labels; missing where there are none."""

    def read(self, signal: Signal) -> str:
        """A signal, as recorded in this very evaluation, or computed."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Over series that rules recorded earlier in the same group."""

    slo_set: SloSet

    def requests(self, matchers: Iterable[Matcher], window: int, by: Sequence[str]) -> str:
        """See :class:`Queries`."""
        series = promql.selector(naming.MESH_REQUESTS, (*in_set(self.slo_set), *matchers))
        return f"sum by ({', '.join(by)}) (sum_over_time({series}[{promql.milliseconds(window)}]))"

    def read(self, signal: Signal) -> str:
        """See :class:`Queries`."""
        return f"last_over_time({promql.selector(signal.record, in_set(self.slo_set))}[1s])"


@dataclass(frozen=True, slots=True)
class Live:
    """Over raw series alone."""

    slo_set: SloSet

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
    raw = [Matcher(RENAMED.get(m.label, m.label), m.op, m.value) for m in matchers]
    series = promql.selector(REQUESTS, (*raw, *slo_set.mesh.matchers))
    return renamed(promql.increments(series, window, slo_set.mesh), by, RENAMED)


def renamed(expr: str, by: Sequence[str], names: dict[str, str], operator: str = "sum") -> str:
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
    return Signal(record, build(Recorded(slo_set)), build(Live(slo_set)))


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
_HEAD = f"outbound{_BAR}[0-9]+{_BAR}[^|]*?{_BAR}"


def outbound(namespaces: Sequence[str] = ()) -> Matcher:
    """The matcher of clusters that requests leave by; only those to services of ``namespaces``, if there are any."""
    if not namespaces:
        return Matcher(CLUSTER, "=~", "outbound(?:[|]|_[.]).*")
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
