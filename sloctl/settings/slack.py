"""What the environment says of Slack: a bot's token or a webhook, each a secret.

- ``SLOCTL_SLACK_TOKEN`` or ``SLOCTL_SLACK_TOKEN_FILE``: a bot token; the file is read anew for each request.
- ``SLOCTL_SLACK_WEBHOOK`` or ``SLOCTL_SLACK_WEBHOOK_FILE``: the address of an incoming webhook, in place of a token.
- ``SLOCTL_SLACK_TIMEOUT``: seconds per request, whole answer included; 20 unless given.
- ``SLOCTL_SLACK_API_URL``: the address of Slack's API if it is another one, such as that of a gateway.

``HTTPS_PROXY`` and ``NO_PROXY`` hold as for every program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from sloctl.errors import UsageError
from sloctl.settings.address import loopback
from sloctl.settings.secret import Secret
from sloctl.settings.variables import Variables

PREFIX = "SLOCTL_SLACK_"
API = "https://slack.com/api/"
TIMEOUT = 20.0
HINT = f"set {PREFIX}TOKEN_FILE (a bot's token) or {PREFIX}WEBHOOK_FILE (an incoming webhook's address)"


@dataclass(frozen=True)
class SlackSettings:
    """How to reach Slack: a token or a webhook, never both. ``timeout`` is in seconds."""

    token: Secret | None = None
    webhook: Secret | None = None
    api_url: str = API
    timeout: float = TIMEOUT

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this run. Raises UsageError where there are none, or they cannot be used."""
        env = Variables(PREFIX, environ)
        token, webhook = env.secret("TOKEN"), env.secret("WEBHOOK")
        if token and webhook:
            raise UsageError(f"both {PREFIX}TOKEN and {PREFIX}WEBHOOK are set; use one of them")
        if not token and not webhook:
            raise UsageError("nothing says how to post to Slack", hint=HINT)
        if webhook is not None:
            _checked(webhook.reveal(), f"{PREFIX}WEBHOOK", secret=True)
        api = env.get("API_URL") or API
        _checked(api, f"{PREFIX}API_URL", secret=False)
        seconds = env.number("TIMEOUT", float, None, TIMEOUT)
        if not 0 < seconds <= 60:
            raise UsageError(f"{PREFIX}TIMEOUT must be over 0 and at most 60 seconds, not {seconds:g}")
        return cls(token, webhook, api.rstrip("/") + "/", seconds)


def _checked(url: str, variable: str, *, secret: bool) -> None:
    """Refuse what is no address, and one that would send a secret unencrypted. Never shows a secret one."""
    shown = "" if secret else f": {url}"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        usable = parts.scheme in ("http", "https") and bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable, host, parts = False, "", urlsplit("")
    if not usable or "@" in parts.netloc or parts.fragment or (parts.query and not secret):
        raise UsageError(f"{variable} is not an https address{shown}")
    if parts.scheme != "https" and not loopback(host):
        raise UsageError(f"{variable} must begin with https://{'' if secret else shown}")
