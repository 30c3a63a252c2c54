"""Writes the routes of an SLO set as an Alertmanager configuration or as an AlertmanagerConfig object.

Owns how both spell routes, receivers and secrets. Secrets are references only: a key of a Kubernetes Secret for the
operator, the file that such a key is mounted as for a plain configuration (Alertmanager 0.25 or later). Texts of the
SLO file must not be run as templates, nor end a matcher early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from alert_rules.alertmanager import texts
from alert_rules.alertmanager.routes import NOBODY, Inhibition, Route, inhibitions, receivers, tree
from alert_rules.burn_alerts import literal
from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import HEADER, Format, object_metadata
from sloctl.model import Matcher, SloSet
from sloctl.model.alerting import Notifications, Receiver, SecretKey
from sloctl.model.durations import duration

KEYS = {"teams": "msteamsv2"}
"""What Alertmanager calls a kind of receivers, where it is not the file's word."""
OPSGENIE = {"us": "https://api.opsgenie.com/", "eu": "https://api.eu.opsgenie.com/"}


def generate(slo_set: SloSet, form: Format) -> Iterator[tuple[str, str]]:
    """Path below the output folder and content of the configuration; nothing without ``notifications``."""
    if slo_set.notifications is None:
        return
    if form == "operator":
        yield f"alertmanager/{naming.slug(slo_set.name)}.yaml", _operator(slo_set, slo_set.notifications)
    else:
        yield "alertmanager/alertmanager.yaml", _plain(slo_set, slo_set.notifications)


def _comment(*paragraphs: str) -> str:
    return "\n".join((HEADER, *paragraphs, "Inhibitions, in their order:"))


def _reasons(rules: tuple[Inhibition, ...]) -> str:
    return "\n".join(f"- {rule.reason}" for rule in rules)


def _plain(slo_set: SloSet, notifications: Notifications) -> str:
    rules = inhibitions(slo_set.name)
    # Alerts of others must not be taken for ours, and the root route matches them all.
    root = Route((), NOBODY, routes=(tree(slo_set.name, notifications),))
    document: yaml.YamlMapping = {
        "route": _route(root),
        "inhibit_rules": [
            {
                "source_matchers": [_matcher(matcher) for matcher in rule.source],
                "target_matchers": [_matcher(matcher) for matcher in rule.target],
                "equal": rule.equal,
            }
            for rule in rules
        ],
        "receivers": [
            _plain_receiver(name, receiver, resolved, notifications.secrets_folder)
            for name, receiver, resolved in receivers(notifications, root)
        ],
    }
    foreign = f"Alerts of others end at {NOBODY}, which tells nobody: put your own routes beside this one."
    return yaml.yaml(document, comment=f"{_comment(foreign)}\n{_reasons(rules)}")


def _operator(slo_set: SloSet, notifications: Notifications) -> str:
    rules = inhibitions(slo_set.name)
    root = tree(slo_set.name, notifications)
    document: yaml.YamlMapping = {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": object_metadata(slo_set, naming.slug(slo_set.name)),
        "spec": {
            "route": _operator_route(root),
            "inhibitRules": [
                {
                    "sourceMatch": [_operator_matcher(matcher) for matcher in rule.source],
                    "targetMatch": [_operator_matcher(matcher) for matcher in rule.target],
                    "equal": rule.equal,
                }
                for rule in rules
            ],
            "receivers": [
                _operator_receiver(name, receiver, resolved)
                for name, receiver, resolved in receivers(notifications, root)
            ],
        },
    }
    strategy = (
        "Needs alertmanagerConfigMatcherStrategy: {type: None} in the Alertmanager object; otherwise the operator\n"
        "adds a matcher for the namespace of this object, and only alerts of that namespace are routed."
    )
    return yaml.yaml(document, comment=f"{_comment(strategy)}\n{_reasons(rules)}")


def _matcher(matcher: Matcher) -> str:
    """A matcher as Alertmanager's classic parser and its newer one read alike.

    Both know three escapes; the classic one takes any other, such as ``\\u200b``, for a backslash and letters.
    """
    value = matcher.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{matcher.label}{matcher.op}"{value}"'


def _operator_matcher(matcher: Matcher) -> yaml.YamlMapping:
    """The operator quotes the value itself."""
    return {"name": matcher.label, "value": matcher.value, "matchType": matcher.op}


def _route(route: Route) -> yaml.YamlMapping:
    """What is inherited is left out."""
    node: yaml.YamlMapping = {}
    if route.matchers:
        node["matchers"] = [_matcher(matcher) for matcher in route.matchers]
    if route.receiver:
        node["receiver"] = route.receiver
    if route.group_by:
        node["group_by"] = route.group_by
    for key in ("group_wait", "group_interval", "repeat_interval"):
        seconds: int | None = getattr(route, key)
        if seconds is not None:
            node[key] = duration(seconds)
    if route.routes:
        node["routes"] = [_route(child) for child in route.routes]
    return node


