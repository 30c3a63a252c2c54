"""The metric source behind ``prometheus-api-client``: Prometheus, Thanos, Mimir, VictoriaMetrics.

This module owns that package; nobody else imports it. It gives raw JSON series
(``sloctl.backends.protocols.Series``); frames are built elsewhere. A range is cut into parts that the server
accepts; all lie on the step grid of the whole range, so their samples are those of the undivided query: none twice,
none lost. Times are whole milliseconds, Prometheus's own unit. It must not know what an SLO is.
"""

from __future__ import annotations

import operator
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from prometheus_api_client.prometheus_connect import PrometheusConnect

from sloctl.backends.answers import Answer, doubts, one_question, remarks
from sloctl.backends.halving import in_halves
from sloctl.backends.http.answers import TooLarge, say
from sloctl.backends.http.decoding import FAILURES, MAX_BYTES
from sloctl.backends.http.session import HttpClient
from sloctl.backends.prometheus import schema
from sloctl.backends.prometheus.session import Transport
from sloctl.backends.protocols import Series
from sloctl.errors import BackendTimeout, BackendUnavailable, BadAnswer, QueryRejected
from sloctl.promql import dense
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.servers import PROMETHEUS
from sloctl.telemetry.protocol import NOTHING, Observer, here

MAX_POINTS = 11_000
"""Points per series that Prometheus answers at most (``web/api/v1/api.go``: "maximum resolution of 11,000")."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class RangePoints:
    """The instants ``start``, ``start + step``, …, ``points`` of them; all in milliseconds."""

    start: int
    step: int
    points: int

    @classmethod
    def of(cls, start: datetime, end: datetime, step: timedelta) -> RangePoints:
        """The instants from ``start`` to ``end``, both included; raises ``ValueError`` if there are none."""
        first, last = milliseconds(start), milliseconds(end)
        if step <= timedelta(0) or step % _MILLISECOND:
            raise ValueError(f"a step is a positive number of whole milliseconds, not {step}")
        if last < first:
            raise ValueError("a range cannot end before it starts")
        size = step // _MILLISECOND
        return cls(first, size, (last - first) // size + 1)

    @property
    def end(self) -> int:
        """The last instant."""
        return self.start + (self.points - 1) * self.step

    def parts(self, size: int = MAX_POINTS) -> list[RangePoints]:
        """The same instants in grids of at most ``size`` points."""
        return [self.part(done, min(done + size, self.points)) for done in range(0, self.points, size)]

    def part(self, first: int, last: int) -> RangePoints:
        """The instants after the first ``first`` ones, up to the one numbered ``last`` (from 1)."""
        return RangePoints(self.start + first * self.step, self.step, last - first)


def milliseconds(at: datetime) -> int:
    """Unix time in milliseconds; raises ``ValueError`` for a time without a zone."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("a time without a zone means another instant on each machine")
    return ((at - _EPOCH) // _MICROSECOND + 500) // 1000


def instant(value: int) -> datetime:
    """The time that is so many milliseconds of Unix time."""
    return _EPOCH + value * _MILLISECOND


def seconds_text(value: int) -> str:
    """Milliseconds as the API takes them: decimal seconds, exactly."""
    return f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03d}"


def merge(answers: Iterable[Sequence[Series]]) -> Answer:
    """One series per label set, from the answers to consecutive parts; sorted by labels, as Prometheus does.

    What leaves one part in doubt leaves all of it in doubt.
    """
    merged: dict[tuple[tuple[str, str], ...], Series] = {}
    unsure: list[str] = []
    said: list[str] = []
    for answer in answers:
        unsure += doubts(answer)
        said += remarks(answer)
        for series in answer:
            key = tuple(sorted(series["metric"].items()))
            known = merged.setdefault(key, {"metric": series["metric"], "values": []})["values"]
            values = series["values"]
            # A server that moves a part onto a grid of its own may repeat its neighbour's last sample.
            skip = 0
            while known and skip < len(values) and values[skip][0] <= known[-1][0]:
                skip += 1
            known.extend(values[skip:] if skip else values)
    return Answer((merged[key] for key in sorted(merged)), unsure, said)


