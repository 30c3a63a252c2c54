"""From files of other tools to the text of an SLO file: which reader reads which document, and the check of the result.

The text is loaded as any SLO file is; an SLO that this finds unusable is not written, for the reason that it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sloctl import naming
from sloctl.errors import Problem, UsageError
from sloctl.spec.fields.values import position
from sloctl.spec.foreign import openslo, pyrra, sloth
from sloctl.spec.foreign.drafts import MONTH, Draft, View, shown
from sloctl.spec.foreign.writing import block, comment
from sloctl.spec.load import check_sources
from sloctl.spec.sections.common import OBJECT_LABEL_VALUE, SET_NAME
from sloctl.spec.yaml import files, tree
from sloctl.spec.yaml.files import Source
from sloctl.spec.yaml.tree import LIST, MAPPING, Node, problem_at

_RESULT = "<result>"
_OPENSLO = ("openslo/v1", "openslo/v1alpha", "n9/v1alpha")
_WORDS = {"import-refused": "not converted", "import-left-out": "left out", "import-renamed": "renamed"}
_REFERRED = ("SLI", "AlertPolicy", "AlertCondition")
_ASIDE = {
    "DataSource": "its address goes into 'sources.prometheus', its credentials into the environment",
    "Agent": "its address goes into 'sources.prometheus', its credentials into the environment",
    "Direct": "its address goes into 'sources.prometheus', its credentials into the environment",
    "Service": "a service is a name here, and its owner the 'owner' of its SLOs",
    "Project": "sets of SLOs are files here",
    "AlertNotificationTarget": "'notifications' has receivers, by severity and owner",
    "AlertMethod": "'notifications' has receivers, by severity and owner",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of some files: the text of an SLO file ("" where no SLO is left), and everything that was not said.

    ``written`` counts SLOs.
    """

    text: str
    problems: tuple[Problem, ...]
    written: int

    @property
    def invalid(self) -> bool:
        """Whether a file is none of those that are read, or not what its tool takes."""
        return any(
            problem.severity == "error" and problem.code != "import-refused" for problem in self.problems
        )


def convert(sources: Sequence[Source], *, name: str = "", seconds: int = MONTH) -> Imported:
    """The SLO file that stands for files of Sloth, Pyrra, OpenSLO and Nobl9.

    ``name`` is that of the set; ``seconds`` the window of SLOs that say none. Raises UsageError for a name or a window
    that no SLO file takes.
    """
    if name and not re.fullmatch(SET_NAME.pattern, name):
        raise UsageError(
            f"--name: {name[:60]!r} is no name of a set", hint="a DNS label of up to 40 characters"
        )
    broken: list[Problem] = []
    drafts, aside, objects = _read(sources, broken, seconds)
    if broken:
        return Imported("", _sorted(broken), 0)
    if not drafts and not aside:
        at = sources[0].name if sources else _RESULT
        none = problem_at(at, 1, 1, "import-form", "there is no SLO of Sloth, Pyrra, OpenSLO or Nobl9 here")
        return Imported("", (none,), 0)
    _tell_apart(drafts)
    set_name = name or _set_name(drafts)
    text = _checked(drafts, aside, set_name, objects)
    problems = [*aside, *(_named(problem, draft) for draft in drafts for problem in _problems(draft))]
    written = sum(1 for draft in drafts if draft.refused is None)
    return Imported(text if written else "", _sorted(problems), written)


def _read(
    sources: Sequence[Source], broken: list[Problem], seconds: int
) -> tuple[list[Draft], list[Problem], dict[str, object]]:
    """The SLOs of all documents, what stands beside them, and metadata of Kubernetes that all of them share."""
    documents = [View(node, "", broken) for source in sources for node in _documents(source, broken)]
    catalogue = openslo.Catalogue()
    for document in documents:
        if document.text("apiVersion") in _OPENSLO and document.text("kind") in (*_REFERRED, "DataSource"):
            catalogue.add(document)
    drafts: list[Draft] = []
    aside: list[Problem] = []
    for document in documents:
        found = _drafts(document, catalogue, seconds)
        if isinstance(found, Problem):
            (broken if found.severity == "error" else aside).append(found)
        else:
            drafts += found
    aside += catalogue.leftovers()
    return drafts, aside, _objects(documents, aside)


