"""The tables of every key of an SLO file: what it may be, and what it means.

The loader, the JSON Schema and the reference page are all made from these tables.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl.presets import ENVOY_BUCKETS, GRPC_CODES, PRESETS
from sloctl.spec import checks
from sloctl.spec.scalars import Choice, Duration, Exact, Loose, Text, Whole
from sloctl.spec.shapes import PLACES, Either, Field, Items, Named, Object, Type, Variants

API_VERSION = "sloctl/v1"
KIND = "MeshSLOs"
DAY = 86400

DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_HINT = "lower case letters, digits and '-', first and last a letter or digit"

SLO_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 63)
SET_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 40)
SERVICE = Text(
    'a service\'s name or "*"',
    rf"\*|{DNS_LABEL}(?:\.{DNS_LABEL})*",
    'the service as the metrics call it, in lower case; "*" alone stands for every service',
)
NAMESPACE = Text("a namespace", DNS_LABEL, _DNS_HINT, 63)
LINE = Text("one line of text", max_length=128, checks=(checks.no_template,))
PROSE = Text("text", max_length=2000, lines=True, checks=(checks.no_template,))
LINK = Text("an address", max_length=1000, checks=(checks.link,), secret=True)
URL = Text("an address", max_length=1000, checks=(checks.address,), secret=True)
TIMEZONE = Text(
    "a time zone", r"[A-Za-z0-9_+/-]+", "an IANA name such as Europe/Paris", 64, checks=(checks.timezone,)
)
LABEL_NAME = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
LABELS = Named(
    LABEL_NAME,
    "a label name",
    Text("text", max_length=256, checks=(checks.no_template,)),
    checks.label_name,
)
OBJECTIVE = Exact("a percentage between 0 and 100, both excluded", Decimal(0), Decimal(100), 6)

_CALENDAR = Object(
    "calendarWindow",
    (
        Field(
            "calendar",
            Choice(("week", "month", "quarter")),
            "The unit; weeks start on Monday.",
            required=True,
        ),
        Field("timezone", TIMEZONE, "Where midnight is.", default="UTC", examples=("Europe/Paris",)),
    ),
    doc="The current week, month or quarter.",
)
WINDOW = Either(Duration(3600, 366 * DAY, 300, "30d"), _CALENDAR)

_BURN_WINDOW = Object(
    "burnWindow",
    (
        Field("severity", Choice(("page", "ticket")), "Whether it wakes somebody.", required=True),
        Field(
            "factor",
            Exact("a number above 0", Decimal(0), Decimal(1_000_000), 6),
            "How many times faster than allowed the budget must burn, for a period of 30 days; other periods "
            "scale it so that the same share of the budget is gone when the alert fires.",
            required=True,
            examples=(14.4,),
        ),
        Field(
            "long",
            Duration(120, 366 * DAY, 60, "1h"),
            "The long window. Over 6h: a multiple of 5m.",
            required=True,
        ),
        Field(
            "short",
            Duration(60, 366 * DAY, 60, "5m"),
            "The short window, which ends the alert soon after the burn. Over 6h: a multiple of 5m.",
            required=True,
        ),
        Field(
            "for", Duration(0, DAY, 1, "5m"), "How long it must last before the alert fires.", default="0s"
        ),
    ),
    doc="One line of an alert policy: fire when the burn rate over both windows exceeds the factor.",
)
_POLICY = Object(
    "alertPolicy",
    (
        Field(
            "policy", Choice(("mesh", "sre-workbook")), "A policy that ships with sloctl, for other gates."
        ),
        Field("windows", Items(_BURN_WINDOW, maximum=10), "Lines of your own instead."),
        Field(
            "min_events",
            Whole(0, 1_000_000_000),
            "Events that the long window must hold before an alert may fire.",
            default="20",
        ),
        Field(
            "min_bad_events",
            Whole(0, 1_000_000_000),
            "Bad events that the long window must hold before an alert may fire.",
            default="3",
        ),
    ),
    doc="When to alert on a burning budget.",
    one_of=(("policy", "windows"),),
)
ALERTING = Either(Choice(("mesh", "sre-workbook", "none")), _POLICY)

_REGEX = Text("a regular expression (RE2)", max_length=1000)
MATCHER = Either(
    Text("text", max_length=256, hint='for series without the label write {regex: "^$"}'),
    Object(
        "matcher",
        (
            Field("not", Text("text", max_length=256), "Any other value."),
            Field("regex", _REGEX, "A regular expression that the whole value matches."),
            Field("not_regex", _REGEX, "A regular expression that the whole value does not match."),
        ),
        doc="A label matcher other than equality.",
        one_of=(("not", "regex", "not_regex"),),
    ),
)

METADATA = Object(
    "metadata",
    (
        Field(
            "name", SET_NAME, "Name of the set; it prefixes rule groups, files and dashboards.", required=True
        ),
        Field("labels", LABELS, "Labels for every rule and alert.", examples=({"team": "platform"},)),
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


def _source(name: str, doc: str, example: str, *more: Field) -> Object:
    url = Field("url", URL, "The address, without credentials.", required=True, examples=(example,))
    return Object(name, (*more, url), doc=doc)


SOURCES = Object(
    "sources",
    (
        Field(
            "prometheus", _source("prometheus", "Prometheus.", "http://prometheus:9090"), "Where metrics are."
        ),
        Field(
            "traces",
            _source(
                "traces",
                "The trace backend.",
                "http://zipkin:9411",
                Field("backend", Choice(("zipkin", "jaeger", "tempo")), "Its kind.", required=True),
            ),
            "Where traces are.",
        ),
        Field(
            "alertmanager",
            _source("alertmanager", "Alertmanager.", "http://alertmanager:9093"),
            "Where alerts are routed and silenced.",
        ),
        Field(
            "grafana", _source("grafana", "Grafana.", "http://grafana:3000"), "Where dashboards are shown."
        ),
    ),
    doc="Addresses of the servers. Credentials come from the environment, never from the file.",
)

_OWNER = Field(
    "owner", LINE, "The team that answers for it; a label of its alerts.", examples=("team-payments",)
)
_RUNBOOK = Field(
    "runbook",
    LINK,
    "Address of the runbook; may hold {slo}, {service}, {namespace}, {alert} and {set}.",
    examples=("https://runbooks.example.org/{slo}",),
)
_DASHBOARD = Field("dashboard", LINK, "Address of a dashboard; placeholders as in `runbook`.")
_LABELS = Field("labels", LABELS, "Labels for the rules and alerts.")
_WINDOW = Field(
    "window",
    WINDOW,
    "The period of the budget: rolling (1h to 366d, in steps of 5m) or a calendar unit.",
    default="30d",
    examples=("30d", {"calendar": "month", "timezone": "Europe/Paris"}),
)
_ALERTING = Field(
    "alerting",
    ALERTING,
    "When to alert.",
    default="mesh",
    examples=("sre-workbook", {"policy": "mesh", "min_events": 100}),
)

DEFAULTS = Object(
    "defaults",
    (
        _WINDOW,
        _ALERTING,
        Field("objective", OBJECTIVE, "The objective in percent.", default="that of the preset"),
        _OWNER,
        _RUNBOOK,
        _DASHBOARD,
        _LABELS,
    ),
    doc="What holds for every SLO that does not say otherwise. Labels add up.",
)

_GRPC_CODE = Choice(tuple(GRPC_CODES))
_HTTP_CODE = Loose(
    "a response code such as 503, 5xx or 0",
    r"[1-5](?:[0-9][0-9]|xx|XX)|0",
    "three digits, 4xx, 5xx, or 0 for no response",
    (("type", "integer"), ("enum", [0, *range(100, 600)])),
)


def _preset_fields(name: str) -> tuple[Field, ...]:
    codes: Type = _GRPC_CODE if name == "grpc" else _HTTP_CODE
    bounds = f"{ENVOY_BUCKETS[0]}ms to {ENVOY_BUCKETS[-1]}ms"
    known = {
        "side": Field(
            "side",
            Choice(("client", "server")),
            "Who counts: the client's proxy sees the outcome after retries, the server's every attempt.",
            default="client",
        ),
        "threshold": Field(
            "threshold",
            Text(
                "a latency such as 250ms",
                r"[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|s)",
                "write it like 250ms or 2.5s",
                20,
            ),
            f"The latency to stay within; a bound of the histogram ({bounds}, or `mesh.latency_buckets`).",
            default="100ms",
            examples=("250ms", "2.5s"),
        ),
        "codes": Field(
            "codes",
            Items(codes, maximum=100),
            "gRPC status names that count as bad." if name == "grpc" else "Response codes that count as bad.",
            default="UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS"
            if name == "grpc"
            else "5xx and 0 (no response)",
            examples=(["UNAVAILABLE"],) if name == "grpc" else (["5xx", 429],),
        ),
    }
    return tuple(known[param] for param in PRESETS[name].params)


def _preset(name: str) -> Object:
    preset = PRESETS[name]
    choice = Field("preset", Choice((name,)), f"{preset.summary}.", required=True)
    doc = f"Good are {preset.summary}. Default objective: {preset.objective}."
    unknown = f"preset '{name}' has no parameter"
    return Object(f"{name}Sli", (choice, *_preset_fields(name)), doc=doc, unknown=unknown)


_EXPRESSION = Text("PromQL", max_length=4096, lines=True)
EVENTS = Object(
    "events",
    (
        Field(
            "bad",
            _EXPRESSION,
            "PromQL for the bad events; every range is [$window].",
            examples=("rate(jobs_late_total[$window])",),
        ),
        Field("good", _EXPRESSION, "PromQL for the good events, instead of the bad ones."),
        Field(
            "total",
            _EXPRESSION,
            "PromQL for all events.",
            required=True,
            examples=("rate(jobs_total[$window])",),
        ),
    ),
    doc="Two expressions over counters of your own.",
    one_of=(("bad", "good"),),
)
SLI = Variants(
    "preset",
    {name: _preset(name) for name in PRESETS},
    "events",
    Object("eventsSli", (Field("events", EVENTS, "Expressions instead of a preset.", required=True),)),
    Choice(tuple(PRESETS)),
    "a mapping with 'preset' or 'events'",
)
SLO = Object(
    "slo",
    (
        Field(
            "name",
            SLO_NAME,
            "Name of the SLO, unique per service.",
            required=True,
            examples=("availability",),
        ),
        Field(
            "service",
            SERVICE,
            'The service as the metrics call it (for `gateway`: the workload), or "*" for every service of the '
            'namespace. A named service overrides the "*" SLO of the same name.',
            required=True,
            examples=("checkout", "*"),
        ),
        Field("namespace", NAMESPACE, "Its namespace; needed with presets.", examples=("shop",)),
        Field(
            "objective",
            OBJECTIVE,
            "Percentage of events that must be good, with up to six decimals.",
            default="that of the defaults, or else of the preset",
            examples=(99.9,),
        ),
        _WINDOW,
        Field("sli", SLI, "What is counted.", required=True),
        _OWNER,
        Field("description", PROSE, "What it promises, in a sentence or two."),
        _RUNBOOK,
        _DASHBOARD,
        _LABELS,
        _ALERTING,
    ),
    doc="One SLO of one service, or of every service of a namespace.",
)

GUARDRAILS = tuple(
    "sidecar-restarts retry-amplification telemetry-gap control-plane mtls gateway-errors ejections overflow "
    "certificates misroutes policy-denials sidecar-resources".split()
)
_LIMIT = Loose(
    "a number or a duration",
    r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?|(?=[0-9])(?:[0-9]{1,6}w)?(?:[0-9]{1,6}d)?(?:[0-9]{1,6}h)?"
    r"(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?",
    "write it like 0.01, 100 or 5m",
    (("type", "number"), ("minimum", 0)),
)
GUARDRAIL = Object(
    "guardrail",
    (
        Field("preset", Choice(GUARDRAILS), "What is watched.", required=True),
        Field("max", _LIMIT, "The highest value that is fine.", examples=(0.01, "5m")),
        Field("min", _LIMIT, "The lowest value that is fine.", examples=(100,)),
    ),
    doc="A threshold rather than a budget.",
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
    ),
    doc="A scheduled job.",
    one_of=(("every", "cron"),),
    needs={"timezone": "cron"},
)
_SLACK = Object(
    "slack",
    (
        Field(
            "channel",
            Text("a channel", r"[#@]?[^\s#@\"'<>&]{1,80}", 'like "#slo-reviews", in quotes', 81),
            "The channel. The webhook or token comes from the environment.",
            required=True,
            examples=("#slo-reviews",),
        ),
    ),
    doc="Slack.",
)
REPORTS = Object(
    "reports", (Field("slack", _SLACK, "Where reports go in Slack."),), doc="Where reports are posted."
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
        Field("reports", REPORTS, "Where reports are posted."),
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
    ("alerting.windows", _BURN_WINDOW),
    ("alerting", _POLICY),
    ("an item of jobs", JOB),
):
    for _field in _object.fields:
        PLACES.setdefault(_field.key, _place)
PLACES["preset"] = PLACES["events"] = "sli"
for _name in PRESETS:
    for _field in _preset_fields(_name):
        PLACES[_field.key] = "sli"
