"""``/metrics``, ``/healthz`` and ``/readyz``: a small server that nobody can keep busy.

One request a connection, a bounded number of connections, and a few seconds for each, whatever the client does. It
answers GET and HEAD, and says nothing that is secret.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from sloctl import __version__
from sloctl.errors import UsageError

LOG = logging.getLogger(__name__)
MOST = 16
"""Connections at a time; more are turned away."""
SECONDS = 10.0
"""For each connection, from its beginning to its end."""
Body = tuple[int, bytes, str]
"""Status, content and content type."""
Page = Callable[[str], Body]
"""What answers a path, given the Accept header."""


class Web:
    """The server while the context lasts. ``address`` is ``host:port``; port 0 takes a free one.

    Raises UsageError where it cannot listen. ``seconds`` is for tests.
    """

    def __init__(self, address: str, pages: Mapping[str, Page], *, seconds: float = SECONDS) -> None:
        host, port = parse(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = type("_Family", (_Server,), {"address_family": family})
        try:
            self._server: _Server = server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"--listen {address}: {why}", hint="choose another port, or write  --listen none"
            ) from None
        self._server.pages, self._server.seconds = dict(pages), seconds
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="sloctl-web", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.cut(0)
        self._server.server_close()
        self._thread.join(2)


def parse(address: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9464``, ``:9464`` or ``[::1]:9464``. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"--listen: {address!r} is not an address", hint="write it like 127.0.0.1:9464, or none"
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - as asked for


def health(alive: Callable[[], bool]) -> Page:
    """``/healthz``: whether the loop goes round."""

    def page(_accept: str) -> Body:
        return (
            (200, b"ok\n", "text/plain") if alive() else (503, b"the scheduler stands still\n", "text/plain")
        )

    return page


def readiness(problems: Callable[[], Sequence[str]], more: Callable[[], Mapping[str, Any]]) -> Page:
    """``/readyz``: what is wrong, if anything, and more that a person may want to know."""

    def page(_accept: str) -> Body:
        found = list(problems())
        body = {"status": "not ready" if found else "ready", "problems": found, **more()}
        return 503 if found else 200, json.dumps(body).encode() + b"\n", "application/json"

    return page


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SECONDS

    def version_string(self) -> str:
        """What it calls itself."""
        return f"sloctl/{__version__}"

    def do_GET(self) -> None:
        self._answer(*self._found())

    do_HEAD = do_GET  # noqa: N815

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return lambda: self._answer(405, b"only GET and HEAD\n", "text/plain")
        raise AttributeError(name)

    def _found(self) -> Body:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            names = " ".join(sorted(self.server.pages))
            return 404, f"there is {names}\n".encode(), "text/plain"
        try:
            return page(self.headers.get("Accept", ""))
        except Exception:
            LOG.exception("%s could not be answered", self.path.partition("?")[0])
            return 500, b"internal error\n", "text/plain"

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    pages: dict[str, Page]
    seconds: float

    def __init__(self, *args: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= MOST
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        self.cut(self.seconds)

    def cut(self, seconds: float) -> None:
        """Shut down what has been open for so long: a client may send, or read, a byte now and then for ever."""
        now = time.monotonic()
        with self._lock:
            old = [request for request, since in self._open.items() if now - since >= seconds]
        for request in old:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no news."""
