"""A backtest as people read it, and as a JSON object (an interface: docs/backtest.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.backtest.judged import WHOLE, Backtest, Detected, Replayed
from jobs.backtest.replay import Firing
from sloctl import naming
from sloctl.model.durations import duration, number, rfc3339
from sloctl.report.numbers import percent, plain

SCHEMA = "sloctl.backtest/v1"
SHOWN = 20
"""Pages that are listed; all are in JSON."""


def lines(found: Backtest) -> list[str]:
    """The text, a line each, without control characters."""
    out = [
        f"{len(found.seen)} SLOs of services from {rfc3339(found.start)} to {rfc3339(found.end)} "
        f"({found.weeks:.1f} weeks), to the {'minute' if found.fine == 60 else 'five minutes'}"
    ]
    if not found.seen:
        out.append(
            "nothing is recorded of any SLO in that time: are the rules loaded, or is it in the ledger?"
        )
    for one in found.policies:
        out += ["", *_policy(found, one)]
    if found.best and len(found.policies) > 1:
        out += ["", f"of these policies, {found.best} tells of most incidents with the fewest pages"]
    if found.suggestions:
        out += ["", "objectives that would have lasted"]
        out += [
            f"  {naming.place(*one.key[1:])} {one.slo.name}: {number(one.objective)} % ({percent(one.worst_of_it, 0)} "
            f"of its budget at worst), where {number(one.slo.objective)} % would have spent {percent(one.worst, 0)}"
            for one in found.suggestions
        ]
    out += [f"doubt: {text}" for text in doubts(found)]
    return [plain(line) for line in out]


def doubts(found: Backtest) -> list[str]:
    """What was not read."""
    out = list(found.doubts)
    young = sorted(
        (share, naming.place(*key[1:]), key[0]) for key, share in found.seen.items() if share < WHOLE
    )
    out += [f"{name}: {percent(share, 0)} of the time is recorded" for share, name, _ in young[:5]]
    if len(young) > 5:
        out.append(
            f"{len(young) - 5} more services of which less than {percent(WHOLE, 0)} of the time is recorded"
        )
    return out


def owners(found: Backtest, one: Replayed) -> dict[str, tuple[int, int]]:
    """Pages and tickets by owner."""
    pages, tickets = (
        Counter(part[0].slo.owner or "nobody" for part in parts) for parts in (one.pages, one.tickets)
    )
    return {name: (pages[name], tickets[name]) for name in sorted({*pages, *tickets})}


def _policy(found: Backtest, one: Replayed) -> list[str]:
    rate = len(one.pages) / found.weeks
    out = [
        f"policy {one.name}: {_some(one.pages, 'page')} ({rate:.1f} a week), {_some(one.tickets, 'ticket')}"
    ]
    if found.incidents:
        told = sum(item.by is not None for item in one.detected)
        out.append(
            f"  {told} of {len(one.detected)} incidents told of ({percent(one.recall, 0)}); "
            f"{one.useful} of {len(one.pages)} pages are of one ({percent(one.precision, 0)})"
        )
        out += [f"    {_incident(item)}" for item in one.detected]
    for name, (pages, tickets) in owners(found, one).items():
        out.append(
            f"  {name}: {pages / found.weeks:.1f} pages and {tickets / found.weeks:.1f} tickets a week"
        )
    for page in one.pages[:SHOWN]:
        first, end = page[0], max(item.end for item in page)
        names = ", ".join(dict.fromkeys(naming.alert_name(item.slo, item.line) for item in page))
        out.append(
            f"  {rfc3339(first.start)} {naming.place(*first.key[1:])} for {duration(end - first.start)}: {names}, at "
            f"{first.burn:.3g} × and {percent(one.spent[id(first)], 1)} of the budget of {first.slo.window.text}"
        )
    if len(one.pages) > SHOWN:
        out.append(f"  … and {len(one.pages) - SHOWN} more pages (--format json has them)")
    return out


def _some(parts: Sequence[object], what: str) -> str:
    return f"{len(parts)} {what}{'' if len(parts) == 1 else 's'}"


def _incident(item: Detected) -> str:
    incident = item.incident
    what = " ".join(
        text
        for text in (
            rfc3339(incident.start),
            naming.place(incident.namespace, incident.service),
            incident.name,
        )
        if text
    )
    if item.by is None:
        return f"{what}: no page"
    return (
        f"{what}: {naming.alert_name(item.by.slo, item.by.line)} after {duration(item.seconds)}, with "
        f"{percent(item.spent, 1)} of the budget spent"
    )


def as_object(found: Backtest) -> dict[str, Any]:
    """The JSON form."""
    return {
        "schema": SCHEMA,
        "from": rfc3339(found.start),
        "to": rfc3339(found.end),
        "step_seconds": found.fine,
        "doubts": doubts(found),
        "recorded": [
            {"slo": found.slos[key[0]].name, "service": key[2], "namespace": key[1], "share": share}
            for key, share in sorted(found.seen.items())
        ],
        "policies": [_replayed(found, one) for one in found.policies],
        "best": found.best or None,
        "suggestions": [
            {
                "slo": one.slo.name,
                "service": one.key[2],
                "namespace": one.key[1],
                "objective": float(one.slo.objective),
                "sli": one.sli,
                "spent_at_worst": one.worst,
                "suggested": float(one.objective),
                "suggested_spent_at_worst": one.worst_of_it,
            }
            for one in found.suggestions
        ],
    }


def _replayed(found: Backtest, one: Replayed) -> dict[str, Any]:
    return {
        "policy": one.name,
        "pages": [_told(one, page) for page in one.pages],
        "tickets": [_told(one, ticket) for ticket in one.tickets],
        "pages_per_week": len(one.pages) / found.weeks,
        "by_owner": [
            {"owner": name, "pages_per_week": pages / found.weeks, "tickets_per_week": tickets / found.weeks}
            for name, (pages, tickets) in owners(found, one).items()
        ],
        "precision": one.precision if found.incidents else None,
        "recall": one.recall,
        "incidents": [
            {
                "start": rfc3339(item.incident.start),
                "end": rfc3339(item.incident.end),
                "namespace": item.incident.namespace,
                "service": item.incident.service,
                "name": item.incident.name,
                "alert": naming.alert_name(item.by.slo, item.by.line) if item.by else None,
                "detected_after_seconds": item.seconds if item.by else None,
                "budget_spent": item.spent if item.by else None,
            }
            for item in one.detected
        ],
    }


def _told(one: Replayed, page: Sequence[Firing]) -> dict[str, Any]:
    first = page[0]
    return {
        "namespace": first.key[1],
        "service": first.key[2],
        "owner": first.slo.owner,
        "start": rfc3339(first.start),
        "end": rfc3339(max(item.end for item in page)),
        "alerts": [
            {
                "alert": naming.alert_name(item.slo, item.line),
                "slo": item.slo.name,
                "start": rfc3339(item.start),
                "end": rfc3339(item.end),
                "burn_rate": item.burn,
                "budget_spent": one.spent[id(item)],
            }
            for item in page
        ],
    }
