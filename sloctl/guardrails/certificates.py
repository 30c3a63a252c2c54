"""F1: certificates that expire: the mesh's root, what istiod signs with, and what workloads and gateways present.

istiod reports its own (security/pkg/server/ca/monitoring.go of istio/istio), pilot-agent those of its workload
(security/pkg/nodeagent/cache/monitoring.go), Envoy the first of all that it holds.

How long a certificate lives differs from mesh to mesh, so "not renewed" is judged against its own past: an issuer that
renews at half of the life never lets less than half of it remain; under a quarter, renewal has failed.
"""

from __future__ import annotations

from sloctl import promql
from sloctl.guardrails import control_plane
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import RecordedQueries, counted, in_set, raw_signal, selected, signal
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number

DAY = 86400
SOON = 7 * DAY
HOUR = 3600
WINDOW = 300
LABEL = "certificate"
AUTHORITY = {"root": "citadel_server_root_cert_expiry", "signing": "citadel_server_cert_chain_expiry"}
"""Metrics of istiod without ``_timestamp`` or ``_seconds``, by what the alert calls the certificate."""
AGENT = "istio_agent_cert_expiry_seconds"
ENVOY = "envoy_server_days_until_first_cert_expiring"
FOREVER = 3650
"""Days from which Envoy means that it knows of no certificate (it reports 2147483647)."""
LEFT = 0.25
SIGNING = {
    "authentication": "citadel_server_authentication_failure_count",
    "csr_parsing": "citadel_server_csr_parsing_err_count",
    "csr_sign": "citadel_server_csr_sign_err_count",
    "id_extraction": "citadel_server_id_extraction_err_count",
}


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``certificates``."""
    assert guardrail.limit is not None
    limit = int(guardrail.limit)
    left = raw_signal(
        "istiod:certificate:seconds_left",
        "\nor\n".join(_authority(slo_set, kind, metric) for kind, metric in AUTHORITY.items()),
    )
    # An expired certificate is negative; -1 and 0 are what releases report that have none to look at.
    agent = selected(slo_set, AGENT, Matcher("resource_name", "!=", "ROOTCA"))
    workload = raw_signal(
        "mesh:workload_certificate:seconds_left", f"min by (namespace) ((({agent} != 0) != -1 > -Inf) < Inf)"
    )
    # Under a day is 0, as is everything of a proxy whose own certificate lives a day.
    envoy = raw_signal(
        "mesh:proxy_certificate:days_left",
        f"min by (namespace) (({selected(slo_set, ENVOY)} > 0) < {FOREVER})",
    )
    present = control_plane.instances(slo_set)
    errors = signal(
        slo_set,
        "istiod:signing_errors:increase5m",
        lambda q: "\nor\n".join(
            promql.labelled(
                f"sum (\n{counted(slo_set, selected(slo_set, metric), WINDOW)}\n)\nor on ()\n  0 * {q.read(present)}",
                "reason",
                reason,
            )
            for reason, metric in SIGNING.items()
        ),
    )
    alerts = (
        _root(slo_set, left, limit, "RootCertificateExpiring", "ticket"),
        _root(slo_set, left, min(SOON, limit), "RootCertificateExpiringSoon", "page"),
        _workload(slo_set, workload),
        _gateway(slo_set, envoy),
        _signing(slo_set, errors),
    )
    verdict = Verdict("certificates", left, float(limit), "min", "seconds", (LABEL,))
    return Plan("certificates", (present, left, workload, envoy, errors), (verdict,), alerts)


def _authority(slo_set: SloSet, kind: str, metric: str) -> str:
    """Seconds left, the least of all istiods. A time that istiod could not read is -1, so its rest is far below 0."""
    timestamp = f"min ({selected(slo_set, metric + '_timestamp')} > 0 < Inf) - time()"
    seconds = f"min (({selected(slo_set, metric + '_seconds')} > -1e9 < Inf) != -1)"
    return promql.labelled(f"{timestamp}\nor\n{seconds}", LABEL, kind)


def _root(slo_set: SloSet, left: Signal, limit: int, name: str, severity: str) -> HealthAlert:
    fires = 15
    series = samples.series(f"{AUTHORITY['root']}_timestamp")
    return HealthAlert(
        name=name,
        expr=f"({RecordedQueries(slo_set).read(left)} < {limit}) / {DAY}",
        for_=900,
        severity="page" if severity == "page" else "ticket",
        summary="The mesh's {label:certificate} certificate expires in {value} days",
        description=(
            f"Less than {number(round(limit / DAY, 2))} days are left. When the {{label:certificate}} certificate "
            "expires, every mutual TLS connection of the mesh fails at once, and istiod can sign no new certificate."
        ),
        telemetry="istiod",
        failure_mode="F1",
        proof=Proof(
            inputs={series: f"{limit - 1}x60"},
            fires=fires,
            labels={LABEL: "root"},
            calm={series: f"{limit + 7200}x60"},
            silent=(1, fires, 60),
            value=(limit - 1 - 60 * fires) / DAY,
        ),
    )


def _most(slo_set: SloSet, source: Signal, which: str, reach: str) -> str:
    """The highest (or last) value by namespace, also where the file's labels changed since."""
    return (
        f"max by (namespace) ({which}_over_time({promql.selector(source.record, in_set(slo_set))}[{reach}]))"
    )


