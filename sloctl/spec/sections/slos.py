"""The sections ``slos`` and ``defaults``, which share their keys: windows of budgets, alert policies, and SLOs
themselves.

A window is rolling or a unit of the calendar. A policy has lines of its own or those of one that ships with sloctl, and
its alerts must be able to fire. What an SLI may be is in ``slis``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any, get_args

from sloctl import naming
from sloctl.errors import Position
from sloctl.model import (
    FINE_LIMIT,
    GRID,
    AlertPolicy,
    AlertSeverity,
    BurnWindow,
    CalendarUnit,
    CalendarWindow,
    Mesh,
    RollingWindow,
    Slo,
    Window,
)
from sloctl.model.calendar import Weekday
from sloctl.model.durations import duration, number
from sloctl.model.policies import POLICIES, StoppedTraffic
from sloctl.model.slo import budget_of
from sloctl.promql.presets import PRESETS
from sloctl.spec.fields.shapes import Block, Either, Field, Items, Object, Section
from sloctl.spec.fields.values import (
    Choice,
    Complaint,
    Duration,
    Exact,
    Reader,
    Text,
    Whole,
    WrittenDuration,
    position,
)
from sloctl.spec.sections.common import (
    DAY,
    LABEL_NAME,
    LABELS,
    LINE,
    LINK,
    NAMESPACE,
    OBJECTIVE,
    PROSE,
    SERVICE,
    SLO_NAME,
    TIMEZONE,
    YEAR,
    Defaults,
    nobody_owns,
    once,
)
from sloctl.spec.sections.owners import Owners
from sloctl.spec.sections.slis import OWN, SLI, Slis
from sloctl.spec.yaml.tree import Node

CALENDAR = Section(
    "calendarWindow",
    model=CalendarWindow,
    doc="The current week, month, quarter or year.",
    fields=(
        Field(
            "calendar",
            Choice(get_args(CalendarUnit)),
            "The unit.",
            required=True,
            fills="unit",
        ),
        Field("timezone", TIMEZONE, "Where midnight is.", examples=("Europe/Paris",)),
        Field("starts", Choice(get_args(Weekday)), "The first day of a week.", examples=("sunday",)),
    ),
)


@CALENDAR.rule
def _a_week_starts(block: Block, reader: Reader) -> None:
    if block.has("starts") and block.get("calendar") not in ("week", None):
        message = f"a {block.get('calendar')} starts on its first day: 'starts' is the first day of a week"
        reader.add(block.node.keys["starts"], block.child("starts"), "window-starts", message, "leave it out")


WINDOW = Either(Duration(3600, YEAR, 300, "30d"), CALENDAR)

MONTH = 30 * DAY
DEFAULT_WINDOW = RollingWindow(MONTH, "30d")


def window(value: WrittenDuration | Block, reader: Reader) -> Window | None:
    """The window that a file says; None if a part of it was unusable."""
    if isinstance(value, WrittenDuration):
        return RollingWindow(value.seconds, value.text)
    return None if value.broken("timezone") or value.broken("starts") else CALENDAR.build(value, reader)


BURN_WINDOW = Section(
    "burnWindow",
    model=BurnWindow,
    doc="One line of an alert policy: fire when the burn rate over both windows exceeds the factor.",
    fields=(
        Field("severity", Choice(get_args(AlertSeverity)), "Whether it wakes somebody.", required=True),
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
            Duration(120, YEAR, 60, "1h"),
            "The long window. Over 6h: a multiple of 5m.",
            required=True,
        ),
        Field(
            "short",
            Duration(60, YEAR, 60, "5m"),
            "The short window, which ends the alert soon after the burn. Over 6h: a multiple of 5m.",
            required=True,
        ),
        Field(
            "for", Duration(0, DAY, 1, "5m"), "How long it must last before the alert fires.", fills="for_"
        ),
    ),
)
CONFIDENCE = Exact(
    "a percentage from 50 to 99.999999",
    Decimal(50),
    Decimal("99.999999"),
    hint="99.99 is one chance in 10,000; to count events instead, set min_events and min_bad_events",
    inclusive=True,
)
POLICY = Section(
    "alertPolicy",
    model=AlertPolicy,
    doc="When to alert on a burning budget.",
    fields=(
        Field("policy", Choice(tuple(POLICIES)), "A policy that ships with sloctl, for other gates."),
        Field("windows", Items(BURN_WINDOW, maximum=10), "Lines of your own instead."),
        Field(
            "min_events",
            Whole(0, 1_000_000_000),
            "Events that the long window must hold before an alert may fire, instead of `confidence`.",
            without="no number; 20 beside `min_bad_events`",
        ),
        Field(
            "min_bad_events",
            Whole(0, 1_000_000_000),
            "Bad events that the long window must hold before an alert may fire, instead of `confidence`.",
            without="no number; 3 beside `min_events`",
        ),
        Field(
            "confidence",
            CONFIDENCE,
            "How sure an alert must be, in percent, that failures are more than chance in a service that meets its "
            "objective.",
            examples=(99.9,),
        ),
        Field(
            "traffic_stopped",
            Choice(get_args(StoppedTraffic)),
            "Whether an alert says when a service that had events has none for far longer than in any pause of a week.",
            examples=("ticket",),
        ),
    ),
    one_of=(("policy", "windows"),),
    apart={
        "policy": "its name and windows are that policy's",
        "windows": "lines that cannot be used are left out",
        "name": "that of `policy`, or `inline`",
    },
)
ALERTING = Either(Choice((*POLICIES, "none")), POLICY)

DEFAULT_POLICY = "mesh"


def alert_policy(value: str | Block, reader: Reader) -> AlertPolicy | None:
    """The policy that a file says. None for ``none``, and if (as problems tell) it is unusable."""
    if isinstance(value, str):
        return None if value == "none" else POLICIES[value]
    if value.get("policy") is not None:
        return replace(POLICIES[value.get("policy")], **POLICY.attributes(value, reader))
    lines = [_line(block, reader) for _, block in value.items("windows")]
    windows = tuple(line for line in lines if line is not None)
    policy = POLICY.build(value, reader, name="inline", windows=windows)
    return policy if windows else None


def _line(block: Block, reader: Reader) -> BurnWindow | None:
    before = len(reader.problems)
    line = BURN_WINDOW.build(block, reader)
    return None if block.broken("for") or len(reader.problems) > before else line


@BURN_WINDOW.rule
def _windows_fit_the_grid(block: Block, reader: Reader) -> None:
    for key in ("long", "short"):
        span: WrittenDuration | None = block.get(key)
        if span is not None and span.seconds > FINE_LIMIT and span.seconds % GRID:
            message = f"a window over 6h must be a multiple of 5m, and {span.text} is not"
            reader.add(block.at(key), block.child(key), "window-step", message)


@BURN_WINDOW.rule
def _short_is_shorter(block: Block, reader: Reader) -> None:
    long, short = block.get("long"), block.get("short")
    if long is not None and short is not None and short.seconds >= long.seconds:
        message = f"the short window ({short.text}) must be shorter than the long one ({long.text})"
        hint = "a twelfth of the long window is usual"
        reader.add(block.at("short"), block.child("short"), "window-order", message, hint)


@POLICY.rule
def _one_kind_of_gate(value: Block, reader: Reader) -> None:
    counted = next((key for key in ("min_events", "min_bad_events") if value.has(key)), None)
    if counted is not None and value.has("confidence"):
        message = f"'confidence' and '{counted}' exclude each other"
        hint = "keep 'confidence', or the numbers of events that an alert needs"
        reader.add(value.node.keys["confidence"], value.child("confidence"), "key-conflict", message, hint)


@POLICY.rule
def _alerts_have_different_names(value: Block, reader: Reader) -> None:
    seen: dict[str, Block] = {}
    for _, block in value.items("windows"):
        if block.get("severity") is None or block.get("long") is None:
            continue
        name = naming.alert(BurnWindow(block.get("severity"), Decimal(1), block.get("long").seconds, 0))
        if name in seen:
            message = f"two lines make the alert {name}"
            hint = f"the other is in line {seen[name].node.line}; give one another severity or long window"
            reader.add(block.node, block.path, "duplicate-alert", message, hint)
        seen.setdefault(name, block)


def can_fire(objective: Decimal, period: int, policy: AlertPolicy) -> Complaint | None:
    """Whether every alert of an SLO can fire at all; ``period`` is that of its budget, in seconds.

    A burn rate is at most 1 / budget (every event bad), so an alert needs ``factor × budget < 1``; and its long
    window must fit into the period.
    """
    budget = budget_of(objective)
    stuck, too_long = [], []
    for line in policy.windows:
        factor = policy.scaled(line, period)
        if line.long > period:
            too_long.append(line)
        elif factor * budget >= 1:
            product = f"{number(factor)} × {number(budget)} = {number(factor * budget)}"
            stuck.append(f"{line.severity} on {duration(line.long)} ({product})")
    if too_long:
        names = " and ".join(f"{line.severity} on {duration(line.long)}" for line in too_long)
        return Complaint(
            "alert-window",
            f"alert {names} looks back further than the SLO's window of {duration(period)}",
            "use a longer window for the SLO, or an inline policy ('alerting: {windows: […]}') with shorter ones",
        )
    if stuck:
        if objective <= 1:
            hint = f"an objective is a percentage: did you mean {number(objective * 100)}?"
            return Complaint(
                "alert-never-fires", f"an objective of {number(objective)} % alerts on nothing", hint
            )
        most = (Decimal(MONTH) / (budget * period)).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
        return Complaint(
            "alert-never-fires",
            f"alert {' and '.join(stuck)} can never fire: factor × budget must be below 1",
            f"raise the objective, set an inline policy with factors up to {number(most)}, or 'alerting: none'",
        )
    return None


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
    without=DEFAULT_WINDOW.text,
    examples=("30d", {"calendar": "month", "timezone": "Europe/Paris"}),
)
_ALERTING = Field(
    "alerting",
    ALERTING,
    "When to alert.",
    without=DEFAULT_POLICY,
    examples=("sre-workbook", {"policy": "mesh", "confidence": 99.9}),
)

DEFAULTS = Object(
    "defaults",
    doc="What holds for every SLO that does not say otherwise. Labels add up.",
    fields=(
        _WINDOW,
        _ALERTING,
        Field("objective", OBJECTIVE, "The objective in percent.", without="that of the preset"),
        _OWNER,
        _RUNBOOK,
        _DASHBOARD,
        _LABELS,
    ),
)

SLO = Section(
    "slo",
    model=Slo,
    doc="One SLO of one service, or of every service of a namespace.",
    fields=(
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
            "namespaces",
            Items(NAMESPACE, maximum=200),
            "In place of `namespace`: one such SLO in each of these, with a budget of its own.",
            without="that of `namespace`",
            examples=(["shop", "pay"],),
        ),
        Field(
            "objective",
            OBJECTIVE,
            "Percentage of events that must be good, with up to six decimals.",
            without="that of the defaults, or else of the preset",
            examples=(99.9,),
        ),
        Field(
            "per",
            Text("a label of the series", LABEL_NAME, "the name of a label", 128),
            'With `service: "*"` and an SLI of your own: the label of which each value is a service, with a budget of '
            "its own.",
            examples=("queue",),
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
    apart={
        "set_name": "that of the set",
        "namespace": "empty where there is none",
        "namespaces": "an SLO for each",
        "objective": "also that of `defaults`, or of the preset",
        "window": "also that of `defaults`",
        "sli": "built once for all SLOs that have the same",
        "owner": "also that of `defaults`",
        "runbook": "also that of `defaults`",
        "dashboard": "also that of `defaults`",
        "labels": "with those of `defaults`",
        "alerting": "also that of `defaults`; `none` is no policy",
        "policy": "what `alerting` says",
        "overridden": "what other SLOs say",
        "position": "where it stands",
    },
)


def slos(
    whole: Block, defaults: Defaults, owners: Owners, set_name: str, mesh: Mesh, reader: Reader
) -> tuple[Slo, ...]:
    """The SLOs of all documents, in their order."""
    whole.values["slos"] = [
        each for node, block in whole.items("slos") for each in _each(node, block, reader)
    ]
    builder = _Slos(set_name, mesh, defaults, owners, reader)
    built = [slo for _, block in whole.items("slos") if (slo := builder.build(block)) is not None]
    _no_two_alike(whole, reader)
    return _override(built)


def _each(node: Node, block: Block, reader: Reader) -> Iterator[tuple[Node, Block]]:
    """An SLO, or one for each of its namespaces."""
    if not block.has("namespaces"):
        yield node, block
        return
    if block.has("namespace"):
        message = "'namespace' and 'namespaces' exclude each other"
        at = block.node.keys["namespaces"]
        reader.add(at, block.child("namespaces"), "no-namespace", message, "keep one of them")
    once(block, "namespaces", "no-namespace", reader)
    if not block.items("namespaces"):
        yield node, block
    for place, namespace in block.items("namespaces"):
        own = block.node.copy()
        own.entries["namespace"] = place
        own.keys["namespace"] = own.keys.pop("namespaces")
        del own.entries["namespaces"]
        one = Block(own, block.path)
        one.values = {**block.values, "namespace": namespace}
        one.meant = block.meant
        yield own, one


class _Slos:
    """Builds the SLOs of a set that has this name, mesh, defaults and owners."""

    def __init__(self, set_name: str, mesh: Mesh, defaults: Defaults, owners: Owners, reader: Reader) -> None:
        self.set_name = set_name
        self.defaults = defaults
        self.owners = owners
        self.reader = reader
        self._slis = Slis(mesh, reader)
        self._policies: dict[int, AlertPolicy | None] = {}
        for place in (defaults.of_set, *defaults.of_files.values()):
            if place is not None and place.has("alerting"):
                self._policy(place)  # says what is wrong with it even if no SLO uses it

    def build(self, block: Block) -> Slo | None:
        """One SLO; None, with the problems noted, if it is unusable."""
        before = len(self.reader.problems)
        counted: Block | None = block.get("sli")
        presets = counted is not None and counted.has("preset") and not any(map(counted.has, OWN))
        sli = self._slis.build(counted, block.get("per") or "") if counted is not None else None
        self._check_place(block, presets)
        objective = self._objective(block, counted.get("preset") if counted is not None and presets else None)
        window, policy = self._window(block), self._policy(block)
        self._check_alerts(block, objective, window, policy)
        if sli is None or objective is None or window is None:
            return None
        if policy is None and self._said(block, "alerting") != "none":
            return None
        if len(self.reader.problems) > before or block.broken("namespace"):
            return None
        self._slis.warn_of_counter(block.get("sli"))
        return SLO.build(
            block,
            self.reader,
            set_name=self.set_name,
            namespace=block.get("namespace") or "",
            objective=objective,
            window=window,
            sli=sli,
            policy=policy,
            owner=self._owner(block),
            runbook=self._said(block, "runbook") or "",
            dashboard=self._said(block, "dashboard") or "",
            labels=self._labels(block),
            position=position(block.node),
        )

    def _check_alerts(
        self, block: Block, objective: Decimal | None, window: Window | None, policy: AlertPolicy | None
    ) -> None:
        """Whatever else is wrong with an SLO, its alerts must be able to fire."""
        if objective is None or window is None or policy is None:
            return
        complaint = can_fire(objective, window.seconds, policy)
        if complaint is not None:
            said = [key for key in ("alerting", "objective", "window") if block.has(key)]
            key = next((key for key in said if block.at(key).patched), next(iter(said), "alerting"))
            self.reader.complain(block.at(key), block.child(key), complaint)

    def _place(self, block: Block, key: str) -> Block | None:
        """What has a key: the SLO itself, or else the defaults."""
        return next((place for place in self.defaults.places(block) if place.has(key)), None)

    def _said(self, block: Block, key: str) -> Any:
        """The SLO's own value or else the default; None if neither says it, or it is unusable."""
        return self.defaults.said(block, key)

    def _owner(self, block: Block) -> str:
        """Its own, else that of the file's defaults, of `owners`, or of the set's defaults."""
        place = self._place(block, "owner")
        if place is None or place is self.defaults.of_set:
            listed = self.owners.of(block.get("namespace") or "", block.get("service") or "")
            if listed:
                return listed
        return place.get("owner") or "" if place is not None else ""

    def _labels(self, block: Block) -> tuple[tuple[str, str], ...]:
        places = reversed(self.defaults.places(block))
        return tuple(
            sorted({key: value for place in places for key, _, value in place.items("labels")}.items())
        )

    def _objective(self, block: Block, preset: str | None) -> Decimal | None:
        place = self._place(block, "objective")
        if place is not None:
            return place.get("objective")  # type: ignore[no-any-return]
        if preset is not None:
            return PRESETS[preset].objective
        sli = block.get("sli")
        if sli is not None and any(map(sli.get, OWN)) and "objective" not in block.meant:
            message = "'objective' is missing"
            hint = "only presets have a default objective"
            self.reader.add(block.node, block.child("objective"), "no-objective", message, hint)
        return None

    def _window(self, block: Block) -> Window | None:
        if self._place(block, "window") is None:
            return DEFAULT_WINDOW
        said = self._said(block, "window")
        return None if said is None else window(said, self.reader)

    def _policy(self, block: Block) -> AlertPolicy | None:
        """The alert policy; None for ``none``, and if it is unusable."""
        place = self._place(block, "alerting")
        if place is None:
            return POLICIES[DEFAULT_POLICY]
        said, node = place.get("alerting"), place.at("alerting")
        if said is None:
            return None
        if id(node) not in self._policies:  # nodes outlive this object: the defaults' policy is read once
            self._policies[id(node)] = alert_policy(said, self.reader)
        return self._policies[id(node)]

    def _check_place(self, block: Block, preset: bool) -> None:
        """Namespace and service must fit together and to the SLI; ``preset``: it is to be one, known or not."""
        if block.has("per") and (preset or block.get("service") not in ("*", None)):
            message = (
                "'per' needs service: \"*\" and an SLI of your own: each value of the label is a service"
            )
            hint = "a preset knows the services; of some of its requests, 'where' makes an SLO"
            self.reader.add(block.node.keys["per"], block.child("per"), "events-wildcard", message, hint)
        named = not preset and not block.has("per")
        if block.get("service") == "*" and named and block.get("sli") is not None:
            own = next((key for key in OWN if block.get("sli").get(key) is not None), None)
            if own is not None:
                message = (
                    f"an SLI of '{own}' needs a named service: its expressions do not say whose they are"
                )
                hint = "name the service, or say with 'per' which label has it"
                self.reader.add(block.at("service"), block.child("service"), "events-wildcard", message, hint)
            return
        known = block.has("namespace") or block.has("namespaces") or "namespace" in block.meant
        if not known and (preset or block.get("service") == "*"):
            message = "'namespace' is missing"
            hint = "an SLO of the mesh is of a service in a namespace"
            self.reader.add(block.node, block.child("namespace"), "no-namespace", message, hint)


