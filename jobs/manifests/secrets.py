"""What of Secrets a pod reads: as files, which follow a Secret that is renewed, and where there is no other way as
variables.

Only references are handled here, never a secret itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sloctl.artefacts import yaml
from sloctl.model.alerting import SecretKey
from sloctl.model.kubernetes import KubernetesSettings, Login
from sloctl.settings.servers import ALERTMANAGER, PROMETHEUS, TRACES

FOLDER = "/etc/sloctl/secrets"
VOLUME = "secrets"
READABLE = 0o440
"""Readable for the user and its group only; ``fsGroup`` makes that group the pod's."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A key of a Secret or a ConfigMap as a file; ``variable`` tells its path to sloctl."""

    variable: str
    key: SecretKey
    source: str = "secret"

    @property
    def file(self) -> str:
        """The file's name: that of the variable, so that no two are the same."""
        return self.variable.removeprefix("SLOCTL_").removesuffix("_FILE").lower().replace("_", "-")

    @property
    def path(self) -> str:
        """Where the file is in the pod."""
        return f"{FOLDER}/{self.file}"


def mounted(settings: KubernetesSettings, *, posts: bool, pages: bool = False) -> list[Mounted]:
    """The files that a pod needs; those for Slack only if it ``posts``, the readers' token if it serves ``pages``."""
    found = []
    if pages and settings.pages and settings.pages.token:
        found.append(Mounted("SLOCTL_SERVE_TOKEN_FILE", settings.pages.token))
    if settings.ledger.secret:
        found.append(Mounted("SLOCTL_LEDGER_URL_FILE", settings.ledger.secret))
    for prefix, login in _logins(settings):
        found += [
            Mounted(f"{prefix}{name}", key, source)
            for name, key, source in (
                ("TOKEN_FILE", login.token, "secret"),
                ("PASSWORD_FILE", login.password, "secret"),
                ("CA_FILE", login.ca, "secret"),
                ("CA_FILE", login.ca_config_map, "configMap"),
                ("CERT_FILE", login.cert, "secret"),
                ("KEY_FILE", login.key, "secret"),
            )
            if key is not None
        ]
    if posts and settings.slack.token:
        found.append(Mounted("SLOCTL_SLACK_TOKEN_FILE", settings.slack.token))
    if posts and settings.slack.webhook:
        found.append(Mounted("SLOCTL_SLACK_WEBHOOK_FILE", settings.slack.webhook))
    return found


def variables(settings: KubernetesSettings) -> Iterator[yaml.YamlMapping]:
    """The variables that hold what sloctl reads from no file."""
    for prefix, login in _logins(settings):
        for name, key in (("USERNAME", login.username), ("HEADERS", login.headers)):
            if key is not None:
                yield _variable(f"{prefix}{name}", key)
    if settings.otlp.headers:
        yield _variable("OTEL_EXPORTER_OTLP_HEADERS", settings.otlp.headers)


def volume(files: list[Mounted]) -> yaml.YamlMapping:
    """One volume with all files, each of its own Secret or ConfigMap."""
    return {
        "name": VOLUME,
        "projected": {
            "defaultMode": READABLE,
            "sources": [
                {item.source: {"name": item.key.name, "items": [{"key": item.key.key, "path": item.file}]}}
                for item in files
            ],
        },
    }


def _logins(settings: KubernetesSettings) -> tuple[tuple[str, Login], ...]:
    return (
        (PROMETHEUS.prefix, settings.prometheus),
        (TRACES.prefix, settings.traces),
        (ALERTMANAGER.prefix, settings.alertmanager),
    )


def _variable(name: str, key: SecretKey) -> yaml.YamlMapping:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}
