"""``sloctl canary`` on a real Prometheus that has the counters of versions whose faults are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.cli.composition import LedgerAccess, Overrides
from sloctl.cli.context import Context
from sloctl.cli.serve import Asks
from sloctl.demo.server import PrometheusServer
from sloctl.settings.backends import PrometheusSettings
from tests.support.command_line import Outcome, in_process
from tests.support.yaml_text import read_yaml_all

END = int(datetime(2026, 3, 2, 21, tzinfo=UTC).timestamp())
MINUTES, BEGAN, SCRAPE = 90, 50, 15
"""Two versions serve in the last 40 of 90 minutes."""
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
mesh: {target_labels: [job, instance]}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: replaced, namespace: shop, objective: 99.5, sli: {preset: availability, side: server}}
  - {name: latency, service: boundless, namespace: shop, objective: 95, sli: {preset: latency, threshold: 250ms}}
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
  - {name: latency, service: slow, namespace: shop, objective: 95, sli: {preset: latency, threshold: 250ms}}
  - name: own
    service: slow
    namespace: shop
    objective: 99
    sli: {events: {bad: 'rate(a_total[$window])', total: 'rate(b_total[$window])'}}
"""


@dataclass(frozen=True)
class Rollout:
    """Requests a minute of both versions together, of which the canary gets a share, and what fails of each."""

    rate: float = 3000
    share: float = 0.1
    canary: float = 0.001
    baseline: float = 0.001
    breaks: tuple[int, float] = (MINUTES, 0.0)
    """From this minute on, so much of the canary fails."""
    shift: tuple[int, float] = (MINUTES + 1, 0.0)
    """From this minute on, the canary has this share."""
    outage: tuple[int, int] = (MINUTES, MINUTES)
    """From when to when most calls of either version fail: what both need is down."""
    slow: tuple[float, float] = (0.02, 0.02)
    resets: int = MINUTES
    """The minute in which the one that counts restarts, and its counters with it."""
    resets_of: tuple[str, ...] = ("v1", "v2")
    """Of which versions it counts."""
    grpc: bool = False
    """Failures are statuses of gRPC: the code is 200."""
    boundless: tuple[str, ...] = ()
    """The versions whose histogram has no bucket but the last."""
    replaced: int = MINUTES + 1
    """The minute in which the canary's pods, which count, are replaced by others."""
    unreached: float = 0.0
    """What of the canary's share of calls reaches nobody, and has no version."""
    dark: tuple[int, int] = (MINUTES, MINUTES)
    """From when to when nothing is scraped."""


ROLLOUTS: Mapping[str, Rollout] = {
    "same": Rollout(rate=12000),
    "worse": Rollout(canary=0.03),
    "leaks": Rollout(breaks=(75, 0.08)),
    "slow": Rollout(slow=(0.02, 0.2), rate=1200),
    "quiet": Rollout(rate=40),
    "outage": Rollout(outage=(80, MINUTES)),
    "past-outage": Rollout(rate=12000, outage=(60, 66)),
    "restarted": Rollout(rate=12000, resets=70),
    "unreached": Rollout(rate=12000, unreached=0.3),
    "dark": Rollout(rate=12000, dark=(60, 80)),
    "absent": Rollout(share=0),
    "brief-gap": Rollout(rate=12000, dark=(60, 63)),
    "alone": Rollout(rate=12000, shift=(80, 1.0), breaks=(81, 1.0)),
    "gone": Rollout(rate=12000, shift=(80, 0.0)),
    "grpc": Rollout(rate=12000, grpc=True),
    "grpc-worse": Rollout(canary=0.03, grpc=True),
    "one-restarted": Rollout(rate=12000, resets=70, resets_of=("v2",)),
    "boundless": Rollout(rate=12000, boundless=("v2",)),
    "replaced": Rollout(rate=12000, replaced=70),
}


