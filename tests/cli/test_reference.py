"""The pages about the command line and the report are what the code says.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/cli/test_reference.py`` writes ``docs/cli.md`` anew.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from sloctl.cli.main import COMMANDS, cli
from sloctl.report.data import json_schema
from sloctl.settings import backends

ROOT = Path(__file__).parents[2]
CLI_PAGE = ROOT / "docs" / "cli.md"
REPORT_PAGE = ROOT / "docs" / "report.md"

INTRODUCTION = """
# Command line

This page is generated from the commands' own help; `sloctl COMMAND --help` says the same.

Results go to stdout, everything else to stderr, so `sloctl report --format json | jq …` is safe. Colours and progress
bars are for terminals only; `NO_COLOR=1` turns colours off. In a pipe a table has all its columns, on a terminal those
that fit. `--quiet` and `--verbose` may stand before or after the command.

| exit code | meaning |
|---|---|
| 0 | fine |
| 1 | problems: drift (`generate --check`), a budget as in `report --fail-on`, an unknown silence; a bug of sloctl |
| 2 | wrong usage, an invalid file, a query that the server rejects, a file that cannot be read or written |
| 3 | a backend is unavailable, too slow, refuses the credentials, or gives an answer that is nonsense or partial |
| 130 | interrupted |
"""
ENVIRONMENT = """
## Environment

Credentials come from the environment, never from the SLO file or an option. Each variable begins with
`SLOCTL_PROMETHEUS_`, with `SLOCTL_ALERTMANAGER_` for the server of `sloctl silence`, or
with `SLOCTL_TRACES_` for that of traces.

"""


def paragraphs(text: str) -> list[str]:
    return [textwrap.fill(" ".join(part.split()), 120) for part in inspect.cleandoc(text).split("\n\n")]


def option(item: click.Option, ctx: click.Context) -> str:
    value = "" if item.is_flag else f" {item.make_metavar(ctx)}"
    names = ", ".join(f"`{name}{value}`" for name in sorted(item.opts, key=len)).replace("|", "\\|")
    notes = ["required"] if item.required else []
    if item.show_default and item.default is not None and not item.is_flag:
        notes.append(f"default: `{item.default}`")
    return f"| {names} | {'; '.join([(item.help or '').rstrip('.'), *notes])} |\n"


def section(name: str) -> Iterator[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    yield from described(command, f"sloctl {name}", "##")
    if isinstance(command, click.Group):
        for child, item in command.commands.items():
            yield from described(item, f"sloctl {name} {child}", "###")


def described(command: click.Command, name: str, level: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=name)
    yield f"\n{level} {name}\n\n"
    yield f"    {name} {' '.join(command.collect_usage_pieces(ctx))}\n\n"
    yield "\n\n".join(paragraphs(command.help or "")) + "\n"
    options = [item for item in command.params if isinstance(item, click.Option) and not item.hidden]
    if options:
        yield "\n| option | meaning |\n|---|---|\n"
        yield from (option(item, ctx) for item in options)


def variables() -> Iterator[str]:
    """The list in the docstring of ``sloctl.settings``."""
    items = re.findall(r"^- .*(?:\n  .*)*", inspect.cleandoc(backends.__doc__ or ""), re.MULTILINE)
    assert len(items) > 5
    for item in items:
        yield item.replace("``", "`") + "\n"


def page() -> str:
    parts = [INTRODUCTION.lstrip("\n")]
    for name in COMMANDS:
        parts += section(name)
    return "".join([*parts, ENVIRONMENT, *variables()])


def test_the_page_is_what_the_commands_say() -> None:
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        CLI_PAGE.write_text(page(), encoding="utf-8")
    assert CLI_PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help
    assert f"\n## sloctl {name}\n" in CLI_PAGE.read_text(encoding="utf-8")
    for inner in (command, *getattr(command, "commands", {}).values()):
        assert inner.help
        for item in inner.params:
            if isinstance(item, click.Option) and not item.hidden:
                assert item.help, f"{inner.name} {item.opts}"


def test_every_module_of_the_command_line_is_a_command_or_a_helper() -> None:
    helpers = {
        "__init__",
        "__main__",
        "completing",
        "composition",
        "context",
        "demo_mesh",
        "ledger_budgets",
        "ledger_reread",
        "main",
        "posting",
        "problems",
        "progress",
        "reloading",
        "scheduling",
        "shadowing",
        "tables",
    }
    modules = {path.stem for path in (ROOT / "sloctl" / "cli").glob("*.py")}
    assert modules - helpers == {name.replace("-", "_") for name in COMMANDS}


# --- docs/report.md


def finding_codes() -> dict[str, str]:
    """Every code in a ``Finding(severity, code, …)`` of the source, with its severity."""
    found: dict[str, str] = {}
    for folder in ("sloctl", "jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            if "retries" in path.relative_to(ROOT).parts or path.stem == "retry_amplification":
                continue  # docs/retries.md has these
            if path.is_relative_to(ROOT / "sloctl" / "mesh"):
                continue  # docs/lint-mesh.md has these, held by tests/unit/test_mesh.py
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                    severity, code = node.args[:2]
                    assert isinstance(severity, ast.Constant) and isinstance(code, ast.Constant), path
                    found[str(code.value)] = str(severity.value)
    return found


def test_every_code_of_a_finding_is_documented() -> None:
    codes = finding_codes()
    assert len(codes) > 5
    rows = dict(
        re.findall(r"^\| `([a-z-]+)` \| (error|warning|info) \|", REPORT_PAGE.read_text(), re.MULTILINE)
    )
    assert rows == codes


def fields(schema: Any, path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from fields(child, f"{path}{name}.")
        yield from fields(child.get("items", {}), f"{path}{name}[].")


def test_every_field_of_the_report_is_documented() -> None:
    documented = re.findall(
        r"^\| `([a-z0-9_.\[\]]+)` \|", REPORT_PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [name for name in documented if "." in name or name in json_schema()["properties"]] == list(
        fields(json_schema())
    )


def test_the_example_of_the_page_is_a_report() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", REPORT_PAGE.read_text(encoding="utf-8"), re.DOTALL)
    jsonschema.validate(json.loads(example), json_schema())
