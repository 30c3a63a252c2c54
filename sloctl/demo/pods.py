"""Who is alive when: the pods of each service, their scrape targets, and the gaps in their scraping.

Times are seconds relative to the end of the history, as everywhere in the simulation.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from sloctl.demo.world import Crash, Deploy, ScrapeGap, Service, World

Labels = tuple[tuple[str, str], ...]

MESH_JOB = "envoy-stats"
KUBE_JOB = "kube-state-metrics"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes makes pod names of
_GENERATIONS = 16
"""Generations of pods that fit in the third byte's share of an address."""


@dataclass(frozen=True, slots=True)
class Target:
    """What Prometheus scrapes: its labels, and the span [first, last] of instants at which it is scraped.

    ``restarts`` are the instants after which its counters start anew, ``gaps`` spans (start, end] in which
    scrapes fail. ``page`` is the path under which the live exporter serves it.
    """

    labels: Labels
    page: str
    first: float = -math.inf
    last: float = math.inf
    restarts: tuple[float, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """The pods of a service between two deploys: they serve in (start, end]."""

    service: Service
    version: str
    start: float
    end: float
    pods: tuple[Target, ...]


def generations(world: World, service: Service) -> list[Generation]:
    """The service's generations of pods, oldest first."""
    deploys = sorted(
        (event for event in world.events if isinstance(event, Deploy) and event.service == service.name),
        key=lambda event: event.at,
    )
    starts = [-math.inf, *(event.at for event in deploys)]
    ends = [*(event.at for event in deploys), math.inf]
    versions = [service.version, *(event.version for event in deploys)]
    return [
        Generation(
            service,
            version,
            start,
            end,
            tuple(_pod(world, service, number, index, start, end) for index in range(service.pods)),
        )
        for number, (version, start, end) in enumerate(zip(versions, starts, ends, strict=True))
    ]


def _pod(world: World, service: Service, number: int, index: int, start: float, end: float) -> Target:
    name = pod_name(service.name, number, index)
    position = [other.name for other in world.services].index(service.name)
    address = f"10.4.{position}.{(number % _GENERATIONS) * 16 + index + 1}"
    # Scraped twice before its first request, and once after its last.
    return target(
        MESH_JOB,
        f"{address}:15020",
        service.namespace,
        name,
        first=start - 2 * world.interval,
        last=end + world.interval / 2,
        restarts=tuple(
            sorted(
                event.at
                for event in world.events
                if isinstance(event, Crash)
                and (event.service, event.pod) == (service.name, index)
                and start < event.at <= end
            )
        ),
        gaps=gaps(world, service.name),
    )


def target(
    job: str,
    instance: str,
    namespace: str,
    pod: str,
    *,
    first: float = -math.inf,
    last: float = math.inf,
    restarts: tuple[float, ...] = (),
    gaps: tuple[tuple[float, float], ...] = (),
) -> Target:
    """A target with the labels that Kubernetes service discovery gives to a pod."""
    labels = (("job", job), ("instance", instance), ("namespace", namespace), ("pod", pod))
    return Target(labels, f"/metrics/{job}/{pod}", first, last, restarts, gaps)


def kube_target() -> Target:
    """kube-state-metrics: its series name their own namespace and pod, so that the target has none."""
    return Target((("job", KUBE_JOB), ("instance", "10.4.250.1:8080")), f"/metrics/{KUBE_JOB}")


def gaps(world: World, service: str) -> tuple[tuple[float, float], ...]:
    """The spans (start, end] in which none of the service's targets can be scraped."""
    return tuple(
        (event.start, event.end)
        for event in world.events
        if isinstance(event, ScrapeGap) and event.service == service
    )


def pod_name(service: str, generation: int, index: int) -> str:
    """A name such as a Deployment's pods have, always the same for the same arguments."""
    replica_set = _letters(f"{service}/{generation}", 9)
    return f"{service}-{replica_set}-{_letters(f'{service}/{generation}/{index}', 5)}"


def _letters(text: str, count: int) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:count])
