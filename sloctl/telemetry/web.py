"""An ASGI application, served by Hypercorn on a thread of its own; and one of ``/metrics`` and the probes' pages.

Nobody can keep the server busy: a client has a few seconds for its header, for each part of a body and between two
requests. Of the application's pages each is sent a bounded number of times at a time; it answers GET and HEAD, and says
nothing that is secret.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sloctl.errors import UsageError

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

    Application = ASGIFramework

LOG = logging.getLogger(__name__)
MOST = 16
"""So many times is each page sent at a time; slow readers of one page do not keep others from theirs."""
SECONDS = 5.0
"""For a client's header, between two parts of what it sends, and between two requests."""
BACKLOG = 1024
"""Connections that wait to be accepted."""
Body = tuple[int, bytes, str]
"""Status, content and content type."""
Page = Callable[[str], Body]
"""What answers a path, given the Accept header."""


class Web:
    """The server while the context lasts. ``address`` is ``host:port``; port 0 takes a free one.

    Raises UsageError where it cannot listen, with ``otherwise`` as a further remedy. ``seconds`` is for tests.
    """

    def __init__(
        self,
        address: str,
        application: ASGIFramework,
        *,
        seconds: float = SECONDS,
        otherwise: str = "",
        option: str = "--listen",
    ) -> None:
        host, port = parse(address, option=option)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{option} {address}: {why}", hint=f"choose another port{otherwise}") from None
        self._name = self._socket.getsockname()[:2]
        self._application, self._seconds = application, seconds
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="sloctl-web", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._name
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _run(self) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.accesslog = config.errorlog = None
        config.include_server_header = False
        config.keep_alive_timeout = config.read_timeout = self._seconds  # type: ignore[assignment]
        config.graceful_timeout = config.shutdown_timeout = 1.0
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve(self._application, config, shutdown_trigger=self._stop.wait, mode="asgi"))


class Pages:
    """Some pages as an ASGI application."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = dict(pages)
        self._sending: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError("HTTP only")
        path = scope["path"]
        if self._sending[path] >= MOST:
            await self._send(scope, send, 503, b"too many at a time\n", "text/plain")
            return
        self._sending[path] += 1
        try:
            await self._send(scope, send, *await self._found(scope))
        finally:
            self._sending[path] -= 1
            if not self._sending[path]:
                del self._sending[path]

    async def _found(self, scope: HTTPScope) -> Body:
        page = self._pages.get(scope["path"])
        if scope["method"] not in ("GET", "HEAD"):
            return 405, b"only GET and HEAD\n", "text/plain"
        if page is None:
            names = " ".join(sorted(self._pages))
            return 404, f"there is {names}\n".encode(), "text/plain"
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        try:
            return await asyncio.to_thread(page, accept.decode("latin-1"))
        except Exception:
            LOG.exception("%s could not be answered", scope["path"])
            return 500, b"internal error\n", "text/plain"

    async def _send(
        self, scope: HTTPScope, send: ASGISendCallable, status: int, body: bytes, content_type: str
    ) -> None:
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
            *([(b"allow", b"GET, HEAD")] if status == 405 else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        content = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": content, "more_body": False})


def parse(address: str, none: str = ", or none", option: str = "--listen") -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9464``, ``:9464`` or ``[::1]:9464``. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"{option}: {address!r} is not an address", hint=f"write it like 127.0.0.1:9464{none}"
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
