"""What real Alertmanagers send with generated configurations: groups, repetitions, texts, secrets from files."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alert_rules.alertmanager import texts
from sloctl.model.alerting import Notifications, Receiver, Routing, SecretKey
from tests.support.alertmanager import (
    CART,
    CHECKOUT,
    PATIENCE,
    WATCHDOG,
    burn,
    generated,
    health,
    running_alertmanager,
)
from tests.support.faulty_server import FaultyServer, Handler, status


class Sink:
    """A server that keeps what it is sent, by path."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[tuple[str, Any, Mapping[str, str]]] = queue.Queue()
        self.server = FaultyServer(self._keep)

    def _keep(self, handler: Handler) -> None:
        received = handler.received
        self.arrived.put((received.path, json.loads(received.body), received.headers))
        status(200, '{"status":"success"}', kind="application/json")(handler)

    def next(self) -> tuple[str, Any, Mapping[str, str]]:
        return self.arrived.get(timeout=PATIENCE)

    def groups(self, count: int) -> dict[tuple[str, str], list[str]]:
        """The next webhook notifications: path and group labels, and the names of their alerts."""
        found = {}
        for _ in range(count):
            path, body, _ = self.next()
            labels = ",".join(f"{key}={value}" for key, value in sorted(body["groupLabels"].items()))
            found[path, labels] = sorted(alert["labels"]["alertname"] for alert in body["alerts"])
        return found


def secret(folder: Path, name: str, content: str) -> SecretKey:
    (folder / "secrets" / "alerting").mkdir(parents=True, exist_ok=True)
    (folder / "secrets" / "alerting" / name).write_text(content)
    return SecretKey("alerting", name)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    with sink.server:
        yield sink


def just_now() -> str:
    return (datetime.now(UTC) - timedelta(seconds=1)).isoformat()


def hook(sink: Sink, name: str) -> Receiver:
    return Receiver(name, "webhook", url=f"{sink.server.url}/{name}")


def test_notifications(sink: Sink, tmp_path: Path) -> None:
    """One notification per service, its ticket muted; alerts of no service by guardrail; owners; a token."""
    token = secret(tmp_path, "token", "s3cret\n")
    beat = Receiver("beat", "webhook", url=f"{sink.server.url}/beat", secret=token)
    notifications = Notifications(
        (hook(sink, "pager"), hook(sink, "chat"), hook(sink, "owner"), beat),
        Routing("pager", "chat"),
        (("team-a", Routing("owner", "")),),
        "beat",
        group_wait=1,
        group_interval=1,
        secrets_folder=str(tmp_path / "secrets"),
    )
    with running_alertmanager(generated(notifications)) as running:
        running.post(WATCHDOG)
        path, body, headers = sink.next()
        assert (path, body["receiver"]) == ("/beat", "beat/watchdog")
        assert headers["Authorization"] == "Bearer s3cret"
        running.post(
            burn("page", "availability", CHECKOUT),
            burn("page", "latency", CHECKOUT, "6h"),
            burn("ticket", "availability", CHECKOUT, "3d"),
            health("ServiceErrorsCritical", "page", "service-errors", "proxies", CHECKOUT),
            burn("page", "availability", CART, owner="team-a"),
            burn("ticket", "availability", CART, "3d", owner="team-a", slo_id="another"),
            health("PushErrors", "ticket", "control-plane", "istiod"),
            health("PushesSlow", "ticket", "control-plane", "istiod"),
            health("RootCertificateExpires", "ticket", "certificates", "istiod"),
            {"alertname": "NodeDown", "severity": "page", "service": "checkout"},
        )
        shop, control = "namespace=shop,service={},slo_set=shop", "guardrail={},slo_set=shop"
        assert sink.groups(5) == {
            ("/pager", shop.format("checkout")): [
                "AvailabilityBudgetBurnPage1h",
                "LatencyBudgetBurnPage6h",
                "ServiceErrorsCritical",
            ],
            ("/owner", shop.format("cart")): ["AvailabilityBudgetBurnPage1h"],
            ("/chat", "alertname=AvailabilityBudgetBurnTicket3d,owner=team-a,slo_set=shop"): [
                "AvailabilityBudgetBurnTicket3d"
            ],
            ("/chat", control.format("control-plane")): ["PushErrors", "PushesSlow"],
            ("/chat", control.format("certificates")): ["RootCertificateExpires"],
        }
        # A last group waits as long as the others did: what had not been sent before it, was muted.
        running.post(burn("ticket", "availability", {"namespace": "pay", "service": "bank"}, "3d"))
        last = ("/chat", "alertname=AvailabilityBudgetBurnTicket3d,slo_set=shop")
        assert sink.groups(1) == {last: ["AvailabilityBudgetBurnTicket3d"]}
        running.post(burn("page", "availability", CART, owner="team-a"), ends=just_now())
        path, body, _ = sink.next()
        assert (path, body["status"]) == ("/owner", "resolved")