def _documents(source: Source, broken: list[Problem]) -> Iterator[Node]:
    """The documents of a file; those in a list, or in a List of Kubernetes, one by one."""
    text = files.decode(source)
    if isinstance(text, Problem):
        broken.append(text)
        return
    roots = tree.parse(text, source.name, broken)
    for root in roots or ():
        items = root.entries.get("items") if root.kind == MAPPING else None
        if root.kind == LIST:
            nodes = root.items
        elif items is not None and items.kind == LIST:
            nodes = items.items
        else:
            nodes = [root]
        for node in nodes:
            if node.kind == MAPPING:
                yield node
            elif not node.empty:
                text = "a file of SLOs is a mapping"
                broken.append(problem_at(node.file, node.line, node.column, "import-form", text))


def _drafts(document: View, catalogue: openslo.Catalogue, seconds: int) -> list[Draft] | Problem:
    """The SLOs of a document; a problem where it has none."""
    at, version, kind = position(document.node), document.text("apiVersion"), document.text("kind")
    if document.text("version") == "prometheus/v1":
        return list(sloth.drafts(document, seconds))
    if version == "sloth.slok.dev/v1" and kind == "PrometheusServiceLevel":
        return list(sloth.drafts(document, seconds))
    if version == "pyrra.dev/v1alpha1" and kind == "ServiceLevelObjective":
        return list(pyrra.drafts(document, seconds))
    if version in _OPENSLO:
        if kind == "SLO":
            return list(openslo.drafts(document, catalogue, seconds))
        if kind in _REFERRED or (kind == "Service" and _only_named(document)):
            return []
        text, hint = f"a document of the kind {shown(kind) or '(none)'} is no SLO", _ASIDE.get(kind, "")
        return Problem(at, "warning", "import-left-out", "kind", text, hint)
    if version == "sloctl/v1":
        text, hint = "this is an SLO file of sloctl already", "sloctl validate -f checks it"
        return Problem(at, "error", "import-form", "apiVersion", text, hint)
    what = (
        shown(" ".join(word for word in (version or document.text("version"), kind) if word)) or "no version"
    )
    text = f"this document ({what}) is none of Sloth's, Pyrra's, OpenSLO's or Nobl9's that is read"
    hint = (
        "prometheus/v1, sloth.slok.dev/v1, pyrra.dev/v1alpha1, openslo/v1, openslo/v1alpha and n9/v1alpha are"
    )
    return Problem(at, "error", "import-form", "apiVersion", text, hint)


def _only_named(document: View) -> bool:
    """Whether a document says no more than a name."""
    metadata = document.view("metadata")
    if metadata is not None:
        metadata.skip("name")
    document.skip("apiVersion", "kind")
    return not any(document.leftovers())


def _objects(documents: Sequence[View], aside: list[Problem]) -> dict[str, object]:
    """Namespace and labels of the objects that hold Sloth's and Pyrra's SLOs, if all of them have the same."""
    seen: list[tuple[View, dict[str, object]]] = []
    for document in documents:
        if not document.text("apiVersion").startswith(("sloth.slok.dev/", "pyrra.dev/")):
            continue
        metadata = document.view("metadata")
        if metadata is None:
            continue
        labels = {
            key: value
            for key, value in metadata.mapping("labels").items()
            if not key.startswith("pyrra.dev/") and key not in naming.OBJECT_LABELS and _usable(value)
        }
        namespace = metadata.text("namespace")
        found: dict[str, object] = {"namespace": namespace} if _usable(namespace) else {}
        seen.append((metadata, found | ({"labels": labels} if labels else {})))
    if all(found == seen[0][1] for _, found in seen):
        return seen[0][1] if seen else {}
    text = "the objects have different namespaces or labels; those of a set here have the same"
    hint = "import them apart, or set metadata.objects"
    aside.append(Problem(position(seen[0][0].node), "warning", "import-left-out", "metadata", text, hint))
    return {}


def _usable(value: str) -> bool:
    return re.fullmatch(OBJECT_LABEL_VALUE.pattern, value) is not None and len(value) <= 63


def _tell_apart(drafts: Sequence[Draft]) -> None:
    """No two SLOs of a service have the same name."""
    seen: dict[tuple[str, str, str], int] = {}
    for draft in drafts:
        if draft.refused is not None:
            continue
        name, place = draft.name, (draft.namespace, draft.service)
        while (*place, draft.name) in seen:
            seen[*place, name] += 1
            draft.name = f"{name[:56].rstrip('-')}-{seen[*place, name]}"
        if draft.name != name:
            draft.rename(
                draft.view.at("name", "metadata"), f"the name '{name}' is taken: it is '{draft.name}' here"
            )
        seen[*place, draft.name] = 1


