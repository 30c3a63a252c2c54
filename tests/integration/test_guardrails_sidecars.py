"""Guardrails of proxies in Kubernetes, over what kube-state-metrics and cAdvisor expose: judged by promtool.

Minutes count from 0. The restarts of a minute are those since the minute before; ``None`` is no series.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alert_rules import manifest
from jobs import sidecar_restarts
from sloctl.backends.prometheus.client import Prometheus
from sloctl.guardrails import restarts
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.kinds import Signal
from sloctl.model import Guardrail, Matcher, Mesh, MeshMode, SloSet
from sloctl.settings.backends import PrometheusSettings
from tests.support.prometheus_fixture import MISSING, running_prometheus
from tests.support.promtool import EVERY_LIMIT, Inputs, Samples, evaluate, loaded_rules, run, series

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="not installed: promtool")

SCRAPES = Path(__file__).parents[3] / "shared" / "data" / "scrapes"
POD = "checkout-5d8f7c9b6d-xx2xb"
RESTARTS = "kube_pod_container_status_restarts_total"
NATIVE = "kube_pod_init_container_status_restarts_total"
REASON = "kube_pod_container_status_last_terminated_reason"


def slo_set(preset: str = "sidecar-restarts", limit: str = "0.01", **more: Any) -> SloSet:
    mesh = more.pop("mesh", Mesh())
    return SloSet("shop", (), mesh=mesh, guardrails=(Guardrail(preset, Decimal(limit), **more),))


def proxy(metric: str = RESTARTS, pod: str = POD, replica: int = 1, **labels: str) -> str:
    """A series as kube-state-metrics 2.x exposes it."""
    found = {
        "job": "kube-state-metrics",
        "instance": f"10.0.0.{replica}:8080",
        "namespace": "shop",
        "pod": pod,
        "container": "istio-proxy",
        "uid": f"uid-of-{pod}",
        **labels,
    }
    return series(metric, **{name: value for name, value in found.items() if value})


def ask(raw: Mapping[str, str], *queries: tuple[str, str], of: SloSet | None = None) -> list[Samples]:
    [answers] = evaluate(loaded_rules(of or slo_set()), [Inputs(raw, queries)])
    return answers


def number(samples: Samples) -> float | None:
    assert len(samples) <= 1, samples
    return samples[0][1] if samples else None


def per_minute(raw: Mapping[str, str], minutes: int, of: SloSet | None = None) -> list[float | None]:
    """Restarts of the whole mesh, as recorded at the minutes from 0 up to ``minutes``."""
    queries = [("mesh:sidecar_restarts:increase1m", f"{minute}m") for minute in range(minutes + 1)]
    return [number(samples) for samples in ask(raw, *queries, of=of)]


def total(raw: Mapping[str, str], minutes: int, of: SloSet | None = None) -> float | None:
    query = (f"sum(sum_over_time(mesh:sidecar_restarts:increase1m[{minutes + 1}m]))", f"{minutes}m")
    return number(ask(raw, query, of=of)[0])


def by_labels(samples: Samples, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(found.get(label, "") for label in labels): value for found, value in samples}


OTHER = {proxy(pod="cart-5d8f7c9b6d-xx2xb"): "7x30"}
"""A proxy that shows that its kube-state-metrics was being scraped."""


class TestCounting:
    def test_a_restart_counts_in_its_minute(self) -> None:
        assert per_minute({proxy(): "2x3 3x3 5"}, 8) == [0, 0, 0, 0, 1, 0, 0, 0, 2]

    def test_a_new_pod_that_already_restarted_counts_from_zero(self) -> None:
        assert per_minute(OTHER | {proxy(): "_x9 2 3x9"}, 11)[8:] == [0, 2, 1, 0]

    def test_not_while_kube_state_metrics_starts_and_answers_without_some_pods(self) -> None:
        assert total(OTHER | {proxy(): "_x3 9x9"}, 12) == 0
        gone = dict.fromkeys(OTHER, "7x9 _x80 7x9")
        assert total(gone | {proxy(): "9x9 _x83 9x9"}, 100) == 0

    def test_old_restarts_are_nothing_new_when_all_this_begins(self) -> None:
        assert per_minute({proxy(): "_x3 9x5"}, 5) == [None, None, None, 0, 0, 0]

    @pytest.mark.parametrize("minutes", [1, 4, 5, 12, 70])
    def test_a_gap_of_kube_state_metrics_makes_no_restarts(self, minutes: int) -> None:
        raw = {
            proxy(): f"9x9 stale _x{minutes} 9x9",
            **{proxy(pod=f"cart-{n}"): f"4x9 _x{minutes} 4x9" for n in "01"},
        }
        assert total(raw, 20 + minutes) == 0

    def test_restarts_during_a_short_gap_are_counted_after_it(self) -> None:
        assert total({proxy(): "9x9 stale _x2 10x9"}, 22) == 1

    def test_nothing_is_recorded_in_a_long_gap(self) -> None:
        assert per_minute({proxy(): "9x2 _x12 9x3"}, 16)[9:14] == [None] * 5

    @pytest.mark.parametrize("silent", [0, 3, 12])
    def test_another_instance_of_kube_state_metrics_goes_on(self, silent: int) -> None:
        raw = {proxy(): "9x9", proxy(replica=2): f"_x{10 + silent} 9x5 10x9"}
        assert total(raw, 25 + silent) == 1

    def test_replicas_count_once(self) -> None:
        raw = {proxy(): "1x4 2x9 3x9", proxy(replica=2): "1x4 2x9 3x9"}
        assert total(raw, 20) == 2

    @pytest.mark.parametrize("uid", ["uid-1", ""])
    def test_a_replica_that_lags_and_then_is_alone_counts_nothing_twice(self, uid: str) -> None:
        raw = {proxy(uid=uid): "1x4 3x3 stale", proxy(replica=2, uid=uid): "1x6 2x3 3x9"}
        assert total(raw, 20) == 2

    def test_shards_count_each_their_own(self) -> None:
        raw = {proxy(): "0x4 1x9", proxy(pod="cart-0", replica=2): "0x5 2x9"}
        assert per_minute(raw, 7) == [0, 0, 0, 0, 0, 1, 2, 0]

    def test_a_shard_that_comes_back_makes_no_restarts(self) -> None:
        raw = OTHER | {proxy(replica=2): "9x5 stale _x14 9x9"}
        assert total(raw, 30) == 0

    def test_a_pod_of_a_stateful_set_that_is_made_again_starts_from_zero(self) -> None:
        old, new = proxy(pod="db-0", uid="old"), proxy(pod="db-0", uid="new")
        assert per_minute({old: "5x4 stale", new: "_x5 0 1x5"}, 7) == [0, 0, 0, 0, 0, 0, 1, 0]

    def test_also_where_there_is_no_uid(self) -> None:
        assert per_minute({proxy(pod="db-0", uid=""): "5x4 0 2x5"}, 8) == [0, 0, 0, 0, 0, 0, 2, 0, 0]
        assert per_minute({proxy(pod="db-0", uid=""): "5x4 1x5"}, 6) == [0, 0, 0, 0, 0, 1, 0]

    def test_a_native_sidecar_is_one_too(self) -> None:
        raw = {proxy(): "0x4 1x9", proxy(NATIVE, pod="cart-5d8f7c9b6d-xx2xb"): "0x4 2x9"}
        assert per_minute(raw, 5)[5] == 3

    def test_the_first_native_sidecar_counts_from_zero(self) -> None:
        assert total(OTHER | {proxy(NATIVE): "_x9 2x9"}, 18) == 2

    def test_other_containers_do_not_count(self) -> None:
        assert total(OTHER | {proxy(container="app"): "0+1x20"}, 20) == 0

    def test_only_the_namespaces_of_the_guardrail(self) -> None:
        raw = {proxy(): "0x4 1x9", proxy(namespace="other"): "0x4 5x9", proxy(namespace="third"): "0x4 9x9"}
        assert total(raw, 10, slo_set(namespaces=("shop",))) == 1
        assert total(raw, 10, slo_set(namespaces=("shop", "other"))) == 6

    def test_only_the_mesh_of_the_file(self) -> None:
        mesh = Mesh(matchers=(Matcher("cluster", "=", "eu1"),))
        raw = {proxy(cluster="eu1"): "0x4 1x9", proxy(cluster="us1", pod="cart-0"): "0x4 5x9"}
        assert total(raw, 10, slo_set(mesh=mesh)) == 1

    @pytest.mark.parametrize("uid", ["", "uid-1"])
    def test_pods_of_one_name_in_several_clusters_are_several(self, uid: str) -> None:
        mesh = Mesh(matchers=(Matcher("cluster", "=~", "eu1|us1"),))
        raw = {proxy(cluster="eu1", uid=uid): "3x4 4x9", proxy(cluster="us1", uid=uid): "7x6 9x7"}
        assert total(raw, 10, slo_set(mesh=mesh)) == 3
        [pods] = ask(raw, ("mesh:sidecar_pods:count", "5m"), of=slo_set(mesh=mesh))
        assert number(pods) == 2

    def test_without_kube_state_metrics_nothing_is_recorded(self) -> None:
        query = '{__name__=~".*sidecar.*"}'
        assert ask({series("up", job="envoy-stats"): "1x10"}, (query, "5m")) == [[]]


class TestReasons:
    def reasons(self, raw: Mapping[str, str], minute: int = 5) -> dict[tuple[str, ...], float]:
        query = ("workload:sidecar_restarts:increase1m", f"{minute}m")
        return by_labels(ask(raw, query)[0], "workload", "reason")

    def test_of_the_last_end(self) -> None:
        raw = {proxy(): "0x4 1x9", proxy(REASON, reason="OOMKilled"): "_x5 1x9"}
        assert self.reasons(raw) == {("checkout", "OOMKilled"): 1}

    def test_kube_state_metrics_of_old_tells_all_reasons_with_zeros(self) -> None:
        told = {proxy(REASON, uid="", reason=name): "0x9" for name in ("Error", "Completed")}
        raw = {proxy(uid=""): "0x4 1x9", proxy(REASON, uid="", reason="OOMKilled"): "0x4 1x9", **told}
        assert self.reasons(raw) == {("checkout", "OOMKilled"): 1}

    def test_a_reason_that_changes_is_the_new_one(self) -> None:
        raw = {
            proxy(): "0x2 1x1 2x9",
            proxy(REASON, reason="OOMKilled"): "_x3 1x1 stale",
            proxy(REASON, reason="Error"): "_x5 1x9",
        }
        assert self.reasons(raw, 3) == {("checkout", "OOMKilled"): 1}
        assert self.reasons(raw, 5) == {("checkout", "Error"): 1}

    def test_replicas_that_disagree_fail_nothing_and_count_once(self) -> None:
        raw = {
            proxy(): "0x4 1x9",
            proxy(replica=2): "0x4 1x9",
            proxy(REASON, reason="Error"): "_x5 1x9",
            proxy(REASON, replica=2, reason="OOMKilled"): "_x5 1x9",
        }
        assert self.reasons(raw) == {("checkout", "OOMKilled"): 1}

    def test_a_native_sidecar_has_one(self) -> None:
        reason = "kube_pod_init_container_status_last_terminated_reason"
        raw = {proxy(NATIVE): "0x4 1x9", proxy(reason, reason="OOMKilled"): "_x5 1x9"}
        assert self.reasons(raw) == {("checkout", "OOMKilled"): 1}

    def test_one_that_nobody_tells_is_unknown(self) -> None:
        assert self.reasons({proxy(): "0x4 1x9"}) == {("checkout", "unknown"): 1}

    def test_a_pod_that_ends_with_its_restart_keeps_its_reason(self) -> None:
        raw = {proxy(): "0x4 1 stale", proxy(REASON, reason="OOMKilled"): "_x5 1 stale"}
        assert self.reasons(raw) == {("checkout", "OOMKilled"): 1}

    def test_a_workload_without_restarts_has_no_series(self) -> None:
        assert self.reasons(OTHER) == {}


PODS = {
    "checkout-5d8f7c9b6d-xx2xb": "checkout",  # Deployment
    "web-v2-7c6d5f-2b4x9": "web-v2",
    "ztunnel-x7k2p": "ztunnel",  # DaemonSet
    "istio-cni-node-wd4xz": "istio-cni-node",
    "db-0": "db",  # StatefulSet
    "db-12": "db",
    "kafka-broker-2": "kafka-broker",
    "backup-29123456-bcd2f": "backup",  # CronJob
    "backup-29130313-bcd2f": "backup",
    "migrate-kq7zx": "migrate",  # Job
    "waypoint-6b8c9f7d45-zx9wv": "waypoint",
    "istio-ingressgateway-7f9d6c5b8-qwrtz": "istio-ingressgateway",
    "debug": "debug",  # nobody's
    "my-proxy-pod": "my-proxy-pod",
    "web-7c6d5f7b-aeiou": "web-7c6d5f7b-aeiou",  # no name that Kubernetes makes up
    "web-12345-x": "web-12345-x",
    "0": "0",
    "-0": "-0",
}


class TestWorkloads:
    def test_of_every_kind_of_pod(self) -> None:
        raw = {proxy(pod=pod, namespace=f"n{number}"): "1x9" for number, pod in enumerate(PODS)}
        [found] = ask(raw, ("workload:sidecar_pods:count", "5m"))
        named = by_labels(found, "namespace", "workload")
        assert named == {(f"n{number}", workload): 1 for number, workload in enumerate(PODS.values())}

    def test_pods_are_counted_once_however_often_they_are_told(self) -> None:
        raw = {
            proxy(pod=f"checkout-5d8f7c9b6d-xx2x{n}", replica=replica): "1x9"
            for n in "bcd"
            for replica in (1, 2)
        } | {proxy(NATIVE, pod="checkout-6d8f7c9b6d-xx2xb"): "0x9"}
        found = ask(raw, ("workload:sidecar_pods:count", "5m"), ("mesh:sidecar_pods:count", "5m"))
        assert [number(samples) for samples in found] == [4, 4]

    def test_ambient_has_ztunnel_and_waypoints(self) -> None:
        raw = {
            proxy(pod="ztunnel-x7k2p", namespace="istio-system"): "0x4 1x9",
            proxy(pod="waypoint-6b8c9f7d45-zx9wv"): "0x4 2x9",
        }
        [found] = ask(
            raw, ("workload:sidecar_restarts:increase1m", "5m"), of=slo_set(mesh=Mesh(mode="ambient"))
        )
        assert by_labels(found, "namespace", "workload") == {
            ("istio-system", "ztunnel"): 1,
            ("shop", "waypoint"): 2,
        }


class TestPerPodAndDay:
    RAW = {  # noqa: RUF012
        proxy(pod="checkout-5d8f7c9b6d-xx2xb"): "0x9 1x50",
        proxy(pod="checkout-5d8f7c9b6d-xx2xc"): "0x60",
        proxy(pod="cart-5d8f7c9b6d-xx2xc"): "0x60",
    }

    def test_is_restarts_over_pods(self) -> None:
        queries = (
            ("mesh:sidecar_restarts_per_pod_day:ratio1d", "60m"),
            ("workload:sidecar_restarts_per_pod_day:ratio1d", "60m"),
        )
        mesh, workloads = ask(self.RAW, *queries)
        assert number(mesh) == pytest.approx(1 / 3)
        assert by_labels(workloads, "workload") == {("checkout",): 0.5, ("cart",): 0}

    def test_as_rules_say_it_and_as_raw_series_do(self) -> None:
        [plan] = plans(slo_set())
        for signal in plan.signals:
            names = ("namespace", "workload", "pod", "reason")
            for minute in (9, 10, 60):
                recorded, live = self.both(signal, minute)
                assert by_labels(recorded, *names) == pytest.approx(by_labels(live, *names)), signal.record

    def both(self, signal: Signal, minute: int) -> list[Samples]:
        return ask(self.RAW, (signal.record, f"{minute}m"), (signal.live, f"{minute}m"))

    def test_over_a_day_each_pod_counts_once_however_short_it_lived(self) -> None:
        guardrail, raw = slo_set().guardrails[0], OTHER | {proxy(): "_x10 1x4 2x2 stale"}
        expr = f"sum by (pod) ({restarts.increase(slo_set(), guardrail, 1200)})"
        assert by_labels(ask(raw, (expr, "28m"))[0], "pod")[POD,] == 2
        assert by_labels(ask(raw, (expr, "22m"))[0], "pod")[POD,] == 1  # who knows if it is new

    def test_over_a_day_a_gap_makes_no_restarts(self) -> None:
        guardrail = slo_set().guardrails[0]
        expr = f"sum ({restarts.increase(slo_set(), guardrail, 1200)})"
        raw = {proxy(): "9x5 stale _x10 10x20", proxy(pod="cart-0"): "9x6 _x10 9x20"}
        assert [number(found) for found in ask(raw, (expr, "24m"), (expr, "18m"))] == [1, 1]


MODES: tuple[MeshMode, ...] = ("sidecar", "ambient")
OF_RESTARTS = ("0", "1000", "0.01", "2.5", "999.999")
OF_RESOURCES = ("0", "100", "0.5", "33.3333", "99.99")
LIMITS = 5 if EVERY_LIMIT else 2


@pytest.mark.parametrize(
    ("preset", "limit", "mode"),
    [  # each in one mode: the golden cases prove the defaults in both
        *zip(["sidecar-restarts"] * LIMITS, OF_RESTARTS, MODES * 3, strict=False),
        *zip(["sidecar-resources"] * LIMITS, OF_RESOURCES, MODES * 3, strict=False),
    ],
)
def test_the_proofs_hold_for_every_limit(preset: str, limit: str, mode: MeshMode, tmp_path: Path) -> None:
    mesh = Mesh(mode=mode, matchers=(Matcher("cluster", "=~", "eu.*"),))
    files = manifest.generate(slo_set(preset, limit, mesh=mesh, namespaces=("a.b", "other")), "prometheus")
    for path, text in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    [tests] = tmp_path.rglob("*_test.yaml")
    assert tests.read_text().count("fires at minute") == 3
    done = run("test", "rules", tests.name, cwd=tests.parent)
    assert done.returncode == 0, done.stdout + done.stderr


class TestResources:
    OF = slo_set("sidecar-resources", "90")
    BYTES = "container_memory_working_set_bytes"
    LIMITS = "kube_pod_container_resource_limits"

    def cadvisor(self, metric: str, replica: int = 1, **labels: str) -> str:
        found = {"job": "kubelet", "image": "istio/proxyv2", "id": "/kubepods/a", "node": "n1"} | labels
        return proxy(metric, replica=replica, uid="", **found)

    def memory(
        self, raw: Mapping[str, str], record: str = "pod:sidecar_memory:ratio"
    ) -> dict[tuple[str, ...], float]:
        return by_labels(ask(raw, (record, "9m"), of=self.OF)[0], "namespace", "workload", "pod")

    @pytest.mark.parametrize(
        ("metric", "labels"),
        [
            ("kube_pod_container_resource_limits", {"resource": "memory", "unit": "byte"}),
            ("kube_pod_init_container_resource_limits", {"resource": "memory", "unit": "byte"}),
            ("kube_pod_container_resource_limits_memory_bytes", {"uid": ""}),
        ],
    )
    def test_memory_over_its_limit(self, metric: str, labels: dict[str, Any]) -> None:
        raw = {self.cadvisor(self.BYTES): "500x9", proxy(metric, **labels): "1000x9"}
        assert self.memory(raw) == {("shop", "checkout", POD): 0.5}
        assert self.memory(raw, "workload:sidecar_memory:max_ratio") == {("shop", "checkout", ""): 0.5}

    def test_duplicates_break_nothing_and_the_largest_holds(self) -> None:
        limits = {proxy(self.LIMITS, replica=n, resource="memory", unit="byte"): "1000x9" for n in (1, 2)}
        used = {
            self.cadvisor(self.BYTES): "500x9",
            self.cadvisor(self.BYTES, image="", id="/kubepods/b"): "400x9",
            self.cadvisor(self.BYTES, replica=2): "600x9",
            self.cadvisor(self.BYTES, container="", image=""): "900x9",
        }
        assert self.memory(limits | used) == {("shop", "checkout", POD): 0.6}

    def test_no_limit_no_series(self) -> None:
        cpu = proxy(self.LIMITS, resource="cpu", unit="core")
        assert self.memory({self.cadvisor(self.BYTES): "500x9", cpu: "2x9"}) == {}
        zero = proxy(self.LIMITS, resource="memory", unit="byte")
        assert self.memory({self.cadvisor(self.BYTES): "500x9", zero: "0x9"}) == {}

    def test_processor_time_over_its_limit_also_if_it_is_told_by_core(self) -> None:
        metric = "container_cpu_usage_seconds_total"
        limit = {proxy(self.LIMITS, resource="cpu", unit="core"): "2x9"}
        total = {self.cadvisor(metric, cpu="total"): "0+60x9"}
        cores = {self.cadvisor(metric, cpu=f"cpu{n}"): "0+30x9" for n in (0, 1)}
        for raw in (total, cores):
            assert self.memory(limit | raw, "pod:sidecar_cpu:ratio5m") == {("shop", "checkout", POD): 0.5}

    def test_throttled_is_a_share_of_periods(self) -> None:
        raw = {
            self.cadvisor("container_cpu_cfs_periods_total"): "0+600x9",
            self.cadvisor("container_cpu_cfs_throttled_periods_total"): "0+150x9",
            self.cadvisor("container_cpu_cfs_periods_total", replica=2): "5x9",
            self.cadvisor("container_cpu_cfs_throttled_periods_total", replica=2): "5x9",
        }
        assert self.memory(raw, "pod:sidecar_throttled:ratio5m") == {("shop", "checkout", POD): 0.25}

    def test_as_rules_say_it_and_as_raw_series_do(self) -> None:
        raw = {
            self.cadvisor(self.BYTES): "500x9",
            proxy(self.LIMITS, resource="memory", unit="byte"): "1000x9",
            self.cadvisor("container_cpu_usage_seconds_total", cpu="total"): "0+60x9",
            proxy(self.LIMITS, resource="cpu", unit="core"): "2x9",
        }
        [plan] = plans(self.OF)
        for verdict in plan.verdicts:
            recorded, live = ask(raw, (verdict.signal.record, "9m"), (verdict.signal.live, "9m"), of=self.OF)
            assert by_labels(recorded, *verdict.scope) == by_labels(live, *verdict.scope) != {}


@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
class TestRealScrapes:
    def scraped(self, name: str, container: str = "") -> dict[str, str]:
        """What a kube-state-metrics exposed, for 15 minutes; some containers are made proxies."""
        found = {}
        text = (SCRAPES / name).read_text(encoding="utf-8")
        for metric, labels, value in re.findall(r"^(kube_pod_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
            if container:
                labels = labels.replace(f'container="{container}"', 'container="istio-proxy"')
            found[f'{metric}{{{labels},instance="10.0.0.1:8080",job="ksm"}}'] = f"{float(value):g}x15"
        assert len(found) > 300
        return found

    @pytest.mark.parametrize("name", ["ksm_v2_gke.prom", "ksm_legacy.prom"])
    def test_no_mesh_no_data(self, name: str) -> None:
        found = ask(self.scraped(name), ('{__name__=~".*sidecar.*"}', "10m"))
        assert found == [[]]

    def test_proxies_that_never_restarted(self) -> None:
        raw = self.scraped("ksm_v2_gke.prom", "agent")
        total, pods = ask(
            raw, ("mesh:sidecar_restarts:increase1m", "10m"), ("workload:sidecar_pods:count", "10m")
        )
        assert number(total) == 0
        assert by_labels(pods, "namespace", "workload") == {("default", "datadog-monitoring"): 3}

    def test_limits_of_a_real_container(self) -> None:
        limits = self.scraped("ksm_v2_gke.prom", "default-http-backend")
        pod = "l7-default-backend-84c9fcfbb-jhvcp"
        used = proxy("container_memory_working_set_bytes", pod=pod, namespace="kube-system", uid="")
        of = slo_set("sidecar-resources", "90")
        [found] = ask(limits | {used: f"{2.097152e07 / 4:g}x15"}, ("pod:sidecar_memory:ratio", "10m"), of=of)
        assert by_labels(found, "workload", "pod") == {("l7-default-backend", pod): pytest.approx(0.25)}


def test_a_crash_loop_of_few_restarts_of_one_pod_calls_but_a_restarted_node_does_not() -> None:
    crash = {proxy(): "0x4 1 2 3x9"}
    node = {proxy(pod=f"checkout-5d8f7c9b6d-xx2x{n}"): "0x4 1x9" for n in "bcdfghj"}
    query = ('ALERTS{alertname="SidecarCrashLooping"}', "8m")
    assert len(ask(crash, query)[0]) == 1
    assert ask(node, query) == [[]]


def alerts_at(raw: Mapping[str, str], minutes: Sequence[int], name: str) -> list[bool]:
    query = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    return [bool(found) for found in ask(raw, *((query, f"{minute}m") for minute in minutes))]


def test_one_restarted_pod_of_a_small_mesh_calls_nobody() -> None:
    raw = {proxy(): "0x4 1x60"}
    assert alerts_at(raw, (5, 30, 60), "SidecarRestartRateHigh") == [False] * 3


def test_the_limit_is_said_as_a_person_would() -> None:
    found = replace(slo_set(limit="0.010"))
    assert "> 0.01\n" in loaded_rules(found)[0]


START = datetime(2024, 3, 1, tzinfo=UTC)
END = START + timedelta(days=15)
MINUTES = 15 * 1440
DEPLOY = 14 * 1440 + 600
"""The minute at which the pods of checkout are replaced."""


def history() -> str:
    """15 days of kube-state-metrics, scraped every minute by two replicas, of which one changes its address."""
    db = [
        (minute, "OOMKilled") for minute in (2000, 3000, 9000, 9001, 15000, 21000)
    ]  # 2, 2 and 2 in its weeks
    lives = {  # (first and last minute, restarts)
        ("db-0", "uid-1"): (0, MINUTES, db),
        ("checkout-5d8f7c9b6d-xx2xb", "uid-2"): (0, DEPLOY, [(DEPLOY - 60, "Error")]),
        ("checkout-6d8f7c9b6d-xx2xb", "uid-3"): (
            DEPLOY,
            MINUTES,
            [(DEPLOY, "Error"), (DEPLOY + 5, "OOMKilled")],
        ),
        ("cart-5d8f7c9b6d-xx2xb", "uid-4"): (0, MINUTES, []),
    }
    counts, reasons = ["# TYPE kube_pod_container_status_restarts counter"], [f"# TYPE {REASON} gauge"]
    for (pod, uid), (first, last, ends) in lives.items():
        for number, instances in enumerate((("10.0.0.1",), ("10.0.0.2", "10.0.0.3"))):
            for part, instance in enumerate(instances):
                low, high = (0, MINUTES) if not number else ((0, 12000), (12003, MINUTES))[part]
                target = f'job="ksm",instance="{instance}",namespace="shop",container="istio-proxy"'
                labels = f'{target},pod="{pod}",uid="{uid}"'
                told: dict[str, list[str]] = {}
                for minute in range(max(first, low), min(last, high) + 1):
                    if 13000 <= minute < 13020:  # nobody is scraped
                        continue
                    at = START.timestamp() + 60 * minute
                    past = [reason for when, reason in ends if when <= minute]
                    counts.append(f"{RESTARTS}{{{labels}}} {len(past)} {at}")
                    if past:
                        told.setdefault(past[-1], []).append(
                            f'{REASON}{{{labels},reason="{past[-1]}"}} 1 {at}'
                        )
                for lines in told.values():
                    reasons += lines
    return "\n".join([*counts, *reasons, "# EOF", ""])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, history()) as url, Prometheus(PrometheusSettings(url)) as source:
        yield source


def test_the_job_on_a_real_prometheus(prometheus: Prometheus) -> None:
    rows = {
        (row["window"], row["workload"]): row
        for row in sidecar_restarts.rows(sidecar_restarts.run(prometheus, slo_set(), END))
    }
    week = rows["7d", "db"]
    assert (week["restarts"], week["before"], week["trend"]) == (2, 4, 0.5)
    assert (week["reasons"], week["worst_pods"], week["pods"]) == ({"OOMKilled": 2}, {"db-0": 2}, 1)
    day = rows["1d", "checkout"]
    assert day["restarts"] == 3
    assert day["reasons"] == {"Error": 1, "OOMKilled": 2}
    assert (day["before"], day["trend"]) == (0, None)
    assert day["per_pod_day"] == pytest.approx(3, abs=0.05)
    assert rows["1d", "cart"]["restarts"] == rows["7d", "cart"]["restarts"] == 0
    assert len(rows) == 6


def test_the_report_on_a_real_prometheus(prometheus: Prometheus) -> None:
    found = sidecar_restarts.rows_for_report(prometheus, slo_set(), END)
    assert [(row.workload, row.restarts) for row in found] == [("checkout", 3), ("db", 1)]


def test_what_rules_would_record_is_what_the_job_counts(prometheus: Prometheus) -> None:
    """Minute by minute over the hours of the deploy, of the gap and of the new address."""
    [plan] = plans(slo_set())
    mesh = next(s for s in plan.signals if s.record == "mesh:sidecar_restarts:increase1m")
    for first, last, expected in ((DEPLOY - 70, DEPLOY + 10, 3), (11990, 12010, 0), (12990, 13030, 0)):
        start, end = (START + timedelta(minutes=minute) for minute in (first, last))
        [found] = prometheus.query_range(mesh.live, start, end, timedelta(minutes=1))
        assert sum(float(value) for _, value in found["values"]) == expected
