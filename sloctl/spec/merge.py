"""Several documents as one: lists add up, everything else may be said in one place (or twice the same)."""

from __future__ import annotations

from collections.abc import Sequence

from sloctl.spec.fields.containers import Items
from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.shapes import Block, Object
from sloctl.spec.yaml.tree import MAPPING, Node


def merge(file: Object, documents: Sequence[Block], reader: Reader) -> Block:
    """The block that the documents of a file are together; it stands where the first of them starts.

    The items of lists keep their nodes. Mappings that are given twice must be the same.
    """
    start = documents[0].node
    whole = Block(Node(MAPPING, start.file, start.line, start.column), "")
    for document in documents:
        for key, node in document.node.entries.items():
            whole.node.entries.setdefault(key, node)
            whole.node.keys.setdefault(key, document.node.keys[key])
    for item in file.fields:
        given = [document for document in documents if document.has(item.key)]
        if isinstance(item.type, Items):
            whole.values[item.key] = [one for document in given for one in document.items(item.key)]
        elif given:
            whole.values[item.key] = given[0].get(item.key)
            if isinstance(item.type, Object):
                _same(item.key, given, reader)
    return whole


def _same(key: str, given: Sequence[Block], reader: Reader) -> None:
    first = given[0].at(key)
    for document in given[1:]:
        if not first.same(document.at(key)):
            message = f"'{key}' is also given in {first.file}:{first.line}, and says something else there"
            hint = "give it in one place, or the same in each"
            reader.add(document.node.keys[key], key, "conflict", message, hint)
