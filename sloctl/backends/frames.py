"""The one place that turns Prometheus answers into pandas frames.

Every frame has one text column per label that was asked for (``""`` where a series lacks it), then ``time``
(``datetime64[ns, UTC]``) and ``value`` (``float64``), with the same dtypes when there are no rows. ``NaN``
and ``±Inf`` stay as they are: what they mean is for the caller to decide. This module must not know who
asked, nor over which connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from sloctl.backends.protocols import Series
from sloctl.errors import BadAnswer

TIME = "time"
VALUE = "value"
_NS_PER_MS = 1_000_000


def matrix_frame(result: Sequence[Series], labels: Sequence[str]) -> pd.DataFrame:
    """One row per sample of a range query, series after series: the columns ``labels``, ``time``, ``value``.

    Raises ``BadAnswer`` where the result is not a matrix of numbers, and ``ValueError`` for a label of the name of a
    column of its own.
    """
    if clash := {TIME, VALUE}.intersection(labels):
        raise ValueError(f"a label column cannot be called {' or '.join(sorted(clash))}")
    samples = [_samples(item) for item in result]
    counts = [len(values) for values in samples]
    rows = sum(counts)
    try:
        flat = list(chain.from_iterable(chain.from_iterable(samples)))
        if len(flat) != 2 * rows:
            raise BadAnswer("a sample is not a pair of time and value", backend="prometheus", url="")
        seconds = np.fromiter(flat[0::2], dtype=np.float64, count=rows)
        values = np.fromiter(map(float, flat[1::2]), dtype=np.float64, count=rows)
    except (TypeError, ValueError) as error:
        raise BadAnswer("a sample is not a number", backend="prometheus", url="") from error
    owner = np.repeat(np.arange(len(result)), counts)
    columns: dict[str, Any] = {label: _text(result, label, owner) for label in labels}
    columns[TIME] = _instants(seconds)
    columns[VALUE] = values
    return pd.DataFrame(columns)


def _samples(item: Series) -> Any:
    try:
        return item["values"]
    except (KeyError, TypeError) as error:
        raise BadAnswer("a series without samples", backend="prometheus", url="") from error


def _text(result: Sequence[Series], label: str, owner: np.ndarray[Any, np.dtype[np.intp]]) -> Any:
    # Converted once per series and then taken per row: text columns are what makes large frames slow.
    names = pd.Series([str(item["metric"].get(label, "")) for item in result], dtype="str")
    return names.array.take(owner)


def _instants(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> pd.DatetimeIndex:
    # Prometheus counts milliseconds; rounding to them undoes what the float of seconds cannot hold.
    if not np.isfinite(seconds).all() or (np.abs(seconds) > 9e9).any():
        raise BadAnswer("a sample's time is out of range", backend="prometheus", url="")
    nanoseconds = np.rint(seconds * 1000).astype(np.int64) * _NS_PER_MS
    return pd.DatetimeIndex(nanoseconds.view("datetime64[ns]")).tz_localize("UTC")
