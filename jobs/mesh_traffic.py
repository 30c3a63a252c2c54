"""The traffic that the mesh's configuration is held against: calls, attempts, versions, hosts; of Istio's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import isfinite

from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Series
from sloctl.errors import BackendError
from sloctl.mesh import Result
from sloctl.mesh.traffic import Call, Place, Traffic
from sloctl.mesh.world import short
from sloctl.model import Mesh
from sloctl.promql.calls import selectors, sides, summed
from sloctl.report.data import Finding, Report
from sloctl.report.health import ConfiguredRetries

RECENT = 1800
"""Seconds of traffic that reports look at, as for attempts per request."""
BESIDE = ("retries-multiply", "amplification-measured", "versions-differ")
"""Findings of the configuration that stand in reports: those that hold it against traffic."""
_EDGE = (*naming.CALLERS, *naming.CALLED)
_SERVES = ("destination_workload_namespace", "destination_workload", *naming.CALLED, "destination_version")


def read(source: MetricSource, mesh: Mesh, at: datetime, seconds: int) -> Traffic:
    """The calls of the ``seconds`` before ``at``. Raises ``BackendError``.

    Of an answer that lacks data only who calls whom is taken: attempts per request would be of two parts that differ,
    and a version without requests may be one that was not heard of.
    """
    heard = Heard(source)
    seen, serving = sides(mesh)[0], sides(mesh)[-1]
    queries = {
        "requests": summed(selectors(seen, mesh, "total"), _EDGE, seconds),
        "hosts": summed(selectors(seen, mesh, "total"), ("destination_service",), seconds),
        "serves": summed(selectors(serving, mesh, "total"), _SERVES, seconds),
    }
    if serving != seen:
        queries["attempts"] = summed(selectors(serving, mesh, "total"), _EDGE, seconds)
    answers = heard.query_many(queries, at)
    owner, versions = _served(answers["serves"], seconds)
    attempts = dict(_counts(answers.get("attempts", ()), _EDGE))
    calls: dict[tuple[Place, Place], list[float]] = {}
    for labels, requests in _counts(answers["requests"], _EDGE):
        client, server = (labels[0], labels[1]), (labels[2], labels[3])
        if promql.is_service(server[1]) and promql.is_service(client[1]):
            found = calls.setdefault((owner.get(client, client), server), [0.0, 0.0, 0.0])
            found[0] += requests
            if labels in attempts:
                found[1] += requests
                found[2] += attempts[labels]
    return Traffic(
        seconds=seconds,
        calls=tuple(
            Call(client, server, total / seconds, tried / counted if counted and not heard.doubts else None)
            for (client, server), (total, counted, tried) in sorted(calls.items())
            if total > 0
        ),
        versions={} if heard.doubts else versions,
        hosts=frozenset(
            host.lower()
            for (host,), count in _counts(answers["hosts"], ("destination_service",))
            if count > 0
        ),
        doubts=tuple(heard.doubts),
    )


def configured(result: Result) -> list[ConfiguredRetries]:
    """What the configuration allows of the calls of traffic, for reports."""
    return [
        ConfiguredRetries(
            source=short(edge.client),
            destination=short(edge.server),
            tries=edge.tries,
            along_path=edge.worst,
            path=tuple(map(short, edge.path)),
            requests_per_second=None if result.partial else edge.rate,
            amplification=edge.measured,
            if_it_fails=edge.failing,
        )
        for edge in result.edges
    ]


def beside(
    report: Report, source: MetricSource, mesh: Mesh, judged: Callable[[Traffic | None], Result]
) -> Report:
    """A report with what the mesh's configuration allows, and with what in it does not fit the traffic.

    ``judged`` holds the configuration against traffic. Without Prometheus the report says what else it has to say.
    """
    try:
        result = judged(read(source, mesh, report.at, RECENT))
    except BackendError as error:
        text = f"the traffic that the mesh's configuration is held against could not be read: {error}"
        return replace(
            report, findings=(*report.findings, Finding("warning", "configuration-in-doubt", text))
        )
    found = [
        Finding("warning", "mesh-configuration", f"{item.position}: {item.message} [{item.code}]")
        for item in result.findings
        if item.code in BESIDE and item.severity != "note"
    ]
    found += [Finding("warning", "configuration-in-doubt", text) for text in doubts(result)]
    rows = tuple(configured(result))
    return replace(report, findings=(*report.findings, *found), configured_retries=rows)


def doubts(result: Result) -> list[str]:
    """What is to be known of a comparison with traffic before it is believed."""
    said = [text for text in result.unknown if text.startswith(("attempts, ", "calls: "))]
    return said + [f"{item.position}: {item.message}: not judged" for item in result.problems]


def _served(
    series: Iterable[Series], seconds: int
) -> tuple[dict[Place, Place], dict[Place, dict[str, float]]]:
    """The service of each workload, where it serves one alone; requests a second of each service's versions."""
    served: dict[Place, set[Place]] = {}
    versions: dict[Place, dict[str, float]] = {}
    for labels, count in _counts(series, _SERVES):
        workload, service, version = (labels[0], labels[1]), (labels[2], labels[3]), labels[4]
        if count > 0 and promql.is_service(service[1]):
            served.setdefault(workload, set()).add(service)
            if version not in ("", "unknown"):
                rates = versions.setdefault(service, {})
                rates[version] = rates.get(version, 0.0) + count / seconds
    return {workload: next(iter(of)) for workload, of in served.items() if len(of) == 1}, versions


def _counts(series: Iterable[Series], names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], float]]:
    for item in series:
        labels: Mapping[str, str] = item["metric"]
        count = float(item["value"][1])
        if isfinite(count):
            yield tuple(labels.get(name, "") for name in names), count
