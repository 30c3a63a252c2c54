"""The texts that several tables share: names, labels, addresses, objectives."""

from __future__ import annotations

from decimal import Decimal

from sloctl.spec.fields import checks
from sloctl.spec.fields.containers import Named
from sloctl.spec.fields.quantities import Exact
from sloctl.spec.fields.scalars import Text

DAY = 86400

DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_HINT = "lower case letters, digits and '-', first and last a letter or digit"

SLO_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 63)
SET_NAME = Text("a DNS label", DNS_LABEL, _DNS_HINT, 40)
SERVICE = Text(
    'a service\'s name or "*"',
    rf"\*|{DNS_LABEL}(?:\.{DNS_LABEL})*",
    'the service as the metrics call it, in lower case; "*" alone stands for every service',
)
SERVICE_NAME = Text(
    "a service's name", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "the service as the metrics call it"
)
NAMESPACE = Text("the name of a namespace", DNS_LABEL, f"{_DNS_HINT}; '*' is for services only", 63)
LINE = Text("one line of text", max_length=128, checks=(checks.no_template,))
PROSE = Text("text", max_length=2000, lines=True, checks=(checks.no_template,))
LINK = Text("an address", max_length=1000, checks=(checks.link,), secret=True)
URL = Text("an address", max_length=1000, checks=(checks.address,), secret=True)
TIMEZONE = Text(
    "a time zone", r"[A-Za-z0-9_+/-]+", "an IANA name such as Europe/Paris", 64, checks=(checks.timezone,)
)
LABEL_NAME = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*"
LABELS = Named(
    LABEL_NAME,
    "a label name",
    Text("text", max_length=256, checks=(checks.no_template,)),
    checks.label_name,
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
CHANNEL = Text("a channel", r"[#@]?[^\s#@\"'<>&/:]{1,80}", 'like "#slo-reviews", in quotes', 81, secret=True)
