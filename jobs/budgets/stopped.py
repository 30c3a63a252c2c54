"""Traffic that stopped: an SLO and service with events in the window, and none for far longer than usual.

What is usual are the pauses of the week before. A service that moved to another reporter (a waypoint) looks like this
too, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.budgets import budget_history
from jobs.budgets.collected import Collected
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource
from sloctl.errors import BackendError
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.model.policies import SILENCE
from sloctl.report.data import Finding

WIDTH = 3 * GRID
"""Seconds of the buckets in which pauses are looked for."""


def candidates(slo_set: SloSet, data: Collected) -> list[SeriesKey]:
    """What had events in its window, and none in the last hour."""
    by_id = {slo.id: slo for slo in slo_set.slos}
    recent = data.burn.get(SILENCE.least, {})
    return sorted(
        key
        for key, (_, total) in data.period.items()
        if total > 0
        and key[0] in by_id
        and key[2] not in by_id[key[0]].overridden
        and key not in data.blind
        and recent.get(key, (0.0, 0.0))[1] <= 0
    )


def blind(source: MetricSource, slo_set: SloSet, at: datetime, data: Collected) -> list[Finding]:
    """Latency SLOs whose requests go on unmeasured: what is known of them is of before. Raises ``BackendError``.

    They are noted as such. Asked only where there were no events in the shortest window.
    """
    recent = data.burn[min(data.burn)] if data.burn else {}
    quiet = {
        key for key, (_, total) in data.period.items() if total > 0 and recent.get(key, (0.0, 0.0))[1] <= 0
    }
    found = []
    for slo in slo_set.slos:
        own = {key for key in quiet if key[0] == slo.id}
        query = promql.unmeasured(slo, slo_set.mesh) if own else ""
        for item in source.query(query, at) if query else ():
            assert isinstance(slo.sli, CounterSli)
            namespace, service = (
                item["metric"].get(label, "") for label in (slo.sli.namespace_label, slo.sli.service_label)
            )
            key = (slo.id, namespace, service)
            if key in own:
                data.blind.add(key)
                text = (
                    f"{namespace}/{service} {slo.name}: its requests go on, and their latency is not measured any "
                    "more: what is said of it is of before. Have its histograms become native ones? sloctl validate "
                    "--prometheus says so"
                )
                scope = {naming.SLO: slo.name, naming.NAMESPACE: namespace, naming.SERVICE: service}
                found.append(Finding("warning", "sli-blind", text, scope))
    return found


def pause(eventful: Iterable[int]) -> tuple[int, int] | None:
    """(seconds without events, longest pause before) where the first is far more than the second; else None.

    ``eventful`` are the numbers of the buckets of :data:`WIDTH` that had events, counted back from now (0).
    """
    numbers = sorted(eventful)
    if not numbers:
        return SILENCE.memory, 0
    if len(numbers) < SILENCE.steps or numbers[-1] * WIDTH < SILENCE.age:
        return None
    longest = max(later - number for number, later in pairwise(numbers)) * WIDTH
    now = numbers[0] * WIDTH
    return (now, longest) if now > max(SILENCE.least, SILENCE.times * longest) else None


def findings(source: MetricSource, slo_set: SloSet, at: datetime, data: Collected) -> list[Finding]:
    """What stopped, since when. Raises ``BackendError``; what cannot be read of it is left out."""
    keys = candidates(slo_set, data)
    if not keys or not (data.recorded or data.eventful):
        return []
    eventful: Mapping[SeriesKey, Iterable[int]] = data.eventful
    if data.recorded:
        eventful = budget_history.eventful(source, slo_set, at, SILENCE.memory, WIDTH) | data.eventful
    found = {key: told for key in keys if (told := pause(eventful.get(key, ()))) is not None}
    return [
        _finding(slo, key, found[key], at, reporters.get(key[2], ()))
        for slo in slo_set.slos
        if (services := [key for key in found if key[0] == slo.id])
        for reporters in (_reporters(source, slo_set, slo, [key[2] for key in services], at),)
        for key in services
    ]


def _reporters(
    source: MetricSource, slo_set: SloSet, slo: Slo, services: Sequence[str], at: datetime
) -> dict[str, list[str]]:
    """Who counts requests to some services that the SLO does not see, by service."""
    query = promql.other_reporters(slo, slo_set.mesh, services)
    found: dict[str, list[str]] = {}
    try:
        answer = source.query(query, at) if query else ()
    except BackendError:
        return found
    for item in answer:
        labels = dict(item["metric"])
        reporter = labels.pop("reporter", "")
        for service in labels.values():
            found.setdefault(service, []).append(reporter)
    return found


def _finding(
    slo: Slo, key: SeriesKey, told: tuple[int, int], at: datetime, reporters: Sequence[str]
) -> Finding:
    _, namespace, service = key
    name = f"{namespace}/{service} {slo.name}" if namespace else f"{service} {slo.name}"
    silent, longest = told
    if longest:
        since = rfc3339(at - timedelta(seconds=silent))
        text = (
            f"{name}: no events since {since}; the longest pause of the week before was {duration(longest)}"
        )
    else:
        text = f"{name}: no events for more than {duration(silent)}"
    if reporters:
        shown = " and ".join(sorted(set(reporters)))
        text += f". Its requests are counted by the reporter {shown} now, which this SLO does not read"
        if "waypoint" in reporters:
            text += " (a waypoint: mesh.mode ambient)"
    else:
        text += ". Is it gone, not called, or not scraped?"
    scope = {naming.SLO: slo.name, naming.NAMESPACE: namespace, naming.SERVICE: service}
    return Finding("warning", "traffic-stopped", text, scope)
