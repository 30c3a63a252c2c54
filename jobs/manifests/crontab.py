"""The crontab that runs the jobs where there is no Kubernetes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from jobs.manifests import schedules
from jobs.manifests.schedules import cron_line, timezone
from sloctl import naming
from sloctl.artefacts.objects import HEADER
from sloctl.model import Job, SloSet

SLO_FILE = "/etc/sloctl/slo"
"""Where the SLO file (or a folder of them) is expected."""
TEXTFILES = "/var/lib/node_exporter/textfile_collector"
"""Where node_exporter is expected to look for files with metrics."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def crontab(slo_set: SloSet) -> str:
    """The text: jobs by time zone, for ``CRON_TZ`` holds for all lines below it."""
    zones: dict[str, list[tuple[str, Job]]] = {}
    for id_, job in sorted(
        zip(naming.job_ids(slo_set.jobs), slo_set.jobs, strict=True), key=lambda item: item[0]
    ):
        zones.setdefault(timezone(job), []).append((id_, job))
    watched = any(guardrail.preset == "jobs" for guardrail in slo_set.guardrails)
    lines = [f"# {line}".rstrip() for line in _introduction(watched)]
    lines += ["SHELL=/bin/sh", f"PATH={PATH}"]
    for zone in sorted(zones):
        lines += ["", f"CRON_TZ={zone}"]
        lines += [f"{cron_line(job)} {command(_words(slo_set, job, watched))}" for _, job in zones[zone]]
    return "\n".join(lines) + "\n"


def _introduction(watched: bool) -> tuple[str, ...]:
    return (
        HEADER,
        "",
        f"Reads the SLO file from {SLO_FILE}, a file or a folder.",
        "Addresses come from that file, credentials from the environment: see docs/operations.md.",
        "Needs a cron that knows CRON_TZ (cronie, for example): others take all times for their own.",
        *(
            ("The guardrail 'jobs' reads from node_exporter's textfile collector when a job last succeeded.",)
            if watched
            else ()
        ),
    )


def _words(slo_set: SloSet, job: Job, watched: bool) -> list[str]:
    """The command; jobs of one name share a file, for node_exporter refuses a series that stands in two."""
    filled = ["env", *(f"{name}={value}" for name, value in slo_set.variables)] if slo_set.variables else []
    words = [*filled, "sloctl", "--quiet", *schedules.arguments(slo_set, job, SLO_FILE)]
    if watched:
        words += ["--textfile", f"{TEXTFILES}/{naming.cron_job(slo_set.name, job.name)}.prom"]
    return words


def command(words: Sequence[str]) -> str:
    """A command as a line of a crontab takes it: quoted for the shell, and with ``%`` escaped, a line's end to cron.

    Cron mails what a command prints: here only what goes to stderr, which is errors.
    """
    return f"{shlex.join(words)} >/dev/null".replace("%", "\\%")
