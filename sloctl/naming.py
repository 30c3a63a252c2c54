"""Every name that sloctl gives to something: recorded series, labels, alerts, groups, files.

Nothing else spells these names, so that rules, dashboards and jobs mean the same series.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from sloctl.model import TILE, BurnWindow, CounterSli, Job, Slo
from sloctl.model.durations import duration

SLO_ID = "slo_id"
SLO_SET = "slo_set"
SLO = "slo"
SCOPE = "slo_scope"
SERVICE = "service"
NAMESPACE = "namespace"
IDENTITY = (NAMESPACE, SERVICE)
SOURCE = "source"
SOURCE_NAMESPACE = "source_namespace"
EDGE = (SOURCE_NAMESPACE, SOURCE, NAMESPACE, SERVICE)
GUARDRAIL = "guardrail"
TELEMETRY = "telemetry"

MESH_REQUESTS = "mesh:requests:increase1m"
"""Requests of the whole mesh a minute, by edge and by the labels that the guardrails of the set tell apart."""

EDGE_REQUESTS = "edge:requests:increase30m"
EDGE_ATTEMPTS = "edge:attempts:increase30m"
ENVOY_REQUESTS = "service:envoy_requests:increase30m"
ENVOY_ATTEMPTS = "service:envoy_attempts:increase30m"

JOB = "sloctl_job"
"""The label of a scheduled job's name."""
JOB_LAST_SUCCESS = "sloctl_job_last_success_timestamp_seconds"
JOB_LAST_RUN = "sloctl_job_last_run_timestamp_seconds"
JOB_DURATION = "sloctl_job_last_run_duration_seconds"
JOB_FAILED = "sloctl_job_last_run_failed"

TOTAL_GRID = "slo:total_events:increase5m"
BAD_GRID = "slo:bad_events:increase5m"
BAD_CAUSES = "slo:bad_events_by_cause:increase5m"
"""Bad events of a grid step by :data:`CAUSE_LABELS`; only what failed has a series."""
GAP_GRID = "slo:scrape_gap_seconds:increase5m"
LAST_EVENT = "slo:last_event:timestamp_seconds"
"""When an SLO had its last events; only where the file asks for an alert of traffic that stops."""
EVENT_PAUSE = "slo:event_pause:seconds"
"""At grid steps with events: how long there were none before."""
TOTAL_TILE = "slo:total_events:increase1m"
BAD_TILE = "slo:bad_events:increase1m"
OBJECTIVE = "slo:objective:ratio"
BUDGET = "slo:error_budget:ratio"
PERIOD_TOTAL = "slo:period_total_events:sum"
PERIOD_BAD = "slo:period_bad_events:sum"
REMAINING = "slo:error_budget_remaining:ratio"

COUNTED = "counted"
"""The label of base events that says how they were counted: parts that add up."""
FAMILY_LABELS = {
    "requests": ("reporter", "request_protocol", "response_code", "grpc_response_status"),
    "gateway_requests": ("reporter", "request_protocol", "response_code", "grpc_response_status"),
    "request_duration": ("reporter", "le"),
}
"""Families of raw counters, and the labels that their recorded events keep besides the service's."""

FILTER = "sli_filter"
"""Of base events of some requests of a service: which ones, as matchers."""
FLAG = "response_flag"
"""Of base events: the one response flag that SLOs of the scope tell apart, where a request has it."""

CAUSE_LABELS = ("response_code", "response_flags", "grpc_response_status", "destination_version")
"""What bad events are told apart by, besides :data:`CALLERS` (of a gateway's SLO: :data:`CALLED`)."""
CALLERS = ("source_workload_namespace", "source_workload")
CALLED = ("destination_service_namespace", "destination_service_name")
ALL_CAUSES = (*CAUSE_LABELS, *CALLERS, *CALLED)
"""All that :data:`BAD_CAUSES` may have besides the labels of the SLO."""

