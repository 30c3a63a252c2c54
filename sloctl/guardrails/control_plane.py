"""M5 and F2: is istiod there, do its changes reach the proxies, and do they take them.

Metrics are istiod's own (pilot/pkg/xds/monitoring.go, pkg/xds/monitoring.go, pkg/kube/inject/monitoring.go of
istio/istio), and those of its Deployments from kube-state-metrics. Bursts during deploys are normal: what does not
last makes no alert.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Minutes, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import RecordedQueries, counted, raw_signal, selected, signal
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number

WINDOW = 300
BUCKETS = tuple(Decimal(bound) for bound in ("0.1", "0.5", "1", "3", "5", "10", "20", "30"))
"""Upper bounds of ``pilot_proxy_convergence_time`` in seconds (1.5 and later)."""
CONVERGENCE = "pilot_proxy_convergence_time"
CONVERGENCE_BUCKET = f"{CONVERGENCE}_bucket"
SLOW = 0.01
FAILED_PUSH = ".+_(senderr|builderr)"
REJECT_GAUGES = ("cds", "eds", "lds", "rds")
"""Where releases count rejections by proxy and error only; what they call gauges only ever rises."""


def configuration_changes(slo_set: SloSet, seconds: int) -> str:
    """What istiod counted as changes of its configuration in some seconds, by ``type`` and ``event``."""
    return f"sum by (type, event) (increase({selected(slo_set, 'pilot_k8s_cfg_events')}[{seconds}s])) > 0.5"


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``control-plane``."""
    assert guardrail.limit is not None
    present = instances(slo_set)
    pushes = raw_signal(
        "istiod:pushes:increase5m",
        f"sum (\n{_counted(slo_set, 'pilot_xds_pushes', Matcher('type', '!~', FAILED_PUSH))}\n)",
    )
    errors = _total(slo_set, "istiod:push_errors:increase5m", present, _push_errors(slo_set))
    rejects = _total(slo_set, "istiod:rejects:increase5m", present, _rejects(slo_set))
    injections = _total(
        slo_set,
        "istiod:injection_failures:increase5m",
        present,
        f"sum (\n{_counted(slo_set, 'sidecar_injection_failure_total')}\n)",
    )
    # Without changes there is nothing to tell, and the quantile of nothing is NaN, which no comparison keeps.
    p99 = raw_signal(
        "istiod:convergence_seconds:p99",
        f"histogram_quantile(\n  {1 - SLOW},\n  sum by (le) (\n"
        f"{promql.indent(_counted(slo_set, CONVERGENCE_BUCKET), 4)}\n  )\n) >= 0"
        + _or_native(slo_set, f"histogram_quantile({1 - SLOW}, {{}})"),
    )
    signals = [present, pushes, errors, rejects, injections, p99]
    limit = guardrail.limit
    condition = f"{RecordedQueries(slo_set).read(p99)} > {number(limit)}"
    if limit in BUCKETS:
        native = f"1 - histogram_fraction(-Inf, {number(limit)}, {{}})"
        slow = raw_signal(
            "istiod:convergence_slow:ratio5m", _slow(slo_set, limit) + _or_native(slo_set, native)
        )
        signals.append(slow)
        condition = (
            f"{RecordedQueries(slo_set).read(p99)} >= {number(limit)}\nand on ()\n"
            f"  {RecordedQueries(slo_set).read(slow)} > {SLOW}"
        )
    alerts = (
        _down(slo_set),
        _not_ready(slo_set),
        _events(
            slo_set,
            "IstiodPushErrors",
            errors,
            samples.series("pilot_total_xds_internal_errors"),
            300,
            "istiod failed to build or send configuration {value} times in five minutes",
            "Proxies keep what they had: new endpoints, routes and certificates may not reach them. It has gone on for "
            "longer than a restart or a deploy explains.",
            "M5",
        ),
        _events(
            slo_set,
            "IstiodConfigRejected",
            rejects,
            samples.series("pilot_total_xds_rejects"),
            60,
            "Proxies rejected configuration {value} times in five minutes",
            "A proxy that rejects a push runs on its previous configuration until the resource is corrected.",
            "F5",
        ),
        _convergence(slo_set, condition, limit),
        _events(
            slo_set,
            "SidecarInjectionFailing",
            injections,
            samples.series("sidecar_injection_failure_total"),
            60,
            "Injection of proxies failed {value} times in five minutes",
            "Pods that are created now start without a proxy, or not at all.",
            "F2",
        ),
    )
    verdicts = (
        Verdict("control-plane", p99, float(limit), "max", "seconds"),
        Verdict("control-plane-pushes", errors, 0.0, "max", "errors"),
    )
    return Plan("control-plane", tuple(signals), verdicts, alerts)


