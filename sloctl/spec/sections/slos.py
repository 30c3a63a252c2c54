"""SLOs: their windows, SLIs and alert policies; and the defaults, which share their keys.

Tables first, then how values become the model: defaults, presets, expressions, rules that span keys, and whether
alerts can fire.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from sloctl import naming
from sloctl.model import (
    FINE_LIMIT,
    GRID,
    AlertPolicy,
    BurnWindow,
    CalendarWindow,
    CounterSli,
    ExprSli,
    Mesh,
    RollingWindow,
    Sli,
    Slo,
    Window,
)
from sloctl.model.durations import duration, number
from sloctl.model.policies import POLICIES
from sloctl.promql.presets import ENVOY_BUCKETS, GRPC_CODES, PRESETS, PresetProblem
from sloctl.spec.fields import expressions
from sloctl.spec.fields.containers import Either, Items, Variants
from sloctl.spec.fields.quantities import Duration, Exact, Whole, WrittenDuration
from sloctl.spec.fields.reader import Complaint, Reader, position
from sloctl.spec.fields.scalars import Choice, Loose, Text
from sloctl.spec.fields.shapes import Block, Field, Object, Type
from sloctl.spec.sections.common import (
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
from sloctl.spec.yaml.tree import Node

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


_BROKEN: Any = object()
"""Stands for a value that was complained about: nothing more is said of it."""


class Slos:
    """Builds the SLOs of a set that has this name, mesh and defaults."""

    def __init__(self, set_name: str, mesh: Mesh, defaults: Block | None, reader: Reader) -> None:
        self.set_name = set_name
        self.mesh = mesh
        self.defaults = defaults
        self.reader = reader
        self._presets: dict[Hashable, CounterSli | PresetProblem] = {}
        self._policies: dict[int, AlertPolicy | None] = {}
        self._expressions: dict[str, Any] = {}

    def check_defaults(self) -> None:
        """Note what is wrong with the defaults even if no SLO uses them."""
        if self.defaults is not None and self.defaults.get("alerting") is not None:
            self._policy(self.defaults)

    def build(self, block: Block) -> Slo | None:
        """One SLO; None, with the problems noted, if it is unusable."""
        before = len(self.reader.problems)
        sli, preset = self._sli(block)
        self._place(block, preset is not None)
        objective = self._objective(block, preset)
        window = self._window(block)
        policy = self._policy(block)
        name, service = block.get("name"), block.get("service")
        if sli is None or _BROKEN in (objective, window, policy) or not name or not service:
            return None
        if len(self.reader.problems) > before or block.broken("namespace"):
            return None
        slo = Slo(
            set_name=self.set_name,
            name=name,
            service=service,
            namespace=block.get("namespace") or "",
            objective=objective,
            window=window,
            sli=sli,
            policy=policy,
            owner=self._text(block, "owner"),
            description=(block.get("description") or "").strip(),
            runbook=self._text(block, "runbook"),
            dashboard=self._text(block, "dashboard"),
            labels=self._labels(block),
            position=position(block.node),
        )
        complaint = can_fire(slo)
        if complaint is not None:
            key = next((key for key in ("alerting", "objective", "window") if block.has(key)), "alerting")
            self.reader.complain(block.at(key), block.child(key), complaint)
            return None
        return slo

    def _value(self, block: Block, key: str) -> tuple[Any, Node]:
        """The SLO's own value or else the default (None: neither), and where it stands."""
        for place in (block, self.defaults):
            if place is not None and place.has(key):
                return (_BROKEN if place.broken(key) else place.get(key)), place.at(key)
        return None, block.node

    def _text(self, block: Block, key: str) -> str:
        value = self._value(block, key)[0]
        return "" if value is None or value is _BROKEN else str(value)

    def _labels(self, block: Block) -> tuple[tuple[str, str], ...]:
        merged: dict[str, str] = {}
        for place in (self.defaults, block):
            if place is not None:
                merged.update({key: value for key, _, value in place.get("labels") or ()})
        return tuple(sorted(merged.items()))

    def _objective(self, block: Block, preset: str | None) -> Decimal:
        value, _ = self._value(block, "objective")
        if value is None:
            if preset is None:
                sli = block.get("sli")
                if sli is not None and sli.get("events") is not None and "objective" not in block.meant:
                    message = "'objective' is missing"
                    hint = "only presets have a default objective"
                    self.reader.add(block.node, block.child("objective"), "no-objective", message, hint)
                return _BROKEN  # type: ignore[no-any-return]
            return PRESETS[preset].objective
        return value  # type: ignore[no-any-return]

    def _window(self, block: Block) -> Window:
        value, _ = self._value(block, "window")
        if value is None:
            return DEFAULT_WINDOW
        found = None if value is _BROKEN else slo_window(value)
        return _BROKEN if found is None else found

    def _policy(self, block: Block) -> AlertPolicy | None:
        value, node = self._value(block, "alerting")
        if value is None:
            return POLICIES["mesh"]
        if value is _BROKEN or value == "none":
            return None if value == "none" else _BROKEN
        if id(node) not in self._policies:  # nodes outlive this object: the defaults' policy is read once
            self._policies[id(node)] = alert_policy(value, self.reader)
        found = self._policies[id(node)]
        return _BROKEN if found is None else found

    def _place(self, block: Block, preset: bool) -> None:
        """Namespace and service must fit together and to the SLI."""
        if block.get("service") == "*" and not preset and block.get("sli") is not None:
            if block.get("sli").get("events") is not None:
                message = "an 'events' SLI needs a named service: its expressions do not say which service they are of"
                hint = "name the service, or use a preset"
                self.reader.add(block.at("service"), block.child("service"), "events-wildcard", message, hint)
            return
        known = block.has("namespace") or "namespace" in block.meant
        if not known and (preset or block.get("service") == "*"):
            message = "'namespace' is missing"
            hint = "an SLO of the mesh is of a service in a namespace"
            self.reader.add(block.node, block.child("namespace"), "no-namespace", message, hint)

    def _sli(self, block: Block) -> tuple[Sli | None, str | None]:
        """The SLI, and the name of the preset that it comes from."""
        sli: Block | None = block.get("sli")
        if sli is None:
            return None, None
        if sli.has("events"):
            events = sli.get("events")
            return (None if events is None else self._events(events)), None
        name = sli.get("preset")
        if name is None:
            return None, None
        if any(sli.broken(key) for key in sli.node.entries):
            return None, name
        params = {key: sli.get(key) for key in PRESETS[name].params if sli.has(key)}
        if "codes" in params:
            if not params["codes"]:
                return None, name  # all of them were complained about
            params["codes"] = tuple(dict.fromkeys(code for _, code in params["codes"]))
        built = self._preset(name, params)
        if isinstance(built, PresetProblem):
            at, path = sli.at(built.param), sli.child(built.param)
            self.reader.add(at, path, "preset-parameter", str(built), built.hint)
            return None, name
        return built, name

    def _preset(self, name: str, params: dict[str, Any]) -> CounterSli | PresetProblem:
        key = (name, *params.items())
        if key not in self._presets:
            try:
                self._presets[key] = PRESETS[name].build(params, self.mesh)
            except PresetProblem as problem:
                self._presets[key] = problem
        return self._presets[key]

    def _events(self, block: Block) -> ExprSli | None:
        texts = {key: (block.get(key) or "").strip() for key in ("total", "bad", "good")}
        fine = True
        for key, text in texts.items():
            if not text:
                if block.get(key) is not None:
                    self.reader.add(block.at(key), block.child(key), "promql-syntax", f"'{key}' is blank", "")
                    fine = False
                continue
            if text not in self._expressions:
                self._expressions[text] = expressions.check(text, self.mesh)
            if self._expressions[text] is not None:
                self.reader.complain(block.at(key), block.child(key), self._expressions[text])
                fine = False
        used = set().union(*(expressions.functions(text) for text in texts.values() if text))
        if fine and len(used) > 1:
            message = "rate() and increase() are mixed; both count the same events"
            self.reader.add(block.node, block.path, "promql-mixed", message, "use one of them throughout")
            fine = False
        if not fine or not texts["total"] or bool(texts["bad"]) == bool(texts["good"]):
            return None
        return ExprSli(**texts)


