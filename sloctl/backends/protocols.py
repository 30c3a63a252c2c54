"""What jobs see of the world outside: protocols, never the adapters behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

Series = dict[str, Any]
"""One series of a Prometheus answer: ``{"metric": {…}, "value": (t, "v")}`` or ``"values": [(t, "v")…]``.

Times are Unix seconds; values are texts of numbers, ``NaN`` and ``+Inf`` among them.
"""


class MetricSource(Protocol):
    """Where jobs read metrics from. Times are aware; errors are ``sloctl.errors.BackendError``.

    Each answer may say what leaves it in doubt: see :mod:`sloctl.backends.answers`.
    """

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        """Evaluate ``expr`` at an instant."""

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        """Evaluate several expressions at an instant, in parallel."""

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        """Evaluate ``expr`` at ``start``, ``start + step``, … up to ``end``, both included.

        Where a server has a limit of size or time, the range is asked for in halves.
        """

    @property
    def warnings(self) -> Sequence[str]:
        """What the server warned of (partial answers, for example), each once."""

    @property
    def queries(self) -> int:
        """How many requests were sent."""


class MetricCatalogue(Protocol):
    """What a metric source can say of itself and of its series. Errors are those of :class:`MetricSource`."""

    def metric_names(
        self, match: str | Sequence[str] = (), start: datetime | None = None, end: datetime | None = None
    ) -> Sequence[str]:
        """The names of all metrics, or of those with a series that a selector in ``match`` selects."""

    def label_values(
        self,
        label: str,
        match: str | Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[str]:
        """The values of a label, of all series or of those that a selector in ``match`` selects."""

    def build_info(self) -> Mapping[str, str]:
        """The server's ``version`` and so on."""

    def runtime_info(self) -> Mapping[str, str]:
        """``storageRetention`` and so on."""

    def rules(self) -> Sequence[dict[str, Any]]:
        """The rule groups that the server has loaded, each with its ``name`` and ``rules``."""

    def alertmanagers(self) -> Sequence[str]:
        """The addresses that the server sends alerts to."""


class ObservedSource(MetricSource, MetricCatalogue, Protocol):
    """A metric source that also says what it has."""


Progress = Callable[[float, str], object]
"""Told how far something is that may take long: a share of 0…1, and what it is; from any thread."""


def silent(_share: float, _text: str, /) -> None:
    """Nobody is told."""
