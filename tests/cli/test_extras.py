"""The plain install does what it says without the extras' packages, and names the extra where one is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.extras import EXTRAS, Extra
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
from tests.support.command_line import ROOT, Outcome, sloctl
from tests.support.faulty_server import FaultyServer
from tests.support.scripted import Scripted, scrape_times
from tests.support.simulated import serve

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {traces: {backend: zipkin, url: "http://127.0.0.1:1"}}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
POSTING = """
jobs: [{name: report, cron: "0 9 * * *", post: slack}]
reports: {slack: {channel: "#slo-reviews"}}
"""
RETRIES = "jobs: [{name: retry_amplification, every: 1h}]\n"
NO_SERVER = ("--prometheus", "http://127.0.0.1:1")
HOOK = '''
import sys

class Missing:
    """Refuses to find some modules, as if their packages were not installed."""

    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{module}.") for module in MODULES):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MODULES = {modules!r}
sys.meta_path.insert(0, Missing())
'''


def without(folder: Path, *modules: str) -> dict[str, str]:
    """The environment of a process that cannot import some modules."""
    place = folder.parent / f"{folder.name}-hook"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(HOOK.replace("{modules!r}", repr(modules)))
    return {"PYTHONPATH": f"{place}:{ROOT}"}


@dataclass(frozen=True)
class Case:
    """A command that needs an extra, and what for."""

    extra: Extra
    missing: str
    command: tuple[str, ...]
    says: str
    more: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""


SLACK = "posting to Slack needs the package {}"
TOKEN = {"SLOCTL_SLACK_TOKEN": "xoxb-1"}
CASES = {
    "live pages are served": Case(
        *("serve", "starlette", ("serve", *NO_SERVER), "serving live pages needs the package starlette")
    ),
    "the mesh is drawn": Case(
        *("serve", "networkx", ("serve", *NO_SERVER), "serving live pages needs the package networkx")
    ),
    "a report is posted": Case(
        *("slack", "slack_sdk", ("report", *NO_SERVER, "--post"), SLACK.format("slack-sdk"), POSTING, TOKEN)
    ),
    "its chart is drawn": Case(
        *("slack", "resvg_py", ("report", *NO_SERVER, "--post"), SLACK.format("resvg-py"), POSTING, TOKEN)
    ),
    "a report would be posted": Case(
        *("slack", "resvg_py", ("report", *NO_SERVER, "--dry-run"), SLACK.format("resvg-py"), POSTING)
    ),
    "a job posts": Case(
        *("slack", "slack_sdk", ("run", "report", *NO_SERVER), SLACK.format("slack-sdk"), POSTING, TOKEN)
    ),
    "a scheduler's job posts": Case(
        *("slack", "slack_sdk", ("schedule", *NO_SERVER), SLACK.format("slack-sdk"), POSTING, TOKEN)
    ),
    "what waits is posted": Case(
        *("slack", "slack_sdk", ("outbox", "retry"), SLACK.format("slack-sdk"), "", TOKEN)
    ),
    "a job reads packed files of spans": Case(
        *("traces", "backports", ("run", "retry_amplification", "--spans", "spans.zst")),
        "reading what zstd packed needs the package backports.zstd",
    ),
    "a ledger is in PostgreSQL": Case(
        *("postgres", "psycopg", ("ledger", "show", "--ledger", "postgresql://127.0.0.1:1/sloctl")),
        "a ledger in PostgreSQL needs the package psycopg[binary]",
    ),
    "a collector is sent metrics": Case(
        *("otel", "opentelemetry.exporter.otlp", ("report", *NO_SERVER)),
        "sending metrics by OTLP needs the package opentelemetry-exporter-otlp-proto-http",
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ),
    "a collector is sent spans": Case(
        *("otel", "opentelemetry.exporter.otlp", ("schedule", *NO_SERVER)),
        "sending spans by OTLP needs the package opentelemetry-exporter-otlp-proto-http",
        RETRIES,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ),
    "a ledger is exported as Parquet": Case(
        *(
            "parquet",
            "pyarrow",
            ("ledger", "export", "-o", "out.parquet"),
            "Parquet needs the package pyarrow",
        ),
        hint=", or use CSV",
    ),
    "a ledger is imported from Parquet": Case(
        *("parquet", "pyarrow", ("ledger", "import", "in.parquet"), "Parquet needs the package pyarrow"),
        hint=", or use CSV",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_what_is_missing_is_named_with_its_remedy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "slo.yaml").write_text(SLO_FILE + case.more)
    (tmp_path / "in.parquet").write_text("[]")
    (tmp_path / "spans.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    arguments = case.command
    if arguments[0] in ("run", "report", "schedule", "serve"):
        arguments = (*arguments, "-f", "slo.yaml")
    if arguments[0] in ("ledger", "outbox") and "--ledger" not in arguments:
        open_ledger(Secret(f"sqlite:///{tmp_path}/ledger.db")).close()
        arguments = (*arguments, "--ledger", "ledger.db")
    found = sloctl(*arguments, folder=tmp_path, env={**without(tmp_path, case.missing), **case.env})
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr == (
        f"sloctl: error: {case.says}, which is not installed\n"
        f"  hint: in the clone of sloctl: pip install '.[{case.extra}]'{case.hint}\n"
    )


def test_every_module_of_every_extra_has_a_case() -> None:
    assert {(case.extra, case.missing) for case in CASES.values()} == {
        (extra, module) for extra, modules in EXTRAS.items() for module in modules
    }


def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    whole = declared.pop("all")
    assert {
        extra: sorted(text.partition(">=")[0] for text in packages) for extra, packages in declared.items()
    } == {extra: sorted(modules.values()) for extra, modules in EXTRAS.items()}
    assert whole == [f"sloctl[{','.join(sorted(EXTRAS))}]"]


def test_an_error_in_our_own_modules_is_not_a_missing_extra(tmp_path: Path) -> None:
    script = (
        "from sloctl.extras import needed\n"
        "try:\n"
        "    with needed('slack', 'posting'): import sloctl.not_there\n"
        "except ModuleNotFoundError as error: print(error.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "sloctl.not_there\n"


def plain(*arguments: str, folder: Path) -> Outcome:
    """The command line with nothing but what the plain install has."""
    modules = [module for extra in EXTRAS.values() for module in extra]
    return sloctl(*arguments, folder=folder, env=without(folder, *modules))


@pytest.mark.slow
def test_the_plain_install_generates_validates_reports_and_keeps_a_ledger(tmp_path: Path) -> None:
    assert plain("init", folder=tmp_path).code == 0
    assert "valid" in plain("validate", "-f", "slo.yaml", folder=tmp_path).stderr
    made = plain("generate", "-f", "slo.yaml", "-o", "out", folder=tmp_path)
    assert re.search(r"out: \d+ files written", made.stderr), made.stderr

    file = tmp_path / "shop.yaml"
    file.write_text(SLO_FILE)
    slo_set, at = spec.load([file]), int(datetime(2026, 3, 1, 12, 1, tzinfo=UTC).timestamp())
    with FaultyServer(serve(Scripted(slo_set, scrape_times(at - 7200, at, 30)))) as server:
        source = ("-f", "shop.yaml", "--ledger", "ledger.db", "--prometheus", server.url, "--at", str(at))
        ran = plain("run", "slis", *source, folder=tmp_path)
        assert ran.code == 0 and "buckets recorded" in ran.stderr, ran.stderr
        for form in ("table", "markdown", "json", "html", "slack"):
            report = plain("report", *source, "--source", "ledger", "--format", form, folder=tmp_path)
            assert report.code == 0 and "checkout" in report.stdout, report.stderr
    exported = plain("ledger", "export", "-o", "-", "--ledger", "ledger.db", folder=tmp_path)
    assert "checkout" in exported.stdout
