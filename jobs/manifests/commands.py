"""The command that runs a job once."""

from __future__ import annotations

from collections import Counter

from sloctl.errors import UsageError
from sloctl.model import Job, SloSet
from sloctl.routine import of_job


def arguments(slo_set: SloSet, job: Job, path: str) -> tuple[str, ...]:
    """What follows ``sloctl``; ``path`` is the SLO file's. Of several reports, the routine tells which is meant."""
    several = job.name == "report" and len(_routines(slo_set)) > 1
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
    return [of_job(job) for job in slo_set.jobs if job.name == "report"]
