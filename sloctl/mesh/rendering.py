"""Findings as people and programs read them: text, JSON, annotations of a GitHub workflow, SARIF 2.1.0.

What stands in files is hostile: no name reaches a terminal, or a workflow's commands, with characters that these obey.
The JSON form is an interface.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sloctl import __version__, project
from sloctl.mesh.findings import CODES, RANKS, Finding
from sloctl.mesh.lint import Result
from sloctl.mesh.retries import Edge
from sloctl.mesh.world import short
from sloctl.spec.annotations import annotation
from sloctl.spec.problems import as_objects
from sloctl.spec.yaml.wording import CONTROL

SCHEMA = "sloctl.lint-mesh/v1"
PAGE = f"{project.REPOSITORY}/blob/main/docs/lint-mesh.md"
_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def _plain(text: str) -> str:
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def lines(result: Result) -> Iterator[str]:
    """A block for each finding, then what traffic shows, then what could not be decided."""
    for item in result.findings:
        yield _plain(f"{item.position}: {item.severity}: {item.message} [{item.code}]")
        yield _plain(f"  in {item.object}")
        if item.hint:
            yield _plain(f"  hint: {item.hint}")
    if result.edges:
        yield "calls: tries that the configuration allows in this hop and along the path, attempts measured:"
        for edge in result.edges:
            yield _plain(f"  {_edge(edge, 'at least ' if result.partial else '')}")
    for sentence in result.unknown:
        yield _plain(f"not judged: {sentence}")


def _edge(edge: Edge, least: str) -> str:
    measured = "not measured" if edge.measured is None else f"{edge.measured:.3g} measured"
    load = f", {least}{edge.rate:.3g} requests/s" if edge.rate is not None else ""
    failing = (
        f", up to {edge.failing:.3g} if all of {short(edge.server)} fails" if edge.failing is not None else ""
    )
    name = f"{short(edge.client)} → {short(edge.server)}"
    return f"{name}: {edge.tries}, {edge.worst} along the path; {measured}{load}{failing}"


def summary(result: Result) -> str:
    """One line: what was read, and how much was found."""
    counts = Counter(item.severity for item in result.findings)
    words = [f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in RANKS]
    skipped = f", {result.skipped} others skipped" if result.skipped else ""
    ignored = f", {result.ignored} ignored" if result.ignored else ""
    read = f"{result.objects} object{'s' if result.objects != 1 else ''} of the mesh"
    return f"{read}{skipped}: {', '.join(words)}{ignored}"


def as_object(result: Result) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "schema": SCHEMA,
        "objects": result.objects,
        "skipped": result.skipped,
        "ignored": result.ignored,
        "findings": [
            {
                "file": item.position.file,
                "line": item.position.line,
                "column": item.position.column,
                "object": item.object,
                "code": item.code,
                "severity": item.severity,
                "message": item.message,
                "hint": item.hint,
            }
            for item in result.findings
        ],
        "not_judged": list(result.unknown),
        "problems": as_objects(result.problems),
        "calls": [
            {
                "client": short(edge.client),
                "server": short(edge.server),
                "tries": edge.tries,
                "path": [short(name) for name in edge.path],
                "tries_along_path": edge.worst,
                "amplification": edge.measured,
                "requests_per_second": None if result.partial else edge.rate,
                "requests_per_second_if_server_fails": edge.failing,
            }
            for edge in result.edges
        ],
    }


def github(result: Result) -> Iterator[str]:
    """Commands of a GitHub workflow, which it shows as annotations."""
    for item in result.findings:
        where = {"file": item.position.file, "line": item.position.line, "col": item.position.column}
        text = f"{item.object}: {item.message}" + (f"\n{item.hint}" if item.hint else "")
        yield annotation(_LEVELS[item.severity], text, title=item.code, **where)
    for problem in result.problems:
        at = {"file": problem.position.file, "line": problem.position.line, "col": problem.position.column}
        text = problem.message + (f"\n{problem.hint}" if problem.hint else "")
        yield annotation(problem.severity, text, title=problem.code, **at)


def sarif(result: Result) -> dict[str, Any]:
    """SARIF 2.1.0: code scanning of GitHub and GitLab reads it."""
    codes = sorted({item.code for item in result.findings})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "sloctl lint-mesh",
                        "version": __version__,
                        "informationUri": PAGE,
                        "rules": [
                            {
                                "id": code,
                                "shortDescription": {"text": CODES[code]},
                                "helpUri": f"{PAGE}#{code}",
                            }
                            for code in codes
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(item, codes) for item in result.findings],
            }
        ],
    }


def _result(item: Finding, codes: Sequence[str]) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": item.position.file.lstrip("/")},
        "region": {"startLine": item.position.line, "startColumn": item.position.column},
    }
    return {
        "ruleId": item.code,
        "ruleIndex": codes.index(item.code),
        "level": item.severity,
        "message": {"text": f"{item.object}: {item.message}. {item.hint}".strip()},
        "locations": [{"physicalLocation": place}],
    }


def text_of(result: Result, form: str) -> str:
    """All of it in a form: text, json, github or sarif."""
    if form == "json":
        return json.dumps(as_object(result), indent=2, ensure_ascii=True)
    if form == "sarif":
        return json.dumps(sarif(result), indent=2, ensure_ascii=True)
    return "\n".join(github(result) if form == "github" else lines(result))
