"""Real Alertmanagers, amtool, and what the operator makes of an AlertmanagerConfig object."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from alert_rules.alertmanager import configuration
from sloctl.demo.programs import find_program
from sloctl.model import SloSet
from sloctl.model.alerting import Notifications
from tests.support.alertmanager_fixture import start_alertmanager
from tests.support.yaml_text import read_yaml

Labels = Mapping[str, str]
PATIENCE = 30.0


SET = {"slo_set": "shop"}
CHECKOUT = {"namespace": "shop", "service": "checkout"}
CART = {"namespace": "shop", "service": "cart"}
GATEWAY = {"namespace": "istio-system", "service": "istio-ingressgateway"}


def burn(severity: str, slo: str, where: Labels, window: str = "1h", **more: str) -> dict[str, str]:
    """The labels of a burn-rate alert."""
    slo_id = f"shop:{where['namespace']}/*/{slo}"
    name = f"{slo.title()}BudgetBurn{severity.title()}{window}"
    labels = {"alertname": name, "slo_id": slo_id, "slo": slo, "severity": severity, "long_window": window}
    return SET | labels | dict(where) | {"telemetry": "proxies"} | more


def health(
    name: str, severity: str, guardrail: str, telemetry: str, where: Labels | None = None, **more: str
) -> dict[str, str]:
    """The labels of a guardrail's alert."""
    labels = {"alertname": name, "severity": severity, "guardrail": guardrail, "telemetry": telemetry}
    return SET | labels | dict(where or {}) | more


WATCHDOG = health("Watchdog", "none", "watchdog", "none")


def generated(notifications: Notifications) -> str:
    """The plain configuration of the set ``shop``."""
    slo_set = SloSet("shop", (), notifications=notifications)
    ((_, text),) = configuration.generate(slo_set, "prometheus")
    return text


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run amtool; the caller judges the result."""
    return subprocess.run(
        [find_program("amtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def amtool_version() -> tuple[int, int]:
    """The first two numbers of amtool's version."""
    done = amtool("--version")
    found = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    assert found is not None, done.stdout + done.stderr
    return int(found[1]), int(found[2])


