"""What a verdict means to the weights of a VirtualService: a JSON patch that somebody may apply. Applies nothing.

The configuration is read from files. A patch tests what it replaces, so that it fails on a cluster that has something
else.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.canary.observed import LABELS, Asked
from sloctl.mesh.objects import Object, items, labels, text
from sloctl.mesh.world import Destination, Mesh, Route, fqdn, place

POD_LABELS = {
    LABELS["version"]: ("version",),
    LABELS["revision"]: ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"),
}
"""By label of the counters: the labels of pods that Istio fills it from, the first that there is."""
Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patch:
    """The patch of one VirtualService; ``moves`` say what it changes, a line each."""

    namespace: str
    name: str
    moves: tuple[str, ...]
    operations: tuple[Operation, ...]

    @property
    def command(self) -> str:
        """What applies it."""
        patch = json.dumps(list(self.operations), separators=(",", ":"))
        words = ["kubectl", "patch", "virtualservices.networking.istio.io", self.name, "--namespace"]
        return shlex.join([*words, self.namespace, "--type", "json", "--patch", patch])


@dataclass(frozen=True, slots=True)
class Weights:
    """The patches for a verdict, and what is in doubt or not in them."""

    patches: tuple[Patch, ...] = ()
    doubts: tuple[str, ...] = ()


def weights(objects: Sequence[Object], asked: Asked, verdict: str) -> Weights:
    """All traffic of both versions to the canary where it is promoted, to the baseline where it is rolled back."""
    if verdict not in ("promote", "rollback"):
        return Weights(doubts=(f"none while the verdict is {verdict}: the weights stay",))
    mesh = Mesh(objects, "istio-system")
    keep = asked.canary if verdict == "promote" else asked.baseline
    found: dict[tuple[str, str], list[tuple[str, list[Operation]]]] = {}
    doubts: list[str] = []
    for route in mesh.routes:
        here = [one for one in route.destinations if _is(one.host, asked)]
        if not here:
            continue
        where = f"{route.owner} {route.named()}"
        if route.owner.kind != "VirtualService":
            doubts.append(f"{where}: its backends are Services and name no version")
            continue
        sorted_ = {
            name: [one for one in here if _version(mesh, one, asked, doubts) == name]
            for name in _names(asked)
        }
        if not any(sorted_.values()):
            doubts.append(f"{where}: no subset of it is {asked.canary} or {asked.baseline}")
        elif any(len(one) != 1 for one in sorted_.values()):
            (alone, *more) = [name for name, one in sorted_.items() if one]
            said = "several times" if more else "alone"
            doubts.append(f"{where}: leads to {alone} {said}, and is not in the patch")
        else:
            move = _move(route, {name: one for name, (one,) in sorted_.items()}, keep)
            if move is not None:
                found.setdefault((route.owner.namespace, route.owner.name), []).append(
                    (f"{where}: {move[0]}", move[1])
                )
            else:
                doubts.append(f"{where}: has these weights already, or none for either version")
    repeated = {
        key for key in found if sum((one.namespace, one.name) == key for one in mesh.virtual_services) > 1
    }
    doubts += [
        f"VirtualService {place_}/{name} is given more than once: there is no patch of it"
        for place_, name in sorted(repeated)
    ]
    patches = tuple(
        Patch(
            *key,
            tuple(text_ for text_, _ in moves),
            tuple(one for _, operations in moves for one in operations),
        )
        for key, moves in found.items()
        if key not in repeated
    )
    if not patches and not doubts:
        doubts.append(f"no VirtualService that was given leads to {asked.service}")
    return Weights(patches, tuple(dict.fromkeys(doubts)))


def _names(asked: Asked) -> tuple[str, str]:
    return asked.canary, asked.baseline


def _is(host: str, asked: Asked) -> bool:
    namespace, name = place(host)
    return name == asked.service and (not asked.namespace or namespace == asked.namespace)


def _version(mesh: Mesh, one: Destination, asked: Asked, doubts: list[str]) -> str:
    """Which version a subset is; "" if none or unknown."""
    if not one.subset:
        return ""
    rules = [
        item
        for item in mesh.kind("DestinationRule")
        if fqdn(text(item.spec, "host"), item.namespace) == one.host
    ]
    if not rules:
        doubts.append(
            f"no DestinationRule of {asked.service} was given: a subset is taken for the version of its name"
        )
        return one.subset
    for item in rules:
        for subset in items(item.spec, "subsets"):
            if text(subset, "name") == one.subset:
                own = labels(subset, "labels")
                wanted = POD_LABELS.get(asked.label, (asked.label, asked.label.replace("_", "-")))
                return next((own[name] for name in wanted if name in own), "")
    return ""


def _move(route: Route, of: dict[str, Destination], keep: str) -> tuple[str, list[Operation]] | None:
    """What changes and how; None where nothing does."""
    before = {name: one.weight or 0 for name, one in of.items()}
    whole = sum(before.values())
    after = {name: whole if name == keep else 0 for name in of}
    if before == after or not whole:
        return None
    operations: list[Operation] = []
    entries = items(route.node, "route")
    for name, one in of.items():
        path = f"/spec/{route.protocol}/{route.index}/route/{entries.index(one.node)}"
        operations.append({"op": "test", "path": f"{path}/destination/host", "value": one.host_node.text})
        operations.append({"op": "test", "path": f"{path}/destination/subset", "value": one.subset})
        if one.weight is not None:
            operations.append({"op": "test", "path": f"{path}/weight", "value": one.weight})
        operations.append(
            {"op": "add" if one.weight is None else "replace", "path": f"{path}/weight", "value": after[name]}
        )
    said = ", ".join(f"{name} {before[name]} → {after[name]}" for name in of)
    return said, operations
