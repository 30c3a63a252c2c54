"""What to worry about: findings, worst cases, the worst traces, and where traces and metrics disagree.

Owns limits and their reasons; must not know how calls were found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from sloctl.backends.spans import trace_id
from sloctl.retries.calls import CallTable
from sloctl.retries.edges import edges as edge_table
from sloctl.retries.paths import DEEPEST

NO_BACK_OFF_SECONDS = 0.005
"""A median pause below this is no back-off: Envoy's own, 25 ms with full jitter, has a median of 12.5 ms at first."""

NO_BACK_OFF_RETRIES = 20
"""Fewer pauses than these say nothing of a median."""

MELTDOWN = 10.0
"""Attempts per request at the entry from which a failing callee is kept down by its callers' retries."""

SCRAPE_TOLERANCE = 0.05
"""How far a ratio of two rates is off because two counters are not scraped at the same moment."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader should know besides the numbers; of the shape of a report's."""

    severity: Literal["critical", "warning", "info"]
    code: str
    message: str
    scope: dict[str, str] = field(default_factory=dict)


def findings(table: CallTable, edges: pd.DataFrame | None = None) -> list[Finding]:
    """What spans say of retries and of themselves; ``edges`` as :func:`sloctl.retries.edges` gives them."""
    edges = edge_table(table) if edges is None else edges
    of_edges = []
    quick = (edges["gaps"] >= NO_BACK_OFF_RETRIES) & (edges["gap_p50"] < NO_BACK_OFF_SECONDS)
    for client, server, gaps, pause in _rows(edges[quick], "gaps", "gap_p50"):
        text = (
            f"half of {gaps} retries began within {pause * 1000:.1f} ms of the attempt before: "
            "without back-off, retries hit a callee that had no time to recover"
        )
        of_edges.append(Finding("warning", "retry-without-back-off", text, _scope(client, server)))
    for client, server, ways, method in _rows(edges[edges["methods"] > 1], "methods", "method"):
        text = f"attempts were counted in {ways} ways, mostly by {method}: proxies are set up differently"
        of_edges.append(Finding("info", "retry-methods-mixed", text, _scope(client, server)))
    for client, server, unsure, requests, attempts in _rows(
        edges[edges["undecided"] > 0], "undecided", "requests", "attempts"
    ):
        text = (
            f"{unsure} attempts may be retries or requests of their own, and count as neither: with them it were "
            f"{attempts + unsure} attempts at {requests} to {requests + unsure} requests"
        )
        of_edges.append(Finding("warning", "retry-undecided", text, _scope(client, server)))
    for client, server in _rows(edges[edges["method"] == "server-spans"]):
        text = "the client reports no spans of its own: its retries cannot be told from further requests"
        of_edges.append(Finding("info", "retry-attempts-unknown", text, _scope(client, server)))
    return of_edges + _of_data(table)


def _rows(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in ("client", "server", *columns)), strict=True)


def _scope(client: str, server: str) -> dict[str, str]:
    return {"client": client, "server": server}


def _of_data(table: CallTable) -> list[Finding]:
    counts = table.counts
    texts: list[tuple[str, Literal["warning", "info"], str, str]] = [
        (
            "same_ids", "warning", "span-ids-ambiguous",
            "{} router spans carry the id of their connection manager: calls are told apart by that id, and two "
            "services under one id cannot be; switch shared span contexts off",
        ),
        (
            "mixed", "info", "span-ids-shared-and-spawned",
            "{} servers' spans share their id with a router span, so that ids tell attempts, not calls: router spans "
            "were counted instead",
        ),
        (
            "merged", "warning", "span-ids-of-calls-shared",
            "{} router spans hang under an id that several calls share: calls were told apart by the first attempts "
            "among them; switch shared span contexts off",
        ),
        ("orphans", "info", "span-parents-missing", "{} calls come from clients whose spans are missing"),
        ("cycles", "warning", "span-parents-circular", "{} spans are their own ancestors; their parents were ignored"),
        ("skewed", "info", "span-clocks-skewed", "{} spans start before the span that caused them"),
        ("duplicates", "info", "spans-delivered-twice", "{} spans came more than once, and count once"),
        ("async", "info", "spans-of-messages", "{} spans of producers and consumers are no calls, and are left out"),
        ("unsent", "info", "calls-never-sent", "{} calls never left their proxy, and count as no requests"),
    ]  # fmt: skip
    return [
        Finding(severity, code, text.format(counts[name]))
        for name, severity, code, text in texts
        if counts[name]
    ]


