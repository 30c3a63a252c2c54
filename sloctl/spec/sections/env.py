"""The section ``env``: variables of the environment that a document names, and where they are filled in.

``${NAME}`` in a value becomes the variable's value before anything else is read, so that this is judged like a value
that was written. Expressions and regular expressions keep their text: there, a value could mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Either, Field, Items, Object
from sloctl.spec.fields.values import SECRET_WORDS, Complaint, Reader, Text, nearest
from sloctl.spec.yaml.tree import LIST, MAPPING, Node
from sloctl.spec.yaml.wording import CONTROL, shown

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_KEPT = ("events", "samples", "regex", "not_regex")
_APART = ("apiVersion", "kind", "env", "overlay")
_OF_THE_SYSTEM = re.compile(
    "_|CRON_TZ|HOME|HOSTNAME|IFS|LANG|LANGUAGE|LOGNAME|MAIL|MAILTO|OLDPWD|PATH|PWD|SHELL|SHLVL|TERM|TMPDIR|TZ|USER|USERNAME|"
    "(ALL|FTP|HTTP|HTTPS|NO)_PROXY|(KUBERNETES|LC|LD|OTEL|SSL_CERT|XDG)_.*|PYTHON.*|(CURL|REQUESTS)_CA_BUNDLE"
)
"""What shells, cron, containers and Kubernetes set, or what changes how programs run."""


def _fillable(name: str) -> Complaint | None:
    """A name that means the same wherever the file is read, and holds no secret."""
    if name.startswith("SLOCTL_"):
        hint = "it is sloctl's own: docs/operations.md says what it is for; choose another name"
        return Complaint("bad-value", f"'{name}' cannot be filled in", hint)
    if _OF_THE_SYSTEM.fullmatch(name):
        hint = "jobs would fill in the value of the machine or pod that they run on; choose another name"
        return Complaint("bad-value", f"'{name}' cannot be filled in: the system sets it itself", hint)
    words = any(map(SECRET_WORDS.fullmatch, (name, *name.split("_"))))
    if not words and ((complaint := checks.variable_name(name)) is None or complaint.code != "inline-secret"):
        return None
    hint = (
        "credentials come from variables of sloctl's own (docs/operations.md), and never stand in an SLO file"
    )
    return Complaint("inline-secret", f"'{name}' would be a secret in the SLO file", hint)


_NAME = Text(
    "the name of a variable",
    "[A-Z][A-Z0-9_]{0,127}",
    "capital letters, digits and '_'",
    128,
    checks=(_fillable,),
)
VARIABLE = Object(
    "variable",
    doc="A variable that need not be set.",
    fields=(
        Field("name", _NAME, "Its name.", required=True),
        Field(
            "default",
            Text("text", max_length=1000),
            "Its value where it is not set, or empty.",
            required=True,
        ),
    ),
)
ENV = Items(Either(_NAME, VARIABLE), maximum=100)


def fill(root: Node, environment: Mapping[str, str], reader: Reader) -> dict[str, tuple[str, Node]]:
    """Fill the variables in that a document names under ``env``; returns, by name, their values and where they are
    named.

    What the section itself says is read, and complained about, with the rest of the document.
    """
    section = root.entries.get("env")
    if section is None or section.kind != LIST:
        return {}
    values: dict[str, str] = {}
    places: dict[str, Node] = {}
    declared: set[str] = set()
    for index, item in enumerate(section.items):
        name, default = item, None
        if item.kind == MAPPING:
            name, default = item.entries.get("name", item), item.entries.get("default")
        said, path = name.text, f"env[{index}]"
        if said in declared:
            reader.add(name, path, "duplicate-variable", f"{shown(said)} is given twice", "remove one")
        declared.add(said)
        if _NAME.read(name, path, Reader()) is None:
            continue
        value = environment.get(said, "").strip()
        places[said] = name
        values[said] = value or (default.text.strip() if default is not None else "")
        if (complaint := _unusable(said, values[said])) is not None:
            reader.complain(name, path, complaint)
            del values[said]
    for key, node in root.entries.items():
        if key not in _APART:
            _Filling(values, declared, reader).visit(node, key)
    return {name: (value, places[name]) for name, value in values.items()}


def together(found: Sequence[Mapping[str, tuple[str, Node]]], reader: Reader) -> dict[str, str]:
    """The values of all documents by name: jobs, which read all of them, can be given one of each."""
    values: dict[str, tuple[str, Node]] = {}
    for filled in found:
        for name, (value, node) in filled.items():
            first, place = values.setdefault(name, (value, node))
            if value != first:
                message = f"{shown(name)} has another default in {place.file}:{place.line}"
                reader.add(node, "env", "conflict", message, "give it the same in each file, or another name")
    return {name: value for name, (value, _) in values.items()}


def check_jobs(roots: Sequence[Node], values: Mapping[str, str], reader: Reader) -> None:
    """Jobs read the same files: what ``kubernetes.env`` gives them cannot differ from the ``values`` filled in here."""
    for root in roots:
        section = root.entries.get("kubernetes")
        own = section.entries.get("env") if section is not None else None
        if own is None:
            continue
        for name, node in own.entries.items():
            if name in values and values[name] != node.text:
                message = f"the jobs would fill in another value of {shown(name)} than is filled in here"
                hint = "remove it: jobs are given what 'env' names"
                reader.add(own.keys[name], f"kubernetes.env.{name}", "conflict", message, hint)


def _unusable(name: str, value: str) -> Complaint | None:
    if not value:
        hint = f"set it, or give it a default:  env: [{{name: {name}, default: …}}]"
        return Complaint("unset-variable", f"the variable {name} is not set", hint)
    if CONTROL.search(value):
        message = f"the variable {name} has a control character, or more than one line"
        return Complaint("control-character", message, "one line of text is filled in, no more")
    if checks.variable(value) is not None:
        message = f"the variable {name} holds an address with credentials"
        hint = "credentials come from variables of sloctl's own (docs/operations.md): remove them from it"
        return Complaint("inline-secret", message, hint)
    return None


class _Filling:
    """Fills variables in below a node, once in what aliases share."""

    def __init__(self, values: Mapping[str, str], declared: set[str], reader: Reader) -> None:
        self.values = values
        self.declared = declared
        self.reader = reader
        self.seen: set[tuple[int, bool]] = set()

    def visit(self, node: Node, path: str, *, kept: bool = False) -> None:
        if (id(node), kept) in self.seen:
            return
        self.seen.add((id(node), kept))
        for key, entry in node.entries.items():
            self.visit(entry, f"{path}.{key}", kept=kept or key in _KEPT)
        for index, item in enumerate(node.items):
            self.visit(item, f"{path}[{index}]", kept=kept)
        if "${" in (node.written or node.text):
            self._fill(node, path, kept=kept)

    def _fill(self, node: Node, path: str, *, kept: bool) -> None:
        names = [name for name in _REFERENCE.findall(node.written or node.text) if name]
        if kept:
            if names or node.written:
                message = "no variable is filled in here: its value could change what an expression means"
                hint = "write the expression out, or change it in an overlay"
                self.reader.add(node, path, "variable-place", message, hint)
                self.reader.judged.add(id(node))
            return
        if (id(node), True) in self.seen:  # an alias of what keeps its text
            return
        unknown = next((name for name in names if name not in self.declared), None)
        if unknown is not None:
            hint = nearest(unknown, self.declared) or "add it to 'env', or write $${ for the text itself"
            message = f"'env' names no variable '{unknown[:60]}'"
            self.reader.add(node, path, "unknown-variable", message, hint)
            self.reader.judged.add(id(node))
        elif all(name in self.values for name in names):
            node.written, node.filled = node.text, tuple(self.values[name] for name in names)
            node.text = _REFERENCE.sub(
                lambda match: "${" if match[1] is None else self.values[match[1]], node.text
            )
        else:
            self.reader.judged.add(
                id(node)
            )  # that a variable is not set, or unusable, is said where it is named
