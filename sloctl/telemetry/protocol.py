"""What adapters and jobs say of themselves while they work: spans and numbers, to whoever listens.

A leaf: nothing here knows of OpenTelemetry, or whether anybody listens. No attribute, label or message may hold a
secret. What runs in a thread belongs to the span of the one who started it if it is started with :func:`here`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from sloctl.errors import SloctlError

T = TypeVar("T")
Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute]

LOG_FIELDS: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("sloctl_log_fields")
"""What log lines say besides their message, while a job runs: its name, its run."""


class Number(Protocol):
    """A number with a name and labels, such as ``sloctl.telemetry.textfile.Gauge``."""

    @property
    def name(self) -> str:
        """The metric."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Label names and values."""

    @property
    def value(self) -> float:
        """The number, in the unit that the name states."""


class Span(Protocol):
    """Something that takes time."""

    def set(self, name: str, value: Attribute) -> None:
        """Say more of it."""

    def fail(self, kind: str, message: str = "") -> None:
        """It did not succeed: a kind of error of which there are few, and what a person should read."""


class Observer(Protocol):
    """Who listens. No method raises."""

    def span(
        self, name: str, attributes: Attributes | None = None, *, client: bool = False
    ) -> AbstractContextManager[Span]:
        """The time spent in the context, as a part of the span around it; an exception makes it a failure.

        ``client``: it asks another server.
        """

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Enter a duration into a histogram."""

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        """A number that holds until it is given anew; None: it is not known (any more)."""

    def age(self, name: str, since: datetime | None, **labels: str) -> None:
        """A number of seconds that grows from ``since`` on; None: it is not known."""

    def publish(self, owner: str, numbers: Iterable[Number], until: datetime) -> None:
        """The numbers of a result, in place of those that ``owner`` gave before; they are gone after ``until``."""


class _NoSpan:
    def set(self, name: str, value: Attribute) -> None:
        """Nobody listens."""

    def fail(self, kind: str, message: str = "") -> None:
        """Nobody listens."""


class Nobody:
    """An observer that does nothing."""

    @contextmanager
    def span(
        self, name: str, attributes: Attributes | None = None, *, client: bool = False
    ) -> Iterator[Span]:
        """See :class:`Observer`."""
        yield _NOTHING

    def count(self, name: str, **labels: str) -> None:
        """See :class:`Observer`."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """See :class:`Observer`."""

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        """See :class:`Observer`."""

    def age(self, name: str, since: datetime | None, **labels: str) -> None:
        """See :class:`Observer`."""

    def publish(self, owner: str, numbers: Iterable[Number], until: datetime) -> None:
        """See :class:`Observer`."""


_NOTHING = _NoSpan()
NOTHING: Observer = Nobody()


def here(call: Callable[[], T]) -> Callable[[], T]:
    """The call, to be made on another thread, as if it was made here."""
    context = contextvars.copy_context()
    return lambda: context.run(call)


_CAUSES = {
    "BackendUnavailable": "unavailable",
    "BackendTimeout": "timeout",
    "BackendRefused": "refused",
    "BackendLimit": "limit",
    "BackendRateLimit": "rate_limit",
    "BadAnswer": "bad_answer",
    "QueryRejected": "query_rejected",
    "InvalidFile": "usage",
    "UsageError": "usage",
}


def cause(error: BaseException | type[BaseException]) -> str:
    """The few words that errors are counted by: see the names in ``sloctl.errors``; a bug is ``internal``."""
    kind = error if isinstance(error, type) else type(error)
    if not issubclass(kind, SloctlError):
        return "internal"
    return next((_CAUSES[base.__name__] for base in kind.__mro__ if base.__name__ in _CAUSES), "error")
