"""Panels of the mesh's health that more than one dashboard shows: only those whose guardrails the file has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dashboards.parts.links import runbook
from dashboards.parts.panels import BAD, GOOD, SHARE, graph
from dashboards.parts.series import Subject, foremost
from sloctl.model import Matcher

PLACE = "{{namespace}}/{{service}}"
MANY = 20
"""Services that a graph shows at most: those where it is worst."""


def of_service(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """mTLS, circuit breakers, policies: by service."""
    yield from mtls(subject, where)
    yield from breakers(subject, where)
    yield from denials(subject, where)


def mtls(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """The share of traffic with mutual TLS."""
    record = "service:mtls:ratio5m"
    if not subject.records(record):
        return
    target = subject.limit("mtls") / 100
    yield graph(
        "Share with mutual TLS",
        f"Of what reaches the service, over five minutes. The target is {100 * target:g} %.",
        [(PLACE, foremost(MANY, subject.series(record, *where), least=True))],
        unit=SHARE,
        low=None,
        high=1,
        places=2,
        limits=[(None, BAD), (target, GOOD)],
        nothing="no traffic that a server's proxy reported",
        span=8,
        links=runbook(subject.slo_set, "MtlsBelowTarget"),
    )


def breakers(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """Ejected hosts, full pools and full queues."""
    missing = "no such counters: proxies expose them with an inclusion list (docs/metrics.md); or no traffic"
    if subject.records("service:ejected_hosts:max", "service:ejections:increase5m"):
        yield graph(
            "Ejected hosts",
            "Hosts that clients' circuit breakers have taken out of their load balancing: now, and in the last five "
            "minutes (an ejection may begin and end between two scrapes).",
            [
                (f"{PLACE} ejected now", foremost(MANY, subject.series("service:ejected_hosts:max", *where))),
                (
                    f"{PLACE} ejections in 5m",
                    foremost(MANY, subject.series("service:ejections:increase5m", *where)),
                ),
            ],
            unit="none",
            nothing=missing,
            span=8,
            links=runbook(subject.slo_set, "CircuitBreakerEjecting"),
        )
    if subject.records("service:queue_overflow:increase5m", "service:connection_overflow:increase5m"):
        yield graph(
            "Turned away by full queues and pools",
            "Requests that clients answered themselves, for too many were waiting (response flag UO), and connections "
            "that the pool's limit forbade, each in five minutes.",
            [
                (
                    f"{PLACE} requests",
                    foremost(MANY, subject.series("service:queue_overflow:increase5m", *where)),
                ),
                (
                    f"{PLACE} connections",
                    foremost(MANY, subject.series("service:connection_overflow:increase5m", *where)),
                ),
            ],
            unit="short",
            nothing=missing,
            span=8,
            links=runbook(subject.slo_set, "PendingQueueOverflow"),
        )


def denials(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """What policies deny."""
    for what in ("requests", "connections"):
        record = f"service:denied_{what}:ratio5m"
        if subject.records(record):
            alert = "PolicyDenialsJumped" if what == "requests" else "ConnectionsDenied"
            yield graph(
                f"Denied {what}",
                f"The share of {what} that authorization policies denied, over five minutes.",
                [(PLACE, foremost(MANY, subject.series(record, *where)))],
                unit=SHARE,
                limits=[(None, GOOD), (subject.limit("policy-denials") / 100, BAD)],
                nothing=f"no {what} in the time shown",
                span=8,
                links=runbook(subject.slo_set, alert),
            )