T = TypeVar("T")

MAX_HALVINGS = 6
"""A part of a range that asks for too many samples is halved at most so often: into 64 pieces."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _in_path(label: str) -> str:
    """A label's name as it stands in an address: what is not plain is escaped, as Prometheus 3 does it."""
    if _LABEL.fullmatch(label):
        return label
    return "U__" + re.sub(r"[^a-zA-Z0-9]", lambda c: "__" if c[0] == "_" else f"_{ord(c[0]):x}_", label)


class Prometheus(HttpClient[PrometheusSettings, Transport]):
    """One Prometheus, as a ``sloctl.backends.protocols.MetricSource``; a context manager that closes its connections.

    Nothing is sent before the first question. Safe to use from several threads. Every question raises
    ``BackendError`` (see ``sloctl.errors``) or ``ValueError`` for times without a zone. ``observer`` is told
    of each query. The other keyword arguments are for tests: ``sleep`` (seconds), ``now`` (Unix seconds),
    ``jitter`` (0..1), the largest answer in bytes, and the points per series after which a range is divided.
    """

    def __init__(
        self,
        settings: PrometheusSettings,
        *,
        sleep: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int = MAX_BYTES,
        max_points: int = MAX_POINTS,
        observer: Observer = NOTHING,
    ) -> None:
        transport = Transport(
            settings, sleep=sleep, now=now, jitter=jitter, max_bytes=max_bytes, observer=observer
        )
        super().__init__(settings, transport)
        self._max_points = max_points
        self._client = PrometheusConnect(url=settings.url, session=transport, method="POST")
        # The server should give up, and say why, a little before this side stops listening. VictoriaMetrics moves what
        # it may keep in a cache to multiples of the step. Thanos may
        # answer long ranges from what it keeps of five minutes or an hour.
        self._asked = {
            "timeout": f"{max(1, round(settings.timeout * 900))}ms",
            "nocache": "1",
            "max_source_resolution": "0s",
        }

    @property
    def warnings(self) -> Sequence[str]:
        """What answers said beside their data (warnings, infos, that one is partial), each once."""
        return tuple(self._session.notices)

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        """Evaluate ``expr`` at an instant: one item with ``value`` per series (``values`` for ``x[5m]``)."""
        params = {"time": seconds_text(milliseconds(at)), **self._asked}
        with _naming(expr):
            result: list[Series] = self._client.custom_query(dense(expr), params=params)
        return result

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        """Evaluate named expressions at one instant, in parallel; the first error ends all of them."""
        milliseconds(at)
        with one_question():
            answers = self._parallel([partial(self.query, expr, at) for expr in queries.values()])
        return dict(zip(queries, answers, strict=True))

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        """Evaluate ``expr`` at ``start``, ``start + step``, … up to ``end``, both included.

        Ranges that are longer than the server's limit of points are divided, and those that load too many
        samples halved; the parts run in parallel. One item with ``values`` per series, sorted by labels.
        """
        grid = RangePoints.of(start, end, step)
        parts = grid.parts(self._max_points)
        with one_question():
            answers = self._parallel([partial(self._part, expr, part) for part in parts])
        return merge(piece for pieces in answers for piece in pieces)

    def samples_read(self, expr: str, at: datetime) -> int:
        """How many samples the server reads to evaluate ``expr`` at an instant (its cost, not its result).

        Raises ``BadAnswer`` where the server keeps no such count (Thanos and VictoriaMetrics do not).
        """
        params = {"query": expr, "time": seconds_text(milliseconds(at)), "stats": "all", **self._asked}
        with _naming(expr):
            data = self._ask("POST", "/api/v1/query", params)
        try:
            return schema.samples_read(data["stats"])
        except FAILURES:
            message = f"Prometheus at {self.url}: it does not count the samples that a query reads"
            raise BadAnswer(message, backend=PROMETHEUS.name, url=self.url) from None

    def build_info(self) -> Mapping[str, str]:
        """Version, revision and so on, as the server states them."""
        return {str(key): str(value) for key, value in self._ask("GET", "/api/v1/status/buildinfo").items()}

    def runtime_info(self) -> Mapping[str, str]:
        """Retention, start time and so on, as the server states them."""
        return {str(key): str(value) for key, value in self._ask("GET", "/api/v1/status/runtimeinfo").items()}

    def rules(self) -> Sequence[dict[str, Any]]:
        """The rule groups that the server has loaded, each with its ``rules`` and their health."""
        groups: list[dict[str, Any]] = self._ask("GET", "/api/v1/rules")["groups"]
        return groups

    def alertmanagers(self) -> Sequence[str]:
        """The addresses that the server sends alerts to, as it states them."""
        return [item["url"] for item in self._ask("GET", "/api/v1/alertmanagers")["activeAlertmanagers"]]

    def metric_names(
        self, match: str | Sequence[str] = (), start: datetime | None = None, end: datetime | None = None
    ) -> Sequence[str]:
        """The names of all metrics, or of those with a series that a selector in ``match`` selects."""
        names: list[str] = self._client.all_metrics(params=_selection(match, start, end))
        return names

    def label_values(
        self,
        label: str,
        match: str | Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[str]:
        """The values of a label, of all series or of those that a selector in ``match`` selects."""
        if not label:
            raise ValueError("a label has a name")
        params = _selection(match, start, end)
        values: list[str] = self._client.get_label_values(_in_path(label), params=params)
        return values

    def series(
        self, match: str | Sequence[str], start: datetime | None = None, end: datetime | None = None
    ) -> Sequence[Mapping[str, str]]:
        """The label sets of the series that a selector in ``match`` selects."""
        found: list[dict[str, str]] = self._ask("POST", "/api/v1/series", _selection(match, start, end))
        return found

    def ready(self) -> bool:
        """Whether the server answers a query now, asked once; credentials that it refuses raise an error."""
        try:
            # Not /-/ready, which hosted and clustered backends do not have, or have elsewhere.
            self._ask("POST", "/api/v1/query", {"query": "vector(1)"}, retries=0)
        except (BackendUnavailable, BackendTimeout):
            return False
        return True

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, *, retries: int | None = None
    ) -> Any:
        """The data of an endpoint that the client package has no method for, or of which it drops a part."""
        return self._session.data(method, path, params or {}, retries=retries)

    def _part(self, expr: str, part: RangePoints) -> list[list[Series]]:
        """The answers to one part of a range, in the order of time."""
        step = seconds_text(part.step)

        def ask(first: int, last: int) -> list[list[Series]]:
            points = part.part(first, last)
            start, end = points.start, points.end
            params = dict(self._asked)
            if start % 1000 or end % 1000:  # the package rounds times to whole seconds; parameters go before
                params |= {"start": seconds_text(start), "end": seconds_text(end)}
            with _naming(expr):
                return [
                    self._client.custom_query_range(dense(expr), instant(start), instant(end), step, params)
                ]

        return in_halves(ask, operator.add, 0, part.points, times=MAX_HALVINGS, refusal=TooLarge)

    def _parallel(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, in order; the first error, or an interruption, cancels the others."""
        if len(tasks) < 2 or self._settings.concurrency == 1:
            return [task() for task in tasks]
        pool = self._threads()
        futures = [pool.submit(here(task)) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
            return [future.result() for future in futures]
        except BaseException as error:
            for future in futures:
                future.cancel()
            if not isinstance(error, Exception):
                self._session.cancel()
            raise


@contextmanager
def _naming(expr: str) -> Iterator[None]:
    """Says in the hint of a rejected query which one it was."""
    try:
        yield
    except QueryRejected as error:
        error.hint = f"the query was: {say(expr)}"
        raise


def _selection(match: str | Sequence[str], start: datetime | None, end: datetime | None) -> dict[str, Any]:
    params: dict[str, Any] = {"match[]": [match] if isinstance(match, str) else list(match)}
    bounds = {"start": start, "end": end}
    params |= {name: seconds_text(milliseconds(at)) for name, at in bounds.items() if at is not None}
    return {name: value for name, value in params.items() if value}