def _set_name(drafts: Sequence[Draft]) -> str:
    """The service of all SLOs, if it is one, or else their namespace."""
    services = {draft.service if draft.service != "*" else draft.namespace for draft in drafts}
    return (naming.slug(next(iter(services)))[:40].strip("-") if len(services) == 1 else "") or "imported"


def _checked(drafts: list[Draft], aside: Sequence[Problem], name: str, objects: dict[str, object]) -> str:
    """The text, without SLOs that make it invalid. Raises UsageError if it stays so."""
    while True:
        lines, owners = _text(drafts, aside, name, objects)
        text = "\n".join(lines) + "\n"
        if all(draft.refused is not None for draft in drafts):
            return ""
        problems = check_sources([Source(_RESULT, text.encode())])[1]
        errors = [problem for problem in problems if problem.severity == "error"]
        if not errors:
            return text
        gone = {id(draft) for draft in drafts if draft.refused is not None}
        for error in errors:
            draft = owners.get(error.position.line)
            if draft is None or id(draft) in gone:
                message = f"what was written is no SLO file: {error.message} [{error.code}]"
                raise UsageError(message, hint=error.hint)
            draft.refuse(draft.view.at(), f"{error.message} [{error.code}]", error.hint)


def _text(
    drafts: Sequence[Draft], aside: Sequence[Problem], name: str, objects: dict[str, object]
) -> tuple[list[str], dict[int, Draft]]:
    """The lines of the file, and which line (from 1) is of which SLO."""
    head = [
        "# Written by `sloctl import`. What could not be said stands beside the SLO that it belongs to; read these",
        "# comments, and what docs/migrate.md says of the differences, before the old alerts are switched off.",
        "apiVersion: sloctl/v1",
        "kind: MeshSLOs",
        *(
            line
            for problem in aside
            for line in comment("", f"left out: {problem.position}: {_said(problem)}")
        ),
        "metadata:",
        *block({"name": name} | ({"objects": objects} if objects else {}), "  "),
        "slos:",
    ]
    owners: dict[int, Draft] = {}
    lines = [*head]
    for draft in drafts:
        start = len(lines)
        at = position(draft.view.node)
        lines += [""] if start > len(head) else []
        lines += comment("  ", f"{draft.origin} ({at.file}:{at.line})")
        for problem in _problems(draft):
            lines += comment("  ", f"{_WORDS[problem.code]}: {_said(problem)}")
        for remark in dict.fromkeys(draft.remarks if draft.refused is None else ()):
            lines += comment("  ", remark)
        if draft.refused is None:
            first, *rest = block(_slo(draft), "    ")
            lines += [f"  - {first[4:]}", *rest]
        owners |= dict.fromkeys(range(start + 1, len(lines) + 1), draft)
    return lines, owners


def _problems(draft: Draft) -> list[Problem]:
    return [draft.refused] if draft.refused is not None else draft.left


def _named(problem: Problem, draft: Draft) -> Problem:
    """A problem as it is said apart from the SLO that it belongs to."""
    if problem is not draft.refused:
        return problem
    return replace(problem, message=f"{draft.origin} is not converted: {problem.message}")


def _said(problem: Problem) -> str:
    return problem.message + (f" ({problem.hint})" if problem.hint else "")


def _slo(draft: Draft) -> dict[str, object]:
    window = draft.window
    if not isinstance(window, str):
        calendar: object = dict(zip(("calendar", "timezone", "starts"), window, strict=False))
    found: dict[str, object] = {"name": draft.name, "service": draft.service}
    optional = {
        "namespace": draft.namespace,
        "objective": draft.objective,
        "window": window if isinstance(window, str) else calendar,
        "owner": draft.owner,
        "description": draft.description,
        "runbook": draft.runbook,
        "dashboard": draft.dashboard,
        "labels": draft.labels,
        "sli": draft.sli,
        "alerting": draft.alerting,
    }
    return found | {key: value for key, value in optional.items() if value not in ("", None, {})}


def _sorted(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    seen: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        seen.setdefault((problem.position, problem.code, problem.message), problem)
    return tuple(
        sorted(seen.values(), key=lambda problem: (problem.position, problem.severity, problem.message))
    )
