"""A real HTTP server that misbehaves as scripted, for the tests of adapters and of the command line.

::

    with FaultyServer(reply(502), answer(vector(1))) as server:
        ...  # the first request gets a 502, each later one the vector
    server.requests[0].form["query"]

A behaviour is a function of the request's handler. The last one of the script repeats; a mapping from path
to behaviours scripts endpoints apart.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Received:
    """One request as the server saw it; ``form`` holds the first value of each field, of URL and body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        fields = parse_qs(self.query, keep_blank_values=True)
        fields |= parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[0] for name, values in fields.items()}


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the next behaviour of the script."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    received: Received

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        body = self.rfile.read(length)
        self.received = Received(self.command, parts.path, parts.query, dict(self.headers), body)
        behaviour = self.server.owner._next(self.received)
        # The client may be gone: that is what most of these tests are about.
        with contextlib.suppress(OSError):
            behaviour(self)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def pause(self, seconds: float) -> bool:
        """Waits; True if the server is to stop."""
        return self.server.owner.stopping.wait(seconds)

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Sleeps(list[float]):
    """Stands in for sleeping: notes how long it would have been."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


Behaviour = Callable[[Handler], None]


class _Server(ThreadingHTTPServer):
    owner: FaultyServer
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class FaultyServer:
    """The server, on a free port of 127.0.0.1 while the ``with`` block lasts."""

    def __init__(
        self,
        *script: Behaviour,
        paths: Mapping[str, Sequence[Behaviour]] | None = None,
        tls: tuple[str, str] | None = None,
        client_ca: str = "",
    ) -> None:
        self.requests: list[Received] = []
        self.stopping = threading.Event()
        self._scripts: dict[str, list[Behaviour]] = {path: list(s) for path, s in (paths or {}).items()}
        self._scripts[""] = list(script) or [status(404)]
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.owner = self
        self._scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            listener = self._server.socket
            self._server.socket = context.wrap_socket(
                listener, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _next(self, received: Received) -> Behaviour:
        with self._lock:
            self.requests.append(received)
            script = self._scripts.get(received.path) or self._scripts[""]
            return script.pop(0) if len(script) > 1 else script[0]


def status(
    code: int, body: str | bytes = b"", headers: Mapping[str, str] | None = None, kind: str = "text/plain"
) -> Behaviour:
    """An answer with its length stated."""
    data = body.encode() if isinstance(body, str) else body

    def behave(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def answer(data: object, code: int = 200, **more: object) -> Behaviour:
    """A successful API answer; ``more`` may hold ``warnings=[…]``, ``infos=[…]``, ``isPartial=True``."""
    return as_json({"status": "success", "data": data, **more}, code)


def error(code: int, error_type: str, message: str) -> Behaviour:
    """An API error."""
    return as_json({"status": "error", "errorType": error_type, "error": message}, code)


def as_json(payload: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Behaviour:
    return status(code, json.dumps(payload), headers, "application/json")


def page(code: int, title: str = "Sign in") -> Behaviour:
    """An HTML page, as proxies and login portals send."""
    return status(code, f"<!doctype html><html><head><title>{title}</title></head></html>", kind="text/html")


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Silence before the headers."""

    def behave(handler: Handler) -> None:
        if not handler.pause(seconds):
            then(handler)

    return behave


def dripping(head: bytes, every: float = 0.02, length: int | None = 10**6) -> Behaviour:
    """Headers, then one byte after the other for ever; ``length`` is what the headers promise, if anything."""

    def behave(handler: Handler) -> None:
        handler.send_response(200)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(head)
        while not handler.pause(every):
            handler.wfile.write(b" ")

    return behave


def dripping_headers(every: float = 0.02) -> Behaviour:
    """A header line that never ends."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not handler.pause(every):
            handler.wfile.write(b"x")

    return behave


def cut_off(body: bytes, promised: int) -> Behaviour:
    """Fewer bytes than the headers promise, then the connection is closed."""

    def behave(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(promised))
        handler.end_headers()
        handler.wfile.write(body)
        handler.hang_up()

    return behave


def hang_up(handler: Handler) -> None:
    """No answer at all."""
    handler.hang_up()


def vector(*values: float | str, **labels: str) -> dict[str, Any]:
    """The data of an instant query, one series per value."""
    return {
        "resultType": "vector",
        "result": [
            {"metric": {"n": str(n), **labels}, "value": [1700000000, str(value)]}
            for n, value in enumerate(values)
        ],
    }


_HELD: list[socket.socket] = []


def refused_url() -> str:
    """An address on which nothing listens, nor will: its port is held to the end of this process."""
    _HELD.append(socket.socket())
    _HELD[-1].bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{_HELD[-1].getsockname()[1]}"
