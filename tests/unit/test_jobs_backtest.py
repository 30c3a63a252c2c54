"""What a replay means: detection, pages by owner, precision and recall, proposals; and what it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from jobs import backtest
from jobs.backtest import told
from jobs.backtest.history import Events
from jobs.backtest.judged import Incident
from sloctl import spec
from sloctl.ledger.protocol import Batch, Bucket
from sloctl.ledger.store import open_ledger
from sloctl.model import GRID, SeriesKey
from sloctl.model.durations import rfc3339
from sloctl.settings.secret import Secret
from tests.support.command_line import in_process
from tests.support.histories import START, Made

DAY = 86400
WARM = 3
"""Days before, which the longest window needs."""
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {runbook: "https://runbooks.example.org/{slo}", objective: 99.9}
slos:
  - {name: availability, service: checkout, namespace: shop, owner: pay, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: shop, owner: web, sli: {preset: availability}}
"""
SLO_SET = spec.load([Path("-")], stdin=BytesIO(SLO_FILE.encode()))
CHECKOUT: SeriesKey = (SLO_SET.slos[0].id, "shop", "checkout")
CART: SeriesKey = (SLO_SET.slos[1].id, "shop", "cart")
SEARCH: SeriesKey = (SLO_SET.slos[1].id, "shop", "search")


OUTAGE = [(3000, 3060, 0.5)]


def run(made: Made, **more: object) -> backtest.Backtest:
    return backtest.run(made, SLO_SET, START, START + 7 * DAY, **more)  # type: ignore[arg-type]


def test_a_page_comes_at_its_minute_and_only_there_tiles_are_read() -> None:
    made = Made({CHECKOUT: OUTAGE, CART: [], SEARCH: [(0, 10080, 0.0001)]})
    found = run(made)
    (page,) = found.policies[0].pages
    # Half of all fails: of 60 minutes 14 × 0.001 of all after 1.68 minutes.
    assert page[0].start == START + 3002 * 60
    assert [(one.key, one.line.long) for one in page] == [(CHECKOUT, 3600), (CHECKOUT, 21600)]
    # It resolves when its short window has none of it any more.
    assert page[0].end == START + 3065 * 60
    assert {count for *_, count in made.read} == {1}
    assert sum(end - start for start, end, _ in made.read) <= 3 * DAY


def test_incidents_are_told_of_or_missed_and_pages_are_of_one_or_not() -> None:
    made = Made({CHECKOUT: [*OUTAGE, (7000, 7030, 0.9)], CART: [(5000, 5001, 0.02)], SEARCH: []})
    known = [
        Incident(START + 2990 * 60, START + 3060 * 60, "shop", "checkout", "database"),
        Incident(START + 5000 * 60, START + 5010 * 60, "shop", "cart", "blip"),
        Incident(START - 9 * DAY, START - 8 * DAY, "shop", "cart", "before"),
    ]
    (one,) = (found := run(made, incidents=known)).policies
    assert (one.precision, one.recall) == (0.5, 0.5)
    told_of, missed = one.detected
    assert (told_of.seconds, missed.by) == (12 * 60, None)
    # Ten minutes of it were without a failure; then 50 failures a minute of 4,320 that the budget of 30 days allows.
    assert told_of.spent == pytest.approx(0, abs=50 * 5 / 4320)
    text = "\n".join(told.lines(found))
    assert "1 of 2 incidents told of (50 %); 1 of 2 pages are of one (50 %)" in text
    assert "shop/checkout database: AvailabilityBudgetBurnPage1h after 12m" in text
    assert "shop/cart blip: no page" in text
    assert "doubt: 1 of 3 incidents are outside of the time from" in text
    assert f"left out: {rfc3339(known[2].start)} before" in text
    assert told.as_object(found)["policies"][0]["incidents"][1]["alert"] is None


