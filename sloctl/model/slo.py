"""What the SLO file means: plain immutable data.

This module must not know how a file is read, how PromQL looks, or where data comes from.
Units: windows and durations are whole seconds; objectives and budgets are exact ``Decimal`` numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from sloctl.errors import Position, Problem
from sloctl.model.alerting import Notifications
from sloctl.model.calendar import MONDAY, Weekday
from sloctl.model.dashboards import DashboardSettings
from sloctl.model.kubernetes import KubernetesSettings
from sloctl.model.ledger import LedgerSettings, Maintenance
from sloctl.model.policies import AlertPolicy
from sloctl.model.release import ReleasePolicy

GRID = 300
"""Seconds between two instants of the budget grid."""
TILE = 60
"""Seconds between two instants of the finer grid that short alert windows are summed from."""
LOOKBACK = 300
"""How far back a counter's last sample may lie and still be its value (Prometheus's own look-back)."""
SLOW_SCRAPE = 30
"""Seconds that a scrape may take; Prometheus's own time-out is ten."""
FINE_LIMIT = 6 * 3600
"""Alert windows up to this long are summed from the fine grid, longer ones from the budget grid."""

LONGEST_SILENCE = 4 * 3600
"""Seconds that a silence may last, unless the file says otherwise."""

MeshMode = Literal["sidecar", "ambient"]
Histograms = Literal["classic", "native"]
"""What Prometheus has of a histogram: a series for each bound, or one series of histograms."""
CalendarUnit = Literal["week", "month", "quarter", "year"]

SeriesKey = tuple[str, str, str]
"""(slo_id, namespace, service): what a series of events is of. With an empty service: all services of the SLO."""

NOWHERE = Position("", 0, 0)
"""The position of what no file says."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher of a PromQL selector; ``op`` is ``=``, ``!=``, ``=~`` or ``!~``."""

    label: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and its matchers."""

    metric: str
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class CounterSli:
    """An SLI over monotone counters, each event counted in exactly one series.

    ``total`` and either ``bad`` or ``good`` are unions of disjoint selectors. ``service_label`` and
    ``namespace_label`` say which labels of the metric name the service. ``example`` holds the labels of a
    series that counts a good event, ``example_bad`` what differs in one that counts a bad event. ``threshold`` is the
    latency (milliseconds) within which a request is good. With ``native``, series are native histograms: ``le`` of a
    selector says what is counted of them, and is a label of recorded events only. ``where`` are matchers of all
    events, for an SLO of some requests of a service.
    """

    preset: str
    total: tuple[Selector, ...]
    bad: tuple[Selector, ...] = ()
    good: tuple[Selector, ...] = ()
    service_label: str = "destination_service_name"
    namespace_label: str = "destination_service_namespace"
    side: Literal["client", "server", "waypoint"] = "client"
    example: tuple[tuple[str, str], ...] = ()
    example_bad: tuple[tuple[str, str], ...] = ()
    other_side: CounterSli | None = None
    threshold: Decimal | None = None
    native: bool = False
    where: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class ExprSli:
    """An SLI of the user's own PromQL; every range is ``[$window]`` inside ``rate()`` or ``increase()``."""

    total: str
    bad: str = ""
    good: str = ""


@dataclass(frozen=True, slots=True)
class SampleSli:
    """An SLI over the samples of a gauge; ``good`` or ``bad`` is a comparison such as ``>= 1``.

    ``gauge`` is a selector. Of samples that are closer than ``every`` seconds, the last one counts.
    """

    gauge: str
    good: str = ""
    bad: str = ""
    every: int = 10

    @property
    def late(self) -> int:
        """Seconds after which samples are counted: a slow scrape is stored when it ends, as of when it began."""
        return max(self.every, SLOW_SCRAPE)


Sli = CounterSli | ExprSli | SampleSli


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last ``seconds`` seconds."""

    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """From the start of the current week, month, quarter or year in a time zone; ``starts`` is a week's first day."""

    unit: CalendarUnit
    timezone: str = "UTC"
    starts: Weekday = MONDAY

    @property
    def text(self) -> str:
        """The window as reports show it."""
        since = "" if self.starts == MONDAY else f" from {self.starts.capitalize()}"
        return f"{self.unit}{since} ({self.timezone})"

    @property
    def seconds(self) -> int:
        """Nominal length, to which alert policies are scaled."""
        return {"week": 7, "month": 30, "quarter": 90, "year": 365}[self.unit] * 86400


Window = RollingWindow | CalendarWindow


def budget_of(objective: Decimal) -> Decimal:
    """The share of events that may be bad, exactly: 0.001 for an objective of 99.9."""
    return ((100 - objective) / 100).normalize()


