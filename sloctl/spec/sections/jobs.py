"""The section ``jobs``: which jobs run when."""

from __future__ import annotations

from sloctl.model import Job, job_names
from sloctl.spec.fields.shapes import Block, Field, Section
from sloctl.spec.fields.values import Choice, Duration, Reader, WrittenDuration
from sloctl.spec.sections.common import CRON, DAY, TIMEZONE
from sloctl.spec.yaml.tree import Node

JOB = Section(
    "job",
    model=Job,
    doc="A scheduled job.",
    fields=(
        Field("name", Choice(job_names.IN_FILES, same=job_names.ALIASES), "Which job.", required=True),
        Field("every", Duration(60, DAY, 60, "5m"), "Its interval; divides an hour or a day evenly."),
        Field(
            "cron",
            CRON,
            "Minute, hour, day of the month, month, day of the week (0 is Sunday).",
            examples=("0 9 * * 1",),
        ),
        Field("timezone", TIMEZONE, "Time zone of `cron`.", examples=("Europe/Paris",)),
        Field("post", Choice(("slack",)), "Where the result is posted."),
        Field(
            "routine",
            Choice(job_names.ROUTINES),
            "Of `report`: which period it is about, the last complete one in `timezone`.",
            without="`weekly` if `cron` has a fixed day of the week, `monthly` with one of the month, else `daily`",
        ),
    ),
    one_of=(("every", "cron"),),
    needs={"timezone": "cron"},
)


def jobs(whole: Block, reader: Reader) -> tuple[Job, ...]:
    """The jobs of all documents, in their order: no two are the same."""
    first: dict[Job, Node] = {}
    for node, block in whole.items("jobs"):
        job = JOB.build(block, reader)
        if job is None:
            continue
        if job in first and (job.every or job.cron):
            hint = f"the other is in {first[job].file}:{first[job].line}"
            reader.add(node, block.path, "duplicate-job", f"the job '{job.name}' is given twice", hint)
        first.setdefault(job, node)
    return tuple(first)


@JOB.rule
def _only_reports_have_a_routine(block: Block, reader: Reader) -> None:
    name = block.get("name") or ""
    if block.get("routine") and job_names.ALIASES.get(name, name) != job_names.REPORT:
        message = f"the job '{name}' has no routine: only reports have one"
        reader.add(block.at("routine"), block.child("routine"), "job-without-routine", message, "remove it")


@JOB.rule
def _evenly(block: Block, reader: Reader) -> None:
    """An interval must divide an hour or a day, or else no cron line has the same times."""
    every: WrittenDuration | None = block.get("every")
    if every is None or 3600 % every.seconds == 0:
        return
    if every.seconds % 3600 == 0 and 86400 % every.seconds == 0:
        return
    reader.add(
        block.at("every"),
        block.child("every"),
        "uneven-interval",
        f"{every.text} divides neither an hour nor a day evenly, so no cron line has the same times",
        "use 1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h or 24h",
    )
