"""Overlays: small documents that change what the others say, for one environment.

A strategic merge, as Kustomize's: mappings merge key by key, ``null`` removes a key, the items of `slos`, `guardrails`
and `jobs` are found by what tells them apart, and anything else replaces what was there. What comes from an overlay
keeps its place, so that a problem names the file that made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from sloctl.spec.fields.shapes import Object
from sloctl.spec.fields.values import Reader, Text, kind_words, nearest
from sloctl.spec.sections.common import DNS_LABEL
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node
from sloctl.spec.yaml.wording import shown

KIND = "MeshSLOsOverlay"
PATCH = "$patch"
_NAME = Text("a DNS label", DNS_LABEL, "the environment, such as prod", 63)
_IDENTITIES = {"slos": ("namespace", "service", "name"), "guardrails": ("preset",), "jobs": ("name",)}
"""The lists whose items are found, and the keys that tell them apart."""
_FURTHER = {"jobs": ("routine", "cron", "every")}
"""Keys that tell items apart where several are alike."""
_TABLES = ("windows", "latency_buckets")
"""Lists that are one value: nobody expects what was there to stay."""
_APART = ("apiVersion", "kind", "overlay", "env")
_FORMS = {"sli": ("preset", "events", "samples")}
"""Mappings that are another one where one of these keys is another."""


def is_overlay(root: Node) -> bool:
    """Whether a document says that it is one."""
    return root.kind == MAPPING and "kind" in root.entries and root.entries["kind"].text == KIND


def apply(file: Object, roots: Sequence[Node], overlays: Sequence[Node], reader: Reader) -> list[Node]:
    """The documents as the overlays change them; ``file`` says which keys a document has."""
    patched = list(roots)
    sound = [overlay for overlay in overlays if _is_sound(file, overlay, reader)]
    _one_environment(sound, reader)
    for overlay in sound:
        for key, value in overlay.entries.items():
            if key in _IDENTITIES:
                _Items(key, reader).patch(patched, value)
            elif key not in _APART:
                _section(patched, overlay, key, reader)
    return patched


def _is_sound(file: Object, overlay: Node, reader: Reader) -> bool:
    """Whether an overlay's own keys are fine; those below are judged where they come to stand."""
    before = len(reader.problems)
    known = {item.key: item.type for item in file.fields}
    version, name = overlay.entries.get("apiVersion"), overlay.entries.get("overlay")
    for key, node in (("apiVersion", version), ("overlay", name)):
        if node is None:
            reader.add(overlay, key, "missing-key", f"'{key}' is missing", "an overlay has both")
    if version is not None:
        known["apiVersion"].read(version, "apiVersion", reader)
    if name is not None:
        _NAME.read(name, "overlay", reader)
    if "env" in overlay.entries:
        known["env"].read(overlay.entries["env"], "env", reader)
    for key, node in overlay.keys.items():
        if key == "maintenance":
            message = "an overlay has no 'maintenance': its items are told apart by nothing"
            hint = "put it into a file of kind MeshSLOs, and name that beside the overlay"
            reader.add(node, key, "overlay-item", message, hint)
        elif key not in known and key != "overlay":
            reader.add(node, key, "unknown-key", f"unknown key {shown(key)}", nearest(key, known))
    return len(reader.problems) == before


def _one_environment(overlays: Sequence[Node], reader: Reader) -> None:
    for overlay in overlays[1:]:
        first, node = overlays[0].entries["overlay"], overlay.entries["overlay"]
        if node.text != first.text:
            message = f"this is the overlay '{node.text}', and {first.file}:{first.line} is '{first.text}'"
            reader.add(node, "overlay", "conflict", message, "name the files of one environment only")


def holds_for_all(documents: Sequence[Node]) -> bool:
    """Whether the defaults of a file, which has these documents, are those of the whole set."""
    # By ``keys``: a file whose last item an overlay dropped is still a file of some SLOs.
    return any("metadata" in node.keys for node in documents) or not any(
        key in node.keys for node in documents for key in ("slos", "guardrails")
    )


