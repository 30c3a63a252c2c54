"""F8: the share of what a service gets that policies deny, when it jumps.

Requests: 403, or gRPC's PERMISSION_DENIED in a response with code 200. In ambient mode also connections that ztunnel
denies: it counts each as opened with the response flag ``-``, and as closed with the flag ``DENY`` (istio/ztunnel,
``src/proxy/metrics.rs``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    ALL,
    RENAMED,
    SERVICE_LABELS,
    Queries,
    RecordedQueries,
    connections,
    enough,
    in_namespaces,
    in_set,
    reported,
    share,
    signal,
    tiles,
)
from sloctl.model import TILE, Guardrail, Matcher, SloSet
from sloctl.model.durations import duration, number
from sloctl.promql.presets import GRPC_CODES

WINDOW = 300
OPENED, CLOSED = "istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"
JUMP = 3
"""How many times the share of the hour before a share must be to have jumped."""
BEFORE, PAUSE = 3600, 600
"""Seconds that a share is compared with, and seconds between them and now."""
DENIED = (
    (Matcher("response_code", "=", "403"),),
    (
        Matcher("response_code", "!=", "403"),
        Matcher("request_protocol", "=", "grpc"),
        Matcher("grpc_response_status", "=", GRPC_CODES["PERMISSION_DENIED"]),
    ),
)


@dataclass(frozen=True, slots=True)
class _What:
    """What is denied: how both forms count all and the denied, and series of the fine and the denied for proofs.

    ``minutes`` is what is recorded of raw counters for that, besides the mesh's requests.
    """

    noun: Literal["requests", "connections"]
    alert: str
    total: Callable[[Queries], str]
    denied: Callable[[Queries], str]
    fine_series: str
    denied_series: str
    minutes: tuple[Signal, ...] = ()


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``policy-denials``."""
    watched = [_requests(slo_set, guardrail)]
    if slo_set.mesh.mode == "ambient":
        watched.append(_connections(slo_set, guardrail))
    signals: list[Signal] = []
    verdicts, alerts = [], []
    assert guardrail.limit is not None
    for what in watched:
        total, denied, ratio = found = _signals(slo_set, what)
        signals += (*what.minutes, *found)
        limit = float(guardrail.limit / 100)
        verdicts.append(Verdict("policy-denials", ratio, limit, "max", "ratio", SERVICE_LABELS))
        if guardrail.limit < 100:
            alerts.append(_alert(slo_set, guardrail, what, (total, denied, ratio)))
    base = {"reporter", *SERVICE_LABELS, *(m.label for part in DENIED for m in part)}
    return Plan("policy-denials", tuple(signals), tuple(verdicts), tuple(alerts), frozenset(base))


def _place(guardrail: Guardrail) -> dict[str, str]:
    return {naming.NAMESPACE: samples.namespace(guardrail), naming.SERVICE: "checkout"}


def _requests(slo_set: SloSet, guardrail: Guardrail) -> _What:
    scope, place = in_namespaces(guardrail), _place(guardrail)
    return _What(
        "requests",
        "PolicyDenialsJumped",
        lambda q: reported(slo_set, q, scope, WINDOW),
        lambda q: reported(slo_set, q, scope, WINDOW, DENIED),
        samples.requests(slo_set.mesh, **place),
        samples.requests(slo_set.mesh, **place, response_code="403"),
    )


def _connections(slo_set: SloSet, guardrail: Guardrail) -> _What:
    opened = connections(guardrail, "service:opened_connections:increase1m", OPENED)
    denied = connections(
        guardrail, "service:denied_connections:increase1m", CLOSED, Matcher("response_flags", "=", "DENY")
    )
    labels = {RENAMED[label]: value for label, value in _place(guardrail).items()} | {
        "reporter": "destination"
    }
    return _What(
        "connections",
        "ConnectionsDenied",
        lambda q: q.counts(opened, ALL, WINDOW, SERVICE_LABELS),
        lambda q: q.counts(denied, ALL, WINDOW, SERVICE_LABELS),
        samples.series(OPENED, **labels, response_flags="-"),
        samples.series(CLOSED, **labels, response_flags="DENY"),
        tuple(tiles(slo_set, family, SERVICE_LABELS) for family in (opened, denied)),
    )