def worst_case(
    edges: pd.DataFrame, configured: Mapping[tuple[str, str], int] | None = None, limit: float = MELTDOWN
) -> pd.DataFrame:
    """What retries could become if a callee failed fully: a row for each edge, the worst first.

    ``client``, ``server`` (str), ``tries`` (int64, attempts of one call: as ``configured`` by (client, server), else
    the most that were seen), ``source`` (``configured`` or ``seen``), ``worst`` (float64, attempts on this edge for one
    request at the worst entry: the product of tries along the path there), ``path`` (tuple of services),
    ``meltdown`` (bool, ``worst`` ≥ ``limit``). Fan-out comes on top. A path passes no service twice and is at
    most 64 hops long; among equals the first by name is shown. Raises ``ValueError`` for tries below 1.
    """
    configured = configured or {}
    if any(tries < 1 for tries in configured.values()):
        raise ValueError("a call has at least one attempt")
    tries = _tries(edges, configured)
    worst_path = _worst_paths(tries)
    rows = []
    for (client, server), most in tries.items():
        product, path = worst_path.get(client, (1.0, (client,)))
        rows.append(
            {
                "client": client,
                "server": server,
                "tries": most,
                "source": "configured" if (client, server) in configured else "seen",
                "worst": product * most,
                "path": (*path, server),
                "meltdown": product * most >= limit,
            }
        )
    frame = pd.DataFrame(rows, columns=["client", "server", "tries", "source", "worst", "path", "meltdown"])
    frame = frame.astype({"tries": "int64", "worst": "float64", "meltdown": "bool"})
    return frame.sort_values(["worst", "client", "server"], ascending=[False, True, True], ignore_index=True)