MONTH = 30 * 86400
DEFAULT_WINDOW = RollingWindow(MONTH, "30d")


def slo_window(value: WrittenDuration | Block) -> Window | None:
    """The window that a file says; None if a part of it was unusable."""
    if isinstance(value, WrittenDuration):
        return RollingWindow(value.seconds, value.text)
    if value.get("calendar") is None or value.broken("timezone"):
        return None
    return CalendarWindow(value.get("calendar"), value.get("timezone") or "UTC")


def alert_policy(value: str | Block, reader: Reader) -> AlertPolicy | None:
    """The policy that a file says. None for ``none``, and if (as problems tell) it is unusable."""
    if isinstance(value, str):
        return None if value == "none" else POLICIES[value]
    gates = {key: value.get(key) for key in ("min_events", "min_bad_events") if value.get(key) is not None}
    if value.get("policy") is not None:
        return replace(POLICIES[value.get("policy")], **gates)
    lines = [_line(block, reader) for _, block in value.get("windows") or ()]
    windows = tuple(line for line in lines if line is not None)
    _unique(value, reader)
    return AlertPolicy("inline", windows, **gates) if windows else None


def _line(block: Block, reader: Reader) -> BurnWindow | None:
    long, short = block.get("long"), block.get("short")
    fine = True
    for key, span in (("long", long), ("short", short)):
        if span is not None and span.seconds > FINE_LIMIT and span.seconds % GRID:
            message = f"a window over 6h must be a multiple of 5m, and {span.text} is not"
            reader.add(block.at(key), block.child(key), "window-step", message)
            fine = False
    if long is not None and short is not None and short.seconds >= long.seconds:
        message = f"the short window ({short.text}) must be shorter than the long one ({long.text})"
        reader.add(
            block.at("short"),
            block.child("short"),
            "window-order",
            message,
            "a twelfth of the long window is usual",
        )
        fine = False
    severity, factor = block.get("severity"), block.get("factor")
    if not fine or severity is None or factor is None or long is None or short is None or block.broken("for"):
        return None
    wait = block.get("for")
    return BurnWindow(severity, factor, long.seconds, short.seconds, wait.seconds if wait else 0)


