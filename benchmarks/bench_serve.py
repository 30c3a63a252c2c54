"""What live pages cost: 1,000 SLOs, many readers at once, each page asked for again and again.

Pages are served by one process, from a report with 180 buckets of history for each SLO; another asks. New reports come
meanwhile, as fast as a refresh might. ``python -m benchmarks.bench_serve [SLOS [READERS [SECONDS]]]``.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from benchmarks import measure
from sloctl.telemetry.web import Web
from tests.support.reports import drawn, report
from tests.support.served import Site, slo_set

SLOS, READERS, SECONDS = 1000, 300, 20.0
REFRESH = 5.0
"""Seconds between two reports: much less than anybody would choose."""
PAGES = {
    "overview": "/",
    "search": "/?q=s1&sort=budget+left",
    "page 5": "/?page=5",
    "an SLO": "/slo/shop/s7/availability",
    "JSON of all": "/api/v1/overview",
    "badge": "/badge/shop/s7/availability.svg",
}
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
slos: [{name: availability, service: "*", namespace: shop, objective: 99.9, sli: {preset: availability}}]
"""


def main(slos: int = SLOS, readers: int = READERS, seconds: float = SECONDS) -> None:
    measure.title(f"Live pages: {slos:,} SLOs, {readers} readers")
    made = report(*(drawn(number % 7 / 10, service=f"s{number}") for number in range(slos)))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        site = Site(slo_set(Path(name), FILE), lambda: made, every=REFRESH)
        with Web("127.0.0.1:0", cast(Any, site.application())) as web:
            rows = [_first(site, web.address, title, path) for title, path in PAGES.items()]
            with site.refresher:
                found = _crowd(web.address, readers, seconds)
        site.answers.close()
    measure.table(("page", "bytes", "first time", "then"), rows)
    print()
    measure.table(
        ("readers", "requests a second", "median", "99 of 100 within", "longest", "refused"),
        [found],
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"\nPeak memory of the serving process {measure.megabytes(peak)}, its own report of {slos:,} SLOs included."
    )


def _first(site: Site, address: str, title: str, path: str) -> tuple[str, ...]:
    site.refresher.refresh()
    sizes, times = [], []
    for _ in range(2):
        began = time.perf_counter()
        sizes.append(asyncio.run(_ask(address, path)))
        times.append(time.perf_counter() - began)
    return title, f"{sizes[0]:,}", measure.seconds(times[0]), measure.seconds(times[1])


async def _ask(address: str, path: str) -> int:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        status, size = await _exchange(reader, writer, path)
    finally:
        writer.close()
    if status != 200:
        raise RuntimeError(f"{path}: {status}")
    return size


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, int]:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    await reader.readexactly(size)
    return int(head.split()[1]), size


def _crowd(address: str, readers: int, seconds: float) -> tuple[str, ...]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_serve", "--ask", address, str(readers), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return tuple(done.stdout.split("|"))


async def crowd(address: str, readers: int, seconds: float) -> str:
    """Readers that ask for pages one after the other, each over one connection."""
    host, _, port = address.partition(":")
    times: list[float] = []
    refused = 0
    paths = list(PAGES.values())
    end = time.perf_counter() + seconds

    async def read(number: int) -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(host, int(port))
        while (began := time.perf_counter()) < end:
            number += 1
            status, _ = await _exchange(reader, writer, paths[number % 4])
            times.append(time.perf_counter() - began)
            refused += status != 200
        writer.close()

    await asyncio.gather(*(read(number) for number in range(readers)))
    times.sort()
    cells = (times[len(times) // 2], times[int(len(times) * 0.99)], times[-1])
    return "|".join(
        (
            str(readers),
            f"{len(times) / seconds:,.0f}",
            *(measure.seconds(cell) for cell in cells),
            str(refused),
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        print(asyncio.run(crowd(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))), end="")
    else:
        main(*map(int, sys.argv[1:3]), *map(float, sys.argv[3:]))