def _signals(slo_set: SloSet, what: _What) -> tuple[Signal, Signal, Signal]:
    """All, the denied, and their share, over five minutes."""
    total = signal(slo_set, f"service:policed_{what.noun}:increase5m", what.total)
    denied = signal(slo_set, f"service:denied_{what.noun}:increase5m", what.denied)
    ratio = signal(
        slo_set,
        f"service:denied_{what.noun}:ratio5m",
        lambda q: share(q.read(denied), q.read(total), SERVICE_LABELS),
    )
    return total, denied, ratio


def _alert(
    slo_set: SloSet, guardrail: Guardrail, what: _What, signals: tuple[Signal, Signal, Signal]
) -> HealthAlert:
    assert guardrail.limit is not None
    total, denied, ratio = signals
    q = RecordedQueries(slo_set)
    on = f"on ({', '.join(SERVICE_LABELS)})"
    # Each sample counts the five minutes before it: these are of the hour that ended ten minutes ago.
    count = (BEFORE - WINDOW) // TILE + 1
    past = f"[{promql.milliseconds(count * TILE)}] offset {duration(PAUSE)}"
    # Summed: series of the time before the file's labels changed are still in the window.
    denied_sum, total_sum = (
        f"sum by ({', '.join(SERVICE_LABELS)}) "
        f"(sum_over_time({promql.selector(found.record, in_set(slo_set))}{past}))"
        for found in (denied, total)
    )
    # Missing where nothing was denied then: that is no share to hold anything against.
    before = f"{denied_sum}\n  / {on} ({total_sum} > 0)"
    oldest = promql.selector(total.record, in_set(slo_set))
    text = number(guardrail.limit)
    return HealthAlert(
        name=what.alert,
        # Rules that are younger than the hour before cannot tell a jump.
        expr=(
            f"{q.read(ratio)} > {number(guardrail.limit / 100)}\n"
            f"and on ()\n  count(last_over_time({oldest}[5m] offset {duration(BEFORE)})) > 0\n"
            f"unless {on}\n  {JUMP} * ({before}) >= {on} {q.read(ratio)}"
            f"{enough(q, total, guardrail, SERVICE_LABELS)}"
        ),
        for_=300,
        keep_firing_for=900,
        severity="ticket",
        summary=f"{{label:service}}: {{percent}} of its {what.noun} are denied",
        description=(
            f"Over 5 minutes more than {text} % of the {what.noun} to {{label:service}} in {{label:namespace}} were "
            f"denied, and more than {JUMP} times the share of the hour before: a policy or an identity changed."
        ),
        telemetry="proxies",
        failure_mode="F8",
        proof=_proof(guardrail, what),
    )


def _proof(guardrail: Guardrail, what: _What) -> Proof:
    """From minute 80 on, everything is denied; against all having been denied for ever."""
    assert guardrail.limit is not None
    events = max(1000, guardrail.min_events)
    # So many of the five minutes must be denied wholly; then come the five minutes that the alert waits.
    fires = 80 + int(5 * guardrail.limit / 100) + 1 + 5
    opened = what.noun == "connections"
    always = samples.rising(events, 150)
    return Proof(
        inputs={
            "up": samples.flat(1, 150),
            what.fine_series: always if opened else samples.burst(events, 80, 70),
            what.denied_series: f"0x79 0+{events}x70",
        },
        fires=fires,
        labels=_place(guardrail),
        value=1,
        calm={"up": samples.flat(1, 150), what.denied_series: always}
        | ({what.fine_series: always} if opened else {}),
        silent=(10, 70, 80, fires),
    )
