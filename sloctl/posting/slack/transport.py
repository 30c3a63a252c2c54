"""How slack_sdk's requests travel: within a deadline, no redirects, bounded answers, and faults that say what is sure.

slack_sdk's clients send by urllib, with a time-out for each read only, and follow redirects with the token. Their one
method that opens a request is replaced here. Whether a request may have had its effect is what matters most: see
:class:`Fault`.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import Any, Literal, NoReturn
from urllib.error import HTTPError, URLError

from sloctl.posting.protocol import LONGEST_PAUSE

MOST_BYTES = 8 * 2**20

FaultKind = Literal["unsent", "unsure", "refused"]


class Fault(Exception):
    """A request without a good answer.

    ``unsent``: it had no effect, and may be repeated. ``unsure``: nobody knows whether it had. ``refused``: it had
    none, and will never have. ``after`` is how many seconds the server asks to wait; ``code`` is Slack's word for it.
    """

    def __init__(self, kind: FaultKind, reason: str, *, code: str = "", after: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.code = code
        self.after = after


class _Deadline:
    """Shuts a connection down when its time is over; sockets alone know the time of each read only."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        self._sockets.append(connected)
        if self.over:
            self._cut()

    def _cut(self) -> None:
        self.over = True
        for connected in self._sockets:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _watched(base: type[http.client.HTTPConnection], deadline: _Deadline) -> Callable[..., Any]:
    class Watched(base):  # type: ignore[misc,valid-type]
        """A connection that the deadline can end."""

        def connect(self) -> None:
            super().connect()
            deadline.watch(self.sock)

    return Watched


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        """None: the answer is then an HTTPError, as every other that is no 2xx."""


class UrlOpener:
    """Opens requests of urllib; ``timeout`` is in seconds, for the whole of each."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    @cached_property
    def trusted(self) -> ssl.SSLContext:
        """Reads the certificates that are trusted, which takes 40 ms: once, and where TLS is spoken alone."""
        return ssl.create_default_context()

    def open(self, request: urllib.request.Request) -> tuple[int, Any, bytes]:
        """Status, headers and body. Raises :class:`Fault`, and HTTPError for an answer that is no success."""
        with _Deadline(self.timeout) as deadline:
            started = time.monotonic()
            try:
                with self._opener(deadline).open(request, timeout=self.timeout) as answer:
                    return answer.status, answer.headers, _body(answer, deadline)
            except HTTPError as error:
                # Its body is read here: behind the deadline it would not be watched.
                with error:
                    body = _body_of(error, deadline)
                raise _Answered(error.code, error.headers, body) from None
            except Fault:
                raise
            except URLError as error:
                # urllib wraps what goes wrong until the request is sent, and nothing else.
                reason = error.reason if isinstance(error.reason, BaseException) else error
                if deadline.over and time.monotonic() - started >= self.timeout:
                    raise Fault("unsure", "no answer in time") from None
                broke = isinstance(reason, (ConnectionResetError, BrokenPipeError))
                raise Fault("unsure" if broke else "unsent", _said(reason)) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                cut = deadline.over or isinstance(error, TimeoutError)
                text = "no whole answer in time" if cut else _said(error)
                raise Fault("unsure", text) from None

    def _opener(self, deadline: _Deadline) -> urllib.request.OpenerDirector:
        opener = self

        class Plain(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(_watched(http.client.HTTPConnection, deadline), req)

        class Tls(urllib.request.HTTPSHandler):
            def __init__(self) -> None:
                # The one of HTTPSHandler reads the certificates, needed or not.
                urllib.request.AbstractHTTPHandler.__init__(self)

            def https_open(self, req: urllib.request.Request) -> Any:
                connection = partial(_watched(http.client.HTTPSConnection, deadline), context=opener.trusted)
                return self.do_open(connection, req)

        return urllib.request.build_opener(Plain, Tls, _NoRedirects)


class _Answered(HTTPError):
    """An answer that is no success, read."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        import io

        super().__init__("", status, "", headers, io.BytesIO(body))


def _body(answer: Any, deadline: _Deadline) -> bytes:
    parts, size = [], 0
    while part := answer.read1(2**16) if hasattr(answer, "read1") else answer.read(2**16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Fault("unsure", f"the answer is larger than {MOST_BYTES:,} bytes")
    if deadline.over:
        raise Fault("unsure", "no whole answer in time")
    stated = answer.headers.get("Content-Length")
    if stated and stated.isdigit() and size < int(stated):
        raise Fault("unsure", "the answer broke off")
    return b"".join(parts)


def _body_of(error: HTTPError, deadline: _Deadline) -> bytes:
    """What a refusal says; its status counts even if its text broke off."""
    try:
        return error.read(2**16)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _said(error: BaseException) -> str:
    """What the operating system or TLS said: libraries' own texts may hold addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {str(error.reason or 'TLS').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server hung up without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer broke off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, OSError) and (tunnel := re.match(r"Tunnel connection failed: (\d+)", str(error))):
        return f"the proxy refused the connection (HTTP {tunnel[1]})"
    return "the connection failed"


def retry_after(headers: Any, now: float) -> float | None:
    """Seconds that ``Retry-After`` asks for, at most a day; None without the header, or if it says nothing."""
    text = str(headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        return min(float(text), LONGEST_PAUSE)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), LONGEST_PAUSE)
    except (ValueError, TypeError, OverflowError):
        return None


def fail(kind: FaultKind, reason: str, *, code: str = "", after: float | None = None) -> NoReturn:
    """Raise a :class:`Fault`."""
    raise Fault(kind, reason, code=code, after=after)
