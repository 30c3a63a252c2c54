"""Plain HTTP to servers on this machine, and waiting for what they will say: for events, never for a time."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable

from sloctl.errors import BackendUnavailable, SloctlError

_POLL = 0.05


def ask(server: str, port: int, path: str, method: str = "GET") -> str:
    """The body of an answer with code 200 from a port of 127.0.0.1; raises BackendUnavailable for anything else."""
    url = f"http://127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise BackendUnavailable(f"{server} does not answer: {error}", backend=server, url=url) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise BackendUnavailable(
            f"{server} answers {answer.status} to {path}: {text}", backend=server, url=url
        )
    return text


def await_true(what: Callable[[], str], condition: Callable[[], bool], patience: float) -> None:
    """Return as soon as ``condition`` holds; raises SloctlError with ``what()`` after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise SloctlError(f"not within {patience:.0f} s: {what()}")
        time.sleep(_POLL)


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listened on a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
