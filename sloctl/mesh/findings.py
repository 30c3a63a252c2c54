"""What is found in the mesh's configuration, and every code that there is. Knows no object of Istio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sloctl.errors import Position

Severity = Literal["error", "warning", "note"]
RANKS: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}

CODES = {
    "unknown-field": "A field that the object does not have: it is refused or ignored.",
    "old-field": "A field, value or kind of former versions of Istio.",
    "unknown-value": "A value that the field does not take.",
    "wrong-form": "A list, a mapping or a text where another of them belongs.",
    "unknown-kind": "A kind or version that Istio does not have.",
    "object-twice": "The same object is defined more than once, differently.",
    "host-unknown": "A route leads to a host that no service has.",
    "subset-unknown": "A route leads to a subset that no DestinationRule defines.",
    "port-unknown": "A route leads to a port that the service does not have.",
    "sidecar-hides-host": "A Sidecar does not import a service that is called.",
    "gateway-unknown": "A route is bound to a Gateway, or a listener, that is not there.",
    "gateway-refuses-route": "A Gateway that does not see or does not allow the routes that are bound to it.",
    "gateway-host-mismatch": "None of a route's hosts is one that its Gateway serves.",
    "host-twice": "Two VirtualServices have the same host for the same clients.",
    "route-never-matches": "An earlier route takes all requests of this one.",
    "delegate-unknown": "A route delegates to a VirtualService that is not there.",
    "backend-missing": "A rule of the Gateway API that leads nowhere.",
    "reference-not-granted": "A route to another namespace's service without a ReferenceGrant.",
    "filters-contradict": "Filters of a rule that cannot stand together.",
    "weight-zero": "The weights of a route are all zero.",
    "weight-missing": "A destination without a weight beside others that have one.",
    "weights-not-100": "Weights that do not add up to 100.",
    "canary-without-policy": "A subset that gets a share of the requests has no traffic policy.",
    "fault-injection": "A route makes requests fail, or late.",
    "retries-multiply": "Retries multiply along a path.",
    "retries-exceed-timeout": "All tries together take longer than the route's timeout.",
    "retries-without-try-timeout": "Retries that a slow answer never leads to.",
    "retries-off": "Settings of retries that are switched off.",
    "retries-not-idempotent": "Requests that are not idempotent are repeated after the service may "
    "have done its work.",
    "retries-client-errors": "What the service refused is asked for again.",
    "retries-without-budget": "Nothing bounds how many retries run at once.",
    "retries-without-backoff": "Many retries with Envoy's back-off of 25 ms.",
    "timeouts-contradict": "A try of a request may take longer than the request.",
    "timeout-inverted": "A caller gives up before the service that it calls does.",
    "outlier-ejects-all": "Outlier detection can eject every endpoint.",
    "outlier-never-acts": "Outlier detection that ejects nobody.",
    "outlier-masked": "Limits or thresholds that keep outlier detection from what it looks for.",
    "mtls-contradiction": "Clients and servers are told to do different things about mutual TLS.",
    "mtls-port-ignored": "A port's mutual TLS in a policy that selects no workload.",
    "policy-twice": "Two policies of the same scope, of which Istio takes the older.",
    "telemetry-metric-off": "A metric that SLOs read is switched off.",
    "telemetry-label-changed": "A label that SLOs read is removed or overwritten.",
    "sampling-hides-retries": "So few traces are kept that retries are not seen in them.",
    "versions-differ": "Versions that are routed to and versions that have requests are not the same.",
    "amplification-measured": "Retries as measured, beside what the configuration allows.",
}
"""Codes, stable, and what each says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the configuration that burns budgets: where, in which object, why, and what to do.

    ``object`` names it as people do: ``VirtualService shop/checkout``.
    """

    position: Position
    object: str
    code: str
    severity: Severity
    message: str
    hint: str
