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
    """Who is told: a Slack channel, a PagerDuty service, people by e-mail, Opsgenie, a Teams channel, or a webhook.

    ``to`` and ``sender`` are addresses of e-mail, ``smarthost`` is the server (host:port) that takes it, and
    ``username`` who logs in there. ``region`` is Opsgenie's.
    """

    name: str
    kind: Literal["slack", "pagerduty", "email", "opsgenie", "teams", "webhook"]
    channel: str = ""
    url: str = ""
    to: str = ""
    sender: str = ""
    smarthost: str = ""
    username: str = ""
    region: Literal["us", "eu"] = "us"
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
