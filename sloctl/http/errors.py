"""What every exception of the HTTP libraries means in sloctl's own errors.

This module must not know what was asked. Reasons are taken from the operating system and the TLS library
only: the libraries' own texts repeat addresses, and with them the credentials of a proxy.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import TypeAlias

import requests
import urllib3
from requests import exceptions as rex

from sloctl.backends import Backend
from sloctl.errors import BackendError, BackendTimeout, BackendUnavailable, BadAnswer
from sloctl.http.answers import Again, Failure

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
    kind, phrase, hint, again = next(FOREIGN[cls] for cls in type(error).__mro__ if cls in FOREIGN)
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
