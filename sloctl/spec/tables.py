"""The tables of every key of an SLO file: what it may be, and what it means.

The loader, the JSON Schema and the reference page are all made from these tables.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl.presets import PRESETS
from sloctl.spec import checks
from sloctl.spec.containers import Either, Items, Named
from sloctl.spec.quantities import Duration, Exact
from sloctl.spec.scalars import Choice, Text
from sloctl.spec.shapes import PLACES, Field, Object
from sloctl.spec.tables_alerts import GUARDRAIL, NOTIFICATIONS
from sloctl.spec.tables_common import (
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
from sloctl.spec.tables_dashboards import COSTS, DASHBOARDS
from sloctl.spec.tables_kubernetes import KUBERNETES, RESOURCES
from sloctl.spec.tables_ledger import KEEP, LEDGER, MAINTENANCE
from sloctl.spec.tables_slo import BURN_WINDOW, DEFAULTS, EVENTS, POLICY, SLO, preset_fields

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

JOBS = ("slis", "burn_rate", "retry_amplification", "sidecar_restarts", "report", "slo_report")
JOB = Object(
    "job",
    (
        Field("name", Choice(JOBS), "Which job.", required=True),
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
