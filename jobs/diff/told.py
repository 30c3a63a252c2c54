"""A comparison as people read it on a terminal, and as a JSON object (an interface: docs/diff.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backtest import told
from jobs.backtest.judged import WHOLE, Detected
from jobs.diff.compared import Action, AlertChange, Change, Comparison
from jobs.diff.replayed import Budget, Page, Replay, Side
from jobs.preflight.cost import Cost, Size
from sloctl import naming
from sloctl.model.durations import duration, number, rfc3339
from sloctl.report.numbers import percent, plain, spent_share

SCHEMA = "sloctl.diff/v1"
SHOWN = 20
"""Objects, pages and budgets that are listed; all are in JSON."""
WORDS: dict[Action, str] = {"added": "comes", "removed": "goes", "changed": "changes"}
KINDS = {
    "set": "set",
    "slo": "SLO",
    "guardrail": "guardrail",
    "exclusion": "exclusion",
    "setting": "setting",
    "object": "object",
}
MORE = "--format json has them"
UNKNOWN = "not known"
NOBODY = "nobody"


@dataclass(frozen=True)
class Found:
    """All that is known of a change. ``costs`` and ``replay`` are None where no history was asked for or read."""

    comparison: Comparison
    sizes: tuple[Size, Size]
    costs: tuple[Cost, Cost] | None = None
    replay: Replay | None = None
    doubts: tuple[str, ...] = ()

    @property
    def every_doubt(self) -> tuple[str, ...]:
        """What is not known, of everything together."""
        more = self.replay.doubts if self.replay else ()
        return tuple(dict.fromkeys((*self.doubts, *self.comparison.doubts, *more)))


def lines(found: Found) -> list[str]:
    """The text, a line each, without control characters."""
    out = [headline(found.comparison)]
    out += [f"doubt: {text}" for text in found.every_doubt]
    for change in found.comparison.changes:
        if change.kind != "object":
            out += ["", name_of(change), *(f"  {line}" for line in details(change))]
    objects = found.comparison.of("object")
    if objects:
        out += ["", "objects", *(f"  {change.what} {WORDS[change.action]}" for change in objects[:SHOWN])]
        out += [f"  … and {len(objects) - SHOWN} more ({MORE})"] if len(objects) > SHOWN else []
    if found.comparison.changes:
        out += ["", unchanged(found.comparison), "", *cost(found)]
    if found.replay is not None:
        out += ["", *_history(found.replay)]
    return [plain(line) for line in out]


def headline(found: Comparison) -> str:
    """What changes, counted."""
    if not found.changes:
        return f"{found.new.name}: nothing changes ({_counts(found)})"
    parts = []
    for kind, word in KINDS.items():
        of_kind = found.of(kind)  # type: ignore[arg-type]
        counted = [
            f"{len(same)} {_verb(action, len(same))}"
            for action in WORDS
            if (same := [one for one in of_kind if one.action == action])
        ]
        if counted:
            parts.append(f"{word}{'' if len(of_kind) == 1 else 's'}: {', '.join(counted)}")
        if kind == "guardrail" and (alerts := [alert for one in found.changes for alert in one.alerts]):
            each = [
                f"{count} {_verb(action, count)}"
                for action in WORDS
                if (count := sum(alert.action == action for alert in alerts))
            ]
            parts.append(f"alert{'' if len(alerts) == 1 else 's'}: {', '.join(each)}")
    return f"{found.new.name}: {'; '.join(parts)}"


def _verb(action: Action, count: int) -> str:
    return (
        WORDS[action] if count == 1 else {"comes": "come", "goes": "go", "changes": "change"}[WORDS[action]]
    )


def unchanged(found: Comparison) -> str:
    """What does not change, counted."""
    return f"unchanged: {_counts(found)}"


def _counts(found: Comparison) -> str:
    return ", ".join(
        f"{count} {what if count != 1 else what.removesuffix('s')}" for what, count in found.same.items()
    )


def name_of(change: Change) -> str:
    """What it is about: ``SLO shop/checkout availability changes (owner team-pay)``."""
    owner = f" (owner {change.owner})" if change.owner and change.kind in ("slo", "guardrail") else ""
    return f"{KINDS[change.kind]} {change.what} {WORDS[change.action]}{owner}"


def details(change: Change) -> Iterator[str]:
    """What of it changes, a line each."""
    for item in change.details:
        if change.action == "added":
            yield f"{item.name}: {item.after}"
        else:
            yield f"{item.name}: {item.before or '(none)'} → {item.after or '(none)'}"
    for alert in change.alerts:
        yield f"alert {alert.alert} {WORDS[alert.action]}: {_alert(alert)}"
    if change.note:
        yield change.note


def _alert(alert: AlertChange) -> str:
    return " → ".join(text for text in (alert.before, alert.after) if text)


def cost(found: Found) -> list[str]:
    """What the rules cost before and after."""
    before, after = found.sizes
    out = [
        f"rules: {_both(before.rules, after.rules)}, {_both(before.alerts, after.alerts)} of them alerts, in "
        f"{_both(before.groups, after.groups)} groups",
        f"recorded series of one service: {_both(_range(before.series), _range(after.series))}, and those of its "
        "events by outcome and cause",
    ]
    if found.costs is not None:
        one, other = found.costs
        samples = [f"{sum(group.samples for group in each.groups):,.0f}" for each in found.costs]
        rates = [f"{each.samples_per_second:,.1f}" for each in found.costs]
        out.append(
            f"on this server: {_both(*samples)} samples read when every group is evaluated once, "
            f"{_both(*rates)} a second; {_both(one.series, other.series)} series recorded"
        )
    else:
        out.append("samples that the rules read: not known without a server (--prometheus)")
    return out


def _both(before: object, after: object) -> str:
    return f"{before}" if before == after else f"{before} → {after}"


def _range(series: tuple[int, int]) -> str:
    return f"{series[0]}" if series[0] == series[1] else f"{series[0]} to {series[1]}"


def span(replay: Replay) -> str:
    """The time that was replayed."""
    weeks = (replay.end - replay.start) / (7 * 86400)
    return f"{rfc3339(replay.start)} to {rfc3339(replay.end)} ({weeks:.1f} weeks)"


def rates(replay: Replay) -> list[tuple[str, str, str]]:
    """Pages a week, by owner, before and after, all of them first."""
    names = sorted({slo.owner for side in _sides(replay) for slo in side.backtest.slos.values()})
    rows = [("all", _rate(replay.before, None), _rate(replay.after, None))]
    return rows + [(name or NOBODY, _rate(replay.before, name), _rate(replay.after, name)) for name in names]


def _sides(replay: Replay) -> list[Side]:
    return [side for side in (replay.before, replay.after) if side is not None]


def known(side: Side | None, owner: str | None) -> tuple[float | None, bool]:
    """Pages a week of an owner (None: of all), None if no SLO of it has a record; and whether all of it is known."""
    if side is None:
        return 0.0, True
    slos = {id_: slo for id_, slo in side.backtest.slos.items() if owner in (None, slo.owner)}
    if not slos:
        return 0.0, True
    shares = {key: share for key, share in side.backtest.seen.items() if key[0] in slos}
    if not shares:
        return None, False
    pages = sum(owner in (None, page.owner) for page in side.pages)
    whole = {key[0] for key in shares} == slos.keys() and min(shares.values()) >= WHOLE
    whole = whole and not side.partial
    return pages / side.backtest.weeks, whole


def _rate(side: Side | None, owner: str | None) -> str:
    value, whole = known(side, owner)
    return UNKNOWN if value is None else f"{value:.1f}{'' if whole else ' (incomplete)'}"


def budgets(replay: Replay) -> list[tuple[str, Budget | None, Budget | None]]:
    """Budgets that are not the same before and after, the most spent first: of which, and both."""
    sides = [
        {(key[1], key[2], one.slo.name): one for key, one in side.budgets.items()} if side else {}
        for side in (replay.before, replay.after)
    ]
    rows = []
    for key in sides[0].keys() | sides[1].keys():
        one, other = (side.get(key) for side in sides)
        if one is None or other is None or (one.spent, one.recorded) != (other.spent, other.recorded):
            rows.append((f"{naming.place(key[0], key[1])} {key[2]}", one, other))
    return sorted(
        rows, key=lambda row: (-max((one.spent or 0.0) for one in row[1:] if one is not None), row[0])
    )


def budget(found: Budget | None) -> str:
    """What is spent of a budget, and whether all of its window is recorded."""
    if found is None:
        return UNKNOWN
    if found.spent is None:
        return "no events"
    text = f"{spent_share(found.spent)} of {number(found.slo.objective)} % over {found.slo.window.text}"
    part = (
        f" (of the {percent(min(found.recorded, 1.0), 0)} of it that were read)"
        if found.recorded < WHOLE
        else ""
    )
    return text + part


def pages(replay: Replay) -> list[tuple[str, Page]]:
    """Pages that only one side has, and which of them that is."""
    parts = (("lost", replay.lost), ("gained", replay.gained), ("not known whether kept", replay.undecided))
    return [(what, page) for what, part in parts for page in part]


def page(found: Page) -> str:
    """A page on one line."""
    return (
        f"{rfc3339(found.start)} {found.where} for {duration(found.end - found.start)}: "
        f"{', '.join(found.alerts)} ({found.owner or NOBODY})"
    )


def incidents(replay: Replay) -> list[tuple[Detected | None, Detected | None]]:
    """Known incidents as either side told of them."""
    before, after = (side.replayed.detected if side else () for side in (replay.before, replay.after))
    size = max(len(before), len(after))
    padded = [[*part, *[None] * (size - len(part))] for part in (before, after)]
    return list(zip(*padded, strict=True))


def incident(before: Detected | None, after: Detected | None) -> str:
    """A known incident on one line."""
    one = before or after
    assert one is not None
    where = naming.place(one.incident.namespace, one.incident.service) or "any service"
    told_ = [
        "no page" if item is None or item.by is None else f"after {duration(item.seconds)}"
        for item in (before, after)
    ]
    name = f" {one.incident.name}" if one.incident.name else ""
    return f"{rfc3339(one.incident.start)} {where}{name}: {_both(*told_)}"


def pages_line(replay: Replay) -> str:
    """Which pages come and go, counted; never 'none' of what is not known."""
    counts = [f"{len(replay.lost)} lost", f"{len(replay.gained)} gained"]
    counts += [f"{len(replay.undecided)} not known whether kept"] if replay.undecided else []
    if any(not side.backtest.seen for side in _sides(replay)):
        counts = [UNKNOWN]
    return ", ".join(counts)


def _history(replay: Replay) -> Iterator[str]:
    yield f"on what is recorded from {span(replay)}"
    yield "  pages a week"
    for name, before, after in rates(replay):
        yield f"    {name}: {_both(before, after)}"
    yield f"  pages: {pages_line(replay)}"
    rows = pages(replay)
    yield from (f"    {what}: {page(one)}" for what, one in rows[:SHOWN])
    if len(rows) > SHOWN:
        yield f"    … and {len(rows) - SHOWN} more ({MORE})"
    if known_ := incidents(replay):
        yield "  known incidents"
        yield from (f"    {incident(*one)}" for one in known_)
    changed = budgets(replay)
    yield f"  budgets that change, of what is spent: {len(changed) or _no_budgets(replay)}"
    yield from (
        f"    {name}: {_both(budget(before), budget(after))}" for name, before, after in changed[:SHOWN]
    )
    if len(changed) > SHOWN:
        yield f"    … and {len(changed) - SHOWN} more ({MORE})"


def _no_budgets(replay: Replay) -> str:
    sides = _sides(replay)
    if any(not side.backtest.seen for side in sides):
        return UNKNOWN
    return "none" if all(known(side, None)[1] for side in sides) else "none that is known"


def as_object(found: Found) -> dict[str, Any]:
    """The JSON form."""
    comparison = found.comparison
    return {
        "schema": SCHEMA,
        "old": comparison.old.name,
        "new": comparison.new.name,
        "changes": [_change(change) for change in comparison.changes],
        "unchanged": dict(comparison.same),
        "rules": {side: _size(size) for side, size in zip(("before", "after"), found.sizes, strict=True)},
        "cost": None
        if found.costs is None
        else {side: _cost(one) for side, one in zip(("before", "after"), found.costs, strict=True)},
        "history": None if found.replay is None else _replayed(found.replay),
        "doubts": list(found.every_doubt),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "action": change.action,
        "what": change.what,
        "owner": change.owner,
        "identity": change.identity,
        "note": change.note,
        "fields": [
            {"field": item.name, "before": item.before or None, "after": item.after or None}
            for item in change.details
        ],
        "alerts": [
            {
                "alert": item.alert,
                "action": item.action,
                "before": item.before or None,
                "after": item.after or None,
            }
            for item in change.alerts
        ],
    }


def _size(size: Size) -> dict[str, Any]:
    return {
        "rules": size.rules,
        "alerts": size.alerts,
        "groups": size.groups,
        "series_per_service": {"least": size.series[0], "most": size.series[1]},
    }


def _cost(cost_: Cost) -> dict[str, Any]:
    return {
        "samples": round(sum(group.samples for group in cost_.groups)),
        "samples_per_second": round(cost_.samples_per_second, 3),
        "series": cost_.series,
    }


def _replayed(replay: Replay) -> dict[str, Any]:
    owners = [None, *sorted({slo.owner for side in _sides(replay) for slo in side.backtest.slos.values()})]
    rows = []
    for owner in owners:
        before, after = known(replay.before, owner), known(replay.after, owner)
        rows.append(
            {
                "owner": owner,
                "before": before[0],
                "after": after[0],
                "complete": before[1] and after[1],
            }
        )
    return {
        "from": rfc3339(replay.start),
        "to": rfc3339(replay.end),
        "before": None if replay.before is None else told.as_object(replay.before.backtest),
        "after": None if replay.after is None else told.as_object(replay.after.backtest),
        "pages_per_week": rows,
        "pages_lost": _pages(replay.lost),
        "pages_gained": _pages(replay.gained),
        "pages_undecided": _pages(replay.undecided),
        "budgets": [
            {"slo": name, "before": _budget(before), "after": _budget(after)}
            for name, before, after in budgets(replay)
        ],
    }


def _pages(found: Sequence[Page]) -> list[dict[str, Any]]:
    return [
        {
            "namespace": one.namespace,
            "service": one.service,
            "owner": one.owner,
            "start": rfc3339(one.start),
            "end": rfc3339(one.end),
            "alerts": list(one.alerts),
        }
        for one in found
    ]


def _budget(found: Budget | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "objective": float(found.slo.objective),
        "window": found.slo.window.text,
        "spent": found.spent,
        "recorded": min(found.recorded, 1.0),
    }
