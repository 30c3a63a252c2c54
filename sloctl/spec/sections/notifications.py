"""The section ``notifications``: who is told of which alerts."""

from __future__ import annotations

from collections.abc import Iterable

from sloctl.model import LONGEST_SILENCE, Guardrail, Slo
from sloctl.model.alerting import Notifications, Receiver, Routing
from sloctl.model.durations import duration
from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Block, Field, Named, Object, Section
from sloctl.spec.fields.values import Choice, Duration, Reader, Text
from sloctl.spec.sections.common import CHANNEL, DAY, SECRET_KEY

_NAME = r"[a-zA-Z0-9][-_a-zA-Z0-9]{0,62}"
RECEIVER_NAME = Text("the name of a receiver", _NAME, "letters, digits, '-' and '_'", 63)


def _secret(what: str, example: str, *, required: bool = True) -> Field:
    return Field(
        "secret",
        SECRET_KEY,
        f"Name and key of the Kubernetes Secret (or folder and file) {what}",
        required=required,
        examples=(example,),
    )


RECEIVER_SLACK = Object(
    "slackReceiver",
    model=Receiver,
    doc="Slack, by an incoming webhook.",
    fields=(
        Field("channel", CHANNEL, "The channel.", required=True, examples=("#checkout-alerts",)),
        _secret("that holds the webhook's address.", "alerting/slack-webhook"),
    ),
)
RECEIVER_PAGERDUTY = Object(
    "pagerdutyReceiver",
    model=Receiver,
    doc="PagerDuty.",
    fields=(_secret("of the integration key (Events API v2).", "alerting/pagerduty"),),
)
_ADDRESS = r"[^\s@,<>\"'{}]{1,64}@[^\s@,<>\"'{}]{1,190}"
EMAIL_ADDRESS = Text("an e-mail address", _ADDRESS, "like oncall@example.org", 255)
RECEIVER_EMAIL = Object(
    "emailReceiver",
    model=Receiver,
    doc="E-mail, over SMTP with TLS.",
    fields=(
        Field("to", EMAIL_ADDRESS, "Who gets it.", required=True, examples=("oncall@example.org",)),
        Field(
            "from",
            EMAIL_ADDRESS,
            "Who it is from.",
            required=True,
            examples=("alerts@example.org",),
            fills="sender",
        ),
        Field(
            "smarthost",
            Text("a host and port", r"[a-zA-Z0-9](?:[-a-zA-Z0-9.]{0,251}):[0-9]{1,5}", "like host:587", 260),
            "The server that takes e-mail.",
            required=True,
            examples=("smtp.example.org:587",),
        ),
        Field(
            "username",
            Text("a name", r"[^\s{}]{1,255}", "without spaces and braces", 255),
            "Who logs in there.",
            without="nobody logs in",
            examples=("alerts@example.org",),
        ),
        _secret("that holds the password of `username`.", "alerting/smtp-password", required=False),
    ),
)
RECEIVER_OPSGENIE = Object(
    "opsgenieReceiver",
    model=Receiver,
    doc="Opsgenie.",
    fields=(
        _secret("of an API integration's key.", "alerting/opsgenie"),
        Field("region", Choice(("us", "eu")), "Where the account is."),
    ),
)
RECEIVER_TEAMS = Object(
    "teamsReceiver",
    model=Receiver,
    doc="Microsoft Teams, by a workflow's webhook. Needs Alertmanager 0.28 or later.",
    fields=(_secret("that holds the webhook's address.", "alerting/teams-webhook"),),
)
RECEIVER_WEBHOOK = Object(
    "webhookReceiver",
    model=Receiver,
    doc="Any HTTP server, such as a dead-man's-switch service.",
    fields=(
        Field(
            "url",
            Text("an address", max_length=1000, checks=(checks.webhook,), secret=True),
            "Where alerts are posted.",
            required=True,
            examples=("http://alert-sink:8080/alerts",),
        ),
        _secret("that holds a bearer token.", "alerting/sink-token", required=False),
    ),
)
RECEIVER = Section(
    "receiver",
    model=Receiver,
    doc="Who is told.",
    fields=(
        Field("slack", RECEIVER_SLACK, "A Slack channel."),
        Field("pagerduty", RECEIVER_PAGERDUTY, "A PagerDuty service."),
        Field("email", RECEIVER_EMAIL, "Somebody's e-mail."),
        Field("opsgenie", RECEIVER_OPSGENIE, "An Opsgenie integration."),
        Field("teams", RECEIVER_TEAMS, "A Teams channel."),
        Field("webhook", RECEIVER_WEBHOOK, "An HTTP server."),
    ),
    one_of=(("slack", "pagerduty", "email", "opsgenie", "teams", "webhook"),),
    apart={"name": "the key that it stands at", "kind": "which of the keys is given"},
)
ROUTING_DEFAULT = Object(
    "defaultRouting",
    doc="Where alerts go that no owner's entry covers.",
    fields=(
        Field("page", RECEIVER_NAME, "Who is woken.", required=True, examples=("platform-pager",)),
        Field(
            "ticket", RECEIVER_NAME, "Who gets what can wait.", required=True, examples=("platform-slack",)
        ),
        Field("watchdog", RECEIVER_NAME, "Who waits for the alert that always fires.", without="nobody"),
    ),
)
ROUTING = Section(
    "routing",
    model=Routing,
    doc="Where an owner's alerts go.",
    fields=(
        Field(
            "page", RECEIVER_NAME, "Who is woken.", without="that of `default`", examples=("checkout-pager",)
        ),
        Field("ticket", RECEIVER_NAME, "Who gets what can wait.", without="that of `default`"),
    ),
)
NOTIFICATIONS = Section(
    "notifications",
    model=Notifications,
    doc="Who is told of which alerts: what `sloctl generate --only alertmanager` writes.",
    fields=(
        Field(
            "receivers",
            Named(
                _NAME, "a receiver's name", RECEIVER, maximum=1000, key_hint="letters, digits, '-' and '_'"
            ),
            "The receivers.",
            required=True,
        ),
        Field("default", ROUTING_DEFAULT, "Where alerts go that no owner's entry covers.", required=True),
        Field(
            "owners",
            Named(r"[^\x00-\x1f]{1,128}", "an owner", ROUTING, maximum=1000, key_hint="one line of text"),
            "Where the alerts of an `owner` go.",
        ),
        Field(
            "group_wait",
            Duration(0, 3600, 1, "30s"),
            "How long alerts of a group are gathered: pages of a service, tickets of an owner.",
        ),
        Field(
            "group_interval",
            Duration(1, DAY, 1, "5m"),
            "How long until news of a group that was told of already.",
        ),
        Field("repeat_page", Duration(60, 30 * DAY, 1, "4h"), "How long until a page is repeated."),
        Field("repeat_ticket", Duration(60, 30 * DAY, 1, "24h"), "How long until a ticket is repeated."),
        Field(
            "repeat_watchdog", Duration(60, DAY, 1, "5m"), "How often the alert that always fires is sent."
        ),
        Field(
            "secrets_folder",
            Text(
                "an absolute path", r"(?:/(?!\.\.?(?:/|$))[-._a-zA-Z0-9]{1,255}){1,20}", "without '..'", 1000
            ),
            "Where Alertmanager finds Secrets as files: the operator's folder for `spec.secrets` of its Alertmanager.",
        ),
        Field(
            "longest_silence",
            Duration(60, 7 * DAY, 60, "4h"),
            "The longest silence that `sloctl silence` makes.",
            without=duration(LONGEST_SILENCE),
        ),
    ),
    apart={
        "receivers": "they are in the order of the file, each with its name",
        "default": "it has the watchdog's receiver too",
        "watchdog": "a key of `default`",
        "longest_silence": "the set's",
    },
)


