"""A real Prometheus that has the history and scrapes the live shop sees one and the same series."""

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from sloctl.demo.history import build_history
from sloctl.demo.live import LiveShop
from sloctl.demo.server import PrometheusServer
from sloctl.demo.shop import corner_shop


def _query(url: str, expression: str) -> list[dict[str, Any]]:
    text = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query", data=text.encode(), timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def test_live_samples_continue_the_history(tmp_path: Path) -> None:
    end = int(time.time()) // 300 * 300
    history = build_history(corner_shop(0.25), end, tmp_path)
    alive = {key for key in history.state if dict(key)["__name__"] == "istio_requests_total"}
    with (
        LiveShop(history, clock=time.time) as shop,
        PrometheusServer(
            tmp_path / "server", data=history.data_dir, scrape_configs=shop.scrape_configs(1)
        ) as server,
    ):
        expected = len(shop.scrape_configs()[0]["static_configs"])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            ups = _query(server.url, f'up{{job="envoy-stats"}} and timestamp(up) > {end}')
            if len(ups) == expected:
                break
            time.sleep(0.2)
        assert {one["value"][1] for one in ups} == {"1"}
        assert len(ups) == expected
        # The last five minutes, and the hour before the end, hold the same targets.
        before = _query(server.url, f"count(last_over_time(up[1h] @ {end}))")[0]["value"][1]
        assert _query(server.url, "count(last_over_time(up[1h]))")[0]["value"][1] == before
        joined = 0
        for one in _query(server.url, "istio_requests_total[20m]"):
            stamps = [stamp for stamp, _ in one["values"]]
            values = [int(value) for _, value in one["values"]]
            if tuple(sorted(one["metric"].items())) in alive:
                assert stamps[0] < end < stamps[-1], one["metric"]
                assert values == sorted(values)
                joined += 1
        assert joined == len(alive) > 20