def _operator_route(route: Route) -> yaml.YamlMapping:
    node = {_camel(key): value for key, value in _route(route).items()}
    node["matchers"] = [_operator_matcher(matcher) for matcher in route.matchers]
    if route.routes:
        node["routes"] = [_operator_route(child) for child in route.routes]
    return node


def _camel(key: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), key)


def _plain_receiver(name: str, receiver: Receiver | None, resolved: bool, folder: str) -> yaml.YamlMapping:
    if receiver is None:
        return {"name": name}

    def file(secret: SecretKey | None) -> str:
        return f"{folder}/{secret.name}/{secret.key}" if secret else ""

    config: yaml.YamlMapping = {"send_resolved": resolved}
    if receiver.kind == "slack":
        config["api_url_file"] = file(receiver.secret)
        config |= _slack(receiver)
    elif receiver.kind == "pagerduty":
        config["routing_key_file"] = file(receiver.secret)
        config |= texts.pagerduty()
        config["details"] = texts.pagerduty_details()
        config["links"] = [{"href": href, "text": title} for title, href in texts.pagerduty_links()]
    elif receiver.kind == "email":
        config |= {"to": receiver.to, "from": receiver.sender, "smarthost": receiver.smarthost}
        if receiver.secret:
            config |= {
                "auth_username": receiver.username,
                "auth_password_file": file(receiver.secret),
            }
        config |= {"headers": {"Subject": texts.email_subject()}, "html": "", **texts.email()}
    elif receiver.kind == "opsgenie":
        config |= {"api_key_file": file(receiver.secret), "api_url": OPSGENIE[receiver.region]}
        config |= {**texts.opsgenie(), "details": texts.opsgenie_details()}
    elif receiver.kind == "teams":
        config |= {"webhook_url_file": file(receiver.secret), **texts.teams()}
    else:
        config["url"] = _address(receiver.url)
        if receiver.secret:
            config["http_config"] = _bearer("credentials_file", file(receiver.secret))
    return {"name": name, f"{KEYS.get(receiver.kind, receiver.kind)}_configs": [config]}


def _operator_receiver(name: str, receiver: Receiver | None, resolved: bool) -> yaml.YamlMapping:
    if receiver is None:
        return {"name": name}

    def selector(secret: SecretKey | None) -> Mapping[str, yaml.YamlValue]:
        return {"name": secret.name, "key": secret.key} if secret else {}

    config: yaml.YamlMapping = {"sendResolved": resolved}
    if receiver.kind == "slack":
        config["apiURL"] = selector(receiver.secret)
        config |= _slack(receiver)
    elif receiver.kind == "pagerduty":
        config["routingKey"] = selector(receiver.secret)
        config |= texts.pagerduty()
        config["details"] = [{"key": key, "value": text} for key, text in texts.pagerduty_details().items()]
        config["pagerDutyLinkConfigs"] = [
            {"href": href, "alt": title} for title, href in texts.pagerduty_links()
        ]
    elif receiver.kind == "email":
        config |= {"to": receiver.to, "from": receiver.sender, "smarthost": receiver.smarthost}
        if receiver.secret:
            config |= {"authUsername": receiver.username, "authPassword": selector(receiver.secret)}
        config |= {
            "headers": [{"key": "Subject", "value": texts.email_subject()}],
            "html": "",
            **texts.email(),
        }
    elif receiver.kind == "opsgenie":
        config |= {"apiKey": selector(receiver.secret), "apiURL": OPSGENIE[receiver.region]}
        config |= texts.opsgenie()
        config["details"] = [{"key": key, "value": text} for key, text in texts.opsgenie_details().items()]
    elif receiver.kind == "teams":
        config |= {"webhookURL": selector(receiver.secret), **texts.teams()}
    else:
        config["url"] = _address(receiver.url)
        if receiver.secret:
            config["httpConfig"] = _bearer("credentials", selector(receiver.secret))
    return {"name": name, f"{KEYS.get(receiver.kind, receiver.kind)}Configs": [config]}


def _slack(receiver: Receiver) -> yaml.YamlMapping:
    return {"channel": literal(receiver.channel), **texts.slack()}


def _bearer(key: str, credentials: yaml.YamlValue) -> yaml.YamlMapping:
    return {"authorization": {"type": "Bearer", key: credentials}}


def _address(url: str) -> str:
    """An address in which no version of Alertmanager finds a template; the braces mean the same encoded."""
    return url.replace("{{", "%7B%7B")