def notifications(block: Block | None, reader: Reader) -> Notifications | None:
    """Who is told of what; None without the section, or where its parts cannot be used."""
    if block is None:
        return None
    default: Block | None = block.get("default")
    if default is None:
        return NOTIFICATIONS.build(block, reader)
    return NOTIFICATIONS.build(
        block,
        reader,
        receivers=tuple(_receiver(name, item, reader) for name, _, item in block.items("receivers")),
        default=ROUTING.build(default, reader),
        watchdog=default.get("watchdog") or "",
    )


def _receiver(name: str, block: Block, reader: Reader) -> Receiver | None:
    kind = next((item.key for item in RECEIVER.fields if block.get(item.key) is not None), "webhook")
    return RECEIVER.build(block, reader, name=name, kind=kind)


@RECEIVER.rule
def _who_logs_in_has_a_password(receiver: Block, reader: Reader) -> None:
    block: Block | None = receiver.get("email")
    if block is not None and (block.get("username") is None) != (block.get("secret") is None):
        have, lack = ("username", "secret") if block.get("secret") is None else ("secret", "username")
        message = f"'{have}' needs '{lack}'"
        hint = "a server that lets nobody log in needs neither"
        reader.add(block.at(have), block.child(have), "key-conflict", message, hint)


@NOTIFICATIONS.rule
def _receivers_exist(block: Block, reader: Reader) -> None:
    node = block.node.entries.get("receivers")
    names = set(node.entries) if node is not None else set()  # also those that were complained about
    default: Block | None = block.get("default")
    for routing in (
        *([default] if default is not None else []),
        *(item for _, _, item in block.items("owners")),
    ):
        for key in ("page", "ticket", "watchdog"):
            name = routing.get(key)
            if name is not None and name not in names:
                message = f"no receiver is called '{name}'"
                hint = f"there are {', '.join(sorted(names))}" if names else "add it to 'receivers'"
                reader.add(routing.at(key), routing.child(key), "unknown-receiver", message, hint)


def warn_of_owners(
    block: Block | None,
    notified: Notifications | None,
    slos: Iterable[Slo],
    watched: Iterable[Guardrail],
    reader: Reader,
) -> None:
    """Owners with receivers of their own for whom there is no alert: a slip of the pen, most likely."""
    if block is None or notified is None:
        return
    known = {slo.owner for slo in slos} | {guardrail.owner for guardrail in watched}
    for name, _ in notified.owners:
        if name not in known:
            message = f"nothing is owned by '{name}', so no alert takes this route"
            hint = "is it spelled as in 'owner'?"
            reader.add(
                block.at("owners"), block.child("owners"), "unknown-owner", message, hint, severity="warning"
            )
