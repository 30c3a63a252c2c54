"""From documents to an :class:`~sloctl.model.SloSet`: the parts around the SLOs, and rules across SLOs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from sloctl.model import Job, Matcher, Mesh, Objects, Position, Slo, SloSet, Sources
from sloctl.spec import expressions, ledger, watching
from sloctl.spec.dashboards import dashboards
from sloctl.spec.kubernetes import kubernetes
from sloctl.spec.merge import Merged
from sloctl.spec.quantities import Span
from sloctl.spec.reader import Complaint, Reader, position
from sloctl.spec.shapes import Block
from sloctl.spec.slos import Slos
from sloctl.spec.tree import SCALAR, Node


def build(documents: Sequence[Block], reader: Reader, *, complete: bool) -> SloSet | None:
    """The set that the documents describe; None if it has errors (all of which the reader then holds).

    ``complete`` is False if a file could not be read: then nothing is said about what is missing.
    """
    merged = Merged(documents, reader)
    metadata = merged.get("metadata")
    mesh = _mesh(merged.get("mesh"), reader)
    name = (metadata.get("name") if metadata is not None else None) or ""
    builder = Slos(name, mesh, merged.get("defaults"), reader)
    builder.check_defaults()
    slos = [slo for _, block in merged.items("slos") if (slo := builder.build(block)) is not None]
    slos = _override(_unique(slos, merged, reader))
    defaults = merged.get("defaults")
    owner = (defaults.get("owner") if defaults is not None else None) or ""
    guardrails = watching.guardrails(merged, reader, owner)
    jobs = _jobs(merged, reader)
    told = merged.get("notifications")
    notifications = watching.notifications(told, reader)
    drawn = dashboards(merged.get("dashboards"), reader)
    deployed = kubernetes(merged.get("kubernetes"), reader)
    kept = ledger.settings(merged.get("ledger"), slos, reader)
    excused = ledger.maintenance(merged, reader)
    if complete:
        _missing(merged, reader)
    if reader.failed:
        return None
    _warn(slos, merged, reader)
    watching.warn_of_nobody(guardrails, merged, reader)
    watching.warn_of_owners(told, notifications, slos, guardrails, reader)
    reports = merged.get("reports")
    slack = reports.get("slack") if reports is not None else None
    return SloSet(
        name=name,
        slos=tuple(slos),
        labels=_labels(metadata),
        objects=_objects(metadata.get("objects") if metadata is not None else None),
        mesh=mesh,
        sources=_sources(merged.get("sources")),
        guardrails=tuple(guardrails),
        jobs=tuple(jobs),
        notifications=notifications,
        dashboards=drawn,
        kubernetes=deployed,
        ledger=kept,
        maintenance=tuple(excused),
        longest_silence=_longest_silence(told),
        slack_channel=(slack.get("channel") if slack is not None else None) or "",
    )


def _missing(merged: Merged, reader: Reader) -> None:
    start = merged.documents[0].node
    if not merged.has("metadata"):
        message = "no document has 'metadata'"
        reader.add(start, "metadata", "no-metadata", message, "add 'metadata: {name: …}' to one of them")
    if not merged.has("slos"):
        reader.add(
            start, "slos", "no-slos", "no document has SLOs ('slos')", "'sloctl init' writes a first one"
        )


def _labels(block: Block | None) -> tuple[tuple[str, str], ...]:
    entries = (block.get("labels") if block is not None else None) or ()
    return tuple(sorted((key, value) for key, _, value in entries))


def _objects(block: Block | None) -> Objects:
    return Objects(block.get("namespace") or "", _labels(block)) if block is not None else Objects()


def _mesh(block: Block | None, reader: Reader) -> Mesh:
    if block is None:
        return Mesh()
    mesh = Mesh(mode=block.get("mode") or "sidecar", matchers=_matchers(block, reader))
    if block.get("latency_buckets"):
        bounds = [value for _, value in block.get("latency_buckets")]
        for (node, bound), before in zip(block.get("latency_buckets")[1:], bounds, strict=False):
            if bound <= before:
                message = f"bounds must ascend, and {bound} comes after {before}"
                reader.add(node, block.child("latency_buckets"), "bucket-order", message)
        mesh = replace(mesh, latency_buckets=tuple(Decimal(bound) for bound in bounds))
    if block.get("target_labels"):
        labels = [value for _, value in block.get("target_labels")]
        for index, (node, label) in enumerate(block.get("target_labels")):
            if label in labels[:index] or label == "le":
                what = "is given twice" if label in labels[:index] else "does not tell targets apart"
                reader.add(
                    node, block.child("target_labels"), "target-label", f"'{label}' {what}", "remove it"
                )
        mesh = replace(mesh, target_labels=tuple(labels))
    return mesh


def _matchers(block: Block, reader: Reader) -> tuple[Matcher, ...]:
    found = []
    for label, _, value in block.get("matchers") or ():
        if isinstance(value, str):
            found.append(Matcher(label, "=", value))
            continue
        for key, op in (("not", "!="), ("regex", "=~"), ("not_regex", "!~")):
            text = value.get(key)
            if text is None:
                continue
            complaint: Complaint | None = expressions.regex(text) if op.endswith("~") else None
            if complaint is not None:
                reader.complain(value.at(key), f"{block.path}.matchers.{label}.{key}", complaint)
                continue
            found.append(Matcher(label, op, text))
    return tuple(found)


def _sources(block: Block | None) -> Sources:
    if block is None:
        return Sources()

    def part(name: str, key: str = "url") -> str:
        source = block.get(name)
        return (source.get(key) if source is not None else None) or ""

    traces = block.get("traces")
    return Sources(
        prometheus=part("prometheus").rstrip("/"),
        traces_backend=part("traces", "backend"),
        traces=part("traces").rstrip("/"),
        traces_ui=part("traces", "ui").rstrip("/"),
        attempt_tag=part("traces", "attempt_tag"),
        sampling=traces.get("sampling") if traces is not None else None,
        alertmanager=part("alertmanager").rstrip("/"),
        grafana=part("grafana").rstrip("/"),
        runbooks=part("runbooks").rstrip("/"),
    )


def _unique(slos: list[Slo], merged: Merged, reader: Reader) -> list[Slo]:
    blocks: dict[Position, Block] = {position(node): block for node, block in merged.items("slos")}
    first: dict[tuple[str, str, str], Slo] = {}
    for slo in slos:
        key = (slo.namespace, slo.service, slo.name)
        if key not in first:
            first[key] = slo
            continue
        where = f"{slo.namespace}/{slo.service}" if slo.namespace else slo.service
        message = f"{where} has two SLOs called '{slo.name}'"
        hint = f"the first is in {first[key].position.file}:{first[key].position.line}; rename or remove one"
        block = blocks[slo.position]
        reader.add(block.node, block.path, "duplicate-slo", message, hint)
    return list(first.values())


def _override(slos: list[Slo]) -> list[Slo]:
    """Tell each ``"*"`` SLO which services have one of the same name of their own."""
    named: dict[tuple[str, str], list[str]] = {}
    for slo in slos:
        if not slo.wildcard:
            named.setdefault((slo.namespace, slo.name), []).append(slo.service)
    return [
        replace(slo, overridden=tuple(sorted(named.get((slo.namespace, slo.name), ()))))
        if slo.wildcard
        else slo
        for slo in slos
    ]


SAME_JOB = {"slo_report": "report"}
"""Two names of one job; all the rest of sloctl knows the second one."""


def _jobs(merged: Merged, reader: Reader) -> list[Job]:
    first: dict[Job, Node] = {}
    for node, block in merged.items("jobs"):
        every: Span | None = block.get("every")
        if every is not None and (complaint := _evenly(every)) is not None:
            reader.complain(block.at("every"), block.child("every"), complaint)
        job = Job(
            name=SAME_JOB.get(block.get("name") or "", block.get("name") or ""),
            every=every.seconds if every is not None else 0,
            cron=" ".join((block.get("cron") or "").split()),
            timezone=block.get("timezone") or "UTC",
            post=block.get("post") or "",
            routine=block.get("routine") or "",
        )
        if job.routine and job.name != "report":
            message = f"the job '{job.name}' has no routine: only reports have one"
            reader.add(
                block.at("routine"), block.child("routine"), "job-without-routine", message, "remove it"
            )
        if job in first and job.name and (job.every or job.cron):
            hint = f"the other is in {first[job].file}:{first[job].line}"
            reader.add(node, block.path, "duplicate-job", f"the job '{job.name}' is given twice", hint)
        first.setdefault(job, node)
    return list(first)


def _evenly(every: Span) -> Complaint | None:
    """An interval must divide an hour or a day, or else no cron line has the same times."""
    if 3600 % every.seconds == 0 or (every.seconds % 3600 == 0 and 86400 % every.seconds == 0):
        return None
    return Complaint(
        "uneven-interval",
        f"{every.text} divides neither an hour nor a day evenly, so no cron line has the same times",
        "use 1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h or 24h",
    )


def _longest_silence(block: Block | None) -> int:
    span: Span | None = block.get("longest_silence") if block is not None else None
    return SloSet("", ()).longest_silence if span is None else span.seconds


def _warn(slos: Sequence[Slo], merged: Merged, reader: Reader) -> None:
    """A few words on what is allowed and probably not meant, each kind once."""
    without_owner = [slo for slo in slos if not slo.owner]
    if not without_owner:
        return
    first = without_owner[0]
    block = next(block for node, block in merged.items("slos") if position(node) == first.position)
    more = f" (and {len(without_owner) - 1} more)" if len(without_owner) > 1 else ""
    message = f"nobody owns '{first.name}' of {first.service}{more}"
    hint = "set 'owner' there or in 'defaults'"
    reader.add(block.node, block.path, "no-owner", message, hint, severity="warning")


def is_empty(node: Node) -> bool:
    """Whether a document has no content at all."""
    return node.kind == SCALAR and node.empty