RESERVED_LABELS = frozenset(
    {
        SLO_ID,
        SLO_SET,
        SLO,
        SCOPE,
        FILTER,
        COUNTED,
        SERVICE,
        NAMESPACE,
        "severity",
        "owner",
        "long_window",
        "short_window",
        "alertname",
        "guardrail",
        "telemetry",
        "source",
        "source_namespace",
    }
    | {
        "job",
        "instance",
        "pod",
        "le",
        "reporter",
        "request_protocol",
        FLAG,
    }
    | {
        "certificate",
        "connection_security_policy",
        "deployment",
        "metric",
        "reason",
        "sloctl_job",
        "workload",
    }
    | {*ALL_CAUSES}
    | {"__name__"}
)
"""Labels that sloctl sets or joins on; a file may not set them."""

OBJECT_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/part-of")
"""Labels of the generated Kubernetes objects."""
SELECTOR_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance")
"""Labels of pods that services, policies and affinities select by: the program and the set."""
COMPONENT_LABEL = "app.kubernetes.io/component"
"""The label that says which job a pod runs (or that it is the scheduler)."""


def burn_rate(window: int) -> str:
    """The recorded burn rate over a window of ``window`` seconds."""
    return f"slo:burn_rate:{duration(window)}"


def family(sli: CounterSli) -> str:
    """Which family of raw counters an SLI reads: a key of :data:`FAMILY_LABELS`."""
    if sli.service_label == "source_workload":
        return "gateway_requests"
    return "request_duration" if sli.good else "requests"


def causes(sli: CounterSli) -> tuple[str, ...]:
    """The labels of :data:`BAD_CAUSES` besides those of the SLO: an outcome, and who is at the other end."""
    return (*CAUSE_LABELS, *(CALLED if family(sli) == "gateway_requests" else CALLERS))


def base_metric(family: str, step: int, *, filtered: bool = False) -> str:
    """The recorded events of a family per service and grid step (60 or 300 seconds), all or some of them."""
    return f"service:{family}{'_filtered' * filtered}:increase{'1m' if step == TILE else '5m'}"


def alert(window: BurnWindow) -> str:
    """What the alert of one policy line is called in every SLO: ``BudgetBurnPage1h``."""
    return f"{BUDGET_BURN}{window.severity.title()}{duration(window.long)}"


def alert_name(slo: Slo, window: BurnWindow) -> str:
    """The alert of one policy line of an SLO: ``AvailabilityBudgetBurnPage1h``."""
    return "".join(part.title() for part in slo.name.split("-")) + alert(window)


def stopped_alert(slo: Slo) -> str:
    """The alert of an SLO whose traffic stays away: ``AvailabilityTrafficStopped``."""
    return "".join(part.title() for part in slo.name.split("-")) + TRAFFIC_STOPPED


def place(namespace: str, service: str) -> str:
    """A service as people write it: ``namespace/service``, or the service alone where it has no namespace."""
    return f"{namespace}/{service}" if namespace else service


def slug(text: str) -> str:
    """A file or object name part: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def rule_file(set_name: str, namespace: str, service: str) -> str:
    """The stem of the rule file (and PrometheusRule name) of a service's SLOs; at most 63 characters."""
    scope = "all-services" if service == "*" else service
    stem = "-".join(slug(part) for part in (set_name, namespace, scope) if part)
    plain = "-".join(part for part in (set_name, namespace, scope) if part)
    if stem == plain and len(stem) <= 63 and service != "all-services":
        return stem
    return with_digest(stem, set_name, namespace, service)


def with_digest(stem: str, *parts: str) -> str:
    """A file stem of at most 63 characters that differs for different ``parts``."""
    return f"{stem[:54].rstrip('-')}-{digest(*parts)[:8]}"


def health_file(set_name: str) -> str:
    """The stem of the rule file of a set's guardrails: no service's file is called so, for it has no namespace."""
    return with_digest(f"{slug(set_name)}-mesh-health", set_name, "mesh-health")


