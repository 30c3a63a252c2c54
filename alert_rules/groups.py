"""What a rule file consists of, as data; :mod:`alert_rules.manifest` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sloctl import naming
from sloctl.guardrails.shared.kinds import HealthAlert
from sloctl.model import BurnWindow, Slo
from sloctl.promql import Recording
from sloctl.promql.recording import Labels


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """One recorded series."""

    record: str
    expr: str
    labels: Labels

    @classmethod
    def of(cls, recording: Recording) -> RecordingRule:
        """The rule that records a series."""
        return cls(recording.record, recording.expr(), dict(recording.labels))


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert; ``for_`` and ``keep_firing_for`` are seconds."""

    alert: str
    expr: str
    for_: int
    labels: Labels
    annotations: Labels
    keep_firing_for: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class BurnAlert(AlertRule):
    """An alert of a burning budget; ``slo`` and ``window`` say what it was made from."""

    slo: Slo
    window: BurnWindow


@dataclass(frozen=True, slots=True)
class StoppedAlert(AlertRule):
    """An alert of the traffic of ``slo`` that stays away."""

    slo: Slo


@dataclass(frozen=True, slots=True)
class HealthRule(AlertRule):
    """An alert of a guardrail, and what it was made from."""

    source: HealthAlert


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that Prometheus evaluates in this order, every ``interval`` seconds, at one instant."""

    name: str
    interval: int
    rules: tuple[RecordingRule | AlertRule, ...]

    @property
    def alerts(self) -> tuple[AlertRule, ...]:
        """Its alerts."""
        return tuple(rule for rule in self.rules if isinstance(rule, AlertRule))


@dataclass(frozen=True, slots=True)
class RuleFile:
    """The rules of one scope: the SLOs of one service, or of all services of a namespace; or the mesh's health."""

    stem: str
    slos: tuple[Slo, ...]
    groups: tuple[RuleGroup, ...]


_NAMED = re.compile(r"(?<![\w:])(\w+:[\w:]+)(?:\{([^{}]*)\})?")
_EXACT = re.compile(r'(\w+)="([^"\\]*)"')


def read_by(
    alerts: Iterable[AlertRule], rules: Sequence[RecordingRule | AlertRule]
) -> dict[int, RecordingRule | AlertRule]:
    """Some alerts and all of ``rules`` that these read, directly or through others, by their ``id``.

    Of what their texts tell, that is all but causes and the budget that is left, which are most of what a scope has.
    """
    recorded: dict[str, list[RecordingRule]] = {}
    for rule in rules:
        if isinstance(rule, RecordingRule):
            recorded.setdefault(rule.record, []).append(rule)
    found: dict[int, RecordingRule | AlertRule] = {}
    left: list[RecordingRule | AlertRule] = list(alerts)
    seen: set[tuple[str, str]] = set()
    while left:
        rule = left.pop()
        if id(rule) in found:
            continue
        found[id(rule)] = rule
        asked = {*_read(rule.expr)}
        for text in rule.annotations.values() if isinstance(rule, AlertRule) else ():
            told = _read(text.replace('\\"', '"')) if ":" in text else ()
            asked |= {one for one in told if one[0] not in (naming.BAD_CAUSES, naming.REMAINING)}
        for name, matchers in asked - seen:
            seen.add((name, matchers))
            if name in recorded:
                exact = dict(_EXACT.findall(matchers))
                left += [
                    one
                    for one in recorded[name]
                    if all(exact.get(label, value) == value for label, value in one.labels.items())
                ]
    return found


@lru_cache(maxsize=1024)
def _read(expr: str) -> frozenset[tuple[str, str]]:
    """The series that rules may record and a text reads, each with the matchers behind it."""
    return frozenset(_NAMED.findall(expr))
