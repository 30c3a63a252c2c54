"""``sloctl explain`` on a real Prometheus that has the counters of incidents whose causes are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl.artefacts.openmetrics import backfill
from sloctl.demo.server import PrometheusServer
from tests.support.command_line import in_process
from tests.support.incidents import BEGAN, INCIDENTS, NOTHING, STEPS, Incident, Trouble, counters

DOC = Path(__file__).parents[2] / "docs/explain.md"
END = int(datetime(2026, 3, 2, 21, tzinfo=UTC).timestamp())
LEAF = INCIDENTS["a leaf that fails takes its callers with it"]
CUT_OFF = INCIDENTS["a service cannot be reached"]
CALLS_OF_ONE = Incident(
    tuple(
        Trouble(name, 0.7, unreached=True, caller="checkout") for name in ("payments", "orders", "inventory")
    )
)
EVERYWHERE = Incident(
    tuple(
        Trouble(name, 0.2, unreached=True)
        for name in ("inventory", "search", "prices", "bank", "ranking", "tax")
    )
)
PLAYED = {
    "leaf": (LEAF, "inventory"),
    "nothing": (NOTHING, ""),
    "cut off": (CUT_OFF, ""),
    "one caller": (CALLS_OF_ONE, ""),
    "everywhere": (EVERYWHERE, ""),
}
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
mesh: {target_labels: [job, instance]}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("explain")
    backfill(counters(list(PLAYED.values()), END), folder / "data")
    with PrometheusServer(folder / "prometheus", data=folder / "data") as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/slo.yaml").write_text(SLO_FILE)
    return tmp_path / "run"


def begins(name: str) -> int:
    """When an incident began, Unix seconds."""
    number = list(PLAYED).index(name)
    return END - (len(PLAYED) - number) * STEPS * 60 + BEGAN * 60


def ends(name: str) -> int:
    return begins(name) + (STEPS - BEGAN) * 60


def told(folder: Path, url: str, name: str, *more: str) -> str:
    done = in_process(
        "explain", "-f", "slo.yaml", "--prometheus", url, "--at", str(ends(name)), *more, folder=folder
    )
    assert done.code == 0, done.stderr
    return done.stdout


def test_a_leaf_with_a_new_version(folder: Path, url: str) -> None:
    text = told(folder, url, "leaf", "--service", "frontend")
    found = json.loads(told(folder, url, "leaf", "--service", "frontend", "--format", "json"))
    (origin,) = found["origins"]
    assert origin["service"] == {"namespace": "shop", "name": "inventory"}
    assert origin["way"][0]["caller"]["name"] == "frontend"
    assert origin["way"][-1]["called"]["name"] == "inventory"
    since = datetime.fromisoformat(origin["since"]).timestamp()
    assert abs(since - begins("leaf")) <= 120
    (special,) = origin["special"]
    assert (special["label"], special["value"]) == ("destination_version", "v2")
    assert special["of_failures"] > 0.95 and special["of_calls"] < 0.7
    assert {"checkout", "payments", "shipping", "orders"} <= {place["name"] for place in origin["suffering"]}
    (change,) = origin["changes"]
    assert change["what"] == "version v2 of inventory begins to serve"
    assert abs(datetime.fromisoformat(change["time"]).timestamp() - begins("leaf")) <= 120
    assert "Begins at shop/inventory" in text
    assert "only version v2: 100 % of the failures" in text or "only version v2: 99 % of the failures" in text
    assert found["doubts"] == []


def test_what_is_configured_stands_beside_what_is_measured(folder: Path, url: str) -> None:
    (folder / "mesh.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        "metadata: {name: inventory, namespace: shop}\n"
        "spec: {hosts: [inventory], http: [{retries: {attempts: 4, retryOn: 5xx}, "
        "route: [{destination: {host: inventory}}]}]}\n"
    )
    more = ("--service", "frontend", "--mesh", "mesh.yaml")
    (origin,) = json.loads(told(folder, url, "leaf", *more, "--format", "json"))["origins"]
    rows = origin["configured_retries"]
    assert rows and {(row["destination"], row["tries"]) for row in rows} == {("shop/inventory", 5)}
    assert all(0.9 < row["amplification"] < 5 for row in rows)
    found = re.findall(
        r"retries of (\S+) → shop/inventory: configured up to (\d+)x", told(folder, url, "leaf", *more)
    )
    assert {(name, int(times)) for name, times in found} == {
        (row["source"], row["tries_along_path"]) for row in rows
    }


def test_the_documented_answer_is_given(folder: Path, url: str) -> None:
    documented = DOC.read_text(encoding="utf-8").split("--service frontend\n", 1)[1].split("```", 1)[0]
    number = re.compile(r"[\d.,]+")
    assert number.sub("0", told(folder, url, "leaf", "--service", "frontend")) == number.sub("0", documented)


def test_without_a_service_each_place_is_told_once(folder: Path, url: str) -> None:
    text = told(folder, url, "leaf")
    assert text.count("Begins at") == 1
    assert "Begins at shop/inventory" in text
    assert text.index("shop/frontend: ") < text.index("Begins at")


def test_nothing_is_an_answer(folder: Path, url: str) -> None:
    assert told(folder, url, "nothing") == "Nothing fails more than it did, in the last 1h.\n"
    assert json.loads(told(folder, url, "nothing", "--format", "json"))["origins"] == []
    # An hour after the leaf failed nothing does, and what was over is not told of.
    at = ends("leaf") + 2 * 3600
    done = in_process("explain", "-f", "slo.yaml", "--prometheus", url, "--at", str(at), folder=folder)
    assert done.stdout.startswith("Nothing fails more than it did"), done.stdout


def test_a_service_that_nobody_reaches(folder: Path, url: str) -> None:
    text = told(folder, url, "cut off", "--service", "shop/checkout")
    assert "Begins at shop/payments" in text
    assert "99 % of its own failures are calls that reached nobody" in text or "100 % of its own" in text
    assert "flags UF" in text


def test_calls_of_one_caller_alone(folder: Path, url: str) -> None:
    text = told(folder, url, "one caller", "--service", "frontend")
    assert "Only calls of shop/checkout fail, whatever it calls" in text


def test_what_begins_everywhere_at_once_is_no_services_own(folder: Path, url: str) -> None:
    text = told(folder, url, "everywhere")
    assert "6 services begin to fail by themselves at about the same time" in text
    assert "Look at what they share" in text


def test_where_there_are_no_requests_nothing_is_claimed(folder: Path, url: str) -> None:
    done = in_process(
        "explain", "-f", "slo.yaml", "--prometheus", url, "--at", "2026-01-01T00:00:00Z", folder=folder
    )
    assert done.code == 1
    assert done.stdout.startswith("No requests were seen")


def test_what_is_not_recorded_is_not_said_to_be_well(folder: Path, url: str) -> None:
    """Scrapes end in the middle of the hour, after failures that were over by then."""
    at = datetime.fromtimestamp(END + 9000, UTC).isoformat()
    done = in_process(
        "explain", "-f", "slo.yaml", "--prometheus", url, "--at", at, "--last", "3h", folder=folder
    )
    assert (done.code, done.stdout.split(":")[0]) == (0, "shop/frontend")
    assert re.search(r"nothing is recorded since (20:59|21:0\d) UTC of shop/frontend", done.stdout)


def test_a_service_that_is_none_is_not_said_to_be_well(folder: Path, url: str) -> None:
    for words in (("--service", "invntory"), ("--namespace", "shpo"), ("--service", "other/inventory")):
        done = in_process(
            "explain", "-f", "slo.yaml", "--prometheus", url, "--at", str(ends("leaf")), *words, folder=folder
        )
        assert done.code == 1
        assert done.stdout == f"No requests to {words[1]} were seen in the last 1h: is that its name?\n"


@pytest.mark.parametrize("last", ["5m", "7h", "soon", ""])
def test_a_time_that_is_none(last: str, folder: Path) -> None:
    done = in_process("explain", "-f", "slo.yaml", "--last", last, folder=folder)
    assert done.code == 2
    assert "--last" in done.stderr