def _workload(slo_set: SloSet, left: Signal) -> HealthAlert:
    q = RecordedQueries(slo_set)
    series = samples.series(AGENT, namespace="shop", resource_name="default")
    return HealthAlert(
        name="WorkloadCertificateExpiring",
        expr=(
            f"(\n  {q.read(left)} < {HOUR}\n  and on (namespace)\n"
            f"    {q.read(left)} < on (namespace) {LEFT} * {_most(slo_set, left, 'max', '1d')}\n"
            f"  or\n  {q.read(left)} < 0\n) / 60"
        ),
        for_=600,
        keep_firing_for=300,
        severity="page",
        summary="A workload in {label:namespace} has not renewed its certificate: {value} minutes are left",
        description=(
            "Certificates are renewed at half of their life, so renewal has failed for hours. Once it is over (a "
            "negative number of minutes), its mutual TLS connections fail."
        ),
        telemetry="proxies",
        failure_mode="F1",
        proof=Proof(
            inputs={series: "40000x4 3000-60x40"},
            fires=15,
            labels={"namespace": "shop"},
            calm={series: "1750-60x14 1800-60x29"},
            silent=(15, 25, 40),
            value=(3000 - 60 * 10) / 60,
        ),
    )


def _gateway(slo_set: SloSet, left: Signal) -> HealthAlert:
    series = samples.series(ENVOY, namespace="istio-system")
    return HealthAlert(
        name="GatewayCertificateExpiring",
        # On its last day the signal is gone; for that day its last value stands for it.
        expr=f"{_most(slo_set, left, 'last', '1d')}\n  < {LEFT} * {_most(slo_set, left, 'max', '14d:6h')}",
        for_=900,
        severity="ticket",
        summary="A certificate in {label:namespace} expires in {value} days and has not been renewed",
        description=(
            "The first certificate of an Envoy there has less than a quarter of the time left that it had within the "
            "last two weeks. Clients of that gateway will refuse it."
        ),
        telemetry="envoy",
        failure_mode="F1",
        proof=Proof(
            inputs={series: "30x0 2x60"},
            fires=16,
            labels={"namespace": "istio-system"},
            calm={series: "2147483647x20 0x10 1x29"},
            silent=(16, 30, 59),
            value=2,
        ),
    )


def _signing(slo_set: SloSet, errors: Signal) -> HealthAlert:
    series = samples.series(SIGNING["csr_sign"])
    return HealthAlert(
        name="CertificateSigningFailing",
        expr=f"{RecordedQueries(slo_set).read(errors)} > 0",
        for_=300,
        keep_firing_for=900,
        severity="ticket",
        summary="istiod refuses certificates ({label:reason}): {value} times in five minutes",
        description=(
            "Workloads that ask for a certificate get none, for longer than five minutes. Running ones last until "
            "theirs expires; new ones do not become ready."
        ),
        telemetry="istiod",
        failure_mode="F1",
        proof=Proof(
            inputs={series: "_x5 2+2x10 22x40"},
            fires=10,
            labels={"reason": "csr_sign"},
            calm={series: "_x5 3x40"},
            silent=(6, 10, 11, 40),
            value=10,
        ),
    )
