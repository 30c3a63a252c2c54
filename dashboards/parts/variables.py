"""The variables of the dashboards: data sources, namespaces, services, SLOs.

A variable of one value is matched with ``=``, one of several with ``=~``: Grafana escapes what goes into a regular
expression only if the variable may have several values.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.grafana import Variable
from dashboards.parts.links import TRACES
from dashboards.parts.series import ANY_NAMESPACE, CLUSTER, ONE_NAMESPACE, Subject
from sloctl import naming, promql
from sloctl.guardrails.shared.queries import in_set
from sloctl.model import Matcher

ALL = "All"
SLO = Matcher(naming.SLO, "=", "$slo")


def sources(subject: Subject, *, traces: bool = True) -> list[Variable]:
    """The Prometheus that the rules are in; and where the file names a trace backend, a data source of its kind.

    ``traces`` says whether anything on the dashboard leads to traces.
    """
    found = [
        Variable(
            name="datasource",
            label="Prometheus",
            type="datasource",
            query="prometheus",
            description="The Prometheus (or what answers as one) in which the set's rules are loaded.",
        )
    ]
    if subject.clustered:
        found.append(
            Variable(
                name=CLUSTER,
                label="Cluster",
                query=f"label_values({promql.selector(naming.OBJECTIVE, in_set(subject.slo_set))}, {CLUSTER})",
                description="Clusters whose rules are of a set of this name.",
                default=ALL,
                includeAll=True,
                allValue=".*",
                multi=True,
            )
        )
    if traces and (backend := subject.slo_set.sources.traces_shown):
        found.append(
            Variable(
                name=TRACES,
                label="Traces",
                type="datasource",
                query=backend,
                description=f"Links to traces open this data source ({backend}).",
            )
        )
    return found


def _values(subject: Subject, label: str, metrics: Sequence[str], *matchers: Matcher) -> str:
    """The values of a label in any of some recorded series."""
    where = (*subject.own, *matchers)
    inner = [f"{m.label}{m.op}{promql.quote(m.value)}" for m in where]
    if len(metrics) == 1:
        return f"label_values({metrics[0]}{{{', '.join(inner)}}}, {label})"
    return f'label_values({{__name__=~"{"|".join(metrics)}", {", ".join(inner)}}}, {label})'


def namespaces(subject: Subject, metrics: Sequence[str]) -> Variable:
    """Any of the namespaces that recorded series name; all of them at first, and what has none is among them."""
    return Variable(
        name="namespace",
        label="Namespace",
        query=_values(subject, naming.NAMESPACE, metrics),
        default=ALL,
        includeAll=True,
        allValue=".*",
        multi=True,
    )


def services(subject: Subject, metrics: Sequence[str]) -> Variable:
    """Any of the services of the chosen namespaces."""
    return Variable(
        name="service",
        label="Service",
        query=_values(subject, naming.SERVICE, metrics, ANY_NAMESPACE),
        default=ALL,
        includeAll=True,
        allValue=".*",
        multi=True,
    )


def owners(subject: Subject) -> list[Variable]:
    """Whose SLOs and alerts are shown: everybody's at first; none where there is one owner."""
    if not subject.owned:
        return []
    values = {ALL: ".*"} | {owner: ids for owner, ids in subject.owners.items() if owner != ALL}
    described = "Whose SLOs and alerts are shown; what guardrails measure is everybody's."
    return [
        Variable(name="owner", label="Owner", type="custom", query="", description=described, values=values)
    ]


def one_place(subject: Subject, metrics: Sequence[str], *matchers: Matcher) -> list[Variable]:
    """One namespace, and one service in it, of the recorded series that ``matchers`` choose."""
    return [
        Variable(
            name="namespace",
            label="Namespace",
            query=_values(subject, naming.NAMESPACE, metrics, *matchers),
            description="Empty for a service that is not on the mesh.",
        ),
        Variable(
            name="service",
            label="Service",
            query=_values(subject, naming.SERVICE, metrics, *matchers, ONE_NAMESPACE),
        ),
    ]


def one_slo(subject: Subject) -> list[Variable]:
    """One SLO of one service: its name, then the namespaces and the services that have it."""
    metrics = (naming.TOTAL_GRID,)
    slo = Variable(name="slo", label="SLO", query=_values(subject, naming.SLO, metrics))
    return [slo, *one_place(subject, metrics, SLO)]
