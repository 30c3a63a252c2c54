"""Who is told of which alerts: plain immutable data, a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of a Kubernetes Secret; Alertmanager reads it as the file ``folder/name/key``."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told: a Slack channel, a PagerDuty service, or a webhook."""

    name: str
    kind: Literal["slack", "pagerduty", "webhook"]
    channel: str = ""
    url: str = ""
    secret: SecretKey | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The receivers of an owner's pages and tickets, by name; an empty name means the default's."""

    page: str = ""
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Notifications:
    """How Alertmanager routes alerts. Times are seconds.

    ``watchdog`` is the receiver of the alert that always fires; empty if nobody waits for it.
    """

    receivers: tuple[Receiver, ...]
    default: Routing
    owners: tuple[tuple[str, Routing], ...] = ()
    watchdog: str = ""
    group_wait: int = 30
    group_interval: int = 300
    repeat_page: int = 4 * 3600
    repeat_ticket: int = 24 * 3600
    repeat_watchdog: int = 300
    secrets_folder: str = "/etc/alertmanager/secrets"
