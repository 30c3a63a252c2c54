"""The tables of guardrails and of notifications: what watches the mesh's health, and who is told."""

from __future__ import annotations

from sloctl.guardrails.limits import KINDS
from sloctl.spec import checks
from sloctl.spec.containers import Items, Named
from sloctl.spec.quantities import Duration, Whole
from sloctl.spec.scalars import Choice, Loose, Text
from sloctl.spec.shapes import Field, Object
from sloctl.spec.tables_common import CHANNEL, DAY, DNS_LABEL, LINE, LINK, NAMESPACE

_LIMIT = Loose(
    "a number or a duration",
    r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?|[1-9][0-9]{0,5}ms|(?=[0-9])(?:[0-9]{1,6}w)?(?:[0-9]{1,6}d)?"
    r"(?:[0-9]{1,6}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?",
    "write it like 0.01, 100 or 5m",
    (("type", "number"), ("minimum", 0)),
)
WORKLOAD = Text("the name of a workload", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "as the metrics call it", 253)
_NAME_LIST = "[-a-zA-Z0-9._]{1,128}"
VERSIONS = Items(Text("a version", _NAME_LIST, 'like "v1", in quotes if it is a number', 128), maximum=50)
GUARDRAIL = Object(
    "guardrail",
    (
        Field("preset", Choice(tuple(KINDS)), "What is watched.", required=True),
        Field("max", _LIMIT, "The highest value that is fine.", examples=(0.01, "5m")),
        Field("min", _LIMIT, "The lowest value that is fine.", examples=(100,)),
        Field(
            "critical",
            _LIMIT,
            "`service-errors`: the percentage above which somebody is woken.",
            default="20",
            examples=(20,),
        ),
        Field(
            "namespaces",
            Items(NAMESPACE, maximum=200),
            "Only the services (for proxies: the pods) of these namespaces.",
            default="all",
            examples=(["shop", "pay"],),
        ),
        Field(
            "gateways",
            Items(WORKLOAD, maximum=50),
            "`gateway-errors`: the gateways' workloads.",
            default="[istio-ingressgateway]",
            examples=(["istio-ingressgateway"],),
        ),
        Field(
            "versions",
            Named(
                rf"{DNS_LABEL}(?:\.{DNS_LABEL})*",
                "a service",
                VERSIONS,
                maximum=1000,
                key_hint="as the metrics call it",
            ),
            "`misroutes`: by service, the versions (`destination_version`) that may get traffic.",
            examples=({"checkout": ["v1", "v2"]},),
        ),
        Field(
            "min_events",
            Whole(0, 1_000_000_000),
            "Requests that the alert's window must hold before a share of them may alert.",
            default="20",
        ),
        Field(
            "owner",
            LINE,
            "The team that answers for it; a label of its alerts.",
            default="that of `defaults`",
            examples=("team-platform",),
        ),
        Field(
            "runbook",
            LINK,
            "Address of the runbook; may hold {service}, {namespace}, {alert} and {set}, and {slo} for the preset.",
            default="sloctl's page of the alert (`sources.runbooks`)",
        ),
        Field("dashboard", LINK, "Address of a dashboard; placeholders as in `runbook`."),
    ),
    doc="A threshold rather than a budget.",
)

