"""Where failures begin, as people read it, and as a JSON object (an interface: docs/explain.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.origins.near import Circumstances, Special
from jobs.origins.onset import Onset
from jobs.origins.run import Begins, Origins, clock
from jobs.origins.traffic import REACH, STEP
from jobs.origins.walk import Link, Walk, text
from sloctl.model.durations import duration, rfc3339
from sloctl.report.health import ConfiguredRetries, configured_json
from sloctl.report.numbers import percent, plain

SCHEMA = "sloctl.explain/v1"
SHOWN = 8
"""Names in a list of services."""
_LABELS = {
    "response_code": "code",
    "response_flags": "flags",
    "grpc_response_status": "gRPC status",
    "destination_version": "version",
}


def lines(found: Origins, asked: str = "") -> list[str]:
    """The text, a line each, without control characters; ``asked`` is the service or namespace that was asked for."""
    return [plain(line) for line in _lines(found, asked)]


def _lines(found: Origins, asked: str) -> list[str]:
    if not found.requests and asked:
        said = f"No requests to {asked} were seen in the last {duration(found.seconds)}: is that its name?"
        return [said, *_doubts(found)]
    if not found.requests:
        said = "No requests were seen: is this the Prometheus that scrapes the mesh's proxies?"
        return [said, *_doubts(found)]
    if not found.asked and found.unseen:
        times = ", ".join(f"{clock(start)} to {clock(end)}" for start, end in found.unseen)
        least = f"two scrapes within {duration(REACH)} are needed"
        return [f"Nothing is seen to fail, but {times} is not recorded: {least}.", *_doubts(found)]
    if not found.asked:
        return [f"Nothing fails more than it did, in the last {duration(found.seconds)}.", *_doubts(found)]
    out = [_failing(found, one) for one in found.asked[:SHOWN]]
    if len(found.asked) > SHOWN:
        out.append(f"… and {len(found.asked) - SHOWN} more services")
    if found.common:
        out += [
            "",
            f"Only calls of {text(found.common)} fail, whatever it calls: look at it, its proxy and its node",
        ]
    if found.together:
        names = _names([text(place) for place in found.together])
        out += [
            "",
            f"{len(found.together)} services begin to fail by themselves at about the same time: {names}",
            "Look at what they share: network, nodes, certificates, istiod, a policy, a gateway",
        ]
    for one in found.begins:
        out += ["", *_begins(found, one)]
    if found.spent:
        out += ["", "Error budget spent since then"]
        out += [f"  {name}: {percent(share, 1)}" for name, share in found.spent]
    return out + _doubts(found)


def _failing(found: Origins, one: Walk) -> str:
    return (
        f"{text(one.service)}: {_rate(found, one.onset)}, about {round(one.onset.excess):,} failed requests"
    )


def _rate(found: Origins, onset: Onset) -> str:
    """Which share fails, and since when."""
    share = percent(onset.share, 1)
    ended = onset.end < found.calls.steps - 1
    until = f" to {_clock(found, onset.end)}" if ended else ""
    verb = f"{share} {'failed' if ended else 'fail'}"
    otherwise = "" if onset.before is None else f" ({percent(onset.before, 1)} otherwise)"
    if onset.known:
        since = f"{'from' if ended else 'since'} about {_clock(found, onset.start)}"
        return f"{verb} {since}{until}{otherwise}"
    if onset.dated:
        return f"{verb} from the first request on, at about {_clock(found, onset.start)}{until}{otherwise}"
    if ended:
        return f"{verb} from before {_clock(found, 0)}{until}{otherwise}"
    return f"{share} fail throughout the {duration(found.calls.steps * STEP)} looked at{otherwise}"


def _clock(found: Origins, step: int) -> str:
    return clock(found.calls.instant(step))


def _begins(found: Origins, one: Begins) -> list[str]:
    origin = one.origin
    out = [f"Begins at {text(origin.service)}: {_rate(found, origin.onset)}"]
    if len(found.begins) > 1:
        out[0] += f", about {round(one.failures):,} failed requests"
    if found.common or found.together:  # each by itself matters less then
        return [*out, *(f"  {line}" for line in _how(one.circumstances))]
    out += [_link(found, link) for link in origin.way]
    if origin.only_from:
        out.append(f"  only calls of {text(origin.only_from)} fail, others' are answered")
    out += [f"  {line}" for line in _details(found, one)]
    if one.suffering:
        out.append(f"  suffering from it: {_names([text(place) for place in one.suffering])}")
    return out


def _link(found: Origins, link: Link) -> str:
    return (
        f"  {text(link.caller)} calls {text(link.called)}: {_rate(found, link.onset)}, "
        f"enough for {percent(link.share, 0)} of the failures of {text(link.caller)}"
    )


def _configured(found: Origins, one: Begins) -> list[ConfiguredRetries]:
    """What the mesh's configuration allows of calls of a service, those that multiply most first."""
    mine = [item for item in found.configured if item.destination == text(one.origin.service)]
    return sorted(mine, key=lambda item: (-item.along_path, item.source))


