"""The whole SLO file: the tables of its sections, and how they become a :class:`~sloctl.model.SloSet`.

The loader, the JSON Schema and the reference page are all made from these tables. Rules that span SLOs are here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from sloctl.errors import Position
from sloctl.model import Job, Matcher, Mesh, Objects, Slo, SloSet, Sources, job_names
from sloctl.promql.presets import PRESETS
from sloctl.spec.fields import checks, expressions
from sloctl.spec.fields.containers import Either, Items, Named
from sloctl.spec.fields.quantities import Duration, Exact, Span
from sloctl.spec.fields.reader import Complaint, Reader, position
from sloctl.spec.fields.scalars import Choice, Text
from sloctl.spec.fields.shapes import PLACES, Block, Field, Object
from sloctl.spec.merge import Merged
from sloctl.spec.sections import alerts, ledger
from sloctl.spec.sections.alerts import GUARDRAIL, NOTIFICATIONS
from sloctl.spec.sections.common import (
    CHANNEL,
    DAY,
    LABEL_NAME,
    LABELS,
    NAMESPACE,
    OBJECT_LABEL,
    OBJECT_LABEL_HINT,
    OBJECT_LABEL_VALUE,
    SET_NAME,
    TIMEZONE,
    URL,
)
from sloctl.spec.sections.dashboards import COSTS, DASHBOARDS, dashboards
from sloctl.spec.sections.kubernetes import KUBERNETES, RESOURCES, kubernetes
from sloctl.spec.sections.ledger import KEEP, LEDGER, MAINTENANCE
from sloctl.spec.sections.slos import BURN_WINDOW, DEFAULTS, EVENTS, POLICY, SLO, Slos, preset_fields
from sloctl.spec.yaml.tree import SCALAR, Node

API_VERSION = "sloctl/v1"
KIND = "MeshSLOs"

_REGEX = Text("a regular expression (RE2)", max_length=1000)
MATCHER_FORMS = Object(
    "matcher",
    (
        Field("not", Text("text", max_length=256), "Any other value."),
        Field("regex", _REGEX, "A regular expression that the whole value matches."),
        Field("not_regex", _REGEX, "A regular expression that the whole value does not match."),
    ),
    doc="A label matcher other than equality.",
    one_of=(("not", "regex", "not_regex"),),
)
MATCHER = Either(
    Text("text", max_length=256, hint='for series without the label write {regex: "^$"}'), MATCHER_FORMS
)

OBJECTS = Object(
    "objects",
    (
        Field(
            "namespace",
            NAMESPACE,
            "Their namespace.",
            default="none: that of `kubectl`",
            examples=("monitoring",),
        ),
        Field(
            "labels",
            Named(
                OBJECT_LABEL,
                "a label of Kubernetes",
                OBJECT_LABEL_VALUE,
                checks.object_label,
                key_hint=OBJECT_LABEL_HINT,
            ),
            "Their labels, besides sloctl's own.",
            examples=({"release": "monitoring"},),
        ),
    ),
    doc="What the generated Kubernetes objects carry, for the selectors of the operator.",
)
METADATA = Object(
    "metadata",
    (
        Field(
            "name", SET_NAME, "Name of the set; it prefixes rule groups, files and dashboards.", required=True
        ),
        Field("labels", LABELS, "Labels for every rule and alert.", examples=({"team": "platform"},)),
        Field("objects", OBJECTS, "Namespace and labels of the generated Kubernetes objects."),
    ),
    doc="Names the set of SLOs.",
)
MESH = Object(
    "mesh",
    (
        Field(
            "mode",
            Choice(("sidecar", "ambient")),
            "The data plane. In an ambient mesh, waypoints report each request once.",
            default="sidecar",
        ),
        Field(
            "matchers",
            Named(LABEL_NAME, "a label name", MATCHER, checks.matcher_name),
            "Label matchers that are added to every selector, for several clusters or tenants in one Prometheus. "
            "Plain text means equality.",
            examples=({"cluster": "eu1"},),
        ),
        Field(
            "latency_buckets",
            Items(Exact("a number of milliseconds above 0", Decimal(0), Decimal(86_400_000), 6), maximum=200),
            "Bounds of the latency histogram in milliseconds, ascending, if the mesh overrides Envoy's.",
            default="Envoy's own bounds, 0.5 to 3600000",
            examples=([5, 25, 100, 250, 1000],),
        ),
        Field(
            "target_labels",
            Items(Text("a label name", LABEL_NAME, max_length=128), maximum=10),
            "Labels that together tell scrape targets apart, on the metrics and on `up`.",
            default="[job, instance, pod]",
        ),
    ),
    doc="How the mesh exposes its metrics.",
)


_URL = Field(
    "url", URL, "The address, without credentials.", required=True, examples=("http://prometheus:9090",)
)
ADDRESS = Object("address", (_URL,), doc="A server.")
_SAMPLING = Exact("a percentage above 0, at most 100", Decimal("0.000001"), Decimal(100), inclusive=True)
TRACES = Object(
    "traces",
    (
        Field("backend", Choice(("zipkin", "jaeger", "tempo")), "Its kind.", required=True),
        _URL,
        Field(
            "ui",
            URL,
            "Where people look at traces, for links; for Tempo the address of Grafana.",
            default="`url`; for Tempo `sources.grafana`",
            examples=("https://zipkin.example.org",),
        ),
        Field(
            "attempt_tag",
            Text(
                "the name of a tag", r"[^\s\"'{}]{1,128}", "as the mesh's tracing configuration calls it", 128
            ),
            "The spans' tag with the request header `x-envoy-attempt-count`, if the mesh has a custom tag of it.",
            default="`x-envoy-attempt-count`, `envoy.attempt_count` or `attempt_count`, where there is one",
            examples=("attempt",),
        ),
        Field(
            "sampling",
            _SAMPLING,
            "The percentage of requests that are traced (head sampling).",
            default="not known",
            examples=(1,),
        ),
    ),
    doc="The server that holds traces.",
)
SOURCES = Object(
    "sources",
    (
        Field("prometheus", ADDRESS, "Where metrics are."),
        Field("traces", TRACES, "Where traces are."),
        Field("alertmanager", ADDRESS, "Where alerts are routed and silenced."),
        Field("grafana", ADDRESS, "Where dashboards are shown."),
        Field("runbooks", ADDRESS, "Where sloctl's runbook pages are kept, if not at the project's."),
    ),
    doc="Addresses of the servers. Credentials come from the environment, never from the file.",
)

JOB = Object(
    "job",
    (
        Field("name", Choice(job_names.IN_FILES), "Which job.", required=True),
        Field("every", Duration(60, DAY, 60, "5m"), "Its interval; divides an hour or a day evenly."),
        Field(
            "cron",
            Text("a cron line", max_length=100, checks=(checks.cron,)),
            "Minute, hour, day of the month, month, day of the week (0 is Sunday).",
            examples=("0 9 * * 1",),
        ),
        Field("timezone", TIMEZONE, "Time zone of `cron`.", default="UTC", examples=("Europe/Paris",)),
        Field("post", Choice(("slack",)), "Where the result is posted."),
        Field(
            "routine",
            Choice(("daily", "weekly", "monthly")),
            "Of `report`: which period it is about, the last complete one in `timezone`.",
            default="`weekly` if `cron` has a fixed day of the week, `monthly` with one of the month, else `daily`",
        ),
    ),
    doc="A scheduled job.",
    one_of=(("every", "cron"),),
    needs={"timezone": "cron"},
)
SLACK = Object(
    "slack",
    (
        Field(
            "channel",
            CHANNEL,
            "The channel. The webhook or token comes from the environment.",
            required=True,
            examples=("#slo-reviews",),
        ),
    ),
    doc="Slack.",
)
REPORTS = Object(
    "reports", (Field("slack", SLACK, "Where reports go in Slack."),), doc="Where reports are posted."
)

FILE = Object(
    "file",
    (
        Field("apiVersion", Choice((API_VERSION,)), "Version of the format.", required=True),
        Field("kind", Choice((KIND,)), "Kind of the document.", required=True),
        Field("metadata", METADATA, "Names the set. Needed once."),
        Field("mesh", MESH, "How the mesh exposes its metrics."),
        Field("sources", SOURCES, "Addresses of the servers."),
        Field("defaults", DEFAULTS, "What holds for every SLO that does not say otherwise."),
        Field("slos", Items(SLO), "The SLOs."),
        Field("guardrails", Items(GUARDRAIL, minimum=0), "Thresholds rather than budgets."),
        Field("jobs", Items(JOB, minimum=0), "Jobs and their schedules."),
        Field("ledger", LEDGER, "How the ledger is kept."),
        Field("maintenance", Items(MAINTENANCE, minimum=0), "Time that counts in no budget."),
        Field("notifications", NOTIFICATIONS, "Who is told of which alerts."),
        Field("dashboards", DASHBOARDS, "Where Grafana's dashboards go."),
        Field("reports", REPORTS, "Where reports are posted."),
        Field("kubernetes", KUBERNETES, "How jobs run on Kubernetes."),
    ),
    doc="An SLO file: everything about the SLOs of a mesh.",
)

for _place, _object in (
    ("the document itself", FILE),
    ("metadata", METADATA),
    ("mesh", MESH),
    ("sources", SOURCES),
    ("an item of slos", SLO),
    ("sli.events", EVENTS),
    ("alerting.windows", BURN_WINDOW),
    ("alerting", POLICY),
    ("an item of jobs", JOB),
    ("an item of guardrails", GUARDRAIL),
    ("notifications", NOTIFICATIONS),
    ("dashboards", DASHBOARDS),
    ("dashboards.costs", COSTS),
    ("kubernetes", KUBERNETES),
    ("kubernetes.resources", RESOURCES),
    ("ledger", LEDGER),
    ("ledger.keep", KEEP),
    ("an item of maintenance", MAINTENANCE),
):
    for _field in _object.fields:
        PLACES.setdefault(_field.key, _place)
PLACES["preset"] = PLACES["events"] = "sli"
for _name in PRESETS:
    for _field in preset_fields(_name):
        PLACES[_field.key] = "sli"


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
    guardrails = alerts.guardrails(merged, reader, owner)
    jobs = _jobs(merged, reader)
    told = merged.get("notifications")
    notifications = alerts.notifications(told, reader)
    drawn = dashboards(merged.get("dashboards"), reader)
    deployed = kubernetes(merged.get("kubernetes"), reader)
    kept = ledger.settings(merged.get("ledger"), slos, reader)
    excused = ledger.maintenance(merged, reader)
    if complete:
        _missing(merged, reader)
    if reader.failed:
        return None
    _warn(slos, merged, reader)
    alerts.warn_of_nobody(guardrails, merged, reader)
    alerts.warn_of_owners(told, notifications, slos, guardrails, reader)
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


def _jobs(merged: Merged, reader: Reader) -> list[Job]:
    first: dict[Job, Node] = {}
    for node, block in merged.items("jobs"):
        every: Span | None = block.get("every")
        if every is not None and (complaint := _evenly(every)) is not None:
            reader.complain(block.at("every"), block.child("every"), complaint)
        job = Job(
            name=job_names.ALIASES.get(block.get("name") or "", block.get("name") or ""),
            every=every.seconds if every is not None else 0,
            cron=" ".join((block.get("cron") or "").split()),
            timezone=block.get("timezone") or "UTC",
            post=block.get("post") or "",
            routine=block.get("routine") or "",
        )
        if job.routine and job.name != job_names.REPORT:
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
