"""Every metric that sloctl gives of itself and of what its jobs computed: names, kinds, labels and meaning.

``docs/telemetry.md`` has the same table, which a test holds. Names are those of Prometheus and of OTLP alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sloctl import naming

InstrumentKind = Literal["counter", "gauge", "histogram"]

RUNS = "sloctl_job_runs_total"
ERRORS = "sloctl_job_errors_total"
RUN_DURATION = "sloctl_job_run_duration_seconds"
NEXT_RUN = "sloctl_job_next_run_timestamp_seconds"
LEDGER_LAG = "sloctl_ledger_lag_seconds"
LEDGER_UP = "sloctl_ledger_up"
QUERIES = "sloctl_queries_total"
QUERY_DURATION = "sloctl_query_duration_seconds"
DELIVERIES = "sloctl_deliveries_total"
RELOAD_FAILED = "sloctl_slo_file_reload_failed"
SERIES_DROPPED = "sloctl_result_series_dropped"
BUILD = "sloctl_build_info"

SLI = "sloctl_sli_ratio"
OBJECTIVE = "sloctl_objective_ratio"
EVENTS = "sloctl_window_events"
REMAINING = "sloctl_error_budget_remaining_ratio"
SPENT = "sloctl_error_budget_spent_ratio"
RECORDED = "sloctl_window_recorded_seconds"
BURN_RATE = "sloctl_burn_rate"
RETRY_REQUESTS = "sloctl_retry_requests"
RETRY_ATTEMPTS = "sloctl_retry_attempts"
AMPLIFICATION = "sloctl_retry_amplification_ratio"
RESTARTS = "sloctl_sidecar_restarts"
RESTARTS_PER_POD_DAY = "sloctl_sidecar_restarts_per_pod_day"


@dataclass(frozen=True, slots=True)
class Own:
    """One metric, with its labels in the order of the documentation."""

    name: str
    kind: InstrumentKind
    labels: tuple[str, ...]
    meaning: str


_JOB = (naming.SLO_SET, naming.JOB)
_SLO = (naming.SLO_SET, naming.NAMESPACE, naming.SERVICE, naming.SLO)
_EDGE = (naming.SLO_SET, "source", "destination", "origin")
_WORKLOAD = (naming.SLO_SET, naming.NAMESPACE, "workload", "window")

EVERY = (
    Own(naming.JOB_LAST_SUCCESS, "gauge", _JOB, "When the job's last successful run ended, Unix time."),
    Own(naming.JOB_LAST_RUN, "gauge", _JOB, "When the job's last run ended, Unix time."),
    Own(naming.JOB_DURATION, "gauge", _JOB, "How long the job's last run took."),
    Own(naming.JOB_FAILED, "gauge", _JOB, "Whether the job's last run failed (1) or not (0)."),
    Own(NEXT_RUN, "gauge", _JOB, "When the job is to run next, Unix time."),
    Own(RUNS, "counter", (*_JOB, "outcome"), "Runs: succeeded, failed, skipped or missed."),
    Own(ERRORS, "counter", (*_JOB, "cause"), "Runs that failed, by cause."),
    Own(RUN_DURATION, "histogram", _JOB, "How long runs took, of those that were not skipped."),
    Own(
        LEDGER_LAG, "gauge", (naming.SLO_SET,), "Age of the newest recorded bucket, of the SLO that is last."
    ),
    Own(LEDGER_UP, "gauge", (naming.SLO_SET,), "Whether the ledger's database answers (1) or not (0)."),
    Own(
        QUERIES,
        "counter",
        ("backend", "outcome"),
        "Questions to servers, retries included in one: ok, or why not.",
    ),
    Own(QUERY_DURATION, "histogram", ("backend",), "How long questions to servers took, retries included."),
    Own(DELIVERIES, "counter", (naming.SLO_SET, "outcome"), "Reports to be posted: sent, waiting or dead."),
    Own(
        RELOAD_FAILED,
        "gauge",
        (naming.SLO_SET,),
        "Whether the SLO file was changed to one that cannot be used.",
    ),
    Own(SERIES_DROPPED, "gauge", (), "Series of results that are left out because there are too many."),
    Own(BUILD, "gauge", ("version",), "1, with the version of sloctl."),
    Own(SLI, "gauge", _SLO, "Share of good events in the SLO's window."),
    Own(OBJECTIVE, "gauge", _SLO, "The objective as a share: 0.999."),
    Own(EVENTS, "gauge", (*_SLO, "kind"), "Events in the SLO's window: good or bad."),
    Own(
        REMAINING,
        "gauge",
        _SLO,
        "Share of the error budget that is left; negative if more than all is spent.",
    ),
    Own(SPENT, "gauge", _SLO, "Share of the error budget that is spent."),
    Own(
        RECORDED,
        "gauge",
        _SLO,
        "How much of the SLO's window is recorded, only while that is less than all of it.",
    ),
    Own(BURN_RATE, "gauge", (*_SLO, "window"), "Burn rate over a window."),
    Own(RETRY_REQUESTS, "gauge", _EDGE, "Requests between two services in the last half hour."),
    Own(RETRY_ATTEMPTS, "gauge", _EDGE, "Attempts at these requests."),
    Own(AMPLIFICATION, "gauge", _EDGE, "Attempts per request; origin: metrics or traces."),
    Own(RESTARTS, "gauge", _WORKLOAD, "Restarts of a workload's proxies."),
    Own(RESTARTS_PER_POD_DAY, "gauge", _WORKLOAD, "Restarts of proxies per pod and day."),
)
BY_NAME = {own.name: own for own in EVERY}


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number with a name and labels, as a job's result."""

    name: str
    labels: Mapping[str, str]
    value: float
