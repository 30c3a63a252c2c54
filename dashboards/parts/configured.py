"""What the mesh's configuration allows, beside what is measured: constants in queries, as of when they were generated.

Of the configuration only what lint-mesh makes of it is known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dashboards.parts import traffic
from dashboards.parts.panels import BAD, GOOD, WARN, Column, table
from dashboards.parts.series import Subject
from sloctl import naming, promql
from sloctl.mesh.world import place, short
from sloctl.model import Matcher

EDGE_RATIO = "edge:retry_amplification:ratio30m"
SERVICES, VERSIONS = 60, 24
"""How many are compared: a query must not be longer than servers take (16 KiB)."""
DEFAULT_TRIES = 3
"""Istio's: what allows no more is not worth a row."""
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?")
"""Names of services and values of labels as Kubernetes has them; others come from nowhere that Istio would look."""
KNOWN = Matcher(traffic.VERSION, "!~", "|unknown")
"""Requests that no pod answered are of no version."""
_SAID = "As the configuration was when the dashboard was generated"


def _constant(value: int, labels: dict[str, str]) -> str:
    text = f"vector({value})"
    for name, content in labels.items():
        text = f'label_replace({text}, "{name}", {promql.quote(content)}, "", "")'
    return text


def _left(count: int, what: str) -> str:
    return f" {count} more {what} are not compared." if count else ""


def _together(parts: Iterable[str]) -> str:
    return "\nor ".join(parts)


def retries(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """How often a request to a service may be tried along the worst path to it, and attempts as measured."""
    if subject.configured is None or not subject.records(EDGE_RATIO):
        return
    worst: dict[tuple[str, str], tuple[int, str]] = {}
    for edge in subject.configured.known:
        service = place(edge.server)
        if service[0] and all(map(_NAME.fullmatch, service)):
            path = " → ".join(map(short, edge.path))
            worst[service] = max(worst.get(service, (0, "")), (edge.worst, path))
    rows = sorted(
        ((times, service) for service, (times, _) in worst.items() if times > DEFAULT_TRIES),
        key=lambda row: (-row[0], row[1]),
    )
    if not rows:
        return
    identity = ", ".join(naming.IDENTITY)
    seen = f"max by ({identity}) ({subject.series(EDGE_RATIO, *where)})"
    constants = _together(
        _constant(times, dict(zip((naming.NAMESPACE, naming.SERVICE), service, strict=True)))
        for times, service in rows[:SERVICES]
    )
    paths = "; ".join(worst[service][1] for _, service in rows[:5] if _PATH.fullmatch(worst[service][1]))
    yield table(
        "Configured and seen",
        "How often one request may reach a service if it fails: tries multiplied along the worst path to it; and the "
        f"most attempts per request on an edge to it in the last half hour. {_SAID}, with Istio's default of two "
        f"retries where nothing is said.{_left(len(rows[SERVICES:]), 'services')} The worst paths: {paths}.",
        [
            Column(
                "configured up to",
                f"(\n{promql.indent(constants)}\n)\nand on ({identity}) ({seen})",
                "none",
                0,
                [(None, GOOD), (DEFAULT_TRIES + 1, WARN), (9, BAD)],
            ),
            Column("seen", f"{seen}\nand on ({identity}) (\n{promql.indent(constants)}\n)", "none", 2),
        ],
        labels=naming.IDENTITY,
        sort=("configured up to", True),
        nothing="no service that is configured for more tries than the default had requests in the last half hour",
    )


_PATH = re.compile(r"[-A-Za-z0-9._/ →]{1,200}")
"""Paths that may stand in a description, which Grafana takes for Markdown."""


def versions(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """Versions that have requests though no route leads to them, and the other way round."""
    if subject.configured is None or not traffic.known(subject, traffic.VERSION):
        return
    if traffic.VERSION not in subject.mesh_labels:
        return
    rows = [
        (*service, version)
        for service, those in sorted(subject.configured.versions.items())
        for version in those
        if service[0] and all(map(_NAME.fullmatch, (*service, version)))
    ]
    if not rows:
        return
    labels = (naming.NAMESPACE, naming.SERVICE, traffic.VERSION)
    kept = rows[:VERSIONS]
    if len(rows) > VERSIONS:  # of a service all versions are compared, or none
        kept = [row for row in kept if row[:2] != rows[VERSIONS][:2]]
    routed = promql.indent(_together(_constant(0, dict(zip(labels, row, strict=True))) for row in kept))
    rate = promql.indent(traffic.rate(subject, (*where, KNOWN), labels))
    service, version = f"on ({', '.join(labels[:2])})", f"on ({', '.join(labels)})"
    yield table(
        "Configuration that does not match traffic",
        "Versions that have requests though no route leads to them, with requests a second; and with 0 versions that "
        "a route leads to and that have none, while others of the service do. Only services of which all routes lead "
        f"to subsets with a version. {_SAID}: look at the changes below.{_left(len(rows) - len(kept), 'versions')}",
        [
            Column(
                "requests/s",
                f"((\n{rate}\n) > 0\nand {service} (\n{routed}\n)\nunless {version} (\n{routed}\n))\n"
                f"or ((\n{routed}\n)\nand {service} ((\n{rate}\n) > 0)\nunless {version} ((\n{rate}\n) > 0))",
                "reqps",
                3,
                [(None, WARN), (0.001, BAD)],
            )
        ],
        labels=labels,
        sort=("requests/s", True),
        nothing="every version that has requests is one that a route leads to, and the other way round",
    )
