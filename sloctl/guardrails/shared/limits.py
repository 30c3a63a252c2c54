"""Which guardrails there are, what each limits by default, and which parameters it takes.

Defaults are the targets M5 to M10 of the field's guides (restarts under 0.01 per pod and day, telemetry gaps under five
minutes, gateway errors under 0.5 %, all traffic with mutual TLS) and the conditions of the incident they are drawn
from (5 % errors, two seconds of latency).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

LimitUnit = Literal["percent", "duration", "number"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the file: which key sets it, its unit, its default (percent, seconds, or a number) and bounds."""

    side: Literal["max", "min"]
    unit: LimitUnit
    default: Decimal
    lowest: Decimal = Decimal(0)
    highest: Decimal = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class GuardrailPreset:
    """A guardrail of the file. ``params`` are the keys that it takes besides those that all take."""

    name: str
    summary: str
    limit: Limit | None = None
    params: frozenset[str] = frozenset()


COMMON = ("preset", "owner", "runbook", "dashboard")
"""Keys that every guardrail takes."""


CRITICAL = Decimal(20)
"""Percent of failed requests above which ``service-errors`` pages, unless the file says otherwise."""


def _percent(side: Literal["max", "min"], default: str) -> Limit:
    return Limit(side, "percent", Decimal(default), Decimal(0), Decimal(100))


def _duration(side: Literal["max", "min"], seconds: int, lowest: str, highest: int) -> Limit:
    return Limit(side, "duration", Decimal(seconds), Decimal(lowest), Decimal(highest))


def _kind(name: str, summary: str, limit: Limit | None = None, *params: str) -> GuardrailPreset:
    return GuardrailPreset(name, summary, limit, frozenset(params))


GUARDRAIL_PRESETS: dict[str, GuardrailPreset] = {
    kind.name: kind
    for kind in (
        _kind(
            "service-errors",
            "share of failed requests of any service, in percent; `critical` pages",
            _percent("max", "5"),
            *("namespaces", "min_events", "critical"),
        ),
        _kind(
            "service-latency",
            "99th percentile of the latency of any service",
            _duration("max", 2, "0.001", 3600),
            *("namespaces", "min_events"),
        ),
        _kind(
            "gateway-errors",
            "share of requests through a gateway that fail, in percent; overload; gateways that are gone",
            _percent("max", "0.5"),
            *("gateways", "min_events"),
        ),
        _kind(
            "control-plane",
            "99th percentile of the time until a change has reached the proxies; failed and rejected pushes; istiod "
            "absent or not ready; failed injections",
            _duration("max", 10, "0.1", 30),
        ),
        _kind(
            "mtls",
            "share of requests (ambient: connections) with mutual TLS, in percent",
            _percent("min", "100"),
            *("namespaces", "min_events"),
        ),
        _kind(
            "sidecar-restarts",
            "restarts of proxies per pod and day; crash loops; proxies out of memory",
            Limit("max", "number", Decimal("0.01"), Decimal(0), Decimal(1000)),
            "namespaces",
        ),
        _kind(
            "sidecar-resources",
            "memory and CPU of a proxy, in percent of its limits",
            _percent("max", "90"),
            "namespaces",
        ),
        _kind(
            "telemetry-gap",
            "time without metrics of the mesh, or without spans",
            _duration("max", 300, "60", 3600),
        ),
        _kind(
            "retry-amplification",
            "attempts per request, by edge",
            Limit("max", "number", Decimal(2), Decimal(1), Decimal(1000)),
            *("namespaces", "min_events"),
        ),
        _kind("ejections", "hosts that circuit breakers have ejected", None, "namespaces"),
        _kind("overflow", "requests turned away by full connection pools and queues", None, "namespaces"),
        _kind(
            "certificates",
            "time until the mesh's root certificate expires; workload certificates that are not renewed",
            _duration("min", 30 * 86400, "3600", 3650 * 86400),
        ),
        _kind(
            "misroutes",
            "share of requests without a route, in percent; traffic at versions that should get none",
            _percent("max", "1"),
            *("namespaces", "min_events", "versions"),
        ),
        _kind(
            "policy-denials",
            "share of requests that are denied (403), in percent, when it jumps",
            _percent("max", "5"),
            *("namespaces", "min_events"),
        ),
        _kind("watchdog", "an alert that always fires, so that its absence shows a dead pipeline"),
        _kind("jobs", "jobs of `jobs` that have not run"),
    )
}
