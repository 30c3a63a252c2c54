"""Input series of proofs: what a mesh exposes, in promtool's notation, one sample a minute."""

from __future__ import annotations

from sloctl import naming, promql
from sloctl.guardrails.queries import RENAMED
from sloctl.model import Matcher, Mesh
from sloctl.presets import REQUESTS

NAMES = {
    naming.NAMESPACE: "shop",
    naming.SERVICE: "checkout",
    naming.SOURCE_NAMESPACE: "shop",
    naming.SOURCE: "web",
}


def series(metric: str, **labels: str) -> str:
    """``metric{label="value",…}`` with plain labels."""
    return promql.selector(metric, [Matcher(name, "=", value) for name, value in sorted(labels.items())])


def requests(mesh: Mesh, **labels: str) -> str:
    """A series of requests from web to checkout in the namespace shop, unless ``labels`` (recorded names) differ.

    Its reporter is the client's proxy, or in ambient mode the waypoint.
    """
    found = {
        "reporter": "waypoint" if mesh.mode == "ambient" else "source",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "unknown",
        **{RENAMED[name]: value for name, value in NAMES.items()},
        **{RENAMED.get(name, name): value for name, value in labels.items()},
    }
    return series(REQUESTS, **found)


def flat(value: float, minutes: int = 60) -> str:
    """A gauge that stays."""
    return f"{value:g}x{minutes}"


def rising(per_minute: int, minutes: int = 60) -> str:
    """A counter that starts from 0 and gains as much every minute."""
    return f"0+{per_minute}x{minutes}"
