"""Alert policies: lines of their own or of a policy that ships with sloctl, and whether their alerts can fire."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import get_args

from sloctl import naming
from sloctl.model import FINE_LIMIT, GRID, AlertPolicy, AlertSeverity, BurnWindow, Slo
from sloctl.model.durations import duration, number
from sloctl.model.policies import POLICIES
from sloctl.spec.fields.containers import Either, Items
from sloctl.spec.fields.quantities import Duration, Exact, Whole, WrittenDuration
from sloctl.spec.fields.reader import Complaint, Reader
from sloctl.spec.fields.scalars import Choice
from sloctl.spec.fields.shapes import Block, Field, Section
from sloctl.spec.sections.common import DAY, YEAR
from sloctl.spec.sections.windows import MONTH

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
            "Events that the long window must hold before an alert may fire.",
        ),
        Field(
            "min_bad_events",
            Whole(0, 1_000_000_000),
            "Bad events that the long window must hold before an alert may fire.",
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
