"""Who is told of which alert of an SLO set, and which alerts make others moot.

Decides routes and inhibitions as plain data; it must not know how Alertmanager or its operator spell them.
Every matcher list begins with the set's name, so that routes and inhibitions can stand beside those of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sloctl.model import Matcher
from sloctl.model.alerting import Notifications, Receiver
from sloctl.naming import (
    GATEWAY_DOWN,
    GUARDRAIL,
    ISTIOD_DOWN,
    MESH_TELEMETRY_LOST,
    NAMESPACE,
    SERVICE,
    SLO_ID,
    SLO_SET,
    TELEMETRY,
    WATCHDOG,
)

NOBODY = "sloctl/null"
"""The receiver that tells nobody. Names of the SLO file have no slash, so none of them is this one."""
BY_SERVICE = (SLO_SET, NAMESPACE, SERVICE)
BY_ALERT = (SLO_SET, "owner", "alertname")
"""How tickets of services are grouped: one cause fails many, and their owner wants one message that lists them."""
BY_GUARDRAIL = (SLO_SET, GUARDRAIL)
PLACE = (SLO_SET, "cluster")
"""What source and target of an inhibition always share. Several clusters that send to one Alertmanager usually tell
themselves apart by the external label ``cluster``; where no alert has it, it counts as equal."""

SUBJECTS = (SERVICE, "workload", "certificate")
"""What a page and a ticket of one guardrail can both be about. Of anything else one guardrail may have a page and a
ticket that have nothing to do with each other, such as lost metrics and lost spans."""


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the routing tree. Times are seconds; what is empty or None is inherited from the parent."""

    matchers: tuple[Matcher, ...]
    receiver: str = ""
    group_by: tuple[str, ...] = ()
    group_wait: int | None = None
    group_interval: int | None = None
    repeat_interval: int | None = None
    routes: tuple[Route, ...] = ()

    def receivers(self) -> Iterator[str]:
        """The names of all receivers of this tree."""
        if self.receiver:
            yield self.receiver
        for route in self.routes:
            yield from route.receivers()


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert of ``source`` fires, those of ``target`` with the same ``equal`` labels are not sent."""

    reason: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


_WITHOUT_SERVICE = Route((Matcher(SERVICE, "=", ""),), group_by=BY_GUARDRAIL)
"""Alerts of no service: those of one guardrail are one notification."""


def watchdog_receiver(notifications: Notifications) -> str:
    """The receiver of the alert that always fires.

    It is one of its own even where its namesake gets other alerts too: it must not be told that the alert has
    resolved, because a dead-man's switch takes any message for a sign of life.
    """
    return f"{notifications.watchdog}/watchdog" if notifications.watchdog else NOBODY


def tree(set_name: str, notifications: Notifications) -> Route:
    """The routes of a set, as one node."""
    default = notifications.default
    pages = [(owner, routing.page) for owner, routing in notifications.owners]
    tickets = [(owner, routing.ticket) for owner, routing in notifications.owners]
    return Route(
        (Matcher(SLO_SET, "=", set_name),),
        default.ticket,
        BY_SERVICE,
        notifications.group_wait,
        notifications.group_interval,
        notifications.repeat_ticket,
        (
            _watchdog(notifications),
            _severity("page", default.page, pages, notifications.repeat_page),
            _severity("ticket", default.ticket, tickets, notifications.repeat_ticket, BY_ALERT),
        ),
    )


def _watchdog(notifications: Notifications) -> Route:
    # A group is looked at once per group_interval, and repeated if repeat_interval has passed since it was sent,
    # which is always a moment after it was looked at: with equal numbers every second message would be left out.
    interval = max(1, notifications.repeat_watchdog // 5)
    return Route(
        (Matcher("alertname", "=", WATCHDOG),),
        watchdog_receiver(notifications),
        group_wait=0,
        group_interval=interval,
        repeat_interval=notifications.repeat_watchdog - interval // 2,
    )


def _severity(
    severity: str,
    default: str,
    owners: list[tuple[str, str]],
    repeat: int,
    group_by: tuple[str, ...] = (),
) -> Route:
    own = [
        Route((Matcher("owner", "=", owner),), receiver, routes=(_WITHOUT_SERVICE,))
        for owner, receiver in owners
        if receiver not in ("", default)
    ]
    return Route(
        (Matcher("severity", "=", severity),),
        default,
        group_by,
        repeat_interval=repeat,
        routes=(*own, _WITHOUT_SERVICE),
    )


def receivers(notifications: Notifications, root: Route) -> list[tuple[str, Receiver | None, bool]]:
    """The receivers that ``root`` uses, by name: (name, what it is, whether it hears of resolutions)."""
    declared = {receiver.name: receiver for receiver in notifications.receivers}
    found: list[tuple[str, Receiver | None, bool]] = []
    for name in sorted(set(root.receivers())):
        if name == NOBODY:
            found.append((name, None, False))
        elif name == watchdog_receiver(notifications):
            found.append((name, declared[notifications.watchdog], False))
        else:
            found.append((name, declared[name], True))
    return found


def inhibitions(set_name: str) -> tuple[Inhibition, ...]:
    """What makes what moot, within one set.

    Alertmanager takes labels that are missing on both sides for equal, so a label that identifies (``slo_id``,
    ``guardrail``) is also demanded on both sides.
    """
    ours = Matcher(SLO_SET, "=", set_name)
    page, ticket = Matcher("severity", "=", "page"), Matcher("severity", "=", "ticket")

    def some(label: str) -> Matcher:
        return Matcher(label, "=~", ".+")

    def alert(name: str, op: str = "=") -> Matcher:
        return Matcher("alertname", op, name)

    return (
        Inhibition(
            "a page of an SLO mutes the ticket of the same SLO and service",
            (ours, page, some(SLO_ID)),
            (ours, ticket, some(SLO_ID)),
            (*PLACE, SLO_ID, NAMESPACE, SERVICE),
        ),
        *(
            Inhibition(
                f"a page of a guardrail mutes the tickets of the same guardrail and {label}",
                (ours, page, some(GUARDRAIL), some(label)),
                (ours, ticket, some(GUARDRAIL), some(label)),
                (*PLACE, GUARDRAIL, NAMESPACE, label),
            )
            for label in SUBJECTS
        ),
        Inhibition(
            f"{MESH_TELEMETRY_LOST} mutes all that is computed from the proxies' metrics",
            (ours, alert(MESH_TELEMETRY_LOST)),
            (ours, Matcher(TELEMETRY, "=~", "proxies|envoy"), alert(MESH_TELEMETRY_LOST, "!=")),
            PLACE,
        ),
        Inhibition(
            f"{GATEWAY_DOWN} mutes errors and latency of services, SLOs included",
            (ours, alert(GATEWAY_DOWN)),
            # Not what no gateway causes: missing mutual TLS, misroutes, denials, another gateway's errors.
            (
                ours,
                Matcher(TELEMETRY, "=", "proxies"),
                Matcher(GUARDRAIL, "=~", "|service-errors|service-latency"),
            ),
            PLACE,
        ),
        Inhibition(
            f"{GATEWAY_DOWN} mutes the other alerts of the same gateway",
            (ours, alert(GATEWAY_DOWN), some(SERVICE)),
            (ours, Matcher(GUARDRAIL, "=", "gateway-errors"), some(SERVICE), alert(GATEWAY_DOWN, "!=")),
            (*PLACE, SERVICE),  # no metric of a gateway that is gone says in which namespace it was
        ),
        Inhibition(
            f"{ISTIOD_DOWN} mutes the other alerts of the control plane and of certificates",
            (ours, alert(ISTIOD_DOWN)),
            (ours, Matcher(GUARDRAIL, "=~", "control-plane|certificates"), alert(ISTIOD_DOWN, "!=")),
            PLACE,
        ),
    )
