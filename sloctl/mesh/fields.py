"""Fields and values that objects do not have: misspelt, at the wrong place, or of former versions of Istio.

What there is stands in ``fields.json``, made from the CRDs by ``scripts/mesh_fields.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from sloctl.mesh.objects import FORMER, GATEWAY_API, ISTIO, Object
from sloctl.mesh.objects import at as value_at
from sloctl.mesh.world import Mesh
from sloctl.spec.fields.values import closest
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node
from sloctl.spec.yaml.wording import shown

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_FORMS = {MAPPING: "a mapping ('key: value')", LIST: "a list ('- …')", SCALAR: "a single value"}
_IGNORED = {
    ("DestinationRule", "consecutiveErrors"): (
        "Istio ignores 'consecutiveErrors': the default of 5 consecutive 5xx is in force",
        "write  consecutive5xxErrors: N  (any 5xx), or  consecutiveGatewayErrors: N  (502, 503, 504)",
    ),
}
_OLD = {
    ("DestinationRule", "warmupDurationSecs"): (
        "'warmupDurationSecs' is deprecated",
        "write  warmup: {duration: …}",
    ),
    ("DestinationRule", "minimumRingSize"): (
        "'minimumRingSize' is deprecated",
        "write  ringHash: {minimumRingSize: …}",
    ),
    ("VirtualService", "mirrorPercent"): (
        "'mirrorPercent' is deprecated",
        "write  mirrorPercentage: {value: …}",
    ),
    ("VirtualService", "mirror_percent"): (
        "'mirror_percent' is deprecated",
        "write  mirrorPercentage: {value: …}",
    ),
}
_OLD_VALUES = {
    ("simple", "LEAST_CONN"): (
        "LEAST_CONN is deprecated, and does what LEAST_REQUEST does",
        "write  LEAST_REQUEST",
    ),
}


@cache
def _table() -> dict[str, Any]:
    text = resources.files("sloctl.mesh").joinpath("fields.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _groups() -> dict[str, str]:
    """The group and newest version of each kind of Istio."""
    versions = _table()["versions"]
    return {
        key.rpartition("/")[2]: f"{key.rpartition('/')[0]}/{min(those)}"
        for key, those in versions.items()
        if not key.startswith(GATEWAY_API)
    }


@cache
def _places(kind: str) -> dict[str, list[str]]:
    """Where each field of a kind belongs: ``timeout`` → ``spec.http[]``."""
    places: dict[str, list[str]] = {}
    stack: list[tuple[str, Any]] = [("spec", _table()["kinds"][kind])]
    while stack:
        path, form = stack.pop()
        if isinstance(form, list):
            stack.append((f"{path}[]", form[0]))
        elif isinstance(form, dict):
            for name, inner in form.items():
                if name != "*":
                    places.setdefault(name, []).append(path)
                stack.append((f"{path}.{name}", inner))
    return places


def check(mesh: Mesh) -> None:
    """Find them."""
    for item in mesh.objects:
        if item.group in FORMER:
            text = f"Istio no longer has {shown(item.kind)} of {shown(item.group)}: it does nothing"
            mesh.find(
                item,
                item.node,
                "old-field",
                "error",
                text,
                "security.istio.io and Telemetry took their place",
            )
        elif item.group in ISTIO or item.group == GATEWAY_API:
            _object(mesh, item)
        elif "istio.io" in (given := f"{item.group}/{item.version}".strip("/")) and item.kind in _groups():
            said = f"there is no {item.kind} in {shown(given)}: nobody reads it"
            at = item.node.entries["apiVersion"]
            mesh.find(item, at, "unknown-kind", "error", said, f"write  apiVersion: {_groups()[item.kind]}")


def _object(mesh: Mesh, item: Object) -> None:
    key = f"{item.group}/{item.kind}"
    versions = _table()["versions"]
    kind = item.node.entries.get("kind", item.node)
    if key not in versions:
        kinds = {name.rpartition("/")[2]: name for name in versions}
        near = closest(item.kind, kinds)
        hint = (
            f"did you mean {near} of {kinds[near].partition('/')[0]}?"
            if near
            else "check apiVersion and kind"
        )
        if item.group == GATEWAY_API:
            return  # it grows, and has experimental kinds
        text = f"there is no {shown(item.kind)} in {shown(item.group)}"
        mesh.find(item, kind, "unknown-kind", "error", text, hint)
        return
    if item.version not in versions[key] and item.group != GATEWAY_API:
        at = item.node.entries["apiVersion"]
        text = f"there is no version {shown(item.version)} of {item.kind}"
        mesh.find(
            item, at, "unknown-kind", "error", text, f"write  apiVersion: {item.group}/{versions[key][0]}"
        )
    if all(key in item.node.entries and value_at(item.node, key) is None for key in ("metadata", "spec")):
        lost = next((node for name, node in item.node.keys.items() if name not in _TOP), None)
        if lost is not None:
            text = "metadata and spec are empty, and what belongs to them stands beside them: the indentation is lost"
            mesh.find(item, lost, "unknown-field", "error", text, "write it with its indentation")
            return
    known = dict.fromkeys(_TOP, 1)
    _mapping(mesh, item, item.node, known, key)
    spec = item.node.entries.get("spec")
    stack: list[tuple[Node, Any, str]] = [] if spec is None else [(spec, _table()["kinds"][key], "spec")]
    seen: set[tuple[int, int]] = set()
    while stack:
        node, form, name = stack.pop()
        if form == 1 or node.empty or (id(node), id(form)) in seen:
            continue  # an alias may stand in many places
        seen.add((id(node), id(form)))
        stack += reversed(list(_inside(mesh, item, node, form, name, key)))


def _inside(
    mesh: Mesh, item: Object, node: Node, form: Any, name: str, key: str
) -> Iterator[tuple[Node, Any, str]]:
    """Judge a value; give what stands in it, with its form."""
    wanted = MAPPING if isinstance(form, dict) else LIST if isinstance(form, list) else SCALAR
    if node.kind != wanted:
        text = f"'{name}' is {_FORMS[wanted]}, not {_FORMS[node.kind]}"
        mesh.find(item, node, "wrong-form", "error", text, "check the indentation, and the dashes")
    elif isinstance(form, str):
        _value(mesh, item, node, form, name)
    elif isinstance(form, list):
        yield from ((inner, form[0], name) for inner in node.items)
    elif "*" in form:
        yield from ((inner, form["*"], name) for inner in node.entries.values())
    else:
        _mapping(mesh, item, node, form, key)
        yield from ((inner, form[field], field) for field, inner in node.entries.items() if field in form)


def _value(mesh: Mesh, item: Object, node: Node, form: str, name: str) -> None:
    if (name, node.text) in _OLD_VALUES:
        mesh.find(item, node, "old-field", "warning", *_OLD_VALUES[name, node.text])
    elif node.text not in form.split(" ") and not _number_of(node, form):
        near = closest(node.text, form.split(" "))
        hint = f"did you mean {near}?" if near else f"one of {form.replace(' ', ', ')}"
        mesh.find(item, node, "unknown-value", "error", f"'{name}' cannot be {shown(node.text)}", hint)


def _number_of(node: Node, form: str) -> bool:
    """Whether a value of the enumeration is given by its number, as protobuf allows."""
    return node.plain and node.text.isdecimal() and not any(word.isdecimal() for word in form.split(" "))


def _mapping(mesh: Mesh, item: Object, node: Node, form: dict[str, Any], key: str) -> None:
    for field, place in node.keys.items():
        about = (item.kind, field)
        if about in _IGNORED:
            mesh.find(item, place, "old-field", "error", *_IGNORED[about])
        elif about in _OLD:
            mesh.find(item, place, "old-field", "warning", *_OLD[about])
        elif field not in form:
            mesh.find(
                item,
                place,
                "unknown-field",
                "error",
                f"there is no field {shown(field)} here",
                _meant(field, form, key),
            )


def _meant(field: str, form: dict[str, Any], key: str) -> str:
    near = closest(field, form)
    places = _places(key).get(field, [])
    if places and (near is None or near.lower() != field.lower()):
        return f"it belongs to {min(places, key=len)}: check the indentation"
    if near:
        return f"did you mean '{near}'?"
    few = sorted(form)
    return f"one of {', '.join(few)}" if len(few) <= 12 else "remove it: it has no effect"
