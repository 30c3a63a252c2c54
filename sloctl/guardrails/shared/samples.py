"""Input series of proofs: what a mesh exposes, in promtool's notation, one sample a minute."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import ceil

from sloctl import naming, promql
from sloctl.guardrails.shared.kinds import Proof
from sloctl.guardrails.shared.queries import RENAMED
from sloctl.model import Guardrail, Matcher, Mesh
from sloctl.model.durations import number
from sloctl.promql.presets import REQUESTS

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


def namespace(guardrail: Guardrail) -> str:
    """A namespace that the guardrail watches."""
    return guardrail.namespaces[0] if guardrail.namespaces else NAMES[naming.NAMESPACE]


def flat(value: float, minutes: int = 60) -> str:
    """A gauge that stays."""
    return f"{value:g}x{minutes}"


def rising(per_minute: int, minutes: int = 60) -> str:
    """A counter that starts from 0 and gains as much every minute."""
    return f"0+{per_minute}x{minutes}"


def burst(per_minute: int, minutes: int, after: int = 60) -> str:
    """A counter that starts from 0, gains as much every minute for some minutes, and then stands still."""
    return f"0+{per_minute}x{minutes} {per_minute * minutes}x{after}"


def once(count: int, minutes: int = 60) -> str:
    """A counter that gains ``count`` in its first minute, and then stands still."""
    return f"0 {count}x{minutes}"


def histograms(values: str, bounds: Sequence[Decimal], within: int) -> str:
    """Counters' samples as native histograms with buckets up to some bounds, all in the bucket of that number."""

    def histogram(found: re.Match[str]) -> str:
        buckets = f"{'0 ' * within}{found[1]}"
        edges = " ".join(map(number, bounds))
        return f"{{{{schema:-53 sum:0 count:{found[1]} custom_values:[{edges}] buckets:[{buckets}]}}}}"

    return re.sub(r"(?<![x\d])(\d+)", histogram, values)


def share_above(
    bad: str,
    good: str,
    limit: Decimal,
    labels: Mapping[str, str],
    *,
    window: int,
    for_: int,
    keep: int,
    min_events: int,
    quiet: str,
) -> Proof:
    """The proof of an alert that waits for a share of bad ones above ``limit`` (below 1) in ``window`` seconds.

    Half way between the limit and all, for twenty minutes, then no traffic; against nine tenths of the limit, beside a
    series ``quiet`` of bad ones alone that are too few.
    """
    events = max(1_000_000, min_events)
    many, few = ceil(events * (1 + limit) / 2), int(events * limit * 9 / 10)
    over = 20 + window // 60
    calm = {bad: rising(few), good: rising(events - few)}
    return Proof(
        inputs={bad: burst(many, 20), good: burst(events - many, 20)},
        fires=1 + for_ // 60,
        labels=labels,
        value=many / events,
        calm=calm | ({quiet: once(min_events - 1)} if min_events > 1 else {}),
        silent=(1 + for_ // 60, 30),
        lasts=over + keep // 60 - 1 if keep else 0,
        resolved=over + keep // 60,
    )
