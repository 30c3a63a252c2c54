"""Where real Alertmanagers send what, and what mutes what, with generated configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.artefacts.objects import Format
from sloctl.model.alerting import Notifications, Receiver, Routing
from tests.support.alertmanager import (
    CART,
    CHECKOUT,
    GATEWAY,
    WATCHDOG,
    Alertmanager,
    Labels,
    amtool,
    amtool_version,
    await_true,
    burn,
    generated,
    health,
    receivers_of,
    running_alertmanager,
    translated_text,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "alertmanager"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
FORMS: tuple[Format, ...] = ("prometheus", "operator")


def written(config: str, folder: Path, form: Format) -> Path:
    file = folder / f"{form}.yaml"
    file.write_text(translated_text(config) if form == "operator" else config, encoding="utf-8")
    return file


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_amtool_accepts_it(case: str, form: Format, tmp_path: Path) -> None:
    text = (GOLDEN / case / f"{form}.yaml").read_text(encoding="utf-8")
    if "msteamsv2" in text and amtool_version() < (0, 28):
        pytest.skip("only Alertmanager 0.28 and later know Teams' workflows")
    checked = amtool("check-config", written(text, tmp_path, form))
    assert checked.returncode == 0, checked.stdout + checked.stderr


PAGE, TICKET = burn("page", "availability", CHECKOUT), burn("ticket", "availability", CHECKOUT)
ROUTES: dict[str, tuple[Mapping[str, str], str]] = {
    "watchdog": (WATCHDOG, "heartbeat/watchdog"),
    "watchdog with an owner": (WATCHDOG | {"owner": "team-payments"}, "heartbeat/watchdog"),
    "page": (PAGE, "platform-pager"),
    "ticket": (TICKET, "platform-slack"),
    "page, unknown owner": (PAGE | {"owner": "team-x"}, "platform-pager"),
    "ticket, unknown owner": (TICKET | {"owner": "team-x"}, "platform-slack"),
    "page of an owner": (PAGE | {"owner": "team-payments"}, "payments-pager"),
    "ticket of an owner": (TICKET | {"owner": "team-payments"}, "shop-slack"),
    "page of an owner with tickets only": (PAGE | {"owner": "team-shop"}, "platform-pager"),
    "ticket of an owner with tickets only": (TICKET | {"owner": "team-shop"}, "shop-slack"),
    "no service": (health("IstiodDown", "page", "control-plane", "kubernetes"), "platform-pager"),
    "no service, with an owner": (
        health("RootCertificateExpires", "ticket", "certificates", "istiod", owner="team-payments"),
        "shop-slack",
    ),
    "foreign": ({"alertname": "NodeDown", "severity": "page"}, "sloctl/null"),
    "foreign watchdog": ({"alertname": "Watchdog", "severity": "none"}, "sloctl/null"),
    "another set": (PAGE | {"slo_set": "shop-2"}, "sloctl/null"),
    "an owner that ends the matcher": (PAGE | {"owner": 'team-payments", slo_set="x'}, "platform-pager"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", ROUTES)
def test_routes(case: str, form: Format, tmp_path: Path) -> None:
    labels, receiver = ROUTES[case]
    file = written((GOLDEN / "owners" / f"{form}.yaml").read_text(encoding="utf-8"), tmp_path, form)
    assert receivers_of(file, labels) == [receiver]


@pytest.mark.parametrize("form", FORMS)
def test_routes_of_hostile_owners(form: Format, tmp_path: Path) -> None:
    file = written((GOLDEN / "hostile-text" / f"{form}.yaml").read_text(encoding="utf-8"), tmp_path, form)
    notifications = spec.load([GOLDEN / "hostile-text" / "slo.yaml"]).notifications
    assert notifications is not None
    for owner, routing in notifications.owners:
        for labels, receiver in (
            (PAGE, routing.page or notifications.default.page),
            (TICKET, routing.ticket or notifications.default.ticket),
        ):
            assert receivers_of(file, labels | {"owner": owner}) == [receiver]
    assert receivers_of(file, TICKET | {"owner": "anything"}) == [notifications.default.ticket]


# Inhibition: what fires, what of it is muted, and what is not. Each case has a cluster of its own.

USER_SLO = {key: value for key, value in burn("ticket", "queue", CHECKOUT).items() if key != "telemetry"}
LOST = health("MeshTelemetryLost", "page", "telemetry-gap", "none")
GONE = health("GatewayDown", "page", "gateway-errors", "none", service=GATEWAY["service"])
DOWN = health("IstiodDown", "page", "control-plane", "kubernetes")
INHIBITED: dict[str, tuple[Labels, list[Labels], list[Labels]]] = {
    "a page mutes its ticket": (
        burn("page", "availability", CHECKOUT),
        [burn("ticket", "availability", CHECKOUT, "3d")],
        [
            burn("page", "availability", CHECKOUT, "6h"),
            burn("ticket", "availability", CART, "3d"),
            burn("ticket", "latency", CHECKOUT, "3d"),
            health("ServiceErrors", "ticket", "service-errors", "proxies", CHECKOUT),
            health("RootCertificateExpires", "ticket", "certificates", "istiod"),
        ],
    ),
    "a page of a guardrail mutes its ticket": (
        health("ServiceErrorsCritical", "page", "service-errors", "proxies", CHECKOUT),
        [health("ServiceErrors", "ticket", "service-errors", "proxies", CHECKOUT)],
        [
            health("ServiceErrors", "ticket", "service-errors", "proxies", CART),
            health("ServiceSlow", "ticket", "service-latency", "proxies", CHECKOUT),
            burn("ticket", "availability", CHECKOUT, "3d"),
            USER_SLO,
        ],
    ),
    "a page of a workload mutes its ticket": (
        health(
            "SidecarCrashLooping", "page", "sidecar-restarts", "kubernetes", namespace="shop", workload="a"
        ),
        [
            health(
                "SidecarOutOfMemory",
                "ticket",
                "sidecar-restarts",
                "kubernetes",
                namespace="shop",
                workload="a",
            )
        ],
        [
            health(
                "SidecarOutOfMemory",
                "ticket",
                "sidecar-restarts",
                "kubernetes",
                namespace="shop",
                workload="b",
            ),
            health(
                "SidecarOutOfMemory",
                "ticket",
                "sidecar-restarts",
                "kubernetes",
                namespace="pay",
                workload="a",
            ),
            health(
                "SidecarMemoryHigh",
                "ticket",
                "sidecar-resources",
                "kubernetes",
                namespace="shop",
                workload="a",
            ),
            health("SidecarRestartRateHigh", "ticket", "sidecar-restarts", "kubernetes"),
        ],
    ),
    "a page of a certificate mutes its ticket": (
        health("RootCertificateExpiringSoon", "page", "certificates", "istiod", certificate="root"),
        [health("RootCertificateExpiring", "ticket", "certificates", "istiod", certificate="root")],
        [
            health("RootCertificateExpiring", "ticket", "certificates", "istiod", certificate="chain"),
            health("CertificateSigningFailing", "ticket", "certificates", "istiod", reason="csr_sign"),
        ],
    ),
    "lost telemetry mutes what is computed from it": (
        LOST,
        [
            burn("page", "availability", CHECKOUT),
            burn("ticket", "latency", CART, "3d"),
            health("MtlsMissing", "page", "mtls", "proxies", CHECKOUT),
            health("HostsEjected", "ticket", "ejections", "envoy", CHECKOUT),
        ],
        [
            USER_SLO,
            health("TracesLost", "ticket", "telemetry-gap", "traces"),
            health("PushErrors", "ticket", "control-plane", "istiod"),
            GONE,
            WATCHDOG,
        ],
    ),
    "a gateway that is gone mutes the services": (
        GONE,
        [
            burn("page", "availability", CHECKOUT),
            burn("page", "entry", GATEWAY),
            health("ServiceErrors", "ticket", "service-errors", "proxies", CHECKOUT),
            health("ServiceSlow", "ticket", "service-latency", "proxies", CHECKOUT),
            health("GatewayErrors", "ticket", "gateway-errors", "proxies", GATEWAY),
            health("GatewayOverloaded", "page", "gateway-errors", "envoy", GATEWAY),
        ],
        [
            health("GatewayErrors", "ticket", "gateway-errors", "proxies", GATEWAY | {"service": "other"}),
            health("MtlsMissing", "page", "mtls", "proxies", CHECKOUT),
            health("Misroutes", "ticket", "misroutes", "proxies", CHECKOUT),
            health("HostsEjected", "ticket", "ejections", "envoy", CHECKOUT),
            USER_SLO,
            WATCHDOG,
        ],
    ),
    "istiod that is down mutes its consequences": (
        DOWN,
        [
            health("PushErrors", "ticket", "control-plane", "istiod"),
            health("RootCertificateExpires", "page", "certificates", "istiod"),
        ],
        [
            burn("page", "availability", CHECKOUT),
            health("ServiceErrors", "ticket", "service-errors", "proxies", CHECKOUT),
            health("MtlsMissing", "page", "mtls", "proxies", CHECKOUT),
            WATCHDOG,
        ],
    ),
}


@pytest.fixture(scope="module")
def quiet() -> Iterator[Alertmanager]:
    """An Alertmanager that tells a port on which nothing listens."""
    sink = Receiver("sink", "webhook", url="http://127.0.0.1:1/")
    text = generated(Notifications((sink,), Routing("sink", "sink"), group_wait=3600))
    with running_alertmanager(text) as running:
        yield running


@pytest.mark.parametrize("case", INHIBITED)
def test_inhibitions(case: str, quiet: Alertmanager) -> None:
    source, muted, heard = INHIBITED[case]
    cluster = {"cluster": case}
    elsewhere = [dict(alert) | {"cluster": f"{case}, {n}"} for n, alert in enumerate(muted)]
    other_set = [dict(alert) | cluster | {"slo_set": "other"} for alert in muted]
    quiet.post(*(dict(alert) | cluster for alert in (source, *muted, *heard)), *elsewhere, *other_set)

    def of(alerts: list[Labels], state: bool) -> bool:
        return all((dict(alert) | cluster, state) in quiet.inhibited() for alert in alerts)

    await_true("muted", lambda: of(muted, True))
    assert of([source, *heard], False)
    now = quiet.inhibited()
    assert all((alert, False) in now for alert in [*elsewhere, *other_set])
