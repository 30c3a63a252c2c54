"""The cascading incident, end to end: exposed counters → Prometheus → Alertmanager → what arrives, where, and when.

A slow inventory makes checkout, payments and shipping fail (the incident that the mesh's alerts are drawn from). The
SLO file below is all that is written by hand; the rules and Alertmanager's configuration are generated from it, and run
``SCALE`` times faster (see tests/support/incident.py). Times are minutes of the incident.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from alert_rules import manifest
from alert_rules.alertmanager import configuration
from alert_rules.proofs import simulate
from alert_rules.proofs.simulate import Traffic
from sloctl import spec
from sloctl.demo.programs import find_program
from sloctl.demo.server import PrometheusServer, prometheus_config
from sloctl.errors import UsageError
from sloctl.model import SloSet
from sloctl.model.policies import POLICIES
from tests.support.alertmanager import await_true, running_alertmanager
from tests.support.incident import SCALE, Play, Received, cascade, hastened

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("incident")]
SLOW = 2.5
"""Minutes that a notification may be later than promised: a scrape, an evaluation, a busy machine.

On a machine that is so busy that scrapes come late, it may be later by as much (``Outcome.late``).
"""
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, owner: team-checkout,
     sli: {preset: availability}}
  - {name: availability, service: payments, namespace: shop, objective: 99.9, owner: team-payments,
     sli: {preset: availability}}
guardrails:
  - {preset: service-errors, owner: team-platform}
  - {preset: service-latency, owner: team-platform}
  - {preset: gateway-errors, owner: team-platform}
  - {preset: retry-amplification, owner: team-platform, max: 1.5}
  - {preset: ejections, owner: team-platform}
  - {preset: overflow, owner: team-platform}
  - {preset: mtls, owner: team-platform}
  - {preset: watchdog, owner: team-platform}
notifications:
  receivers:
    shop-pager: {webhook: {url: "http://HERE/notify/shop-pager"}}
    shop-tickets: {webhook: {url: "http://HERE/notify/shop-tickets"}}
    checkout-pager: {webhook: {url: "http://HERE/notify/checkout-pager"}}
    payments-pager: {webhook: {url: "http://HERE/notify/payments-pager"}}
    platform-pager: {webhook: {url: "http://HERE/notify/platform-pager"}}
    platform-tickets: {webhook: {url: "http://HERE/notify/platform-tickets"}}
    heartbeat: {webhook: {url: "http://HERE/notify/heartbeat"}}
  default: {page: platform-pager, ticket: platform-tickets, watchdog: heartbeat}
  owners:
    team-shop: {page: shop-pager, ticket: shop-tickets}
    team-checkout: {page: checkout-pager, ticket: shop-tickets}
    team-payments: {page: payments-pager, ticket: shop-tickets}
"""
VICTIMS = {
    "inventory": "shop-pager",
    "shipping": "shop-pager",
    "checkout": "checkout-pager",
    "payments": "payments-pager",
}
"""Who is woken for which service."""


