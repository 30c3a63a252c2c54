"""What traffic shows of a mesh, as data: calls between services, versions that serve. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Place = tuple[str, str]
"""Namespace and name of a service, or of the workload that calls."""


@dataclass(frozen=True, slots=True)
class Call:
    """Calls between two places: requests per second, and attempts per request (None: not known)."""

    client: Place
    server: Place
    rate: float
    amplification: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls, requests per second of each service's versions, and hosts that had requests, over ``seconds``.

    ``doubts`` is what the server said of data that is missing: rates are then the least that there was.
    """

    seconds: int
    calls: tuple[Call, ...] = ()
    versions: Mapping[Place, Mapping[str, float]] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    doubts: tuple[str, ...] = ()