def _alive(slo_set: SloSet) -> str:
    """Series that each istiod exposes, whatever its release, and also if ``istio_build`` is dropped on its way."""
    build = selected(slo_set, "istio_build", Matcher("component", "=", "pilot"))
    return f"{build} or {selected(slo_set, 'pilot_xds')} or {selected(slo_set, 'pilot_info')}"


def instances(slo_set: SloSet) -> Signal:
    """How many istiods are scraped."""
    on = promql.names(slo_set.mesh.target_labels)
    return raw_signal("istiod:instances:count", f"count(group by ({on}) ({_alive(slo_set)}))")


def _counted(slo_set: SloSet, metric: str, *matchers: Matcher) -> str:
    return counted(slo_set, selected(slo_set, metric, *matchers), WINDOW)


def _total(slo_set: SloSet, record: str, present: Signal, expr: str) -> Signal:
    """A count over all istiods: 0 where they are scraped without the counter, which comes with its first event."""
    return signal(slo_set, record, lambda q: f"{expr}\nor on ()\n  0 * {q.read(present)}")


def _push_errors(slo_set: SloSet) -> str:
    internal = _counted(slo_set, "pilot_total_xds_internal_errors")
    failed = _counted(slo_set, "pilot_xds_pushes", Matcher("type", "=~", FAILED_PUSH))
    return f"sum (\n{internal}\nor\n{failed}\n)"


def _rejects(slo_set: SloSet) -> str:
    total = _counted(slo_set, "pilot_total_xds_rejects")
    # Summed first: the series may have a label of that name.
    kinds = "\nor\n".join(
        promql.labelled(f"sum (\n{_counted(slo_set, f'pilot_xds_{kind}_reject')}\n)", "type", kind)
        for kind in REJECT_GAUGES
    )
    return f"sum (\n{total}\n)\nor\nsum (\n{kinds}\n) >= 0"


def _or_native(slo_set: SloSet, form: str) -> str:
    """What stands in for buckets that istiod has not: the text ``form`` of its native histograms' sum.

    Its histograms need not be of the proxies' kind: these have a scrape configuration of their own.
    """
    if slo_set.mesh.histograms != "native":
        return ""
    everything = f"sum (increase({selected(slo_set, CONVERGENCE)}[{WINDOW // 60}m]))"
    return f"\nor\n({form.format(everything)}) >= 0"


def _slow(slo_set: SloSet, limit: Decimal) -> str:
    """The exact share of changes that took longer than ``limit``, a bound; Prometheus 3 writes 10 as 10.0."""
    text = number(limit)
    bounds = text if "." in text else f"{text}|{text}.0"
    fast = _counted(slo_set, CONVERGENCE_BUCKET, Matcher("le", "=~", bounds.replace(".", "[.]")))
    total = _counted(slo_set, CONVERGENCE_BUCKET, Matcher("le", "=", "+Inf"))
    # The difference of counts is exact, that of 1 and a ratio is not.
    return f"(sum (\n{total}\n) - sum (\n{fast}\n))\n/ (sum (\n{total}\n) > 0)"


