"""Spans as columns: what trace sources give and analyses read, whatever backend or format they come from.

A frame of spans has one row for each span that was reported, in no order, with the columns of :data:`COLUMNS`. This
module must not know where spans come from, nor what is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

KINDS = ("", "client", "server", "producer", "consumer", "internal")
"""Categories of the column ``kind``; ``""`` where the tracer says none."""

COLUMNS: Mapping[str, str] = {
    # Identity: the two halves of a trace's id (the high one is 0 for ids of 64 bits), and ids that are 0 for none.
    "trace_high": "uint64",
    "trace_low": "uint64",
    "span": "uint64",
    "parent": "uint64",
    # Who reported it, and what it is called.
    "kind": "category",
    "service": "category",
    "operation": "category",
    # The other end as the reporter calls it: remote service, peer, Envoy's upstream cluster, host or database.
    "remote": "category",
    "namespace": "category",  # Istio's of the reporter; "" is not told
    "proxy": "bool",  # Envoy's own span
    "messaging": "bool",  # a message is sent, received or processed, whatever the kind
    # What became of it.
    # HTTP's status in digits, "0" for no response; gRPC's by its name ("OK", "UNAVAILABLE"); "" is not told.
    "code": "category",
    "flags": "category",  # Envoy's response flags; "" is not told
    "error": "bool",
    "overflow": "bool",  # Envoy never sent it: response_code_details names an overflow
    # What tells attempts apart.
    "shared": "bool",  # Zipkin: the server's half of a client's span, under the client's id
    "router": "bool",  # one attempt: spawned by Envoy's router (spawn_upstream_span), or gRPC's "Attempt."
    "retry": "int16",  # how many tries came before (Envoy's retry.count, resends of HTTP clients, gRPC's), or -1
    "attempts": "int16",  # x-envoy-attempt-count, where a tag has it: how many were sent, which one arrived; or -1
    # When.
    "start": "datetime64[ns, UTC]",
    "duration": "int64",  # nanoseconds, or -1
}
"""Name and dtype of every column. Text columns are categories of ``str``; nothing is ever missing."""

ATTEMPT_TAGS = (
    "x-envoy-attempt-count",
    "envoy.attempt_count",
    "attempt_count",
    "http.request.header.x-envoy-attempt-count",
    "http.request.header.x_envoy_attempt_count",
)
"""Tags in which mesh owners and OpenTelemetry's instrumentation put the request header ``x-envoy-attempt-count``."""


def attempt_tags(tag: str) -> tuple[str, ...]:
    """Tags to look for attempt counts in, most trusted first: the mesh's own ``tag``, if any, then well-known ones."""
    return tuple(dict.fromkeys((tag, *ATTEMPT_TAGS))) if tag else ATTEMPT_TAGS


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans, and what is known of those that are not among them.

    ``rejected`` counts spans that could not be read, by reason; ``duplicates`` counts spans that came more than once
    and are here once. ``incomplete`` says in a sentence each what is missing: a window cut by a limit, a page lost.
    Of ``one_in`` traces that were there one is here, chosen by a hash of its id. ``counted`` has the calls of more of
    them, where the source counts itself.
    """

    frame: pd.DataFrame
    rejected: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    incomplete: tuple[str, ...] = ()
    one_in: int = 1
    counted: Counted | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls that a source counted, of traces in which each call has one attempt; and the spans of all other traces.

    ``client`` and ``server`` are frames of what spans say (columns of :data:`COLUMNS` without ids and times), a row for
    each kind of call; nothing is said where the client is unknown or nobody answered. By row: ``count`` (int64),
    ``key`` (uint64: calls of one key are of one edge), ``name`` (uint64: what who did not answer is called; 0 if
    somebody did).
    ``spread`` has by ``key`` the ``traces`` with such calls and the ``squares`` of how many each has, summed.
    ``services`` are the numbers of services by name, ``answering`` those that report servers' spans. ``totals`` counts
    ``traces``, ``spans``, ``skewed`` and ``missing_parents`` of what was counted. All of that is of one of ``one_in``
    traces. ``meaning`` counts anew, with services by the names that mean them, so that calls of one edge have one key.
    """

    client: pd.DataFrame
    server: pd.DataFrame
    count: Array
    key: Array
    name: Array
    spread: pd.DataFrame
    others: pd.DataFrame
    services: Mapping[str, int]
    answering: frozenset[str]
    totals: Mapping[str, int]
    one_in: int
    meaning: Callable[[Mapping[int, int]], Counted]


FEWEST = 1 << 63
"""A sample has one of so many traces at least."""


def mixed(low: Array) -> Array:
    """A hash of traces, by the low halves of their ids (``uint64`` both): a step of SplitMix64.

    A trace whose id some reporters cut to these 64 bits has one hash. Ids may be sequential, and tracers sample by the
    bits as they are: the hash is independent of both.
    """
    with np.errstate(over="ignore"):
        found = low.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


def of_sample(low: Array, one_in: int) -> Array:
    """Which traces, by the low halves of their ids, are of a sample of one in so many (a power of 2)."""
    return mixed(low) < np.uint64((1 << 64) // one_in) if one_in > 1 else np.ones(len(low), bool)


def halved(spans: Spans) -> Spans:
    """Every other trace of a sample."""
    keep = of_sample(spans.frame["trace_low"].to_numpy(), 2 * spans.one_in)
    return replace(spans, frame=without_others(spans.frame, keep), one_in=2 * spans.one_in)


def without_others(frame: pd.DataFrame, keep: Array) -> pd.DataFrame:
    """The rows of a frame of spans that are kept, numbered anew, and the texts of these only."""
    if keep.all():
        return frame
    kept = frame[keep].reset_index(drop=True)
    texts = [name for name, dtype in COLUMNS.items() if dtype == "category" and name != "kind"]
    return kept.assign(**{name: kept[name].cat.remove_unused_categories() for name in texts})


class TraceSource(Protocol):
    """Where jobs read spans from. Times are aware; errors are ``sloctl.errors.BackendError``."""

    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        """All spans of the traces that began in [``start``, ``end``), of ``services`` if any are named."""

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that reported spans in that time."""

    def link(self, trace_id: str) -> str:
        """Where people look at a trace; "" if that is not known."""

    @property
    def queries(self) -> int:
        """How many requests were sent."""


def empty() -> pd.DataFrame:
    """A frame without spans."""
    return pd.DataFrame({name: pd.Series([], dtype=_dtype(name)) for name in COLUMNS})


def _dtype(name: str) -> str | pd.CategoricalDtype:
    if name == "kind":
        return pd.CategoricalDtype(list(KINDS))
    return COLUMNS[name]


def trace_id(high: int, low: int) -> str:
    """A trace's id as backends write it: 16 or 32 hexadecimal digits."""
    return f"{high:016x}{low:016x}" if high else f"{low:016x}"


def problems(frame: pd.DataFrame) -> list[str]:
    """How a frame departs from :data:`COLUMNS`: for tests, and for sources that others write."""
    found = [f"column {name} is missing" for name in COLUMNS if name not in frame]
    found += [f"column {name} is not known" for name in frame if name not in COLUMNS]
    for name, dtype in COLUMNS.items():
        if name in frame and str(frame[name].dtype) != dtype:
            found.append(f"column {name} is {frame[name].dtype}, not {dtype}")
    return found
