"""Guardrails of the platform (control plane, certificates, telemetry, circuit breakers, ourselves): judged by promtool.

Minutes count from 0, one sample a minute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from alert_rules import manifest
from sloctl import naming
from sloctl.guardrails import own
from sloctl.guardrails.plans import BUILDERS
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.guardrails.shared.queries import cluster_service, outbound
from sloctl.model import Guardrail, Job, Matcher, Mesh, SloSet, Sources
from sloctl.model.cron import longest_pause
from sloctl.promql import selector
from tests.support.promtool import EVERY_LIMIT, Inputs, Samples, evaluate, loaded_rules, run, series

SCRAPES = Path(__file__).parents[3] / "shared" / "data" / "scrapes"
PRESETS = ("certificates", "control-plane", "ejections", "jobs", "overflow", "telemetry-gap", "watchdog")
TARGET = {"job": "istiod", "instance": "10.0.0.1:15014", "pod": "istiod-1"}
UP = series("up", **TARGET)
ISTIOD = series("istio_build", component="pilot", **TARGET)
JOBS = (Job("slis", every=300), Job("report", cron="0 9 * * 1", timezone="Europe/Paris"))
MULTI = Mesh("ambient", (Matcher("cluster", "=", "eu1"), Matcher("env", "=~", "prod|stage")))


def slo_set(
    *presets: str,
    mesh: Mesh | None = None,
    backend: str = "",
    jobs: Sequence[Job] = JOBS,
    namespaces: tuple[str, ...] = (),
    **limits: Decimal,
) -> SloSet:
    guardrails = []
    for preset in presets:
        limit = GUARDRAIL_PRESETS[preset].limit
        value = limits.get(preset.replace("-", "_"), limit.default if limit else None)
        guardrails.append(Guardrail(preset, value, namespaces=namespaces))
    return SloSet(
        "shop",
        (),
        mesh=mesh or Mesh(),
        sources=Sources(traces_backend=backend),
        guardrails=tuple(guardrails),
        jobs=tuple(jobs),
    )


def answers(of: SloSet, raw: Mapping[str, str], *queries: tuple[str, int]) -> list[Samples]:
    [found] = evaluate(loaded_rules(of), [Inputs(raw, [(query, f"{minute}m") for query, minute in queries])])
    return found


def values(of: SloSet, raw: Mapping[str, str], record: str, *minutes: int) -> list[float | None]:
    """What is recorded at some minutes, for a signal of one series at most."""
    found = answers(of, raw, *((f"round({record}, 1e-6)", minute) for minute in minutes))
    assert all(len(samples) <= 1 for samples in found), found
    return [samples[0][1] if samples else None for samples in found]


def firing(of: SloSet, raw: Mapping[str, str], alert: str, *minutes: int) -> list[bool]:
    query = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    return [bool(samples) for samples in answers(of, raw, *((query, minute) for minute in minutes))]


def pod(number: int, job: str = "envoy-stats") -> dict[str, str]:
    return {"job": job, "instance": f"10.0.1.{number}:15020", "pod": f"checkout-{number}"}


class TestGenerated:
    @pytest.mark.parametrize(
        ("mesh", "backend", "which"),
        [
            pytest.param(Mesh(), "zipkin", "lowest", id="zipkin-sidecar"),
            pytest.param(MULTI, "tempo", "highest", id="tempo-ambient-with-matchers"),
        ],
    )
    def test_proofs_hold_for_any_limit(self, tmp_path: Path, mesh: Mesh, backend: str, which: str) -> None:
        """The golden cases prove the defaults, in both modes and with Jaeger, too.

        Every other guardrail is at its lowest limit, the others at their highest; make proofs does all with both.
        """
        first = int(which == "highest")
        # One file for each: promtool evaluates all rules of a file in each of its tests.
        for name in PRESETS if EVERY_LIMIT else PRESETS[first::2]:
            limit = GUARDRAIL_PRESETS[name].limit
            limits = {name.replace("-", "_"): getattr(limit, which)} if limit else {}
            self.check(slo_set(name, mesh=mesh, backend=backend, **limits), tmp_path / name)

    @pytest.mark.parametrize("limit", ["0.7", "29.99"])
    def test_convergence_has_bounds_and_numbers_between_them(self, tmp_path: Path, limit: str) -> None:
        """Numbers between bounds: the others are proved at bounds."""
        self.check(slo_set("control-plane", control_plane=Decimal(limit)), tmp_path)

    @pytest.mark.parametrize("limit", [61, 119, 90])
    def test_gaps_need_not_be_whole_minutes(self, tmp_path: Path, limit: int) -> None:
        self.check(slo_set("telemetry-gap", backend="tempo", telemetry_gap=Decimal(limit)), tmp_path)

    @pytest.mark.parametrize("jobs", [JOBS[1:], (Job("yearly", cron="0 0 29 2 *"), Job("a", every=30))])
    def test_jobs_of_any_interval(self, tmp_path: Path, jobs: tuple[Job, ...]) -> None:
        self.check(slo_set("jobs", jobs=jobs), tmp_path)

    def test_no_alert_without_a_job(self) -> None:
        assert BUILDERS["jobs"](slo_set("jobs", jobs=()), Guardrail("jobs")).alerts == ()

    @staticmethod
    def check(of: SloSet, folder: Path) -> None:
        tests = []
        for name, text in manifest.generate(of, "prometheus"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if name.endswith("_test.yaml"):
                tests.append(path)
            else:
                assert run("check", "rules", path).returncode == 0
        [tested] = tests
        done = run("test", "rules", tested.name, cwd=tested.parent)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_live_forms_are_valid_and_say_the_same(self) -> None:
        """What reports ask without rules agrees with what rules record."""
        of = slo_set(*PRESETS, backend="zipkin")
        cluster = "outbound|8080||checkout.shop.svc.cluster.local"
        raw = {
            UP: "1x30",
            ISTIOD: "1x30",
            series("pilot_total_xds_internal_errors", **TARGET): "_x26 3x10",
            series("pilot_proxy_convergence_time_bucket", le="10.0", **TARGET): "0+9x30",
            series("pilot_proxy_convergence_time_bucket", le="+Inf", **TARGET): "0+10x30",
            series("citadel_server_root_cert_expiry_timestamp", **TARGET): "9000x30",
            series("zipkin_collector_spans_total", **TARGET): "0+5x20 100x10",
            series("envoy_server_live", **TARGET): "1x25 stale",
            series("envoy_cluster_upstream_cx_overflow", cluster_name=cluster, **TARGET): "_x26 2x10",
            series(
                "envoy_cluster_outlier_detection_ejections_active", cluster_name=cluster, **TARGET
            ): "1x30",
        }
        verdicts = [v for name in PRESETS for v in BUILDERS[name](of, Guardrail(name, _limit(name))).verdicts]
        queries = [
            (f"round({text}, 1e-6)", 28) for v in verdicts for text in (v.signal.record, v.signal.live)
        ]
        found = answers(of, raw, *queries)
        plain = [[(_own(labels), value) for labels, value in samples] for samples in found]
        assert plain[::2] == plain[1::2]
        assert {v.name: samples[0][1] for v, samples in zip(verdicts, plain[::2], strict=True)} == {
            "certificates": 9000 - 28 * 60,
            "control-plane": 10,
            "control-plane-pushes": 3,
            "ejections": 1,
            "overflow": 2,
            "telemetry-gap": 180,
            "trace-gap": 480,
        }


def _limit(preset: str) -> Decimal | None:
    limit = GUARDRAIL_PRESETS[preset].limit
    return limit.default if limit else None


def _own(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in ("__name__", "slo_set")}


class TestControlPlane:
    OF = slo_set("control-plane")

    def test_a_counters_first_errors_count_and_a_restart_counts_none_twice(self) -> None:
        raw = {
            UP: "1x60",
            ISTIOD: "1x60",
            series("pilot_total_xds_internal_errors", **TARGET): "_x8 4x11 1x40",
        }
        errors = values(self.OF, raw, "istiod:push_errors:increase5m", 7, 8, 12, 13, 20, 26)
        assert errors == [0, 4, 4, 0, 1, 0]

    def test_failed_pushes_and_internal_errors_of_two_revisions_add_up(self) -> None:
        other = TARGET | {"instance": "10.0.0.2:15014", "pod": "istiod-canary-1"}
        raw = {
            UP: "1x20",
            series("up", **other): "1x20",
            ISTIOD: "1x20",
            series("pilot_total_xds_internal_errors", **TARGET): "_x8 1x20",
            series("pilot_total_xds_internal_errors", **other): "_x8 2x20",
            series("pilot_xds_pushes", type="cds_senderr", **other): "_x8 4x20",
            series("pilot_xds_pushes", type="eds_builderr", **TARGET): "_x8 8x20",
            series("pilot_xds_pushes", type="cds", **TARGET): "0+16x20",
        }
        assert values(self.OF, raw, "istiod:push_errors:increase5m", 8) == [15]
        assert values(self.OF, raw, "istiod:pushes:increase5m", 8) == [80]

    def test_a_scrape_gap_makes_no_errors(self) -> None:
        raw = {
            UP: "1x5 0x10 1x20",
            ISTIOD: "1x5 stale _x9 1x20",
            series("pilot_total_xds_internal_errors", **TARGET): "900x5 stale _x9 900x20",
        }
        errors = values(self.OF, raw, "istiod:push_errors:increase5m", 4, 15, 16, 20, 30)
        assert all(value in (0, None) for value in errors)
        assert errors[-1] == 0

    def test_without_istiod_there_is_no_zero(self) -> None:
        raw = {UP: "1x5"}
        assert values(self.OF, raw, "istiod:push_errors:increase5m", 5) == [None]
        assert values(self.OF, raw, "istiod:convergence_seconds:p99", 5) == [None]

    def test_one_of_two_istiods_is_enough(self) -> None:
        other = series("istio_build", component="pilot", **(TARGET | {"pod": "istiod-2"}))
        raw = {ISTIOD: "1x4 stale", other: "1x30"}
        assert firing(self.OF, raw, "IstiodDown", 8, 20) == [False, False]

    def test_istiod_whose_build_is_dropped_is_not_down_and_a_proxy_is_no_istiod(self) -> None:
        proxy = series("istio_build", component="proxy", **pod(1))
        assert firing(self.OF, {series("pilot_xds", **TARGET): "5x30"}, "IstiodDown", 20) == [False]
        assert firing(self.OF, {proxy: "1x30"}, "IstiodDown", 1, 2) == [False, True]

    def test_a_restart_within_two_minutes_is_not_down(self) -> None:
        assert firing(self.OF, {ISTIOD: "1x4 stale _x1 1x20"}, "IstiodDown", 5, 6, 7, 8) == [False] * 4

    def test_gauges_of_rejects_stand_in_for_the_missing_total(self) -> None:
        raw = {
            UP: "1x20",
            ISTIOD: "1x20",
            series("pilot_xds_cds_reject", node="a", err="x", **TARGET): "_x8 1x20",
            series("pilot_xds_lds_reject", node="a", err="x", **TARGET): "_x8 2x20",
        }
        assert values(self.OF, raw, "istiod:rejects:increase5m", 7, 8, 13) == [0, 3, 0]
        total = {series("pilot_total_xds_rejects", **TARGET): "_x8 7x20"}
        assert values(self.OF, raw | total, "istiod:rejects:increase5m", 8) == [7]

    @pytest.mark.parametrize("le", ["10", "10.0"])
    @pytest.mark.parametrize(("slow", "fires"), [(1, False), (2, True)])
    def test_more_than_a_hundredth_over_a_bound_is_slow(self, le: str, slow: int, fires: bool) -> None:
        """Of a hundred changes a minute."""
        bucket = "pilot_proxy_convergence_time_bucket"
        raw = {UP: "1x30", ISTIOD: "1x30"} | {
            series(bucket, le=bound, **TARGET): f"0+{count}x30"
            for bound, count in (("5", 50), (le, 100 - slow), ("20", 100), ("+Inf", 100))
        }
        assert firing(self.OF, raw, "IstiodConvergenceSlow", 10, 11, 30) == [False, fires, fires]

    def test_a_mixture_of_both_notations_during_an_upgrade_of_prometheus(self) -> None:
        bucket = "pilot_proxy_convergence_time_bucket"
        raw = {UP: "1x30", ISTIOD: "1x30"} | {
            series(bucket, le=le, **TARGET): values
            for le, values in {
                "10": "0+100x10 stale",
                "10.0": "_x11 1100+100x20",
                "+Inf": "0+100x30",
            }.items()
        }
        assert firing(self.OF, raw, "IstiodConvergenceSlow", 20, 30) == [False, False]


class TestCertificates:
    OF = slo_set("certificates")

    @pytest.mark.parametrize("unknown", ["-1", "0"])
    def test_a_time_that_istiod_does_not_know_is_no_data(self, unknown: str) -> None:
        raw = {series("citadel_server_root_cert_expiry_timestamp", **TARGET): f"{unknown}x30"}
        assert values(self.OF, raw, "istiod:certificate:seconds_left", 5) == [None]
        assert firing(self.OF, raw, "RootCertificateExpiringSoon", 30) == [False]

    def test_the_worst_istiod_counts_and_older_releases_say_seconds(self) -> None:
        other = TARGET | {"pod": "istiod-2"}
        name = "citadel_server_root_cert_expiry"
        raw = {
            series(f"{name}_timestamp", **TARGET): "90000000x30",
            series(f"{name}_timestamp", **other): "5000000x30",
            series("citadel_server_cert_chain_expiry_seconds", **other): "-50x30",
        }
        found = answers(self.OF, raw, ("istiod:certificate:seconds_left", 10))[0]
        assert sorted((labels["certificate"], value) for labels, value in found) == [
            ("root", 5000000 - 600),
            ("signing", -50),
        ]
        assert firing(self.OF, raw, "RootCertificateExpiringSoon", 15, 16) == [True, True]

    @pytest.mark.parametrize(
        ("left", "fires"),
        [
            ("-5000-60x40", True),
            ("-1x40", False),
            ("0x40", False),
            ("86400-60x40", False),
            ("40000x5 100-60x40", True),
            ("3600-60x29 3600-60x20", False),
        ],
        ids=["expired", "unknown", "unknown-0", "a-day", "not-renewed", "lives-an-hour"],
    )
    def test_workloads(self, left: str, fires: bool) -> None:
        raw = {series("istio_agent_cert_expiry_seconds", namespace="shop", **pod(1)): left}
        assert any(firing(self.OF, raw, "WorkloadCertificateExpiring", 16, 25, 35)) == fires

    @pytest.mark.parametrize(
        ("days", "fires"),
        [
            ("2147483647x40", False),
            ("0x40", False),
            ("1x40", False),
            ("30x2 3x40", True),
            ("30x2 20x40", False),
        ],
    )
    def test_days_of_envoy(self, days: str, fires: bool) -> None:
        raw = {
            series("envoy_server_days_until_first_cert_expiring", namespace="istio-system", **pod(1)): days,
            series("envoy_server_days_until_first_cert_expiring", namespace="istio-system", **pod(2)): "0x40",
        }
        assert firing(self.OF, raw, "GatewayCertificateExpiring", 30) == [fires]


class TestTelemetryGap:
    OF = slo_set("telemetry-gap", backend="jaeger")
    REQUESTS = "istio_requests_total"

    def test_total_loss_and_return(self) -> None:
        raw = {series(self.REQUESTS, **pod(1)): "0+5x9 stale _x19 90+5x20"}
        assert values(self.OF, raw, "mesh:telemetry_gap:seconds", 9, 10, 29, 30) == [0, 60, 1200, 0]
        assert firing(self.OF, raw, "MeshTelemetryLost", 15, 16, 29, 30) == [False, True, True, False]

    def test_what_never_was_is_not_lost(self) -> None:
        assert values(self.OF, {UP: "1x60"}, "mesh:telemetry_gap:seconds", 60) == [None]
        assert firing(self.OF, {UP: "1x60"}, "MeshTelemetryLost", 30, 60) == [False, False]

    def test_a_namespace_scaled_to_zero_is_no_gap(self) -> None:
        raw = {
            series("up", **pod(1)): "1x9 stale",
            series("up", **pod(2)): "1x60",
            series(self.REQUESTS, **pod(1)): "0+5x9 stale",
            series(self.REQUESTS, **pod(2)): "0+5x60",
        }
        assert values(self.OF, raw, "mesh:telemetry_gap:seconds", 40) == [0]
        assert values(self.OF, raw, "mesh:failing_scrapes:ratio", 40) == [0]

    def test_proxies_without_any_traffic_are_there(self) -> None:
        raw = {series("envoy_server_live", **pod(1)): "1x60"}
        assert values(self.OF, raw, "mesh:telemetry_gap:seconds", 40) == [0]

    def test_one_of_four_targets_fails_and_targets_without_a_proxy_do_not_count(self) -> None:
        raw = {series("up", job="other", instance="x"): "0x60"}
        for number in range(1, 5):
            raw[series("up", **pod(number))] = "1x9 0x50" if number == 1 else "1x60"
            raw[series(self.REQUESTS, **pod(number))] = "0+5x9 stale" if number == 1 else "0+5x60"
        assert values(self.OF, raw, "mesh:failing_scrapes:ratio", 9, 10, 40) == [0, 0.25, 0.25]
        assert firing(self.OF, raw, "ProxyScrapesFailing", 14, 15) == [False, True]

    @pytest.mark.parametrize(
        "metric",
        [
            "jaeger_collector_spans_received_total",
            "otelcol_receiver_accepted_spans_total",
            "otelcol_receiver_accepted_spans",
        ],
    )
    def test_spans_stop_or_their_backend_is_gone(self, metric: str) -> None:
        backend = pod(1, "jaeger")
        stops = {series("up", **backend): "1x40", series(metric, **backend): "0+5x9 45x30"}
        gone = {series("up", **backend): "1x9 0x30", series(metric, **backend): "0+5x9 stale"}
        for raw in (stops, gone):
            assert firing(self.OF, raw, "TraceTelemetryLost", 15, 16, 39) == [False, True, True]

    def test_where_there_were_no_spans_none_are_lost(self) -> None:
        raw = {UP: "1x60", series("jaeger_collector_spans_received_total", **TARGET): "7x60"}
        assert firing(self.OF, raw, "TraceTelemetryLost", 10, 60) == [False, False]

    def test_a_collector_that_restarts_refuses_nothing(self) -> None:
        name = "otelcol_exporter_send_failed_spans"
        raw = {UP: "1x60", series(name, **TARGET): "900x9 0x50"}
        assert values(self.OF, raw, "traces:refused_spans:increase5m", 9, 10, 20) == [0, 0, 0]


class TestCircuitBreakers:
    CLUSTER = "outbound|8080|v1|payments.shop.svc.cluster.local"

    def test_an_ejection_between_two_scrapes(self) -> None:
        raw = {
            UP: "1x40",
            series(
                "envoy_cluster_outlier_detection_ejections_active", cluster_name=self.CLUSTER, **TARGET
            ): "0x40",
            series(
                "envoy_cluster_outlier_detection_ejections_enforced_total",
                cluster_name=self.CLUSTER,
                **TARGET,
            ): "0x9 1x30",
        }
        of = slo_set("ejections")
        assert firing(of, raw, "CircuitBreakerEjecting", 9, 10, 11, 14, 30) == [
            False,
            False,
            True,
            True,
            False,
        ]

    def test_a_host_that_stays_out_is_seen_by_the_gauge_alone(self) -> None:
        name = "envoy_cluster_outlier_detection_ejections_active"
        raw = {
            UP: "1x40",
            series(name, cluster_name=self.CLUSTER, namespace="web", **TARGET): "2x40",
            series(name, cluster_name=self.CLUSTER.replace("v1", ""), **pod(2)): "1x40",
        }
        [found] = answers(slo_set("ejections"), raw, ("service:ejections:max5m", 20))
        assert [(_own(labels), value) for labels, value in found] == [
            ({"namespace": "shop", "service": "payments"}, 2)
        ]

    @pytest.mark.parametrize("mode", ["sidecar", "ambient"])
    def test_requests_flagged_uo_need_no_inclusion_list(self, mode: str) -> None:
        of = slo_set("overflow", mesh=Mesh("ambient" if mode == "ambient" else "sidecar"))
        labels = {
            "reporter": "waypoint" if mode == "ambient" else "source",
            "destination_service_name": "payments",
            "destination_service_namespace": "shop",
        }
        raw = {
            UP: "1x40",
            series("istio_requests_total", response_flags="UO", **labels, **TARGET): "_x8 3x40",
            series("istio_requests_total", response_flags="URX,UO", **labels, **TARGET): "_x8 2x40",
            series("istio_requests_total", response_flags="UOX", **labels, **TARGET): "_x8 9x40",
        }
        assert values(of, raw, "service:overflow:increase5m", 8, 12, 13) == [5, 5, 0]
        assert firing(of, raw, "PendingQueueOverflow", 8, 9, 12) == [False, True, True]

    def test_cluster_names(self) -> None:
        names = {
            "outbound|8080|v1|payments.shop.svc.cluster.local": ("shop", "payments"),
            "outbound|8080||payments.shop.svc.cluster.local;": ("shop", "payments"),
            "outbound|80|v-1.2|cart.shop.svc.corp.example": ("shop", "cart"),
            "outbound|80||cart.ns-2.svc": ("ns-2", "cart"),
            "outbound_.80_.v1_.cart.ns-3.svc.cluster.local": ("ns-3", "cart"),
            "outbound_.80_._.cart.ns-4.svc.cluster.local": ("ns-4", "cart"),
            "inbound-vip|80|http|cart.ns-5.svc.cluster.local": ("ns-5", "cart"),
            "outbound|443||svc.svc.svc.cluster.local": ("svc", "svc"),
            "outbound|443||api.stripe.com": ("", "api.stripe.com"),
            "outbound|443||*.wild.example": ("", "*.wild.example"),
            "outbound|443||a.b.svcx.example": ("", "a.b.svcx.example"),
            'outbound|443||"quo\\ted$1"': ("", '"quo\\ted$1"'),
            "inbound|80||": None,
            "xds-grpc": None,
            "x outbound|80||a.b.svc.c": None,
            "outbound|80|a.b.svc.c": None,
        }
        raw = {
            series("m", cluster_name=name, namespace="of-the-pod", service="of-the-pod", pod=f"p{i}"): "1x3"
            for i, name in enumerate(names)
        }
        found = answers(
            slo_set("watchdog"),
            raw,
            (cluster_service(selector("m", [outbound()])), 1),
            (f"count({selector('m', [outbound(('shop', 'ns-2', 'ns-5'))])})", 1),
            (f"count({selector('m', [outbound(('sh', 'n.*'))])})", 1),
        )
        services = {
            (labels.get("namespace", ""), labels["service"]) for labels, _ in found[0] if "service" in labels
        }
        assert services == {place for place in names.values() if place}
        assert [samples[0][1] if samples else 0 for samples in found[1:]] == [5, 0]


class TestJobs:
    SUCCESS = "sloctl_job_last_success_timestamp_seconds"
    OF = slo_set("jobs", jobs=(Job("slis", every=300),))

    def test_a_job_that_never_ran_is_missed_after_its_interval(self) -> None:
        assert firing(self.OF, {UP: "1x30"}, "JobNotRun", 5, 9, 10, 30) == [False, False, True, True]

    def test_a_job_that_stops_is_missed_after_two(self) -> None:
        raw = {series(self.SUCCESS, slo_set="shop", sloctl_job="slis"): "0+60x10 600x30"}
        assert firing(self.OF, raw, "JobNotRun", 25, 26) == [False, True]

    def test_either_source_suffices(self) -> None:
        name = naming.cron_job("shop", "slis")
        raw = {
            series(self.SUCCESS, slo_set="shop", sloctl_job="slis"): "0x40",
            series(own.SUCCESSFUL, cronjob=name, namespace="slo", **pod(1)): "0+60x40",
        }
        assert firing(self.OF, raw, "JobNotRun", 30, 40) == [False, False]

    def test_a_metric_that_was_away_for_a_moment_is_not_never(self) -> None:
        raw = {series(self.SUCCESS, slo_set="shop", sloctl_job="slis"): "0+60x20 stale _x5 1620+60x20"}
        assert firing(self.OF, raw, "JobNotRun", 22, 26, 30) == [False] * 3

    def test_other_jobs_and_sets_do_not_stand_in(self) -> None:
        raw = {
            series(self.SUCCESS, slo_set="other", sloctl_job="slis"): "0+60x40",
            series(self.SUCCESS, slo_set="shop", sloctl_job="report"): "0+60x40",
        }
        assert firing(self.OF, raw, "JobNotRun", 30) == [True]

    @pytest.mark.parametrize(
        ("line", "days"),
        [
            ("* * * * *", Decimal(1) / 1440),
            ("*/7 * * * *", Decimal(7) / 1440),
            ("0 9 * * 1", 7),
            ("0 9 * * mon-fri", 3),
            ("0 9,17 * * *", Decimal(16) / 24),
            ("30 2 1 * *", 31),
            ("0 0 31 * *", 61),
            ("0 0 29 2 *", 8 * 365 + 1),
            ("0 0 1 jan,jul *", 184),
            ("0 0 * * 0,6", 6),
            ("59 23 31 12 *", 366),
        ],
    )
    def test_the_longest_pause_of_a_cron_line(self, line: str, days: Decimal | int) -> None:
        assert longest_pause(line) == round(days * 86400)


class TestRealScrapes:
    """Healthy moments of real meshes, as if they had stayed: nothing may fire but what is really so."""

    LINE = re.compile(
        r"((?:istio_|pilot_|citadel_|sidecar_|envoy_server_|envoy_cluster_|kube_)\w*)(\{.*\})? (\S+)$"
    )

    def load(self, file: str, target: Mapping[str, str]) -> dict[str, str]:
        path = SCRAPES / file
        if not path.exists():
            pytest.skip(f"there is no {path.name} beside the repository")
        extra = ",".join(f'{name}="{value}"' for name, value in target.items())
        raw = {series("up", **target): "1x40"}
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := self.LINE.match(line):
                inner = re.sub(
                    r"\b(pod|job|instance)=", r"exported_\1=", (match[2] or "{}")[1:-1].rstrip(",")
                )
                value = match[3].replace("NaN", "_").replace("+Inf", "_")
                text = value if value == "_" else f"{float(value):.0f}"
                raw[f"{match[1]}{{{f'{inner},' if inner else ''}{extra}}}"] = f"{text}x40"
        assert len(raw) > 20
        return raw

    @pytest.mark.parametrize(
        ("file", "firing"),
        [
            ("istiod-1.5_15014.prom", set()),
            ("istio-1.1_pilot.prom", set()),
            ("istio-1.5_sidecar_15090.prom", {"IstiodDown"}),
            ("istio-1.6plus_merged_15020.prom", {"IstiodDown"}),
            ("envoy_front-proxy_9901_stats_prometheus.prom", {"IstiodDown"}),
            ("ksm_v2_gke.prom", {"IstiodDown"}),
        ],
    )
    def test_nothing_else_fires(self, file: str, firing: set[str]) -> None:
        presets = [preset for preset in PRESETS if preset not in ("jobs", "watchdog")]
        of = slo_set(*presets, backend="zipkin")
        [found] = answers(of, self.load(file, TARGET), ('ALERTS{alertstate="firing"}', 40))
        assert {labels["alertname"] for labels, _ in found} == firing

    def test_what_istiod_tells(self) -> None:
        raw = self.load("istiod-1.5_15014.prom", TARGET)
        of = slo_set("control-plane", "certificates")
        assert values(of, raw, "istiod:instances:count", 20) == [1]
        assert values(of, raw, "istiod:push_errors:increase5m", 20) == [0]
        assert values(of, raw, "istiod:rejects:increase5m", 20) == [0]
        assert values(of, raw, "istiod:certificate:seconds_left", 20) == [1900963606 - 1200]
