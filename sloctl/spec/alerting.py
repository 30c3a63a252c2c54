"""Windows and alert policies of SLOs: from what the file says to the model, and whether alerts can fire."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_DOWN, Decimal

from sloctl import naming
from sloctl.model import FINE_LIMIT, GRID, AlertPolicy, BurnWindow, CalendarWindow, RollingWindow, Slo, Window
from sloctl.spec.quantities import Span
from sloctl.spec.reader import Complaint, Reader
from sloctl.spec.shapes import Block
from sloctl.windows import POLICIES, number

MONTH = 30 * 86400
DEFAULT_WINDOW = RollingWindow(MONTH, "30d")


def window(value: Span | Block) -> Window | None:
    """The window that a file says; None if a part of it was unusable."""
    if isinstance(value, Span):
        return RollingWindow(value.seconds, value.text)
    if value.get("calendar") is None or value.broken("timezone"):
        return None
    return CalendarWindow(value.get("calendar"), value.get("timezone") or "UTC")


def policy(value: str | Block, reader: Reader) -> AlertPolicy | None:
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
            stuck.append(f"{line.severity} on {naming.duration(line.long)} ({product})")
    if too_long:
        names = " and ".join(f"{line.severity} on {naming.duration(line.long)}" for line in too_long)
        return Complaint(
            "alert-window",
            f"alert {names} looks back further than the SLO's window of {naming.duration(period)}",
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