def place(document: Node) -> tuple[str, bool]:
    """The file that a document's defaults are of; what an overlay adds is of none that lies there."""
    return document.file, document.patched


def _section(patched: list[Node], overlay: Node, key: str, reader: Reader) -> None:
    """Change a section wherever it stands, or else add it."""
    value = overlay.entries[key]
    merging = _Merging(reader)
    found = False
    for index, root in enumerate(patched):
        file = [other for other in patched if place(other) == place(root)]
        if root.kind == MAPPING and key in root.entries and (key != "defaults" or holds_for_all(file)):
            if found and value.kind == LIST:  # the list of the set, of which one file has all
                patched[index] = root.copy()
                del patched[index].entries[key]
                merging.say_lost(root.entries[key], value, overlay.keys[key], key)
                continue
            found = True
            alone = overlay.copy()
            alone.entries, alone.keys = {key: value}, {key: overlay.keys[key]}
            patched[index] = merging.mapping(root, alone, "")
    if not found and (gone := next((root for root in patched if _removed(root, key)), None)) is not None:
        merging.said_once(gone, key, value, overlay.keys[key], key)
        return
    if found or _is_null(value):
        if not found:
            _nothing(overlay.keys[key], key, reader)
        return
    added = overlay.copy()
    added.patched = True
    kind = overlay.entries["kind"].copy()
    kind.text = "MeshSLOs"
    added.entries = {"apiVersion": overlay.entries["apiVersion"], "kind": kind, key: _marked(value)}
    added.keys = {name: overlay.keys[name] for name in added.entries}
    patched.append(added)


def _is_null(value: Node) -> bool:
    """Whether an overlay says that a key is to go; a variable that is empty, or holds ``null``, does not."""
    return value.plain and value.empty and not value.written


def _nothing(key: Node, path: str, reader: Reader) -> None:
    message = f"there is no '{path.rpartition('.')[2]}' to remove"
    reader.add(key, path, "overlay-nothing", message, "remove the line")


def _removed(node: Node, key: str) -> bool:
    """Whether an overlay removed a key: its place is kept."""
    return key in node.keys and key not in node.entries


def _marked(node: Node) -> Node:
    """What an overlay says, with all that is in it."""
    marked = node.copy()
    marked.patched = True
    if node.kind == MAPPING:
        marked.entries = {key: _marked(entry) for key, entry in node.entries.items()}
    elif node.kind == LIST:
        marked.items = [_marked(item) for item in node.items]
    return marked


def _changed(node: Node) -> Node | None:
    """What of a node an overlay changed, or where it removed something."""
    if node.patched:
        return node
    removed = (key_node for key, key_node in node.keys.items() if _removed(node, key))
    parts = (found for part in (*node.entries.values(), *node.items) if (found := _changed(part)) is not None)
    return next(removed, None) or next(parts, None)


