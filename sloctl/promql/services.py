"""What Istio puts where a service's name is expected, and which of it is no service.

The one list for everything that looks at services without being told which: SLOs of ``"*"``, guardrails, dashboards,
preflight.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sloctl.model import Matcher
from sloctl.promql.syntax import regex_quote

NOT_SERVICES = ("", "unknown", "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster")
"""Names of no service: none or one that the proxy could not tell (a workload without a proxy of its own is called
``unknown`` too), hosts that no route forbids or knows, and what comes in on a port that no service has.

A wildcard host (``*.example.org``) is not among them: a ServiceEntry declares it, and somebody answers for it.
"""
_PATTERNS = (*map(regex_quote, NOT_SERVICES[:-1]), f"{NOT_SERVICES[-1]}.*")
"""Older proxies tell ``InboundPassthroughClusterIpv4`` and ``…Ipv6`` apart."""


def is_service(name: str) -> bool:
    """Whether a name is that of a service."""
    return re.fullmatch("|".join(_PATTERNS), name) is None


def without(label: str, names: Sequence[str]) -> list[Matcher]:
    """Matchers that leave out the series of some services."""
    if len(names) <= 1:
        return [Matcher(label, "!=", name) for name in names]
    return [Matcher(label, "!~", "|".join(regex_quote(name) for name in names))]


def services(label: str, overridden: Sequence[str] = ()) -> Matcher:
    """The matcher of everything that is a service, but for some that are called by their names."""
    return Matcher(label, "!~", "|".join((*_PATTERNS, *map(regex_quote, overridden))))
