"""The servers that sloctl asks: what each is called in messages, options and variables, what helps there, and
addresses.

Whether a text is an address, and how to show it without what may be secret in it. This module must not know how a
server is reached.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sloctl.errors import UsageError


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of server: ``name`` as in options and variables, ``title`` as in messages.

    ``smaller`` says how to get by with less data, ``calmer`` with fewer requests, ``tenant`` what else may
    identify the caller; ``host`` is the host in an example of an address, if not ``name``.
    """

    name: str
    title: str
    port: int
    smaller: str
    calmer: str = "ask again later"
    tenant: str = ""
    host: str = ""

    @property
    def prefix(self) -> str:
        """What its variables begin with."""
        return f"SLOCTL_{self.name.upper()}_"

    @property
    def option(self) -> str:
        """The option that gives its address."""
        return f"--{self.name}"

    @property
    def example(self) -> str:
        """An address, for hints."""
        return f"for example http://{self.host or self.name}:{self.port}"

    @property
    def address_hint(self) -> str:
        """For answers that such a server would not give."""
        return f"is it running, and is the address right? {self.option} URL"

    @property
    def login_hint(self) -> str:
        """For credentials that are missing or refused."""
        login = f"{self.prefix}USERNAME and {self.prefix}PASSWORD_FILE"
        return f"set {self.prefix}TOKEN_FILE, or {login}{self.tenant}"


PROMETHEUS = Backend(
    "prometheus",
    "Prometheus",
    9090,
    smaller="ask for a shorter range, a longer step or fewer series, or raise the server's limit",
    calmer="ask again later, or with fewer requests at once (SLOCTL_PROMETHEUS_CONCURRENCY)",
    tenant="; a tenant goes into SLOCTL_PROMETHEUS_HEADERS",
)
ALERTMANAGER = Backend(
    "alertmanager",
    "Alertmanager",
    9093,
    smaller="expired silences count too, as long as the server keeps them (its --data.retention)",
    tenant="; a tenant goes into SLOCTL_ALERTMANAGER_HEADERS",
)
TRACES = Backend(
    "traces",
    "trace backend",
    9411,
    smaller="ask for a shorter time or fewer services, or raise the server's limit",
    calmer="ask again later, or with fewer requests at once (SLOCTL_TRACES_CONCURRENCY)",
    tenant="; a tenant goes into SLOCTL_TRACES_HEADERS",
    host="zipkin",
)
"""Zipkin, Jaeger, Tempo or ClickHouse: a file names one of them."""


def redact(url: str) -> str:
    """An address without what may be secret in it: credentials, query, fragment."""
    head, separator, rest = url.partition("://")
    if not separator:
        head, rest = "", url
    _, at, place = rest.rpartition("@")
    return head + separator + ("***@" if at else "") + re.split(r"[?#]", place, maxsplit=1)[0]


def check_url(url: str, what: str, backend: Backend) -> str:
    """``url`` without a slash at its end; raises ``UsageError`` if it is no plain http(s) address.

    ``what`` names the address in the message, which never holds the credentials that were found in it.
    """
    shown, prefix = redact(url), backend.prefix
    if "@" in url:
        raise UsageError(
            f"{what} holds credentials: {shown}",
            hint=f"set {prefix}USERNAME and {prefix}PASSWORD_FILE, or {prefix}TOKEN_FILE, instead",
        )
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise UsageError(f"{what} is not an address: {shown}", hint=backend.example) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or re.search(r"\s", url):
        raise UsageError(f"{what} is not an http(s) address: {shown}", hint=backend.example)
    if parts.query or parts.fragment:
        raise UsageError(f"{what} may not have a query or fragment: {shown}")
    return url.rstrip("/")


def loopback(host: str) -> bool:
    """Whether a host is this machine: what goes there does not travel."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