class _Merging:
    """Merges mappings."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def mapping(self, base: Node, patch: Node, path: str, skip: Iterable[str] = ()) -> Node:
        """What the base is with the patch."""
        merged = base.copy()
        for key, value in patch.entries.items():
            if key in skip:
                continue
            there = f"{path}.{key}" if path else key
            if key == PATCH:
                message = f"'{PATCH}' stands in items of {', '.join(map(repr, _IDENTITIES))} alone"
                self.reader.add(patch.keys[key], there, "overlay-item", message, "'key: null' removes a key")
                continue
            old = merged.entries.get(key)
            if _removed(merged, key):
                self.said_once(merged, key, value, patch.keys[key], there)
                continue
            if _is_null(value):
                if old is None:
                    _nothing(patch.keys[key], there, self.reader)
                    continue
                self.said_once(merged, key, value, patch.keys[key], there)
                del merged.entries[key]
            elif old is not None and old.kind == value.kind == MAPPING and not _another(key, old, value):
                merged.entries[key] = self.mapping(old, value, there)
                continue
            else:
                self.said_once(merged, key, value, patch.keys[key], there)
                if old is not None and old.kind == value.kind == LIST and key not in _TABLES:
                    self.say_lost(old, value, patch.keys[key], there)
                merged.entries[key] = _marked(value)
            merged.keys[key] = patch.keys[key]
        return merged

    def say_lost(self, old: Node, new: Node, at: Node, path: str) -> None:
        """A list replaces another as a whole: what it loses is said, unless it is empty, which says so itself."""
        lost = [item for item in old.items if not any(item.same(kept) for kept in new.items)]
        if not lost or not new.items or old.patched:
            return
        named = [shown(item.text) for item in lost if item.kind == SCALAR]
        what = ", ".join(named[:3]) if len(named) == len(lost) else f"{len(lost)} of {len(old.items)} items"
        more = f" and {len(named) - 3} more" if len(named) == len(lost) > 3 else ""
        message = f"this replaces the list of {old.file}:{old.line}, and loses {what}{more}"
        hint = "an overlay's list replaces the whole: name here as well what is to stay"
        self.reader.add(at, path, "overlay-replaces", message, hint, severity="warning")

    def said_once(self, base: Node, key: str, value: Node, at: Node, path: str) -> None:
        """Two files of an overlay cannot say different things of a key, nor one remove what the other says."""
        if _removed(base, key):
            before = None if _is_null(value) else base.keys[key]
        else:
            old = base.entries.get(key)
            before = None if old is None or old.same(value) else _changed(old)
        if before is not None:
            message = f"the overlay says something else of '{path}' in {before.file}:{before.line}"
            self.reader.add(at, path, "conflict", message, "say it once")


def _another(key: str, old: Node, value: Node) -> bool:
    """Whether a mapping is of another form than what it changes: then nothing of that is kept."""
    forms = _FORMS.get(key, ())
    return any(
        form in value.entries
        and value.entries[form].kind == SCALAR
        and (form not in old.entries or not old.entries[form].same(value.entries[form]))
        for form in forms
    ) or any(
        form in value.entries and form not in old.entries and any(other in old.entries for other in forms)
        for form in forms
    )


class _Items:
    """Changes the items of one of the lists."""

    def __init__(self, key: str, reader: Reader) -> None:
        self.key = key
        self.identity = _IDENTITIES[key]
        self.reader = reader

    def patch(self, patched: list[Node], items: Node) -> None:
        """Change, or drop, what the items of an overlay name."""
        if _is_null(items) or (items.kind == LIST and not items.items):
            message = f"an overlay cannot empty '{self.key}'"
            self.reader.add(
                items, self.key, "overlay-item", message, f"drop each item with '{PATCH}: delete'"
            )
            return
        if items.kind != LIST:
            message = f"'{self.key}' must be a list, not {kind_words(items)}"
            self.reader.add(items, self.key, "wrong-type", message, "start each item with '- '")
            return
        for index, item in enumerate(items.items):
            path = f"{self.key}[{index}]"
            if item.kind != MAPPING:
                self.reader.add(item, path, "wrong-type", f"an item of '{self.key}' must be a mapping")
            elif (place := self._find(patched, item, path)) is not None:
                self._change(patched, place, item, path)

    def _change(self, patched: list[Node], place: tuple[int, int], item: Node, path: str) -> None:
        root = patched[place[0]].copy()
        patched[place[0]] = root
        items = root.entries[self.key].copy()
        root.entries[self.key] = items
        said = item.entries.get(PATCH)
        if said is None:
            items.items[place[1]] = _Merging(self.reader).mapping(
                items.items[place[1]], item, path, self.identity
            )
            return
        rest = next(
            (key for key in item.entries if key not in (*self.identity, *self._further(), PATCH)), None
        )
        if said.text != "delete":
            message = f"'{PATCH}' cannot be {shown(said.text)}"
            self.reader.add(
                said, f"{path}.{PATCH}", "overlay-item", message, f"'{PATCH}: delete' drops an item"
            )
        elif rest is not None:
            message = f"what is dropped has no '{rest}'"
            self.reader.add(
                item.keys[rest], f"{path}.{rest}", "overlay-item", message, f"remove it, or '{PATCH}'"
            )
        elif (before := _changed(items.items[place[1]])) is not None:
            message = f"the overlay changes this item in {before.file}:{before.line}"
            self.reader.add(said, f"{path}.{PATCH}", "conflict", message, "change it, or drop it")
        else:
            del items.items[place[1]]
            if not items.items:
                del root.entries[self.key]
                root.keys[self.key] = item

    def _further(self) -> tuple[str, ...]:
        return _FURTHER.get(self.key, ())

    def _find(self, patched: Sequence[Node], item: Node, path: str) -> tuple[int, int] | None:
        """Document and index of the one item that is meant."""
        wanted = [self._said(item, key) for key in self.identity]
        lacking = [
            key for key, text in zip(self.identity, wanted, strict=True) if not text and key != "namespace"
        ]
        if lacking:
            for key in lacking:
                message = f"'{key}' is missing: it tells which item is meant"
                self.reader.add(item, f"{path}.{key}", "missing-key", message)
            return None
        known = list(self._known(patched))
        found = [(place, node) for place, texts, node in known if texts == wanted]
        for key in self._further():
            if len(found) > 1 and key in item.entries:
                text = self._said(item, key)
                found = [(place, node) for place, node in found if self._said(node, key) == text]
        if len(found) == 1:
            return found[0][0]
        called = "/".join(filter(None, wanted))
        if found:
            places = " and ".join(f"{node.file}:{node.line}" for _, node in found[:3])
            message = f"several of '{self.key}' are called {shown(called)}: {places}"
            further = " or ".join(f"'{key}'" for key in self._further())
            hint = f"tell them apart by {further}" if further else "rename or remove one"
        else:
            message = f"no file has {shown(called)} in '{self.key}', so there is nothing to change"
            names = {"/".join(filter(None, texts)) for _, texts, _ in known}
            hint = nearest(called, names) or "a new one belongs into a file of kind MeshSLOs"
        self.reader.add(item, path, "overlay-unknown", message, hint)
        return None

    def _known(self, patched: Sequence[Node]) -> Iterator[tuple[tuple[int, int], list[str], Node]]:
        for number, root in enumerate(patched):
            items = root.entries.get(self.key)
            for index, node in enumerate(items.items if items is not None else ()):
                if node.kind == MAPPING:
                    yield (number, index), [self._said(node, key) for key in self.identity], node

    @staticmethod
    def _said(node: Node, key: str) -> str:
        value = node.entries.get(key)
        return value.text if value is not None and value.kind == SCALAR else ""


Json = dict[str, Any]


def schema(document: Json) -> Json:
    """The JSON Schema of an overlay, from that of a document: nothing is needed, and ``null`` removes a key."""
    whole = deepcopy(document)
    for shape in whole["$defs"].values():
        _loosen(shape)
    root = whole["$defs"][whole["$ref"].rpartition("/")[2]]
    root["properties"]["kind"] = {"enum": [KIND], "description": "Kind of the document."}
    root["properties"]["overlay"] = {
        **_NAME.schema({}), "description": "The environment; of those that are named, there can be one.",
    }  # fmt: skip
    del root["properties"]["maintenance"]
    root["description"] = "An overlay: what is different in one environment."
    root["required"] = ["apiVersion", "kind", "overlay"]
    whole["title"] = "Overlay of SLO files of sloctl"
    for key, identity in _IDENTITIES.items():
        items = root["properties"][key]
        items |= {**items.pop("anyOf")[0], "minItems": 1}
        item = whole["$defs"][items["items"]["$ref"].rpartition("/")[2]]
        item["required"] = [name for name in identity if name != "namespace"]
        item["properties"][PATCH] = {"enum": ["delete"], "description": "Drops the item."}
    return whole


def _loosen(shape: Json) -> None:
    for key in ("required", "allOf", "dependentRequired", "minProperties"):
        shape.pop(key, None)
    for name, value in shape.get("properties", {}).items():
        described = {key: value.pop(key) for key in ("description", "examples") if key in value}
        if "oneOf" in value:
            value["anyOf"] = value.pop("oneOf")
        shape["properties"][name] = {"anyOf": [value, {"type": "null"}], **described}
