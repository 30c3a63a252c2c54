"""A real Prometheus on this machine, for the demo and for integration tests.

Owns the process, its configuration file and its data directory; knows nothing about what is scraped or
which rules are loaded.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sloctl.demo.programs import ChildProcess, find_program
from sloctl.errors import BackendUnavailable, QueryRejected, SloctlError, UsageError

__all__ = ["PrometheusServer", "find_program", "prometheus_config"]

_POLL = 0.05
_ATTEMPTS = 3
_DEFAULT_FLAGS = {
    "--storage.tsdb.retention.time": "100d",
    "--storage.tsdb.retention.size": "0",
    "--query.max-samples": "100000000",
    "--query.timeout": "15m",
    "--log.level": "warn",
}


def prometheus_config(
    *,
    rule_files: Sequence[Path | str] = (),
    scrape_configs: Sequence[Mapping[str, Any]] = (),
    alertmanagers: Sequence[str] = (),
    scrape_interval: str = "60s",
    evaluation_interval: str = "60s",
) -> str:
    """The text of a prometheus.yml (as JSON, which is YAML).

    ``rule_files`` are paths or globs, ``scrape_configs`` mappings as Prometheus documents them,
    ``alertmanagers`` "host:port" strings.
    """
    config: dict[str, Any] = {
        "global": {"scrape_interval": scrape_interval, "evaluation_interval": evaluation_interval},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [dict(item) for item in scrape_configs],
    }
    if alertmanagers:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return json.dumps(config, indent=1)


class PrometheusServer:
    """A ``prometheus`` process on a free port of 127.0.0.1, as a context manager.

    ``directory`` receives prometheus.yml, prometheus.log and, unless ``data`` names another place, the TSDB
    (``directory/data``). ``config`` is the whole text of prometheus.yml; without it, one is made of
    ``rule_files``, ``scrape_configs`` and the intervals (see :func:`prometheus_config`). ``flags`` are added
    to the command line and win over the defaults (100 days of retention, so that a backfilled history stays).
    ``timeout`` is the seconds it may take to become ready.

    Raises UsageError if there is no such program or the configuration is wrong, BackendUnavailable (with the
    end of its log) if it dies or is not ready in time.
    """

    def __init__(
        self,
        directory: Path,
        *,
        data: Path | None = None,
        config: str | None = None,
        rule_files: Sequence[Path | str] = (),
        scrape_configs: Sequence[Mapping[str, Any]] = (),
        alertmanagers: Sequence[str] = (),
        scrape_interval: str = "60s",
        evaluation_interval: str = "60s",
        flags: Sequence[str] = (),
        program: Path | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.directory = directory
        self.data = data if data is not None else directory / "data"
        self.log = directory / "prometheus.log"
        self.config_file = directory / "prometheus.yml"
        self._config = config or prometheus_config(
            rule_files=rule_files,
            scrape_configs=scrape_configs,
            alertmanagers=alertmanagers,
            scrape_interval=scrape_interval,
            evaluation_interval=evaluation_interval,
        )
        self._flags = list(flags)
        self._program = program
        self._timeout = timeout
        self._child: ChildProcess | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._child is not None and self._child.exit_code is None

    def start(self) -> PrometheusServer:
        """Start it and wait until it is ready; see the class for what it raises."""
        program = self._program or find_program("prometheus")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self._config, encoding="utf-8")
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = _free_port()
            self.log.write_bytes(b"")
            self._child = ChildProcess(self._command(program), log=self.log)
            try:
                if self._wait_ready():
                    return self
                tail = self.log_tail()
                taken = "address already in use" in tail
            except BaseException:
                self.stop()
                raise
            self.stop()
            if not taken or attempt == _ATTEMPTS:
                self._raise_dead(tail)
        raise AssertionError("unreachable")

    def reload(self, config: str | None = None) -> None:
        """Load the rule files and prometheus.yml again; with ``config``, write that one first.

        Returns once the server has applied it. Raises QueryRejected with the server's reason if it is
        wrong (the server then keeps what it had), BackendUnavailable if the server is gone.
        """
        if config is not None:
            self.config_file.write_text(config, encoding="utf-8")
        try:
            status, body = self._request("POST", "/-/reload")
        except OSError as error:
            raise BackendUnavailable(
                f"Prometheus did not reload its configuration: {error}", backend="prometheus", url=self.url
            ) from error
        if status != 200:
            raise QueryRejected(
                f"Prometheus rejects its new configuration: {body.strip()}\n{self.log_tail(5)}",
                backend="prometheus",
                url=self.url,
            )

    def remote_write(self, request: bytes) -> None:
        """Send a ``WriteRequest`` of remote write 1.0, in Snappy; the server needs the flag that lets it take one.

        Raises SloctlError with the server's reason if it refuses, BackendUnavailable if it is gone.
        """
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        self._post("/api/v1/write", "take samples", request, headers)

    def snapshot(self) -> Path:
        """Make blocks of all that it holds; gives their folder. It needs the flag that enables the admin API.

        Raises SloctlError with the server's reason if it refuses, BackendUnavailable if it is gone.
        """
        body = self._post("/api/v1/admin/tsdb/snapshot", "make a snapshot")
        return self.data / "snapshots" / str(json.loads(body)["data"]["name"])

    def wait(self) -> None:
        """Wait until the process ends by itself."""
        if self._child is not None:
            self._child.wait()

    def stop(self) -> None:
        """End the process (SIGTERM, then SIGKILL); does nothing when it does not run."""
        if self._child is not None:
            child, self._child = self._child, None
            child.stop()

    def log_tail(self, lines: int = 15) -> str:
        """The last ``lines`` lines of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> PrometheusServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, program: Path) -> list[str]:
        given = {flag.split("=", 1)[0] for flag in self._flags}
        return [
            str(program),
            f"--config.file={self.config_file}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--web.enable-lifecycle",
            *(f"{name}={value}" for name, value in _DEFAULT_FLAGS.items() if name not in given),
            *self._flags,
        ]

    def _wait_ready(self) -> bool:
        """True when ready, False when the process died; raises when the time is over."""
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if not self.running:
                return False
            try:
                if self._request("GET", "/-/ready", timeout=2.0)[0] == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass  # not listening yet
            time.sleep(_POLL)
        raise BackendUnavailable(
            f"Prometheus is not ready after {self._timeout:g} s; its log ends:\n{self.log_tail()}",
            backend="prometheus",
            url=self.url,
        )

    def _raise_dead(self, tail: str) -> None:
        message = f"Prometheus did not start; its log ends:\n{tail}"
        if "Error loading config" in tail:
            raise UsageError(message, hint=f"see {self.config_file}")
        raise BackendUnavailable(message, backend="prometheus", url=self.url)

    def _post(
        self, path: str, purpose: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> str:
        try:
            status, answer = self._request("POST", path, 600.0, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise BackendUnavailable(
                f"Prometheus did not {purpose}: {error}\n{self.log_tail(5)}",
                backend="prometheus",
                url=self.url,
            ) from error
        if status not in {200, 204}:
            raise SloctlError(f"Prometheus did not {purpose}: {answer.strip()}")
        return answer

    def _request(
        self,
        method: str,
        path: str,
        timeout: float = 60.0,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", errors="replace")
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