def health_group(set_name: str, kind: str) -> str:
    """A rule group of a set's guardrails: a preset's, or ``requests`` for all that read the mesh's requests."""
    return f"{set_name}:mesh-{kind}"


def cron_job(set_name: str, job: str) -> str:
    """The CronJob of a scheduled job; at most 52 characters, for Kubernetes appends eleven to name its Jobs."""
    name = f"sloctl-{slug(set_name)}-{slug(job)}"
    plain = f"sloctl-{set_name}-{job}"
    return (
        name if name == plain and len(name) <= 52 else f"{name[:43].rstrip('-')}-{digest(set_name, job)[:8]}"
    )


def job_ids(jobs: Sequence[Job]) -> tuple[str, ...]:
    """What tells the jobs of a file apart, in their order: their names; where a name is repeated, with the schedule.

    It does not depend on the order of the jobs, so that moving one renames nothing.
    """
    names = Counter(job.name for job in jobs)
    return tuple(
        job.name
        if names[job.name] == 1
        else f"{job.name}-{digest(str(job.every), job.cron, job.timezone, job.post, *_routine(job))[:8]}"
        for job in jobs
    )


def _routine(job: Job) -> tuple[str, ...]:
    return (job.routine,) if job.routine else ()


def kubernetes_object(set_name: str, part: str = "") -> str:
    """An object of all jobs of a set (its scheduler, ConfigMap, …); at most 63 characters."""
    stem = "-".join(slug(text) for text in ("sloctl", set_name, part) if text)
    return stem if len(stem) <= 63 else with_digest(stem, set_name, part)


def group(slo: Slo, kind: str) -> str:
    """A rule group's name, unique in the set: one of a kind for each scope."""
    return f"{slo.scope}:{kind}"


def runbook_page(alert: str) -> str:
    """The file name of an alert's runbook page: ``IstiodDown`` → ``istiod-down.md``."""
    return "-".join(part.lower() for part in re.findall(r"[A-Z][a-z0-9]*|[0-9]+", alert)) + ".md"


def dashboard_uid(set_name: str, dashboard: str) -> str:
    """A stable Grafana UID (at most 40 characters)."""
    uid = f"sloctl-{slug(set_name)}-{dashboard}"
    return uid if len(uid) <= 40 else f"sloctl-{digest(set_name)[:12]}-{dashboard}"


def dashboard_file(set_name: str, dashboard: str) -> str:
    """The stem of a dashboard's file, also the name of its Kubernetes object; at most 63 characters.

    Grafana's sidecar puts the files of everybody into one folder, hence the prefix.
    """
    stem = f"sloctl-{slug(set_name)}-{slug(dashboard)}"
    if stem == f"sloctl-{set_name}-{dashboard}" and len(stem) <= 63:
        return stem
    return with_digest(stem, set_name, dashboard)


def folder_uid(title: str) -> str:
    """A stable UID of Grafana's folder with a title: every set that names it means the same."""
    return f"sloctl-{digest(title)[:12]}"


def digest(*parts: str) -> str:
    """A stable hexadecimal digest of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


BUDGET_BURN = "BudgetBurn"
"""What burn-rate alerts are called between the SLO's name and the line of its policy; their runbook's name."""
LATENCY_BURN = "LatencyBudgetBurn"
"""The runbook of burn-rate alerts of latency SLOs."""
TRAFFIC_STOPPED = "TrafficStopped"
"""What the alert of traffic that stays away is called, after the SLO's name."""
ISTIOD_DOWN = "IstiodDown"
"""A page of ``control-plane``: no istiod answers."""
GATEWAY_DOWN = "GatewayDown"
"""A page of ``gateway-errors``: a gateway has no ready replica; its label ``service`` is the gateway's workload."""
MESH_TELEMETRY_LOST = "MeshTelemetryLost"
"""A page of ``telemetry-gap``: no proxy's metrics arrive."""
WATCHDOG = "Watchdog"
"""The alert of ``watchdog``, which always fires and has the severity ``none``."""
