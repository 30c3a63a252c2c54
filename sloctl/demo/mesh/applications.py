"""The applications behind the sidecars, and the callers before the gateway.

All of them run on one event loop in a thread of its own. They speak as much HTTP/1.1 as Envoy and they need with one
another: no chunks, no bodies in requests. Every request that arrives, every call and every answer is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_Headers = dict[str, str]
_TRACE_HEADERS = frozenset(
    "x-request-id x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags b3 traceparent tracestate".split()
)
"""What an application must hand on from the request that it serves to those that it makes."""
_ATTEMPT = "x-envoy-attempt-count"


class EventLoop:
    """An event loop in a thread of its own; at its end it calls what is in ``at_end``, and cancels all work."""

    def __init__(self) -> None:
        self.at_end: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop and wait for what it gives."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def __enter__(self) -> EventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh-applications", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        for close in self.at_end:
            close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports end in the loop's next turn


class Caller:
    """Makes requests to one port of 127.0.0.1, over connections that it keeps.

    ``requests`` counts them, ``answers`` the response codes (0: the connection broke first).
    """

    def __init__(self, host: str) -> None:
        self.port = 0
        self.requests = 0
        self.answers: Counter[int] = Counter()
        self._host = host
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str, headers: Mapping[str, str]) -> int:
        """The response code, or 0."""
        self.requests += 1
        code = 0
        with contextlib.suppress(OSError, EOFError, ValueError):
            code = await self._exchange(path, headers)
        self.answers[code] += 1
        return code

    def close(self) -> None:
        """Close the connections that it keeps."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _exchange(self, path: str, headers: Mapping[str, str]) -> int:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        keep = False
        try:
            lines = [f"GET {path} HTTP/1.1", f"host: {self._host}"]
            lines += [f"{name}: {text}" for name, text in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            first, found = await _read_head(reader)
            await reader.readexactly(int(found.get("content-length", "0")))
            keep = found.get("connection", "").lower() != "close"
            return int(first.split(" ", 2)[1])
        finally:
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()


class Application:
    """A service: fails at a settable rate, takes its time, and calls the next service if there is one.

    Which requests fail is drawn from a stream of its own that depends on ``seed`` alone: the same number of requests
    always has the same number of failures. ``requests`` counts what arrived, ``first_attempts`` what no proxy had sent
    before, ``served`` the codes that it answered with.
    """

    def __init__(self, name: str, seed: int, following: Caller | None) -> None:
        self.failure_rate = 0.0
        self.failure_code = 503
        self.latency = 0.0
        self.requests = 0
        self.first_attempts = 0
        self.served: Counter[int] = Counter()
        self.following = following
        self.port = 0
        self._random = random.Random(f"{name}/{seed}")  # noqa: S311 - no secret depends on it
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin to serve, on a port of 127.0.0.1 that is known then."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)  # asyncio forgets one whose connection is lost, though it may still call
        task.add_done_callback(self._serving.discard)
        # A cancelled one ends like any other: asyncio before 3.12 asks it for its exception, and then complains.
        ends = contextlib.suppress(OSError, EOFError, asyncio.CancelledError)
        with ends, contextlib.closing(writer):
            while True:
                _, headers = await _read_head(reader)
                code = await self._answer(headers)
                self.served[code] += 1
                writer.write(f"HTTP/1.1 {code} -\r\ncontent-length: 3\r\n\r\n{code}".encode("ascii"))
                await writer.drain()

    async def _answer(self, headers: _Headers) -> int:
        self.requests += 1
        self.first_attempts += headers.get(_ATTEMPT, "1") == "1"
        fails = self._random.random() < self.failure_rate
        if self.latency:
            await asyncio.sleep(self.latency)
        if fails:
            return self.failure_code
        if self.following is None:
            return 200
        handed_on = {name: text for name, text in headers.items() if name in _TRACE_HEADERS}
        code = await self.following.get("/", handed_on)
        return 200 if code == 200 else 503


async def load(caller: Caller, requests: int, concurrency: int, timeout: float) -> None:
    """Make ``requests`` requests, at most ``concurrency`` at a time; raises TimeoutError after ``timeout`` seconds."""
    left = iter(range(requests))

    async def work(numbers: Iterator[int]) -> None:
        for _ in numbers:
            await caller.get("/", {})

    async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work(left))


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, _Headers]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.lower(): text.strip() for name, _, text in pairs}