def _unique(value: Block, reader: Reader) -> None:
    seen: dict[str, Block] = {}
    for _, block in value.get("windows") or ():
        if block.get("severity") is None or block.get("long") is None:
            continue
        name = naming.alert(BurnWindow(block.get("severity"), Decimal(1), block.get("long").seconds, 0))
        if name in seen:
            message = f"two lines make the alert {name}"
            hint = f"the other is in line {seen[name].node.line}; give one another severity or long window"
            reader.add(block.node, block.path, "duplicate-alert", message, hint)
        seen.setdefault(name, block)


def can_fire(slo: Slo) -> Complaint | None:
    """Whether every alert of the SLO can fire at all.

    A burn rate is at most 1 / budget (every event bad), so an alert needs ``factor × budget < 1``; and its long
    window must fit into the period.
    """
    if slo.policy is None:
        return None
    period = slo.window.seconds
    stuck, too_long = [], []
    for line in slo.policy.windows:
        factor = slo.policy.scaled(line, period)
        if line.long > period:
            too_long.append(line)
        elif factor * slo.budget >= 1:
            product = f"{number(factor)} × {number(slo.budget)} = {number(factor * slo.budget)}"
            stuck.append(f"{line.severity} on {duration(line.long)} ({product})")
    if too_long:
        names = " and ".join(f"{line.severity} on {duration(line.long)}" for line in too_long)
        return Complaint(
            "alert-window",
            f"alert {names} looks back further than the SLO's window of {duration(period)}",
            "use a longer window for the SLO, or an inline policy ('alerting: {windows: […]}') with shorter ones",
        )
    if stuck:
        if slo.objective <= 1:
            hint = f"an objective is a percentage: did you mean {number(slo.objective * 100)}?"
            return Complaint(
                "alert-never-fires", f"an objective of {number(slo.objective)} % alerts on nothing", hint
            )
        most = (Decimal(MONTH) / (slo.budget * period)).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
        return Complaint(
            "alert-never-fires",
            f"alert {' and '.join(stuck)} can never fire: factor × budget must be below 1",
            f"raise the objective, set an inline policy with factors up to {number(most)}, or 'alerting: none'",
        )
    return None