def _no_two_alike(whole: Block, reader: Reader) -> None:
    """Namespace, service and name tell SLOs apart, whatever else is wrong with them."""
    first: dict[tuple[str, str, str], tuple[Position, str]] = {}
    for node, block in whole.items("slos"):
        namespace, service, name = (block.get(key) or "" for key in ("namespace", "service", "name"))
        counted = block.get("sli")
        placed = namespace or (
            counted is not None and any(map(counted.has, OWN)) and not block.has("namespace")
        )
        if not (placed and service and name):
            continue
        here = position(node), block.path  # items that an alias repeats stand in one place
        there = first.setdefault((namespace, service, name), here)
        if there != here:
            message = f"{f'{namespace}/{service}' if namespace else service} has two SLOs called '{name}'"
            hint = f"the first is in {there[0].file}:{there[0].line}; rename or remove one"
            reader.add(block.node, block.path, "duplicate-slo", message, hint)


def _override(built: list[Slo]) -> tuple[Slo, ...]:
    """Tell each ``"*"`` SLO which services have one of the same name of their own."""
    named: dict[tuple[str, str], list[str]] = {}
    for slo in built:
        if not slo.wildcard:
            named.setdefault((slo.namespace, slo.name), []).append(slo.service)
    return tuple(
        replace(slo, overridden=tuple(sorted(named.get((slo.namespace, slo.name), ()))))
        if slo.wildcard
        else slo
        for slo in built
    )


def warn_of_nobody(built: Sequence[Slo], whole: Block, reader: Reader) -> None:
    """SLOs that nobody answers for, said once."""
    without = [slo for slo in built if not slo.owner]
    if without:
        nobody_owns(f"'{without[0].name}' of {without[0].service}", without, "slos", whole, reader)
