"""What several sections share: names, labels, addresses, objectives, and rules about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sloctl.model import Guardrail, Slo
from sloctl.model.alerting import SecretKey
from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Block, Named
from sloctl.spec.fields.values import Check, Exact, Reader, Text, position

DAY = 86400
YEAR = 366 * DAY

DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_HINT = "lower case letters, digits and '-', first and last a letter or digit"

SLO_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 63)
SET_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 40)
_SERVICE = rf"(?:\*\.)?{DNS_LABEL}(?:\.{DNS_LABEL})*"
"""Also a wildcard host of a ServiceEntry, ``*.example.org``: a name like others, no pattern."""
SERVICE = Text(
    'a service\'s name or "*"',
    rf"\*|{_SERVICE}",
    'the service as the metrics call it, in lower case; "*" alone stands for every service',
)
SERVICE_NAME = Text("a service's name", _SERVICE, "the service as the metrics call it")
NAMESPACE = Text("the name of a namespace", DNS_LABEL, f"{_DNS_HINT}; '*' is for services only", 63)
LINE = Text("one line of text", max_length=128, checks=(checks.no_template,))
PROSE = Text("text", max_length=2000, lines=True, checks=(checks.no_template,), make=str.strip)
LINK = Text("an address", max_length=1000, checks=(checks.link,), secret=True)
URL = Text("an address", max_length=1000, checks=(checks.address,), secret=True)
TIMEZONE = Text(
    "a time zone", r"[A-Za-z0-9_+/-]+", "an IANA name such as Europe/Paris", 64, checks=(checks.timezone,)
)
LABEL_NAME = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
LABELS = Named(
    LABEL_NAME, "a label name", Text("text", max_length=256, checks=(checks.no_template,)), checks.label_name
)
OBJECTIVE = Exact(
    "a percentage between 0 and 100, both excluded",
    Decimal(0),
    Decimal(100),
    hint="100 leaves no budget; three nines are 99.9",
)
OBJECT_LABEL = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
OBJECT_LABEL_HINT = "letters, digits, '-', '_' and '.', with an optional prefix such as example.org/"
OBJECT_LABEL_VALUE = Text(
    "a label's value", r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?", max_length=63
)


def object_labels(check: Check | None = None, minimum: int = 0) -> Named:
    """Labels of Kubernetes objects."""
    hint = OBJECT_LABEL_HINT
    return Named(
        OBJECT_LABEL, "a label of Kubernetes", OBJECT_LABEL_VALUE, check, key_hint=hint, minimum=minimum
    )


CHANNEL = Text("a channel", r"[#@]?[^\s#@\"'<>&/:]{1,80}", 'like "#slo-reviews", in quotes', 81, secret=True)
CRON = Text("a cron line", max_length=100, checks=(checks.cron,), make=lambda line: " ".join(line.split()))


def secret_key(text: str) -> SecretKey:
    """A name and a key, with a slash between them."""
    name, _, key = text.partition("/")
    return SecretKey(name, key)


SECRET_KEY = Text(
    "the name and key of a Secret such as pagerduty/routing-key",
    r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/(?!\.\.?$)[-._a-zA-Z0-9]{1,253}",
    "the secret itself never stands in this file",
    507,
    secret=True,
    make=secret_key,
)


class Defaults:
    """What holds for SLOs and guardrails that do not say otherwise: what their own file says, then the set."""

    def __init__(self, of_set: Block | None, of_files: Mapping[str, Block]) -> None:
        self.of_set = of_set
        self.of_files = of_files

    def places(self, block: Block) -> list[Block]:
        """What may have a key of an SLO or guardrail, itself first."""
        return [
            place for place in (block, self.of_files.get(block.node.file), self.of_set) if place is not None
        ]

    def said(self, block: Block, key: str) -> Any:
        """Its own value or else the default; None if nobody says it, or it is unusable."""
        place = next((place for place in self.places(block) if place.has(key)), None)
        return None if place is None else place.get(key)


def once(block: Block, key: str, code: str, reader: Reader) -> None:
    """A list has each of its items once."""
    seen = set()
    for index, (node, value) in enumerate(block.items(key)):
        if value in seen:
            reader.add(node, f"{block.child(key)}[{index}]", code, f"'{value}' is given twice", "remove it")
        seen.add(value)


def nobody_owns(
    what: str, without: Sequence[Slo | Guardrail], key: str, whole: Block, reader: Reader
) -> None:
    """Warn of things without owner, at the first of them, which is called ``what``."""
    block = next(block for node, block in whole.items(key) if position(node) == without[0].position)
    more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
    message, hint = f"nobody owns {what}{more}", "set 'owner' there or in 'defaults'"
    reader.add(block.node, block.path, "no-owner", message, hint, severity="warning")
