"""A running Envoy, and what its admin server says. Knows nothing about what it proxies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sloctl.demo.mesh.programs import find_envoy
from sloctl.demo.mesh.web import ask, await_true
from sloctl.demo.programs import ChildProcess
from sloctl.errors import BackendUnavailable


class Envoy:
    """An ``envoy`` process with the configuration ``bootstrap``, as a context manager.

    ``ports`` are those that its listeners took, by name, ``admin`` is its admin server's. ``directory`` receives its
    configuration and its log, both called ``name``.
    """

    def __init__(self, name: str, directory: Path, bootstrap: Mapping[str, Any]) -> None:
        self.name = name
        self.ports: dict[str, int] = {}
        self.admin = 0
        self.log = directory / f"{name}.log"
        self._config = directory / f"{name}.json"
        self._config.write_text(json.dumps(bootstrap, indent=1), encoding="utf-8")
        self._admin_file = directory / f"{name}.admin"
        self._child: ChildProcess | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None
        return self._child.pid

    def get(self, path: str, method: str = "GET") -> str:
        """An answer of its admin server; raises BackendUnavailable if there is none."""
        return ask(self.name, self.admin, path, method)

    def stats(self) -> dict[str, int]:
        """Its counters and gauges that are in use, by Envoy's full name."""
        lines = self.get("/stats?usedonly&type=Counters") + self.get("/stats?usedonly&type=Gauges")
        pairs = (line.rpartition(": ") for line in lines.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def set_runtime(self, name: str, value: float) -> None:
        """Override a value of its runtime."""
        self.get(f"/runtime_modify?{urlencode({name: value})}", "POST")

    def __enter__(self) -> Envoy:
        self._admin_file.unlink(missing_ok=True)
        command = [str(find_envoy()), "-c", str(self._config), "--disable-hot-restart", "--concurrency", "1"]
        command += ["--admin-address-path", str(self._admin_file), "--log-level", "warning"]
        self._child = ChildProcess(command, log=self.log)
        try:
            await_true(lambda: f"{self.name} listens", self._listens, patience=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop(grace=3)

    def _listens(self) -> bool:
        assert self._child is not None
        if self._child.exit_code is not None:
            raise self._unavailable("ended")
        if not self.admin:
            text = self._admin_file.read_text(encoding="ascii") if self._admin_file.exists() else ""
            self.admin = int(text.rpartition(":")[2] or 0)
        if not self.admin or json.loads(self.get("/server_info"))["state"] != "LIVE":
            return False
        for item in json.loads(self.get("/listeners?format=json"))["listener_statuses"]:
            self.ports[item["name"]] = item["local_address"]["socket_address"]["port_value"]
        return all(self.ports.values())

    def _unavailable(self, what: str) -> BackendUnavailable:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:]) if self.log.exists() else ""
        url = f"http://127.0.0.1:{self.admin}"
        return BackendUnavailable(f"the Envoy {self.name} {what}\n{tail}", backend="envoy", url=url)