_NAME = r"[a-zA-Z0-9][-_a-zA-Z0-9]{0,62}"
RECEIVER_NAME = Text("the name of a receiver", _NAME, "letters, digits, '-' and '_'", 63)
SECRET_KEY = Text(
    "the name and key of a Secret such as pagerduty/routing-key",
    r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/(?!\.\.?$)[-._a-zA-Z0-9]{1,253}",
    "the secret itself never stands in this file",
    507,
    secret=True,
)
RECEIVER_SLACK = Object(
    "slackReceiver",
    (
        Field("channel", CHANNEL, "The channel.", required=True, examples=("#checkout-alerts",)),
        Field(
            "secret",
            SECRET_KEY,
            "Name and key of the Kubernetes Secret (or folder and file) that holds the webhook's address.",
            required=True,
            examples=("alerting/slack-webhook",),
        ),
    ),
    doc="Slack, by an incoming webhook.",
)
RECEIVER_PAGERDUTY = Object(
    "pagerdutyReceiver",
    (
        Field(
            "secret",
            SECRET_KEY,
            "Name and key of the Kubernetes Secret (or folder and file) of the integration key (Events API v2).",
            required=True,
            examples=("alerting/pagerduty",),
        ),
    ),
    doc="PagerDuty.",
)
RECEIVER_WEBHOOK = Object(
    "webhookReceiver",
    (
        Field(
            "url",
            Text("an address", max_length=1000, checks=(checks.webhook,), secret=True),
            "Where alerts are posted.",
            required=True,
            examples=("http://alert-sink:8080/alerts",),
        ),
        Field(
            "secret",
            SECRET_KEY,
            "Name and key of the Kubernetes Secret (or folder and file) that holds a bearer token.",
            examples=("alerting/sink-token",),
        ),
    ),
    doc="Any HTTP server, such as a dead-man's-switch service.",
)
RECEIVER = Object(
    "receiver",
    (
        Field("slack", RECEIVER_SLACK, "A Slack channel."),
        Field("pagerduty", RECEIVER_PAGERDUTY, "A PagerDuty service."),
        Field("webhook", RECEIVER_WEBHOOK, "An HTTP server."),
    ),
    doc="Who is told.",
    one_of=(("slack", "pagerduty", "webhook"),),
)
ROUTING_DEFAULT = Object(
    "defaultRouting",
    (
        Field("page", RECEIVER_NAME, "Who is woken.", required=True, examples=("platform-pager",)),
        Field(
            "ticket", RECEIVER_NAME, "Who gets what can wait.", required=True, examples=("platform-slack",)
        ),
        Field("watchdog", RECEIVER_NAME, "Who waits for the alert that always fires.", default="nobody"),
    ),
    doc="Where alerts go that no owner's entry covers.",
)
ROUTING = Object(
    "routing",
    (
        Field(
            "page", RECEIVER_NAME, "Who is woken.", default="that of `default`", examples=("checkout-pager",)
        ),
        Field("ticket", RECEIVER_NAME, "Who gets what can wait.", default="that of `default`"),
    ),
    doc="Where an owner's alerts go.",
)
NOTIFICATIONS = Object(
    "notifications",
    (
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
            "How long alerts of a service are gathered.",
            default="30s",
        ),
        Field(
            "group_interval",
            Duration(1, DAY, 1, "5m"),
            "How long until news of a service that was told of already.",
            default="5m",
        ),
        Field(
            "repeat_page", Duration(60, 30 * DAY, 1, "4h"), "How long until a page is repeated.", default="4h"
        ),
        Field(
            "repeat_ticket",
            Duration(60, 30 * DAY, 1, "24h"),
            "How long until a ticket is repeated.",
            default="24h",
        ),
        Field(
            "repeat_watchdog",
            Duration(60, DAY, 1, "5m"),
            "How often the alert that always fires is sent.",
            default="5m",
        ),
        Field(
            "secrets_folder",
            Text(
                "an absolute path", r"(?:/(?!\.\.?(?:/|$))[-._a-zA-Z0-9]{1,255}){1,20}", "without '..'", 1000
            ),
            "Where Alertmanager finds Secrets as files: the operator's folder for `spec.secrets` of its Alertmanager.",
            default="/etc/alertmanager/secrets",
        ),
        Field(
            "longest_silence",
            Duration(60, 7 * DAY, 60, "4h"),
            "The longest silence that `sloctl silence` makes.",
            default="4h",
        ),
    ),
    doc="Who is told of which alerts: what `sloctl generate --only alertmanager` writes.",
)
