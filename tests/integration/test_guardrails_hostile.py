"""No rule may be one that Prometheus refuses: its alert would be silent for ever.

"many-to-many matching not allowed", "vector contains metrics with the same labelset after applying rule labels" and
their like show at run time only, and only on data that bring them about. So all rules (every guardrail in both modes,
unusual limits, every SLI preset) are evaluated by a real Prometheus over a mesh that exposes the whole catalogue as
badly as it happens (see tests/support/mess.py), then again after the labels of the file have changed and Prometheus
has restarted, over a mesh of which all gauges are NaN, infinite or negative, over one that exposes nothing, and over
no mesh at all. Time is ``SCALE`` times faster (see tests/support/incident.py).
"""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from alert_rules import manifest
from alert_rules.groups import AlertRule, RecordingRule
from sloctl import naming, spec
from sloctl.demo.programs import find_program
from sloctl.demo.server import PrometheusServer, prometheus_config
from sloctl.errors import UsageError
from sloctl.guardrails.plans import plans
from sloctl.model import SloSet
from tests.support.alertmanager import await_true
from tests.support.guardrail_sets import everything
from tests.support.incident import SCALE, hastened
from tests.support.mess import NUMBERS, Exporter, Target, targets

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hostile")]
PATIENCE = 60.0
MINUTE = 60 / SCALE
FLAGS = [f"--query.lookback-delta={300_000 // SCALE}ms"]
LIMITS = Path(__file__).parents[1] / "golden" / "rules" / "guardrails-limits" / "slo.yaml"
BUDGETS = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: NAME, labels: {team: platform}}
mesh: {mode: MODE}
defaults: {owner: team-shop, objective: 99.9}
slos:
  - {name: availability, service: "*", namespace: shop, sli: {preset: availability}}
  - {name: errors, service: "*", namespace: shop, sli: {preset: errors, codes: [4xx, "0"]}}
  - {name: grpc, service: "*", namespace: shop, sli: {preset: grpc}}
  - {name: latency, service: "*", namespace: shop, sli: {preset: latency, threshold: 250ms}}
  - {name: availability, service: checkout, namespace: shop, alerting: sre-workbook, sli: {preset: availability}}
  - {name: latency, service: checkout, namespace: shop, sli: {preset: latency, threshold: 10ms}}
  - {name: gateway, service: istio-ingressgateway, namespace: shop, sli: {preset: gateway}}
  - name: custom
    service: batch
    sli:
      events:
        bad: 'rate(istio_requests_total{response_code="503"}[$window])'
        total: 'rate(istio_requests_total[$window])'
