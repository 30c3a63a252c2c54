"""``sloctl silence`` against a real Alertmanager, as a deployment pipeline calls it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sloctl.backends.alertmanager.client import Alertmanager
from sloctl.backends.silences import Silence, ensure, wanted
from sloctl.model import Matcher
from sloctl.settings.backends import AlertmanagerSettings
from tests.support.alertmanager_fixture import AlertmanagerServer, start_alertmanager
from tests.support.command_line import Outcome, environment, in_process, sloctl

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {alertmanager: {url: "URL"}}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
DEPLOY = ("--service", "checkout", "--comment", "deploy 42")


@pytest.fixture(scope="module")
def server() -> Iterator[AlertmanagerServer]:
    with start_alertmanager() as started:
        yield started


@pytest.fixture
def folder(server: AlertmanagerServer, tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE.replace("URL", server.url))
    return inner


@pytest.fixture
def store(server: AlertmanagerServer) -> Iterator[Alertmanager]:
    """The adapter; before the test all silences are ended."""
    with Alertmanager(AlertmanagerSettings(server.url)) as adapter:
        for silence in live(adapter):
            adapter.expire(silence.id)
        yield adapter


def live(store: Alertmanager) -> list[Silence]:
    return [silence for silence in store.silences() if silence.live]


def run(folder: Path, *arguments: str) -> Outcome:
    return in_process("silence", *arguments, folder=folder)


def create(folder: Path, *arguments: str) -> str:
    outcome = run(folder, "-f", "slo.yaml", *DEPLOY, *arguments)
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout.strip()


def post_alert(url: str, **labels: str) -> None:
    body = json.dumps([{"labels": labels, "endsAt": stamp(timedelta(minutes=10))}]).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/v2/alerts", body, headers)):
        pass


def stamp(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).isoformat(timespec="milliseconds")


def test_a_deploy_window_from_its_start_to_its_end(folder: Path, store: Alertmanager) -> None:
    outcome = sloctl("silence", "-f", "slo.yaml", *DEPLOY, "--for", "30m", "--deploy-id", "42", folder=folder)
    assert outcome.code == 0
    assert re.fullmatch(r"[0-9a-f-]{36}\n", outcome.stdout)
    assert re.fullmatch(
        r'sloctl: created, until \d{4}-\S+Z: slo_set="shop", service="checkout"\n', outcome.stderr
    )
    (silence,) = live(store)
    assert silence.id == outcome.stdout.strip()
    assert (silence.state, silence.deploy_id, silence.said, silence.author) == (
        "active",
        "42",
        "deploy 42",
        "sloctl",
    )
    assert set(silence.matchers) == {Matcher("slo_set", "=", "shop"), Matcher("service", "=", "checkout")}
    assert abs(silence.ends - datetime.now(UTC) - timedelta(minutes=30)) < timedelta(seconds=20)

    listed = run(folder, "list", "-f", "slo.yaml")
    assert listed.stderr == ""
    header, row = listed.stdout.splitlines()
    assert header.split() == ["id", "state", "ends", "(UTC)", "deploy", "author", "matches", "comment"]
    assert row.startswith(f"{silence.id}  active")
    assert row.endswith('42      sloctl  service="checkout", slo_set="shop"  deploy 42')
    (item,) = json.loads(run(folder, "list", "-f", "slo.yaml", "--format", "json").stdout)
    assert item["id"] == silence.id
    assert (item["state"], item["deploy_id"], item["by_sloctl"]) == ("active", "42", True)

    ended = run(folder, "expire", "--deploy-id", "42", "-f", "slo.yaml")
    assert (ended.code, ended.stdout, ended.stderr) == (0, f"{silence.id}\n", "")
    assert live(store) == []
    again = run(folder, "expire", "--deploy-id", "42", "-f", "slo.yaml")
    assert (again.code, again.stdout) == (0, "")
    assert f"sloctl: {silence.id}: already expired\n" in again.stderr
    assert run(folder, "list", "-f", "slo.yaml").stderr == "sloctl: no silences\n"
    assert run(folder, "list", "-f", "slo.yaml", "--format", "json").stdout == "[]\n"


def test_a_repeated_job_extends_its_silence_and_makes_no_second(folder: Path, store: Alertmanager) -> None:
    first = create(folder, "--for", "10m", "--deploy-id", "a/1")
    longer = run(folder, "-f", "slo.yaml", *DEPLOY, "--for", "1h", "--deploy-id", "a/1")
    assert longer.stdout.strip() == first
    assert longer.stderr.startswith("sloctl: extended, until ")
    (extended,) = live(store)
    assert abs(extended.ends - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=20)
    shorter = run(folder, "-f", "slo.yaml", *DEPLOY, "--for", "5m", "--deploy-id", "a/1", "--format", "json")
    answer = json.loads(shorter.stdout)
    assert (answer["id"], answer["change"]) == (first, "unchanged")
    assert live(store) == [extended]
    assert create(folder, "--for", "10m", "--deploy-id", "a/2") != first
    assert create(folder, "--for", "10m", "--deploy-id", "a/1", "--namespace", "shop") != first
    assert len(live(store)) == 3
    ended = run(folder, "expire", "--deploy-id", "a/1", "-f", "slo.yaml")
    assert len(ended.stdout.splitlines()) == 2
    assert [silence.deploy_id for silence in live(store)] == ["a/2"]
    assert create(folder, "--for", "10m", "--deploy-id", "a/1") != first, "an expired one is not revived"


def test_repeating_never_makes_it_longer_than_the_maximum(folder: Path, store: Alertmanager) -> None:
    silence = wanted([Matcher("service", "=", "x")], datetime.now(UTC), 60, "a", "b", "d")
    begun = ensure(store, silence, 60).silence
    time.sleep(1.5)
    later = wanted([Matcher("service", "=", "x")], datetime.now(UTC), 60, "a", "b", "d")
    ensured = ensure(store, later, 60)
    assert ensured.limited
    assert ensured.silence.id == begun.id
    (kept,) = live(store)
    assert kept.ends - kept.starts <= timedelta(seconds=60)


def test_without_a_deploy_id_each_is_new(folder: Path, store: Alertmanager) -> None:
    ids = {create(folder, "--for", "10m") for _ in range(2)}
    assert {silence.id for silence in live(store)} == ids
    assert all(silence.ours and not silence.deploy_id for silence in live(store))


def test_two_processes_at_once_make_one_silence(folder: Path, store: Alertmanager) -> None:
    command = [sys.executable, "-W", "error", "-m", "sloctl", "silence", "-f", "slo.yaml", *DEPLOY]
    command += ["--for", "10m", "--deploy-id", "both"]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ids = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (silence,) = live(store)
    assert ids == {silence.id}


def test_many_that_look_before_any_has_created(server: AlertmanagerServer, store: Alertmanager) -> None:
    """The worst moment: all of them see nothing, and all create."""
    together = threading.Barrier(5)
    results: list[str] = []

    class Simultaneous(Alertmanager):
        looked = False

        def silences(self) -> Any:
            found = super().silences()
            if not self.looked:
                self.looked = True
                together.wait(10)
            return found

    def make(seconds: int) -> None:
        with Simultaneous(AlertmanagerSettings(server.url)) as mine:
            silence = wanted([Matcher("service", "=", "x")], datetime.now(UTC), seconds, "a", "b", "race")
            results.append(ensure(mine, silence, 14400).silence.id)

    threads = [threading.Thread(target=make, args=(600 + number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (silence,) = live(store)
    assert results == [silence.id] * 5
    assert sum(other.deploy_id == "race" for other in store.silences()) == 5


def test_it_mutes_what_it_is_for_and_nothing_else(
    folder: Path, server: AlertmanagerServer, store: Alertmanager
) -> None:
    labels = {"alertname": "AvailabilityBudgetBurnPage1h", "slo": "availability", "namespace": "shop"}
    for slo_set, service in (("shop", "checkout"), ("shop", "cart"), ("other", "checkout")):
        post_alert(server.url, **labels, slo_set=slo_set, service=service)
    post_alert(server.url, alertname="Watchdog", slo_set="shop")
    silence = create(folder, "--for", "10m", "--deploy-id", "mute")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alerts = store.alerts()
        if all(alert.state != "unprocessed" for alert in alerts):
            break
        time.sleep(0.1)
    assert len(alerts) == 4
    muted = [alert for alert in alerts if alert.silenced_by]
    assert [(alert.labels["slo_set"], alert.labels["service"]) for alert in muted] == [("shop", "checkout")]
    assert (muted[0].state, muted[0].silenced_by) == ("suppressed", (silence,))
    run(folder, "expire", silence, "-f", "slo.yaml")
    assert all(not alert.silenced_by for alert in store.alerts())


def test_by_deploy_id_only_those_of_sloctl_and_of_the_set(folder: Path, store: Alertmanager) -> None:
    now = datetime.now(UTC)

    def person(comment: str) -> str:
        matchers = (Matcher("slo_set", "=", "shop"), Matcher("service", "=~", "check.*"))
        return store.post(Silence(matchers, now, now + timedelta(minutes=5), "jo", comment))

    theirs = {person(text) for text in ("deploy 7", "7", "[sloctl deploy=7] was mine", "sloctl deploy=7")}
    other_set = wanted([Matcher("slo_set", "=", "other")], now, 300, "x", "y", "7")
    theirs.add(store.post(other_set))
    tricky = run(
        folder,
        "-f",
        "slo.yaml",
        *DEPLOY[:2],
        "--for",
        "5m",
        "--deploy-id",
        "8",
        "--comment",
        "[sloctl deploy=7]",
    )
    mine = create(folder, "--for", "5m", "--deploy-id", "7")
    outcome = run(folder, "expire", "--deploy-id", "7", "-f", "slo.yaml")
    assert outcome.stdout == f"{mine}\n"
    assert {silence.id for silence in live(store)} == theirs | {tricky.stdout.strip()}
    listed = json.loads(run(folder, "list", "-f", "slo.yaml", "--format", "json").stdout)
    everywhere = json.loads(run(folder, "list", "-f", "slo.yaml", "--all", "--format", "json").stdout)
    assert len(everywhere) == len(listed) + 1
    assert sum(item["by_sloctl"] for item in everywhere) == 2


def test_what_is_not_known_is_not_expired(folder: Path, store: Alertmanager) -> None:
    silence = create(folder, "--for", "5m")
    unknown = "11111111-1111-4111-8111-111111111111"
    outcome = run(folder, "expire", unknown, silence.upper(), "../../status", "-f", "slo.yaml")
    assert (outcome.code, outcome.stdout) == (1, f"{silence}\n")
    assert f"sloctl: error: no silence {unknown}, ../../status is known\n" in outcome.stderr
    outcome = run(folder, "expire", "--deploy-id", "nobodys", "-f", "slo.yaml")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "no silence of deploy nobodys is known" in outcome.stderr
    results = run(folder, "expire", silence, unknown, "-f", "slo.yaml", "--format", "json")
    assert results.code == 1
    assert [item["result"] for item in json.loads(results.stdout)] == ["already expired", "unknown"]


def test_without_a_file(folder: Path, server: AlertmanagerServer, store: Alertmanager) -> None:
    outcome = run(folder, "--alertmanager", server.url, *DEPLOY, "--for", "4h", "--author", "ci of shop")
    assert outcome.code == 0
    (silence,) = live(store)
    assert silence.matchers == (Matcher("service", "=", "checkout"),)
    assert silence.author == "ci of shop"
    env = {"SLOCTL_ALERTMANAGER_URL": server.url}
    assert in_process("silence", "list", folder=folder, env=env).stdout.count("\n") == 2


def test_status_says_which_alertmanager_it_is(store: Alertmanager) -> None:
    assert re.match(r"\d+\.\d+", store.status()["versionInfo"]["version"])


def test_control_characters_of_the_server_do_not_reach_the_terminal(
    folder: Path, store: Alertmanager
) -> None:
    now = datetime.now(UTC)
    evil = "\x1b[31mred\x07\u202e\n"
    matchers = (Matcher("slo_set", "=", "shop"), Matcher("service", "=", evil))
    store.post(Silence(matchers, now, now + timedelta(minutes=5), evil, evil))
    for form in ("table", "json"):
        outcome = run(folder, "list", "-f", "slo.yaml", "--format", form)
        assert outcome.code == 0
        assert all(char.isprintable() or char == "\n" for char in outcome.stdout)
    assert len(run(folder, "list", "-f", "slo.yaml").stdout.splitlines()) == 2