def counters() -> Iterator[SampledSeries]:
    times = np.arange(END - MINUTES * 60, END + 1, SCRAPE)
    minute = (times - times[0]) // 60
    for number, (name, one) in enumerate(ROLLOUTS.items()):
        rng = np.random.default_rng(number)
        here = (minute < one.dark[0]) | (minute >= one.dark[1])
        target = {"job": "envoy", "instance": f"10.0.0.{number}:15090"}
        yield SampledSeries({"__name__": "up", **target}, times[here] * 1000, np.ones(int(here.sum())))
        per_scrape = one.rate * SCRAPE / 60
        served = np.where(minute >= one.shift[0], one.shift[1], np.where(minute >= BEGAN, one.share, 0.0))
        down = (minute >= one.outage[0]) & (minute < one.outage[1])
        for version, share, fails, slow in (
            ("v2", served, np.where(minute >= one.breaks[0], one.breaks[1], one.canary), one.slow[1]),
            ("v1", 1 - served, np.full(len(times), one.baseline), one.slow[0]),
        ):
            requests = rng.poisson(per_scrape * share)
            lost = rng.binomial(requests, one.unreached if version == "v2" else 0.0)
            failed = rng.binomial(requests - lost, np.where(down, 0.7, fails))
            slowly = rng.binomial(requests, slow)
            labels = {
                "reporter": "destination" if one.replaced <= MINUTES else "source",
                "source_workload": "frontend",
                "source_workload_namespace": "shop",
                "destination_service_name": name,
                "destination_service_namespace": "shop",
                "request_protocol": "grpc" if one.grpc else "http",
                **target,
            }
            of_version = labels | {"destination_version": version}
            good, bad = (
                ({"response_code": "200", "grpc_response_status": status} for status in ("0", "14"))
                if one.grpc
                else ({"response_code": code} for code in ("200", "503"))
            )
            found = [
                (good | {"response_flags": "-"} | of_version, requests - lost - failed),
                (bad | {"response_flags": "-"} | of_version, failed),
                (
                    labels
                    | {"response_code": "503", "response_flags": "UF", "destination_version": "unknown"},
                    lost,
                ),
            ]
            found = [({"__name__": "istio_requests_total"} | one, gained) for one, gained in found]
            bucket = {"__name__": "istio_request_duration_milliseconds_bucket"} | of_version
            found += [
                (bucket | {"le": le}, values)
                for le, values in (
                    ("100", (requests - slowly) // 2),
                    ("250", requests - slowly),
                    ("1000", requests),
                    ("+Inf", requests),
                )
                if le == "+Inf" or version not in one.boundless
            ]
            at = (
                one.resets if version in one.resets_of else MINUTES,
                one.replaced if version == "v2" else MINUTES + 1,
            )
            for series, values in found:
                yield from sampled(series, values, times, here, at)
        new = minute >= one.replaced
        if new.any():
            up = {"__name__": "up", "job": "envoy", "instance": "10.1.0.1:15090"}
            yield SampledSeries(up, times[new] * 1000, np.ones(int(new.sum())))
    yield from pods(times)


def sampled(
    series: dict[str, str],
    values: np.ndarray[Any, Any],
    times: np.ndarray[Any, Any],
    here: np.ndarray[Any, Any],
    restarts: tuple[int, int],
) -> Iterator[SampledSeries]:
    """A counter that begins anew in two minutes, in the second one as that of another pod."""
    minute = (times - times[0]) // 60
    there = here & (np.cumsum(values) > 0)  # Istio makes a counter at its first event
    counted = np.cumsum(values)
    for at in restarts:
        counted = np.where(minute >= at, counted - counted[np.searchsorted(minute, at) - 1], counted)
    other = there & (minute >= restarts[1]) & (counted > 0)
    there = there & (minute < restarts[1])
    if there.any():
        yield SampledSeries(series, times[there] * 1000, counted[there])
    if other.any():
        yield SampledSeries(series | {"instance": "10.1.0.1:15090"}, times[other] * 1000, counted[other])


def pods(times: np.ndarray[Any, Any]) -> Iterator[SampledSeries]:
    """What kube-state-metrics, cAdvisor and their own proxies say of the pods of "worse"."""
    for pod, version, restarts in (("worse-v1-a", "v1", 4), ("worse-v2-b", "v2", 3)):
        # What restarted before it served counts for a pod that is new, and for no other.
        there = times >= (END - 35 * 60 if version == "v2" else 0)
        kube = {
            "__name__": "kube_pod_container_status_restarts_total",
            "namespace": "shop",
            "pod": pod,
            "container": "app",
            "uid": pod,
            "job": "ksm",
            "instance": "ksm",
        }
        yield SampledSeries(kube, times[there] * 1000, np.full(int(there.sum()), restarts))
        if version == "v2":
            for container, cores, mebibytes in (
                ("app", 0.2, 100),
                ("istio-proxy", 0.05, 50),
                ("", 0.25, 150),
            ):
                of = {
                    "namespace": "shop",
                    "pod": pod,
                    "container": container,
                    "job": "cadvisor",
                    "instance": "node",
                }
                used = np.array(
                    [cores * SCRAPE * number for number in range(int(there.sum()))], dtype=np.float64
                )
                yield SampledSeries(
                    {"__name__": "container_cpu_usage_seconds_total", **of},
                    times[there] * 1000,
                    used,
                )
                yield SampledSeries(
                    {"__name__": "container_memory_working_set_bytes", **of},
                    times[there] * 1000,
                    np.full(int(there.sum()), mebibytes * 2**20),
                )
        hash_ = {"v1": "5d4f", "v2": "77c9"}[version]
        for code, each in (("200", 9), ("500", 1 if version == "v2" else 0)):
            if each:
                yield SampledSeries(
                    {
                        "__name__": "istio_requests_total",
                        "reporter": "destination",
                        "destination_service_name": "worse",
                        "destination_service_namespace": "shop",
                        "destination_version": version,
                        "response_code": code,
                        "response_flags": "-",
                        "request_protocol": "http",
                        "pod": pod,
                        "pod_template_hash": hash_,
                        "job": "pods",
                        "instance": pod,
                    },
                    times[there] * 1000,
                    np.arange(int(there.sum())) * 20 * each,
                )
        yield SampledSeries(
            {"__name__": "up", "job": "pods", "instance": pod}, times[there] * 1000, np.ones(int(there.sum()))
        )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("canary")
    backfill(counters(), folder / "data")
    with PrometheusServer(folder / "prometheus", data=folder / "data") as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/slo.yaml").write_text(SLO_FILE)
    return tmp_path / "run"


def canary(folder: Path, url: str, name: str, *more: str, at: int = END) -> Outcome:
    which = (
        ("--service", f"shop/{name}", "--baseline", "v1", "--canary", "v2")
        if "--baseline" not in more
        else ()
    )
    return in_process(
        "canary", "-f", "slo.yaml", "--prometheus", url, "--at", str(at), *which, *more, folder=folder
    )


def verdict(folder: Path, url: str, name: str, *more: str, at: int = END) -> tuple[str, dict[str, Any]]:
    done = canary(folder, url, name, "--format", "json", *more, at=at)
    found = json.loads(done.stdout)
    assert done.code == {"promote": 0, "rollback": 1, "inconclusive": 3, "wait": 4}[found["verdict"]]
    return found["verdict"], found


@pytest.mark.parametrize(
    ("name", "expected", "because"),
    [
        ("same", "promote", "not worse than v1"),
        ("worse", "rollback", "more fails than of v1, and 0.50 % may"),
        ("leaks", "rollback", "more fails than of v1"),
        ("slow", "rollback", "latency: 17.50 % more is slow"),
        ("quiet", "inconclusive", "more at this rate to see"),
        ("outage", "inconclusive", "that is not v2's fault"),
        ("past-outage", "inconclusive", "needs 3m more"),
        ("restarted", "promote", "not worse than v1"),
        ("unreached", "inconclusive", "failures have no destination_version"),
        ("dark", "inconclusive", "nothing was read in 19 of 41 steps"),
        ("brief-gap", "promote", "not worse than v1"),
        ("alone", "inconclusive", "came while v1 had none: they are not compared"),
        ("grpc", "promote", "not worse than v1"),
        ("grpc-worse", "rollback", "more fails than of v1, and 0.50 % may"),
        ("one-restarted", "promote", "not worse than v1"),
        ("boundless", "inconclusive", "latency: the histogram of v2 lacks the bound of the threshold"),
        ("replaced", "promote", "not worse than v1"),
        ("gone", "inconclusive", "in the last 5 steps no request of both versions was seen"),
        ("absent", "inconclusive", "v2 had no traffic (destination_version has been: v1)"),
    ],
)
def test_the_verdict(folder: Path, url: str, name: str, expected: str, because: str) -> None:
    found, told = verdict(folder, url, name, "--for", "30m")
    assert (found, because in "; ".join(told["reasons"])) == (expected, True), told["reasons"]


def test_every_request_is_counted_once_across_restarts_and_gaps(folder: Path, url: str) -> None:
    """The first of a new version, those before counters restarted, and those of a gap, too."""
    for name in ("same", "brief-gap", "dark"):
        number, one = list(ROLLOUTS).index(name), ROLLOUTS[name]
        rng = np.random.default_rng(number)
        times = np.arange(END - MINUTES * 60, END + 1, SCRAPE)
        served = rng.poisson(
            one.rate * SCRAPE / 60 * np.where((times - times[0]) // 60 >= BEGAN, one.share, 0.0)
        )
        (slo,) = verdict(folder, url, name)[1]["slos"]
        assert slo["canary"]["total"] == served.sum(), name
    before = verdict(folder, url, "same")[1]["slos"][0]["canary"]
    for name in ("restarted", "one-restarted", "grpc"):
        (after,) = [slo["canary"] for slo in verdict(folder, url, name)[1]["slos"]]
        assert after["total"] == pytest.approx(before["total"], rel=0.02), (
            f"{name}: what was counted before is not lost"
        )
    (after,) = [slo["canary"] for slo in verdict(folder, url, "replaced")[1]["slos"]]
    # A pod of a target that was not there before begins to count with its second look, of 40.
    assert 38 / 40 < after["total"] / before["total"] < 1


def test_harm_is_seen_early_and_remembered(folder: Path, url: str) -> None:
    """A step of a pipeline after another: each reads again what was before."""
    begins = END - (MINUTES - BEGAN) * 60
    looks = [
        verdict(folder, url, "worse", "--for", "30m", at=begins + 60 * minute) for minute in (1, 3, 8, 30)
    ]
    assert [found for found, _ in looks] == ["wait", "wait", "rollback", "rollback"]
    since = {told["slos"][0]["since"] for _, told in looks[2:]}
    assert len(since) == 1, "the same history says the same"
    assert verdict(folder, url, "leaks", at=END - 15 * 60 - 60)[0] != "rollback", "before it broke"


def test_without_an_end_it_waits(folder: Path, url: str) -> None:
    assert verdict(folder, url, "quiet")[0] == "wait"
    assert verdict(folder, url, "quiet", "--for", "2h", "--once")[0] == "wait"


def test_versions_by_a_label_of_their_pods(folder: Path, url: str) -> None:
    hashes = ("--service", "worse", "--baseline", "5d4f", "--canary", "77c9", "--by", "pod_template_hash")
    found, told = verdict(folder, url, "worse", *hashes)
    assert (found, told["slos"][0]["canary"]["share"]) == ("rollback", pytest.approx(0.1, abs=0.001))
    assert told["resources"] == {
        "5d4f": {"pods": 1, "cpu_cores": None, "memory_bytes": None},
        "77c9": {"pods": 1, "cpu_cores": pytest.approx(0.25), "memory_bytes": 150 * 2**20},
    }
    text = canary(folder, url, "worse", *hashes).stdout
    assert "resource use of 77c9: 0.25 cores, 150 MiB a pod, lately, in 1 pod" in text
    assert "resource use of 5d4f: not known, its pods have no container metrics (1 pod)" in text.replace(
        "in 1", "1"
    )
    assert "resource use: not known, for the targets" in canary(folder, url, "slow").stdout
    assert told["restarts"] == {"5d4f": {"restarts": 0, "pods": 1}, "77c9": {"restarts": 3, "pods": 1}}


def test_forms_for_pipelines(folder: Path, url: str) -> None:
    github = canary(folder, url, "worse", "--format", "github")
    assert github.stdout.startswith("::error title=rollback v2::availability: ")
    junit = canary(folder, url, "worse", "--format", "junit", "-o", "canary.xml")
    assert (junit.code, junit.stdout) == (1, "")
    assert (folder / "canary.xml").read_text().count("<failure") == 1
    text = canary(folder, url, "slow").stdout
    assert "not compared: own: its expressions are the file's own" in text
    assert "latency of v2: p50" in text


def test_pages_give_controllers_the_same_verdict(folder: Path, url: str) -> None:
    at = datetime.fromtimestamp(END, UTC)
    slo_set = spec.load([folder / "slo.yaml"])
    asks = Asks(Context(quiet=True), slo_set, Overrides(prometheus=url), LedgerAccess("none"), lambda: at)
    for name in ("same", "worse", "quiet"):
        expected = verdict(folder, url, name)[1]
        assert asks.canary(f"shop/{name}", "v1", "v2", "version", None) == expected


def test_the_weights_that_a_verdict_means_are_printed(folder: Path, url: str) -> None:
    subsets = [{"destination": {"host": "worse", "subset": f"v{one}"}, "weight": 50} for one in (1, 2)]
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "worse"},
        "spec": {"hosts": ["worse"], "http": [{"route": subsets}]},
    }
    (folder / "mesh.yaml").write_text(yaml.safe_dump(document))
    text = canary(folder, url, "worse", "--patch", "mesh.yaml").stdout.splitlines()
    assert text[text.index("patch of the weights (nothing is applied)") + 1] == (
        "  VirtualService shop/worse route 1: v2 50 → 0, v1 50 → 100"
    )
    told = verdict(folder, url, "worse", "--patch", "mesh.yaml")[1]["patch"]
    assert [one["value"] for one in told["virtual_services"][0]["operations"] if one["op"] == "replace"] == [
        0,
        100,
    ]
    assert canary(folder, url, "worse", "--patch", "mesh.yaml", "--format", "github").code == 2
    assert canary(folder, url, "worse", "--patch", "missing.yaml").code == 2
    (folder / "mesh.yaml").write_text("apiVersion: networking.istio.io/v1\nkind: [\n")
    assert canary(folder, url, "worse", "--patch", "mesh.yaml").code == 2


