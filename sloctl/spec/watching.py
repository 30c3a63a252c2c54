"""From documents to the model: guardrails, and who is told of their alerts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from sloctl.guardrails.limits import COMMON, KINDS, Kind, Limit
from sloctl.model import Guardrail, Slo
from sloctl.naming import duration
from sloctl.notifications import Notifications, Receiver, Routing, SecretKey
from sloctl.spec.merge import Merged
from sloctl.spec.quantities import Span
from sloctl.spec.reader import Complaint, Reader, position
from sloctl.spec.shapes import Block
from sloctl.spec.tree import Node
from sloctl.windows import number, parse_duration, parse_milliseconds


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
        found.append(_guardrail(block, KINDS[preset], reader, owner))
    return found


def _guardrail(block: Block, kind: Kind, reader: Reader, owner: str) -> Guardrail:
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
        span: Span | None = block.get(key)
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