def _down(slo_set: SloSet) -> HealthAlert:
    build = samples.series("istio_build", component="pilot", tag="1.24.0")
    return HealthAlert(
        name=naming.ISTIOD_DOWN,
        # A union has no labels that absent() could pass on: the alert is the same for every mesh.
        expr=f"absent({_alive(slo_set)})",
        for_=120,
        severity="page",
        summary="No istiod is scraped: the mesh has no control plane",
        description=(
            "Proxies keep their last configuration, but no new pod gets a proxy, no change arrives, and workload "
            "certificates are not renewed: they last a day at most."
        ),
        telemetry="none",
        failure_mode="F2",
        proof=Proof(
            inputs={build: "1x4 stale _x9 1x20"},
            fires=7,
            labels={},
            calm={build: "1x30"},
            silent=(2, 7, 30),
            value=1,
            resolved=15,
        ),
    )


def _not_ready(slo_set: SloSet) -> HealthAlert:
    metric = "kube_deployment_status_replicas_unavailable"
    series = samples.series(metric, namespace="istio-system", deployment="istiod-1-24")
    raw = selected(slo_set, metric, Matcher("deployment", "=~", "istiod(-.+)?"))
    return HealthAlert(
        name="IstiodNotReady",
        expr=f"max by (namespace, deployment) ({raw}) > 0",
        for_=600,
        keep_firing_for=300,
        severity="ticket",
        summary="{label:deployment}: {value} replicas are not available",
        description=(
            "Replicas of {label:deployment} in {label:namespace} have not been ready for ten minutes; "
            "the others carry all proxies."
        ),
        telemetry="kubernetes",
        failure_mode="F2",
        proof=Proof(
            inputs={series: "0x4 1x15 0x20"},
            fires=15,
            labels={"namespace": "istio-system", "deployment": "istiod-1-24"},
            calm={series: "0x4 2x8 0x30"},
            silent=(15, 40),
            value=1,
            lasts=22,
            resolved=30,
        ),
    )


def _events(
    slo_set: SloSet,
    name: str,
    source: Signal,
    series: str,
    seconds: int,
    summary: str,
    description: str,
    failure_mode: str,
) -> HealthAlert:
    """A ticket for events that still happen after ``seconds``; the proof's counter appears with its first ones."""
    fires = 5 + seconds // 60
    gained = {5: 2 * (fires - 4)} if seconds < WINDOW else {5: 10}
    once = "_x5 3x40" if seconds >= WINDOW else "0x45"
    return HealthAlert(
        name=name,
        expr=f"{RecordedQueries(slo_set).read(source)} > 0",
        for_=seconds,
        keep_firing_for=900,
        severity="ticket",
        summary=summary,
        description=description,
        telemetry="istiod",
        failure_mode=failure_mode,
        proof=Proof(
            inputs={series: "_x5 2+2x10 22x40"},
            fires=fires,
            labels={},
            calm={series: once},
            silent=(6, 10, 11, 40),
            value=gained[5],
        ),
    )


def _convergence(slo_set: SloSet, condition: str, limit: Decimal) -> HealthAlert:
    def pushes(fast: int, slow: int) -> Minutes:
        """Changes a minute within 0.1 s, and above every bound: above any limit that there can be."""
        if slo_set.mesh.histograms == "native":
            return {
                samples.series(CONVERGENCE, pod=pod): samples.histograms(
                    samples.rising(count), BUCKETS, within
                )
                for pod, count, within in (("fast", fast, 0), ("slow", slow, len(BUCKETS)))
                if count
            }
        counts = {number(bound): fast for bound in BUCKETS} | {"+Inf": fast + slow}
        return {
            samples.series(CONVERGENCE_BUCKET, le=le): samples.rising(count) for le, count in counts.items()
        }

    return HealthAlert(
        name="IstiodConvergenceSlow",
        expr=condition,
        for_=600,
        keep_firing_for=600,
        severity="ticket",
        summary="Changes take {value} s to reach the proxies (99th percentile)",
        description=(
            f"Over {number(limit)} s for ten minutes: endpoints of pods that are gone still get traffic, and rollouts "
            "and certificates lag behind."
        ),
        telemetry="istiod",
        failure_mode="M5",
        proof=Proof(
            inputs=pushes(0, 10),
            fires=11,
            labels={},
            calm=pushes(1000, 1),
            silent=(11, 30, 60),
            value=float(BUCKETS[-1]),
        ),
    )