def test_a_stricter_margin_and_a_budget_of_the_file(folder: Path, url: str) -> None:
    strict = "release: {canary: {margin: 0.01}}\n"
    (folder / "slo.yaml").write_text(SLO_FILE + strict)
    assert verdict(folder, url, "same")[0] == "wait", "so little cannot be seen"
    (folder / "slo.yaml").write_text(SLO_FILE + "release: {canary: {margin: 40, budget: 0.01}}\n")
    found, told = verdict(folder, url, "worse")
    assert (found, told["slos"][0]["shows"]) == ("rollback", "costs")
    assert "of the budget of 30d, and 0.0 % may" in told["reasons"][0]


def test_what_cannot_be_compared(folder: Path, url: str) -> None:
    unknown = canary(folder, url, "x", "--baseline", "v1", "--canary", "v1", "--service", "same")
    assert (unknown.code, "are both v1" in unknown.stderr) == (2, True)
    other = canary(folder, url, "x", "--baseline", "v1", "--canary", "v2", "--service", "other/same")
    assert (other.code, "no SLO of the file tells versions" in other.stderr) == (2, True)


def queries(folder: Path, form: str) -> dict[str, tuple[dict[str, Any], str]]:
    """What a controller asks, by the SLO's name: the specification and the query."""
    done = in_process("export", f"--{form}", "slo.yaml", folder=folder)
    assert done.code == 1, "an SLO of the file's own expressions is left out"
    assert "the SLO own of slow: what it counts does not tell versions of a service apart" in done.stderr
    found = {}
    for document in read_yaml_all(done.stdout):
        spec = document["spec"]
        metric = spec["metrics"][0]["provider"]["prometheus"] if "metrics" in spec else spec
        name = "latency" if "latency" in document["metadata"]["name"] else "availability"
        found[name] = spec, metric["query"]
    return found


