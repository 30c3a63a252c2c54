"""Synthetic SLO files: 3 SLOs a service, 10 services a namespace, the first of them every service ("*")."""

from __future__ import annotations

from collections.abc import Iterator

OBJECTIVES = ("99", "99.5", "99.9", "99.95")
THRESHOLDS = ("100ms", "250ms", "500ms", "1s")
SERVICES = 10
SLIS = (
    ("availability", "{preset: availability}"),
    ("latency", "{preset: latency, threshold: %s}"),
    ("not-rejected", "{preset: errors, side: server, codes: [5xx, 429]}"),
)


def slo_file(count: int, name: str = "synthetic") -> str:
    """The text of an SLO file with ``count`` SLOs."""
    head = [
        "apiVersion: sloctl/v1",
        "kind: MeshSLOs",
        "metadata:",
        f"  name: {name}",
        "  labels: {team: platform}",
        "defaults:",
        "  window: 30d",
        "  alerting: mesh",
        '  runbook: "https://runbooks.example.org/{namespace}/{service}/{slo}"',
        "slos:",
    ]
    return "\n".join([*head, *_slos(count)]) + "\n"


def _slos(count: int) -> Iterator[str]:
    for number in range(count):
        scope, kind = divmod(number, len(SLIS))
        namespace, service = divmod(scope, SERVICES)
        slo, sli = SLIS[kind]
        # A wildcard's objectives stay low: its latency SLO is for whatever services there are.
        objective = OBJECTIVES[0] if service == 0 else OBJECTIVES[scope % len(OBJECTIVES)]
        yield f"  - name: {slo}"
        yield '    service: "*"' if service == 0 else f"    service: service-{service}"
        yield f"    namespace: team-{namespace}"
        yield f"    objective: {objective}"
        yield f"    owner: team-{namespace}"
        yield f"    description: What callers of team-{namespace} may rely on."
        yield f"    sli: {sli % THRESHOLDS[scope % len(THRESHOLDS)] if '%s' in sli else sli}"