@dataclass(frozen=True, slots=True)
class Slo:
    """One SLO: of one service, or of every service of a namespace (``service == "*"``).

    With ``per``, services are the values of this label of the series that an SLI of one's own reads.
    """

    set_name: str
    name: str
    service: str
    namespace: str
    objective: Decimal
    window: Window
    sli: Sli
    policy: AlertPolicy | None
    owner: str = ""
    description: str = ""
    runbook: str = ""
    dashboard: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    overridden: tuple[str, ...] = ()
    position: Position = NOWHERE
    per: str = ""

    @property
    def wildcard(self) -> bool:
        """Whether this SLO stands for every service of its namespace."""
        return self.service == "*"

    @property
    def counts_good(self) -> bool:
        """Whether the SLI counts good events, and bad ones are the rest."""
        return bool(self.sli.good)

    @property
    def id(self) -> str:
        """Identifies the definition in every recorded series (label ``slo_id``)."""
        return f"{self.set_name}:{self.namespace}/{self.service}/{self.name}"

    @property
    def scope(self) -> str:
        """Set, namespace and service: SLOs of one scope share their recorded base events."""
        return f"{self.set_name}:{self.namespace}/{self.service}"

    @property
    def budget(self) -> Decimal:
        """The share of events that may be bad."""
        return budget_of(self.objective)


@dataclass(frozen=True, slots=True)
class Mesh:
    """How the mesh exposes its metrics."""

    mode: MeshMode = "sidecar"
    matchers: tuple[Matcher, ...] = ()
    latency_buckets: tuple[Decimal, ...] = ()
    histograms: Histograms = "classic"
    target_labels: tuple[str, ...] = ("job", "instance", "pod")


Engine = Literal["prometheus", "victoriametrics", "remote"]
"""What keeps the metrics and runs the rules."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses, and what is to be known of the servers; credentials come from the environment.

    ``engine`` is what evaluates the rules; ``remote`` is any that writes what it records to another server.
    ``traces_ui`` is where people look at traces ("" is the backend's own address, for Tempo Grafana's, for ClickHouse
    nowhere), ``traces_table`` is where ClickHouse has them ("" is the exporter's default), ``attempt_tag`` the tag of
    spans with x-envoy-attempt-count, ``sampling`` the percentage of requests that are traced (None is not known).
    """

    prometheus: str = ""
    engine: Engine = "prometheus"
    traces_backend: str = ""
    traces: str = ""
    alertmanager: str = ""
    grafana: str = ""
    runbooks: str = ""
    pages: str = ""
    traces_ui: str = ""
    traces_table: str = ""
    attempt_tag: str = ""
    sampling: Decimal | None = None

    @property
    def traces_shown(self) -> str:
        """The trace backend, if it has pages in which people look for traces, or Grafana has: ClickHouse has none."""
        return "" if self.traces_backend == "clickhouse" else self.traces_backend

    @property
    def chained(self) -> bool:
        """Whether a rule sees what rules before it in its group recorded at the same instant."""
        return self.engine == "prometheus"


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A threshold rather than a budget.

    ``limit`` is in the preset's unit: percent, seconds, or a number; None where the preset has no limit.
    ``versions`` has the versions that may get traffic, by service.
    """

    preset: str
    limit: Decimal | None = None
    critical: Decimal | None = None
    owner: str = ""
    runbook: str = ""
    dashboard: str = ""
    namespaces: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ("istio-ingressgateway",)
    versions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    min_events: int = 20
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class Objects:
    """What generated Kubernetes objects carry besides sloctl's own labels."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled job: ``every`` seconds, or ``cron`` in ``timezone``.

    ``routine`` is the period that a report is of: daily, weekly or monthly; "" is what its schedule suggests.
    """

    name: str
    every: int = 0
    cron: str = ""
    timezone: str = "UTC"
    post: str = ""
    routine: str = ""


@dataclass(frozen=True, slots=True)
class SloSet:
    """Everything that one SLO file (or a folder of them) says.

    ``slack_owners`` are the channels that get the part of a report that is an owner's, by owner. ``variables`` are
    those that were filled in, by name, with their values: whoever reads the files needs them too.
    """

    name: str
    slos: tuple[Slo, ...]
    labels: tuple[tuple[str, str], ...] = ()
    objects: Objects = Objects()
    mesh: Mesh = Mesh()
    sources: Sources = Sources()
    guardrails: tuple[Guardrail, ...] = ()
    jobs: tuple[Job, ...] = ()
    notifications: Notifications | None = None
    dashboards: DashboardSettings = field(default=DashboardSettings())
    kubernetes: KubernetesSettings = field(default=KubernetesSettings())
    ledger: LedgerSettings = field(default=LedgerSettings())
    maintenance: tuple[Maintenance, ...] = ()
    release: ReleasePolicy = field(default=ReleasePolicy())
    longest_silence: int = LONGEST_SILENCE
    slack_channel: str = ""
    slack_owners: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
