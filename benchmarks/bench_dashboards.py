"""What dashboards cost: to generate, and the Prometheus that answers them when somebody opens one.

Each dashboard is opened as Grafana opens it (see tests/support/grafana.py): default time, default variables, panels
1,200 points wide, one query after the other. Samples are the server's own count. Some panels are compared with what
people write by hand, rates of raw counters. ``python -m benchmarks.bench_dashboards [SERVICES…]``.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks import measure
from benchmarks.bench_guardrails import GUARDRAILS, SLO_FILE, Reader, labels, loaded, scopes
from benchmarks.dashboards_history import HOUR, Past, needed
from benchmarks.mesh import NAMESPACE_SIZE, Mesh
from dashboards.manifest import boards, encode
from sloctl.artefacts.openmetrics import backfill
from sloctl.demo.server import PrometheusServer
from sloctl.model import GRID, SloSet
from tests.support.grafana import Answer, Grafana, Json, Query, View, filled, panels

SIZES = (24, 1000)
RUNS = 3
MOST = 12
"""Queries that are named because they read the most, or take the longest."""
PATIENCE = 10.0
"""Seconds of a dashboard from which on it is opened once."""
SERVICE = {"namespace": ["team-0"], "service": ["service-1"], "slo": ["availability"]}
"""What dashboards of one service show here."""
WEEK = 7 * 24 * HOUR
_AT_END = re.compile(r"([\w:]+\{[^}]*\}\[\w+(?::\w*)?\]) @ end\(\)")
_CLIENT = 'reporter="source"'
_ONE = f'{_CLIENT},destination_service_namespace="team-0",destination_service_name="service-1"'
_FAILED = 'response_code=~"5.."'
_BY = "sum by (destination_service_namespace, destination_service_name)"


def _rate(where: str, by: str = "sum", window: str = "$__rate_interval", what: str = "rate") -> str:
    return f"{by} ({what}(istio_requests_total{{{where}}}[{window}]))"


@dataclass(frozen=True, slots=True)
class Pair:
    """A query of a dashboard, and how it is written by hand."""

    name: str
    kind: str
    title: str
    ref: str
    by_hand: str
    seconds: int = 0
    """The time that is shown, where it is not the dashboard's own."""


PAIRS = (
    Pair(
        "failures of every service, 3 h",
        "mesh",
        "Failures by service",
        "A",
        f"{_rate(f'{_CLIENT},{_FAILED}', _BY)} / {_rate(_CLIENT, _BY)}",
    ),
    Pair(
        "requests of every service, 3 h",
        "mesh",
        "Requests by service",
        "A",
        f"topk(20, {_rate(_CLIENT, _BY)})",
    ),
    Pair(
        "one service's requests by code, 6 h",
        "service",
        "Requests by response code",
        "A",
        _rate(_ONE, "sum by (response_code)"),
    ),
    Pair(
        "one service's SLI as a graph, 7 d",
        "service",
        "SLI of each SLO",
        "A",
        f"1 - {_rate(f'{_ONE},{_FAILED}')} / {_rate(_ONE)}",
        WEEK,
    ),
    Pair(
        "one service's SLI as a number, 7 d",
        "service",
        "SLOs of this service",
        "B",
        f"1 - {_rate(f'{_ONE},{_FAILED}', window='$__range', what='increase')}"
        f" / {_rate(_ONE, window='$__range', what='increase')}",
        WEEK,
    ),
)


