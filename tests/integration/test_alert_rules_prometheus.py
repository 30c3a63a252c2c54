"""The rules' expressions on a real Prometheus: on backfilled history, and on live scrapes across a restart.

promtool's unit tests place every sample on a whole minute. Real scrapes fall anywhere, and a restart of the server
leaves what no test notation can say: series without stale markers.
"""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sloctl import promql
from sloctl.demo.server import PrometheusServer
from sloctl.model import Mesh
from tests.support.prometheus_fixture import running_prometheus
from tests.support.promtool import series, slo

START = 1_700_000_100  # a multiple of five minutes
LENGTH = 3600


def query(url: str, expr: str, at: float) -> list[tuple[dict[str, str], float]]:
    data = urllib.parse.urlencode({"query": expr, "time": f"{at:.3f}"}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", data=data, timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    return [(item["metric"], float(item["value"][1])) for item in result]


def number(url: str, expr: str, at: float) -> float:
    """The only value of an answer; 0 if it has none."""
    found = query(url, expr, at)
    assert len(found) <= 1, found
    return found[0][1] if found else 0.0


@dataclass
class Pod:
    """A pod scraped every ``every`` seconds at its own phase; what happens to it is in :meth:`history`."""

    service: str
    every: int
    phase: float
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    bad: list[tuple[float, int]] = field(default_factory=list)
    total: list[tuple[float, int]] = field(default_factory=list)

    @property
    def target(self) -> dict[str, str]:
        return {"job": "envoy", "instance": f"{self.service}:15020", "pod": f"{self.service}-1"}

    def history(self, dice: random.Random) -> None:
        """Counters at each scrape, and the true events between a scrape and the one before, at its time."""
        appears = dice.choice([0, 0, 900, 1000, 1300])
        counters: dict[str, int] = {"200": dice.choice([0, 5, 10**6])}
        if dice.random() < 0.3:
            counters["503"] = 10**6
        restart = dice.choice([None, dice.randrange(2200, 3000)]) if counters["200"] == 10**6 else None
        gap = dice.choice([None, dice.randrange(1700, 1900)])
        first = True
        now = self.phase
        while now < LENGTH:
            gains = {"200": dice.randrange(20), "503": dice.choice([0] * 19 + [50])}
            if restart is not None and now > restart:
                counters, restart = {}, None
            for code, gain in gains.items():
                if gain:
                    counters[code] = counters.get(code, 0) + gain
            if now >= appears:
                missed = gap is not None and gap < now < gap + 200
                self._sample("up", {}, now, 0 if missed else 1)
                if not missed:
                    for code, value in counters.items():
                        self._sample("istio_requests_total", {"response_code": code}, now, value)
                if not first:
                    self.total.append((now, sum(gains.values())))
                    self.bad.append((now, gains["503"]))
                first = first and missed
            now += self.every

    def _sample(self, metric: str, labels: dict[str, str], now: float, value: float) -> None:
        own = {
            "reporter": "source",
            "destination_service_namespace": "shop",
            "destination_service_name": self.service,
        }
        name = series(metric, **self.target, **(own | labels if labels else {}))
        self.lines.setdefault(name, []).append((START + now, value))

    def true(self, events: list[tuple[float, int]]) -> int:
        return sum(count for _, count in events)


def openmetrics(pods: list[Pod]) -> str:
    out = []
    for metric, kind in (("istio_requests", "counter"), ("up", "gauge")):
        out.append(f"# TYPE {metric} {kind}")
        for pod in pods:
            for name, samples in pod.lines.items():
                if name.startswith(metric):
                    out += [f"{name} {value} {stamp:.3f}" for stamp, value in samples]
    return "\n".join([*out, "# EOF", ""])


@pytest.fixture(scope="module")
def pods() -> list[Pod]:
    dice = random.Random(20240229)
    found = [
        Pod(f"service-{index}", every, round(dice.uniform(0, every), 3))
        for index, every in enumerate([5, 10, 15, 15, 30, 30, 60, 60] * 5)
    ]
    for pod in found:
        pod.history(dice)
    return found


@pytest.fixture(scope="module")
def backfilled(pods: list[Pod], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_prometheus(tmp_path_factory.mktemp("tsdb"), openmetrics(pods)) as url:
        yield url


@pytest.mark.parametrize("step", [60, 300])
def test_scrapes_off_the_grid_add_up_to_what_happened(backfilled: str, pods: list[Pod], step: int) -> None:
    """Pods that appear, restart, miss scrapes for 200 seconds and make series with their first error."""
    texts = promql.events(slo(service="*"), Mesh(), step)
    for kind in ("bad", "total"):
        sums: dict[str, float] = {}
        for instant in range(START + step, START + LENGTH + 1, step):
            for labels, value in query(backfilled, texts[kind], instant):
                assert value >= 0
                sums[labels["service"]] = sums.get(labels["service"], 0.0) + value
        assert sums == {
            pod.service: pod.true(pod.bad if kind == "bad" else pod.total) for pod in pods if pod.lines
        }


def test_increase_would_have_said_something_else(backfilled: str, pods: list[Pod]) -> None:
    """Why the rules do not use it: it never sees the first errors and extrapolates the rest."""
    expr = 'sum(increase(istio_requests_total{response_code="503"}[5m]))'
    truth = sum(pod.true(pod.bad) for pod in pods)
    said = sum(number(backfilled, expr, at) for at in range(START + 300, START + LENGTH + 1, 300))
    assert abs(said - truth) > 0.02 * truth


class Exporter:
    """A target whose counters, health and life the test decides."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.healthy = True
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [
                    f'requests_total{{code="{code}"}} {value}' for code, value in exporter.counters.items()
                ]
                body = "\n".join([*lines, ""]).encode()
                self.send_response(200 if exporter.healthy else 500)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Exporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Scene:
    """A Prometheus that scrapes an exporter every second."""

    WINDOW = 3

    def __init__(self, exporter: Exporter, folder: Path) -> None:
        scrape = {"job_name": "live", "static_configs": [{"targets": [exporter.address]}]}
        self.exporter = exporter
        self.server = PrometheusServer(folder, scrape_configs=[scrape], scrape_interval="1s")
        self.began = time.time()

    def until(self, holds: Callable[[float], bool], what: str) -> float:
        """The first time at which something holds."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            now = time.time()
            if holds(now):
                return now
            time.sleep(0.1)
        raise AssertionError(f"not within 30 s: {what}\n{self.server.log_tail()}")

    def scraped(self, scrapes: int = 2) -> float:
        """Wait for some more scrapes, whatever they found."""
        since = time.time()
        return self.until(
            lambda now: (
                number(self.server.url, f"count_over_time(up[{max(1, int(now - since))}s])", now) >= scrapes
                and number(self.server.url, "timestamp(up)", now) > since
            ),
            "scrapes",
        )

    def shows(self, code: str, value: int) -> float:
        """Wait until a counter is seen at a value."""
        return self.until(
            lambda now: number(self.server.url, f'requests_total{{code="{code}"}}', now) == value,
            f"{code} at {value}",
        )

    def passed(self, moment: float) -> None:
        self.until(lambda now: now >= moment, "the end of a window")

    def charged(self, code: str, since: float, until: float) -> float:
        """What adjoining windows charge together, from the window of ``since`` to that of ``until``."""
        expr = promql.increments(
            f'requests_total{{code="{code}"}}', self.WINDOW, Mesh(target_labels=("job", "instance"))
        )
        total, end = 0.0, since
        while end < until:
            end += self.WINDOW
            # Half a second more: a scrape has its time stamp before its samples can be read.
            self.passed(end + 0.5)
            total += number(self.server.url, expr, end)
        return total


@pytest.mark.slow
def test_live_scrapes_and_a_restart_of_prometheus(tmp_path: Path) -> None:
    with Exporter() as exporter:
        exporter.counters = {"200": 1_000_000}
        scene = Scene(exporter, tmp_path / "prometheus")
        began = scene.began
        with scene.server:
            scene.shows("200", 1_000_000)
            scene.scraped()

            exporter.counters["503"] = 50
            seen = scene.shows("503", 50)
            assert scene.charged("503", began, seen) == 50, "a series that first appears at 50"

            exporter.healthy = False  # up 0, and stale markers on every series
            scene.until(lambda now: number(scene.server.url, "up", now) == 0, "a failed scrape")
            exporter.healthy = True
            seen = scene.shows("503", 50)
            assert scene.charged("200", began, seen) == 0, "a target that appears at a million"
            assert scene.charged("503", began, seen) == 50, "a failed scrape adds nothing"

        exporter.counters = {"200": 1_000_300, "503": 57}
        with scene.server:
            seen = scene.shows("503", 57)
            assert scene.charged("200", began, seen) == 300
            assert scene.charged("503", began, seen) == 57

            exporter.counters = {"200": 10}  # its process restarts, and has no errors yet
            scene.shows("200", 10)
            scene.scraped()
            exporter.counters = {"200": 12, "503": 3}
            seen = scene.shows("503", 3)
            assert scene.charged("200", began, seen) == 312
            assert scene.charged("503", began, seen) == 60

        exporter.counters = {"200": 5_000_000, "503": 5_000_000}
        scene = Scene(exporter, tmp_path / "empty")
        with scene.server:
            scene.shows("503", 5_000_000)
            exporter.counters["503"] += 4
            seen = scene.shows("503", 5_000_004)
            assert scene.charged("503", scene.began, seen) == 4, "an empty TSDB knows no past"
