"""The HTTP session of an adapter: deadlines, retries, bounds and typed errors; threads that ask side by side.

Every exception of ``requests`` ends here. The time-outs of ``requests`` count silence between two bytes, so a server
that drips one byte a second is read for ever. A ``Watch`` holds the sockets that one attempt uses; shutting them down
ends any read, TLS handshakes included, on whichever thread it blocks. This module must not know what is asked: a
judge that the adapter gives says what an answer is worth.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sloctl import __version__
from sloctl.backends.http.answers import FOREIGN, Failure, Reply, TooLarge, convert, say
from sloctl.errors import BackendError, BackendTimeout, BackendUnavailable
from sloctl.settings.backends import BackendSettings
from sloctl.settings.servers import Backend
from sloctl.telemetry import own_metrics
from sloctl.telemetry.protocol import NOTHING, Attributes, Observer, Span, cause

_current = threading.local()


class Watch:
    """The sockets of one attempt. ``cut`` says why they were shut down, if they were."""

    def __init__(self, seconds: float) -> None:
        self.reason: Literal["", "deadline", "interrupted"] = ""
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False
        self._timer = threading.Timer(seconds, self.cut, ("deadline",))
        self._timer.daemon = True

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While it lasts, connections used by this thread belong to this watch."""
        _current.watch = self
        self._timer.start()
        try:
            yield
        finally:
            _current.watch = None
            self._timer.cancel()
            with self._lock:
                self._over = True
                for held in self._sockets:
                    held.close()

    def cut(self, reason: Literal["deadline", "interrupted"]) -> None:
        """Shut all sockets down, those that are yet to come as well."""
        with self._lock:
            if self._over:
                return
            self.reason = self.reason or reason
            for held in self._sockets:
                _shut(held)

    def hold(self, connection: socket.socket) -> None:
        """Make a socket part of the attempt."""
        held = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._sockets.append(held)
            if self.reason:
                _shut(held)


class WatchedAdapter(HTTPAdapter):
    """Sends requests over connections that the thread's ``Watch`` can cut; never retries by itself."""

    def __init__(self, pool_size: int) -> None:
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class, with watched connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """As in the base class, with watched connections."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Held:
    """A connection whose socket belongs to the attempt that uses it, from the first moment on.

    ``sock`` is where the libraries keep a connection's socket: before they greet a proxy or begin TLS, too.
    """

    held: Any = None

    @property
    def sock(self) -> Any:
        return self.held

    @sock.setter
    def sock(self, value: Any) -> None:
        if value is not None:
            _hold(value)
        self.held = value


class _Connection(_Held, HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _hold(self.sock)
        super().request(*args, **kwargs)


class _TlsConnection(_Held, HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _hold(self.sock)
        super().request(*args, **kwargs)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def _hold(connection: socket.socket) -> None:
    watch: Watch | None = getattr(_current, "watch", None)
    if watch is not None:
        watch.hold(connection)


def _shut(held: socket.socket) -> None:
    with contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)


LOG = logging.getLogger("sloctl.http.session")  # shown in logs: it stays, wherever the module is
T = TypeVar("T")

MAX_WAIT = 60.0
"""Seconds: a server that asks to wait longer is not waited for."""
_CONNECT = 10.0
_SMALL, _LARGE = 2**18, 2**22
"""Bytes: one answer at a time that is not small is decoded, and one at a time that is large read, by all threads."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_INTERRUPTED = "the run was interrupted"


