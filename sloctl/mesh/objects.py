"""Reads the mesh's objects from files: YAML documents, Lists of kubectl, JSON; MeshConfig within other objects.

Knows where things stand and which objects are the mesh's, not what they mean. Templates that nobody filled in are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sloctl.errors import Problem
from sloctl.spec.yaml import files, tree
from sloctl.spec.yaml.files import Source
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node, problem_at
from sloctl.spec.yaml.wording import CONTROL

ISTIO = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io")
GATEWAY_API = "gateway.networking.k8s.io"
FORMER = ("config.istio.io", "authentication.istio.io", "rbac.istio.io")
"""Groups whose kinds Istio no longer has."""
_INSTALLS = {
    "install.istio.io/IstioOperator": (("spec", "meshConfig"), ("spec", "values", "meshConfig")),
    "sailoperator.io/Istio": (("spec", "values", "meshConfig"),),
}
_BESIDE = frozenset(
    (
        "/Service",
        "apps/Deployment",
        "apps/StatefulSet",
        "apps/DaemonSet",
        "autoscaling/HorizontalPodAutoscaler",
    )
)
"""What says which services, workloads and labels there are."""
_DIRECTIVE = re.compile(
    r"\{\{-?\s*(?:[.$\"(/]|(?:if|else|end|with|range|include|template|define|toYaml|tpl|block)\b)"
)
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_UNJUDGED = ("EnvoyFilter", "WasmPlugin", "TrafficExtension")
"""Their values are code of other languages."""
_GO = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def at(node: Node | None, *path: str) -> Node | None:
    """The value at a path of keys; None where there is none."""
    for key in path:
        if node is None or node.kind != MAPPING:
            return None
        node = node.entries.get(key)
    return None if node is None or node.empty else node


def items(node: Node | None, *path: str) -> list[Node]:
    """The items of the list at a path."""
    found = at(node, *path)
    return found.items if found is not None and found.kind == LIST else []


def text(node: Node | None, *path: str) -> str:
    """The text at a path; "" where there is none."""
    found = at(node, *path)
    return found.text if found is not None and found.kind == SCALAR else ""


def texts(node: Node | None, *path: str) -> list[str]:
    """The texts in the list at a path."""
    return [item.text for item in items(node, *path) if item.kind == SCALAR]


def integer(node: Node | None, *path: str) -> int | None:
    """The whole number at a path; None where there is none."""
    found = text(node, *path)
    return int(found) if re.fullmatch(r"-?\d{1,12}", found) else None


def real(node: Node | None, *path: str) -> float | None:
    """The number at a path; None where there is none."""
    found = text(node, *path)
    return float(found) if re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", found) else None


def seconds(node: Node | None, *path: str) -> float | None:
    """The seconds of a duration as Go writes it (``1m30s``, ``0.5s``); None where there is none."""
    found = text(node, *path)
    if not found or len(found) > 40 or _GO.sub("", found):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _GO.findall(found))


def labels(node: Node | None, *path: str) -> dict[str, str]:
    """A mapping of texts at a path."""
    found = at(node, *path)
    if found is None or found.kind != MAPPING:
        return {}
    return {key: value.text for key, value in found.entries.items() if value.kind == SCALAR}


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object: its group ("" for Kubernetes' own), version, kind, namespace, name, and its text.

    MeshConfig, which is part of others, has its own text as ``node``.
    """

    group: str
    version: str
    kind: str
    namespace: str
    name: str
    node: Node

    @property
    def spec(self) -> Node | None:
        """What it says."""
        return at(self.node, "spec")

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others of a cluster."""
        return self.group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", f"{self.kind} {self.namespace}/{self.name}")
        return text if len(text) <= 160 else f"{text[:159]}…"


@dataclass(slots=True)
class Read:
    """What some files hold: the objects that are looked at, how many were not, and what cannot be read."""

    objects: list[Object] = field(default_factory=list)
    skipped: int = 0
    problems: list[Problem] = field(default_factory=list)


def read(sources: Iterable[Source], namespace: str) -> Read:
    """The objects of some files; those that name no namespace are in ``namespace``."""
    found = Read()
    for source in sources:
        _source(source, namespace, found)
    return found


def _source(source: Source, namespace: str, found: Read) -> None:
    content = files.decode(source)
    if isinstance(content, Problem):
        found.problems.append(content)
        return
    problems: list[Problem] = []
    roots = tree.parse(content, source.name, problems)
    template = _DIRECTIVE.search(content)
    if roots is None or problems:
        if template is not None and (roots is None or _mesh(content)):
            found.problems.append(_not_rendered(source.name, content, template.start()))
            return
        if roots is None:
            found.problems += problems
            return
    lines = content.split("\n")
    documents = [document for root in roots or () for document in _documents(root)]
    kept = len(found.objects)
    for document in documents:
        _document(document, namespace, lines, found)
    first = next((_filled(item.node) for item in found.objects[kept:] if item.kind not in _UNJUDGED), None)
    for item in found.objects[kept:]:
        first = None if item.kind in _UNJUDGED or item.group in ("", "apps") else _filled(item.node)
        if first is not None:
            found.problems.append(_template_at(first))
            del found.objects[kept:]
            return
    found.problems += [problem for problem in problems if _concerns(problem, found.objects[kept:])]


def _mesh(content: str) -> bool:
    return "istio.io/" in content or GATEWAY_API in content


def _not_rendered(name: str, content: str, offset: int) -> Problem:
    line = content.count("\n", 0, offset)
    column = offset - (content.rfind("\n", 0, offset) + 1)
    return _refused(name, line + 1, column + 1)


def _template_at(node: Node) -> Problem:
    return _refused(node.file, node.line, node.column)


def _refused(name: str, line: int, column: int) -> Problem:
    message = "a template that was not filled in: only what it becomes can be judged"
    hint = "render it first:  helm template … | sloctl lint-mesh -   (or kustomize build, envsubst)"
    return problem_at(name, line, column, "not-rendered", message, hint)


def _filled(node: Node) -> Node | None:
    """The first text with a place in it that was to be filled in."""
    stack = [node]
    while stack:
        node = stack.pop()
        if node.kind == SCALAR and _PLACEHOLDER.search(node.text[:2000]):
            return node
        stack += reversed([*node.items, *node.entries.values()])
    return None


def _concerns(problem: Problem, objects: Sequence[Object]) -> bool:
    """Whether what is wrong stands in an object that is looked at: others may hold what they like."""
    return any(
        item.node.line <= problem.position.line <= _end(item.node)
        for item in objects
        if item.node.file == problem.position.file
    )


def _end(node: Node) -> int:
    """The last line in which something of a node begins."""
    last, stack = node.line, [node]
    while stack:
        node = stack.pop()
        last = max(last, node.line)
        stack += [*node.items, *node.entries.values(), *node.keys.values()]
    return last


def _documents(root: Node) -> Iterator[Node]:
    """The objects of a document: those in a list, or in a List of Kubernetes, one by one."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind == LIST:
            stack += reversed(node.items)
        elif node.kind == MAPPING:
            inner = node.entries.get("items")
            if text(node, "kind").endswith("List") and inner is not None and inner.kind == LIST:
                stack += reversed(inner.items)
            else:
                yield node


