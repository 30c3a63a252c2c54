"""Several documents as one: lists add up, everything else may be said in one place (or twice the same)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.shapes import Block
from sloctl.spec.yaml.tree import Node

SINGLE = (
    "metadata",
    "mesh",
    "sources",
    "defaults",
    "reports",
    "notifications",
    "dashboards",
    "kubernetes",
    "ledger",
)


class Merged:
    """The documents' values by key; ``items`` of lists keep their nodes."""

    def __init__(self, documents: Sequence[Block], reader: Reader) -> None:
        self.documents = documents
        self._single: dict[str, tuple[Node, Block | None]] = {}
        for document in documents:
            for key in SINGLE:
                if document.has(key):
                    self._take(document, key, reader)

    def _take(self, document: Block, key: str, reader: Reader) -> None:
        node = document.at(key)
        if key not in self._single:
            self._single[key] = (node, document.get(key))
        elif not self._single[key][0].same(node):
            first = self._single[key][0]
            message = f"'{key}' is also given in {first.file}:{first.line}, and says something else there"
            hint = "give it in one place, or the same in each"
            reader.add(document.node.keys[key], key, "conflict", message, hint)

    def get(self, key: str) -> Block | None:
        """The block of a key that is given once; None if it is missing or unusable."""
        found = self._single.get(key)
        return None if found is None else found[1]

    def has(self, key: str) -> bool:
        """Whether any document has the key."""
        return any(document.has(key) for document in self.documents)

    def items(self, key: str) -> list[tuple[Node, Any]]:
        """The usable items of a list, of all documents in order."""
        return [item for document in self.documents for item in document.get(key) or ()]
