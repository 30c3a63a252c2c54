"""A Slack on this machine: keeps messages, threads and files, and loses, delays, doubles and refuses requests.

::

    with SlackServer() as slack:
        slack.faults = [lose_request, lose_answer, http(500)]   # of the next requests; then all is well
        ...
        slack.texts("C0REPORTS")

What it holds messages against is written down here, after Slack's own pages, and not taken from the code under test.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs

from tests.support.faulty_server import FaultyServer, Handler, as_json, hang_up, status

TOKEN = "xoxb-1111-2222-thisisthesecrettoken"
CHANNEL, CHANNEL_ID = "#slo-reviews", "C0REPORTS1"
HOOK = "/services/T0000/B0000/thisisthesecrethook"
SCOPES = frozenset({"chat:write", "files:write", "channels:history", "channels:read"})
NEEDED = {
    "chat.postMessage": "chat:write",
    "chat.delete": "chat:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "conversations.list": "channels:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}

Fault = Callable[["SlackServer", Handler, Callable[[], Any]], None]
"""Gets the server, the request's handler, and what processes the request and gives the JSON of its answer."""


@dataclass
class SlackServer:
    """The server; ``faults`` are taken one by one by the requests whose method is in ``faulty`` (all, if empty)."""

    scopes: frozenset[str] = SCOPES
    faults: list[Fault | None] = field(default_factory=list)
    faulty: tuple[str, ...] = ()
    chance: float = 0.0
    """The share of requests with a fault of :data:`FAULTS`, by chance."""
    seed: int = 0
    first_ts: float = 1_700_000_000.0
    file_delay: int = 0
    """How many messages with a file are refused before Slack has looked at it."""
    settle: threading.Event = field(default_factory=threading.Event)
    messages: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    """Errors by method."""
    clock: Callable[[], float] | None = None
    draw: Callable[[], Fault | None] | None = None
    """Draws the fault of a request, in place of ``chance``."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._random = random.Random(self.seed)
        self._count = itertools.count(1)
        self._server = FaultyServer(self._behave)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.settle.set()
        self._server.__exit__(*error)

    @property
    def api(self) -> str:
        return f"{self._server.url}/api/"

    @property
    def hook(self) -> str:
        return self._server.url + HOOK

    def environment(self) -> dict[str, str]:
        return {"SLOCTL_SLACK_TOKEN": TOKEN, "SLOCTL_SLACK_API_URL": self.api}

    # --- what is there

    def main(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if not message.get("thread_ts")]

    def thread(self, ts: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("thread_ts") == ts]

    # --- requests

    def _behave(self, handler: Handler) -> None:
        path = handler.received.path
        method = path.removeprefix("/api/")
        with self._lock:
            self.calls.append(method)
            fault = self._fault(method)

        def process() -> Any:
            with self._lock:
                return self._process(path, method, handler)

        if fault is not None:
            fault(self, handler, process)
        else:
            _answer(handler, process())

    def _fault(self, method: str) -> Fault | None:
        if self.faulty and method not in self.faulty:
            return None
        if self.faults:
            return self.faults.pop(0)
        if self.draw is not None:
            return self.draw()
        if self.chance and self._random.random() < self.chance:
            return self._random.choice(FAULTS)
        return None

    def _process(self, path: str, method: str, handler: Handler) -> Any:
        if path == HOOK:
            return self._webhook(handler)
        if path.startswith("/upload/"):
            file = self.files[path.removeprefix("/upload/")]
            file["data"] = handler.received.body
            return "OK"
        data = _content(handler)
        if handler.received.headers.get("Authorization") != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if error := self.refuse.get(method):
            return {"ok": False, "error": error}
        needed = NEEDED.get(method)
        if needed is None:
            return {"ok": False, "error": "unknown_method"}
        if needed not in self.scopes:
            return {"ok": False, "error": "missing_scope", "needed": needed, "provided": "identify"}
        return getattr(self, "_" + re.sub(r"\W", "_", method))(data)

    def _webhook(self, handler: Handler) -> Any:
        message = json.loads(handler.received.body)
        self._check(message)
        self._keep(CHANNEL_ID, message)
        return "ok"

    def _keep(self, channel: str, message: dict[str, Any]) -> str:
        base = self.clock() if self.clock else self.first_ts
        ts = f"{base + next(self._count) / 1000:.6f}"
        kept = ("text", "blocks", "metadata", "thread_ts")
        self.messages.append(
            {"ts": ts, "channel": channel, **{key: message[key] for key in kept if key in message}}
        )
        return ts

    def _chat_postMessage(self, data: dict[str, Any]) -> Any:  # noqa: N802
        if data["channel"] not in (CHANNEL, CHANNEL_ID):
            return {"ok": False, "error": "channel_not_found"}
        thread = data.get("thread_ts")
        if thread and not any(message["ts"] == thread for message in self.messages):
            return {"ok": False, "error": "thread_not_found"}
        for block in data["blocks"]:
            if block["type"] == "image":
                file = self.files.get(block["slack_file"]["id"])
                if file is None or not file.get("complete") or self.file_delay > 0:
                    self.file_delay -= 1
                    return {"ok": False, "error": "invalid_blocks"}
        self._check(data)
        ts = self._keep(CHANNEL_ID, data)
        return {"ok": True, "channel": CHANNEL_ID, "ts": ts, "message": {"text": data["text"]}}

    def _check(self, message: dict[str, Any]) -> None:
        from tests.support.block_kit import problems

        self.problems += problems(message)

    def _chat_delete(self, data: dict[str, Any]) -> Any:
        found = [message for message in self.messages if message["ts"] == data["ts"]]
        if not found or data["channel"] != CHANNEL_ID:
            return {"ok": False, "error": "message_not_found"}
        self.messages.remove(found[0])
        self.deleted.append(found[0])
        return {"ok": True, "channel": CHANNEL_ID, "ts": data["ts"]}

    def _page(self, items: Sequence[dict[str, Any]], data: dict[str, Any], name: str) -> Any:
        start = int(data.get("cursor") or 0)
        end = start + min(int(data.get("limit") or 100), 3)  # small pages: whoever reads one only misses most
        cursor = str(end) if end < len(items) else ""
        return {"ok": True, name: items[start:end], "response_metadata": {"next_cursor": cursor}}

    def _shown(self, message: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        shown = dict(message)
        if data.get("include_all_metadata") not in ("1", "true"):
            shown.pop("metadata", None)
        if count := len(self.thread(message["ts"])):
            shown |= {"thread_ts": message["ts"], "reply_count": count}
        return shown

    def _conversations_history(self, data: dict[str, Any]) -> Any:
        if data["channel"] != CHANNEL_ID:
            return {"ok": False, "error": "channel_not_found"}
        oldest = float(data.get("oldest") or 0)
        newest_first = sorted(self.main(), key=lambda message: -float(message["ts"]))
        items = [self._shown(item, data) for item in newest_first if float(item["ts"]) >= oldest]
        return self._page(items, data, "messages")

    def _conversations_replies(self, data: dict[str, Any]) -> Any:
        parent = [message for message in self.messages if message["ts"] == data["ts"]]
        if not parent or data["channel"] != CHANNEL_ID:
            return {"ok": False, "error": "thread_not_found"}
        items = [self._shown(item, data) for item in (*parent, *self.thread(data["ts"]))]
        return self._page(items, data, "messages")

    def _conversations_list(self, data: dict[str, Any]) -> Any:
        others = [{"id": f"C0OTHER{number}0", "name": f"other-{number}"} for number in range(4)]
        return self._page([*others, {"id": CHANNEL_ID, "name": CHANNEL[1:]}], data, "channels")

    def _files_getUploadURLExternal(self, data: dict[str, Any]) -> Any:  # noqa: N802
        ident = f"F{next(self._count):07}"
        self.files[ident] = {"length": int(data["length"]), "alt": data.get("alt_txt")}
        return {"ok": True, "file_id": ident, "upload_url": f"{self._server.url}/upload/{ident}"}

    def _files_completeUploadExternal(self, data: dict[str, Any]) -> Any:  # noqa: N802
        for item in json.loads(data["files"]):
            file = self.files.get(item["id"])
            if file is None or len(file.get("data", b"")) != file["length"]:
                return {"ok": False, "error": "file_not_found"}
            file["complete"] = True
        return {"ok": True, "files": [{"id": item["id"]} for item in json.loads(data["files"])]}


def _content(handler: Handler) -> dict[str, Any]:
    body = handler.received.body.decode()
    if handler.received.headers.get("Content-Type", "").startswith("application/json"):
        found = json.loads(body)
        assert isinstance(found, dict)
        return found
    return {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}


def _answer(handler: Handler, data: Any) -> None:
    (status(200, data) if isinstance(data, str) else as_json(data))(handler)


# --- faults


def lose_request(_server: SlackServer, handler: Handler, _process: Callable[[], Any]) -> None:
    """The connection breaks before anything is done."""
    hang_up(handler)


def lose_answer(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
    """Everything is done, and the connection breaks."""
    process()
    hang_up(handler)


def reset_answer(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
    """Everything is done, and the connection is reset."""
    process()
    handler.close_connection = True
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    with contextlib.suppress(OSError):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()


def double(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
    """Something in between sends the request twice."""
    process()
    _answer(handler, process())


def truncate(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
    """Half of the answer, whole by its length."""
    text = json.dumps(process())
    status(200, text[: len(text) // 2], kind="application/json")(handler)


def rate_limit(after: str = "1") -> Fault:
    def behave(_server: SlackServer, handler: Handler, _process: Callable[[], Any]) -> None:
        as_json({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": after})(handler)

    return behave


def ratelimited_body(_server: SlackServer, handler: Handler, _process: Callable[[], Any]) -> None:
    as_json({"ok": False, "error": "ratelimited"})(handler)


def http(code: int, *, done: bool = False, page: bool = False) -> Fault:
    """An error of the server, before or after it did everything."""

    def behave(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
        if done:
            process()
        text = "<!doctype html><html><body>Sorry</body></html>" if page else ""
        status(code, text, kind="text/html" if page else "application/json")(handler)

    return behave


def says(error: str, *, done: bool = False) -> Fault:
    """An error of the API, which may have done everything before."""

    def behave(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
        if done:
            process()
        as_json({"ok": False, "error": error})(handler)

    return behave


def delay(seconds: float, *, late: bool = False) -> Fault:
    """Silence; what is asked is done before it, or ``late``: after it."""

    def behave(_server: SlackServer, handler: Handler, process: Callable[[], Any]) -> None:
        answer = None if late else process()
        if not handler.pause(seconds):
            _answer(handler, process() if late else answer)

    return behave


FAULTS: tuple[Fault, ...] = (
    lose_request,
    lose_answer,
    reset_answer,
    double,
    truncate,
    rate_limit("0"),
    ratelimited_body,
    http(500),
    http(500, done=True),
    http(503, page=True),
    http(502, done=True, page=True),
    http(408, done=True, page=True),
    says("internal_error"),
    says("fatal_error", done=True),
    delay(0.05),
)
