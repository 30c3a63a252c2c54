"""Amplification, errors, latency and back-off of each edge between services.

Owns the rates and their interval; must not know of traces' shapes nor of what is worth a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sloctl.retries.calls import CallTable
from sloctl.retries.logical import METHODS
from sloctl.retries.numbering import Array, first_of, pairs

_NS = 1e9
_Z95 = 1.959963984540054


def interval(attempts: Array, requests: Array, sampled: float = 0.0) -> tuple[float, float]:
    """The 95 % interval of Σ ``attempts`` / Σ ``requests``, whose pairs are totals of independent clusters (traces).

    The gamma interval of M. P. Fay and E. J. Feuer, "Confidence intervals for directly standardized rates", Statistics
    in Medicine 16 (1997): the excess T = Σ(y − x) is a sum of rare events of different weights, traces with retries.
    Its variance V is that of the ratio estimator (W. G. Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 6),
    (1 − f) n / (n − 1) · Σ(y − R̂x)² with R̂ = Σy/Σx over n clusters, where f (``sampled``) is the share of clusters that
    was drawn: 1 leaves nothing to chance, 0 is a small part of many. The lower end is the quantile of the gamma
    distribution with mean T and variance V, the upper end that with one more trace of weight w, which was not seen:
    T + (1 − f) w and V + (1 − f) w². w is the largest excess of a trace, or that of one as large as a request's is on
    average (Σx² / Σx), retried as much as the worst that was seen, if that is more. Quantiles are Wilson and Hilferty's
    (1931), with Student's t for n − 1 degrees of freedom.

    If all traces agree in more than one attempt, V is 0 without saying that others would too: then as many traces as
    the upper Wilson bound of 0 in n could have one attempt more, or less. One trace alone gives no interval: NaN.
    """
    result = _intervals(np.zeros(len(attempts), dtype=np.int64), attempts, requests, 1, sampled)
    return float(result[0][0]), float(result[1][0])


def edges(table: CallTable, by_operation: bool = False, sampled: float = 0.0) -> pd.DataFrame:
    """Retries of each edge: a row for each client and server (and operation), sorted by their names.

    ``client``, ``server`` (str; a client of ``""`` is unknown), ``operation`` (str, if asked for); ``requests`` (int64,
    calls of which something was sent), ``unsent`` (int64, calls that never left their proxy) and ``undecided``
    (int64, attempts of which nobody can tell whether they are retries or requests of their own), both part of nothing
    else, ``attempts`` (int64), ``amplification`` (attempts / requests, NaN without requests), ``low`` and ``high``
    (its 95 % interval, see :func:`interval`;
    ``sampled`` is the share of traces that the tracer keeps, 0 if not known), ``traces`` (int64), ``retried`` (share
    of requests with more than one attempt), ``recovered`` (share of these that ended well, NaN without any),
    ``attempt_errors``, ``call_errors`` (shares that failed), ``p50``, ``p95``, ``retried_p50``, ``retried_p95``
    (seconds, duration of requests with one attempt and with more), ``lost`` (seconds in attempts that were not the
    last, summed), ``gaps`` (int64, how many pauses before an attempt are known), ``gap_p50``, ``gap_min`` (seconds),
    ``overlaps`` (int64, attempts that began before the one before ended, by another clock perhaps: no pause is known),
    ``max_attempts`` (int64), ``method`` (str, most requests' way of counting), ``methods`` (int64, how many ways),
    ``orphans`` (int64, requests whose parent is missing).

    Durations are those of ``calls`` alone, not of what the source counted; pauses and retries are of no other.

    Attempts without a span of their own have failed if another attempt followed. Requests of whom nobody knows that
    they were calls (``root``) are left out. Raises ``ValueError`` unless 0 ≤ ``sampled`` ≤ 1.
    """
    if not 0 <= sampled <= 1:
        raise ValueError("the share of traces that is kept is between 0 and 1")
    if by_operation and len(table.counted):
        raise ValueError("calls that were counted have no operations")
    calls, numbered, more = table.calls, *_numbered(table, by_operation)
    attempts, failed = calls["attempts"].to_numpy(), calls["failed"].to_numpy()
    called, undecided = numbered.edge >= 0, calls["undecided"].to_numpy()
    sent = called & (attempts > 0) & ~undecided
    once, again = sent & (attempts == 1), sent & (attempts > 1)
    requests, tries = numbered.count(sent) + more.count, numbered.total(sent, attempts) + more.count
    with np.errstate(invalid="ignore", divide="ignore"):
        result = pd.DataFrame(
            {
                **numbered.names,
                "requests": requests,
                "unsent": numbered.count(called & (attempts == 0)),
                "undecided": numbered.total(called & undecided, attempts),
                "attempts": tries,
                "amplification": tries / requests,
                **_by_traces(calls, numbered, sent, more, sampled),
                "retried": numbered.count(again) / requests,
                "recovered": numbered.count(again & ~failed) / numbered.count(again),
                "attempt_errors": (numbered.total(sent, _failed_attempts(table)) + more.attempt_failed)
                / tries,
                "call_errors": (numbered.count(sent & failed) + more.failed) / requests,
                **_durations(calls, numbered, once, ""),
                **_durations(calls, numbered, again, "retried_"),
                **_pauses(table.attempts, numbered),
                "max_attempts": np.maximum(_highest(numbered, sent, attempts), more.count > 0),
                **_methods(calls, numbered, sent, more.methods),
                "orphans": numbered.count(sent & calls["orphan"].to_numpy()) + more.orphans,
            }
        )
    return result.sort_values([*numbered.names], ignore_index=True)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Calls by edge: ``edge`` (int64, by call) is a number below ``size``, -1 for a ``root``, which is on no edge.

    ``names`` has by edge the texts of what tells edges apart: ``client``, ``server``, and ``operation`` if asked for.
    """

    edge: Array
    size: int
    names: dict[str, Array]

    def count(self, calls: Array) -> Array:
        """How many of these calls (bool) each edge has; int64."""
        return np.bincount(self.edge[calls], minlength=self.size)

    def total(self, calls: Array, values: Array) -> Array:
        """The sum of integers over these calls (bool), by edge; int64."""
        return np.rint(np.bincount(self.edge[calls], values[calls], self.size)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _More:
    """What the source counted, by edge (int64): calls of one attempt, how many failed, and how they were counted.

    ``traces`` have such calls, ``squares`` are those of the calls of each, summed; ``methods`` is by method and edge.
    """

    count: Array
    failed: Array
    attempt_failed: Array
    orphans: Array
    methods: Array
    traces: Array
    squares: Array


def _numbered(table: CallTable, by_operation: bool) -> tuple[_Numbered, _More]:
    calls, counted, spread = table.calls, table.counted, table.spread
    rows = np.flatnonzero(~calls["root"].to_numpy())
    names = ["client", "server", *(["operation"] if by_operation else [])]
    every = calls.loc[rows, names]
    if len(counted):
        every = pd.concat([every, counted[names], spread[names]], ignore_index=True)
    grouped = every.groupby(names, observed=True, sort=False)
    number, size = grouped.ngroup().to_numpy(), grouped.ngroups
    edge = np.full(len(calls), -1, dtype=np.int64)
    edge[rows] = number[: len(rows)]
    of_counted = number[len(rows) : len(rows) + len(counted)]
    of_spread = number[len(rows) + len(counted) :]
    first = first_of(np.arange(len(number)), number, size)[:-1]
    texts = {name: every[name].astype("str").to_numpy()[first] for name in names}

    def total(of: Array, values: pd.Series[Any]) -> Array:
        return np.rint(np.bincount(of, values.to_numpy(), size)).astype(np.int64)

    count = counted["count"]
    methods = [total(of_counted, count * (counted["method"] == number)) for number in range(len(METHODS))]
    more = _More(
        count=total(of_counted, count),
        failed=total(of_counted, count * counted["failed"]),
        attempt_failed=total(of_counted, count * counted["attempt_failed"]),
        orphans=total(of_counted, count * counted["orphan"]),
        methods=np.array(methods),
        traces=total(of_spread, spread["traces"]),
        squares=total(of_spread, spread["squares"]),
    )
    return _Numbered(edge, size, texts), more


def _by_traces(
    calls: pd.DataFrame, numbered: _Numbered, sent: Array, more: _More, sampled: float
) -> dict[str, Array]:
    """The interval of amplification, and the traces with requests, by edge."""
    edge, attempts = numbered.edge[sent], calls["attempts"].to_numpy()[sent]
    trace = pairs(calls["trace_high"].to_numpy()[sent], calls["trace_low"].to_numpy()[sent])
    cluster = pairs(edge, trace)
    clusters = int(cluster.max(initial=-1)) + 1
    owner = np.zeros(clusters, dtype=np.int64)
    owner[cluster] = edge
    tries, requests = np.bincount(cluster, attempts, clusters), np.bincount(cluster, minlength=clusters)
    alike = (more.traces, more.count, more.squares)
    low, high = _intervals(owner, tries, requests, numbered.size, sampled, alike)
    return {"low": low, "high": high, "traces": np.bincount(owner, minlength=numbered.size) + more.traces}


def _intervals(
    owner: Array, y: Array, x: Array, size: int, sampled: float, alike: tuple[Array | int, ...] = (0, 0, 0)
) -> tuple[Array, Array]:
    """Of each owner's clusters; see :func:`interval`.

    ``alike`` has by owner further clusters in which ``y`` is ``x``: how many, and the sums of ``x`` and its squares.
    """
    clusters, amount, squared = alike
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        n = np.bincount(owner, minlength=size).astype(float) + clusters
        requests = np.bincount(owner, x, size) + amount
        ratio = (np.bincount(owner, y, size) + amount) / requests
        squares = np.bincount(owner, (y - ratio[owner] * x) ** 2, size) + (1 - ratio) ** 2 * squared
        squares[squares < 1e-9 * n] = 0
        excess, variance = np.bincount(owner, y - x, size), (1 - sampled) * squares * n / (n - 1)
        worst, largest = np.ones(size), np.zeros(size)
        np.maximum.at(worst, owner, (y - x) / x)
        np.maximum.at(largest, owner, y - x)
        unseen = np.maximum(largest, worst * (np.bincount(owner, x * x, size) + squared) / requests)
        t = np.where(excess > 0, _student(n - 1), _Z95)
        more, spread = excess + (1 - sampled) * unseen, variance + (1 - sampled) * unseen**2
        low = 1 + _gamma_quantile(-t, excess, variance) / requests
        high = 1 + _gamma_quantile(t, more, spread) / requests
        agree = (squares == 0) & (excess != 0)
        other = (1 - sampled) * _Z95**2 / (n + _Z95**2) * n / requests
        low = np.where(agree, ratio - other, np.where(excess > 0, low, ratio))
        high = np.where(agree, ratio + other, high)
        known = (n > 1) | (sampled == 1)
        exact = sampled == 1
        low = np.where(known, np.where(exact, ratio, np.maximum(low, np.minimum(ratio, 1))), np.nan)
        high = np.where(known, np.where(exact, ratio, high), np.nan)
    return low, high


def _gamma_quantile(z: Array, mean: Array, variance: Array) -> Array:
    """The quantile of the gamma distribution that is the normal distribution's ``z``: Wilson and Hilferty (1931)."""
    part = variance / mean**2 / 9
    return np.asarray(mean * np.maximum(1 - part + z * np.sqrt(part), 0) ** 3)


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


def _failed_attempts(table: CallTable) -> Array:
    """Of each call the attempts that failed: as their spans say, and of those without spans all but the last."""
    calls, tried = table.calls, table.attempts
    attempts, seen = calls["attempts"].to_numpy(), calls["seen"].to_numpy()
    of_call = np.bincount(tried["call"].to_numpy(), tried["failed"].to_numpy(), minlength=len(calls))
    last_unseen = calls["failed"].to_numpy() & (seen == 0)
    unseen = np.maximum(attempts - np.maximum(seen, 1), 0)
    return np.asarray(np.minimum(of_call + unseen + last_unseen, attempts))


def _durations(calls: pd.DataFrame, numbered: _Numbered, part: Array, prefix: str) -> dict[str, Array]:
    """Median and 95th percentile by edge, of calls of a part (bool) whose durations are known."""
    duration = calls["duration"].to_numpy()
    known = part & (duration >= 0)
    grouped = pd.Series(duration[known] / _NS).groupby(numbered.edge[known])
    every = np.arange(numbered.size)
    return {
        f"{prefix}p{share}": grouped.quantile(share / 100).reindex(every).to_numpy() for share in (50, 95)
    }


def _pauses(tried: pd.DataFrame, numbered: _Numbered) -> dict[str, Array]:
    """Time lost in attempts that were not the last, and pauses before attempts, by edge."""
    edge = numbered.edge[tried["call"].to_numpy()]
    last = np.ones(len(tried), dtype=bool)
    last[:-1] = tried["index"].to_numpy()[1:] == 0
    lost = ~last & (edge >= 0)
    spent = np.maximum(tried["duration"].to_numpy()[lost], 0) / _NS
    gap = tried["gap"].to_numpy() / _NS
    known = (edge >= 0) & (gap >= 0)
    grouped = pd.Series(gap[known]).groupby(edge[known])
    every = np.arange(numbered.size)
    return {
        "lost": np.bincount(edge[lost], spent, minlength=numbered.size),
        "gaps": np.bincount(edge[known], minlength=numbered.size),
        "gap_p50": grouped.median().reindex(every).to_numpy(),
        "gap_min": grouped.min().reindex(every).to_numpy(),
        "overlaps": np.bincount(edge[(edge >= 0) & (gap < 0)], minlength=numbered.size),
    }


def _highest(numbered: _Numbered, part: Array, values: Array) -> Array:
    highest = np.zeros(numbered.size, dtype=np.int64)
    np.maximum.at(highest, numbered.edge[part], values[part])
    return highest


def _methods(calls: pd.DataFrame, numbered: _Numbered, sent: Array, more: Array) -> dict[str, Array]:
    """How most requests of each edge were counted, and in how many ways; ``more`` are those by method and edge."""
    requests = more.copy()
    np.add.at(requests, (calls["method"].cat.codes.to_numpy()[sent], numbered.edge[sent]), 1)
    method = np.array(METHODS, dtype=object)[requests.argmax(axis=0)]
    return {"method": method, "methods": (requests > 0).sum(axis=0)}
