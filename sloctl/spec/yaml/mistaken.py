"""Files that are something else than an SLO file of sloctl: templates that nobody filled in, files of other tools.

Those of a folder that have nothing to do with SLOs are left alone. It also says where a ``#`` made a
comment of what was meant as text. Knows texts and nodes, and none of our keys but those that tell an SLO file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from sloctl.errors import Position, Problem
from sloctl.spec.yaml.tree import MAPPING, Node, parse, problem_at
from sloctl.spec.yaml.wording import alike

_BRACES = re.compile(r"\{\{(?!-?\s*\$(?:labels|value)\b)[^{}]*\}\}")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_ENVIRONMENT = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")
_SWALLOWED = re.compile(r":\s+#([A-Za-z0-9_-]+)")
_OF_EXPRESSIONS = frozenset(("promql-window", "template"))
"""Codes that say already what a variable in an expression, or a template in a label, is to be."""
_CONVERTED = "convert it:  sloctl import -o slo.yaml FILE; docs/migrate.md says what differs"
_FORMATS = (
    ("version", re.compile("prometheus/v1"), "Sloth"),
    ("apiVersion", re.compile(r"sloth\.slok\.dev/.*"), "Sloth"),
    ("apiVersion", re.compile(r"pyrra\.dev/.*"), "Pyrra"),
    ("apiVersion", re.compile(r"openslo/.*"), "OpenSLO"),
    ("apiVersion", re.compile(r"n9/.*"), "Nobl9"),
    ("apiVersion", re.compile(r"openslo\.com/.*"), "OpenSLO's version 2"),
    ("apiVersion", re.compile(r"sre\.google\.com/.*"), "slo-generator"),
    ("apiVersion", re.compile(r"monitoring\.coreos\.com/.*"), "the Prometheus Operator"),
    ("groups", None, "Prometheus (rules)"),
)
_REMEDY = (
    "nothing converts it: write its SLOs as  slos: [{name, service, namespace, objective, sli}]; "
    "docs/migrate.md says which key becomes which"
)
_IMPORTED = ("Sloth", "Pyrra", "OpenSLO", "Nobl9")


_OURS = re.compile(
    r"""^["']?(?:slos["']?:|apiVersion["']?:\s*["']?sloctl/|kind["']?:\s*["']?MeshSLO)""", re.MULTILINE
)
_TOOLS = (
    (("kustomization.yaml", "kustomization.yml"), "Kustomize's own"),
    (("Chart.yaml", "values.y*ml", "values-*.y*ml", "values.*.y*ml", "*-values.y*ml"), "of a Helm chart"),
    (("helmfile.y*ml",), "Helmfile's own"),
)
"""Files of other tools by their names; the names of what Kustomize and Helm read are not ours to choose."""
_VERSION = re.compile(r"(?:([-a-z0-9.]+)/)?v[0-9]+(?:(?:alpha|beta)[0-9]+)?")
_SLO_TOOLS = frozenset(("Sloth", "Pyrra", "OpenSLO", "Nobl9", "OpenSLO's version 2", "slo-generator"))


def left_alone(name: str, text: str, *, template: bool) -> str:
    """What a file of a folder is, if it has nothing to do with SLOs; empty if it may be meant as one of ours.

    ``template``: it is in the folder of a Helm chart's templates.
    """
    if _OURS.search(text):
        return ""
    last = name.replace("\\", "/").rpartition("/")[2]
    for patterns, tool in _TOOLS:
        if any(fnmatchcase(last, pattern) for pattern in patterns):
            roots = parse(text, name, [])
            return "" if roots and any(map(_like_ours, roots)) else tool
    if template:
        return "a template of a Helm chart"
    roots = [root for root in parse(text, name, []) or () if not (root.plain and root.empty)]
    if not roots or any(_like_ours(root) or not _kubernetes(root) for root in roots):
        return ""
    kinds = sorted({root.entries["kind"].text for root in roots})
    return f"objects of Kubernetes: {', '.join(kinds[:5])}{', …' * (len(kinds) > 5)}"


def _kubernetes(root: Node) -> bool:
    """Whether a document is an object of Kubernetes that is no SLO of another tool."""
    if root.kind != MAPPING or not {"apiVersion", "kind"} <= root.entries.keys():
        return False
    if not _VERSION.fullmatch(root.entries["apiVersion"].text):
        return False
    return not any(
        key == "apiVersion" and tool in _SLO_TOOLS and pattern and pattern.fullmatch(root.entries[key].text)
        for key, pattern, tool in _FORMATS
    )


def _like_ours(root: Node) -> bool:
    """Whether a document may be meant as an SLO file: its version, its kind or a key is ours, or nearly."""
    if root.kind != MAPPING:
        return False
    version, kind = (root.entries[key].text if key in root.entries else "" for key in ("apiVersion", "kind"))
    return (
        alike(version.partition("/")[0], "sloctl")
        or alike(kind, "MeshSLOs")
        or any(alike(key, ours) for key in root.entries for ours in ("slos", "guardrails"))
    )


def other_format(root: Node) -> Problem | None:
    """That a document is a file of another tool, if it says so itself."""
    if root.kind != MAPPING:
        return None
    for key, pattern, tool in _FORMATS:
        value = root.entries.get(key)
        if value is not None and (pattern is None or pattern.fullmatch(value.text)):
            if pattern is None and "apiVersion" in root.entries:
                continue
            text = f"this is a file of {tool}, not an SLO file of sloctl"
            remedy = _CONVERTED if tool in _IMPORTED else _REMEDY
            return problem_at(value.file, value.line, value.column, "other-format", text, remedy)
    return None


def explained(problems: Sequence[Problem], name: str, text: str, *, variables: bool) -> list[Problem]:
    """The problems of a file, with those that a template or a comment made said as such.

    ``variables``: the file names variables that are filled in.
    """
    lines = text.split("\n")
    errors = {
        item.position.line for item in problems if item.position.file == name and item.severity == "error"
    }
    templates: dict[int, Problem] = {}
    for number, line in enumerate(lines, 1):
        if "{" in line and (template := _template(name, number, line, variables)) is not None:
            templates[number] = template
    found: list[Problem] = []
    for problem in problems:
        at = problem.position.line
        if problem.position.file != name or problem.code in _OF_EXPRESSIONS or problem.severity != "error":
            found.append(problem)
        elif at in templates:
            found.append(replace(templates[at], field=problem.field))
        elif problem.code == "yaml-syntax" and templates:
            found.append(templates[min(templates)])
        else:
            found.append(_commented(problem, lines[at - 1] if at <= len(lines) else ""))
    for number, template in templates.items():
        if number not in errors and _ENVIRONMENT.search(lines[number - 1].partition(" #")[0]):
            found.append(replace(template, severity="warning"))
    return found


def _template(name: str, number: int, line: str, variables: bool) -> Problem | None:
    """That a line has something in it that was to be filled in; None in a comment."""
    comment = line.find("#") if line.lstrip().startswith("#") else line.find(" # ")
    match = _BRACES.search(line) or (None if variables else _VARIABLE.search(line))
    if match is None or 0 <= comment < match.start():
        return None
    braces = match[0].startswith("{{")
    what = "{{ … }}" if braces else "${…}"
    hint = (
        "render it first: helm template, for example, or what the template is for"
        if braces
        else "name it under 'env', or fill it in first:  envsubst < FILE | sloctl validate -f -"
    )
    text = f"{what} was not filled in: an SLO file is no template"
    return Problem(Position(name, number, match.start() + 1), "error", "not-rendered", "", text, hint)


def _commented(problem: Problem, line: str) -> Problem:
    """The problem, with a hint where ``#`` made a comment of what was to be the value."""
    swallowed = _SWALLOWED.search(line)
    if problem.code not in ("no-value", "yaml-syntax") or swallowed is None:
        return problem
    return replace(problem, hint=f'# begins a comment: write "#{swallowed[1]}" in quotes')