@dataclass(frozen=True)
class Outcome:
    """What arrived, and when the incident began and ended (minutes).

    ``stalled`` says how late the machine was at worst, from one minute to another.
    """

    received: tuple[Received, ...]
    begins: float
    ends: float
    stalled: Callable[[float, float], float]

    def late(self, end: float) -> float:
        """Minutes that what arrived at ``end`` may be late: scrapes, evaluations and notifications wait in turn."""
        return SLOW + 3 * max(0.0, self.stalled(self.begins, end))

    def told(self, *receivers: str) -> list[Received]:
        return [item for item in self.received if item.receiver in receivers]

    @property
    def pages(self) -> list[Received]:
        return [item for item in self.received if item.receiver.endswith("-pager")]

    @property
    def tickets(self) -> list[Received]:
        return [item for item in self.received if item.receiver.endswith("-tickets")]

    def first(self, alert: str, service: str, receiver: str) -> float:
        """When a firing alert of a service first arrived."""
        for item in self.told(receiver):
            if any(
                labels["alertname"] == alert and labels.get("service") == service for labels in item.firing
            ):
                return item.minute
        raise AssertionError(f"{receiver} never heard of {alert} of {service}")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    try:
        for program in ("prometheus", "alertmanager"):
            find_program(program)
    except UsageError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("incident")
    world = cascade()
    with Play(world) as play:
        slo_set = spec.load([Path("-")], stdin=io.BytesIO(FILE.replace("HERE", play.address).encode()))
        [(_, config)] = configuration.generate(slo_set, "prometheus")
        rules = write_rules(slo_set, folder)

        def prometheus(*files: Path) -> str:
            return prometheus_config(
                rule_files=files,
                scrape_configs=play.scrape_configs(),
                alertmanagers=[manager.url.removeprefix("http://")],
                evaluation_interval=f"{60000 // SCALE}ms",
            )

        flags = [
            f"--query.lookback-delta={300_000 // SCALE}ms",
            f"--rules.alert.resend-delay={60_000 // SCALE}ms",
        ]
        with (
            running_alertmanager(hastened(config)) as manager,
            PrometheusServer(folder / "prometheus", config=prometheus(), flags=flags) as server,
        ):
            # A mesh that is being scraped, and then the rules: as it is where rules are loaded.
            await_true("every pod is scraped", lambda: scraped(server) == len(world.pods()))
            server.config_file.write_text(prometheus(*rules), encoding="utf-8")
            urllib.request.urlopen(f"{server.url}/-/reload", data=b"", timeout=30).close()
            play.begin()
            play.until(world.ends + 25)
        yield Outcome(tuple(play.received), world.begins, world.ends, play.stalled)


