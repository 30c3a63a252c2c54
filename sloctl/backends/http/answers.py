"""What every HTTP answer or failure may be, whatever was asked: a redirect, a refusal, a proxy's page, broken JSON.

Pure functions over status, headers and body, and over the libraries' exceptions; this module must not know what was
asked. Reasons are taken from the operating system and the TLS library only: the HTTP libraries' own texts repeat
addresses, and with them the credentials of a proxy.
"""

from __future__ import annotations

import email.utils
import html
import http.client
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import msgspec
import requests
import urllib3
from requests import exceptions as rex

from sloctl.backends.http import decoding
from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    BadAnswer,
)
from sloctl.settings.servers import Backend, redact

T = TypeVar("T")
Again = Literal["never", "once", "yes"]

_MAY_PASS = frozenset({429, 502, 503, 504})
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_EXCERPT = 300


class TooLarge(BackendLimit):
    """The server, or this client, refuses for the amount of data or its time: half of it may be had."""


class Failure(Exception):
    """Why an attempt failed: the error it stands for, and whether to ask again (after so many seconds)."""

    def __init__(
        self,
        kind: type[BackendError],
        cause: str,
        hint: str = "",
        *,
        again: Again = "never",
        after: float | None = None,
    ) -> None:
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.hint = hint
        self.again = again
        self.after = after


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came; ``now`` (Unix seconds) is when, ``secrets`` what may not be quoted from it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    now: float
    secrets: Sequence[str] = ()

    @property
    def fine(self) -> bool:
        """Whether the status is one of success with a body."""
        return self.status in (200, 201, 202, 203)

    def quote(self) -> str:
        """What a body that is no API error says: the title of a page, or the beginning of a text."""
        text = self.body[: 20 * _EXCERPT].decode("utf-8", "replace")
        if not text.lstrip().startswith("<"):
            return say(text, self.secrets)
        title = _TITLE.search(text)
        return say(f'an HTML page "{html.unescape(title[1])}"' if title else "an HTML page", self.secrets)

    def decode(
        self, decoder: msgspec.json.Decoder[T], backend: Backend, form: str = "an answer of an unknown form"
    ) -> T:
        """The body by its schema; ``form`` says what JSON of another form is. Raises ``Failure``."""
        try:
            return decoding.decode(self.body, decoder)
        except decoding.TooManyValues as error:
            raise Failure(
                TooLarge, f"the answer has more than {error.most:,} values", backend.smaller
            ) from None
        except decoding.FAILURES:
            fault = decoding.fault(self.body)
        raise self.unusable(fault, backend) if fault else Failure(BadAnswer, form, backend.address_hint)

    def unusable(self, fault: str, backend: Backend) -> Failure:
        """The failure of an answer that is not what the API promises; its body is quoted."""
        quoted = self.quote()
        return Failure(BadAnswer, fault + (f" ({quoted})" if quoted else ""), backend.address_hint)


def refuse_redirect(reply: Reply, backend: Backend) -> None:
    """Raises ``Failure`` for an answer that points elsewhere."""
    if 300 <= reply.status < 400:
        place = say(redact(reply.headers.get("Location", "nowhere")), reply.secrets)
        raise Failure(
            BadAnswer,
            f"it redirects to {place}, and credentials are not carried elsewhere",
            f"give the final address with {backend.option}; "
            "a login page there means that credentials are missing",
        )


def by_status(reply: Reply, backend: Backend, said: str, cause: str = "") -> Failure:
    """The failure behind an answer that is an error, by its status; ``said`` is the server's message."""
    status, text = reply.status, said or f"HTTP status {reply.status}"
    cause = cause or f"HTTP status {status}" + (f": {said}" if said else "")
    after = retry_after(reply.headers, reply.now)
    if status in (401, 403):
        return Failure(BackendRefused, f"access denied ({status}): {text}", backend.login_hint)
    if status == 429:
        return Failure(
            BackendRateLimit, f"too many requests (429): {text}", backend.calmer, again="yes", after=after
        )
    if status in _MAY_PASS:
        return Failure(BackendUnavailable, cause, backend.address_hint, again="yes", after=after)
    if status >= 500:
        return Failure(BackendUnavailable, cause, "the server's own log says more")
    if status == 404:
        return Failure(
            BadAnswer, f"not found ({status}): {text}", "is the address right? it may lack a prefix"
        )
    return Failure(BadAnswer, cause, backend.address_hint)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a Retry-After header (seconds or a date, RFC 9110) asks to wait; None without one."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text[:9])
    parsed = email.utils.parsedate_tz(text) if text else None
    return max(0.0, email.utils.mktime_tz(parsed) - now) if parsed else None


