"""``sloctl diff`` as a pipeline runs it: where both sides are, exit codes, files, and a history that is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sloctl.ledger.protocol import Batch, Bucket
from sloctl.ledger.store import open_ledger
from sloctl.model import GRID
from sloctl.settings.secret import Secret
from tests.support.command_line import Outcome, environment, in_process
from tests.support.faulty_server import refused_url

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {prometheus: {url: "http://prometheus:9090"}}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: latency, service: checkout, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
guardrails: [{preset: watchdog}]
jobs: [{name: slis, every: 5m}]
"""
LOOSE = SLO_FILE.replace("objective: 99.9", "objective: 99.5")
OVERLAY = """
apiVersion: sloctl/v1
kind: MeshSLOsOverlay
overlay: prod
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.8}
"""
DAY = 86400
FIRST = 1_728_000_000 // GRID * GRID
SPAN = ("--from", "2024-10-08T00:00:00Z", "--to", "2024-10-09T00:00:00Z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sides, and a ledger in which 50 % of an hour and 3 % of another one fail."""
    folder = tmp_path_factory.mktemp("diff")
    (folder / "main/base").mkdir(parents=True)
    (folder / "slo.yaml").write_text(SLO_FILE)
    (folder / "main/base/slo.yaml").write_text(SLO_FILE)
    (folder / "new.yaml").write_text(LOOSE)
    (folder / "prod.yaml").write_text(OVERLAY)
    hour = 12 * GRID
    bad = {1_728_367_200: 250_000_000, 1_728_400_200: 15_000_000}

    def failed(end: int) -> int:
        return next((each for begin, each in bad.items() if begin < end <= begin + hour), 0)

    span = (FIRST, FIRST + 8 * DAY)
    buckets = [
        Bucket("shop", "checkout", end, 500_000_000, failed(end))
        for end in range(FIRST + GRID, span[1], GRID)
    ]
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        ledger.record(
            "shop",
            [
                Batch(f"shop:shop/checkout/{name}", name, span, buckets)
                for name in ("availability", "latency")
            ],
        )
    return folder


def diff(folder: Path, *arguments: str) -> Outcome:
    return in_process("diff", *arguments, folder=folder)


def test_nothing_changes_and_exit_codes(folder: Path) -> None:
    same = diff(folder, "main/base", "slo.yaml", "--exit-code")
    assert (same.code, same.stdout.count("\n")) == (0, 1), same.stderr
    assert same.stdout.startswith("shop: nothing changes (2 SLOs, 1 guardrail, ")
    assert " 0 objects" not in same.stdout, "what is generated is compared, too"
    assert diff(folder, "slo.yaml", "new.yaml").code == 0
    assert diff(folder, "slo.yaml", "new.yaml", "--exit-code").code == 1
    assert diff(folder, "slo.yaml", "missing.yaml").code == 2


def test_a_side_is_a_file_standard_input_an_overlay_or_nothing(folder: Path) -> None:
    asked = [sys.executable, "-m", "sloctl", "diff", "-", "new.yaml", "--format", "json"]
    done = subprocess.run(
        asked, cwd=folder, input=SLO_FILE.encode(), capture_output=True, check=True, env=environment(folder)
    )
    assert json.loads(done.stdout) == json.loads(
        diff(folder, "slo.yaml", "new.yaml", "--format", "json").stdout
    )
    failed = subprocess.run(
        asked, cwd=folder, input=b"", capture_output=True, check=False, env=environment(folder)
    )
    assert (failed.returncode, b"the file is empty" in failed.stderr) == (2, True), "the branch is not there"
    overlaid = diff(folder, "main/base", "slo.yaml", "--new", "prod.yaml")
    assert (
        "objective: 99.9 % (43m12s of full outage in 30d) → 99.8 % (1h26m of full outage in 30d)"
        in overlaid.stdout
    )
    (folder / "empty.yaml").write_text("")
    fresh, empty, gone = (
        json.loads(diff(folder, *sides, "--format", "json").stdout)
        for sides in (("/dev/null", "slo.yaml"), ("empty.yaml", "slo.yaml"), ("slo.yaml", "/dev/null"))
    )
    assert empty == fresh and diff(folder, "slo.yaml", "empty.yaml").code == 2
    for found, action in ((fresh, "added"), (gone, "removed")):
        kinds = {(item["kind"], item["action"]) for item in found["changes"] if item["kind"] != "setting"}
        assert kinds == {("slo", action), ("guardrail", action), ("object", action)}
        assert set(found["unchanged"].values()) == {0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-", "-"), "only one side can be read from standard input"),
        (("/dev/null", "/dev/null"), "both sides are /dev/null"),
        (("slo.yaml", "new.yaml", "--from", "30d"), "--from is for a replay of the past"),
        (("slo.yaml", "new.yaml", "--source", "rules"), "--source rules is for --prometheus"),
        (("slo.yaml", "new.yaml", "--source", "ledger", "--from", "1m"), "--from must be 10 minutes"),
        (("slo.yaml", "new.yaml", "-o", "missing/out.md"), "missing"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = diff(folder, *arguments)
    assert (done.code, said in done.stderr) == (2, True), done.stderr


def test_both_sides_on_a_ledger_are_what_a_backtest_says_of_each(folder: Path) -> None:
    where = ("--source", "ledger", "--ledger", "ledger.db", "--format", "json", *SPAN)
    found = json.loads(diff(folder, "slo.yaml", "new.yaml", *where).stdout)
    for side, file in (("before", "slo.yaml"), ("after", "new.yaml")):
        alone = in_process("backtest", "-f", file, *where, folder=folder)
        assert found["history"][side] == json.loads(alone.stdout)
    # 3 % of an hour burn 30 times too fast at 99.9 %, and 6 times at 99.5 %.
    lost = [(page["service"], page["start"]) for page in found["history"]["pages_lost"]]
    assert lost == [("checkout", "2024-10-08T15:40:00Z")]
    assert found["history"]["pages_per_week"][0] == {
        "owner": None,
        "before": 14,
        "after": 7,
        "complete": True,
    }
    (budget,) = found["history"]["budgets"]
    assert budget["slo"] == "shop/checkout availability"
    assert budget["before"]["spent"] == pytest.approx(5 * budget["after"]["spent"])
    assert 0 < budget["before"]["recorded"] < 0.2


def test_a_history_that_cannot_be_read_is_said_and_the_rest_is_printed(folder: Path) -> None:
    url = refused_url().replace("://", "://user:hunter2@")
    done = in_process(
        "diff",
        "slo.yaml",
        "new.yaml",
        "--prometheus",
        url,
        folder=folder,
        env={"SLOCTL_PROMETHEUS_RETRIES": "0"},
    )
    if done.code == 2:  # an address with a password is refused at once
        assert "hunter2" not in done.stderr + done.stdout
        done = in_process(
            "diff", "slo.yaml", "new.yaml", "--prometheus", refused_url(), folder=folder,
            env={"SLOCTL_PROMETHEUS_RETRIES": "0"},
        )  # fmt: skip
    assert done.code == 3
    assert "hunter2" not in done.stderr + done.stdout
    assert "doubt: the history was not read: " in done.stdout and "objective: 99.9 %" in done.stdout
    assert "pages a week" not in done.stdout


def test_objects_that_one_side_cannot_have_do_not_go(folder: Path) -> None:
    (folder / "nowhere.yaml").write_text(
        LOOSE.replace('sources: {prometheus: {url: "http://prometheus:9090"}}', "")
    )
    found = json.loads(diff(folder, "slo.yaml", "nowhere.yaml", "--format", "json").stdout)
    assert found["doubts"] == [
        "the objects of jobs were not compared: they cannot be generated: the jobs would not know where Prometheus is: "
        "the SLO file has no 'sources.prometheus'"
    ]
    assert {item["action"] for item in found["changes"] if item["kind"] == "object"} == {"changed"}
    assert not any(item["what"].startswith("jobs/") for item in found["changes"])


def test_a_comment_is_written_to_a_file(folder: Path) -> None:
    done = diff(folder, "slo.yaml", "new.yaml", "--format", "markdown", "-o", "comment.md")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.startswith("shop: SLO: 1 changes; alerts: 3 change; object: ")
    text = (folder / "comment.md").read_text()
    assert text.startswith("### shop: SLO: 1 changes") and "| SLO shop/checkout availability changes" in text
