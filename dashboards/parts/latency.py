"""Latency: quantiles of a service's requests, the thresholds of its SLOs, and what takes longer.

Quantiles are of what a guardrail records, or of raw buckets over five minutes where none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from dashboards.grafana import Json, TimeSeries
from dashboards.parts import causes
from dashboards.parts.links import to_traces
from dashboards.parts.panels import Column, Steps, dashed, graph, heatmap, table
from dashboards.parts.series import Subject
from sloctl import naming
from sloctl.guardrails.shared import queries
from sloctl.model import CounterSli, Matcher, Slo
from sloctl.model.durations import number
from sloctl.promql.presets import DURATION, DURATION_BUCKET, REPORTERS

BUCKETS = "service:request_duration_buckets:increase5m"
P99 = "service:latency_p99_seconds:quantile5m"
QUANTILES = (99, 95, 50)
NO_LATENCY = "no requests whose latency is measured in the time shown"
NOTHING_SLOW = "nothing took longer than its threshold in the time shown"
CAUSES = (*causes.ENDS, "response_code", *causes.VERSION)
_LONGEST = 10_000
"""Characters of a query: servers refuse those over 16 KiB."""
_GATEWAY = {naming.NAMESPACE: "source_workload_namespace", naming.SERVICE: "source_workload"}


def _metric(subject: Subject) -> str:
    return DURATION if subject.native else DURATION_BUCKET


def known(subject: Subject) -> bool:
    """Whether the file is about requests of the mesh, whose latency proxies measure."""
    return bool(subject.on_mesh) or subject.records(BUCKETS, P99)


def _slos(subject: Subject) -> Iterator[tuple[Slo, CounterSli]]:
    return ((slo, slo.sli) for slo in subject.slo_set.slos if isinstance(slo.sli, CounterSli))


def thresholds(subject: Subject) -> dict[Decimal, list[Slo]]:
    """The thresholds (milliseconds) of the latency SLOs, the lowest first."""
    found: dict[Decimal, list[Slo]] = {}
    for slo, sli in _slos(subject):
        if sli.threshold is not None:
            found.setdefault(sli.threshold, []).append(slo)
    return dict(sorted(found.items()))


def _reporters(subject: Subject) -> tuple[str, ...]:
    """Who reports the requests that the latency SLOs count; without such SLOs, those that the others count."""
    slis = [sli for _, sli in _slos(subject) if naming.family(sli) != "gateway_requests"]
    slow = [sli for sli in slis if sli.threshold is not None]
    found = dict.fromkeys(REPORTERS[sli.side] for sli in slow or slis)
    if subject.records(BUCKETS, P99) or not found:
        found.setdefault(queries.sides(subject.slo_set)[0].value)
    return tuple(found)


def _recorded(subject: Subject) -> bool:
    """Whether what a guardrail records is what the SLOs count."""
    first = queries.sides(subject.slo_set)[0].value
    return subject.records(BUCKETS, P99) and _reporters(subject) == (first,)


def _gateways(subject: Subject) -> list[str]:
    """Gateways with an SLO, which are the source of what they count."""
    return sorted(
        {slo.service for slo, sli in _slos(subject) if naming.family(sli) == "gateway_requests"} - {"*"}
    )


def _raw(subject: Subject, where: Sequence[Matcher]) -> str:
    """The rates of the raw buckets of the service that ``where`` chooses."""
    reporter = queries.one_of("reporter", _reporters(subject))
    series = subject.raw(_metric(subject), *reporter, *queries.raw_matchers(where))
    return f"rate({series}[5m]){_or_of_gateway(subject, where)}"


def _or_of_gateway(subject: Subject, where: Sequence[Matcher]) -> str:
    """What a gateway that ``where`` chooses sends: nobody in the mesh calls it. Nothing without SLOs of gateways."""
    gateways = _gateways(subject)
    if not gateways:
        return ""
    ours = (*queries.raw_matchers(where, _GATEWAY), *queries.one_of("source_workload", gateways))
    return f" or rate({subject.raw(_metric(subject), Matcher('reporter', '=', 'source'), *ours)}[5m])"


def _quantile(subject: Subject, percent: int, buckets: str, by: Sequence[str] = ()) -> str:
    return f"histogram_quantile({percent / 100:g}, {_summed(subject, buckets, by)}) / 1000 >= 0"


def _summed(subject: Subject, buckets: str, by: Sequence[str] = ()) -> str:
    """The histograms of what has the same labels, as one."""
    return f"sum by ({', '.join((*by, *subject.le))}) ({buckets})"


def _lines(subject: Subject, where: Sequence[Matcher]) -> Iterator[tuple[str, str]]:
    """The thresholds of the SLOs that ``where`` chooses, in seconds, in as few queries as may be."""
    text = ""
    for part in _threshold_parts(subject, where, (naming.SLO,)):
        if text and len(text) + len(part) > _LONGEST:
            yield "threshold of {{slo}}", text
            text = ""
        text += f"\nor\n{part}" if text else part
    if text:
        yield "threshold of {{slo}}", text


def _threshold_parts(subject: Subject, where: Sequence[Matcher], by: Sequence[str]) -> Iterator[str]:
    for threshold, slos in thresholds(subject).items():
        others = {slo.name for slo in subject.slo_set.slos if slo not in slos}
        names = sorted({slo.name for slo in slos} - others)
        ids = [slo.id for slo in slos if slo.name in others]
        chosen = [queries.one_of(naming.SLO, names)] if names else []
        chosen += [
            queries.one_of(naming.SLO_ID, ids[begin : begin + 100]) for begin in range(0, len(ids), 100)
        ]
        for matchers in chosen:
            there = subject.latest(naming.TOTAL_GRID, *where, *matchers)
            yield f"min by ({', '.join(by)}) (0 * {there} + {number(threshold / 1000)})"


def over_time(
    subject: Subject,
    title: str,
    where: Sequence[Matcher],
    *,
    limits: Steps = (),
    links: Sequence[Json] = (),
    span: int = 12,
) -> TimeSeries:
    """p50, p95 and p99 of a service, and the thresholds of its SLOs."""
    reporters = _reporters(subject)
    if _recorded(subject):
        buckets = f"{subject.series(BUCKETS, *where)}{_or_of_gateway(subject, where)}"
        lines = [(f"p{percent}", _quantile(subject, percent, buckets)) for percent in QUANTILES]
    else:
        by = ("reporter",) if len(reporters) > 1 else ()
        legend = "p{} as the {{{{reporter}}}} reports" if by else "p{}"
        lines = [(legend.format(p), _quantile(subject, p, _raw(subject, where), by)) for p in QUANTILES]
    who = {"source": "clients", "destination": "servers", "waypoint": "waypoints"}
    seen = " and as ".join(who[name] for name in reporters)
    panel = graph(
        title,
        f"Quantiles over five minutes, as {seen} see them; between two bounds of the histogram they are interpolated. "
        "The dashed lines are thresholds of latency SLOs. "
        "Points are exemplars: traces, where the proxies expose them.",
        [*lines, *_lines(subject, where)],
        unit="s",
        limits=limits,
        nothing=NO_LATENCY,
        exemplars=subject.raw(
            _metric(subject), *queries.one_of("reporter", reporters), *queries.raw_matchers(where)
        ),
        links=links,
        span=span,
    )
    return dashed(panel, "/^threshold of/", "orange")


def bands(subject: Subject, where: Sequence[Matcher]) -> Any:
    """Requests of a service by how long they took."""
    buckets = _raw(subject, where)
    if _recorded(subject):
        buckets = f"{subject.series(BUCKETS, *where)}{_or_of_gateway(subject, where)}"
    return heatmap(
        "How long requests take",
        "Requests by how long they took, each minute of the last five: two bands are two kinds of requests.",
        _summed(subject, buckets),
        unit="ms",
        nothing=NO_LATENCY,
    )


def slowest(
    subject: Subject, where: Sequence[Matcher], count: int, links: Mapping[str, Sequence[Json]]
) -> Any:
    """Services by p99 now, with the threshold of their SLOs."""
    by = naming.IDENTITY
    if subject.records(BUCKETS, P99):
        buckets = subject.series(BUCKETS, *where)
    else:
        first = queries.sides(subject.slo_set)[0].value
        reporters = _reporters(subject)
        reporter = Matcher("reporter", "=", first if first in reporters else reporters[0])
        namespaces = sorted({slo.namespace for slo, _ in _slos(subject) if slo.namespace})
        ours = queries.one_of(naming.NAMESPACE, namespaces) if namespaces else ()
        raw = subject.raw(
            _metric(subject), reporter, *queries.raw_matchers((*where, *ours, queries.SERVICES))
        )
        buckets = queries.renamed(f"rate({raw}[5m])", (*by, *subject.le), queries.RENAMED)
    columns = [
        Column(f"p{p}", f"topk({count}, {expr})" if p == QUANTILES[0] else expr, "s", 3)
        for p, expr in ((p, _quantile(subject, p, buckets, by)) for p in QUANTILES)
    ]
    worst = columns[0].expr
    if parts := list(_threshold_parts(subject, where, by)):
        # Of a service with several, the first: the lowest one.
        columns.append(Column("threshold", "\nor\n".join(parts), "s", 3))
    for index, column in enumerate(columns[1:], 1):
        columns[index] = Column(
            column.title, f"({column.expr})\nand on ({', '.join(by)})\n{worst}", column.unit, column.places
        )
    return table(
        "Slowest services",
        f"Quantiles of the last five minutes of the {count} services with the largest p99, and the lowest threshold of "
        "their latency SLOs. Click a service for its dashboard or its slow traces.",
        columns,
        labels=by,
        links=links,
        sort=("p99", True),
        nothing="no requests whose latency is measured in the last five minutes",
        span=12,
    )


def whose(
    subject: Subject,
    where: Sequence[Matcher],
    labels: Sequence[str],
    *,
    links: Mapping[str, Sequence[Json]] | None = None,
    span: int = 12,
) -> Iterator[Any]:
    """Requests over their threshold by what tells them apart; nothing without latency SLOs."""
    if subject.records(naming.BAD_CAUSES) and subject.slow:
        yield causes.most_frequent(
            subject,
            "What is slow, and for whom",
            "Requests in the time shown that took longer than the threshold of their SLO, by caller, response code and "
            "the version that answered.",
            (*where, *subject.slow),
            labels,
            25,
            links=links,
            nothing=NOTHING_SLOW,
            span=span,
        )


def slow_traces(subject: Subject, service: str, namespace: str) -> list[Json]:
    """Links to traces over the thresholds of latency SLOs, or else over the guardrail's limit.

    Of more than three thresholds, the lowest: what is over another one is over it, too.
    """
    found = list(thresholds(subject))
    if not found and "service-latency" in subject.guardrails:
        found = [Decimal(str(subject.limit("service-latency"))) * 1000]
    return [
        link
        for over in (found if len(found) <= 3 else found[:1])
        for link in to_traces(
            subject.slo_set, f"Traces over {number(over)} ms", service, namespace, failed=False, over=over
        )
    ]
