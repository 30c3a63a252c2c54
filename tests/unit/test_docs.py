"""README and docs are held by the code: links resolve, examples load, command lines parse, tables are complete."""

from __future__ import annotations

import io
import math
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import yaml

from alert_rules import manifest
from alert_rules.groups import AlertRule, BurnAlert, RecordingRule
from alert_rules.proofs import simulate
from alert_rules.proofs.simulate import Traffic
from sloctl import naming, promql, spec
from sloctl.cli.main import cli
from sloctl.model import FINE_LIMIT, AlertPolicy, CounterSli, Mesh, RollingWindow, Slo, SloSet
from sloctl.model.durations import duration, number
from sloctl.model.policies import MIN_BAD_EVENTS, MIN_EVENTS, POLICIES, Evidence
from sloctl.promql.presets import ENVOY_BUCKETS, GRPC_CODES, GRPC_SERVER_ERRORS, PRESETS
from sloctl.settings import backends
from tests.support.doc_pages import table, text_of
from tests.support.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*DOCS.glob("*.md"), *(DOCS / "runbooks").glob("*.md"), *ROOT.glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FILE_KEYS = frozenset(
    # of an SLO file
    (
        "apiVersion kind metadata mesh sources defaults slos guardrails jobs notifications dashboards reports "
        "kubernetes ledger maintenance"
    ).split()
)
BASE = {
    "apiVersion": "sloctl/v1",
    "kind": "MeshSLOs",
    "metadata": {"name": "shop"},
    "sources": {"alertmanager": {"url": "http://alertmanager:9093"}},
    "defaults": {"owner": "team-shop", "runbook": "https://runbooks.example.org/{slo}"},
    "slos": [{"name": "base", "service": "base", "namespace": "base", "sli": {"preset": "availability"}}],
}
MESH = POLICIES["mesh"]
CHECKOUT = {"service": "checkout", "namespace": "shop"}


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced code blocks of some languages, without their own indentation."""
    found = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [re.sub(f"(?m)^{pad}", "", body) for pad, language, body in found if language in languages]


def prose(page: Path) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title.strip()).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number_of = found.get(slug, -1) + 1
        found[slug] = number_of
        if number_of:
            found[f"{slug}-{number_of}"] = 0
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        assert file.is_relative_to(ROOT), f"{target}: outside the repository"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


def test_every_page_is_listed() -> None:
    page = DOCS / "index.md"
    linked = {(page.parent / target.partition("#")[0]).resolve() for target in
              re.findall(r"\]\(([^)\s:]+)\)", prose(page))}  # fmt: skip
    missing = {other.name for other in DOCS.glob("*.md") if other not in linked | {page}}
    assert missing == set()


def yaml_blocks() -> Iterator[Any]:
    for page, name in zip(PAGES, NAMES, strict=True):
        for index, block in enumerate(blocks(page, "yaml")):
            yield pytest.param(block, id=f"{name}-{index}")


@pytest.mark.parametrize("block", list(yaml_blocks()))
def test_yaml_examples(block: str) -> None:
    """An SLO file loads without errors; so does a part of one, with what it needs around it."""
    document = read_yaml(block)
    if not isinstance(document, dict) or ("kind" in document and document["kind"] != "MeshSLOs"):
        return
    if "kind" not in document:
        if not set(document) <= FILE_KEYS or "name" not in document.get("metadata", {"name": ""}):
            return  # a part of something else: Prometheus's configuration, a Kubernetes object
        block = yaml.safe_dump({key: value for key, value in BASE.items() if key not in document}) + block
    slo_set, problems = spec.check([Path("-")], stdin=io.BytesIO(block.encode()))
    assert slo_set is not None, [problem.message for problem in problems]
    assert {problem.code for problem in problems} <= {"unknown-owner"}


def command_lines() -> Iterator[Any]:
    """Every ``sloctl …`` in a block of shell commands; of a console, only what follows the prompt."""
    for page, name in zip(PAGES, NAMES, strict=True):
        lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
        for block in blocks(page, "console"):
            lines += [line[2:] for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
        for line in lines:
            for words in commands(line):
                if Path(words[0]).name == "sloctl":
                    yield pytest.param(words[1:], id=f"{name}: {' '.join(words)}")


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, without redirections and variables set for one command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token and set(token) <= set("();<>|&"):
            if words:
                yield words
            words = []
        elif words or not re.match(r"[A-Z_]+=", token):
            words.append(token)


@pytest.mark.parametrize("words", list(command_lines()))
def test_command_lines_parse(words: list[str]) -> None:
    context = cli.make_context("sloctl", list(words), resilient_parsing=False)
    if not words or words[0] in ("--help", "--version"):
        return
    name, command, arguments = cli.resolve_command(
        context, [*getattr(context, "_protected_args", ()), *context.args]
    )
    assert command is not None
    if "--help" in arguments:
        return
    command.make_context(str(name), arguments, parent=context)


def test_command_line_check_notices_slips() -> None:
    for words in (["report", "-f", "slo.yaml", "--nope"], ["reprot"], ["generate", "-f", "slo.yaml"]):
        with pytest.raises(click.UsageError):
            test_command_lines_parse(words)


# How the rules work


def slo_of(preset: str, policy: AlertPolicy = MESH, *, service: str = "checkout") -> Slo:
    return Slo(
        set_name="shop",
        name=preset,
        service=service,
        namespace="shop",
        objective=Decimal("99.9"),
        window=RollingWindow(30 * 86400, "30d"),
        sli=PRESETS[preset].build({}, Mesh()),
        policy=policy,
    )


def rules_of(*slos: Slo) -> list[tuple[int, RecordingRule | AlertRule]]:
    slo_set = SloSet("shop", slos)
    return [
        (group.interval, rule)
        for file in manifest.rule_files(slo_set)
        for group in file.groups
        for rule in group.rules
    ]


def series_rows() -> dict[str, dict[str, str]]:
    """The table of recorded series by name, with the labels that ``as above`` stands for."""
    rows: dict[str, dict[str, str]] = {}
    labels = ""
    for row in table(DOCS / "how-rules-work.md", "series"):
        if not row["labels"].startswith("as above"):
            labels = row["labels"]
        rows[row["series"].strip("`")] = row | {"labels": labels}
    return rows


def test_every_recorded_series_is_in_the_table() -> None:
    names = {value for value in vars(naming).values() if isinstance(value, str) and value.startswith("slo:")}
    names |= {naming.base_metric(family, step) for family in naming.FAMILY_LABELS for step in (60, 300)}
    assert set(series_rows()) == names | {"slo:burn_rate:<window>"}


def test_pictures_of_the_site_are_pictures_and_name_what_there_is() -> None:
    """Nothing on the site draws Mermaid."""
    assert [page.name for page in DOCS.rglob("*.md") if blocks(page, "mermaid")] == []
    known = {name.replace("<window>", "3d") for name in series_rows()}
    drawn = (DOCS / "images/rules.svg").read_text(encoding="utf-8")
    shown = re.findall(r"(?:slo|service):\w[\w:…]*", drawn)
    assert len(shown) == 6
    for name in shown:
        assert any(re.fullmatch(name.replace("…", r"\w+"), other) for other in known), name


@pytest.mark.parametrize("service", ["checkout", "*"])
def test_series_have_the_step_and_the_labels_of_the_table(service: str) -> None:
    rows = series_rows()
    for step, rule in rules_of(*(slo_of(preset, service=service) for preset in PRESETS)):
        if not isinstance(rule, RecordingRule):
            continue
        row = rows[re.sub(r"^slo:burn_rate:.*", "slo:burn_rate:<window>", rule.record)]
        every = "5m" if rule.record == "slo:burn_rate:3d" else row["every"]
        assert every.startswith(duration(step)), rule.record
        by = {label for text in re.findall(r"by \(([^)]*)\)", rule.expr)[:1] for label in text.split(", ")}
        told = set(re.findall(r"`([a-z_]+)`", row["labels"]))
        assert set(rule.labels) <= told, rule.record
        if rule.record.startswith("service:"):
            assert told <= set(rule.labels) | by | {"namespace", "service"}, rule.record
        else:
            assert told <= set(rule.labels) | {"namespace", "service"}, rule.record


def test_numbers_of_rules_are_as_said() -> None:
    text = text_of(DOCS / "how-rules-work.md")
    for name, rules, alerts in (("mesh", 25, "three"), ("sre-workbook", 28, "four")):
        found = rules_of(slo_of("availability", POLICIES[name]))
        assert len(found) == rules
        assert sum(isinstance(rule, AlertRule) for _, rule in found) == {"three": 3, "four": 4}[alerts]
        assert f"`{name}`" in text
        assert f"{rules} rules, {alerts} of them alerts" in text or f"it is {rules}, {alerts} of them" in text
        assert len(rules_of(slo_of("availability", POLICIES[name], service="*"))) == rules
        more = rules_of(slo_of("availability", POLICIES[name]), slo_of("errors", POLICIES[name]))
        assert len(more) == 2 * rules - 6
    recorded = [rule for _, rule in rules_of(slo_of("availability")) if isinstance(rule, RecordingRule)]
    constants = [rule for rule in recorded if rule.record in (naming.OBJECTIVE, naming.BUDGET)]
    of_slo = [
        rule for rule in recorded if rule.record.startswith("slo:") and rule.record != naming.BAD_CAUSES
    ]
    assert len(of_slo) - len(constants) == 13
    assert "13 series are recorded, and per definition two constants" in text


# Alerting


def test_policies_are_in_the_table() -> None:
    expected = []
    for name, policy in POLICIES.items():
        for line in policy.windows:
            share = number((100 * line.factor * line.long / (30 * 86400)).quantize(Decimal("0.1")))
            expected.append(
                [
                    f"`{name}`",
                    line.severity,
                    number(line.factor),
                    duration(line.long),
                    duration(line.short),
                    duration(line.for_) if line.for_ else "–",
                    f"{share} %",
                ]
            )
    assert [list(row.values()) for row in table(DOCS / "alerting.md", "policy")] == expected


def test_gates_are_the_defaults() -> None:
    rows = {row["key"].strip("`"): row for row in table(DOCS / "alerting.md", "key")}
    assert rows.keys() == {"confidence", "min_events", "min_bad_events"}
    assert Decimal(rows["confidence"]["default"]) == MESH.confidence
    for key, number_of in (("min_events", MIN_EVENTS), ("min_bad_events", MIN_BAD_EVENTS)):
        last = list(rows[key].values())[-1]
        assert last.endswith(f"; {number_of} if only the other is given")


def test_failures_that_page_by_traffic() -> None:
    line, budget = MESH.windows[0], Decimal("0.001")
    gate = MESH.gate(line, 30 * 86400)
    assert isinstance(gate, Evidence)
    for row in table(DOCS / "alerting.md", "requests in the hour"):
        total, least = (int(text.replace(",", "")) for text in row.values())
        burns = [bad / (total * float(budget)) for bad in range(1, least + 1)]
        pages = [gate.enough(bad, burn) and burn > line.factor for bad, burn in enumerate(burns, 1)]
        assert pages.index(True) + 1 == least


def minutes_to_fire(objective: str, share: Decimal, line: int) -> int | None:
    """After how many minutes of a steady failure the alert fires, by the account that the tests of rules use."""
    window, budget = MESH.windows[line], (100 - Decimal(objective)) / 100
    clean = window.long // 60 + 10
    faulty = int(window.factor * budget / share * window.long / 60) + window.for_ // 60 + 20
    traffic = Traffic(1_000_000, int(share * 1_000_000), clean, faulty, 0)
    gate = MESH.gate(window, 30 * 86400)
    fires, _, _ = simulate.active(traffic, window, window.factor, budget, gate)
    return fires.index(True) - clean if True in fires else None


def test_detection_times() -> None:
    for row in table(DOCS / "alerting.md", "objective"):
        objective, share, *times = (text.removesuffix(" %") for text in row.values())
        budget = (100 - Decimal(objective)) / 100
        part = Decimal(share) / 100
        for line, (window, told) in enumerate(zip(MESH.windows, times, strict=True)):
            if part <= window.factor * budget:
                assert told == "–", row
                continue
            minutes = window.factor * budget / part * window.long / 60
            assert told == number(minutes.quantize(Decimal("0.1"))), row
            if window.long <= FINE_LIMIT:  # the account of longer ones is promtool's, which has no grid
                wait = window.for_ // 60
                found = minutes_to_fire(objective, part, line)
                assert found in (math.ceil(minutes) + wait, int(minutes) + 1 + wait), row


def test_lowest_objective_of_a_policy() -> None:
    lowest = max(100 - 100 / line.factor for line in MESH.windows)
    assert f"above {number(lowest.quantize(Decimal('0.01')))} %" in text_of(DOCS / "alerting.md")


def readme_file() -> str:
    return next(block for block in blocks(README, "yaml") if "kind: MeshSLOs" in block)


def test_what_the_readme_adds_to_its_file_needs_nothing_else() -> None:
    more = next(block for block in blocks(README, "yaml") if block.startswith("ledger:"))
    _, problems = spec.check([Path("-")], stdin=io.BytesIO((readme_file() + more).encode()))
    assert problems == []


def test_the_alert_shown_is_generated() -> None:
    shown = next(block for block in blocks(DOCS / "alerting.md", "yaml") if block.startswith("- alert:"))
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(readme_file().encode()))
    texts = "\n".join(text for _, text in manifest.generate(slo_set, "prometheus"))
    texts = re.sub(r"^ +(?:now|cause): .*\n", "", texts, flags=re.MULTILINE)
    assert "".join(f"      {line}\n" for line in shown.splitlines()) in texts


def test_labels_and_annotations_of_an_alert_are_listed() -> None:
    page = DOCS / "alerting.md"
    labels = {name for row in table(page, "label") for name in re.findall(r"`(\w+)`", row["label"])}
    annotations = {row["annotation"].strip("`") for row in table(page, "annotation")}
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(readme_file().encode()))
    from alert_rules.burn_alerts import fired_labels

    for file in manifest.rule_files(slo_set):
        for group in file.groups:
            for rule in group.rules:
                if isinstance(rule, BurnAlert):
                    assert set(fired_labels(slo_set, rule.slo, rule.window, "x")) == labels
                    assert set(rule.annotations) == annotations - {
                        "dashboard_url",
                        "explain_url",
                        "traces_url",
                    }


# Presets


def test_presets_and_their_defaults_are_in_the_table() -> None:
    rows = table(DOCS / "presets.md", "preset")
    assert {re.findall(r"`(\w+)`", row["preset"])[0]: row["default objective"] for row in rows} == {
        name: number(preset.objective) for name, preset in PRESETS.items()
    }


def section(page: Path, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text_of(page), re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


@pytest.mark.parametrize("name", PRESETS)
def test_selectors_of_a_preset(name: str) -> None:
    slo = slo_of(name)
    sli = slo.sli
    assert isinstance(sli, CounterSli)
    lines = []
    for title, parts in (("all", sli.total), ("bad", sli.bad), ("good", sli.good)):
        if parts:
            lines.append(f"# {title}")
            lines += [promql.full_selector(slo, sli, part, Mesh()) for part in parts]
    text = section(DOCS / "presets.md", name)
    assert "```promql\n" + "\n".join(lines) + "\n```" in text
    parameters = re.search(r"^Parameters: (.*)$", text, re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", parameters[1])) if parameters else set()
    assert told == set(PRESETS[name].params)


def test_lists_of_the_presets_page() -> None:
    flat = " ".join(text_of(DOCS / "presets.md").split())
    assert ", ".join(number(bound) for bound in ENVOY_BUCKETS) + "." in flat
    names = {code: name for name, code in GRPC_CODES.items()}
    for code in GRPC_SERVER_ERRORS:
        assert f"{names[code]} ({code})" in flat


# Operations


def test_every_variable_is_listed_with_its_default() -> None:
    source = Path(backends.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r'env\.(?:get|number|flag)\("(\w+)"', source))
    for secret in re.findall(r'env\.secret\("(\w+)"', source):
        names |= {secret, f"{secret}_FILE"}
    rows = {row["variable"].strip("`"): row["default"] for row in table(DOCS / "operations.md", "variable")}
    assert set(rows) == {f"SLOCTL_PROMETHEUS_{name}" for name in names}
    defaults = backends.PrometheusSettings("http://p")
    for name in ("timeout", "retries", "concurrency"):
        assert rows[f"SLOCTL_PROMETHEUS_{name.upper()}"] == number(getattr(defaults, name))


# Troubleshooting


def test_every_finding_is_explained() -> None:
    sources = "".join(text_of(file) for file in sorted((ROOT / "jobs").glob("*.py")))
    codes = set(re.findall(r'Finding\(\s*"\w+",\s*"([a-z-]+)"', sources))
    assert codes
    page = text_of(DOCS / "troubleshooting.md")
    assert {code for code in codes if f"`{code}`" not in page} == set()
