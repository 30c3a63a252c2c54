"""Runs a preflight: needs, survey, judgements, cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobs.preflight import cost, metrics, server, services
from jobs.preflight.findings import PreflightFinding, ordered
from jobs.preflight.needs import needs
from jobs.preflight.survey import Asker, survey, told
from sloctl.backends.protocols import ObservedSource
from sloctl.errors import BackendLimit, QueryRejected
from sloctl.model import SloSet


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found, errors first, and what the rules will cost (None where the server could not say)."""

    at: datetime
    found: tuple[PreflightFinding, ...]
    cost: cost.Cost | None

    @property
    def fails(self) -> bool:
        """Whether an SLO or an alert cannot work."""
        return any(item.severity == "error" for item in self.found)


def run(source: ObservedSource, slo_set: SloSet, at: datetime) -> Preflight:
    """Ask a server whether the rules of a set can work, as of ``at``. Raises ``BackendError``."""
    wanted = needs(slo_set)
    if wanted.quoted:
        refused = server.too_old(wanted, (told(source.build_info) or {}).get("version"))
        if refused is not None:
            return Preflight(at, (refused,), None)
    asker = Asker(source, at)
    seen = survey(source, wanted, at)
    found: list[PreflightFinding] = []
    predicted: cost.Cost | None = None
    if seen.names:
        found += metrics.judge(wanted, seen, asker)
        found += services.judge(wanted, seen, asker)
        try:
            predicted = cost.predict(wanted, seen, asker)
        except (BackendLimit, QueryRejected) as error:
            text = f"the cost is not known, for the server refuses to evaluate the rules once: {error}"
            found.append(PreflightFinding("info", "no-cost", text))
    found += server.judge(wanted, seen, source.warnings)
    return Preflight(at, ordered(found), predicted)
