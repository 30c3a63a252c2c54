"""Every command that uses a ledger does and says the same with SQLite and with PostgreSQL.

The list comes from the command line itself: a command that :data:`RUNS` does not have fails the first test.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from sloctl import spec
from sloctl.backends.protocols import Series
from sloctl.cli.main import COMMANDS, cli
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE
from sloctl.ledger import check
from sloctl.ledger.outbox import DatabaseOutbox
from sloctl.ledger.protocol import Batch, Bucket, Repair
from sloctl.ledger.store import open_ledger
from sloctl.posting.slack.steps import compose
from sloctl.settings.secret import Secret
from tests.support.command_line import Outcome, in_process
from tests.support.faulty_server import FaultyServer
from tests.support.ledger_steps import fill
from tests.support.ledgers import DAY, T0
from tests.support.postgres import Cluster
from tests.support.scheduled import eventually, scheduled, slo_file
from tests.support.scripted import Scripted, scrape_times
from tests.support.simulated import Flow, Simulated, serve
from tests.support.slack_reports import report
from tests.support.slack_server import SlackServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ledger-databases")]
WITHOUT = {
    *("init", "validate", "generate", "completion", "runbooks", "backfill"),
    *("silence", "silence list", "silence expire"),
    *("import", "export", "explain", "canary", "lint-mesh"),
    "demo",  # its ledger is a file in a folder of its own
}
"""Commands without a ledger."""
AT = datetime(2024, 10, 8, 12, 1, tzinfo=UTC)  # soon after the days of fill()
SPAN = ("--from", "2024-10-08T10:00:00Z", "--to", "2024-10-08T12:00:00Z")
SET = ("-f", "slo.yaml")
PROMETHEUS = ("--prometheus", "{prometheus}", "--at", AT.isoformat())
KEY = "shop/weekly/2024-W40/UTC/slack:#slo-reviews"
RUNS: dict[str, Sequence[Sequence[str]]] = {
    "run": [
        (name, *SET, *PROMETHEUS, "--format", form)
        for name in ("slis", "burn_rate", "report")
        for form in ("table", "json")
    ],
    "schedule": [],  # a test of its own
    "serve": [],  # it reads the report; tests of its own
    "report": [
        *((*SET, *PROMETHEUS, "--source", "ledger", "--format", form) for form in ("table", "json", "html")),
        (*SET, *PROMETHEUS, "--source", "ledger", "--routine", "weekly", "--post"),
    ],
    "gate": [
        (*SET, *PROMETHEUS, "--source", "ledger", "--format", form) for form in ("text", "json", "junit")
    ],
    "backtest": [
        (*SET, *SPAN, "--source", "ledger", "--suggest", "--format", form) for form in ("table", "json")
    ],
    "diff": [
        ("slo.yaml", "slo.yaml", *SPAN, "--source", "ledger", "--format", form)
        for form in ("text", "json", "markdown")
    ],
    "annotate": [
        ("v2", *SET, "--author", "ci", "--at", AT.isoformat()),
        ("v2", *SET, "--author", "ci", "--at", AT.isoformat()),
        SET,
        (*SET, "--format", "json"),
    ],
    "ledger show": [(), SET, ("--format", "json")],
    "ledger verify": [(), SET, ("--format", "json")],
    "ledger export": [
        ("-o", "out.csv"),
        (*SET, "-o", "out-set.csv"),
        ("--format", "parquet", "-o", "out.parquet"),
        (*SPAN, "-o", "out-span.csv"),
    ],
    "ledger import": [("other.csv",), ("other.csv",)],
    "ledger prune": [SET, ("-f", "b.yaml")],
    "ledger budgets": [SET, (*SET, "--by", "year", "--last", "40"), (*SET, *SPAN, "--format", "json")],
    "ledger causes": [(*SET, *SPAN), (*SET, *SPAN, "--format", "json")],
    "ledger reread": [
        (*SET, *SPAN, "--prometheus", "{prometheus}", *more)
        for more in (("--dry-run",), ("--format", "json"))
    ],
    "outbox list": [(), ("--all", "--format", "json")],
    "outbox retry": [(), ()],
    "outbox drop": [(KEY,), (KEY,)],
}
"""How each command is run, one after the other, on a ledger of its own."""
REPAIR = Repair(
    "",
    "shop",
    "checkout",
    int(AT.timestamp()) - 3660,
    (10**8, 10**6, 0),
    (10**8, 0, 0),
    "repaired",
    AT.timestamp(),
    "somebody",
)
TIME = re.compile(r"2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
POSTING = ("report", "outbox retry")
RIGHT = (EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE)
"""Exit codes of commands whose servers are there."""
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {{name: {name}}}
defaults: {{owner: team-shop, runbook: "https://runbooks.example.org/{{slo}}"}}
slos:
  - {{name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {{preset: availability}}}}
ledger: {{keep: {{buckets: 30d, hours: 60d, days: 90d}}}}
release: {{unknown: allow}}
reports: {{slack: {{channel: "#slo-reviews"}}}}
"""


