"""Servers that collect spans: a real Zipkin, a real Jaeger. They keep them in memory."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sloctl.demo.mesh.programs import find_jaeger, find_java, find_zipkin
from sloctl.demo.mesh.web import ask, await_true, free_ports
from sloctl.demo.programs import ChildProcess
from sloctl.errors import BackendUnavailable

_ATTEMPTS = 3
_LIMIT = 100_000
"""More traces than a testbed ever makes."""


class SpanServer(ABC):
    """A process on free ports of 127.0.0.1, as a context manager; ``directory`` receives its log.

    ``port`` is that of its API, ``spans_port`` the one that takes spans.
    """

    name: str

    def __init__(self, directory: Path) -> None:
        self.port = 0
        self.spans_port = 0
        self.log = directory / f"{self.name}.log"
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """The address of its API, such as ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None
        return self._child.pid

    @abstractmethod
    def received(self) -> int:
        """How many spans it has taken in since its start."""

    @abstractmethod
    def traces(self, began: float, ended: float) -> Any:
        """What its API answers when asked for all traces with a span between two instants (Unix seconds)."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Choose ports, and say what to run."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether it takes spans and queries; BackendUnavailable counts as not."""

    def __enter__(self) -> Self:
        for attempt in range(1, _ATTEMPTS + 1):
            self.log.write_bytes(b"")
            self._child = ChildProcess(self._command(), log=self.log)
            try:
                await_true(self._log_tail, self._started, patience=120)
            except BaseException:
                self.__exit__()
                raise
            if self._child.exit_code is None:
                return self
            self.__exit__()
            if "in use" not in (tail := self._log_tail()) or attempt == _ATTEMPTS:
                raise BackendUnavailable(f"{self.name} ended:\n{tail}", backend=self.name, url=self.url)
        raise AssertionError("unreachable")

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop(grace=2)

    def _started(self) -> bool:
        assert self._child is not None
        if self._child.exit_code is not None:
            return True
        try:
            return self._ready()
        except BackendUnavailable:
            return False

    def _log_tail(self) -> str:
        return f"{self.name} is ready; its log ends:\n" + "\n".join(
            self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        )


class Zipkin(SpanServer):
    """Zipkin's own server."""

    name = "zipkin"

    def received(self) -> int:  # noqa: D102
        found = json.loads(ask(self.name, self.port, "/metrics"))
        return int(found.get("counter.zipkin_collector.spans.http", 0))

    def traces(self, began: float, ended: float) -> list[list[dict[str, Any]]]:
        """A list of traces, each a list of Zipkin's spans (API v2)."""
        start, end = int(began * 1000), int(ended * 1000) + 1
        path = f"/api/v2/traces?endTs={end}&lookback={end - start}&limit={_LIMIT}"
        found: list[list[dict[str, Any]]] = json.loads(ask(self.name, self.port, path))
        return found

    def _command(self) -> list[str]:
        java, jar = find_java(), find_zipkin()
        (self.port,) = free_ports(1)
        self.spans_port = self.port
        listen = [f"--armeria.ports[0].port={self.port}", "--armeria.ports[0].address=127.0.0.1"]
        listen.append("--armeria.ports[0].protocols[0]=http")
        return [
            str(java),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-jar",
            str(jar),
            *listen,
        ]

    def _ready(self) -> bool:
        return bool(json.loads(ask(self.name, self.port, "/health"))["status"] == "UP")


class Jaeger(SpanServer):
    """Jaeger's all-in-one, which takes OpenTelemetry's spans over HTTP."""

    name = "jaeger"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._admin = 0

    def received(self) -> int:  # noqa: D102
        text = ask(self.name, self._admin, "/metrics")
        return sum(
            int(float(n))
            for n in re.findall(r"^jaeger_collector_spans_received_total\{.*\} (\S+)$", text, re.M)
        )

    def traces(self, began: float, ended: float) -> list[dict[str, Any]]:
        """A list of Jaeger's traces, each with ``spans`` and ``processes``."""
        span = f"start={int(began * 1e6)}&end={int(ended * 1e6) + 1}&limit={_LIMIT}"
        found: dict[str, dict[str, Any]] = {}
        for service in self.services():
            for trace in json.loads(ask(self.name, self.port, f"/api/traces?service={service}&{span}"))[
                "data"
            ]:
                found[trace["traceID"]] = trace
        return list(found.values())

    def services(self) -> Sequence[str]:
        """Who reported spans."""
        return json.loads(ask(self.name, self.port, "/api/services"))["data"] or []

    def _command(self) -> list[str]:
        self.port, self.spans_port, self._admin = free_ports(3)
        listen = {
            "query.http-server.host-port": self.port,
            "collector.otlp.http.host-port": self.spans_port,
            "admin.http.host-port": self._admin,
            "query.grpc-server.host-port": 0,
            "collector.otlp.grpc.host-port": 0,
            "collector.grpc-server.host-port": 0,
            "collector.http-server.host-port": 0,
            "http-server.host-port": 0,
            "processor.jaeger-binary.server-host-port": 0,
            "processor.jaeger-compact.server-host-port": 0,
            "processor.zipkin-compact.server-host-port": 0,
        }
        flags = [f"--{name}=127.0.0.1:{port}" for name, port in listen.items()]
        return [str(find_jaeger()), *flags, "--log-level=warn"]

    def _ready(self) -> bool:
        ask(self.name, self._admin, "/")
        ask(self.name, self.port, "/api/services")
        return True
