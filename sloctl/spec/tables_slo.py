"""The tables of an SLO: its window, its SLI, its alerts; and of the defaults, which share its keys."""

from __future__ import annotations

from decimal import Decimal

from sloctl.presets import ENVOY_BUCKETS, GRPC_CODES, PRESETS
from sloctl.spec.containers import Either, Items, Variants
from sloctl.spec.quantities import Duration, Exact, Whole
from sloctl.spec.scalars import Choice, Loose, Text
from sloctl.spec.shapes import Field, Object, Type
from sloctl.spec.tables_common import (
    DAY,
    LABELS,
    LINE,
    LINK,
    NAMESPACE,
    OBJECTIVE,
    PROSE,
    SERVICE,
    SLO_NAME,
    TIMEZONE,
)

CALENDAR = Object(
    "calendarWindow",
    (
        Field(
            "calendar",
            Choice(("week", "month", "quarter", "year")),
            "The unit; weeks start on Monday.",
            required=True,
        ),
        Field("timezone", TIMEZONE, "Where midnight is.", default="UTC", examples=("Europe/Paris",)),
    ),
    doc="The current week, month, quarter or year.",
)
WINDOW = Either(Duration(3600, 366 * DAY, 300, "30d"), CALENDAR)

BURN_WINDOW = Object(
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
POLICY = Object(
    "alertPolicy",
    (
        Field(
            "policy", Choice(("mesh", "sre-workbook")), "A policy that ships with sloctl, for other gates."
        ),
        Field("windows", Items(BURN_WINDOW, maximum=10), "Lines of your own instead."),
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
ALERTING = Either(Choice(("mesh", "sre-workbook", "none")), POLICY)

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

_GRPC_CODE = Choice(tuple(GRPC_CODES), "the name of a gRPC status")
_HTTP_CODE = Loose(
    "a response code such as 503, 5xx or 0",
    r"[1-5](?:[0-9][0-9]|xx|XX)|0",
    "three digits, 4xx, 5xx, or 0 for no response",
    (("type", "integer"), ("enum", [0, *range(100, 600)])),
)


def preset_fields(name: str) -> tuple[Field, ...]:
    """The parameters of a preset."""
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
    choice = Field("preset", Choice((name,)), "Which preset.", required=True)
    doc = f"`{name}`: {preset.summary}. Default objective: {preset.objective}."
    unknown = f"preset '{name}' has no parameter"
    return Object(f"{name}Sli", (choice, *preset_fields(name)), doc=doc, unknown=unknown)


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