def leaves(group: click.Group, ctx: click.Context, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for child in group.list_commands(ctx):
        found = group.get_command(ctx, child)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, ctx, f"{name}{child} ")
        if not isinstance(found, click.Group) or found.invoke_without_command:
            yield f"{name}{child}", found


def test_the_list_has_every_command() -> None:
    found = dict(leaves(cli, click.Context(cli)))
    assert {name.split()[0] for name in found} == set(COMMANDS)
    using = {name for name, item in found.items() if any("--ledger" in option.opts for option in item.params)}
    assert using == set(RUNS), "say in RUNS how a new command is run"
    assert set(found) - using == WITHOUT, (
        "say in WITHOUT that a new command uses no ledger, or give it --ledger"
    )


class Source(Scripted):
    """What recording asks is scripted; what else is asked is simulated."""

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        try:
            return super().query(expr, at)
        except AssertionError:
            return self._simulated().query(expr, at)

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        try:
            return super().query_range(expr, start, end, step)
        except AssertionError:
            return self._simulated().query_range(expr, start, end, step)

    def _simulated(self) -> Simulated:
        now = AT.timestamp()
        flow = Flow(self.slo_set.slos[0].id, "shop", "checkout", now - 1e7, now + 1e9, 20, 0.2)
        return Simulated(self.slo_set, [flow], override=self._no_mesh)

    @staticmethod
    def _no_mesh(expr: str) -> list[Series] | None:
        known = ("max by (alertname", "kube_pod", "pilot_k8s", "slo:bad_events_by_cause", "workload:sidecar")
        return [] if any(part in expr for part in known) else None


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("slo") / "slo.yaml"
    path.write_text(SLO_FILE.format(name="shop"))
    source = Source(spec.load([path]), scrape_times(AT.timestamp() - 4 * 3600, AT.timestamp(), 30))
    with FaultyServer(serve(source)) as server:
        yield server.url


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of another ledger."""
    folder = tmp_path_factory.mktemp("other")
    with open_ledger(Secret(f"sqlite:///{folder / 'other.db'}")) as ledger:
        ledger.record("other", [Batch("a", "a", (T0, T0 + DAY), [Bucket("shop", "cart", T0 + 300, 5, 1)])])
    done = in_process("ledger", "export", "--ledger", "other.db", "-o", "other.csv", folder=folder)
    assert done.code == 0, done.stderr
    return folder / "other.csv"


def fill_all(url: str, folder: Path, prometheus: str) -> None:
    """Four days of two sets, two hours of a third one with a repair, and a report that waits."""
    write_files(folder)
    with open_ledger(Secret(url)) as ledger:
        fill(ledger)
    done = in_process("run", "slis", *SET, *words(PROMETHEUS, prometheus), "--ledger", url, folder=folder)
    assert done.code == 0, done.stderr
    with open_ledger(Secret(url)) as ledger:
        slo_set = spec.load([folder / "slo.yaml"])
        assert ledger.amend("shop", [replace(REPAIR, slo_id=slo_set.slos[0].id)]) == 1
        post = compose(report(), slo_set, KEY, chart=False)
        assert DatabaseOutbox(ledger.database).enqueue(post, AT.timestamp())


def write_files(folder: Path) -> None:
    for name, file in (("shop", "slo.yaml"), ("b", "b.yaml")):
        (folder / file).write_text(SLO_FILE.format(name=name))


def words(command: Sequence[str], prometheus: str) -> tuple[str, ...]:
    return tuple(word.format(prometheus=prometheus) for word in command)


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, template: str, prometheus: str
) -> tuple[Path, str]:
    """A file and the name of a database, to be copied."""
    url = cluster.new_database(template)
    fill_all(url, tmp_path_factory.mktemp("postgres"), prometheus)
    folder = tmp_path_factory.mktemp("sqlite")
    fill_all(f"sqlite:///{folder / 'ledger.db'}", folder, prometheus)
    return folder / "ledger.db", url.rpartition("/")[2]


@pytest.fixture
def urls(filled: tuple[Path, str], cluster: Cluster, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of two ledgers with the same content, in SQLite and in PostgreSQL."""
    shutil.copy(filled[0], tmp_path / "ledger.db")
    url = cluster.new_database(filled[1])
    yield f"sqlite:///{tmp_path / 'ledger.db'}", url
    cluster.drop(url)


