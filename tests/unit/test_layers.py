"""What holds the layout of the code, beyond the contracts that import-linter checks (``make check``)."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sloctl", "alert_rules", "dashboards", "jobs")
HEAVY = {
    *(
        "alembic",
        "apscheduler",
        "grafanalib",
        "jinja2",
        "msgspec",
        "numpy",
        "opentelemetry",
        "pandas",
        "prometheus_api_client",
        "prometheus_client",
        "promql_parser",
    ),
    *("networkx", "requests", "resvg_py", "rich", "slack_sdk", "sqlalchemy", "starlette", "urllib3", "yaml"),
}


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_every_module_says_what_it_is_for() -> None:
    assert [str(path) for path in _modules() if not path.read_text().startswith('"""')] == []


def test_only_the_settings_read_the_environment() -> None:
    names = {"environ", "environb", "getenv", "getenvb"}

    def reads(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            return node.module == "os" and not names.isdisjoint(alias.name for alias in node.names)
        return (
            isinstance(node, ast.Attribute)
            and node.attr in names
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )

    found = [path for path in _modules() if any(map(reads, ast.walk(ast.parse(path.read_text()))))]
    assert found == [ROOT / "sloctl" / "settings" / "variables.py"]


PRIVATE = {
    ("sloctl.posting.slack.api", "_perform_urllib_http_request_internal"),
    ("sloctl.posting.slack.api", "_perform_http_request_internal"),
}
"""What of a library is replaced although it is private; where that is done, it is said why."""


PUBLIC = {"_exit", "_fields", "_replace"}
"""What is documented, although it looks private: of os, and of named tuples."""


def _private(name: str) -> bool:
    return re.fullmatch(r"_[^_]\w*", name) is not None


def _theirs(kind: type) -> set[str]:
    """The private names of the classes of others that a class of ours derives from."""
    others = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in PACKAGES]
    return {name for base in others for name in vars(base) if _private(name)}


def test_no_private_part_of_a_library_is_touched() -> None:
    found = set()
    for path in _modules():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        found |= {
            (name, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and _private(node.attr)
            and node.attr not in PUBLIC
            and ast.unparse(node.value) not in ("self", "cls", "super()")
        }
        for part in tree.body:
            if isinstance(part, ast.ClassDef) and part.bases:
                theirs = _theirs(getattr(importlib.import_module(name), part.name))
                methods = {item.name for item in ast.walk(part) if isinstance(item, ast.FunctionDef)}
                read = {item.attr for item in ast.walk(part) if isinstance(item, ast.Attribute)}
                found |= {(name, item) for item in theirs & (methods | read)}
    assert found == PRIVATE


def test_what_several_tests_need_is_in_their_support() -> None:
    """Nothing is imported from a file of tests or from elsewhere beside them; nor in a script that a test runs."""
    imported = re.compile(
        r"^ *(?:from|import) +(\.|(?:[\w.]+\.)?(?:test_\w+|conftest)|tests(?!\.support\b)\b[\w.]*)",
        re.MULTILINE,
    )
    files = [path for folder in ("tests", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): imported.findall(path.read_text()) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.skipif(importlib.util.find_spec("sloctl.cli") is None, reason="there is no command line")
def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    script = "import sys, sloctl.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "click" in loaded.split()
    assert HEAVY & set(loaded.split()) == set()


def test_a_scheduler_without_live_pages_loads_nothing_of_them() -> None:
    script = "import sys, sloctl.cli.schedule, sloctl.cli.scheduling; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert {"starlette", "networkx", "jinja2", "sloctl.serve"} & set(loaded.split()) == set()


@pytest.mark.parametrize("command", ["run", "report"])
def test_telemetry_is_not_imported_where_no_variable_asks_for_it(command: str, tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(
        "apiVersion: sloctl/v1\nkind: MeshSLOs\nmetadata: {name: a}\nslos:\n"
        "  - {name: a, service: a, namespace: a, objective: 99, owner: a, sli: {preset: availability}}\n"
    )
    jobs = ["burn_rate"] if command == "run" else []
    arguments = ["sloctl", command, *jobs, "-f", "slo.yaml", "--prometheus", "http://127.0.0.1:1"]
    script = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from sloctl.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 3, end.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "SLOCTL_PROMETHEUS_RETRIES": "0", "HOME": str(tmp_path)},
    )
    assert "requests" in done.stdout.split()
    assert {"opentelemetry", "prometheus_client", "apscheduler"} & set(done.stdout.split()) == set()


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="git knows which files are ours"
)
def test_no_file_names_a_place_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    place = re.compile(rb"(?<![\w.~-])/(?:work|root)/")
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    assert [str(path) for path in files if path.is_file() and place.search(path.read_bytes())] == []