def _document(node: Node, namespace: str, lines: Sequence[str], found: Read) -> None:
    group, _, version = text(node, "apiVersion").rpartition("/")
    kind = text(node, "kind")
    where = text(node, "metadata", "namespace") or namespace
    item = Object(group, version, kind, where, text(node, "metadata", "name"), node)
    known = f"{group}/{kind}"
    mistaken = "istio.io" in text(node, "apiVersion") and known not in _INSTALLS
    if mistaken or group in ISTIO or group in FORMER or group == GATEWAY_API or known in _BESIDE:
        found.objects.append(item)
    elif known in _INSTALLS:
        found.objects.append(item)
        for path in _INSTALLS[known]:
            if (config := at(node, *path)) is not None:
                found.objects.append(_config(item, config))
    elif known == "/ConfigMap" and (embedded := at(node, "data", "mesh")) is not None:
        inner = _embedded(embedded, lines, found.problems)
        if inner is not None:
            found.objects.append(_config(item, inner))
    else:
        found.skipped += 1


def _config(owner: Object, node: Node) -> Object:
    return Object("", "", "MeshConfig", owner.namespace, owner.name, node)


def _embedded(node: Node, lines: Sequence[str], problems: list[Problem]) -> Node | None:
    """The YAML in a text of YAML, with the places that it has in the file."""
    found: list[Problem] = []
    roots = tree.parse(node.text, node.file, found)
    head = lines[node.line - 1][node.column - 1 :] if node.line <= len(lines) else ""
    literal = head.startswith("|")
    if not roots or roots[0].kind != MAPPING:
        problems += [problem_at(node.file, node.line, node.column, p.code, p.message, p.hint) for p in found]
        if roots and not found:
            message = "MeshConfig is a mapping ('key: value'): this one is not read"
            hint = "write  mesh: |  and its fields, indented"
            problems.append(problem_at(node.file, node.line, node.column, "wrong-type", message, hint))
        return None
    indent = 0
    if literal:
        body = next((line for line in lines[node.line :] if line.strip()), "")
        indent = len(body) - len(body.lstrip(" "))
    seen: set[int] = set()
    stack = [roots[0]]
    while stack:
        inner = stack.pop()
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        stack += [*inner.items, *inner.entries.values(), *inner.keys.values()]
        if literal:
            inner.line, inner.column = inner.line + node.line, inner.column + indent
        else:
            inner.line, inner.column = node.line, node.column
    return roots[0]
