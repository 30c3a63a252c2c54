"""Reports from the command line to Slack, as processes: each arrives once, whatever fails, dies or runs beside."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sloctl import spec
from sloctl.backends.protocols import Series
from sloctl.report.data import json_schema
from tests.support import forked
from tests.support.block_kit import problems
from tests.support.command_line import TIMEOUT, Outcome, environment, in_process, sloctl
from tests.support.faulty_server import FaultyServer, refused_url
from tests.support.forked import Run
from tests.support.simulated import Flow, Simulated, serve
from tests.support.slack_server import TOKEN, SlackServer, lose_answer, rate_limit

AT = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
jobs:
  - {name: report, cron: "0 9 * * *", timezone: Europe/Paris, post: slack}
  - {name: report, cron: "30 9 * * 1", timezone: Europe/Paris, post: slack}
  - {name: report, cron: "0 10 1 * *", timezone: Europe/Paris, post: slack}
reports: {slack: {channel: "#slo-reviews"}}
"""
KEYS = {
    "daily": "shop/daily/2026-03-02/Europe/Paris/slack:#slo-reviews",
    "weekly": "shop/weekly/2026-W09/Europe/Paris/slack:#slo-reviews",
    "monthly": "shop/monthly/2026-02/Europe/Paris/slack:#slo-reviews",
}
SEEDS = int(os.environ.get("SLOCTL_SLACK_SEEDS", "1"))
"""How many times each kind of trouble is drawn anew (make crash: thirty)."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    now = AT.timestamp()
    flows = [
        Flow(slo_set.slos[0].id, "shop", "checkout", now - 1e7, now + 1e7, 100, 0.2),
        Flow(slo_set.slos[1].id, "shop", "cart", now - 1e7, now + 1e7, 10, 0.001),
    ]

    def others(query: str) -> list[Series] | None:
        """What a routine asks besides events: there is no such thing in this mesh."""
        known = ("max by (alertname", "kube_pod", "pilot_k8s", "slo:bad_events_by_cause", "workload:sidecar")
        return [] if any(part in query for part in known) else None

    with FaultyServer(serve(Simulated(slo_set, flows, override=others))) as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(clock=time.time) as server:
        yield server


def arguments(url: str, routine: str, *more: str) -> tuple[str, ...]:
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), "--ledger", "ledger.db")
    return ("run", "report", *where, *(("--routine", routine) if routine else ()), *more)


def run(folder: Path, slack: SlackServer, url: str, routine: str, *more: str) -> Outcome:
    return checked(
        folder, in_process(*arguments(url, routine, *more), folder=folder, env=slack.environment())
    )


def retry(folder: Path, slack: SlackServer) -> Outcome:
    words = ("outbox", "retry", "--ledger", "ledger.db")
    return checked(folder, in_process(*words, folder=folder, env=slack.environment()))


def checked(folder: Path, outcome: Outcome) -> Outcome:
    """Itself; fails if the token is anywhere."""
    assert TOKEN not in outcome.stdout + outcome.stderr
    for file in folder.glob("ledger.db*"):
        assert TOKEN.encode() not in file.read_bytes()
    return outcome


def waiting(folder: Path) -> list[dict[str, Any]]:
    done = in_process("outbox", "list", "--format", "json", "--ledger", "ledger.db", folder=folder)
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def to_the_end(folder: Path, slack: SlackServer, rounds: int = 60) -> None:
    for _ in range(rounds):
        if not waiting(folder):
            return
        retry(folder, slack)
    raise AssertionError(waiting(folder))


def each_arrived_once(slack: SlackServer, *routines: str) -> None:
    assert slack.problems == []
    titles = sorted(message["blocks"][0]["text"]["text"] for message in slack.main())
    assert titles == sorted(f"{routine.title()} SLO report: shop" for routine in routines)
    for message in slack.main():
        parts = [reply["metadata"]["event_payload"]["part"] for reply in slack.thread(message["ts"])]
        assert len(parts) >= 3 and parts == [f"reply {number}" for number in range(len(parts))]
    threads = {message["ts"] for message in slack.main()}
    assert all(reply["thread_ts"] in threads for reply in slack.messages if reply.get("thread_ts"))


# --- fine


@pytest.mark.slow
def test_jobs_post_their_routines_and_each_once(folder: Path, slack: SlackServer, url: str) -> None:
    first = sloctl(*arguments(url, "weekly"), folder=folder, env=slack.environment())
    assert first.code == 0, first.stderr
    assert f"posted {KEYS['weekly']}" in first.stderr
    assert "Budgets, 23 Feb – 1 Mar 2026 (Europe/Paris)" in first.stdout
    again = run(folder, slack, url, "weekly")
    assert again.code == 0 and f"{KEYS['weekly']} was posted before" in again.stderr
    for routine in ("daily", "monthly"):
        done = run(folder, slack, url, routine)
        assert done.code == 0 and f"posted {KEYS[routine]}" in done.stderr
    each_arrived_once(slack, "daily", "weekly", "monthly")
    assert waiting(folder) == []
    listed = in_process("outbox", "list", "--all", "--ledger", "ledger.db", folder=folder)
    assert all(key in listed.stdout.replace("\n", "") for key in KEYS.values())


def test_which_of_several_jobs(folder: Path, slack: SlackServer, url: str) -> None:
    done = run(folder, slack, url, "")
    assert done.code == 2 and "say which one with --routine: daily, monthly, weekly" in done.stderr
    assert slack.messages == []


def test_the_only_job_needs_no_routine(folder: Path, slack: SlackServer, url: str) -> None:
    lines = [line for line in SLO_FILE.splitlines() if "cron" not in line or "* * 1" in line]
    (folder / "slo.yaml").write_text("\n".join(lines))
    assert run(folder, slack, url, "").code == 0
    each_arrived_once(slack, "weekly")


def test_owners_get_what_they_answer_for_and_each_once(folder: Path, slack: SlackServer, url: str) -> None:
    text = SLO_FILE.replace("objective: 99.9, sli", "objective: 99.9, owner: team-payments, sli").replace(
        '"#slo-reviews"', '"#slo-reviews", owners: {team-payments: "#slo-reviews", team-gone: "#gone"}'
    )
    (folder / "slo.yaml").write_text(text)
    for _ in range(2):
        assert run(folder, slack, url, "weekly").code == 0
    titles = sorted(message["blocks"][0]["text"]["text"] for message in slack.main())
    assert titles == ["Weekly SLO report: shop", "Weekly SLO report: shop, team-payments"]
    (whole,), (theirs,) = (
        [item for item in slack.main() if ("team-payments" in item["blocks"][0]["text"]["text"]) is part]
        for part in (False, True)
    )
    tables = {key: json.dumps(slack.thread(item["ts"])) for key, item in (("all", whole), ("own", theirs))}
    assert "shop/cart" in tables["all"] and "shop/checkout" in tables["all"]
    assert "shop/cart" not in tables["own"] and "shop/checkout" in tables["own"]
    hook = {"SLOCTL_SLACK_WEBHOOK": "https://hooks.slack.invalid/x"}
    refused = in_process(*arguments(url, "weekly"), folder=folder, env=hook)
    assert (refused.code, "a webhook posts to its own alone" in refused.stderr) == (2, True)


def test_a_report_by_hand(folder: Path, slack: SlackServer, url: str) -> None:
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), "--ledger", "ledger.db")
    done = in_process("report", *where, "--post", folder=folder, env=slack.environment())
    assert done.code == 0, done.stderr
    assert "posted shop/now/2026-03-03T09:00:00Z/slack:#slo-reviews" in done.stderr
    assert slack.main()[0]["blocks"][0]["text"]["text"] == "Error budgets of shop"
    in_process("report", *where, "--post", folder=folder, env=slack.environment())
    assert len(slack.main()) == 1
    done = in_process(
        "report",
        *where,
        "--post",
        "--routine",
        "weekly",
        "--timezone",
        "UTC",
        folder=folder,
        env=slack.environment(),
    )
    assert "shop/weekly/2026-W09/UTC/slack" in done.stderr


def test_a_dry_run_prints_and_touches_nothing(folder: Path, slack: SlackServer, url: str) -> None:
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), "--ledger", "none")
    done = in_process("report", *where, "--post", "--dry-run", "--routine", "weekly", folder=folder)
    assert done.code == 0, done.stderr
    assert done.stderr == f"would post {KEYS['weekly']}, with a chart\n"
    shown = json.loads(done.stdout)
    for message in (shown["main"], *shown["thread"], shown["single"]):
        assert problems(message) == []
    plain = in_process(
        "report", *where, "--format", "slack", "--routine", "weekly", "-o", "m.json", folder=folder
    )
    assert plain.code == 0
    assert json.loads((folder / "m.json").read_text())["main"] == shown["main"]
    assert slack.calls == [] and not (folder / "ledger.db").exists()


@pytest.mark.parametrize("routine", list(KEYS))
@pytest.mark.slow
def test_every_form_shows_the_routine(folder: Path, url: str, routine: str) -> None:
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), "--routine", routine)
    made = json.loads(in_process("report", *where, "--format", "json", folder=folder).stdout)
    jsonschema.validate(made, json_schema())
    assert made["routine"]["period"] == KEYS[routine].split("/")[2]
    assert made["routine"]["timezone"] == "Europe/Paris"
    assert not [item for item in made["findings"] if item["code"].startswith("routine-")]
    name = {"daily": "spenders", "weekly": "budgets", "monthly": "attainment"}[routine]
    (section,) = [item for item in made["routine"]["sections"] if item["name"] == name]
    rows = {row["service"]: row for row in section["rows"]}
    days = {"daily": 1, "weekly": 7, "monthly": 28}[routine]
    assert rows["shop/checkout"]["events"] == pytest.approx(days * 1440 * 100)
    assert rows["shop/checkout"]["bad"] == pytest.approx(days * 1440 * 0.2)
    if routine == "monthly":
        assert rows["shop/checkout"]["met"] == "missed" and rows["shop/cart"]["met"] == "met"
        assert rows["shop/checkout"]["sli"] == pytest.approx(0.998)
    else:
        assert rows["shop/checkout"]["spent"] == pytest.approx(2 * days / 30, rel=1e-3)
    for form, mark in (("markdown", "\n## "), ("table", ""), ("html", "<h2")):
        text = in_process("report", *where, "--format", form, folder=folder).stdout
        assert (
            mark in text
            and {"daily": "2 Mar 2026", "weekly": "23 Feb", "monthly": "Feb 2026"}[routine] in text
        )


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "nothing says how to post to Slack"),
        ({"SLOCTL_SLACK_TOKEN": "a", "SLOCTL_SLACK_WEBHOOK": "https://b.example"}, "use one of them"),
        ({"SLOCTL_SLACK_WEBHOOK": "http://hooks.example.org/secret-part"}, "must begin with https://"),
        (
            {"SLOCTL_SLACK_TOKEN": "a", "SLOCTL_SLACK_API_URL": "http://slack.example.org"},
            "must begin with https://",
        ),
        ({"SLOCTL_SLACK_TOKEN_FILE": "nope"}, "SLOCTL_SLACK_TOKEN_FILE: cannot read nope"),
        ({"SLOCTL_SLACK_TOKEN": "a", "SLOCTL_SLACK_TIMEOUT": "x"}, "is not a number"),
    ],
)
def test_settings_that_cannot_be_are_said_before_anything_is_asked(
    folder: Path, env: dict[str, str], message: str
) -> None:
    done = in_process(*arguments(refused_url(), "weekly"), folder=folder, env=env)
    assert done.code == 2 and message in done.stderr
    assert "secret-part" not in done.stderr and not (folder / "ledger.db").exists()


# --- not fine


def test_what_waits_is_delivered_by_the_next_run(folder: Path, slack: SlackServer, url: str) -> None:
    slack.faulty, slack.faults = ("chat.postMessage",), [rate_limit("100000")]
    done = run(folder, slack, url, "weekly")
    assert (
        done.code == 3 and f"{KEYS['weekly']} waits: chat.postMessage: Slack limits the rate" in done.stderr
    )
    (entry,) = waiting(folder)
    assert entry["state"] == "pending" and entry["attempts"] == 1
    again = run(folder, slack, url, "weekly")
    assert again.code == 0 and "is in the outbox already" in again.stderr and slack.main() == []
    retry(folder, slack)
    each_arrived_once(slack, "weekly")


def test_given_up_is_said_until_somebody_acts(folder: Path, slack: SlackServer, url: str) -> None:
    slack.refuse = {"chat.postMessage": "not_in_channel"}
    done = run(folder, slack, url, "weekly")
    assert done.code == 1
    assert (
        f"error: {KEYS['weekly']} was given up: chat.postMessage: not_in_channel (invite the app"
        in done.stderr
    )
    slack.refuse = {}
    later = run(folder, slack, url, "daily")
    assert later.code == 0 and f"given up earlier: {KEYS['weekly']}" in later.stderr
    listed = in_process("outbox", "list", "--ledger", "ledger.db", folder=folder)
    assert listed.code == 1 and "not_in_channel" in listed.stdout
    words = ("outbox", "retry", KEYS["weekly"], "--ledger", "ledger.db")
    assert in_process(*words, folder=folder, env=slack.environment()).code == 0
    each_arrived_once(slack, "daily", "weekly")
    gone = in_process(*words, folder=folder, env=slack.environment())
    assert gone.code == 2 and "no report" in gone.stderr


@pytest.mark.slow
def test_without_prometheus_what_waits_is_delivered_all_the_same(
    folder: Path, slack: SlackServer, url: str
) -> None:
    slack.faulty, slack.faults = ("chat.postMessage",), [rate_limit("20"), rate_limit("20")]
    assert run(folder, slack, url, "weekly").code == 3
    import sqlite3

    with sqlite3.connect(folder / "ledger.db") as database:
        database.execute("UPDATE outbox SET due = 0")
    database.close()
    slack.faults = []
    done = run(folder, slack, refused_url(), "weekly")
    assert done.code == 3 and f"posted {KEYS['weekly']}" in done.stderr
    each_arrived_once(slack, "weekly")


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.slow
def test_every_report_arrives_once_whatever_fails(
    folder: Path, slack: SlackServer, url: str, seed: int
) -> None:
    slack._random.seed(seed)
    slack.chance = 0.35
    for routine in KEYS:
        for _ in range(2):
            assert run(folder, slack, url, routine).code in (0, 3)
    to_the_end(folder, slack)
    slack.chance = 0
    each_arrived_once(slack, *KEYS)


def start(folder: Path, slack: SlackServer, *words: str) -> Run:
    output = folder.parent / f"out-{len(list(folder.parent.glob('out-*')))}"
    return forked.start(list(words), folder, output, env=environment(folder) | slack.environment())


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 3, 4, 5, 6, 8, 9, 10])
def test_a_process_that_is_killed_while_slack_answers(
    folder: Path, slack: SlackServer, url: str, calls: int
) -> None:
    """SIGKILL as its n-th request arrives: before, after or while it is processed."""
    started = start(folder, slack, *arguments(url, "weekly"))
    deadline = time.monotonic() + TIMEOUT
    while len(slack.calls) < calls and started.process.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.001)
    started.kill()
    assert started.wait() in (0, 3, -signal.SIGKILL), started.said
    assert len(slack.main()) <= 1
    second = run(folder, slack, url, "weekly")
    assert second.code in (0, 3), second.stderr
    to_the_end(folder, slack)
    each_arrived_once(slack, "weekly")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_processes_at_once_with_faults_and_kills(
    folder: Path, slack: SlackServer, url: str, seed: int
) -> None:
    slack._random.seed(seed)
    slack.chance = 0.25
    for round_number in range(2):
        processes = [
            start(folder, slack, *arguments(url, routine)) for routine in ("weekly", "weekly", "daily")
        ]
        if round_number == 0:
            victim = processes[slack._random.randrange(3)]
            deadline = time.monotonic() + TIMEOUT
            calls = 2 + seed * 2
            while len(slack.calls) < calls and victim.process.exitcode is None:
                assert time.monotonic() < deadline, victim.said
                time.sleep(0.002)
            victim.kill()
        for each in processes:
            assert each.wait(TIMEOUT) in (0, 3, -signal.SIGKILL), each.said
            assert "Traceback" not in each.said and TOKEN not in each.said
    to_the_end(folder, slack)
    slack.chance = 0
    each_arrived_once(slack, "weekly", "daily")


def test_a_webhook(folder: Path, slack: SlackServer, url: str) -> None:
    env = {"SLOCTL_SLACK_WEBHOOK": slack.hook}
    slack.faults = [lose_answer]
    done = in_process(*arguments(url, "weekly"), folder=folder, env=env)
    assert done.code == 3 and "thisisthesecrethook" not in done.stdout + done.stderr
    done = in_process("outbox", "retry", "--ledger", "ledger.db", folder=folder, env=env)
    assert done.code == 0 and "posted" in done.stderr
    assert [message["text"].startswith("This may be a repetition") for message in slack.main()] == [
        False,
        True,
    ]
    assert slack.problems == []
    for file in folder.glob("ledger.db*"):
        assert b"thisisthesecrethook" not in file.read_bytes()
