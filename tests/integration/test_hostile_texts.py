"""What validates loads: files full of hostile texts, in promtool, amtool and Kubernetes' schemas with strict types."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from alert_rules import manifest as rules
from alert_rules.alertmanager import configuration
from dashboards import manifest as boards
from jobs import manifests
from sloctl import spec
from sloctl.artefacts.objects import Format
from sloctl.demo.programs import find_program
from sloctl.model import SloSet
from sloctl.spec import Source
from tests.support.alertmanager import amtool, translated_text
from tests.support.kubernetes import VERSIONS, problems, schema_problems
from tests.support.yaml_text import read_yaml_all

pytestmark = [pytest.mark.slow]
PIECES = [
    *(
        "{",
        "}",
        "{{",
        "}}",
        "{{ $value }}",
        '{{ "{" }}',
        "{service}",
        "{slo",
        "$labels",
        "$(HOME)",
        "$1",
        "%s",
        "%",
    ),
    *(
        '"',
        "'",
        "`",
        "\\",
        "\\n",
        "\\u200b",
        "\u200b",
        "\u2028",
        "\u00a0",
        "é",
        "中文",
        "🚀",
        "\ufeff",
        "\ufffe",
    ),
    *(
        "#",
        " # ",
        ": ",
        "- ",
        "? ",
        "&a",
        "*a",
        "!!str",
        "|",
        ">",
        "[",
        "]",
        ",",
        "@",
        "---",
        "...",
        "<<",
        "=",
    ),
    *(
        "012",
        "0x1f",
        "1e3",
        "1_000",
        ".inf",
        "yes",
        "No",
        "on",
        "null",
        "~",
        "2001-01-01",
        "12:30:45",
        "true",
        "",
    ),
    *("<script>", "&amp;", "</a>", "[[", "${x}", "..", "/", "a", " ", "\t"),
]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.text(st.characters(exclude_categories=["C"]), max_size=12),
)
plain = texts.map(lambda text: text.replace("{{", "{"))
"""Texts for labels, where a template is refused."""


def document(owners: list[str], labels: list[str], prose: list[str], env: list[str]) -> dict[str, Any]:
    """A small SLO file with texts wherever one may be written freely."""

    def slo(service: str, number: int, preset: str) -> dict[str, Any]:
        return {
            "name": preset,
            "service": service,
            "namespace": "shop",
            "objective": 99.9,
            "owner": owners[number],
            "labels": {"note": labels[number]},
            "description": prose[number],
            "runbook": f"https://r.example.org/{{slo}}?{prose[number]}",
            "sli": {"preset": preset},
        }

    receivers = {"chat": {"slack": {"channel": f"#{prose[2]}", "secret": "a/slack"}}}
    return {
        "apiVersion": "sloctl/v1",
        "kind": "MeshSLOs",
        "metadata": {"name": "shop", "labels": {"team": labels[2]}},
        "mesh": {"matchers": {"cluster": labels[3]}},
        "sources": {
            "prometheus": {"url": "http://prometheus:9090"},
            "grafana": {"url": "https://grafana.example.org"},
        },
        "slos": [slo("checkout", 0, "availability"), slo("*", 1, "availability")],
        "guardrails": [
            {"preset": "service-errors", "namespaces": ["shop"], "owner": owners[2]},
            {"preset": "mtls", "min": 100, "owner": owners[3]},
        ],
        "jobs": [{"name": "slis", "every": "5m"}],
        "notifications": {
            "receivers": receivers,
            "default": {"page": "chat", "ticket": "chat", "watchdog": "chat"},
            "owners": {owner: {"page": "chat"} for owner in owners},
        },
        "dashboards": {"folder": labels[3]},
        "kubernetes": {"image": "sloctl:1", "env": {"GREETING": env[0], "OTHER": env[1]}},
    }


def valid(tree: dict[str, Any]) -> tuple[SloSet, tuple[Source, ...]]:
    """The file, with harmless texts in place of those that validation refuses."""
    for _ in range(5):
        content = yaml.safe_dump(tree).encode()
        slo_set, found = spec.check([Path("-")], stdin=io.BytesIO(content))
        if slo_set is not None:
            return slo_set, spec.read([Path("-")], stdin=io.BytesIO(content))
        for problem in found:
            if problem.severity == "error":
                event(f"refused: {problem.code}")
                mend(tree, problem.field)
    raise AssertionError(f"harmless texts are refused too: {found}")


def mend(tree: dict[str, Any], field: str) -> None:
    """Put a harmless text at a path such as ``slos[1].owner``; a map whose keys are refused goes."""
    if field.startswith("notifications.owners"):
        tree["notifications"]["owners"] = {}
        return
    *parents, last = re.findall(r"[^.\[\]]+", field)
    node: Any = tree
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = {"runbook": "https://r.example.org", "channel": "#a"}.get(last, "harmless")


def several(what: st.SearchStrategy[str], count: int) -> st.SearchStrategy[list[str]]:
    return st.lists(what, min_size=count, max_size=count)


@settings(
    max_examples=max(10, settings().max_examples // 10),
    suppress_health_check=[HealthCheck.too_slow],
)
@example(owners=["{", "a{", "x", "{"], labels=["{"] * 4, prose=["{"] * 3, env=["{{", "$(A)"])
@example(owners=['"', "\\", "012", "yes"], labels=["\\"] * 4, prose=["{{{", "}}", "{{"], env=["012", "~"])
@given(owners=several(plain, 4), labels=several(plain, 4), prose=several(texts, 3), env=several(texts, 2))
def test_what_validates_loads(owners: list[str], labels: list[str], prose: list[str], env: list[str]) -> None:
    slo_set, sources = valid(document(owners, labels, prose, env))
    objects = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forms: tuple[Format, ...] = ("prometheus", "operator")
        for form in forms:
            made = [
                *(*rules.generate(slo_set, form), *configuration.generate(slo_set, form)),
                *(*boards.generate(slo_set, form), *manifests.generate(slo_set, form, sources)),
            ]
            for file, text in made:
                path = folder / form / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                if path.suffix == ".json":
                    json.loads(text)
                elif form == "operator" and not file.startswith("alert_rules/tests/"):
                    objects += [item for item in read_yaml_all(text) if item]
        promtool(folder / "prometheus" / "alert_rules")
        for form in forms:
            (path,) = (folder / form / "alertmanager").iterdir()
            config = path.read_text(encoding="utf-8")
            path.write_text(translated_text(config) if form == "operator" else config, encoding="utf-8")
            checked = amtool("check-config", path)
            assert checked.returncode == 0, checked.stdout + checked.stderr
    known = [item for item in objects if "monitoring.coreos.com" not in item["apiVersion"]]
    assert problems(known) == []
    for version in VERSIONS:
        assert [text for item in known for text in schema_problems(item, version)] == []


def promtool(folder: Path) -> None:
    """Check the rules; that an alert then says what was written is a unit test's and the golden cases'."""
    found = sorted(folder.glob("*.yaml"))
    done = subprocess.run(
        [find_program("promtool"), "check", "rules", *map(str, found)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