def test_dead_mans_switch(sink: Sink) -> None:
    """It is repeated for as long as the alert fires, and nothing is sent when the alert ends."""
    notifications = Notifications(
        (hook(sink, "chat"), hook(sink, "beat")),
        Routing("chat", "chat"),
        watchdog="beat",
        group_wait=3,
        repeat_watchdog=4,
    )
    with running_alertmanager(generated(notifications)) as running:
        running.post(WATCHDOG)
        for _ in range(2):
            path, body, _ = sink.next()
            assert (path, body["status"]) == ("/beat", "firing")
        # The end would be sent within a second, the ticket is sent after three.
        running.post(WATCHDOG, ends=just_now())
        running.post(burn("ticket", "availability", CHECKOUT))
        assert sink.next()[0] == "/chat"


HOSTILE = 'x"> <!channel> <https://evil.example|Runbook> & {{ .Status }} `*'
ANNOTATIONS = {
    "summary": f"checkout: {HOSTILE}",
    "now": f"2% of requests failed {HOSTILE}",
    "cause": f"Most of it: 7 times {HOSTILE}",
    "description": f"first line {HOSTILE}\nsecond line",
    "runbook_url": "https://runbooks.example.org/a?b=1&c=2|<x>",
    "dashboard_url": "https://grafana.example.org/d/x",
    "traces_url": "https://traces.example.org/search?service=checkout.shop",
    "explain_url": "https://slo.example.org/explain?service=checkout&last=1h&at=1772366400",
}


def test_slack(sink: Sink, tmp_path: Path) -> None:
    """No text makes a mention, a link or a template, be it a label, an annotation or the channel's name."""
    address = secret(tmp_path, "slack", f"{sink.server.url}/slack\n")
    chat = Receiver("chat", "slack", channel="#{{.Status}}", secret=address)
    notifications = Notifications(
        (chat,),
        Routing("chat", "chat"),
        group_wait=1,
        group_interval=1,
        secrets_folder=str(tmp_path / "secrets"),
    )
    with running_alertmanager(generated(notifications)) as running:
        evil = {"namespace": "shop", "service": HOSTILE}
        running.post(burn("page", "availability", evil, owner=HOSTILE), annotations=ANNOTATIONS)
        _, body, _ = sink.next()
        escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert body["channel"] == "#{{.Status}}"
        (message,) = body["attachments"]
        assert message["color"] == "danger"
        assert message["title"] == message["fallback"] == f"[FIRING:1] page: {escaped} in shop"
        assert message["text"].strip() == (
            f"*checkout: {escaped}*\n2% of requests failed {escaped}\nMost of it: 7 times {escaped}\n"
            f"first line {escaped}\nsecond line\n"
            f"AvailabilityBudgetBurnPage1h, owner {escaped}"
            " · <https://slo.example.org/explain?service=checkout&amp;last=1h&amp;at=1772366400|Explain>"
            " · <https://runbooks.example.org/a?b=1&amp;c=2%7C%3Cx%3E|Runbook>"
            " · <https://grafana.example.org/d/x|Dashboard>"
            " · <https://traces.example.org/search?service=checkout.shop|Traces>"
        )
        evil_page = burn("page", "availability", evil, owner=HOSTILE)
        running.post(evil_page, annotations=ANNOTATIONS, ends=just_now())
        (message,) = sink.next()[1]["attachments"]
        assert (message["color"], message["title"]) == ("good", f"[RESOLVED] page: {escaped} in shop")
        assert f"*checkout: {escaped}* (resolved)" in message["text"]

        many = [health("PushErrors", "ticket", "control-plane", "istiod", number=str(n)) for n in range(12)]
        running.post(*many)
        (message,) = sink.next()[1]["attachments"]
        assert (message["color"], message["title"]) == ("warning", "[FIRING:12] ticket: control-plane")
        assert message["text"].count("*PushErrors*") == 10
        assert message["text"].endswith("12 alerts in all")


def test_tickets_of_many_services_are_one_message_and_pages_stay_apart(sink: Sink, tmp_path: Path) -> None:
    address = secret(tmp_path, "slack", f"{sink.server.url}/slack\n")
    notifications = Notifications(
        (Receiver("chat", "slack", channel="#a", secret=address),),
        Routing("chat", "chat"),
        group_wait=1,
        group_interval=1,
        secrets_folder=str(tmp_path / "secrets"),
    )
    services = [{"namespace": "shop", "service": f"s<{number:03}>"} for number in range(230)]
    with running_alertmanager(generated(notifications)) as running:
        running.post(*(burn("ticket", "availability", where, "3d", owner="team-a") for where in services))
        (message,) = sink.next()[1]["attachments"]
        assert message["title"] == "[FIRING:230] ticket: AvailabilityBudgetBurnTicket3d"
        named = set(re.findall(r"s&lt;(\d+)&gt;", message["text"]))
        assert len(named) == 60 and message["text"].endswith("230 alerts in all")
        running.post(*(burn("page", "latency", where, owner="team-a") for where in services[:2]))
        titles = sorted(sink.next()[1]["attachments"][0]["title"] for _ in range(2))
        assert titles == [f"[FIRING:1] page: s&lt;{number:03}&gt; in shop" for number in range(2)]
        # What had been sent besides would have come before.
        running.post(burn("ticket", "another", CHECKOUT))
        assert "AnotherBudgetBurnTicket1h" in sink.next()[1]["attachments"][0]["text"]


