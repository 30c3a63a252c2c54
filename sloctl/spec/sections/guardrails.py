"""The section ``guardrails``: thresholds rather than budgets."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sloctl.guardrails.shared.limits import COMMON, CRITICAL, GUARDRAIL_PRESETS, GuardrailPreset, Limit
from sloctl.model import Guardrail
from sloctl.model.durations import duration, number, parse_duration, parse_milliseconds
from sloctl.spec.fields.shapes import Block, Field, Items, Named, Section
from sloctl.spec.fields.values import Choice, Complaint, Loose, Reader, Text, Whole, position
from sloctl.spec.sections.common import DNS_LABEL, LINE, LINK, NAMESPACE, Defaults, nobody_owns
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
GUARDRAIL = Section(
    "guardrail",
    model=Guardrail,
    doc="A threshold rather than a budget.",
    fields=(
        Field("preset", Choice(tuple(GUARDRAIL_PRESETS)), "What is watched.", required=True),
        Field("max", _LIMIT, "The highest value that is fine.", examples=(0.01, "5m")),
        Field("min", _LIMIT, "The lowest value that is fine.", examples=(100,)),
        Field(
            "critical",
            _LIMIT,
            "`service-errors`: the percentage above which somebody is woken.",
            without=number(CRITICAL),
            examples=(20,),
        ),
        Field(
            "namespaces",
            Items(NAMESPACE, maximum=200, unordered=True),
            "Only the services (for proxies: the pods) of these namespaces.",
            without="all",
            examples=(["shop", "pay"],),
        ),
        Field(
            "gateways",
            Items(WORKLOAD, maximum=50, unordered=True),
            "`gateway-errors`: the gateways' workloads.",
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
        ),
        Field(
            "owner",
            LINE,
            "The team that answers for it; a label of its alerts.",
            without="that of `defaults`",
            examples=("team-platform",),
        ),
        Field(
            "runbook",
            LINK,
            "Address of the runbook; may hold {service}, {namespace}, {alert} and {set}, and {slo} for the preset.",
            without="sloctl's page of the alert, at `sources.runbooks`",
        ),
        Field("dashboard", LINK, "Address of a dashboard; placeholders as in `runbook`."),
    ),
    apart={
        "max": "the limit of presets that have a highest value",
        "min": "the limit of presets that have a lowest one",
        "limit": "`max` or `min`, in the preset's unit",
        "critical": "in the preset's unit",
        "owner": "also that of `defaults`",
        "position": "where it stands",
    },
)


def guardrails(whole: Block, defaults: Defaults, reader: Reader) -> tuple[Guardrail, ...]:
    """The guardrails of all documents; those that name no owner have that of the defaults."""
    first: dict[str, Node] = {}
    found = []
    for node, block in whole.items("guardrails"):
        preset = block.get("preset")
        if preset is None:
            continue
        if preset in first:
            message = f"the guardrail '{preset}' is given twice"
            hint = f"the other is in {first[preset].file}:{first[preset].line}"
            reader.add(node, block.path, "duplicate-guardrail", message, hint)
        first.setdefault(preset, node)
        if preset == "jobs" and not whole.items("jobs"):
            message = "the guardrail 'jobs' watches the jobs of this file, and it has none"
            reader.add(node, block.path, "guardrail-parameter", message, "add 'jobs', or remove it")
        owner = defaults.said(block, "owner") or ""
        found.append(_guardrail(block, GUARDRAIL_PRESETS[preset], reader, owner))
    return tuple(guardrail for guardrail in found if guardrail is not None)


def _guardrail(block: Block, kind: GuardrailPreset, reader: Reader, owner: str) -> Guardrail | None:
    limit = _limit(block, kind.limit.side, kind.limit, reader) if kind.limit else None
    return GUARDRAIL.build(
        block,
        reader,
        limit=limit,
        critical=_critical(block, kind, limit, reader),
        owner=owner,
        position=position(block.node),
    )


@GUARDRAIL.rule
def _takes_the_keys(block: Block, reader: Reader) -> None:
    kind = GUARDRAIL_PRESETS[block.get("preset")]
    allowed = {*COMMON, *kind.params} | ({kind.limit.side} if kind.limit else set())
    for key in (item.key for item in GUARDRAIL.fields):
        if block.has(key) and key not in allowed:
            takes = ", ".join(f"'{name}'" for name in sorted(allowed - {*COMMON}))
            hint = f"it takes {takes}" if takes else "remove it"
            message = f"the guardrail '{kind.name}' takes no '{key}'"
            reader.add(block.node.keys[key], block.child(key), "guardrail-parameter", message, hint)


def _critical(block: Block, kind: GuardrailPreset, limit: Decimal | None, reader: Reader) -> Decimal | None:
    if "critical" not in kind.params or kind.limit is None:
        return None
    if not block.has("critical"):
        return CRITICAL
    critical = _limit(block, "critical", kind.limit, reader)
    if critical is not None and limit is not None and critical < limit:
        message = f"'critical' ({number(critical)}) is below 'max' ({number(limit)})"
        reader.add(block.at("critical"), block.child("critical"), "guardrail-parameter", message, "")
    return critical


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


def warn_of_nobody(watched: Sequence[Guardrail], whole: Block, reader: Reader) -> None:
    """Guardrails that nobody answers for, said once."""
    without = [guardrail for guardrail in watched if not guardrail.owner]
    if without:
        nobody_owns(f"the guardrail '{without[0].preset}'", without, "guardrails", whole, reader)
