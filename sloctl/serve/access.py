"""Who may see the pages: checks before, and headers after, every answer.

A page of another site can make a browser ask for any address, and can make its own name mean this machine: so only
names that are known are answered, and only this site's own scripts. Nothing here is about what a page says.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from sloctl.errors import UsageError
from sloctl.settings.secret import Secret
from sloctl.spec.fields.checks import proxy_header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/healthz", "/readyz")
"""What probes ask, who have no token: whether the process lives and has an answer, and nothing else."""
CANARY = ("service", "baseline", "canary", "by", "since")
"""What a canary is asked about by."""
WEBHOOKS = {
    "/api/v1/canary/promote": ("promote",),
    "/api/v1/canary/rollback": ("rollback",),
    "/api/v1/canary/continue": ("promote", "wait"),
}
"""What controllers post to, and the verdicts that it says yes to. A post changes nothing: its body is the question."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-robots-tag": "noindex, nofollow",
}
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*")
MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs: ``token``, or the header ``user`` that a proxy sets, or neither.

    ``hosts`` are names by which the pages are reached, besides localhost and addresses. A client may ask ``rate`` times
    a second, and ``burst`` times at once.
    """

    token: Secret | None = None
    user: str = ""
    hosts: frozenset[str] = frozenset()
    rate: float = 20.0
    burst: int = 100


def check_names(access: Access) -> None:
    """Fail for a name that no request has, or a header that says nothing of who asks. Raises UsageError."""
    for host in sorted(access.hosts):
        if not _HOST.fullmatch(host):
            hint = "write the name alone, without scheme, port, path and final dot:  --host slo.example.org"
            raise UsageError(f"--host: {host!r} is no host name", hint=hint)
    if access.user and (complaint := proxy_header(access.user)) is not None:
        raise UsageError(f"--behind-proxy: {complaint.message}", hint=complaint.hint)


def check_bind(host: str, access: Access, option: str = "--listen") -> None:
    """Fail where everybody on the network could read the pages. Raises UsageError."""
    if access.token is None and not access.user and not _local(host):
        raise UsageError(
            f"{option} {host}: whoever reaches this address could read the pages",
            hint="set SLOCTL_SERVE_TOKEN or SLOCTL_SERVE_TOKEN_FILE, or name the header in which a proxy that has "
            "logged its users in says who they are: --behind-proxy X-Forwarded-User",
        )


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(text: str) -> str:
    """The name or address of a Host header, without its port; "" for what is neither."""
    if text.startswith("["):
        inner, bracket, port = text[1:].partition("]")
        return inner if bracket and (not port or port[0] == ":") else ""
    name, _, port = text.partition(":")
    return name.lower().rstrip(".") if not port or port.isdecimal() else ""


class Guard:
    """The application, behind its checks."""

    def __init__(
        self, application: ASGIApp, access: Access, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._application, self._access, self._clock = application, access, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "private, no-cache")
            await send(message)

        refused = self._refused(scope)
        await (refused or self._application)(scope, receive, sending)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = host_of(headers.get("host", ""))
        if not self._known(host):
            hint = "--host NAME  names one more"
            return PlainTextResponse(f"this host name is not one of these pages'\n{hint}\n", 421)
        if (origin := headers.get("origin")) is not None and not _same(origin, headers["host"]):
            return PlainTextResponse("pages of other sites may not ask\n", 403)
        methods = ("POST",) if scope["path"] in WEBHOOKS else ("GET", "HEAD")
        if scope["method"] not in methods:
            return PlainTextResponse(f"only {' and '.join(methods)}\n", 405, {"allow": ", ".join(methods)})
        if scope["path"] in OPEN:
            return None
        client = scope["client"][0] if scope.get("client") else ""
        if self._access.user:
            user = headers.get(self._access.user, "").strip()
            if not user:
                return PlainTextResponse("the proxy does not say who asks\n", 401)
            client = f"user {user[:200]}"
        token = self._access.token
        knows = token is None or _shown(headers.get("authorization", ""), token)
        # Those behind one address share it with whoever guesses there.
        if wait := self._wait(client if knows else f"unknown {client}"):
            return PlainTextResponse("too many requests\n", 429, {"retry-after": str(wait)})
        if not knows:
            asked = {"www-authenticate": 'Basic realm="sloctl", charset="UTF-8"'}
            return PlainTextResponse("a token is needed: as the password, or as a bearer token\n", 401, asked)
        return None

    def _known(self, host: str) -> bool:
        """Whether a host is one of these pages'. An address is: only a name can be made to mean another machine."""
        if host in self._access.hosts or host == "localhost":
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _wait(self, client: str) -> int:
        """Seconds until a client may ask again; 0 if it may now."""
        now, access = self._clock(), self._access
        tokens, last = self._clients.pop(client, (float(access.burst), now))
        tokens = min(float(access.burst), tokens + (now - last) * access.rate)
        may = tokens >= 1
        self._clients[client] = (tokens - 1 if may else tokens, now)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return 0 if may else max(1, round((1 - tokens) / access.rate))


def _same(origin: str, host: str) -> bool:
    return origin.partition("://")[2].lower() == host.lower()


def _shown(authorization: str, token: Secret) -> bool:
    """Whether a header shows the token: as a bearer token, or as the password of any user."""
    kind, _, value = authorization.partition(" ")
    given = value.strip().encode("latin-1", "replace")  # as it came
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(given, token.reveal().encode())
