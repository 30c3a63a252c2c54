"""More than an hour of schedule in a quarter of a minute: nothing that the scheduler holds grows.

``make soak`` does the same for hours and days, with numbers.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from sloctl import spec
from tests.support.faulty_server import FaultyServer, Handler, hang_up, status
from tests.support.scheduled import eventually, scheduled, slo_file
from tests.support.simulated import Flow, Simulated, serve
from tests.support.soak import soak

JOBS = ("name: burn_rate, every: 1m", "name: report, every: 5m", "name: report, cron: '*/7 * * * *'")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")]


@pytest.mark.skipif("SLOCTL_SOAK" not in os.environ, reason="an hour of schedule: make soak")
def test_hours_of_schedule_leave_nothing_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "jobs")
    path = slo_file(tmp_path, "http://127.0.0.1:1", *JOBS)
    slo_set = spec.load([path])
    start = time.time() - 40 * 86400
    flow = Flow(slo_set.slos[0].id, "shop", "checkout", start, start + 10**9, total=600, bad=0.3)
    simulated = Simulated(slo_set, [flow])
    answer = serve(simulated)
    asked = [0]

    def unreliable(handler: Handler) -> None:
        asked[0] += 1
        if asked[0] % 20 == 0:  # what the simulation itself remembers
            simulated.asked.clear()
            server.requests.clear()
        every = {97: hang_up, 151: status(503)}
        next((what for number, what in every.items() if asked[0] % number == 0), answer)(handler)

    with FaultyServer(unreliable) as server:
        slo_file(tmp_path, server.url, *JOBS)
        os.environ["SLOCTL_PROMETHEUS_RETRIES"] = "0"
        try:
            found = soak(path, 15, 300)
        finally:
            del os.environ["SLOCTL_PROMETHEUS_RETRIES"]
        server.requests.clear()
    assert found.scheduled > timedelta(hours=1)
    assert found.runs > 25
    assert found.failed > 2
    # What a run holds comes and goes; what is never given back raises the least that is ever held.
    early, late = found.held[: len(found.held) // 2], found.held[len(found.held) // 2 :]
    least = [min(held.threads for held in half) for half in (early, late)]
    assert least[1] <= least[0] + 1, found.held
    for kind in ("socket", "pipe"):
        least = [min(held.files[kind] for held in half) for half in (early, late)]
        assert least[1] <= least[0] + 1, found.held
    least = [min(sum(held.files.values()) for held in half) for half in (early, late)]
    assert least[1] <= least[0] + 2, found.held
    least = [min(held.resident for held in half) for half in (early, late)]
    assert least[1] - least[0] < 6 * 2**20, found.held


def test_a_process_holds_no_more_after_many_scrapes_and_runs(tmp_path: Path) -> None:
    path = slo_file(tmp_path, "http://127.0.0.1:1", "name: burn_rate, every: 1m")
    behave = serve(Simulated(spec.load([path])))
    with FaultyServer(behave) as server:
        slo_file(tmp_path, server.url, "name: burn_rate, every: 1m")
        with scheduled(tmp_path, "--ledger", "ledger.db") as process:
            eventually(lambda: any(text.startswith("succeeded") for text in process.messages("burn_rate")))
            proc = Path(f"/proc/{process.process.pid}")

            def held() -> tuple[int, int, int]:
                resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                return resident, len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir()))

            for _ in range(100):
                process.get("/metrics")
            before = held()
            for number in range(1500):
                process.get(("/metrics", "/readyz", "/healthz", "/nothing")[number % 4])
            after = held()
            assert after[0] - before[0] < 4 * 2**20
            assert after[1] <= before[1] + 2
            assert after[2] <= before[2] + 2
            assert [name for name in tmp_path.iterdir() if name.name.startswith(".")] == []
            assert process.end() == 0