class HttpSession(requests.Session):
    """Sends requests to one server; safe to use from several threads.

    ``sleep`` (seconds), ``now`` (Unix seconds) and ``jitter`` (0..1) are injected in tests; ``max_bytes`` is
    the largest answer that is read, decompressed. ``sent`` counts HTTP requests, attempts included. ``observer`` is
    told of each question and of its attempts.
    """

    def __init__(
        self,
        settings: BackendSettings,
        *,
        sleep: Callable[[float], object] | None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int,
        observer: Observer = NOTHING,
    ) -> None:
        super().__init__()
        self.sent = 0
        self._observer = observer
        parts = urlsplit(settings.url)
        self._server: Attributes = {"server.address": parts.hostname or ""} | (
            {"server.port": parts.port} if parts.port else {}
        )
        self._settings = settings
        self._backend: Backend = settings.BACKEND
        self._cancelled = threading.Event()
        self._sleep = self._cancelled.wait if sleep is None else sleep
        self._now, self._jitter, self._max_bytes = now, jitter, max_bytes
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._large = threading.Lock()
        self._asked: tuple[float, Failure | None] = (0.0, None)
        self._credentials = _Credentials(settings)
        self._adapter = WatchedAdapter(settings.concurrency + 4)
        self.headers.update({"Accept": "application/json", "User-Agent": f"sloctl/{__version__}"})
        self.verify = not settings.insecure and (settings.ca_file or True)
        self.cert = settings.cert
        if settings.insecure:  # The settings warn of it once; urllib3 would with every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get_adapter(self, url: str | bytes) -> WatchedAdapter:
        """Always the watched one, whatever a client package mounts."""
        return self._adapter

    def ask(
        self,
        method: str,
        path: str,
        judge: Callable[[Reply], T],
        *,
        params: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | bytes | None = None,
        json: Any = None,
        retries: int | None = None,
        done: Callable[[], T | None] = lambda: None,
        about: Attributes | None = None,
    ) -> T:
        """What ``judge`` makes of the answer to a request, after retries where they may help.

        ``path`` follows the server's address; ``params`` go into it, ``form`` (bytes as they are) or
        ``json`` into the body.
        ``retries`` takes the place of the setting. Before a request is repeated, ``done`` may find that the
        one before had its effect although its answer was lost: what it gives is the result. ``judge`` raises
        ``Failure`` for an answer of no use. ``about`` is told to the observer. Raises ``BackendError``.
        """
        retries = self._settings.retries if retries is None else retries
        tries = 0
        with self._observed(path, about):
            while True:
                tries += 1
                try:
                    if tries == 1:
                        self._heed()
                    content = {"params": params, "data": form, "json": json}
                    return self._judged(judge, tries, method, path, **content)
                except Failure as failure:
                    if failure.after:
                        self._asked = (time.monotonic() + failure.after, failure)
                    wait = self._wait(failure, tries, retries)
                    if wait is None:
                        raise self._error(failure, tries) from failure.__cause__
                    LOG.info("%s: %s; asking again in %.1f s", self._settings.url, failure.cause, wait)
                self._sleep(wait)
                if (result := done()) is not None:
                    return result

    @contextlib.contextmanager
    def _observed(self, path: str, about: Attributes | None) -> Iterator[None]:
        """A question as the observer sees it, with all of its attempts."""
        backend, started, outcome = self._backend.name, time.monotonic(), "ok"
        try:
            with self._observer.span(f"query {backend}", {"url.path": path, **self._server, **(about or {})}):
                yield
        except BaseException as error:
            # What an adapter raises to ask in another way is no failure.
            outcome = cause(error) if isinstance(error, BackendError) else "other"
            raise
        finally:
            self._observer.count(own_metrics.QUERIES, backend=backend, outcome=outcome)
            self._observer.time(own_metrics.QUERY_DURATION, time.monotonic() - started, backend=backend)

    def cancel(self) -> None:
        """End all that is in flight, on every thread; later requests fail at once."""
        self._cancelled.set()
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.cut("interrupted")

    def close(self) -> None:
        """Cancel and release all connections."""
        self.cancel()
        self._adapter.close()
        super().close()

    def _heed(self) -> None:
        """Wait, before a new question, for as long as the server asked in an answer to another one.

        Raises ``Failure`` where that is too long.
        """
        until, failure = self._asked
        left = until - time.monotonic()
        if failure is None or left <= 0:
            return
        if left > MAX_WAIT:
            raise Failure(failure.kind, failure.cause, failure.hint, after=left)
        LOG.info("%s: %s; asking in %.1f s", self._settings.url, failure.cause, left)
        self._sleep(left)

    def _judged(self, judge: Callable[[Reply], T], number: int, method: str, path: str, **content: Any) -> T:
        """What ``judge`` makes of one answer, within the time-out. Raises ``Failure``."""
        started, limit = time.monotonic(), self._settings.timeout
        with contextlib.ExitStack() as held:
            reply = self._attempt(number, method, path, held, **content)
            if _SMALL < len(reply.body) <= _LARGE:
                held.enter_context(self._large)
            found = judge(reply)
        if time.monotonic() - started > limit:
            raise Failure(
                BackendTimeout, f"the answer could not be read within {limit:g} s", self._slow, again="never"
            )
        return found

    @property
    def _slow(self) -> str:
        return f"raise the time-out ({self._backend.prefix}TIMEOUT), or ask for less"

    def _wait(self, failure: Failure, tries: int, retries: int) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        allowed = {"never": 0, "once": min(1, retries), "yes": retries}[failure.again]
        if tries > allowed or self._cancelled.is_set() or (failure.after or 0) > MAX_WAIT:
            return None
        backoff: float = min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT) * (0.5 + 0.5 * self._jitter())
        return max(backoff, failure.after or 0)

    def _error(self, failure: Failure, tries: int) -> BackendError:
        url = self._settings.url
        cause = say(failure.cause, self._credentials.secrets())
        if tries > 1:
            cause += f" (tried {tries} times)"
        if (failure.after or 0) > MAX_WAIT:
            cause += f" (it asks to wait {failure.after:.0f} s)"
        message = f"{self._backend.title} at {url}: {cause}"
        return failure.kind(message, backend=self._backend.name, url=url, hint=failure.hint)

    def _attempt(
        self, number: int, method: str, path: str, held: contextlib.ExitStack, **content: Any
    ) -> Reply:
        """One request, whole answer included, within the time-out. Raises ``Failure``.

        A large answer keeps others from being large until ``held`` is closed.
        """
        about = {"http.request.method": method, "http.request.resend_count": number - 1, **self._server}
        watch = Watch(self._settings.timeout)
        with self._lock:
            self._watches.add(watch)
            self.sent += 1
        try:
            with self._observer.span(method, about, client=True) as span:
                return self._told(span, watch, method, path, held, **content)
        finally:
            with self._lock:
                self._watches.discard(watch)

    def _told(
        self, span: Span, watch: Watch, method: str, path: str, held: contextlib.ExitStack, **content: Any
    ) -> Reply:
        try:
            if self._cancelled.is_set():
                raise Failure(BackendUnavailable, _INTERRUPTED)
            reply = self._exchange(watch, held, method, self._settings.url + path, **content)
        except Failure as failure:
            span.fail(cause(failure.kind), say(failure.cause, self._credentials.secrets()))
            raise
        span.set("http.response.status_code", reply.status)
        if reply.status >= 400:
            span.fail(str(reply.status))
        return reply

    def _exchange(
        self, watch: Watch, held: contextlib.ExitStack, method: str, url: str, **content: Any
    ) -> Reply:
        """The answer as it came. Raises ``Failure``, and no foreign exception."""
        limit = self._settings.timeout
        started = time.monotonic()
        try:
            with (
                watch.active(),
                super().request(
                    method,
                    url,
                    auth=self._credentials,
                    timeout=(min(_CONNECT, limit), limit),
                    allow_redirects=False,
                    stream=True,
                    verify=self.verify,
                    cert=self.cert,
                    **content,
                ) as response,
            ):
                body = self._read(response, watch, held)
        except tuple(FOREIGN) as error:
            raise self._cut(watch) or convert(error, self._backend) from error
        LOG.debug("%s %s: %d, %.3f s", method, url, response.status_code, time.monotonic() - started)
        # A connection that is shut down looks like the end of an answer of unknown length.
        if cut := self._cut(watch):
            raise cut
        secrets = self._credentials.secrets()
        return Reply(response.status_code, response.headers, body, self._now(), secrets)

    def _read(self, response: requests.Response, watch: Watch, held: contextlib.ExitStack) -> bytes:
        """The body, decompressed piece by piece; of the largest ones, one at a time is held."""
        parts, size, waits = [], 0, True
        for part in response.iter_content(2**20):
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                cause = f"the answer is larger than {self._max_bytes:,} bytes"
                raise Failure(TooLarge, cause, self._backend.smaller)
            if size > _LARGE and waits:
                self._large.acquire()
                held.callback(self._large.release)
                waits = False
            # What was received already is decompressed without a look at the connection.
            if cut := self._cut(watch):
                raise cut
        return b"".join(parts)

    def _cut(self, watch: Watch) -> Failure | None:
        """The failure of an attempt whose connections were shut down from this side."""
        if watch.reason == "deadline":
            cause = f"no whole answer within {self._settings.timeout:g} s"
            return Failure(BackendTimeout, cause, self._slow, again="once")
        return Failure(BackendUnavailable, _INTERRUPTED) if watch.reason else None


