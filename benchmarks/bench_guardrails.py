"""What all guardrails cost: the Prometheus that evaluates them, ``sloctl generate``, and ``sloctl report``.

The guardrails' rules are compared with two others on the same server: each guardrail reading raw counters by itself,
over its own windows (the form that reports use where no rules are loaded), and alerts as people write them by hand.
Samples are the server's own count, and times its own. ``python -m benchmarks.bench_guardrails [SERVICES…]``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from alert_rules.health import rule_file
from benchmarks import measure
from benchmarks.bench_generate import generating, written
from benchmarks.bench_report import counted
from benchmarks.history import DAY, Service, constant, recorded, times
from benchmarks.mesh import GATEWAY, HALF_HOUR, HOURS, NAMESPACE_SIZE, RECENT, Mesh
from benchmarks.synthetic import slo_file
from sloctl import naming, spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo.server import PrometheusServer
from sloctl.guardrails.plans import base_labels, plans
from sloctl.guardrails.shared.kinds import Plan, Signal
from sloctl.guardrails.shared.queries import mesh_requests
from sloctl.model import GRID, TILE, SloSet

SIZES = (24, 1000)
SLOS = (10, 1000)
REPORTED = 24
RUNS = 3
PATIENCE = 2.0
"""Seconds of an expression from which on it is measured once."""
SLO_FILE = """apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: bench}
sources:
  traces: {backend: zipkin, url: "http://zipkin:9411"}
jobs:
  - {name: slis, every: 5m}
