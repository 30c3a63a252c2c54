"""Sums of hours and days: added to as buckets come and are excluded, and exact beyond 64 bits.

A day of the largest buckets needs 72 bits. The columns ``total``, ``bad``, ``excluded_total`` and ``excluded_bad``
hold the lowest 61 bits of each sum, and ``carry`` holds what is above, 12 bits for each in this order, the lowest
first. Additions carry in SQL, so that no row needs to be read before it is added to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, schema

BITS = 61
MASK = (1 << BITS) - 1
_CARRY = 12
_PLACES = ("total", "bad", "excluded_total", "excluded_bad")
AMOUNTS = ("total", "bad", "gap", "excluded", "excluded_total", "excluded_bad")
"""The order of the amounts in lists; a peak stands behind them."""
_COLUMNS = ("time", "series", *AMOUNTS, "carry", "peak")
RowKey = tuple[int, int]
"""(time, series)"""


def add(connection: Connection, level: str, amounts: Mapping[RowKey, Sequence[int]]) -> None:
    """Add amounts (:data:`AMOUNTS`, and a peak), which may be negative, to the rows of ``hours`` or ``days``."""
    rows = [(*place, *_packed(values)) for place, values in sorted(amounts.items())]
    greatest = "max" if connection.dialect.name == "sqlite" else "greatest"
    carries = "".join(
        f" + ((({level}.{name} + excluded.{name}) >> {BITS}) << {_CARRY * place})"
        for place, name in enumerate(_PLACES)
    )
    changes = [f"{name} = ({level}.{name} + excluded.{name}) & {MASK}" for name in _PLACES]
    changes += [f"{name} = {level}.{name} + excluded.{name}" for name in ("gap", "excluded")]
    changes.append(f"carry = {level}.carry + excluded.carry{carries}")
    changes.append(f"peak = {greatest}({level}.peak, excluded.peak)")
    bulk.insert(
        connection,
        schema.METADATA.tables[level],
        _COLUMNS,
        rows,
        f"ON CONFLICT (time, series) DO UPDATE SET {', '.join(changes)}",
    )


def add_causes(connection: Connection, amounts: Mapping[tuple[int, int, int], int]) -> None:
    """Add bad micro-events, which may be negative, to ``cause_days`` by (time, series, cause)."""
    rows = [(*place, bad & MASK, bad >> BITS) for place, bad in sorted(amounts.items())]
    bulk.insert(
        connection,
        schema.cause_days,
        ("time", "series", "cause", "bad", "carry"),
        rows,
        "ON CONFLICT (time, series, cause) DO UPDATE SET "
        f"carry = cause_days.carry + excluded.carry + ((cause_days.bad + excluded.bad) >> {BITS}), "
        f"bad = (cause_days.bad + excluded.bad) & {MASK}",
    )


def carried(carry: int) -> tuple[int, int, int, int]:
    """What ``carry`` adds to total, bad, excluded_total and excluded_bad."""
    low = (1 << _CARRY) - 1
    total, bad, excluded_total, excluded_bad = (carry >> _CARRY * place & low for place in range(4))
    return total << BITS, bad << BITS, excluded_total << BITS, excluded_bad << BITS


def up_to(size: int, amounts: Mapping[RowKey, Sequence[int]]) -> dict[RowKey, list[int]]:
    """The sums of finer amounts by the hour or day (``size`` in seconds) that they lie in."""
    found: dict[RowKey, list[int]] = {}
    for (time, series), values in amounts.items():
        place = (-(-time // size) * size, series)
        have = found.get(place)
        if have is None:
            found[place] = list(values)
        else:
            gather(have, values)
    return found


def gather(have: list[int], values: Iterable[int]) -> None:
    """Add amounts and the peak to a list of them."""
    total, bad, gap, excluded, excluded_total, excluded_bad, peak = values
    have[0] += total
    have[1] += bad
    have[2] += gap
    have[3] += excluded
    have[4] += excluded_total
    have[5] += excluded_bad
    if peak > have[6]:
        have[6] = peak


def _packed(values: Sequence[int]) -> tuple[int, ...]:
    total, bad, gap, excluded, excluded_total, excluded_bad, peak = values
    if not (total | bad | excluded_total | excluded_bad) >> BITS:
        return total, bad, gap, excluded, excluded_total, excluded_bad, 0, peak
    carry = 0
    for place, value in enumerate((total, bad, excluded_total, excluded_bad)):
        carry += (value >> BITS) << _CARRY * place
    low = (total & MASK, bad & MASK, gap, excluded, excluded_total & MASK, excluded_bad & MASK)
    return *low, carry, peak