def test_a_service_that_moved_to_an_slo_of_its_own_is_one_series() -> None:
    wild: SeriesKey = (CART[0], "shop", "checkout")
    made = Made({wild: [*OUTAGE, (6000, 6060, 0.5)], CHECKOUT: [(6000, 6060, 0.5)], CART: []})
    late = made.grid, made.tiles

    def named(found: Events) -> Events:
        """Its own SLO has a record since minute 5,000 alone."""
        if CHECKOUT in found.keys:
            row, steps = found.keys.index(CHECKOUT), (START + 5000 * 60 - found.start) // found.step
            for array in (found.there, found.total, found.bad):
                array[row, : max(0, steps)] = 0
        return found

    made.grid = lambda start, end: named(late[0](start, end))  # type: ignore[method-assign]
    made.tiles = lambda start, end, keys: named(late[1](start, end, keys))  # type: ignore[method-assign]
    found = run(made)
    assert set(found.seen) == {CHECKOUT, CART} and found.seen[CHECKOUT] == 1
    first, second = found.policies[0].pages
    assert [(page[0].key, page[0].start) for page in (first, second)] == [
        (CHECKOUT, START + 3002 * 60),
        (CHECKOUT, START + 6002 * 60),
    ]
    assert told.owners(found, found.policies[0])["pay"][0] == 2, (
        "it is no page of the SLO of *, nor counted twice"
    )


def test_pages_of_several_policies_by_owner() -> None:
    made = Made({CHECKOUT: [(3000, 3100, 0.02)], CART: OUTAGE, SEARCH: OUTAGE})
    found = run(made, policies=("file", "sre-workbook"), suggest=True)
    file, workbook = found.policies
    assert told.owners(found, file) == {"pay": (1, 0), "web": (2, 2)}
    assert len(workbook.pages) == 3
    assert found.best in ("file", "sre-workbook")
    assert "pay: 1.0 pages and 0.0 tickets a week" in "\n".join(told.lines(found))
    one = run(made, wanted=lambda slo, key: slo.owner == "pay").policies[0]
    assert told.owners(found, one) == {"pay": (1, 0)}


def test_objectives_that_would_have_lasted() -> None:
    made = Made({CHECKOUT: [(0, 10080, 0.003)], CART: [], SEARCH: [(0, 10080, 0.0009)]})
    proposed = {one.key: one for one in run(made, suggest=True).suggestions}
    assert str(proposed[CHECKOUT].objective) == "99.5"
    assert proposed[CHECKOUT].worst == pytest.approx(3)
    assert proposed[CHECKOUT].worst_of_it == pytest.approx(0.6)
    assert str(proposed[CART].objective) == "99.99", "it has much to spare"
    assert SEARCH not in proposed, "it lasts as it is"


