"""Routes, inhibitions, receivers and their secrets, in both forms of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from alert_rules.alertmanager import configuration
from sloctl import naming
from sloctl.artefacts.objects import Format
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model import SloSet
from sloctl.model.alerting import Notifications, Receiver, Routing, SecretKey
from tests.support.yaml_text import read_yaml

PAGER = Receiver("pager", "pagerduty", secret=SecretKey("alerting", "pagerduty"))
CHAT = Receiver("chat", "slack", channel="#alerts", secret=SecretKey("alerting", "slack"))
HOOK = Receiver("hook", "webhook", url="https://hook.example.org/x", secret=SecretKey("alerting", "token"))
OPEN = Receiver("open", "webhook", url="http://sink:8080/")
BASE = Notifications((PAGER, CHAT, HOOK, OPEN), Routing("pager", "chat"))


def text(notifications: Notifications | None = BASE, form: Format = "prometheus", name: str = "shop") -> str:
    ((_, content),) = configuration.generate(SloSet(name, (), notifications=notifications), form)
    return content


def config(notifications: Notifications = BASE, name: str = "shop") -> Any:
    return read_yaml(text(notifications, name=name))


def ours(notifications: Notifications = BASE) -> Any:
    """The one route below the root."""
    (route,) = config(notifications)["route"]["routes"]
    return route


def receivers(notifications: Notifications, form: Format = "prometheus") -> dict[str, Any]:
    document = read_yaml(text(notifications, form))
    return {item["name"]: item for item in document.get("spec", document)["receivers"]}


def leaves(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)
    elif isinstance(node, str):
        yield node


def test_no_notifications_no_file() -> None:
    for form in ("operator", "prometheus"):
        assert list(configuration.generate(SloSet("shop", ()), form)) == []


def test_paths() -> None:
    for form, path in (
        ("operator", "alertmanager/shop.yaml"),
        ("prometheus", "alertmanager/alertmanager.yaml"),
    ):
        files = list(configuration.generate(SloSet("shop", (), notifications=BASE), form))  # type: ignore[arg-type]
        assert [name for name, _ in files] == [path]


def test_alerts_of_others_reach_nobody() -> None:
    document = config()
    assert document["route"]["receiver"] == "sloctl/null"
    assert {"name": "sloctl/null"} in document["receivers"]
    assert [route["matchers"] for route in document["route"]["routes"]] == [['slo_set="shop"']]


def test_order_of_receivers_does_not_matter() -> None:
    assert text(replace(BASE, receivers=BASE.receivers[::-1])) == text()


def test_only_receivers_that_are_used_are_written() -> None:
    assert set(receivers(BASE)) == {"chat", "pager", "sloctl/null"}


def test_watchdog_comes_first_and_reaches_only_its_receiver() -> None:
    route = ours(replace(BASE, watchdog="chat", repeat_watchdog=300))["routes"][0]
    assert route["matchers"] == [f'alertname="{naming.WATCHDOG}"']
    assert (route["receiver"], route["group_wait"]) == ("chat/watchdog", "0s")


def test_watchdog_without_a_receiver_reaches_nobody() -> None:
    assert ours()["routes"][0]["receiver"] == "sloctl/null"


def test_a_dead_mans_switch_is_not_told_of_the_end() -> None:
    """It would take the message for a sign of life. Its namesake, which gets pages too, is told."""
    found = receivers(replace(BASE, default=Routing("hook", "chat"), watchdog="hook"))
    assert found["hook/watchdog"]["webhook_configs"][0]["send_resolved"] is False
    assert found["hook"]["webhook_configs"][0]["send_resolved"] is True
    same = dict(found["hook"]["webhook_configs"][0], send_resolved=False)
    assert found["hook/watchdog"]["webhook_configs"][0] == same


@pytest.mark.parametrize("repeat", [60, 62, 300, 3600, 86400])
def test_watchdog_is_repeated_on_time(repeat: int) -> None:
    """Once per group_interval it is looked whether repeat_interval has passed since the last message had been sent."""
    route = ours(replace(BASE, watchdog="hook", repeat_watchdog=repeat))["routes"][0]
    look, interval = seconds(route["group_interval"]), seconds(route["repeat_interval"])
    assert look <= interval
    late = look / 10  # how long sending takes
    first = next(count * look for count in range(1, 100) if count * look >= interval + late)
    assert repeat - look < first <= repeat


def seconds(text: str) -> int:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    total, digits = 0, ""
    for char in text:
        if char.isdigit():
            digits += char
        else:
            total, digits = total + int(digits) * units[char], ""
    return total


def test_owners_differ_from_the_default_or_have_no_route() -> None:
    owners = (
        ("team-a", Routing("hook", "")),
        ("team-b", Routing("pager", "open")),
        ("team-c", Routing("", "")),
    )
    _, page, ticket = ours(replace(BASE, owners=owners))["routes"]
    assert [(r["matchers"], r.get("receiver")) for r in page["routes"]] == [
        (['owner="team-a"'], "hook"),
        (['service=""'], None),
    ]
    assert [(r["matchers"], r.get("receiver")) for r in ticket["routes"]] == [
        (['owner="team-b"'], "open"),
        (['service=""'], None),
    ]


def test_groups_are_services_or_else_guardrails_and_tickets_those_of_a_cause() -> None:
    pages, tickets = ["slo_set", "namespace", "service"], ["slo_set", "owner", "alertname"]

    def check(route: Any, inherited: list[str]) -> None:
        group = route.get("group_by", inherited)
        if route["matchers"] == ['service=""']:
            assert group == ["slo_set", "guardrail"]
        elif "severity" in str(route["matchers"]):
            assert group == (tickets if "ticket" in str(route["matchers"]) else pages)
        else:
            assert group in (pages, tickets)
        if "severity" in str(route["matchers"]) or "owner" in str(route["matchers"]):
            assert route["routes"][-1]["matchers"] == ['service=""']
        for child in route.get("routes", []):
            check(child, group)

    check(ours(replace(BASE, owners=(("team-a", Routing("hook", "hook")),))), [])


def test_times() -> None:
    route = ours(
        replace(
            BASE, group_wait=1, group_interval=90, repeat_page=7200, repeat_ticket=604800, watchdog="hook"
        )
    )
    watchdog, page, ticket = route["routes"]
    assert (route["group_wait"], route["group_interval"]) == ("1s", "1m30s")
    assert (page["repeat_interval"], ticket["repeat_interval"]) == ("2h", "7d")
    assert watchdog["group_wait"] == "0s"


def test_secrets_are_files() -> None:
    found = receivers(
        replace(BASE, owners=(("a", Routing("hook", "open")),), secrets_folder="/run/secrets"), "prometheus"
    )
    assert found["chat"]["slack_configs"][0]["api_url_file"] == "/run/secrets/alerting/slack"
    assert found["pager"]["pagerduty_configs"][0]["routing_key_file"] == "/run/secrets/alerting/pagerduty"
    assert found["hook"]["webhook_configs"][0]["http_config"] == {
        "authorization": {"type": "Bearer", "credentials_file": "/run/secrets/alerting/token"}
    }
    assert found["open"]["webhook_configs"] == [{"send_resolved": True, "url": "http://sink:8080/"}]


def test_secrets_are_selectors_for_the_operator() -> None:
    found = receivers(replace(BASE, owners=(("a", Routing("hook", "open")),)), "operator")
    assert found["chat"]["slackConfigs"][0]["apiURL"] == {"name": "alerting", "key": "slack"}
    assert found["pager"]["pagerdutyConfigs"][0]["routingKey"] == {"name": "alerting", "key": "pagerduty"}
    assert found["hook"]["webhookConfigs"][0]["httpConfig"] == {
        "authorization": {"type": "Bearer", "credentials": {"name": "alerting", "key": "token"}}
    }
    assert found["open"]["webhookConfigs"] == [{"sendResolved": True, "url": "http://sink:8080/"}]


def test_operator_object() -> None:
    document = read_yaml(text(form="operator"))
    assert (document["apiVersion"], document["kind"]) == (
        "monitoring.coreos.com/v1alpha1",
        "AlertmanagerConfig",
    )
    assert document["metadata"]["name"] == "shop"
    assert document["spec"]["route"]["matchers"] == [{"name": "slo_set", "value": "shop", "matchType": "="}]
    assert "alertmanagerConfigMatcherStrategy" in text(form="operator").split("apiVersion")[0]


@pytest.mark.parametrize(
    ("owner", "matcher"),
    [
        ('a "b"', r'owner="a \"b\""'),
        ("back\\slash", r'owner="back\\slash"'),
        ("two\nlines", r'owner="two\nlines"'),
        (", c }", 'owner=", c }"'),
        ("zero\u200bwidth 中", 'owner="zero\u200bwidth 中"'),
        (".*", 'owner=".*"'),
        ("{{ .Status }}", 'owner="{{ .Status }}"'),
    ],
)
def test_owners_are_quoted(owner: str, matcher: str) -> None:
    notifications = replace(BASE, owners=((owner, Routing("hook", "")),))
    assert ours(notifications)["routes"][1]["routes"][0]["matchers"] == [matcher]
    document = read_yaml(text(notifications, "operator"))
    (route,) = document["spec"]["route"]["routes"][1]["routes"][:1]
    assert route["matchers"] == [{"name": "owner", "value": owner, "matchType": "="}]


@pytest.mark.parametrize("form", ["prometheus", "operator"])
def test_texts_of_the_file_are_no_templates(form: Format) -> None:
    chat = replace(CHAT, channel="#{{.Status}}")
    hook = replace(HOOK, url="https://hook.example.org/{{.Status}}")
    found = receivers(replace(BASE, receivers=(chat, hook), default=Routing("chat", "hook")), form)
    assert '#{{ "{{" }}.Status}}' in list(leaves(found["chat"]))
    assert "https://hook.example.org/%7B%7B.Status}}" in list(leaves(found["hook"]))


def test_inhibitions_stay_within_the_set() -> None:
    """Both sides name the set, and what identifies (an SLO, a guardrail) is demanded on both: missing is equal."""
    rules = config(name="it-is-mine")["inhibit_rules"]
    assert rules
    for rule in rules:
        for side in ("source_matchers", "target_matchers"):
            assert rule[side][0] == 'slo_set="it-is-mine"'
        assert rule["equal"][:2] == ["slo_set", "cluster"]
        for label in {"slo_id", "guardrail", "workload", "certificate"} & set(rule["equal"]):
            assert f'{label}=~".+"' in rule["source_matchers"]
            assert f'{label}=~".+"' in rule["target_matchers"]


def test_guardrails_of_inhibitions_exist() -> None:
    matchers = [matcher for rule in config()["inhibit_rules"] for matcher in rule["target_matchers"]]
    values = [matcher.split('"')[1] for matcher in matchers if matcher.startswith("guardrail=~")]
    presets = {name for value in values if value != ".+" for name in value.split("|") if name}
    assert presets
    assert presets <= set(GUARDRAIL_PRESETS)


def test_every_inhibition_is_explained() -> None:
    for form in ("prometheus", "operator"):
        head = [line for line in text(form=form).splitlines() if line.startswith("# - ")]
        assert len(head) == len(config()["inhibit_rules"])
