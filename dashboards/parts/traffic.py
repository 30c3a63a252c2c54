"""Requests as rules recorded them: the mesh's, if a guardrail reads them, else those of the services with SLOs."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.parts.series import STEP, Subject
from sloctl import naming, promql
from sloctl.guardrails.shared import queries
from sloctl.model import TILE, Matcher
from sloctl.promql.presets import SERVER_ERRORS

VERSION = "destination_version"
REPORTER, CODE = "reporter", "response_code"
FAILED = Matcher(CODE, "=~", SERVER_ERRORS)
BASE = naming.base_metric("requests", TILE)
_IDENTITY = ", ".join(naming.IDENTITY)


def known(subject: Subject, *labels: str) -> bool:
    """Whether requests are recorded by service, by who reports them, and by ``labels``."""
    return _metric(subject, labels) is not None


def _metric(subject: Subject, labels: Sequence[str]) -> str | None:
    needed = {REPORTER, *naming.IDENTITY, *labels}
    if subject.records(naming.MESH_REQUESTS) and needed <= subject.mesh_labels:
        return naming.MESH_REQUESTS
    base = {*naming.IDENTITY, *naming.FAMILY_LABELS["requests"]}
    return BASE if subject.records(BASE) and needed <= base else None


def per_minute(
    subject: Subject, side: str, matchers: Sequence[Matcher], by: Sequence[str], *more: Matcher
) -> str:
    """Requests a minute as one side reports them, summed by labels; ``more`` are matchers of the requests' own labels.

    SLOs of a service and of its whole namespace record the same requests twice: the larger of the two counts.
    """
    metric = _metric(subject, [*by, *(m.label for m in more)])
    assert metric is not None
    # The mesh's requests are also those to no service: a list of services has none of them.
    whose = (queries.SERVICES,) if metric == naming.MESH_REQUESTS and naming.SERVICE in by else ()
    series = subject.series(metric, *matchers, Matcher(REPORTER, "=", side), *whose, *more)
    mean = f"avg_over_time({series}[{STEP}])"
    if metric == BASE:
        mean = f"max without ({naming.SCOPE}) ({mean})"
    return f"sum by ({', '.join(by)}) ({mean})"


def sides(subject: Subject) -> tuple[str, ...]:
    """Who reports a service's requests: first who sees what became of them after retries."""
    return tuple(side.value for side in queries.sides(subject.slo_set))


def rate(subject: Subject, matchers: Sequence[Matcher], by: Sequence[str]) -> str:
    """Requests a second by labels, the service's among them: as clients see them, of services that have no client in
    the mesh as servers do."""
    first, *rest = (per_minute(subject, side, matchers, by) for side in sides(subject))
    text = first
    for other in rest:
        text += f"\nor on ({_IDENTITY})\n{other}"
    return f"(\n{promql.indent(text)}\n) / 60"


def failed_share(subject: Subject, side: str, matchers: Sequence[Matcher]) -> str:
    """The share of requests that one side saw fail with 5xx or without a response: 0 where none did."""
    bad, total = (per_minute(subject, side, matchers, naming.IDENTITY, *more) for more in ((FAILED,), ()))
    return queries.share(bad, total, naming.IDENTITY)