def say(text: str, secrets: Sequence[str] = ()) -> str:
    """One short line of what a server said: no secrets, no control characters."""
    for secret in secrets:
        text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * _EXCERPT]).split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


_Meaning: TypeAlias = tuple[type[BackendError], str, str, Again]
_ADDRESS_HINT = "{address_hint}"
_TLS_HINT = "{prefix}CA_FILE names the authority to trust; is it an https address?"
_ADDRESS: _Meaning = (BackendUnavailable, "the address cannot be used", _ADDRESS_HINT, "never")
_BROKEN: _Meaning = (BackendUnavailable, "no connection", _ADDRESS_HINT, "yes")
_SLOW: _Meaning = (BackendTimeout, "no answer in time", "", "once")
_GARBLED: _Meaning = (BadAnswer, "the answer cannot be decoded", _ADDRESS_HINT, "never")

FOREIGN: Mapping[type[Exception], _Meaning] = {
    rex.RequestException: (BackendUnavailable, "the request failed", _ADDRESS_HINT, "never"),
    rex.ConnectionError: _BROKEN,
    rex.ProxyError: (
        BackendUnavailable,
        "no connection through the proxy",
        "see HTTPS_PROXY and NO_PROXY",
        "yes",
    ),
    rex.SSLError: (BackendUnavailable, "no TLS connection", _TLS_HINT, "never"),
    rex.Timeout: _SLOW,
    rex.ConnectTimeout: (BackendTimeout, "no connection in time", _ADDRESS_HINT, "once"),
    rex.ReadTimeout: _SLOW,
    rex.ChunkedEncodingError: (BackendUnavailable, "the connection broke within the answer", "", "yes"),
    rex.ContentDecodingError: _GARBLED,
    rex.InvalidJSONError: _GARBLED,
    rex.JSONDecodeError: _GARBLED,
    rex.StreamConsumedError: _GARBLED,
    rex.TooManyRedirects: (BadAnswer, "too many redirects", _ADDRESS_HINT, "never"),
    rex.HTTPError: (BackendUnavailable, "the server refused", _ADDRESS_HINT, "never"),
    rex.RetryError: (BackendUnavailable, "the server kept failing", _ADDRESS_HINT, "never"),
    rex.UnrewindableBodyError: (BackendUnavailable, "the request cannot be repeated", "", "never"),
    rex.URLRequired: _ADDRESS,
    rex.MissingSchema: _ADDRESS,
    rex.InvalidSchema: _ADDRESS,
    rex.InvalidURL: _ADDRESS,
    rex.InvalidHeader: (
        BackendUnavailable,
        "a header cannot be sent",
        "see {prefix}HEADERS",
        "never",
    ),
    rex.InvalidProxyURL: (
        BackendUnavailable,
        "the proxy's address cannot be used",
        "see HTTPS_PROXY",
        "never",
    ),
    urllib3.exceptions.HTTPError: _BROKEN,
    http.client.HTTPException: _BROKEN,
    OSError: _BROKEN,
    ValueError: _ADDRESS,
}
"""What each foreign exception means; a subclass that is not listed means what its nearest base means.

Hints have the fields of a ``Backend`` to be filled in.
"""


def convert(error: Exception, backend: Backend) -> Failure:
    """The failure that a foreign exception stands for, in a request to ``backend``."""
    means = next(FOREIGN[cls] for cls in type(error).__mro__ if cls in FOREIGN)
    # requests calls a silence within an answer a broken connection.
    silent = any(isinstance(below, urllib3.exceptions.ReadTimeoutError) for below in error.args)
    kind, phrase, hint, again = _SLOW if silent else means
    reason = _reason(error)
    hint = hint.format(address_hint=backend.address_hint, prefix=backend.prefix)
    return Failure(kind, f"{phrase}: {reason}" if reason else phrase, hint, again=again)


def _reason(error: BaseException) -> str:
    """What the operating system or the TLS library said, found below the layers that wrap it."""
    seen: list[BaseException] = [error]
    for current in seen:
        if isinstance(current, ssl.SSLCertVerificationError):
            return f"the certificate is not accepted: {current.verify_message}"
        if isinstance(current, ssl.SSLError):
            return str(current.reason or "TLS").replace("_", " ").lower()
        if isinstance(current, socket.gaierror):
            return "the name of the host cannot be resolved"
        if (
            isinstance(current, OSError)
            and current.strerror
            and not isinstance(current, requests.RequestException)
        ):
            return current.strerror.lower()
        if isinstance(current, http.client.RemoteDisconnected):
            return "the server hung up without an answer"
        below = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        seen += [item for item in below if isinstance(item, BaseException) and item not in seen]
    return ""
