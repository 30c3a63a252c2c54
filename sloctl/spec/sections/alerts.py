"""Guardrails and notifications: what watches the mesh's health, and who is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from sloctl.guardrails.shared.limits import COMMON, GUARDRAIL_PRESETS, GuardrailPreset, Limit
from sloctl.model import Guardrail, Slo
from sloctl.model.alerting import Notifications, Receiver, Routing, SecretKey
from sloctl.model.durations import duration, number, parse_duration, parse_milliseconds
from sloctl.spec.fields import checks
from sloctl.spec.fields.containers import Items, Named
from sloctl.spec.fields.quantities import Duration, Whole, WrittenDuration
from sloctl.spec.fields.reader import Complaint, Reader, position
from sloctl.spec.fields.scalars import Choice, Loose, Text
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.merge import Merged
from sloctl.spec.sections.common import CHANNEL, DAY, DNS_LABEL, LINE, LINK, NAMESPACE
from sloctl.spec.yaml.tree import Node

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
        Field("preset", Choice(tuple(GUARDRAIL_PRESETS)), "What is watched.", required=True),
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


def guardrails(merged: Merged, reader: Reader, owner: str) -> list[Guardrail]:
    """The guardrails of all documents; ``owner`` answers for those that name nobody."""
    first: dict[str, Node] = {}
    found = []
    for node, block in merged.items("guardrails"):
        preset = block.get("preset")
        if preset is None:
            continue
        if preset in first:
            message = f"the guardrail '{preset}' is given twice"
            hint = f"the other is in {first[preset].file}:{first[preset].line}"
            reader.add(node, block.path, "duplicate-guardrail", message, hint)
        first.setdefault(preset, node)
        if preset == "jobs" and not merged.items("jobs"):
            message = "the guardrail 'jobs' watches the jobs of this file, and it has none"
            reader.add(node, block.path, "guardrail-parameter", message, "add 'jobs', or remove it")
        found.append(_guardrail(block, GUARDRAIL_PRESETS[preset], reader, owner))
    return found


def _guardrail(block: Block, kind: GuardrailPreset, reader: Reader, owner: str) -> Guardrail:
    allowed = {*COMMON, *kind.params} | ({kind.limit.side} if kind.limit else set())
    for key in ("max", "min", "critical", "namespaces", "gateways", "versions", "min_events"):
        if block.has(key) and key not in allowed:
            takes = ", ".join(f"'{name}'" for name in sorted(allowed - {*COMMON}))
            hint = f"it takes {takes}" if takes else "remove it"
            message = f"the guardrail '{kind.name}' takes no '{key}'"
            reader.add(block.node.keys[key], block.child(key), "guardrail-parameter", message, hint)
    limit = _limit(block, kind.limit.side, kind.limit, reader) if kind.limit else None
    critical = None
    if "critical" in kind.params and kind.limit:
        critical = _limit(block, "critical", kind.limit, reader) if block.has("critical") else Decimal(20)
        if block.has("critical") and critical is not None and limit is not None and critical < limit:
            message = f"'critical' ({number(critical)}) is below 'max' ({number(limit)})"
            reader.add(block.at("critical"), block.child("critical"), "guardrail-parameter", message, "")
    versions = ((service, tuple(v for _, v in items)) for service, _, items in block.get("versions") or ())
    return Guardrail(
        preset=kind.name,
        limit=limit,
        critical=critical,
        owner=block.get("owner") or owner,
        runbook=block.get("runbook") or "",
        dashboard=block.get("dashboard") or "",
        namespaces=_texts(block.get("namespaces")),
        gateways=_texts(block.get("gateways")) or Guardrail("").gateways,
        versions=tuple(sorted(versions)),
        min_events=Guardrail("").min_events if block.get("min_events") is None else block.get("min_events"),
        position=position(block.node),
    )


def _texts(items: Sequence[tuple[Node, str]] | None) -> tuple[str, ...]:
    return tuple(sorted({text for _, text in items or ()}))


def _limit(block: Block, key: str, limit: Limit, reader: Reader) -> Decimal | None:
    """The limit in its own unit: percent, seconds, or a number."""
    text = block.get(key)
    if text is None:
        return None if block.has(key) else limit.default
    value = _parse(text, limit)
    complaint = None
    if value is None:
        words = "a duration such as 5m" if limit.unit == "duration" else "a number"
        complaint = Complaint(
            "guardrail-parameter", f"{key} must be {words} here, not '{text}'", _unit(limit)
        )
    elif not limit.lowest <= value <= limit.highest:
        low, high = (_shown(bound, limit) for bound in (limit.lowest, limit.highest))
        complaint = Complaint(
            "guardrail-parameter", f"{key} must be from {low} to {high}, not {text}", _unit(limit)
        )
    if complaint is not None:
        reader.complain(block.at(key), block.child(key), complaint)
        return None
    return value


def _parse(text: str, limit: Limit) -> Decimal | None:
    plain = text.replace(".", "", 1).isdigit()
    if limit.unit != "duration":
        return Decimal(text) if plain else None
    if plain:
        return None
    if text.endswith("ms"):
        milliseconds = parse_milliseconds(text)
        return None if milliseconds is None else milliseconds / 1000
    seconds = parse_duration(text)
    return None if seconds is None else Decimal(seconds)


def _unit(limit: Limit) -> str:
    return {"percent": "it is in percent", "duration": "units are d, h, m, s and ms", "number": ""}[
        limit.unit
    ]


def _shown(value: Decimal, limit: Limit) -> str:
    return duration(float(value)) if limit.unit == "duration" else number(value)


def notifications(block: Block | None, reader: Reader) -> Notifications | None:
    """Who is told of what; None without the section, or where its parts cannot be used."""
    if block is None:
        return None
    entries = block.get("receivers") or ()
    receivers = tuple(_receiver(name, item) for name, _, item in entries)
    names = {name for name, _, _ in entries} | _unusable(block)
    default: Block | None = block.get("default")
    used = [default] if default is not None else []
    owners = block.get("owners") or ()
    used += [item for _, _, item in owners]
    for routing in used:
        for key in ("page", "ticket", "watchdog"):
            name = routing.get(key)
            if name is not None and name not in names:
                message = f"no receiver is called '{name}'"
                hint = f"there are {', '.join(sorted(names))}" if names else "add it to 'receivers'"
                reader.add(routing.at(key), routing.child(key), "unknown-receiver", message, hint)
    if default is None:
        return None

    def seconds(key: str, otherwise: int) -> int:
        span: WrittenDuration | None = block.get(key)
        return otherwise if span is None else span.seconds

    basis = Notifications((), Routing())
    return Notifications(
        receivers=receivers,
        default=Routing(default.get("page") or "", default.get("ticket") or ""),
        owners=tuple(
            sorted(
                (name, Routing(item.get("page") or "", item.get("ticket") or "")) for name, _, item in owners
            )
        ),
        watchdog=default.get("watchdog") or "",
        group_wait=seconds("group_wait", basis.group_wait),
        group_interval=seconds("group_interval", basis.group_interval),
        repeat_page=seconds("repeat_page", basis.repeat_page),
        repeat_ticket=seconds("repeat_ticket", basis.repeat_ticket),
        repeat_watchdog=seconds("repeat_watchdog", basis.repeat_watchdog),
        secrets_folder=block.get("secrets_folder") or basis.secrets_folder,
    )


def _unusable(block: Block) -> set[str]:
    """Receivers that stand in the file with a definition that was complained about already."""
    node = block.node.entries.get("receivers")
    return set(node.entries) if node is not None and hasattr(node, "entries") else set()


def _receiver(name: str, block: Block) -> Receiver:
    for kind in ("slack", "pagerduty", "webhook"):
        part: Block | None = block.get(kind)
        if part is None:
            continue
        return Receiver(
            name=name,
            kind=kind,
            channel=part.get("channel") or "",
            url=part.get("url") or "",
            secret=_secret(part.get("secret")),
        )
    return Receiver(name, "webhook")


def _secret(text: str | None) -> SecretKey | None:
    if text is None:
        return None
    name, _, key = text.partition("/")
    return SecretKey(name, key)


def warn_of_nobody(watched: Sequence[Guardrail], merged: Merged, reader: Reader) -> None:
    """Guardrails that nobody answers for, said once."""
    without = [guardrail for guardrail in watched if not guardrail.owner]
    if without:
        block = next(b for node, b in merged.items("guardrails") if position(node) == without[0].position)
        more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        message = f"nobody owns the guardrail '{without[0].preset}'{more}"
        hint = "set 'owner' there or in 'defaults'"
        reader.add(block.node, block.path, "no-owner", message, hint, severity="warning")


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
