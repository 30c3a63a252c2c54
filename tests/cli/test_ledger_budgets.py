"""``sloctl ledger budgets`` and ``causes`` on a ledger whose events are known."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl.ledger.protocol import MICRO, Batch, Bucket, Cause
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
from tests.support.command_line import in_process

FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99, sli: {preset: availability}}
  - {name: strict, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())


def events(end: int) -> tuple[Bucket, ...]:
    return tuple(
        Bucket("shop", service, end, 100 * MICRO, bad * MICRO) for service, bad in (("cart", 2), ("<b>", 0))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "slo.yaml").write_text(FILE)
    cause = Cause("shop", "cart", MARCH + 600, (("response_code", "503"),), MICRO)
    with open_ledger(Secret(f"sqlite:///{home / 'ledger.db'}")) as ledger:
        ledger.record(
            "shop",
            [
                Batch("shop:shop/*/availability", "availability", (end - 300, end), events(end), causes)
                for end, causes in ((MARCH, ()), (MARCH + 300, ()), (MARCH + 600, (cause,)))
            ],
        )
    return home


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = in_process("ledger", *arguments, "-f", "slo.yaml", "--ledger", "ledger.db", folder=folder)
    assert done.code == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_an_incident_costs_a_share_of_the_window(folder: Path) -> None:
    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T00:05:00Z")
    rows = json.loads(run(folder, "budgets", *span, "--format", "json"))

    assert [(row["service"], row["bad"], row["total"], row["window_total"]) for row in rows] == [
        ("cart", 2, 100, 200),
        ("<b>", 0, 100, 200),
    ], "of the window up to the end of that time, the dearest first"
    assert rows[0]["budget_spent"] == pytest.approx(2 / 200 / 0.01)


@pytest.mark.parametrize("service", ["cart", "shop/cart"])
def test_days_of_one_service(folder: Path, service: str) -> None:
    rows = json.loads(
        run(folder, "budgets", "--by", "year", "--last", "40", "--service", service, "--format", "json")
    )

    assert [(row["period"], row["bad"], row["total"], row["met"]) for row in rows] == [
        ("2026", 6, 300, False)
    ]
    assert "cart" in run(folder, "budgets", "--by", "year")


def test_causes_say_what_is_known_and_what_is_not(folder: Path) -> None:
    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T01:00:00Z")
    rows = json.loads(run(folder, "causes", *span, "--format", "json"))

    assert [(row["cause"], row["bad"]) for row in rows] == [({"response_code": "503"}, 1), ({}, 3)]
    assert "response_code 503" in run(folder, "causes", *span)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("budgets", "--to", "1h"), "--to goes with --from"),
        (("budgets", "--from", "1h", "--to", "2h"), "--to must be later than --from"),
        (("budgets", "--timezone", "Mars/Olympus"), "'Mars/Olympus' is not a time zone"),
        (("causes", "--slo", "nothing"), "the SLO file has no such SLO"),
        (("causes", "--from", "yesterday"), "'yesterday' is not a time"),
    ],
)
def test_wrong_use_is_said(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(folder, *arguments, code=2)


def test_nothing_of_that_time_is_said_too(folder: Path) -> None:
    done = in_process(
        *("ledger", "causes", "-f", "slo.yaml", "--ledger", "ledger.db", "--from", "2020-01-01T00:00:00Z"),
        *("--to", "2020-01-02T00:00:00Z"),
        folder=folder,
    )

    assert (done.code, done.stdout) == (0, "")
    assert "no events of that time" in done.stderr


def test_what_was_counted_late_is_shown_with_its_time(folder: Path) -> None:
    end = MARCH + 7200
    late = Bucket("shop", "cart", end, 400 * MICRO, 46 * MICRO, 0, 1230)
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        ledger.record("shop", [Batch("shop:shop/*/availability", "availability", (end - 300, end), [late])])
    [row] = json.loads(run(folder, "show", "--format", "json"))["counted_late"]
    assert row == {
        "set": "shop",
        "slo_id": "shop:shop/*/availability",
        "namespace": "shop",
        "service": "cart",
        "from": "2026-03-01T01:34:30Z",
        "to": "2026-03-01T02:00:00Z",
        "bad": 46,
        "total": 400,
    }
    table = run(folder, "show").partition("counted late")[2]
    assert "2026-03-01T01:34:30Z" in table and "46 of 400" in table


def test_tables_have_the_units_of_a_report(folder: Path) -> None:
    """JSON has numbers."""
    year = run(folder, "budgets", "--by", "year", "--last", "40", "--service", "cart")
    titles, row = year.splitlines()
    names = ("objective", "sli", "met", "good", "bad", "total", "budget spent", "gap", "excluded")
    assert titles.split()[6:] == " ".join(names).split()
    assert " ".join(row.split()[6:]) == "99 % 98.000 % no 294 6 300 200.0 % 58d23h55m 0s"
    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T00:15:00Z")
    for line in run(folder, "causes", *span).splitlines()[1:]:
        assert re.search(r" \d+\.\d % +[\d,]+\.\d %$", line), line