def _details(found: Origins, one: Begins) -> list[str]:
    near, unreached, out = one.circumstances, one.origin.unreached, list[str]()
    if unreached >= 0.05:
        out.append(f"{percent(unreached, 0)} of its own failures are calls that reached nobody")
    out += _how(near)
    out += [_special(item) for item in near.special]
    if near.attempts is not None and near.attempts >= 1.1 * max(near.attempts_before or 1.0, 1.0):
        before = f" (before: {near.attempts_before:.2f})" if near.attempts_before is not None else ""
        out.append(f"retries: {near.attempts:.2f} attempts per request{before}")
    out += [f"retries of {item.text}" for item in _configured(found, one) if item.along_path > 1][:SHOWN]
    out += [f"{clock(change.at)}: {change.what}" for change in near.changes]
    if one.origin.onset.dated and not near.changes:
        out.append("no change is known from that time: no version, no alert of a guardrail, no configuration")
    return out


def _how(near: Circumstances) -> list[str]:
    parts = [f"{_LABELS.get(one.label, one.label)} {one.value} {percent(one.share, 0)}" for one in near.how]
    return [f"how: {'; '.join(parts)}"] if parts else []


def _special(one: Special) -> str:
    return (
        f"only {_LABELS.get(one.label, one.label)} {one.value}: {percent(one.of_failures, 0)} of the failures, "
        f"{percent(one.of_calls, 0)} of the calls"
    )


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _doubts(found: Origins) -> list[str]:
    doubts = list(found.doubts)
    for one in found.asked[:SHOWN]:
        if one.explained < 0.85:
            doubts.append(
                f"{percent(1 - one.explained, 0)} of the failures of {text(one.service)} are not explained"
            )
    return ["", "In doubt", *(f"  {doubt}" for doubt in doubts)] if doubts else []


def as_object(found: Origins) -> dict[str, Any]:
    """The JSON form. Times are RFC 3339, shares 0…1."""
    return {
        "schema": SCHEMA,
        "time": rfc3339(found.at.timestamp()),
        "seconds": found.seconds,
        "requests_seen": found.requests,
        "failing": [
            {"service": _place(one.service), **_onset(found, one.onset), "explained": round(one.explained, 4)}
            for one in found.asked
        ],
        "common_caller": _place(found.common) if found.common else None,
        "together": [_place(place) for place in found.together],
        "origins": [
            {
                "service": _place(one.origin.service),
                **_onset(found, one.origin.onset),
                "failures": round(one.failures),
                "unreached": round(one.origin.unreached, 4),
                "only_from": _place(one.origin.only_from) if one.origin.only_from else None,
                "way": [
                    {
                        "caller": _place(link.caller),
                        "called": _place(link.called),
                        "share": round(link.share, 4),
                        **_onset(found, link.onset),
                    }
                    for link in one.origin.way
                ],
                "how": [
                    {"labels": {how.label: how.value}, "share": round(how.share, 4)}
                    for how in one.circumstances.how
                ],
                "special": [
                    {
                        "label": item.label,
                        "value": item.value,
                        "of_failures": round(item.of_failures, 4),
                        "of_calls": round(item.of_calls, 4),
                    }
                    for item in one.circumstances.special
                ],
                "changes": [
                    {"time": rfc3339(round(change.at)), "what": change.what}
                    for change in one.circumstances.changes
                ],
                "attempts": _number(one.circumstances.attempts),
                "attempts_before": _number(one.circumstances.attempts_before),
                "configured_retries": [configured_json(item) for item in _configured(found, one)],
                "suffering": [_place(place) for place in one.suffering],
            }
            for one in found.begins
        ],
        "budget_spent": [{"slo": name, "share": round(share, 6)} for name, share in found.spent],
        "unseen": [
            {"since": rfc3339(round(since)), "until": rfc3339(round(until))} for since, until in found.unseen
        ],
        "doubts": list(found.doubts),
    }


def _place(place: tuple[str, str]) -> dict[str, str]:
    return {"namespace": place[0], "name": place[1]}


def _onset(found: Origins, onset: Onset) -> dict[str, Any]:
    ended = onset.end < found.calls.steps - 1
    return {
        "since": rfc3339(round(found.calls.instant(onset.start))) if onset.dated else None,
        "until": rfc3339(round(found.calls.instant(onset.end))) if ended else None,
        "share": round(onset.share, 6),
        "share_before": _number(onset.before),
        "excess": round(onset.excess),
    }


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