def test_controllers_are_given_how_much_more_fails(folder: Path, url: str) -> None:
    """The exported queries on the same counters as the command: the same numbers, over five minutes."""
    with Prometheus(PrometheusSettings.load(url=url)) as source:

        def asked(query: str, **values: str) -> list[float]:
            for name, value in values.items():
                query = re.sub(r"\{\{ *(?:args\.)?" + name + r" *\}\}", value, query)
            assert "{{" not in query
            answer = source.query(query, datetime.fromtimestamp(END, UTC))
            return [float(item["value"][1]) for item in answer]

        argo = queries(folder, "argo-rollouts")
        spec, query = argo["availability"]
        assert [item["name"] for item in spec["args"]] == ["service", "canary", "baseline"]
        assert spec["metrics"][0]["failureCondition"] == "len(result) > 0 && result[0] > 0.005"
        (worse,) = asked(query, service="worse", canary="v2", baseline="v1")
        (same,) = asked(query, service="same", canary="v2", baseline="v1")
        assert worse == pytest.approx(0.029, abs=0.008)
        assert same == pytest.approx(0, abs=0.002)
        assert asked(query, service="absent", canary="v2", baseline="v1") == [], "it is inconclusive"
        (slow,) = asked(argo["latency"][1], canary="v2", baseline="v1")
        assert slow == pytest.approx(0.18, abs=0.05)
        # Flagger's versions are workloads, of which these counters have none: as if v2 were one.
        flagger = queries(folder, "flagger")["availability"]
        assert flagger[0]["provider"]["type"] == "prometheus"
        by_workload = flagger[1].replace("destination_workload", "destination_version")
        by_workload = by_workload.replace('service_name="{{ target }}"', 'service_name="worse"')
        by_workload = by_workload.replace("{{ target }}-primary", "v1")
        assert asked(by_workload, target="v2") == [pytest.approx(100 * worse)]
