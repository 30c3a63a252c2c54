"""The control-plane dashboard: is istiod there, do changes reach the proxies, do certificates last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.grafana import Dashboard
from dashboards.parts import annotation, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import runbook
from dashboards.parts.panels import BAD, GOOD, WARN, Steps, bars, graph, stat
from dashboards.parts.series import Subject

INSTANCES = "istiod:instances:count"
LATER = "these rules have not been evaluated yet, or no istiod is scraped"
FEW: Steps = [(None, GOOD), (1, BAD)]
MONTH = 30 * 86400


def wanted(subject: Subject) -> bool:
    """Whether the file watches the control plane."""
    return bool({"control-plane", "certificates"} & set(subject.guardrails))


def build(subject: Subject) -> Dashboard:
    """The dashboard; no variables but the data source."""
    return dashboard(
        subject.slo_set,
        "control-plane",
        f"{subject.slo_set.name} / Control plane",
        "istiod: is it there, do its changes reach the proxies and are they taken, do certificates last.",
        [
            Section("Is it there?", list(_there(subject))),
            Section("Do changes arrive?", list(_pushes(subject))),
            Section("Do certificates last?", list(_certificates(subject))),
        ],
        variables=variables.sources(subject, traces=False),
        annotations=[annotation.told()],
    )


def summary(subject: Subject) -> list[Any]:
    """What the person on call needs of it."""
    return [*_there(subject), _errors(subject, span=12)] if "control-plane" in subject.guardrails else []


def _there(subject: Subject) -> Iterator[Any]:
    yield stat(
        "istiods",
        "How many istiods are scraped. With none, proxies keep what they have and nothing changes.",
        f"sum({subject.series(INSTANCES)})\nor\nvector(0)",
        unit="none",
        colors=[(None, BAD), (1, GOOD)],
        nothing=LATER,
        links=runbook(subject.slo_set, "IstiodDown"),
    )
    if "control-plane" not in subject.guardrails:
        return
    yield stat(
        "Push errors in 5m",
        "Configuration that istiod failed to build or to send.",
        subject.series("istiod:push_errors:increase5m"),
        unit="none",
        colors=FEW,
        nothing=LATER,
        links=runbook(subject.slo_set, "IstiodPushErrors"),
    )
    yield stat(
        "Rejected in 5m",
        "Configuration that proxies rejected; they run on what they had.",
        subject.series("istiod:rejects:increase5m"),
        unit="none",
        colors=FEW,
        nothing=LATER,
        links=runbook(subject.slo_set, "IstiodConfigRejected"),
    )


def _errors(subject: Subject, span: int = 12) -> Any:
    return graph(
        "What goes wrong",
        "Pushes that failed, configuration that proxies rejected, and pods that got no proxy, each in five minutes.",
        [
            ("push errors", subject.series("istiod:push_errors:increase5m")),
            ("rejected", subject.series("istiod:rejects:increase5m")),
            ("injection failures", subject.series("istiod:injection_failures:increase5m")),
        ],
        unit="none",
        nothing=LATER,
        span=span,
        links=runbook(subject.slo_set, "IstiodPushErrors", "IstiodConfigRejected"),
    )


def _pushes(subject: Subject) -> Iterator[Any]:
    if "control-plane" not in subject.guardrails:
        return
    yield graph(
        "Pushes",
        "Configuration sent to proxies in five minutes. Bursts during deploys are normal; none at all is not.",
        [("pushes", subject.series("istiod:pushes:increase5m"))],
        unit="none",
        nothing="istiod has pushed nothing yet",
    )
    yield _errors(subject)
    target = "{{pod}}" if "pod" in subject.slo_set.mesh.target_labels else "{{instance}}"
    yield graph(
        "How long changes take",
        "The 99th percentile of the time from a change until a proxy has it; nothing is drawn while nothing changes.",
        [("p99", subject.series("istiod:convergence_seconds:p99"))],
        unit="s",
        limits=[(None, GOOD), (subject.limit("control-plane"), BAD)],
        nothing="nothing changed in the time shown",
        links=runbook(subject.slo_set, "IstiodConvergenceSlow"),
    )
    yield graph(
        "Connected proxies",
        "Proxies that each istiod serves.",
        [(target, subject.raw("pilot_xds"))],
        unit="none",
        style="area",
        nothing="no istiod tells: is it scraped (port 15014)?",
    )


def _certificates(subject: Subject) -> Iterator[Any]:
    if "certificates" not in subject.guardrails:
        return
    ends: Steps = [(None, BAD), (MONTH / 4, WARN), (MONTH, GOOD)]
    yield bars(
        "Certificates of istiod",
        "Time until the root certificate and istiod's own chain expire.",
        subject.series("istiod:certificate:seconds_left"),
        unit="s",
        legend="{{certificate}}",
        colors=ends,
        nothing="istiod tells of no certificate: with another authority, watch that one",
    )
    workload, proxy = "mesh:workload_certificate:seconds_left", "mesh:proxy_certificate:days_left"
    yield graph(
        "Certificates of workloads",
        "The shortest time until a proxy's certificate expires, by namespace. They last a day and are renewed at half.",
        [("{{namespace}}", subject.series(workload))],
        unit="s",
        nothing="the proxies' agents expose no expiry: scrape port 15020",
        span=6,
        links=runbook(subject.slo_set, "WorkloadCertificateExpiring"),
    )
    yield graph(
        "Certificates that Envoy holds",
        "Days until the first certificate of a proxy expires that lasts longer than a day: those of gateways.",
        [("{{namespace}}", subject.series(proxy))],
        unit="d",
        nothing="no proxy holds a certificate that lasts longer than a day",
        span=6,
        links=runbook(subject.slo_set, "GatewayCertificateExpiring"),
    )
    yield graph(
        "Certificates not signed",
        "Requests for certificates that istiod refused, in five minutes, by reason.",
        [("{{reason}}", subject.series("istiod:signing_errors:increase5m"))],
        unit="none",
        nothing=LATER,
        links=runbook(subject.slo_set, "CertificateSigningFailing"),
    )
