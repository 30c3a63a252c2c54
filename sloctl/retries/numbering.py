"""Numbers for values and pairs of values, and look-ups by them: arrays in, arrays out.

Owns the tricks that replace loops over spans. Numbers are dense, so that a look-up is an index into a table. -1 is no
number: tables have one more entry than there are numbers, which -1 reads. Nothing here knows what a span is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]


def distinct(values: Array) -> Array:
    """Numbers 0, 1, … for values, equal for equal values, in the order in which they first come; int64."""
    return pd.factorize(values)[0].astype(np.int64)


def pairs(first: Array, second: Array) -> Array:
    """Numbers 0, 1, … for pairs of values, in the order in which they first come; exact, not hashes; int64."""
    if not len(first):
        return np.zeros(0, dtype=np.int64)
    codes = distinct(second)
    return distinct(distinct(first) * (int(codes.max()) + 1) + codes)


def text_codes(series: pd.Series[Any]) -> tuple[Array, list[str]]:
    """A categorical column as numbers, and the text for each; what is missing is ``""``."""
    codes = series.cat.codes.to_numpy().astype(np.int64)
    texts = [str(text) for text in series.cat.categories]
    if "" not in texts:
        texts.append("")
    return np.where(codes < 0, texts.index(""), codes), texts


def first_of(rows: Array, number: Array, size: int) -> Array:
    """A table: for each number below ``size`` the first of ``rows`` that has it, or -1; ``number`` is by row."""
    table = np.full(size + 1, -1, dtype=np.int64)
    rows = rows[number[rows] >= 0]
    table[number[rows[::-1]]] = rows[::-1]
    return table


def marked(numbers: Array, size: int) -> Array:
    """A table: for each number below ``size`` whether it is among ``numbers``; -1 is not."""
    table = np.zeros(size + 1, dtype=bool)
    table[numbers[numbers >= 0]] = True
    return table


def occurrences(wanted: Array, among: Array) -> Array:
    """How often each wanted value occurs."""
    among = np.sort(among)
    return np.searchsorted(among, wanted, "right") - np.searchsorted(among, wanted, "left")
