"""Who watches the watchers: an alert that always fires, and jobs of ours that have not run."""

from __future__ import annotations

from operator import itemgetter

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof
from sloctl.guardrails.shared.queries import RecordedQueries, in_set, raw_signal, signal
from sloctl.model import Guardrail, Job, Matcher, SloSet
from sloctl.model.cron import longest_pause
from sloctl.model.durations import duration

SLACK = 300
"""Seconds that a run may take or be late."""
SUCCESSFUL = "kube_cronjob_status_last_successful_time"
"""kube-state-metrics, docs/metrics/workload/cronjob-metrics.md: Unix time; missing until a first success."""


def watchdog(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """The alert of the guardrail ``watchdog``."""
    alert = HealthAlert(
        name=naming.WATCHDOG,
        expr="vector(1)",
        for_=0,
        severity="none",
        summary="Alerting works",
        description=(
            "This alert always fires. Send it to something that raises the alarm when it stops arriving: then "
            "Prometheus, its rules, Alertmanager or the way from there is broken."
        ),
        telemetry="none",
        failure_mode="dead-man's switch",
        proof=Proof(inputs={}, fires=0, labels={}, calm={}, silent=(), value=1, lasts=60),
    )
    return Plan("watchdog", alerts=(alert,))


def interval(job: Job) -> int:
    """Seconds between two runs of a job, at most."""
    return job.every or longest_pause(job.cron)


def jobs(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals and alert of the guardrail ``jobs``; nothing if the file schedules none."""
    scheduled = dict(sorted(zip(naming.job_ids(slo_set.jobs), slo_set.jobs, strict=True), key=itemgetter(0)))
    if not scheduled:
        return Plan("jobs")
    expected = raw_signal(
        "sloctl_job:interval:seconds",
        "\nor\n".join(
            promql.labelled(f"vector({interval(job)})", naming.JOB, id_) for id_, job in scheduled.items()
        ),
    )
    newest = raw_signal(
        "sloctl_job:last_success:timestamp_seconds",
        f"max by ({naming.JOB}) (\n"
        + promql.indent("\nor\n".join(_successes(slo_set, *item) for item in scheduled.items()))
        + "\n) < Inf",
    )
    age = signal(slo_set, "sloctl_job:age:seconds", lambda q: f"time() - {q.read(newest)}")
    q = RecordedQueries(slo_set)
    on = f"on ({naming.JOB})"
    late = f"max by ({naming.JOB}) ({q.read(age)}) > {on} 2 * {q.read(expected)} + {SLACK}"
    never = "\nor\n".join(
        _never(slo_set, *item, expected.record, newest.record) for item in scheduled.items()
    )
    first, job = next(iter(scheduled.items()))
    late_at = 2 * interval(job) + SLACK
    fresh = {_proof_series(slo_set, *item): f"{3600 * 2}x60" for item in scheduled.items()}
    alert = HealthAlert(
        name="JobNotRun",
        expr=f"(\n{promql.indent(late)}\nor\n{promql.indent(never)}\n) / 3600",
        for_=0,
        severity="ticket",
        summary="The job {label:sloctl_job} has not succeeded for {value} hours",
        description=(
            "That is more than twice the pause that its schedule allows, or it has never run at all. What it writes "
            "(ledger, reports) is out of date."
        ),
        telemetry="none",
        failure_mode="job not run",
        proof=Proof(
            # Late from the fifth minute on, as if it had last succeeded before time began.
            inputs=fresh | {_proof_series(slo_set, first, job): f"{299 - late_at}x60"},
            fires=5,
            labels={naming.JOB: first},
            calm=fresh,
            silent=(1, 5, 60),
            value=(late_at + 1) / 3600,
        ),
    )
    return Plan("jobs", (expected, newest, age), (), (alert,))


def _own_series(slo_set: SloSet, job: Job) -> str:
    return samples.series(naming.JOB_LAST_SUCCESS, **{naming.SLO_SET: slo_set.name, naming.JOB: job.name})


def _proof_series(slo_set: SloSet, id_: str, job: Job) -> str:
    """A series of this job alone: a job says its name, which others may have too."""
    if id_ == job.name:
        return _own_series(slo_set, job)
    return samples.series(SUCCESSFUL, cronjob=naming.cron_job(slo_set.name, id_))


def _successes(slo_set: SloSet, id_: str, job: Job) -> str:
    """When the job last succeeded, as it says itself or as Kubernetes does.

    Of jobs of one name, each run is a success of them all to the first, while Kubernetes tells them apart.
    """
    own = _own_series(slo_set, job)
    if id_ != job.name:
        own = promql.labelled(own, naming.JOB, id_)
    cron_job = Matcher("cronjob", "=", naming.cron_job(slo_set.name, id_))
    kubernetes = promql.labelled(promql.selector(SUCCESSFUL, (cron_job,)), naming.JOB, id_)
    return f"{own}\nor\n{kubernetes}"


def _never(slo_set: SloSet, id_: str, job: Job, expected: str, newest: str) -> str:
    """No success in an interval, although these rules were there at its start. The value is the time waited."""
    seconds = interval(job) + SLACK
    where = (*in_set(slo_set), Matcher(naming.JOB, "=", id_))
    reach = duration(seconds)
    # A subquery spares Prometheus from reading each minute of a month.
    window = reach if seconds <= 86400 else f"{reach}:{duration(SLACK)}"
    return (
        f"max by ({naming.JOB}) (\n"
        f"  last_over_time({promql.selector(expected, where)}[{duration(SLACK)}] offset {reach})\n"
        f") + {SLACK}\n"
        f"unless on ({naming.JOB})\n"
        f"  last_over_time({promql.selector(newest, where)}[{window}])"
    )