"""
QUIET = {
    "MeshTelemetryLost",
    "TraceTelemetryLost",
    # These need an hour, or a certificate's life.
    "PolicyDenialsJumped",
    "ConnectionsDenied",
    "ProxyScrapesFailing",
    "WorkloadCertificateExpiring",
    "GatewayCertificateExpiring",
}
"""Alerts that nothing in the messy mesh brings about, in the minutes that it is watched."""
SLOWEST = {"mesh:failing_scrapes:ratio"}
"""Series that are there after some ten minutes."""


def sets() -> list[SloSet]:
    """Every guardrail in both modes, unusual limits, and budgets of every preset."""

    def loaded(text: str) -> SloSet:
        return spec.load([Path("-")], stdin=BytesIO(text.encode()))

    texts = {
        mode: BUDGETS.replace("NAME", f"budgets-{mode}").replace("MODE", mode)
        for mode in ("sidecar", "ambient")
    }
    return [
        replace(everything("sidecar", "jaeger"), name="sidecar"),
        replace(everything("ambient", "tempo"), name="ambient"),
        spec.load([LIMITS]),
        *(loaded(text) for text in texts.values()),
    ]


def relabelled(slo_set: SloSet) -> SloSet:
    """The set with other labels, as if its file had been edited."""
    return replace(slo_set, labels=(("team", "mesh"), ("tier", "1")))


@dataclass(frozen=True)
class Api:
    """The API of a running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; an error's text raises AssertionError."""
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", data=body, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def metric(self, name: str) -> dict[str, float]:
        """One of Prometheus's own counters, by its series."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(f"{name}{{"))
        return {series: float(value) for series, _, value in found}


@dataclass
class Seen:
    """What was seen of a Prometheus while it evaluated all groups some times."""

    errors: dict[str, str]
    failures: dict[str, float]
    alerts: list[dict[str, Any]]
    recorded: list[dict[str, Any]]
    log: str

    @property
    def names(self) -> set[str]:
        return {series["metric"]["__name__"] for series in self.recorded}


def write(found: Sequence[SloSet], folder: Path) -> list[Path]:
    """The rules of some sets, hastened."""
    folder.mkdir()
    paths = []
    for slo_set in found:
        for file in manifest.rule_files(slo_set):
            paths.append(folder / f"{file.stem}.yaml")
            paths[-1].write_text(hastened(manifest.prometheus(file)), encoding="utf-8")
    return paths


def watch(server: PrometheusServer, minutes: float, pause: float = 0.2) -> Seen:
    """See what Prometheus makes of its rules, for some minutes of the mesh and until every rule was evaluated."""
    api = Api(server.url)
    ends, deadline = time.monotonic() + minutes * MINUTE, time.monotonic() + PATIENCE
    errors: dict[str, str] = {}
    alerts: dict[str, dict[str, Any]] = {}
    evaluated = False
    while time.monotonic() < ends or not evaluated:
        assert time.monotonic() < deadline, "Prometheus does not get round to its rules"
        rules = api.rules()
        for rule in rules:
            if rule.get("lastError") or rule["health"] == "err":
                errors.setdefault(rule["name"], f"{rule['lastError']}\n{rule['query']}")
        evaluated = all(rule["health"] != "unknown" for rule in rules)
        for alert in api.get("alerts")["alerts"]:
            alerts[json.dumps(alert["labels"], sort_keys=True)] = alert
        time.sleep(pause)
    return Seen(
        errors,
        {k: v for k, v in api.metric("prometheus_rule_evaluation_failures_total").items() if v},
        list(alerts.values()),
        api.get("query", query=f'{{{naming.SLO_SET}!="",__name__=~".+:.+"}}[2m]')["result"],
        server.log.read_text(encoding="utf-8"),
    )


def check(seen: Seen) -> None:
    """No rule failed, no number that is none was recorded, and every alert can be read."""
    assert not seen.errors, "\n\n".join(f"{name}: {text}" for name, text in seen.errors.items())
    assert not seen.failures
    assert "result from rule evaluation" not in seen.log, seen.log
    assert "template" not in seen.log, seen.log
    odd = {
        f"{series['metric']['__name__']} of {series['metric']['slo_set']}: {value}"
        for series in seen.recorded
        for _, value in series["values"]
        if not math.isfinite(float(value))
    }
    assert not odd, "\n".join(sorted(odd))
    for alert in seen.alerts:
        assert alert["labels"]["alertname"]
        for text in (*alert["annotations"].values(), *alert["labels"].values()):
            assert not any(bad in text for bad in ("<error", "<no value>", "%!")), alert


def prometheus(folder: Path, rules: list[Path], exporter: Exporter, found: list[Target]) -> PrometheusServer:
    """A Prometheus that scrapes some targets and evaluates some rules; not started yet."""
    config = prometheus_config(
        rule_files=rules,
        scrape_configs=exporter.scrape_configs(found),
        evaluation_interval=f"{60_000 // SCALE}ms",
    )
    return PrometheusServer(folder, config=config, flags=FLAGS)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    try:
        find_program("prometheus")
    except UsageError as error:
        pytest.skip(str(error))
    with ExitStack() as found:
        yield found


@dataclass(frozen=True)
class Mess:
    """The messy mesh before and after the labels of the files changed, with a restart in between."""

    before: Seen
    after: Seen


@pytest.fixture(scope="module")
def mess(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Mess:
    folder = tmp_path_factory.mktemp("mess")
    first = write(sets(), folder / "first")
    second = write([relabelled(slo_set) for slo_set in sets()], folder / "second")
    exporter = stack.enter_context(Exporter())
    with prometheus(folder / "prometheus", first, exporter, targets()) as server:
        before = watch(server, 6)
    text = server.config_file.read_text(encoding="utf-8").replace(f"{folder}/first", f"{folder}/second")
    assert len(first) == len(second)
    with PrometheusServer(folder / "prometheus", config=text, flags=FLAGS) as again:
        return Mess(before, watch(again, 5))


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_rule_fails_on_a_messy_mesh(mess: Mess, when: str) -> None:
    check(mess.before if when == "before" else mess.after)


def test_every_rule_has_something_to_say_there(mess: Mess) -> None:
    """Or it would have proved nothing."""
    rules = [r for s in sets() for file in manifest.rule_files(s) for g in file.groups for r in g.rules]
    names = mess.before.names | mess.after.names
    assert {r.record for r in rules if isinstance(r, RecordingRule)} - names <= SLOWEST
    active = {alert["labels"]["alertname"] for alert in (*mess.before.alerts, *mess.after.alerts)}
    health = {r.alert for r in rules if isinstance(r, AlertRule) and naming.GUARDRAIL in r.labels}
    assert health - active <= QUIET


def test_raw_forms_evaluate_there_too(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What reports compute where no rules are loaded."""
    texts = {signal.live for slo_set in sets() for plan in plans(slo_set) for signal in plan.signals}
    exporter = stack.enter_context(Exporter())
    messy = [target for target in targets() if target.page not in ("everyday", "nothing")]
    with prometheus(tmp_path_factory.mktemp("raw"), [], exporter, [*targets()[:2], *messy]) as server:
        api = Api(server.url)
        await_true("scraped", lambda: len(api.get("query", query="up == 1")["result"]) >= len(messy))
        for text in sorted(texts):
            found = api.get("query", query=hastened(text))["result"]
            odd = [series for series in found if not math.isfinite(float(series["value"][1]))]
            assert not odd, f"{odd}\n{text}"


WORLDS = {
    "nothing": [],
    "up": [Target("nothing", {"job": "istio", "instance": "10.0.0.1:15020", "pod": "web-1"})],
    **{
        number: [Target(f"only{number}", {"job": "istio", "instance": "10.0.0.1:15020", "pod": "web-1"})]
        for number in NUMBERS[:4]
    },
}


@pytest.fixture(scope="module")
def worlds(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    folder = tmp_path_factory.mktemp("worlds")
    rules = write(sets(), folder / "rules")
    exporter = stack.enter_context(Exporter())
    servers = {
        name: stack.enter_context(prometheus(folder / f"world{number}", rules, exporter, found))
        for number, (name, found) in enumerate(WORLDS.items())
    }
    with ThreadPoolExecutor() as pool:
        return dict(
            zip(servers, pool.map(lambda server: watch(server, 3, MINUTE / 2), servers.values()), strict=True)
        )


@pytest.mark.parametrize("world", WORLDS)
def test_no_rule_fails_on_next_to_nothing(worlds: dict[str, Seen], world: str) -> None:
    check(worlds[world])
