"""What a line of an export must be beyond its fields, whatever the ledger holds. Raises BadLine."""

from __future__ import annotations

import json
from typing import get_args

from sloctl.ledger import grid
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.protocol import (
    AHEAD,
    LONGEST,
    MICRO,
    MOST_MICRO,
    Annotation,
    AnnotationKind,
    MutedInterval,
)
from sloctl.ledger.transfer.exporting import annotation_text, silence_text
from sloctl.ledger.transfer.lines import BadLine, Line, amount
from sloctl.model.durations import rfc3339

_SIZES = {"bucket": STEP, "cause": STEP, "hour": HOUR, "day": DAY, "cause_day": DAY}


def number(value: int | None) -> int:
    """A number that the line's kind has for certain."""
    assert value is not None
    return value


def check(line: Line, now: float) -> None:
    """Check a line by its kind; ``now`` (Unix seconds) is when nothing later can have been recorded."""
    if line.kind in ("coverage", "exclusion"):
        for column, value in (("start", number(line.start)), ("end", number(line.end))):
            if value % STEP:
                raise BadLine(column, "is not on the grid of five minutes")
        if number(line.start) >= number(line.end):
            raise BadLine("end", "is not after start")
        if line.kind == "coverage" and number(line.end) > now + AHEAD:
            hint = "a clock was ahead where it was exported, or is behind here; nothing was imported"
            raise BadLine("end", f"lies in the future: it is {rfc3339(int(now))}", hint)
    elif line.kind in _SIZES:
        size = _SIZES[line.kind]
        if number(line.end) % size or not line.end:
            raise BadLine("end", f"is not a multiple of {size} s")
        if not line.service and (line.bad or line.total or line.excluded_total):
            raise BadLine("service", "is empty: events are of a service")
        if line.kind.startswith("cause"):
            _check_cause(line)
        else:
            _check_amounts(line, size)


def _check_amounts(line: Line, size: int) -> None:
    good, bad, total = number(line.good), number(line.bad), number(line.total)
    if good + bad != total:
        raise BadLine("total", f"{amount(total)} is not good + bad, which is {amount(good + bad)}")
    most = MOST_MICRO * (size // STEP)
    if total > most:
        raise BadLine("total", f"more than {most // MICRO} events")
    if number(line.gap_seconds) > size:
        raise BadLine("gap_seconds", f"more than {size} s")
    if line.kind == "bucket":
        if number(line.carried_seconds) > (HOUR if total else 0):
            raise BadLine("carried_seconds", f"more than {HOUR} s, or of no events")
        _check_state(line)
        return
    if number(line.excluded) > size or number(line.excluded) % STEP:
        raise BadLine("excluded", f"not a multiple of {STEP} up to {size}")
    if number(line.excluded_bad) > number(line.excluded_total):
        raise BadLine("excluded_bad", "more than excluded_total")
    if number(line.excluded_total) > most:
        raise BadLine("excluded_total", f"more than {most // MICRO} events")
    if number(line.peak) > min(MOST_MICRO, total + number(line.excluded_total)):
        raise BadLine("peak", "more than all events")


def _check_state(line: Line) -> None:
    if line.excluded not in (0, STEP):
        raise BadLine("excluded", f"neither 0 nor {STEP}")
    state = "excluded" if line.excluded else "gap" if line.gap_seconds else "ok"
    if line.state != state:
        raise BadLine("state", f"{line.state[:20]!r}, but the other columns make it {state}")
    if not line.total and not line.gap_seconds:
        raise BadLine("total", "a bucket without events and without a gap has no line")


def _check_cause(line: Line) -> None:
    if not 0 < number(line.bad) <= MOST_MICRO * (288 if line.kind == "cause_day" else 1):
        raise BadLine("bad", "must be over 0, and not more than can be")
    labels = _json(line)
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise BadLine("detail", "no JSON object of labels")
    if json.dumps(labels, ensure_ascii=False, separators=(",", ":"), sort_keys=True) != line.detail:
        raise BadLine("detail", "not as sloctl writes labels: sorted, without blanks")


def silence(line: Line) -> MutedInterval:
    """The silence that a line holds."""
    data = _json(line)
    if not isinstance(data, dict) or sorted(data) != ["comment", "matchers", "ref"]:
        raise BadLine("detail", "no JSON object with comment, matchers and ref")
    ref, comment, matchers = data["ref"], data["comment"], data["matchers"]
    right = isinstance(ref, str) and isinstance(comment, str) and isinstance(matchers, list)
    if not right or not all(
        isinstance(item, list) and len(item) == 3 and all(isinstance(text, str) for text in item)
        for item in matchers
    ):
        raise BadLine("detail", "comment and ref are texts, matchers a list of [label, operator, value]")
    if silence_text(ref, matchers, comment) != line.detail:
        raise BadLine("detail", "not as sloctl writes silences: sorted, without blanks")
    found = tuple((label, operator, value) for label, operator, value in matchers)
    return MutedInterval(ref, number(line.start), number(line.end), found, comment)


def annotation(line: Line) -> Annotation:
    """What somebody said, as a line holds it."""
    data = _json(line)
    if not isinstance(data, dict) or sorted(data) != ["author", "text", "what"]:
        raise BadLine("detail", "no JSON object with author, text and what")
    what, text, author = data["what"], data["text"], data["author"]
    if what not in get_args(AnnotationKind) or not isinstance(text, str) or not isinstance(author, str):
        raise BadLine(
            "detail", f"what is one of {', '.join(get_args(AnnotationKind))}, author and text are texts"
        )
    if max(len(text), len(author)) > LONGEST:
        raise BadLine("detail", f"author and text have at most {LONGEST:,} characters each")
    if annotation_text(what, text, author) != line.detail:
        raise BadLine("detail", "not as sloctl writes annotations: sorted, without blanks")
    return Annotation(number(line.start), number(line.end), what, text, author, line.namespace, line.service)


def kept(line: Line) -> grid.Kept:
    """What a line of kind coverage says is kept."""
    if line.state == "hours":
        hours = line.detail.split()
        numbers = [int(text) for text in hours if text.isdecimal() and text.isascii() and len(text) < 3]
        if " ".join(map(str, numbers)) != line.detail or sorted(set(numbers)) != numbers:
            raise BadLine("detail", "not the hours of the day that have buckets, as in  5 18")
        if any(hour > 23 for hour in numbers) or len(numbers) == 24:
            raise BadLine("detail", "hours are 0 to 23, and not all of them")
        return grid.Kept(sum(1 << hour for hour in numbers), True)
    if line.detail:
        raise BadLine("detail", "must be empty unless state is hours")
    if line.state == "days":
        return grid.Kept(0, False)
    if line.state != "buckets":
        raise BadLine("state", f"{line.state[:20]!r} is none of buckets, hours, days")
    return grid.Kept()


def _json(line: Line) -> object:
    try:
        found: object = json.loads(line.detail)
        line.detail.encode()
        if "\\u0000" in line.detail or json.dumps(found, ensure_ascii=False).encode() is None:
            raise ValueError
    except (ValueError, RecursionError):
        raise BadLine("detail", "no JSON that a ledger can hold") from None
    return found
