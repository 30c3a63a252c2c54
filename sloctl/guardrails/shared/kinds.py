"""What a guardrail compiles to: recorded series, alerts with their proofs, and verdicts for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sloctl.model import AlertSeverity

TelemetryKind = Literal["proxies", "istiod", "kubernetes", "envoy", "traces", "none"]
"""Whose metrics an alert is computed from: when they are lost, the alert says nothing (and is inhibited)."""
Minutes = Mapping[str, str]
"""Input series of a proof: selector with plain labels → promtool's shorthand, one sample a minute from minute 0.

Series that lack the labels of a scrape target and those of the mesh's matchers get them, and ``up`` beside them."""


KEEP: dict[str, int] = {"ticket": 120, "page": 480}
"""Seconds that alerts on shares of five minutes outlast their condition, where a page inhibits a ticket of the same.

The ticket's lower limit is crossed for up to five minutes longer: it would come after all if the page ended first.
"""


@dataclass(frozen=True, slots=True)
class Signal:
    """A recorded series.

    ``expr`` may read series recorded before it in the same group; ``live`` says the same of raw series alone, for
    reports where the rules are not loaded.
    """

    record: str
    expr: str
    live: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line of the report: one per series of ``record``, with the labels ``scope``.

    ``limit`` is in the unit of the series; ``unit`` is how reports call it (``ratio`` is a share of 0…1).
    """

    name: str
    signal: Signal
    limit: float
    side: Literal["max", "min"]
    unit: str
    scope: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What a promtool test shows of an alert, minute by minute.

    ``inputs`` make it fire at minute ``fires`` and not the minute before, with the series labels ``labels`` (besides
    those that every alert of the guardrail has) and the value ``value``; with ``calm`` it stays silent at the minutes
    ``silent``. ``lasts``: a minute at which, with ``inputs``, it still fires although its condition has ended
    (``keep_firing_for``); ``resolved``: a minute at which it fires no more (0: not shown).
    """

    inputs: Minutes
    fires: int
    labels: Mapping[str, str]
    calm: Minutes
    silent: Sequence[int]
    value: float = 0.0
    lasts: int = 0
    resolved: int = 0


@dataclass(frozen=True, slots=True)
class HealthAlert:
    """An alert. ``for_`` and ``keep_firing_for`` are seconds.

    ``summary`` and ``description`` are plain text with ``{value}`` (a number, four significant digits),
    ``{percent}`` (a share, as a percentage) and ``{label:NAME}`` (a label of the alert's series). ``labels`` are added
    to those of the series. An alert whose series has a ``service`` belongs to the service's owner, if the file names
    one; all others to the guardrail's owner.
    """

    name: str
    expr: str
    for_: int
    severity: AlertSeverity | Literal["none"]
    summary: str
    description: str
    telemetry: TelemetryKind
    failure_mode: str
    proof: Proof
    keep_firing_for: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All of one guardrail. ``base`` has the labels of requests that its expressions tell apart."""

    preset: str
    signals: tuple[Signal, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    alerts: tuple[HealthAlert, ...] = ()
    base: frozenset[str] = frozenset()
