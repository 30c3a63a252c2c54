"""Continues a history in real time: a small exporter that plays the same world on, pod by pod.

Prometheus scrapes it as it would have scraped the pods: :meth:`LiveShop.scrape_configs` gives each target
the labels that it has in the history, so that live samples continue the same series. What happens between
the end of the history and the start of the exporter is counted but was not scraped: an honest gap, as if
Prometheus had been down. Restarts and deploys after the end are not played.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from sloctl.artefacts.openmetrics import series_text
from sloctl.demo.engine import Simulation
from sloctl.demo.history import History
from sloctl.demo.latency import DURATION
from sloctl.demo.pods import KUBE_JOB, Labels, Target
from sloctl.demo.truth import CountArray
from sloctl.demo.world import Grid

_STEP = 5.0
"""Seconds between two updates of the counters."""
_CHUNK = 720
"""Ticks that are played ahead at a time (an hour)."""
_CATCH_UP = 60.0
"""Seconds per tick while the exporter plays what happened before it started."""


@dataclass
class _Live:
    """A counter that is being continued: its text up to the value, and its values after each tick."""

    key: Labels
    target: Target
    text: str
    name: str
    lazy: bool
    values: CountArray


class LiveWorld:
    """The world after the end of a history: what each target exposes at an instant.

    Instants (Unix seconds) must not go back by more than the hour that is played at a time.
    """

    def __init__(self, history: History) -> None:
        self._world = history.world
        self._end = history.end
        self._state: dict[Labels, int] = dict(history.state)
        self._grid = Grid(self._world.last_scrape, _STEP, 0)
        self._counters: list[_Live] = []
        self.targets: list[Target] = []
        self._play(self._grid)
        self.targets = [target for target in self._simulated.targets if target.first <= 0 <= target.last]

    def page(self, path: str, at: float) -> str | None:
        """The exposition of the target with that path at the instant ``at``, or None.

        There is none if no such pod exists, or if a scrape gap hides it.
        """
        moment = at - self._end
        self._advance(moment)
        known = [target for target in self.targets if target.page == path]
        if not known or any(start < moment <= end for target in known for start, end in target.gaps):
            return None
        tick = int((moment - self._grid.start) // self._grid.step)
        tick = max(0, min(tick, self._grid.count))
        lines: list[str] = []
        family = ""
        for live in self._counters:
            value = int(live.values[tick])
            if live.target.page != path or (live.lazy and not value):
                continue
            kind = f"{DURATION} histogram" if live.name.startswith(DURATION) else f"{live.name} counter"
            if kind != family:
                family = kind
                lines.append(f"# TYPE {kind}\n")
            lines.append(f"{live.text}{value}\n")
        return "".join(lines)

    def _advance(self, moment: float) -> None:
        behind = moment - self._grid.start - self._grid.step * self._grid.count
        if behind > _CHUNK * _STEP:
            self._next(_CATCH_UP, int(behind // _CATCH_UP))
        while moment > self._grid.start + self._grid.step * self._grid.count:
            self._next(_STEP, _CHUNK)

    def _next(self, step: float, count: int) -> None:
        for live in self._counters:
            self._state[live.key] = int(live.values[-1])
        start = self._grid.start + self._grid.step * self._grid.count
        self._play(Grid(start, step, count))

    def _play(self, grid: Grid) -> None:
        self._grid = grid
        self._simulated = simulated = Simulation(self._world, grid)
        found: dict[Labels, _Live] = {}
        for counter in simulated.counters:
            if not counter.target.first <= 0 <= counter.target.last or not counter.life[1] >= 0:
                continue
            labels = {**dict(counter.target.labels), **dict(counter.labels)}
            key = tuple(sorted(labels.items()))
            values = np.zeros(grid.count + 1, dtype=np.int64)
            values[1:] = np.cumsum(counter.events)
            found[key] = _Live(
                key,
                counter.target,
                series_text(dict(counter.labels)),
                labels["__name__"],
                counter.lazy,
                values,
            )
        self._keep_silent_ones(found, grid)
        for key, live in found.items():
            live.values += self._state.get(key, 0)
        self._counters = sorted(found.values(), key=lambda live: (live.target.page, live.name, live.text))

    def _keep_silent_ones(self, found: dict[Labels, _Live], grid: Grid) -> None:
        """Counters that count nothing in this chunk are exposed with what they had."""
        targets = {target.labels: target for target in self._simulated.targets}
        for key in self._state:
            if key in found:
                continue
            labels = dict(key)
            target = next(
                (
                    target
                    for own, target in targets.items()
                    if all(labels.get(label) == value for label, value in own)
                ),
                None,
            )
            if target is not None:
                mine = {label: value for label, value in key if (label, value) not in target.labels}
                silent = np.zeros(grid.count + 1, dtype=np.int64)
                found[key] = _Live(key, target, series_text(mine), labels["__name__"], True, silent)


class LiveShop:
    """An HTTP server on 127.0.0.1 that exposes the pods of a history's world from its end on.

    A context manager. ``clock`` gives Unix seconds (``time.time``).
    """

    def __init__(self, history: History, *, clock: Callable[[], float]) -> None:
        self._live = LiveWorld(history)
        self._clock = clock
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """``host:port`` of the running server."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> LiveShop:
        """Play up to now and serve."""
        self.page("")
        outer = self

        class Handler(_Handler):
            shop = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="live-shop", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving; does nothing when it does not serve."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def page(self, path: str) -> str | None:
        """The exposition of one target now; see :meth:`LiveWorld.page`."""
        with self._lock:
            return self._live.page(path, self._clock())

    def scrape_configs(self, interval: int = 60) -> list[Mapping[str, Any]]:
        """The scrape_configs of a prometheus.yml that give all targets the labels of the history.

        ``interval`` is in seconds.
        """
        jobs: dict[str, list[dict[str, Any]]] = {}
        for target in self._live.targets:
            labels = dict(target.labels)
            job = labels.pop("job")
            labels["__metrics_path__"] = target.page
            jobs.setdefault(job, []).append({"targets": [self.address], "labels": labels})
        return [
            {
                "job_name": job,
                "scrape_interval": f"{interval}s",
                "scrape_timeout": f"{min(interval, 10)}s",
                # Its series name the namespaces and pods that they are about.
                "honor_labels": job == KUBE_JOB,
                "static_configs": targets,
            }
            for job, targets in jobs.items()
        ]

    def __enter__(self) -> LiveShop:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for one target's page."""

    shop: LiveShop

    def do_GET(self) -> None:
        """The page, or 503 for a target that cannot be scraped."""
        text = self.shop.page(self.path)
        body = (text or "").encode()
        self.send_response(HTTPStatus.OK if text is not None else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the demo's terminal is for its own words."""
