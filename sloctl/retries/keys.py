"""Numbers for pairs of ids, and look-ups by them: arrays in, arrays out.

Owns the tricks that replace loops over spans. Numbers are dense, so that a look-up is an index into a table. A key of
-1 is none: tables have one more entry than keys, which -1 reads. Nothing here knows what a span is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]


def distinct(values: Array) -> Array:
    """Numbers 0, 1, … for values, equal for equal values; int64."""
    return pd.factorize(values)[0].astype(np.int64)


def pairs(first: Array, second: Array) -> Array:
    """Numbers 0, 1, … for pairs of values; exact, not hashes."""
    if not len(first):
        return np.zeros(0, dtype=np.int64)
    codes = distinct(second)
    return distinct(distinct(first) * (int(codes.max()) + 1) + codes)


def text_codes(series: pd.Series[Any]) -> tuple[Array, list[str]]:
    """A categorical column as numbers, and the text for each; what is missing is ``""``."""
    codes = series.cat.codes.to_numpy().astype(np.int64)
    names = [str(name) for name in series.cat.categories]
    if "" not in names:
        names.append("")
    return np.where(codes < 0, names.index(""), codes), names


def first_of(rows: Array, key: Array, keys: int) -> Array:
    """A table: for each key the first of ``rows`` that has it, or -1."""
    table = np.full(keys + 1, -1, dtype=np.int64)
    rows = rows[key[rows] >= 0]
    table[key[rows[::-1]]] = rows[::-1]
    return table


def direct(rows: Array, key: Array, keys: int, wanted: Array) -> tuple[Array, Array]:
    """For each wanted key the first of ``rows`` that has it (0 where there is none), and whether there is one."""
    found = first_of(rows, key, keys)[wanted]
    return np.maximum(found, 0), found >= 0


def member(wanted: Array, among: Array) -> Array:
    """How often each wanted value occurs."""
    among = np.sort(among)
    return np.searchsorted(among, wanted, "right") - np.searchsorted(among, wanted, "left")


class Servers:
    """Servers' spans by key and service; with shared ids there are several, one for each attempt."""

    def __init__(self, rows: Array, key: Array, service: Array, keys: int, services: int, total: int) -> None:
        rows = rows[key[rows] >= 0]
        self._services, self._total = services, max(total, 1)
        self._sorted = np.sort(self._name(key[rows], service[rows]) * self._total + rows)
        self._known = np.zeros(keys + 1, dtype=bool)
        self._known[key[rows]] = True

    def _name(self, key: Array, service: Array) -> Array:
        return key * self._services + service

    def has(self, key: Array, service: Array) -> Array:
        """Whether there is one, for each pair."""
        return self.latest(key, service, np.zeros(len(key), dtype=np.int64)) >= 0

    def several(self, key: Array, service: Array) -> Array:
        """Whether there is more than one, for each pair."""
        name = self._name(key, service) * self._total
        return np.searchsorted(self._sorted, name + self._total) - np.searchsorted(self._sorted, name) > 1

    def latest(self, key: Array, service: Array, row: Array) -> Array:
        """The one that precedes ``row`` most closely, else the first after it, else -1.

        Rows are in the order of time, so that of several attempts this is the one that was running.
        """
        found = np.full(len(key), -1, dtype=np.int64)
        asked = np.flatnonzero(self._known[key])
        if not len(asked):
            return found
        name = self._name(key[asked], service[asked])
        place = np.searchsorted(self._sorted, name * self._total + row[asked])
        for candidate in (place, place - 1):
            inside = np.clip(candidate, 0, len(self._sorted) - 1)
            hit = (self._sorted[inside] // self._total == name) & (inside == candidate)
            found[asked[hit]] = self._sorted[inside[hit]] % self._total
        return found