def receivers_of(config: Path, labels: Labels) -> list[str]:
    """The receivers to which amtool routes an alert with these labels."""
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
    done = amtool("config", "routes", "test", f"--config.file={config}", *pairs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def await_true(what: str, condition: Callable[[], bool]) -> None:
    """Return as soon as ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)


class Alertmanager:
    """The API of a running one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _call(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}", data=data, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, *alerts: Labels, annotations: Labels | None = None, ends: str = "") -> None:
        """Post firing alerts (with ``ends``: those that ended then)."""
        more = {"endsAt": ends} if ends else {}
        self._call(
            "alerts",
            [{"labels": dict(a), "annotations": dict(annotations or {}), **more} for a in alerts],
        )

    def inhibited(self) -> list[tuple[Labels, bool]]:
        """Every active alert, and whether another one mutes it."""
        return [(a["labels"], bool(a["status"]["inhibitedBy"])) for a in self._call("alerts")]


@contextlib.contextmanager
def running_alertmanager(config: str) -> Iterator[Alertmanager]:
    """A real Alertmanager with this configuration."""
    with start_alertmanager(config) as server:
        yield Alertmanager(server.url)


# What the operator (pkg/alertmanager/amcfg.go) makes of the fields of its API (v1alpha1). A field that is not here
# is an error, as it would be for the API server.
_ROUTE = {
    "receiver": "receiver",
    "groupBy": "group_by",
    "groupWait": "group_wait",
    "groupInterval": "group_interval",
    "repeatInterval": "repeat_interval",
}
_SAME = frozenset(
    "channel color title fallback text url description severity class component group to from smarthost html message "
    "source priority tags".split()
)


def translated(document: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that the operator writes for one object, with ``alertmanagerConfigMatcherStrategy: None``.

    Names of receivers are left as they are; secrets are written as ``name/key``.
    """
    assert (document["apiVersion"], document["kind"]) == (
        "monitoring.coreos.com/v1alpha1",
        "AlertmanagerConfig",
    )
    spec = document["spec"]
    assert set(spec) == {"route", "receivers", "inhibitRules"}
    return {
        "route": {"receiver": "sloctl/null", "routes": [_route(spec["route"])]},
        "inhibit_rules": [
            {
                "source_matchers": _matchers(rule["sourceMatch"]),
                "target_matchers": _matchers(rule["targetMatch"]),
                "equal": rule["equal"],
            }
            for rule in spec["inhibitRules"]
        ],
        "receivers": [_receiver(receiver) for receiver in spec["receivers"]],
    }


def translated_text(text: str) -> str:
    """As :func:`translated`, complete with the receiver of other alerts, from YAML to YAML."""
    config = translated(read_yaml(text))
    if all(receiver["name"] != "sloctl/null" for receiver in config["receivers"]):
        config["receivers"].append({"name": "sloctl/null"})
    return yaml.safe_dump(config, sort_keys=False)


def _matchers(items: Sequence[Mapping[str, str]]) -> list[str]:
    out = []
    for item in items:
        assert set(item) == {"name", "value", "matchType"}
        value = item["value"].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        out.append(f'{item["name"]}{item["matchType"]}"{value}"')
    return out


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"matchers": _matchers(route["matchers"])}
    for key, value in route.items():
        if key == "routes":
            out["routes"] = [_route(child) for child in value]
        elif key != "matchers":
            out[_ROUTE[key]] = value
    return out


def _secret(selector: Mapping[str, str]) -> str:
    assert set(selector) == {"name", "key"}
    return f"{selector['name']}/{selector['key']}"


def _receiver(receiver: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {
        "slackConfigs": _slack,
        "pagerdutyConfigs": _pagerduty,
        "emailConfigs": _email,
        "opsgenieConfigs": _opsgenie,
        "msteamsv2Configs": _teams,
        "webhookConfigs": _webhook,
    }
    out: dict[str, Any] = {"name": receiver["name"]}
    for key, configs in receiver.items():
        if key != "name":
            out[f"{key.removesuffix('Configs')}_configs"] = [
                {"send_resolved": config["sendResolved"]} | kinds[key](config) for config in configs
            ]
    return out


def _copied(config: Mapping[str, Any], *special: str) -> dict[str, Any]:
    rest = {key: value for key, value in config.items() if key not in ("sendResolved", *special)}
    assert set(rest) <= _SAME
    return rest


def _slack(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"api_url_file": _secret(config["apiURL"])} | _copied(config, "apiURL")


def _pagerduty(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "routing_key_file": _secret(config["routingKey"]),
        "details": {item["key"]: item["value"] for item in config["details"]},
        "links": [{"href": item["href"], "text": item["alt"]} for item in config["pagerDutyLinkConfigs"]],
    } | _copied(config, "routingKey", "details", "pagerDutyLinkConfigs")


def _email(config: Mapping[str, Any]) -> dict[str, Any]:
    out = _copied(config, "authUsername", "authPassword", "headers")
    if "authPassword" in config:
        out |= {
            "auth_username": config["authUsername"],
            "auth_password_file": _secret(config["authPassword"]),
        }
    return out | {"headers": {item["key"]: item["value"] for item in config["headers"]}}


def _opsgenie(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "api_key_file": _secret(config["apiKey"]),
        "api_url": config["apiURL"],
        "details": {item["key"]: item["value"] for item in config["details"]},
    } | _copied(config, "apiKey", "apiURL", "details")


def _teams(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"webhook_url_file": _secret(config["webhookURL"])} | _copied(config, "webhookURL")


def _webhook(config: Mapping[str, Any]) -> dict[str, Any]:
    out = _copied(config, "httpConfig")
    if "httpConfig" in config:
        authorization = config["httpConfig"]["authorization"]
        assert set(config["httpConfig"]) == {"authorization"}
        assert set(authorization) == {"type", "credentials"}
        credentials = _secret(authorization["credentials"])
        out["http_config"] = {
            "authorization": {"type": authorization["type"], "credentials_file": credentials}
        }
    return out