defaults: {objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{slo}"}
slos:
"""
GUARDRAILS = f"""guardrails:
  - {{preset: service-errors}}
  - {{preset: service-latency, max: 2500ms}}
  - {{preset: gateway-errors, gateways: [{GATEWAY}]}}
  - {{preset: control-plane}}
  - {{preset: certificates}}
  - {{preset: mtls}}
  - {{preset: sidecar-restarts}}
  - {{preset: sidecar-resources}}
  - {{preset: telemetry-gap}}
  - {{preset: retry-amplification, max: 1.5}}
  - {{preset: ejections}}
  - {{preset: overflow}}
  - {{preset: misroutes, versions: {{service-1: [v1]}}}}
  - {{preset: policy-denials}}
  - {{preset: watchdog}}
"""
ONCE = "requests of the mesh, recorded once"
PAST = {
    naming.MESH_REQUESTS: HALF_HOUR,
    "service:envoy": HALF_HOUR,
    "service:policed": HOURS,
    "service:denied": HOURS,
    "mesh:newest": DAY,
    "mesh:sidecar": DAY,
    "mesh:workload_certificate": DAY,
    "mesh:proxy_certificate": DAY,
    "workload:sidecar": DAY,
    "traces:newest": HOURS,
}
"""How far back somebody reads what is recorded, by how its name begins; all else is read of the last minutes."""
BRIEF = ("mesh:sidecar_restarts_per_pod_day", "workload:sidecar_restarts_per_pod_day", "mesh:telemetry_gap")
"""Signals that nothing reads the labels of, and that would read hours of every pod from raw series."""


def by_hand() -> dict[str, tuple[str, ...]]:
    """Alerts as they are usually written: one ratio of rates each, on raw counters."""
    service = "destination_service_namespace, destination_service_name"
    edge = f"source_workload_namespace, source_workload, {service}"
    client, server, proxy = 'reporter="source"', 'reporter="destination"', 'container="istio-proxy"'
    gateway = f'{client},source_workload="{GATEWAY}"'

    def rate(where: str, window: str, by: str = service) -> str:
        return f"sum by ({by}) (rate(istio_requests_total{{{where}}}[{window}]))"

    def share(bad: str, where: str, window: str, by: str = service) -> str:
        return f"{rate(f'{where},{bad}', window, by)} / {rate(where, window, by)}"

    def quantile(metric: str, where: str, by: str) -> str:
        return f"histogram_quantile(0.99, sum by ({by}) (rate({metric}{where}[5m])))"

    failed = 'response_code=~"5.."'
    buckets = "istio_request_duration_milliseconds_bucket"
    errors = ("pilot_total_xds_rejects", "pilot_total_xds_internal_errors", "sidecar_injection_failure_total")
    limit = f"kube_pod_container_resource_limits{{{proxy},resource="
    return {
        "service-errors": (f"{share(failed, client, '5m')} > 0.05", f"{share(failed, client, '2m')} > 0.2"),
        "service-latency": (f"{quantile(buckets, f'{{{client}}}', f'le, {service}')} > 2500",),
        "gateway-errors": (f"{share(failed, gateway, '5m', 'source_workload')} > 0.05",),
        "mtls": (share('connection_security_policy="mutual_tls"', server, "10m") + " < 0.99",),
        "retry-amplification": (f"{rate(server, '30m', edge)} / {rate(client, '30m', edge)} > 1.5",),
        "misroutes": (share('response_flags="NR"', client, "5m", "source_workload") + " > 0.01",),
        "policy-denials": (share('response_code="403"', server, "5m") + " > 0.05",),
        "overflow": ("sum by (cluster_name) (rate(envoy_cluster_upstream_rq_pending_overflow[5m])) > 0",),
        "ejections": ("envoy_cluster_outlier_detection_ejections_active > 0",),
        "sidecar-restarts": (f"increase(kube_pod_container_status_restarts_total{{{proxy}}}[15m]) > 2",),
        "sidecar-resources": (
            f'container_memory_working_set_bytes{{{proxy}}} / on (namespace, pod) {limit}"memory"}} > 0.9',
            f"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{proxy}}}[5m]))"
            f' / on (namespace, pod) {limit}"cpu"}} > 0.9',
        ),
        "control-plane": (
            "absent(pilot_info)",
            quantile("pilot_proxy_convergence_time_bucket", "", "le") + " > 10",
            *(f"sum(increase({metric}[5m])) > 0" for metric in errors),
        ),
        "certificates": (
            "citadel_server_root_cert_expiry_timestamp - time() < 30 * 86400",
            "min by (namespace) (istio_agent_cert_expiry_seconds) < 3600",
        ),
        "telemetry-gap": ("absent(istio_requests_total)", "avg(up) < 0.9"),
    }


@dataclass(frozen=True, slots=True)
class Spent:
    """Samples that an evaluation reads, and the seconds that it takes."""

    samples: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.samples + other.samples, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks a Prometheus about an instant."""

    url: str
    at: int
    runs: int

    def spent(self, exprs: Iterable[str]) -> Spent:
        """What expressions cost, each as the median of some evaluations."""
        return sum(map(self._one, exprs), Spent())

    def _one(self, expr: str) -> Spent:
        taken: list[float] = []
        samples = 0
        while len(taken) < self.runs and not (taken and taken[-1] > PATIENCE):
            stats = self._ask(expr)["stats"]
            samples = stats["samples"]["totalQueryableSamples"]
            taken.append(stats["timings"]["evalTotalTime"])
        return Spent(samples, median(taken))

    def labels(self, expr: str) -> list[dict[str, str]]:
        """The label sets of an expression's result, without the metric's name."""
        found = self._ask(expr)["result"]
        return [{k: v for k, v in one["metric"].items() if k != "__name__"} for one in found]

    def _ask(self, expr: str) -> dict:  # type: ignore[type-arg]
        form = urllib.parse.urlencode({"query": expr, "time": self.at, "stats": "all", "timeout": "300s"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query", form.encode()) as answer:
            return json.load(answer)["data"]  # type: ignore[no-any-return]


def main(sizes: Sequence[int] = SIZES, runs: int = RUNS, slos: Sequence[int] = SLOS) -> None:
    measure.title("Guardrails")
    slo_set = loaded(SLO_FILE + scopes(REPORTED) + GUARDRAILS)
    for size in sizes:
        end = int(time.time()) // GRID * GRID
        with serving(slo_set, Mesh(size, end), runs) as (server, written):
            _rules(slo_set, Reader(server.url, end, runs), size, written)
            if size <= REPORTED:
                _report(server, size, end, runs)
    _generate(slos, runs)


def loaded(text: str) -> SloSet:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / "slo.yaml"
        file.write_text(text, encoding="utf-8")
        return spec.load([file])


def scopes(size: int) -> str:
    """An SLO for every service of each namespace of a mesh."""
    count = -(-size // NAMESPACE_SIZE)
    line = '  - {{name: availability, service: "*", namespace: team-{}, sli: {{preset: availability}}}}\n'
    return "".join(line.format(number) for number in range(count))


@contextmanager
def serving(slo_set: SloSet, mesh: Mesh, runs: int) -> Iterator[tuple[PrometheusServer, int]]:
    """A Prometheus that holds a mesh and what the rules recorded of it; also how many series they write a minute."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        began = time.monotonic()
        samples = backfill(mesh.series(), folder / "data")
        with PrometheusServer(folder, timeout=300) as server:
            found = dict(labels(slo_set, Reader(server.url, mesh.end, runs)))
        once = {tuple(sorted(one.labels.items())): one for one in past(slo_set, found, mesh)}
        samples += backfill(once.values(), folder / "data")
        took = time.monotonic() - began
        print(
            f"\n{mesh.size:,} services: {samples / 1e6:.1f} million samples, built in {took:.0f} s.\n",
            flush=True,
        )
        with PrometheusServer(folder, timeout=300) as server:
            yield server, sum(map(len, found.values()))


def labels(slo_set: SloSet, reader: Reader) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The label sets of each recorded series, as they come out of raw series."""
    compiled = plans(slo_set)
    yield naming.MESH_REQUESTS, reader.labels(mesh_requests(slo_set, base_labels(compiled)))
    for signal in {signal.record: signal for plan in compiled for signal in plan.signals}.values():
        yield signal.record, [{}] if signal.record.startswith(BRIEF) else reader.labels(signal.live)


def past(slo_set: SloSet, found: Mapping[str, list[dict[str, str]]], mesh: Mesh) -> Iterator[SampledSeries]:
    """Recorded series as the rules would have left them, as far back as somebody reads them."""
    for record, sets in found.items():
        span = max((span for name, span in PAST.items() if record.startswith(name)), default=RECENT)
        at = times(mesh.end, span, TILE)
        for one in sets:
            yield constant({"__name__": record, naming.SLO_SET: slo_set.name} | one, at, 1)
    services = [
        Service(workload.name, workload.namespace, ("200", "503"))
        for workload in mesh.workloads()[: REPORTED if mesh.size <= REPORTED else 0]
    ]
    alone = loaded(SLO_FILE + scopes(REPORTED))
    yield from recorded(alone, services, mesh.end, base="destination")


def rules(slo_set: SloSet) -> dict[str, list[str]]:
    """The expressions that one evaluation runs, by guardrail."""
    compiled = plans(slo_set)
    out: dict[str, list[str]] = {ONCE: [mesh_requests(slo_set, base_labels(compiled), TILE)]}
    seen: set[str] = set()
    for plan in compiled:
        out[plan.preset] = [signal.expr for signal in plan.signals if signal.record not in seen]
        out[plan.preset] += [alert.expr for alert in plan.alerts]
        seen |= {signal.record for signal in plan.signals}
    file = rule_file(slo_set)
    assert file is not None
    assert sum(map(len, out.values())) == sum(len(group.rules) for group in file.groups)
    return out


def apart(plan: Plan) -> list[str]:
    """The same guardrail from raw counters alone: what its alerts and verdicts read, each over its own window."""
    texts = [alert.expr for alert in plan.alerts]
    told = {verdict.signal.record for verdict in plan.verdicts}
    read = [s for s in plan.signals if s.record in told or any(_reads(text, s) for text in texts)]
    return [*(signal.live for signal in read), *texts]


def _reads(text: str, signal: Signal) -> bool:
    return f"{signal.record}{{" in text


def _rules(slo_set: SloSet, reader: Reader, size: int, written: int) -> None:
    hand = {preset: reader.spent(exprs) for preset, exprs in by_hand().items()}
    ours = {preset: reader.spent(exprs) for preset, exprs in rules(slo_set).items()}
    reading = {plan.preset: plan for plan in plans(slo_set) if plan.base}
    raw = {preset: reader.spent(apart(plan)) for preset, plan in reading.items()}
    known = sorted(ours, key=lambda name: (name != ONCE, name not in reading, name))
    requests = [name for name in known if name == ONCE or name in reading]

    def total(of: Mapping[str, Spent], names: Iterable[str]) -> Spent:
        return sum((of.get(name, Spent()) for name in names), Spent())

    rows = [_row(name, ours[name], raw.get(name), hand.get(name)) for name in known]
    whole = (total(of, requests) for of in (ours, raw, hand))
    rows.insert(len(requests), _row("**these, which read requests**", *whole))
    rows.append(_row("**all**", total(ours, known), None, total(hand, known)))
    print(f"\n{size:,} services, {written:,} series written; one evaluation:\n")
    measure.table(("", "samples", "time", "each from raw counters", "time", "by hand", "time"), rows)


def _row(name: str, ours: Spent, *others: Spent | None) -> list[str]:
    cells = [name, f"{ours.samples:,}", measure.seconds(ours.seconds)]
    for other in others:
        if not other:
            cells += ["–", "–"]
            continue
        times_ours = other.samples / ours.samples if ours.samples else 0.0
        more = f" ({times_ours:{',.0f' if times_ours >= 10 else '.2g'}} ×)" if times_ours else ""
        cells += [f"{other.samples:,}{more}", measure.seconds(other.seconds)]
    return cells


def _report(server: PrometheusServer, size: int, end: int, runs: int) -> None:
    print(f"\n`sloctl report --format json`, {size} services:\n")
    at = datetime.fromtimestamp(end, UTC).isoformat()
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / "slo.yaml"
        for source in ("rules", "raw"):
            for what, more in (("SLOs alone", ""), ("with all guardrails", GUARDRAILS)):
                file.write_text(SLO_FILE + scopes(size) + more, encoding="utf-8")
                command = [*measure.SLOCTL, "report", "-f", str(file), "--prometheus", server.url, "--at", at]
                command += ["--timeout", "300", "--format", "json", "--source", source]
                measure.run(command, runs=1)
                with counted(server) as spent:
                    cost = measure.run(command, runs=runs)
                verdicts = len(json.loads(cost.stdout).get("guardrails", []))
                rows.append(
                    (
                        f"from {'recorded series' if source == 'rules' else 'raw series'}, {what}",
                        verdicts,
                        f"{spent[0] / runs:.0f}",
                        measure.seconds(cost.wall),
                        measure.seconds(cost.cpu),
                        measure.megabytes(cost.peak),
                        measure.seconds(spent[1] / runs),
                    )
                )
    measure.table(("", "verdicts", "requests", "time", "CPU", "peak memory", "CPU of Prometheus"), rows)


def _generate(slos: Sequence[int], runs: int) -> None:
    print("\n`sloctl generate --only rules --format prometheus`:\n")
    traces = 'sources:\n  traces: {backend: zipkin, url: "http://zipkin:9411"}\n'
    rows = []
    for count in slos:
        rows.append(_generated(f"{count:,} SLOs", slo_file(count), runs))
        rows.append(
            _generated(f"{count:,} SLOs and all guardrails", slo_file(count) + traces + GUARDRAILS, runs)
        )
    measure.table(("", "files", "written", "time", "CPU", "peak memory"), rows)


def _generated(what: str, text: str, runs: int) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        command, out = generating(text, Path(name))
        cost = measure.run(command, runs=runs, before=lambda: shutil.rmtree(out, ignore_errors=True))
        sizes = written(out)
    return (
        what,
        f"{len(sizes):,}",
        f"{sum(sizes) / 1e6:.2f} MB",
        measure.seconds(cost.wall),
        measure.seconds(cost.cpu),
        measure.megabytes(cost.peak),
    )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