def main(sizes: Sequence[int] = SIZES, runs: int = RUNS) -> None:
    measure.title("Dashboards")
    generating(sizes, runs)
    for size in sizes:
        slo_set = loaded(SLO_FILE + scopes(size) + GUARDRAILS)
        mesh = Mesh(size, int(time.time()) // GRID * GRID)
        with serving(slo_set, mesh) as server:
            opening(slo_set, Grafana(server.url), mesh, runs)
            by_hand(slo_set, Grafana(server.url), mesh, runs)


def named(size: int) -> str:
    """An SLO for each service by name, for what is generated."""
    line = (
        "  - {{name: availability, service: service-{}, namespace: team-{}, sli: {{preset: availability}}}}\n"
    )
    return "".join(line.format(number, number // NAMESPACE_SIZE) for number in range(size))


def generating(sizes: Sequence[int], runs: int) -> None:
    print("\n`sloctl generate --only dashboards --format prometheus`, with all guardrails:\n")
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / "slo.yaml"
        for size in sizes:
            file.write_text(SLO_FILE + named(size) + GUARDRAILS, encoding="utf-8")
            slo_set = loaded(file.read_text(encoding="utf-8"))
            began = time.perf_counter()
            found = [board for _, board in boards(slo_set)]
            built = time.perf_counter() - began
            texts = [encode(board) for board in found]
            command = [*measure.SLOCTL, "generate", "-f", str(file), "-o", str(Path(name) / str(size))]
            command += ["--only", "dashboards", "--format", "prometheus"]
            cost = measure.run(command, runs=runs)
            every = [panel for board in found for panel in panels(board)]
            rows.append(
                (
                    f"{size:,}",
                    len(found),
                    len(every),
                    sum(len(panel.get("targets", [])) for panel in every),
                    f"{sum(map(len, texts)) / 1e3:,.0f} kB",
                    f"{max(map(len, texts)) / 1e3:,.0f} kB",
                    measure.seconds(built),
                    measure.seconds(cost.wall),
                    measure.seconds(cost.cpu),
                    measure.megabytes(cost.peak),
                )
            )
    head = ("services", "dashboards", "panels", "queries", "JSON", "the largest", "built in", "whole command")
    measure.table((*head, "CPU", "peak memory"), rows)
    commands = {
        "python -c pass": "pass",
        "import grafanalib.core": "import grafanalib.core",
        "import dashboards.boards": "import dashboards.boards",
    }
    costs = {text: measure.run([measure.PYTHON, "-c", code], runs=runs) for text, code in commands.items()}
    print()
    imports = [
        (f"`{text}`", measure.seconds(c.wall), measure.seconds(c.cpu), measure.megabytes(c.peak))
        for text, c in costs.items()
    ]
    measure.table(("", "time", "CPU", "peak memory"), imports)


@contextmanager
def serving(slo_set: SloSet, mesh: Mesh) -> Iterator[PrometheusServer]:
    """A Prometheus that holds a mesh, and what rules recorded of it as far back as a dashboard looks."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        began = time.monotonic()
        spans = needed(opened(slo_set, mesh.end), SERVICE)
        samples = backfill(Past(slo_set, mesh, spans).raw(WEEK), folder / "data")
        with PrometheusServer(folder, timeout=300) as server:
            found = dict(labels(slo_set, Reader(server.url, mesh.end, 1)))
        past = Past(slo_set, mesh, spans)
        samples += backfill(past.recorded(found), folder / "data")
        took = time.monotonic() - began
        print(
            f"\n{mesh.size:,} services: {samples / 1e6:.1f} million samples, built in {took:.0f} s.\n",
            flush=True,
        )
        with PrometheusServer(folder, timeout=300) as server:
            yield server


def opened(slo_set: SloSet, end: int) -> Iterator[tuple[Json, View]]:
    """Every dashboard and what it shows: its default time, and the other times of the comparison."""
    found = dict(boards(slo_set))
    for kind, board in found.items():
        yield board, View.of(board, end)
        for pair in PAIRS:
            if pair.kind == kind and pair.seconds:
                only = [p for p in panels(board) if p["title"] == pair.title]
                yield {**board, "panels": only, "annotations": {"list": []}}, View(end - pair.seconds, end)


def opening(slo_set: SloSet, grafana: Grafana, mesh: Mesh, runs: int) -> None:
    rows: list[tuple[object, ...]] = []
    every: list[tuple[int, float, tuple[object, ...]]] = []
    samples, seconds = 0, 0.0
    for kind, board in boards(slo_set):
        answers, took = _load(grafana, board, mesh.end, runs)
        if refused := [a for a in answers if a.error]:
            raise RuntimeError(f"{kind}: {refused[0].query.title}: {refused[0].error}")
        for a in answers:
            cells = (kind, a.query.title, a.query.ref, f"{a.samples:,}", measure.seconds(a.seconds))
            every.append((a.samples, a.seconds, cells))
        read = sum(a.samples for a in answers)
        samples, seconds = samples + read, seconds + took
        rows.append(
            (
                kind,
                board["time"]["from"].removeprefix("now-"),
                len(answers),
                f"{read:,}",
                measure.seconds(took),
            )
        )
    rows.append(("**all**", "", "", f"{samples:,}", measure.seconds(seconds)))
    print(f"\n{mesh.size:,} services:\n")
    measure.table(("dashboard", "shows", "queries", "samples", "time"), rows)
    most = [cells for *_, cells in sorted(every, key=lambda one: -one[0])[:MOST]]
    print("\nThe queries that read most:\n")
    measure.table(("dashboard", "panel", "query", "samples", "time"), most)
    longest = [cells for *_, cells in sorted(every, key=lambda one: -one[1])[:MOST]]
    print("\nThe queries that take longest:\n")
    measure.table(("dashboard", "panel", "query", "samples", "time"), longest)


def _once(grafana: Grafana, answer: Answer) -> Answer:
    """The answer with the samples that were read.

    Prometheus reads what stands at ``@ end()`` once, and counts it again for each step of a range.
    """
    query = answer.query
    fixed = _AT_END.findall(query.expr)
    if not fixed or query.instant:
        return answer
    counts = " + ".join(f"(sum(count_over_time({selector})) or vector(0))" for selector in fixed)
    (read,) = grafana.ask(replace(query, expr=counts, instant=True)).values
    again = int((query.end - query.start) // query.step)
    return replace(answer, samples=answer.samples - again * int(read))


def _load(grafana: Grafana, board: Json, end: int, runs: int) -> tuple[list[Answer], float]:
    """The answers of a dashboard, and the median of the seconds that it takes to open."""
    taken: list[float] = []
    while len(taken) < runs and not (taken and taken[-1] > PATIENCE):
        answers = grafana.load(board, View.of(board, end), _single(board)).answers
        taken.append(sum(a.seconds for a in answers))
    return [_once(grafana, answer) for answer in answers], median(taken)


def by_hand(slo_set: SloSet, grafana: Grafana, mesh: Mesh, runs: int) -> None:
    found = dict(boards(slo_set))
    rows = []
    for pair in PAIRS:
        board = found[pair.kind]
        view = View(mesh.end - pair.seconds, mesh.end) if pair.seconds else View.of(board, mesh.end)
        ours = _query(grafana, board, view, pair)
        expr = filled(pair.by_hand, {}, view, ours.step, view.scrape)
        theirs = Query("panel", pair.name, "A", expr, ours.instant, ours.start, ours.end, ours.step)
        a, b = (_asked(grafana, query, runs) for query in (ours, theirs))
        rows.append(
            (
                pair.name,
                f"{a.samples:,}",
                measure.seconds(a.seconds),
                f"{b.samples:,} ({b.samples / max(a.samples, 1):.2g} ×)",
                f"{measure.seconds(b.seconds)} ({b.seconds / a.seconds:.2g} ×)",
            )
        )
    print(f"\n{mesh.size:,} services, the same panel by hand:\n")
    measure.table(("", "samples", "time", "by hand: samples", "by hand: time"), rows)


def _query(grafana: Grafana, board: Json, view: View, pair: Pair) -> Query:
    only = [p for p in panels(board) if p["title"] == pair.title]
    load = grafana.load({**board, "panels": only, "annotations": {"list": []}}, view, _single(board))
    return load.of(pair.title, pair.ref).query


def _single(board: Json) -> Mapping[str, Sequence[str]]:
    names = {v["name"] for v in board["templating"]["list"] if v["type"] == "query" and not v["multi"]}
    return {name: values for name, values in SERVICE.items() if name in names}


def _asked(grafana: Grafana, query: Query, runs: int) -> Answer:
    """The answer of the median run. Raises RuntimeError for an error or nothing."""
    answers = sorted((grafana.ask(query) for _ in range(runs)), key=lambda a: a.seconds)
    found = answers[len(answers) // 2]
    if found.error or not found.series:
        raise RuntimeError(f"{query.title}: {found.error or 'nothing'}\n{query.expr}")
    return _once(grafana, found)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or SIZES)