class _Credentials(AuthBase):
    """Adds what identifies the caller, at the last moment: nothing else holds it, and no .netrc is asked."""

    def __init__(self, settings: BackendSettings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        settings = self._settings
        for name, value in settings.headers.items():
            request.headers[name] = value.reveal()
        if settings.token:
            request.headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        elif settings.username:
            request.headers["Authorization"] = f"Basic {self._basic()}"
        return request

    def secrets(self) -> list[str]:
        """All that must not be quoted, longest first."""
        settings = self._settings
        held = [secret.reveal() for secret in (settings.token, settings.password) if secret]
        held += [value.reveal() for value in settings.headers.values()]
        held += [self._basic()] if settings.username else []
        # Replacing "1" or a tenant's short name would only garble messages.
        return sorted({text for text in held if len(text) >= 6}, key=len, reverse=True)

    def _basic(self) -> str:
        password = self._settings.password.reveal() if self._settings.password else ""
        return base64.b64encode(f"{self._settings.username}:{password}".encode()).decode()


Settings = TypeVar("Settings", bound=BackendSettings)
Session = TypeVar("Session", bound=HttpSession)


class HttpClient(Generic[Settings, Session]):
    """One backend over HTTP; a context manager that closes its connections."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self._settings = settings
        self._session = session
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """End all that is in flight, on every thread; later questions fail at once. For any thread."""
        self._session.cancel()

    def close(self) -> None:
        """Cancel what is in flight and release all connections and threads; may be called twice."""
        self._session.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._session.close()

    @property
    def url(self) -> str:
        """The address, which never holds credentials."""
        return self._settings.url

    @property
    def queries(self) -> int:
        """How many HTTP requests were sent, repeated attempts included."""
        return self._session.sent

    def _threads(self) -> ThreadPoolExecutor:
        """The threads that ask side by side, made when they are first needed."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._settings.concurrency, f"sloctl-{self._settings.BACKEND.name}"
                )
            return self._pool
