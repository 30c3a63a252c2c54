"""What a rule file consists of, as data; :mod:`alert_rules.manifest` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class RuleFile:
    """The rules of one scope: the SLOs of one service, or of all services of a namespace; or the mesh's health."""

    stem: str
    slos: tuple[Slo, ...]
    groups: tuple[RuleGroup, ...]
