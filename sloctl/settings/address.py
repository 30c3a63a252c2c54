"""Addresses of servers: whether a text is one, and how to show it without what may be secret in it.

This module must not know what an address is used for.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from sloctl.errors import UsageError
from sloctl.settings.kinds import Backend


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
