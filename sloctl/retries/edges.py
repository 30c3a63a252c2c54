"""Amplification, errors, latency and back-off of each edge between services.

Owns the rates and their interval; must not know of traces' shapes nor of what is worth a finding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sloctl.retries.calls import METHODS, CallTable
from sloctl.retries.keys import Array, pairs

_NS = 1e9
_Z95 = 1.959963984540054


def interval(attempts: Array, requests: Array, sampled: float = 0.0) -> tuple[float, float]:
    """The 95 % interval of Σ ``attempts`` / Σ ``requests``, whose pairs are totals of independent clusters (traces).

    The ratio estimator of W. G. Cochran, "Sampling Techniques", 3rd edition (1977), chapter 6: with R̂ = Σy/Σx over n
    clusters, v = (1 − f) / (n x̄²) · Σ(y − R̂x)² / (n − 1), where f (``sampled``) is the share of clusters that was
    drawn: 1 leaves nothing to chance, 0 is a small part of many. Requests of one trace share their fate, so that
    requests are not independent, but traces are. Retries are rare and come in bursts, R̂ ± t√v would miss to one
    side: as in E. B. Wilson's interval (1927) those R are kept for which (R̂ − R)² ≤ t² v(R), where v(R) grows
    with R − 1 as the number of rare events' variance does, v(R̂) = v, and t is Student's for n − 1 degrees of freedom.

    If all traces agree, v is 0 without saying that others would too: then as many traces as the upper Wilson bound
    of 0 in n could have one attempt more, or less. One trace alone gives no interval: NaN.
    """
    result = _intervals(np.zeros(len(attempts), dtype=np.int64), attempts, requests, 1, sampled)
    return float(result[0][0]), float(result[1][0])


def edges(table: CallTable, by_operation: bool = False, sampled: float = 0.0) -> pd.DataFrame:
    """Retries of each edge: a row for each client and server (and operation), sorted by their names.

    ``client``, ``server`` (str; a client of ``""`` is unknown), ``operation`` (str, if asked for); ``requests`` (int64,
    calls of which something was sent), ``unsent`` (int64, calls that never left their proxy, part of nothing
    else), ``attempts`` (int64), ``amplification``
    (attempts / requests, NaN without requests), ``low`` and ``high`` (its 95 % interval, see :func:`interval`;
    ``sampled`` is the share of traces that the tracer keeps, 0 if not known), ``traces`` (int64), ``retried`` (share
    of requests with more than one attempt), ``recovered`` (share of these that ended well, NaN without any),
    ``attempt_errors``, ``call_errors`` (shares that failed), ``p50``, ``p95``, ``retried_p50``, ``retried_p95``
    (seconds, duration of requests with one attempt and with more), ``lost`` (seconds in attempts that were not the
    last, summed), ``gaps`` (int64, how many pauses before an attempt are known), ``gap_p50``, ``gap_min`` (seconds),
    ``overlaps`` (int64, attempts that began before the one before ended, by another clock perhaps: no pause is known),
    ``max_attempts`` (int64), ``method`` (str, most requests' way of counting), ``methods`` (int64, how many ways),
    ``orphans`` (int64, requests whose parent is missing).

    Attempts without a span of their own have failed if another attempt followed. Requests of whom nobody knows that
    they were calls (``root``) are left out. Raises ``ValueError`` unless 0 ≤ ``sampled`` ≤ 1.
    """
    if not 0 <= sampled <= 1:
        raise ValueError("the share of traces that is kept is between 0 and 1")
    calls = table.calls
    edge_call = ~calls["root"].to_numpy()
    names = ["client", "server", *(["operation"] if by_operation else [])]
    number = np.full(len(calls), -1, dtype=np.int64)
    part = calls.loc[edge_call, names]
    grouped = part.groupby(names, observed=True, sort=False)
    number[edge_call] = grouped.ngroup().to_numpy()
    size = grouped.ngroups
    first = np.zeros(size, dtype=np.int64)
    first[number[edge_call][::-1]] = np.flatnonzero(edge_call)[::-1]

    attempts = calls["attempts"].to_numpy()
    sent = edge_call & (attempts > 0)
    again = sent & (attempts > 1)
    failed = calls["failed"].to_numpy()

    def total(where: Array, weight: Array | None = None) -> Array:
        found = np.bincount(number[where], None if weight is None else weight[where], minlength=size)
        return found if weight is None else np.rint(found).astype(np.int64)

    requests, tries = total(sent), total(sent, attempts)
    trace = pairs(calls["trace_high"].to_numpy()[sent], calls["trace_low"].to_numpy()[sent])
    low, high, traces = _clustered(number[sent], trace, attempts[sent], size, sampled)
    methods = np.zeros((len(METHODS), size), dtype=np.int64)
    np.add.at(methods, (calls["method"].cat.codes.to_numpy()[sent], number[sent]), 1)
    pauses = _pauses(table, number, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = pd.DataFrame(
            {
                **{name: calls[name].astype("str").to_numpy()[first] for name in names},
                "requests": requests,
                "unsent": total(edge_call & (attempts == 0)),
                "attempts": tries,
                "amplification": tries / requests,
                "low": low,
                "high": high,
                "traces": traces,
                "retried": total(again) / requests,
                "recovered": total(again & ~failed) / total(again),
                "attempt_errors": _attempt_errors(table, number, sent, size) / tries,
                "call_errors": total(sent & failed) / requests,
                **_durations(calls, number, sent & ~again, size, ""),
                **_durations(calls, number, again, size, "retried_"),
                **pauses,
                "max_attempts": _highest(number[sent], attempts[sent], size),
                "method": np.array(METHODS, dtype=object)[methods.argmax(axis=0)],
                "methods": (methods > 0).sum(axis=0),
                "orphans": total(sent & calls["orphan"].to_numpy()),
            }
        )
    return result.sort_values(names, ignore_index=True)


def _clustered(
    edge: Array, trace: Array, attempts: Array, size: int, sampled: float
) -> tuple[Array, Array, Array]:
    cluster = pairs(edge, trace)
    clusters = int(cluster.max(initial=-1)) + 1
    owner = np.zeros(clusters, dtype=np.int64)
    owner[cluster] = edge
    low, high = _intervals(
        owner,
        np.bincount(cluster, attempts, clusters),
        np.bincount(cluster, minlength=clusters),
        size,
        sampled,
    )
    return low, high, np.bincount(owner, minlength=size)


def _intervals(owner: Array, y: Array, x: Array, size: int, sampled: float) -> tuple[Array, Array]:
    """Of each owner's clusters; see :func:`interval`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n = np.bincount(owner, minlength=size).astype(float)
        ratio = np.bincount(owner, y, size) / np.bincount(owner, x, size)
        mean = np.bincount(owner, x, size) / n
        squares = np.bincount(owner, (y - ratio[owner] * x) ** 2, size)
        squares[squares < 1e-9 * n] = 0
        variance = (1 - sampled) / (n * mean**2) * squares / (n - 1)
        extra = ratio - 1
        half = _student(n - 1) ** 2 * variance / extra / 2
        spread = np.sqrt(2 * half * extra + half**2)
        unseen = (1 - sampled) * _Z95**2 / (n + _Z95**2) / mean
        agree = (squares == 0) | (extra <= 0)
        low = np.where(agree, ratio - unseen, ratio + half - spread)
        high = np.where(agree, ratio + unseen, ratio + half + spread)
        known = (n > 1) | (sampled == 1)
        low = np.where(known, np.maximum(low, np.minimum(ratio, 1)), np.nan)
        high = np.where(known, high, np.nan)
    return low, high


def _student(freedom: Array) -> Array:
    """The 97.5th percentile of Student's t: Abramowitz and Stegun 26.7.5, and a table where that is off."""
    z = _Z95
    series = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return np.select([freedom == 1, freedom == 2, freedom == 3], [12.7062, 4.30265, 3.18245], series)


def _attempt_errors(table: CallTable, number: Array, sent: Array, size: int) -> Array:
    """Attempts that failed: as their spans say, and of those without spans all but the last of a call."""
    calls, tried = table.calls, table.attempts
    attempts, seen = calls["attempts"].to_numpy(), calls["seen"].to_numpy()
    of_call = np.bincount(tried["call"].to_numpy(), tried["failed"].to_numpy(), minlength=len(calls))
    last_unseen = calls["failed"].to_numpy() & (seen == 0)
    bad = np.minimum(of_call + np.maximum(attempts - np.maximum(seen, 1), 0) + last_unseen, attempts)
    return np.bincount(number[sent], bad[sent], minlength=size)


def _durations(calls: pd.DataFrame, number: Array, where: Array, size: int, prefix: str) -> dict[str, Array]:
    duration = calls["duration"].to_numpy()
    where = where & (duration >= 0)
    grouped = pd.Series(duration[where] / _NS).groupby(number[where])
    order = np.arange(size)
    return {
        f"{prefix}p{share}": grouped.quantile(share / 100).reindex(order).to_numpy() for share in (50, 95)
    }


def _pauses(table: CallTable, number: Array, size: int) -> dict[str, Any]:
    tried = table.attempts
    edge = number[tried["call"].to_numpy()]
    last = np.ones(len(tried), dtype=bool)
    last[:-1] = tried["index"].to_numpy()[1:] == 0
    lost = ~last & (edge >= 0)
    gap = tried["gap"].to_numpy() / _NS
    known = (edge >= 0) & (gap >= 0)
    grouped = pd.Series(gap[known]).groupby(edge[known])
    order = np.arange(size)
    return {
        "lost": np.bincount(
            edge[lost], np.maximum(tried["duration"].to_numpy()[lost], 0) / _NS, minlength=size
        ),
        "gaps": np.bincount(edge[known], minlength=size),
        "gap_p50": grouped.median().reindex(order).to_numpy(),
        "gap_min": grouped.min().reindex(order).to_numpy(),
        "overlaps": np.bincount(edge[(edge >= 0) & (gap < 0)], minlength=size),
    }


def _highest(number: Array, values: Array, size: int) -> Array:
    found = np.zeros(size, dtype=np.int64)
    np.maximum.at(found, number, values)
    return found
