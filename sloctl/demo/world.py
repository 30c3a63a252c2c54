"""A simulated world as data: services, who calls whom, what happens to them, and the grid of ticks that it is played
on.

Every time is in seconds relative to the end of the history (negative is before it), so that one world gives
the same history, number for number, whenever it is built. The world's own clock stands at
:data:`END_HOUR` on a Tuesday at that end. Knows nothing about metrics or Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

END_HOUR = 14.0
"""The world's time of day at the end of the history: in the middle of a busy afternoon."""
PEAK_HOUR = 15.0
DAY = 86400.0
HOUR = 3600.0
_END_WEEKDAY = 1  # Tuesday
_WEEK = (1.0, 0.95, 0.95, 1.0, 1.1, 1.25, 1.15)
"""Traffic of each weekday, Monday first: people shop at weekends."""

OUTSIDE = "unknown"
"""The client of an edge whose callers have no sidecar: plain text, seen by the server side only."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Log-normal response times: the median in milliseconds and the sigma of the logarithm."""

    median: float = 40.0
    sigma: float = 0.9


@dataclass(frozen=True, slots=True)
class Service:
    """A workload of ``pods`` pods, each with a sidecar.

    ``error_rate`` is the share of requests (of attempts, with ``retries``) that fail at any time with a 500
    (gRPC: INTERNAL); ``client_error_rate`` the share answered 404 (gRPC: NOT_FOUND). ``retries`` is how often
    its clients' sidecars try again. With ``latency`` it also has duration histograms.
    """

    name: str
    pods: int = 1
    namespace: str = "shop"
    protocol: str = "http"
    error_rate: float = 0.0
    client_error_rate: float = 0.0
    retries: int = 0
    latency: Latency | None = None
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class Edge:
    """``client`` calls ``server`` at ``rps`` requests per second at the peak of an average day."""

    client: str
    server: str
    rps: float


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A service's own counters, off the mesh: ``jobs_total`` and ``jobs_late_total`` at job ``job``."""

    service: str
    job: str
    per_second: float
    late_share: float = 0.002


@dataclass(frozen=True, slots=True)
class Outage:
    """The ``share`` of a service's requests that fails in (start, end].

    ``source`` and ``destination`` are the response code and flags that each side reports; a gRPC service
    reports status ``grpc_status`` in a response with code 200.
    """

    service: str
    start: float
    end: float
    share: float = 1.0
    source: tuple[str, str] = ("503", "-")
    destination: tuple[str, str] = ("503", "UF")
    grpc_status: str = "14"


@dataclass(frozen=True, slots=True)
class Leak:
    """Failures (500) that grow in a straight line from none at ``start`` to ``share`` at ``end``, and stay."""

    service: str
    start: float
    end: float
    share: float


@dataclass(frozen=True, slots=True)
class Slowdown:
    """A service's median latency is ``factor`` times its normal one in (start, end]."""

    service: str
    start: float
    end: float
    factor: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody calls the service in (start, end]; its pods stay."""

    service: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Deploy:
    """All pods of a service are replaced at ``at``.

    The new pods are scraped twice before their first request; the old ones once after their last.
    """

    service: str
    at: float
    version: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The sidecar of one pod (by its index) restarts in place, just after the last scrape before ``at``.

    Its counters start anew, as the same target; nothing that it counted is lost to the scrapes.
    """

    service: str
    pod: int
    at: float


@dataclass(frozen=True, slots=True)
class ScrapeGap:
    """The service's targets cannot be scraped in (start, end]; its traffic goes on."""

    service: str
    start: float
    end: float


WorldEvent = Outage | Leak | Slowdown | Quiet | Deploy | Crash | ScrapeGap


@dataclass(frozen=True)
class World:
    """Everything that a simulation needs; equal worlds give equal histories.

    ``days`` of history are scraped every ``interval`` seconds, at instants ``offset`` seconds after the
    multiples of ``interval`` (the end of the history is one of these multiples): never at an instant of
    a 1- or 5-minute grid. ``swing`` is the traffic at the peak over that at night. With ``kube_state``
    there is a kube-state-metrics that counts container restarts.
    """

    services: tuple[Service, ...]
    edges: tuple[Edge, ...]
    events: tuple[WorldEvent, ...] = ()
    batches: tuple[BatchJob, ...] = ()
    days: float = 30.0
    seed: int = 7
    swing: float = 50.0
    interval: int = 60
    offset: int = 7
    kube_state: bool = True

    def __post_init__(self) -> None:
        """Refuse (ValueError) edges and events of services that are not there."""
        names = {service.name for service in self.services}
        if len(names) < len(self.services):
            raise ValueError("two services have the same name")
        used = {edge.server for edge in self.edges} | {edge.client for edge in self.edges} - {OUTSIDE}
        used |= {event.service for event in self.events} | {batch.service for batch in self.batches}
        if missing := sorted(used - names):
            raise ValueError(f"no such service: {', '.join(missing)}")
        if not 0 < self.offset < self.interval:
            raise ValueError("offset must lie between 0 and interval")

    @property
    def scrapes(self) -> int:
        """The number of scrape intervals in the history."""
        return round(self.days * DAY / self.interval)

    @property
    def last_scrape(self) -> float:
        """The instant of the last scrape of the history, relative to its end."""
        return float(self.offset - self.interval)

    def service(self, name: str) -> Service:
        """The service of that name; raises KeyError."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)


def traffic(world: World, at: Floats) -> Floats:
    """Traffic at the instants ``at`` (seconds relative to the end) as a share of an average day's peak."""
    hours = END_HOUR + at / HOUR
    weekday = np.asarray(_WEEK)[(np.floor(hours / 24).astype(np.int64) + _END_WEEKDAY) % 7]
    night = (1 - np.cos((hours - PEAK_HOUR) * (2 * np.pi / 24))) / 2
    shape: Floats = weekday * float(world.swing) ** -night
    return shape


def ago(*, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0) -> float:
    """The instant that lies so long before the end of the history."""
    return -(days * DAY + hours * HOUR + minutes * 60)


def on_day(days_ago: int, hour: float) -> float:
    """The world's time ``hour`` (0 to 24) on the day that many days before the last one."""
    return -days_ago * DAY + (hour - END_HOUR) * HOUR


@dataclass(frozen=True)
class Grid:
    """Ticks of ``step`` seconds from ``start`` (relative to the end of the history): tick k is
    (start + k·step, start + (k + 1)·step].
    """

    start: float
    step: float
    count: int

    @property
    def ends(self) -> Floats:
        """The closing instants, shape (count,)."""
        return self.start + self.step * np.arange(1, self.count + 1, dtype=np.float64)

    def span(self, start: float, end: float) -> slice:
        """The ticks that close in (start, end]."""
        low, high = np.searchsorted(self.ends, [start, end], side="right")
        return slice(int(low), int(high))
