"""When a job runs, how long it may take, and by which command: what cron and CronJobs are told."""

from __future__ import annotations

from collections import Counter

from sloctl.errors import UsageError
from sloctl.model import Job, SloSet, job_names
from sloctl.model.cron import longest_pause, shortest_pause
from sloctl.report.routine import of_job

MINUTE, HOUR = 60, 3600
START_WITHIN = 6 * HOUR
"""Seconds after which a late run is not worth starting any more, at most."""
RUN_WITHIN = (600, HOUR)
"""Seconds that a run may take: at least, so that it can catch up on missed ones, and at most."""


def cron_line(job: Job) -> str:
    """The five fields of a job's schedule.

    An interval's runs start a minute after its multiples: by then the bucket that has just ended is 60 s old, and so
    can be written. With an interval of one minute there is no such choice.
    """
    if not job.every:
        return job.cron
    minutes, hours = job.every // MINUTE, job.every // HOUR
    if minutes == 1:
        return "* * * * *"
    if minutes < 60:
        return f"1-59/{minutes} * * * *"
    return "1 * * * *" if hours == 1 else f"1 {'0' if hours == 24 else f'*/{hours}'} * * *"


def timezone(job: Job) -> str:
    """The time zone of the line; intervals count from midnight UTC."""
    return "UTC" if job.every else job.timezone


def start_within(job: Job) -> int:
    """Seconds that a run may start late: half of the longest pause, for soon after that the next one is due."""
    pause = job.every or longest_pause(job.cron)
    return min(max(pause // 2, MINUTE), START_WITHIN)


def run_within(job: Job) -> int:
    """Seconds after which a run is taken to hang: twice the shortest pause, within :data:`RUN_WITHIN`."""
    least, most = RUN_WITHIN
    return min(max(2 * (job.every or shortest_pause(job.cron)), least), most)


def arguments(slo_set: SloSet, job: Job, path: str) -> tuple[str, ...]:
    """What follows ``sloctl``; ``path`` is the SLO file's. Of several reports, the routine tells which is meant."""
    several = job.name == job_names.REPORT and len(_routines(slo_set)) > 1
    return ("run", job.name, "-f", path, *(("--routine", of_job(job)) if several else ()))


def require_distinct(slo_set: SloSet) -> None:
    """Raises ``UsageError`` for two reports of the same routine: a single run could not tell which is meant."""
    for routine, count in sorted(Counter(_routines(slo_set)).items()):
        if count > 1:
            raise UsageError(
                f"{count} jobs 'report' are {routine}, and a run by itself cannot tell which of them is meant",
                hint="give one another 'routine', or run the scheduler:  kubernetes: {mode: scheduler}",
            )


def _routines(slo_set: SloSet) -> list[str]:
    return [of_job(job) for job in slo_set.jobs if job.name == job_names.REPORT]
