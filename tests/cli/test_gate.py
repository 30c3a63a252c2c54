"""``sloctl gate`` as a pipeline runs it: exit codes, and that doubt opens no gate."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import spec
from tests.support.command_line import Outcome, in_process
from tests.support.faulty_server import FaultyServer, refused_url, status
from tests.support.simulated import Flow, Simulated, serve

AT = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}", alerting: none}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99, sli: {preset: availability}}
  - {name: availability, service: cart, namespace: shop, objective: 99, sli: {preset: availability}}
  - {name: availability, service: search, namespace: shop, objective: 99, sli: {preset: availability}}
release: {fixes_below: 25}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    now = AT.timestamp()
    bad = {"checkout": 2.0, "cart": 0.1, "search": 0.8}  # of 100 a minute, of which one may be
    flows = [
        Flow(slo.id, "shop", slo.service, now - 1e7, now + 1e7, 100, bad[slo.service]) for slo in slo_set.slos
    ]
    with FaultyServer(serve(Simulated(slo_set, flows))) as server:
        yield server.url


def gate(folder: Path, url: str, *more: str, text: str = SLO_FILE) -> Outcome:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/slo.yaml").write_text(text)
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), "--ledger", "none")
    return in_process("gate", *where, *more, folder=folder / "run")


def test_each_service_has_its_own_gate(url: str, tmp_path: Path) -> None:
    spent, healthy, low = (
        gate(tmp_path, url, "--service", name) for name in ("checkout", "shop/cart", "search")
    )
    assert (spent.code, healthy.code, low.code) == (1, 0, 1)
    assert spent.stdout.startswith("refused: a release, by 1 SLO as of")
    assert "nothing is released" in spent.stdout
    assert healthy.stdout.startswith("allowed: a release")
    assert "only a fix is released" in low.stdout
    assert gate(tmp_path, url, "--service", "search", "--fix").code == 0
    assert gate(tmp_path, url, "--service", "checkout", "--fix").code == 1
    assert gate(tmp_path, url).code == 1, "everything together"


def test_an_override_is_entered_with_its_reason(url: str, tmp_path: Path) -> None:
    said = ("--override", "customers wait", "--author", "ann")
    without = gate(tmp_path, url, "--service", "checkout", *said)
    assert (without.code, "allowed" in without.stdout) == (2, False), "there is no ledger"
    ledger = ("--ledger", "ledger.db")
    assert gate(tmp_path, url, "--service", "cart", *said, *ledger).code == 0
    done = gate(tmp_path, url, "--service", "shop/checkout", *said, *ledger)
    assert (done.code, done.stdout.startswith("refused: a release")) == (0, True)
    assert "overridden by ann" in done.stderr
    assert gate(tmp_path, url, "--override", "why", *ledger).code == 2
    listed = in_process("annotate", "-f", "slo.yaml", *ledger, folder=tmp_path / "run")
    line = listed.stdout.splitlines()
    assert line == ["2026-03-03T09:00:00Z  override of shop/checkout: gate refused: customers wait (ann)"]


def test_an_override_for_an_owner_is_of_that_owners_services(url: str, tmp_path: Path) -> None:
    said = ("--override", "customers wait", "--author", "ann", "--ledger", "ledger.db")
    text = SLO_FILE.replace("service: search,", "service: search, owner: team-find,")
    assert gate(tmp_path, url, "--owner", "team-find", *said, text=text).code == 0
    listed = in_process("annotate", "-f", "slo.yaml", "--ledger", "ledger.db", folder=tmp_path / "run")
    assert [line.split(": ")[0] for line in listed.stdout.splitlines()] == [
        "2026-03-03T09:00:00Z  override of shop/search"
    ]


def test_an_override_needs_no_prometheus_that_answers(tmp_path: Path) -> None:
    said = ("--owner", "team-shop", "--ledger", "ledger.db")
    override = ("--override", "customers wait", "--author", "ann")
    allow = SLO_FILE.replace("{fixes_below", "{unknown: allow, fixes_below")
    with FaultyServer(status(403, "tenant unknown")) as server:
        shut = gate(tmp_path, server.url, *said)
        allowing = gate(tmp_path, server.url, *said, text=allow)
        done = gate(tmp_path, server.url, *said, *override)
        of_nobody = gate(tmp_path, server.url, *override, "--owner", "team-shup", "--ledger", "ledger.db")
    assert shut.code == 3
    assert "  no budget could be read: Prometheus at " in shut.stdout
    assert "access denied (403): tenant unknown" in shut.stdout
    assert "hint: " in shut.stderr
    assert (allowing.code, allowing.stdout.startswith("allowed: a release")) == (0, True)
    assert (done.code, done.stdout.startswith("unknown: a release")) == (0, True)
    assert (of_nobody.code, "no SLO of the file is of 'team-shup'" in of_nobody.stderr) == (2, True)
    listed = in_process("annotate", "-f", "slo.yaml", "--ledger", "ledger.db", folder=tmp_path / "run")
    assert sorted(listed.stdout.splitlines()) == [
        f"2026-03-03T09:00:00Z  override of shop/{name}: gate unknown: customers wait (ann)"
        for name in ("cart", "checkout", "search")
    ]


@pytest.mark.parametrize(
    "more", [("--service", "a/b/c"), ("--service", ""), ("--override", "x" * 2000, "--author", "ann")]
)
def test_what_no_ledger_could_keep_is_refused(tmp_path: Path, more: tuple[str, ...]) -> None:
    done = gate(tmp_path, refused_url(), *more)
    assert (done.code, done.stdout, more[0] in done.stderr) == (2, "", True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("x", "--service", "a/b/c"), "--service: 'a/b/c' is no service"),
        (("x", "--service", ""), "--service: '' is no service"),
        (("x", "--namespace", ""), "--namespace: '' is no namespace"),
        (("x", "--service", "two words"), "--service: 'two words' is no service"),
        (("x", "--namespace", "a/b"), "--namespace: 'a/b' is no namespace"),
        (("long " * 401,), "TEXT has 2,004 characters, of at most 2,000"),
    ],
)
def test_what_no_ledger_could_keep_is_not_annotated(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    done = in_process(
        "annotate", "-f", "slo.yaml", "--ledger", "a.db", "--author", "me", *more, folder=tmp_path
    )
    assert (done.code, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "a.db").exists()


def test_a_file_of_tests(url: str, tmp_path: Path) -> None:
    done = gate(tmp_path, url, "--format", "junit", "-o", "gate.xml")
    assert done.code == 1
    assert done.stdout == ""
    assert (tmp_path / "run/gate.xml").read_text().count("<failure") == 2
    assert json.loads(gate(tmp_path, url, "--format", "json").stdout)["verdict"] == "refused"


def test_where_nobody_can_say_it_stays_shut(url: str, tmp_path: Path) -> None:
    misspelt = gate(tmp_path, url, "--service", "chekout")
    assert misspelt.code == 3
    assert "no SLO of that service" in misspelt.stdout
    one_of_two = gate(tmp_path, url, "--service", "cart", "--service", "chekout")
    assert (one_of_two.code, "chekout: no SLO of it had events" in one_of_two.stdout) == (3, True)
    assert gate(tmp_path, refused_url(), "--timeout", "1").code == 3