def test_pagerduty(sink: Sink, tmp_path: Path) -> None:
    key = secret(tmp_path, "pagerduty", "r0uting-key\n")
    pager = Receiver("pager", "pagerduty", secret=key)
    notifications = Notifications(
        (pager,),
        Routing("pager", "pager"),
        group_wait=1,
        group_interval=1,
        secrets_folder=str(tmp_path / "secrets"),
    )
    # The address is PagerDuty's own unless the global section says otherwise.
    text = f"global: {{pagerduty_url: '{sink.server.url}/v2/enqueue'}}\n{generated(notifications)}"
    with running_alertmanager(text) as running:
        running.post(
            burn("page", "availability", CHECKOUT, owner="team-a"),
            burn("page", "latency", CHECKOUT, owner="team-a"),
            annotations=ANNOTATIONS,
        )
        _, event, _ = sink.next()
        assert (event["routing_key"], event["event_action"]) == ("r0uting-key", "trigger")
        payload = event["payload"]
        assert payload["summary"] == f"{ANNOTATIONS['summary']} (2 alerts)"
        assert payload["severity"] == "critical"
        assert payload["class"] == "AvailabilityBudgetBurnPage1h"
        assert (payload["component"], payload["group"]) == ("checkout", "shop")
        details = payload["custom_details"]
        assert details["owner"] == "team-a"
        for value in ANNOTATIONS.values():
            assert value in details["firing"]
        assert {link["text"]: link["href"] for link in event["links"]} == {
            "Runbook": ANNOTATIONS["runbook_url"],
            "Dashboard": ANNOTATIONS["dashboard_url"],
            "Traces": ANNOTATIONS["traces_url"],
            "Explain": ANNOTATIONS["explain_url"],
        }
        running.post(health("PushErrors", "ticket", "control-plane", "istiod"))
        _, event, _ = sink.next()
        payload = event["payload"]
        assert (payload["summary"], payload["severity"]) == ("PushErrors", "warning")
        assert (payload["component"], payload["group"]) == ("control-plane", "shop")
        assert not event.get("links")


def test_opsgenie(sink: Sink, tmp_path: Path) -> None:
    """Its key comes from a file, and its description is what an e-mail says too."""
    key = secret(tmp_path, "opsgenie", "g3nie")
    notifications = Notifications(
        (Receiver("genie", "opsgenie", secret=key, region="eu"),),
        Routing("genie", "genie"),
        group_wait=1,
        group_interval=1,
        secrets_folder=str(tmp_path / "secrets"),
    )
    text = generated(notifications)
    assert "https://api.eu.opsgenie.com/" in text
    with running_alertmanager(text.replace("https://api.eu.opsgenie.com/", f"{sink.server.url}/")) as running:
        running.post(burn("page", "availability", CHECKOUT, owner="team-a"), annotations=ANNOTATIONS)
        path, alert, headers = sink.next()
        assert (path, headers["Authorization"]) == ("/v2/alerts", "GenieKey g3nie")
        assert (alert["message"], alert["priority"]) == (ANNOTATIONS["summary"], "P1")
        for value in ANNOTATIONS.values():
            assert value in alert["description"]
        assert alert["details"]["owner"] == "team-a"
        assert alert["details"]["runbook"] == ANNOTATIONS["runbook_url"]
        assert alert["tags"] == ["page", "shop"]


def test_texts_for_teams(sink: Sink, tmp_path: Path) -> None:
    """What Markdown reads is taken out of names. Old Alertmanagers know no Teams: here Slack is sent its texts."""
    address = secret(tmp_path, "slack", f"{sink.server.url}/slack")
    config = {
        "route": {"receiver": "card", "group_wait": "1s"},
        "receivers": [
            {
                "name": "card",
                "slack_configs": [
                    {"api_url_file": str(tmp_path / "secrets" / address.name / address.key), **texts.teams()}
                ],
            }
        ],
    }
    with running_alertmanager(json.dumps(config)) as running:
        hostile = ANNOTATIONS | {"summary": "**[click](https://evil.example)** <at>all</at>"}
        running.post(burn("page", "availability", CHECKOUT), annotations=hostile)
        (card,) = sink.next()[1]["attachments"]
        assert "click" in card["text"] and "[click]" not in card["text"] and "<at>" not in card["text"]
        assert f"[Dashboard]({ANNOTATIONS['dashboard_url']})" in card["text"]
        assert "[Runbook](https://runbooks.example.org/a?b=1&c=2|x)" in card["text"]
        assert "2% of requests failed" in card["text"]