def _tries(edges: pd.DataFrame, configured: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """The tries of one call by (client, server), in the order of names."""
    seen: dict[tuple[str, str], int] = {}
    for client, server, most in zip(edges["client"], edges["server"], edges["max_attempts"], strict=True):
        seen[client, server] = max(int(most), seen.get((client, server), 1))
    return dict(sorted({**seen, **configured}.items()))


def _worst_paths(tries: Mapping[tuple[str, str], int]) -> dict[str, tuple[float, tuple[str, ...]]]:
    """For each service the largest product of tries on a path to it, and that path.

    Paths begin at clients that nobody else calls; where there are none, at every client.
    """
    clients = {client for client, _ in tries}
    called = {server for client, server in tries if client != server}
    worst: dict[str, tuple[float, tuple[str, ...]]]
    worst = {client: (1.0, (client,)) for client, _ in tries if client in (clients - called or clients)}
    for _ in range(DEEPEST):
        further = dict(worst)
        for (client, server), most in tries.items():
            if client in worst and server not in worst[client][1]:
                product, path = worst[client]
                if product * most > further.get(server, (0.0, ()))[0]:
                    further[server] = (product * most, (*path, server))
        if further == worst:
            break
        worst = further
    return worst


def compare(
    traces: pd.DataFrame, metrics: pd.DataFrame, tolerance: float = SCRAPE_TOLERANCE
) -> tuple[pd.DataFrame, list[Finding]]:
    """Hold amplification from traces against that from metrics, edge by edge.

    ``traces`` as :func:`sloctl.retries.edges` gives it; ``metrics`` with ``client``, ``server``, ``requests``,
    ``attempts`` under the same names. The frame has ``client``, ``server``, ``traces``, ``low``, ``high`` (the traces'
    interval, widened by ``tolerance`` of itself), ``metrics`` (float64, NaN where absent) and ``verdict``: ``agree``,
    ``disagree``, ``only traces``, ``only metrics``, or ``unknown`` (no requests, or one trace alone). A finding for
    each of the middle three says both numbers. Edges of an unknown client are left out, as no metric has their name.
    """
    left = traces.loc[traces["client"] != "", ["client", "server", "amplification", "low", "high"]]
    sums = metrics.groupby(["client", "server"], observed=True)[["requests", "attempts"]].sum().reset_index()
    sums["metrics"] = (sums["attempts"] / sums["requests"]).where(sums["requests"] > 0)
    sums = sums.astype({"client": left["client"].dtype, "server": left["server"].dtype})
    both = left.merge(
        sums[["client", "server", "metrics"]], on=["client", "server"], how="outer", indicator="side"
    )
    low, high = both["low"] * (1 - tolerance), both["high"] * (1 + tolerance)
    verdict = np.select(
        [
            both["side"] == "left_only",
            both["side"] == "right_only",
            both["metrics"].isna() | low.isna(),
            both["metrics"].between(low, high),
        ],
        ["only traces", "only metrics", "unknown", "agree"],
        "disagree",
    )
    frame = pd.DataFrame(
        {
            "client": both["client"],
            "server": both["server"],
            "traces": both["amplification"],
            "low": low,
            "high": high,
            "metrics": both["metrics"],
            "verdict": pd.Series(verdict, dtype="str"),
        }
    ).sort_values(["client", "server"], ignore_index=True)
    return frame, _of_comparison(frame)


def _of_comparison(compared: pd.DataFrame) -> list[Finding]:
    of_edges = []
    told = ("traces", "low", "high", "metrics", "verdict")
    for client, server, ours, least, most, theirs, verdict in _rows(compared, *told):
        if verdict == "disagree":
            text = (
                f"traces say {ours:.3f} attempts per request ({least:.3f} to {most:.3f} with sampling and "
                f"scrapes allowed for), metrics say {theirs:.3f}"
            )
            of_edges.append(Finding("warning", "retry-sources-disagree", text, _scope(client, server)))
        elif verdict == "only traces":
            text = f"traces say {ours:.3f} attempts per request, metrics do not have this edge"
            of_edges.append(Finding("info", "retry-edge-without-metrics", text, _scope(client, server)))
        elif verdict == "only metrics":
            text = f"metrics say {theirs:.3f} attempts per request, no trace has this edge"
            of_edges.append(Finding("info", "retry-edge-without-traces", text, _scope(client, server)))
    return of_edges


def worst_traces(table: CallTable, most: int = 5) -> pd.DataFrame:
    """The traces with the most attempts of one edge, then the longest in retries: at most ``most`` for each edge.

    ``client``, ``server``, ``trace`` (str, hexadecimal), ``requests``, ``attempts`` (int64), ``lost`` (seconds in
    attempts but the last), ``duration`` (seconds of the longest call, NaN if unknown), ``codes`` (str, of its
    attempts in order, or of its calls where attempts have no spans). Only traces with retries.
    """
    edge, trace = ["client", "server"], ["trace_high", "trace_low"]
    part = _with_time_lost(table)
    sums = part.groupby([*edge, *trace], observed=True, sort=False).agg(
        requests=("attempts", "size"),
        attempts=("attempts", "sum"),
        lost=("lost", "sum"),
        duration=("duration", "max"),
    )
    sums = sums[sums["attempts"] > sums["requests"]].reset_index().astype(dict.fromkeys(edge, "str"))
    order = [*edge, "attempts", "lost", *trace]
    sums = sums.sort_values(order, ascending=[True, True, False, False, True, True])
    sums = sums.groupby(edge, sort=False).head(most).reset_index(drop=True)
    halves = zip(sums["trace_high"].tolist(), sums["trace_low"].tolist(), strict=True)
    sums["trace"] = pd.Series([trace_id(high, low) for high, low in halves], dtype="str")
    sums["codes"] = pd.Series(_codes(table, sums), dtype="str")
    return sums[[*edge, "trace", "requests", "attempts", "lost", "duration", "codes"]]


def _with_time_lost(table: CallTable) -> pd.DataFrame:
    """Calls that were sent, with what they ``lost`` in attempts but the last, and their ``duration``; in seconds."""
    calls, tried = table.calls, table.attempts
    last = np.append(tried["index"].to_numpy()[1:] == 0, True) if len(tried) else np.zeros(0, dtype=bool)
    spent = np.where(last, 0, np.maximum(tried["duration"].to_numpy(), 0))
    lost = np.bincount(tried["call"].to_numpy(), spent, minlength=len(calls)) / 1e9
    columns = ["client", "server", "trace_high", "trace_low", "attempts", "duration"]
    sent = calls.loc[~calls["root"] & ~calls["undecided"] & (calls["attempts"] > 0), columns]
    duration = sent["duration"].where(sent["duration"] >= 0) / 1e9
    return sent.assign(lost=lost[sent.index], duration=duration)


def _codes(table: CallTable, chosen: pd.DataFrame) -> list[str]:
    """For each edge and trace that is chosen the codes of its attempts, or of its calls where these have no spans."""
    identity = ["client", "server", "trace_high", "trace_low"]
    calls = table.calls[table.calls["trace_low"].isin(chosen["trace_low"])]
    calls = calls.astype({"client": "str", "server": "str"})
    numbered = chosen[identity].assign(row=range(len(chosen)))
    mine = calls.reset_index(names="call").merge(numbered, on=identity)
    seen = mine[mine["seen"] > 0].merge(table.attempts, on="call", suffixes=("_call", ""))
    rows = pd.concat([seen, mine[mine["seen"] == 0].assign(index=0)])
    rows = rows.astype({"code": "str"}).sort_values(["row", "start", "code"])
    codes = rows.groupby("row")["code"].agg(" ".join)
    return [str(codes.get(row, "")) for row in range(len(chosen))]
