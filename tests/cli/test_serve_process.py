"""``sloctl serve`` as a process: it serves, says what it cannot, hides what is secret, and ends when it is asked to."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import spec
from tests.support import shop_slos
from tests.support.command_line import environment, in_process
from tests.support.faulty_server import FaultyServer, slow, status
from tests.support.interrupts import interruptible
from tests.support.scheduled import eventually
from tests.support.simulated import Flow, Simulated, serve

TOKEN = "a-token-of-readers"
SECRET = {"SLOCTL_PROMETHEUS_USERNAME": "ana", "SLOCTL_PROMETHEUS_PASSWORD": "hunter2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(shop_slos.text(shop_slos.CHECKOUT))
    return inner


@contextlib.contextmanager
def served(
    folder: Path, *options: str, env: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with interruptible():
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-W",
                    "error",
                    "-m",
                    "sloctl",
                    "serve",
                    "-f",
                    "slo.yaml",
                    "--ledger",
                    "none",
                ),
                *("--listen", "127.0.0.1:0", *options),
            ],
            cwd=folder,
            env=environment(folder) | {"SLOCTL_PROMETHEUS_RETRIES": "0"} | (env or {}),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"(http://\S+) shows shop", line)
            assert found, line + process.stderr.read()
            yield found[1], process
        finally:
            process.kill()


def get(address: str) -> tuple[int, str]:
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_pages_are_served_until_sigterm(folder: Path) -> None:
    slo_set = spec.load([folder / "slo.yaml"])
    now = datetime.now(UTC).timestamp()
    flows = [Flow(slo_set.slos[0].id, "shop", "checkout", now - 1e7, now + 1e7, 100, 0.05)]
    with FaultyServer(serve(Simulated(slo_set, flows))) as server:
        env = SECRET | {"SLOCTL_PROMETHEUS_URL": server.url, "SLOCTL_SERVE_TOKEN": TOKEN}
        with served(folder, env=env) as (url, process):
            assert eventually(lambda: get(f"{url}/readyz")[0] == 200)
            for path in (
                "/",
                "/slo/shop/checkout/availability",
                "/api/v1/slo/shop/checkout/availability",
                "/explain",
            ):
                code, text = get(url + path)
                assert code == 200 and "hunter2" not in text and TOKEN not in text
            assert "shop/checkout" in get(url)[1]
            assert urllib.request.urlopen(f"{url}/healthz").status == 200
            (folder / "slo.yaml").write_text("broken")
            process.send_signal(signal.SIGHUP)
            assert eventually(lambda: "The changed SLO file is not used" in get(url)[1])
            (folder / "slo.yaml").write_text(shop_slos.text(shop_slos.CHECKOUT.replace("99.9", "99.5")))
            process.send_signal(signal.SIGHUP)
            assert eventually(lambda: "99.5" in get(f"{url}/slo/shop/checkout/availability")[1])
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stderr is not None
            refused, used, *rest = process.stderr.read().splitlines()
            assert (
                "the changed SLO file is not used: 1 error in the SLO file; slo.yaml:1:1: " in refused
                and not rest
            )
            assert used == "sloctl: the changed SLO file is used from now on"


@pytest.mark.slow
def test_a_server_that_is_down_is_said_on_the_page(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FaultyServer(status(503)))
        url, _ = stack.enter_context(served(folder, env=SECRET | {"SLOCTL_PROMETHEUS_URL": server.url}))
        code, text = eventually(
            lambda: (found := get(url)) and "There is no answer yet:" in found[1] and found
        )
        assert code == 503 and "503" in text and "hunter2" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", "0.0.0.0:0"), "whoever reaches this address could read the pages"),
        (("--listen", "nowhere"), "--listen: 'nowhere' is not an address"),
        (("--every", "1s"), "--every: '1s' is not a duration of 10s to 1h"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = in_process(
        "serve", "-f", "slo.yaml", "--prometheus", "http://127.0.0.1:1", *options, folder=folder
    )
    assert done.code == 2 and said in done.stderr and "hint" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pages", "0.0.0.0:0"), "--pages 0.0.0.0: whoever reaches this address could read the pages"),
        (("--pages", "nowhere"), "--pages: 'nowhere' is not an address"),
        (("--pages", "127.0.0.1:0", "--every", "1s"), "--every: '1s' is not a duration of 10s to 1h"),
        (("--host", "slo.example.org"), "--host and --behind-proxy are of live pages"),
    ],
)
def test_the_scheduler_refuses_the_same(folder: Path, options: tuple[str, ...], said: str) -> None:
    (folder / "slo.yaml").write_text(shop_slos.text(shop_slos.CHECKOUT) + "jobs: [{name: slis, every: 5m}]\n")
    source = ("-f", "slo.yaml", "--prometheus", "http://127.0.0.1:1", "--ledger", "none", "--listen", "none")
    done = in_process("schedule", *source, *options, folder=folder)
    assert done.code == 2 and said in done.stderr and "hint" in done.stderr


@pytest.mark.slow
def test_it_ends_while_a_server_does_not_answer(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(FaultyServer(slow(600, status(503))))
        env = SECRET | {"SLOCTL_PROMETHEUS_URL": server.url, "SLOCTL_PROMETHEUS_TIMEOUT": "600"}
        url, process = stack.enter_context(served(folder, env=env))

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                get(f"{url}/explain")

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(
            lambda: any(asked.path.endswith("/query_range") for asked in server.requests)
        )  # the reader's
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        asking.join()