def scraped(server: PrometheusServer) -> int:
    with urllib.request.urlopen(f"{server.url}/api/v1/query?query=sum(up)", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return int(found[0]["value"][1]) if found else 0


def write_rules(slo_set: SloSet, folder: Path) -> list[Path]:
    found = []
    for file in manifest.rule_files(slo_set):
        path = folder / f"{file.stem}.yaml"
        path.write_text(hastened(manifest.prometheus(file)), encoding="utf-8")
        found.append(path)
    return found


def test_before_the_incident_nobody_hears_anything(outcome: Outcome) -> None:
    early = [item for item in outcome.received if item.minute < outcome.begins]
    assert {item.receiver for item in early} == {"heartbeat"}


def test_the_owners_of_what_fails_are_woken_and_nobody_else(outcome: Outcome) -> None:
    woken = {(item.receiver, labels["service"]) for item in outcome.pages for labels in item.firing}
    assert woken == {(receiver, service) for service, receiver in VICTIMS.items()}


def test_each_is_woken_once(outcome: Outcome) -> None:
    """One incident a service: a group that starts, may grow, and ends; never a second one."""
    for service, receiver in VICTIMS.items():
        mine = [item for item in outcome.told(receiver) if item.body["groupLabels"].get("service") == service]
        assert len({item.group for item in mine}) == 1, service
        states = [item.body["status"] for item in mine]
        assert states[0] == "firing"
        assert states == sorted(states), f"{service}: woken again after the end: {states}"
        known: set[str] = set()
        for item in mine[: states.count("firing")]:
            names = {labels["alertname"] for labels in item.firing}
            ended = any(alert["status"] == "resolved" for alert in item.body["alerts"])
            assert ended or not names <= known, f"{service}: told twice of {names}"
            known |= names


def test_pages_say_what_and_where(outcome: Outcome) -> None:
    for item in outcome.pages:
        for alert in item.body["alerts"]:
            labels, notes = alert["labels"], alert["annotations"]
            assert labels["severity"] == "page"
            assert labels["namespace"] == "shop"
            assert labels["owner"] == VICTIMS[labels["service"]].replace("-pager", "").join(("team-", ""))
            assert labels["service"] in notes["summary"]
            assert (
                notes.get("runbook_url", "").startswith("https://")
                or "sloctl runbooks" in notes["description"]
            )
            assert "<error" not in str(notes)
            if "BudgetBurn" in labels["alertname"]:
                assert "% of requests " in notes["now"] and notes["cause"]


@pytest.mark.parametrize("service", VICTIMS)
def test_pages_come_as_soon_as_the_policy_promises(outcome: Outcome, service: str) -> None:
    edge = next(edge for edge in cascade().edges if edge.service == service)
    budget = Decimal("0.001") if service in ("checkout", "payments") else Decimal("0.005")
    [line] = [line for line in POLICIES["mesh"].windows if line.long == 3600]
    callers = 3 if service == "inventory" else 1
    traffic = Traffic(
        edge.rate * callers, int(edge.rate * callers * edge.failing), int(outcome.begins), 20, 0
    )
    gate = POLICIES["mesh"].gate(line, 30 * 86400)
    fires, _, _ = simulate.active(traffic, line, line.factor, budget, gate)
    promised = fires.index(True)
    came = outcome.first("AvailabilityBudgetBurnPage1h", service, VICTIMS[service])
    # Alerts of a group wait for each other (30 s); what joins it later waits for its interval (5 min). Groups of
    # rules have phases of their own, so that of two alerts of a minute either may be the first.
    critical = outcome.first("ServiceErrorsCritical", service, VICTIMS[service])
    wait = 0.5 if promised + 1 < critical else 5
    assert promised <= came + 0.5
    assert came <= promised + wait + outcome.late(came)
    # Over 20 % of the requests of two minutes, for a minute: with 30 % or more failing, that is within three minutes.
    late = outcome.late(critical)
    assert critical <= outcome.begins + 3 + 0.5 + late or came < critical <= came + 5 + late


def test_a_page_inhibits_its_ticket(outcome: Outcome) -> None:
    ticketed = {
        (labels["alertname"], labels.get("service")) for item in outcome.tickets for labels in item.firing
    }
    for service in VICTIMS:
        assert ("ServiceErrorsHigh", service) not in ticketed
        paged = outcome.first("AvailabilityBudgetBurnPage1h", service, VICTIMS[service])
        while_paged = {
            labels["alertname"]
            for item in outcome.tickets
            if paged < item.minute < outcome.ends
            for labels in item.firing
            if labels.get("service") == service
        }
        assert "AvailabilityBudgetBurnTicket3d" not in while_paged, service


def test_what_explains_it_arrives_as_tickets(outcome: Outcome) -> None:
    told = {
        (labels["alertname"], labels.get("service")) for item in outcome.tickets for labels in item.firing
    }
    assert {
        ("ServiceLatencyHigh", "inventory"),
        ("CircuitBreakerEjecting", "inventory"),
        ("PendingQueueOverflow", "inventory"),
        ("RetryAmplificationHigh", "inventory"),
        ("GatewayErrorsHigh", "istio-ingressgateway"),
    } <= told
    assert not {name for name, _ in told} & {"MtlsBelowTarget", "MtlsShareDropped", "ConnectionPoolOverflow"}
    unaffected = {f"service-{number:02}" for number in range(1, 17)} | {"catalog", "cart"}
    assert not {service for _, service in told} & unaffected


def test_the_dead_mans_switch_never_stops(outcome: Outcome) -> None:
    beats = [item.minute for item in outcome.told("heartbeat")]
    assert len(beats) >= (outcome.ends + 20) / 5 - 2
    assert max(b - a for a, b in pairwise(beats)) <= 5 + 5 + outcome.late(outcome.ends)
    assert {item.body["status"] for item in outcome.told("heartbeat")} == {"firing"}


def test_everything_resolves(outcome: Outcome) -> None:
    for service, receiver in VICTIMS.items():
        last = [
            item for item in outcome.told(receiver) if item.body["groupLabels"].get("service") == service
        ][-1]
        still = {labels["alertname"] for labels in last.firing}
        # Windows of six hours are as long as that.
        assert still <= {"AvailabilityBudgetBurnPage6h"}, service
