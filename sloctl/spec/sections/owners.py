"""The section ``owners``: who answers for SLOs that name nobody, as a CODEOWNERS file says it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from sloctl.model import Slo
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.fields.values import Reader, Text
from sloctl.spec.sections.common import LINE
from sloctl.spec.yaml.wording import shown

_PATTERN = r"[-a-z0-9.*?]{1,253}"
OWNER = Object(
    "ownership",
    doc="Who answers for some services. Of those that match in a file, the last one counts.",
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

    def __init__(self, blocks: Sequence[Block], reader: Reader) -> None:
        self._blocks = blocks
        self._reader = reader
        self._used: set[int] = set()
        self._said: set[tuple[int, int]] = set()

    def of(self, namespace: str, service: str) -> str:
        """The owner of a service, or of all (``*``) of a namespace; empty if nobody is named.

        Lines of two files that differ are a conflict: which is the last one would depend on the names of the files.
        """
        last = {self._blocks[number].node.file: number for number in self._matching(namespace, service)}
        if not last:
            return ""
        first, *others = sorted(last.values())
        found: str = self._blocks[first].get("owner")
        for number in others:
            owner = self._blocks[number].get("owner")
            if owner != found and (first, number) not in self._said:
                self._said.add((first, number))
                node, block = self._blocks[first].node, self._blocks[number]
                place = shown(f"{namespace}/{service}")
                message = (
                    f"{place} is of {shown(owner)} here, and of {shown(found)} in {node.file}:{node.line}"
                )
                hint = "say in one file who owns it: between files, no line is the last one"
                self._reader.add(block.node, block.path, "conflict", message, hint)
        return found

    def _matching(self, namespace: str, service: str) -> Iterator[int]:
        for number, block in enumerate(self._blocks):
            spaces, names = block.get("namespace"), block.get("service") or "*"
            if not (spaces and block.get("owner") and fnmatchcase(namespace, spaces)):
                continue
            if names == "*" if service == "*" else fnmatchcase(service, names):
                self._used.add(number)
                yield number

    def warn_of_unused(self, promised: Sequence[Slo]) -> None:
        """Lines that match no SLO, whoever owns that: a slip of the pen, most likely."""
        for slo in promised:
            deque(self._matching(slo.namespace, slo.service), maxlen=0)
        for number, block in enumerate(self._blocks):
            if number not in self._used:
                message = "no SLO is of these services"
                hint = "are namespace and service spelled as in 'slos'?"
                self._reader.add(block.node, block.path, "unknown-owner", message, hint, severity="warning")