def test_what_is_not_recorded_is_said() -> None:
    made = Made({CHECKOUT: OUTAGE})
    whole = made.grid

    def half(start: int, end: int) -> Events:
        found = whole(start, end)
        found.there[:, : found.steps // 2] = False
        return found

    made.grid = half  # type: ignore[method-assign]
    found = run(made)
    assert told.doubts(found) == [
        "shop/*/availability: nothing is recorded of it",
        "of 1 of 1 services less than 98% is recorded of the time before, at which windows look back: what burned "
        "already may be told of late",
        "shop/checkout: 71 % of the time is recorded",
    ]
    assert "71 % of the time is recorded" in told.lines(found)[-1]
    nothing = run(Made({}), wanted=lambda slo, key: key == CHECKOUT)
    assert told.doubts(nothing) == ["shop/checkout/availability: nothing is recorded of it"]
    assert "nothing is recorded of any SLO" in told.lines(nothing)[1]


def test_no_page_says_nothing_of_an_incident_of_which_little_is_recorded() -> None:
    made = Made({CHECKOUT: OUTAGE, CART: []})
    whole = made.grid

    def gap(start: int, end: int) -> Events:
        found = whole(start, end)
        found.there[0, (START - start) // GRID + 600 : (START - start) // GRID + 612] = False
        return found

    made.grid = gap  # type: ignore[method-assign]
    during, other = Incident(START + 3000 * 60, START + 3055 * 60, "shop", "checkout"), START + 8000 * 60
    incidents = [
        during,
        Incident(other, other + 600, "shop", "misspelt"),
        Incident(other, other + 600, "shop", "cart"),
    ]
    found = told.doubts(run(made, incidents=incidents))
    assert [text.partition(" is recorded, so that")[0] for text in found] == [
        f"the incident of {rfc3339(during.start)}: 0% of its time",
        f"the incident of {rfc3339(other)}: 0% of its time",
    ]


def test_a_young_service_is_not_judged_by_its_first_minutes() -> None:
    """As its rules: the long window must hold a step that is older than the short one."""
    made = Made({CHECKOUT: [(-5000, 10080, 0.5)]})
    whole, tiles = made.grid, made.tiles

    def young(found: Events) -> Events:
        late = found.start + (np.arange(found.steps) + 1) * found.step <= START + 3600
        return replace(
            found,
            there=found.there & ~late,
            total=np.where(late, 0, found.total),
            bad=np.where(late, 0, found.bad),
        )

    made.grid = lambda start, end: young(whole(start, end))  # type: ignore[method-assign]
    made.tiles = lambda start, end, keys: young(tiles(start, end, keys))  # type: ignore[method-assign]
    first = run(made).policies[0].firings[0]
    assert (first.line.long, first.start) == (3600, START + 3600 + 60 + 300)


INCIDENTS = "start,end,service,name\n2024-10-08T06:00:00Z,2024-10-08T07:00:00Z,shop/checkout,database\n"


def command(folder: Path, *more: str, incidents: str = INCIDENTS) -> tuple[int, str, str]:
    (folder / "slo.yaml").write_text(SLO_FILE)
    (folder / "incidents.csv").write_text(incidents)
    where = ("--from", "2024-10-08T00:00:00Z", "--to", "2024-10-09T00:00:00Z", "--incidents", "incidents.csv")
    done = in_process("backtest", "-f", "slo.yaml", *where, *more, folder=folder)
    return done.code, done.stdout, done.stderr


def test_the_command_on_a_ledger(tmp_path: Path) -> None:
    first = 1_728_000_000 // GRID * GRID
    buckets = [
        Bucket(
            "shop", "checkout", end, 500_000_000, 250_000_000 if 1_728_367_200 < end <= 1_728_370_800 else 0
        )
        for end in range(first + GRID, first + 8 * DAY, GRID)
    ]
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.record("shop", [Batch(CHECKOUT[0], "availability", (first, first + 8 * DAY), buckets)])
    code, text, error = command(
        tmp_path, "--source", "ledger", "--ledger", "ledger.db", "--policy", "file", "--policy", "mesh", "--suggest",
        "--format", "json",
    )  # fmt: skip
    assert code == 0, error
    found = json.loads(text)
    file, mesh = found["policies"]
    assert [one["start"] for one in file["pages"]] == ["2024-10-08T06:05:00Z"]
    assert file["incidents"][0]["detected_after_seconds"] == 300
    assert file["pages"] == mesh["pages"], "the file has this policy"
    assert (file["precision"], file["recall"], found["step_seconds"]) == (1, 1, 300)


@pytest.mark.parametrize(
    ("more", "incidents", "said"),
    [
        (("--policy", "mash"), INCIDENTS, "there is no policy 'mash'"),
        ((), "begin,end\n", "incidents.csv:1: the first line does not name the columns"),
        ((), "start,end\nyesterday,now\n", "incidents.csv:2: 'yesterday' is not a time"),
        ((), "start,end\n2024-10-08T07:00:00Z,2024-10-08T06:00:00Z\n", "incidents.csv:2: 'end' is before 'start'"),
        ((), f"{INCIDENTS}1728000000,1728000001,cart,slow, very\n", "incidents.csv:3: 5 cells, of 4"),
        ((), "start,end,end\n", "incidents.csv:1: the first line does not name the columns"),
        ((), INCIDENTS.replace("shop/checkout", "a/b/c"), "incidents.csv:2: 'a/b/c' is no service"),
        (("--service", "/"), INCIDENTS, "--service: '/' is no service"),
        (("--to", "2023-01-01T00:00:00Z"), INCIDENTS, "--from must be 10 minutes to 400 days before --to"),
    ],
)  # fmt: skip
def test_wrong_usage(tmp_path: Path, more: tuple[str, ...], incidents: str, said: str) -> None:
    code, _, error = command(tmp_path, *more, incidents=incidents)
    assert (code, said in error) == (2, True), error
