"""Frames of spans put together: one of many, without those that came twice.

This module must not know where the frames come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sloctl.backends.spans import COLUMNS, Spans, empty

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
_IDENTITY = ["trace_high", "trace_low", "span", "parent", "kind", "service", "shared", "start"]


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows of frames of spans, numbered anew, with the union of their categories."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return empty()
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    data: dict[str, Any] = {}
    for name, dtype in COLUMNS.items():
        columns = [frame[name] for frame in frames]
        data[name] = _union(columns) if dtype == "category" else pd.concat(columns, ignore_index=True)
    return pd.DataFrame(data)


def merge(parts: Sequence[Spans]) -> Spans:
    """One ``Spans`` of many, pages for example, with their counts added up. Duplicates stay: see ``deduplicate``."""
    rejected: dict[str, int] = {}
    for part in parts:
        for reason, count in part.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    incomplete = dict.fromkeys(sentence for part in parts for sentence in part.incomplete)
    return Spans(
        concat([part.frame for part in parts]),
        rejected,
        sum(part.duplicates for part in parts),
        tuple(incomplete),
    )


def deduplicate(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The frame without spans that were reported more than once, and how many rows that removed.

    Rows are one span if trace, id, parent, kind, service, ``shared`` and start are the same; of these, the longest
    stays, for reporters that send a span twice send the unfinished one first. So a client's and a server's half under
    one id both stay, and so do retries that share an id, because they start at different times. Two attempts of one
    call that begin within the same unit of the clock at the same service, sharing an id, would be taken for one.
    """
    if len(frame) < 2:
        return frame, 0
    mixed = np.zeros(len(frame), np.uint64)
    start = pd.DatetimeIndex(frame["start"]).asi8.view(np.uint64)
    with np.errstate(over="ignore"):
        for values in (frame["trace_low"].to_numpy(), frame["span"].to_numpy(), start):
            mixed = (mixed ^ values) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed)
    same = mixed[order][1:] == mixed[order][:-1]
    if not same.any():
        return frame, 0
    maybe = np.zeros(len(frame), bool)
    maybe[order[1:][same]] = True
    maybe[order[:-1][same]] = True
    longest = frame.loc[maybe].sort_values("duration", ascending=False, kind="stable")
    twice = longest.index[longest.duplicated(_IDENTITY)]
    return frame.drop(index=twice).reset_index(drop=True), len(twice)


def categorical(codes: Array, names: Iterable[str]) -> pd.Categorical[Any]:
    """A column of text: ``names`` are its categories, each once, and ``codes`` are their numbers, a row each."""
    dtype = pd.CategoricalDtype(pd.Index(list(names), dtype="str"))
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def _union(columns: Sequence[pd.Series[Any]]) -> pd.Categorical[Any]:
    known: dict[str, int] = {}
    codes = []
    for column in columns:
        table = [known.setdefault(name, len(known)) for name in column.cat.categories]
        codes.append(np.array(table, np.int32)[column.cat.codes.to_numpy()])
    return categorical(np.concatenate(codes), known)
