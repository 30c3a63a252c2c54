"""How targets are scraped, on a real Prometheus: pods that two targets expose are found and, as told, count once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from jobs.budgets import targets
from jobs.reports import slo_report
from jobs.schedule import runner
from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.model import ExprSli, Guardrail, Matcher, Mesh, RollingWindow, SloSet
from tests.support.promtool import slo

END = 1_780_000_200
AT = datetime.fromtimestamp(END, UTC)
CLUSTERS = {
    "two ports of a pod": (("envoy-stats", "15090"), ("pods", "15020")),
    "one job takes both ports": (("pods", "15090"), ("pods", "15020")),
    "two jobs take one port": (("merged", "15020"), ("pods", "15020")),
    "once": (("pods", "15020"),),
    "no up": (("otel", ""),),
    "pods share an address": (),
    "each job has pods of its own": (),
}
"""The jobs and ports that scrape each pod, by what a cluster is for."""
PODS = ("web-1", "web-2")
EVENTS = 50
"""Requests that each pod makes of checkout in the last half hour, and orders."""
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
mesh: {matchers: MATCHERS}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
WINDOW = RollingWindow(1800, "30m")


def _scraped(cluster: str, job: str, port: str, pod: str) -> Iterator[SampledSeries]:
    times = np.arange(END - 5400, END + 1, 30, dtype=np.int64) * 1000
    events = np.where(times > (END - 900) * 1000, 1000 + EVENTS, 1000)
    named = {"kubernetes_pod_name" if job == "merged" else "pod": pod}
    address = f"10.0.0.{pod[-1]}" + (f":{port}" if port else "")
    target = {"cluster": cluster, "job": job, "instance": address, **named}
    own = {
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "reporter": "source",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
    }
    yield SampledSeries({"__name__": "istio_requests_total", **own, **target}, times, events)
    yield SampledSeries({"__name__": "orders_total", **target}, times, events)
    if port:
        yield SampledSeries({"__name__": "up", **target}, times, np.ones_like(times))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("scraping")
    series = [
        one
        for cluster, scrapes in CLUSTERS.items()
        for job, port in scrapes
        for pod in PODS
        for one in _scraped(cluster, job, port, pod)
    ]
    apart = "each job has pods of its own"
    for job, pod in (("a", "web-1"), ("a", "web-2"), ("b", "web-2"), ("b", "web-3")):
        series += _scraped(apart, job, "15020", pod)
    for pod, port in (("web-1", "15020"), ("web-2", "15021")):
        for one in _scraped("pods share an address", "pods", port, pod):
            series.append(replace(one, labels={**one.labels, "instance": f"10.0.0.1:{port}"}))
    backfill(series, folder / "data")
    with PrometheusServer(folder, data=folder / "data") as server, pipeline.source(server) as metrics:
        yield metrics


def slo_set(cluster: str, *more: Matcher) -> SloSet:
    mesh = Mesh(matchers=(Matcher("cluster", "=", cluster), *more))
    guardrails = (Guardrail("retry-amplification", Decimal("1.1")),)
    return SloSet("shop", (slo(window=WINDOW, policy=None, mesh=mesh),), mesh=mesh, guardrails=guardrails)


def found(source: Prometheus, of: SloSet) -> Mapping[str, str]:
    """The messages of a report's findings by code."""
    return {item.code: item.message for item in slo_report.build(source, of, AT, "raw").findings}


def written(remedy: str) -> tuple[Matcher, ...]:
    """The matchers that a remedy says to write, as an SLO file with them is read."""
    text = remedy.removeprefix("write mesh.matchers: ").partition(", or ")[0]
    return spec.load([Path("-")], stdin=BytesIO(FILE.replace("MATCHERS", text).encode())).mesh.matchers


@pytest.mark.parametrize(
    ("cluster", "remedy"),
    [
        ("two ports of a pod", 'mesh.matchers: {instance: {not_regex: ".*:15090"}}'),
        ("one job takes both ports", 'mesh.matchers: {instance: {not_regex: ".*:15090"}}'),
        ("two jobs take one port", 'mesh.matchers: {job: {not: "merged"}}'),
    ],
)
def test_a_pod_scraped_twice_is_told_and_counts_once_with_the_matcher_that_is_named(
    cluster: str, remedy: str, source: Prometheus
) -> None:
    of = slo_set(cluster)
    [item] = slo_report.build(source, of, AT, "raw").slos
    assert item.total == 2 * 2 * EVENTS
    said = found(source, of)["scraped-twice"]
    assert "2 of 2 pods" in said and "web-1, web-2" in said and remedy in said
    [twice] = targets.look(source, of, AT).twice
    once = slo_set(cluster, *written(twice.remedy))
    report = slo_report.build(source, once, AT, "raw")
    assert report.slos[0].total == 2 * EVENTS
    assert "scraped-twice" not in {finding.code for finding in report.findings}


def test_where_no_matcher_will_do_it_says_so(source: Prometheus) -> None:
    said = found(source, slo_set("each job has pods of its own"))["scraped-twice"]
    assert "1 of 3 pods" in said and "no matcher leaves each of them one target" in said


@pytest.mark.parametrize("cluster", ["once", "pods share an address"])
def test_what_is_scraped_once_is_not_told(cluster: str, source: Prometheus) -> None:
    assert not {"scraped-twice", "gaps-not-known"} & found(source, slo_set(cluster)).keys()
    own = ExprSli(total=f'rate(orders_total{{cluster="{cluster}"}}[$window])', bad="vector(0)")
    assert not targets.look(source, replace(slo_set(cluster), slos=(replace(slo(), sli=own),)), AT).twice


def test_a_metric_of_the_users_is_looked_at_too(source: Prometheus) -> None:
    expr = 'sum(rate(orders_total{cluster="two ports of a pod"}[$window]))'
    of = slo_set("two ports of a pod", Matcher("instance", "!~", ".*:15090"))
    own = replace(of.slos[0], name="orders", sli=ExprSli(total=expr, good=expr))
    said = found(source, replace(of, slos=(own,)))["scraped-twice"]
    assert "orders_total" in said and 'write instance!~".*:15090" in the SLI\'s expressions' in said


def test_targets_without_up_are_told(source: Prometheus) -> None:
    said = found(source, slo_set("no up"))["gaps-not-known"]
    assert "2 of 2 targets have no 'up'" in said


@pytest.mark.parametrize("cluster", ["two ports of a pod", "no up"])
def test_the_job_that_reads_slis_says_it_too(cluster: str, source: Prometheus) -> None:
    done = runner.run("slis", slo_set(cluster), runner.Connections(source), AT)
    assert {finding.code for finding in done.findings} == {
        "scraped-twice" if "two" in cluster else "gaps-not-known"
    }
