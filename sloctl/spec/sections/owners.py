"""The section ``owners``: who answers for SLOs that name nobody, as a CODEOWNERS file says it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from sloctl.model import Slo
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.fields.values import Reader, Text
from sloctl.spec.sections.common import LINE

_PATTERN = r"[-a-z0-9.*?]{1,253}"
OWNER = Object(
    "ownership",
    doc="Who answers for some services. Of those that match, the last one counts.",
    fields=(
        Field(
            "namespace",
            Text("a name, or a pattern with * and ?", _PATTERN, "of namespaces", 253),
            "Their namespace.",
            required=True,
            examples=("shop", "pay-*"),
        ),
        Field(
            "service",
            Text("a name, or a pattern with * and ?", _PATTERN, "of services", 253),
            'Their names; one without `*` does not match SLOs of `service: "*"`.',
            without="all",
            examples=("checkout",),
        ),
        Field("owner", LINE, "The team that answers for them.", required=True, examples=("team-payments",)),
    ),
)


class Owners:
    """Who answers for a service."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._used: set[int] = set()

    def of(self, namespace: str, service: str) -> str:
        """The owner of a service, or of all (``*``) of a namespace; empty if nobody is named."""
        found = ""
        for number, block in enumerate(self._blocks):
            spaces, names, owner = block.get("namespace"), block.get("service") or "*", block.get("owner")
            if not (spaces and owner and fnmatchcase(namespace, spaces)):
                continue
            if names == "*" if service == "*" else fnmatchcase(service, names):
                found = owner
                self._used.add(number)
        return found

    def warn_of_unused(self, promised: Sequence[Slo], reader: Reader) -> None:
        """Lines that match no SLO, whoever owns that: a slip of the pen, most likely."""
        for slo in promised:
            self.of(slo.namespace, slo.service)
        for number, block in enumerate(self._blocks):
            if number not in self._used:
                message = "no SLO is of these services"
                hint = "are namespace and service spelled as in 'slos'?"
                reader.add(block.node, block.path, "unknown-owner", message, hint, severity="warning")