def said(outcome: Outcome, url: str) -> tuple[int, str, str]:
    """What is printed, without the ledger's name and size, and without times that are now."""

    def common(text: str) -> str:
        text = text.replace(url.removeprefix("sqlite:///"), "LEDGER")
        text = re.sub(r'postgresql://127[^\s,"]+', "LEDGER", text)
        text = re.sub(r'"bytes": \d+|\d+\.\d MB', "SIZE", text)
        return TIME.sub(lambda found: found[0] if found[0] < "2024-10-09" else "NOW", text)

    return outcome.code, common(outcome.stdout), common(outcome.stderr)


@pytest.mark.parametrize("name", [name for name, runs in RUNS.items() if runs])
def test_both_databases_give_the_same(
    name: str, urls: tuple[str, str], tmp_path: Path, prometheus: str, exported: Path
) -> None:
    outcomes: list[list[object]] = []
    for number, url in enumerate(urls):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        write_files(folder)
        shutil.copy(exported, folder)
        found: list[object] = []
        with SlackServer(clock=time.time) as slack:
            env = slack.environment() | {"SLOCTL_PROMETHEUS_RETRIES": "0"}
            for command in RUNS[name]:
                line = (*name.split(), *words(command, prometheus), "--ledger", url)
                done = in_process(*line, folder=folder, env=env)
                assert done.code in RIGHT, done.stderr
                found.append((command, *said(done, url)))
            found.append(len(slack.messages))
            assert bool(slack.messages) == (name in POSTING), found
        found += [path.read_bytes() for path in folder.glob("out*")]
        with open_ledger(Secret(url)) as ledger:
            assert check.verify(ledger) == []
        assert len(found) > len(RUNS[name])
        outcomes.append(found)
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_both_databases_keep_what_the_scheduler_does(urls: tuple[str, str], tmp_path: Path) -> None:
    for url in urls:
        folder = tmp_path / url.partition(":")[0]
        folder.mkdir()
        path = slo_file(folder, "http://127.0.0.1:1", "name: slis, every: 5m")
        slo_set = spec.load([path])
        now = time.time()
        with FaultyServer(serve(Source(slo_set, scrape_times(now - 7200, now + 600, 30)))) as server:
            slo_file(folder, server.url, "name: slis, every: 5m")
            with scheduled(folder, "--ledger", url) as process:
                eventually(lambda: any(text.startswith("succeeded in") for text in process.messages("slis")))
                assert process.end() == 0
        assert process.noise == []
        with open_ledger(Secret(url)) as ledger:
            assert ledger.runs("shop")["slis"].outcome == "succeeded"
            assert ledger.newest("shop")[slo_set.slos[0].id] > now - 1200
