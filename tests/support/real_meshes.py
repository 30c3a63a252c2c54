"""What counters do on real meshes, and what they truly counted: one table for rules, for reports and for the ledger.

Samples are 30 seconds apart, as ``promtool`` writes them (``5000x3 _x2 5+1x4``); each case says how many events of each
kind happened that can be known. Nothing has stale markers, so that a backfilled TSDB says the same as a scraped one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sloctl.artefacts.openmetrics import SampledSeries
from tests.support.promtool import series

STEP = 30
MINUTES = 180
SAMPLES = MINUTES * 2 + 1
"""Instants of a case: from 0 to its last minute."""
_WORD = re.compile(r"(?P<value>-?\d+|_)(?:\+(?P<step>\d+))?(?:x(?P<times>\d+))?")


@dataclass(frozen=True, slots=True)
class MeshCase:
    """Raw series by selector; ``bad`` and ``total`` are the events of the service ``checkout`` in ``shop``.

    ``total`` is None where only bad events are of interest. ``by`` is the minute at which the bad ones must be counted.
    """

    name: str
    raw: dict[str, str]
    bad: int
    total: int | None = None
    by: int = MINUTES


def target(pod: str = "web-1", **labels: str) -> dict[str, str]:
    """The labels of a scrape target."""
    return {"job": "envoy-stats", "instance": f"{pod}:15020", "pod": pod, **labels}


def up(pod: str = "web-1", **labels: str) -> str:
    """The selector of a target's ``up``."""
    return series("up", **target(pod, **labels))


def requests(code: str, pod: str = "web-1", flags: str = "-", **labels: str) -> str:
    """The selector of a counter of requests from a pod to ``checkout``."""
    own = {
        "reporter": "source",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": code,
        "response_flags": flags,
    }
    return series("istio_requests_total", **target(pod), **(own | labels))


def _went(start: int, gain: int, samples: int) -> str:
    return f"{start}+{gain}x{samples - 1}"


def _later(since: int) -> str:
    """The rest of a counter of 300 events a sample that held a million at first, from some sample on."""
    return _went(1_000_000 + 300 * since, 300, SAMPLES - since)


def _cases() -> list[MeshCase]:
    n, half = SAMPLES, 180
    rest = n - half
    steady = {up(): f"1x{n - 1}", requests("200"): _went(1_000_000, 300, n)}
    busy = 300 * (n - 1)
    hole = 12  # samples: more than five minutes
    dark = 50  # samples: 25 minutes
    back = n - half - dark
    before, after = requests("200"), requests("503")
    cases = [
        MeshCase("nothing fails", {**steady, after: f"5000x{n - 1}"}, 0, busy),
        MeshCase(
            "a merged scrape lacks Envoy's part for six minutes",
            {
                up(): f"1x{n - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{hole} {_later(half + hole)}",
                after: f"5000x{half - 1} _x{hole} 5000x{n - half - hole - 1}",
            },
            0,
            busy,
        ),
        MeshCase(
            "a label is added to all series of a target, up included",
            {
                up(): f"1x{half - 1}",
                up(team="a"): f"_x{half} 1x{rest - 1}",
                before: _went(1_000_000, 300, half),
                after: f"5000x{half - 1}",
                requests("200", team="a"): f"_x{half} {_later(half)}",
                requests("503", team="a"): f"_x{half} 5000x{rest - 1}",
            },
            0,
        ),
        MeshCase(
            "relabelling drops a label of the metric",
            {
                up(): f"1x{n - 1}",
                requests("200", version="v1"): _went(1_000_000, 300, half),
                requests("503", version="v1"): f"5000x{half - 1}",
                before: f"_x{half} {_later(half)}",
                after: f"_x{half} 5000x{rest - 1}",
            },
            0,
        ),
        MeshCase(
            "relabelling drops a label, and is taken back after twenty minutes",
            {
                up(): f"1x{n - 1}",
                requests("200", version="v1"): f"{_went(1_000_000, 300, half)} _x40 {_later(half + 40)}",
                requests("503", version="v1"): f"5000x{half - 1} _x40 5000x{rest - 41}",
                before: f"_x{half} {_went(1_000_000 + 300 * half, 300, 40)}",
                after: f"_x{half} 5000x39",
            },
            0,
        ),
        MeshCase(
            "the proxy drops a counter and makes it again",
            {**steady, after: f"50x20 _x{half - 21} 3x{rest - 1}"},
            3,
            busy + 3,
        ),
        MeshCase(
            "an error that never was before",
            {**steady, after: f"_x{half} 50x{rest - 1}"},
            50,
            busy + 50,
            by=92,
        ),
        MeshCase(
            "the first request of a client fails",
            {up(): f"1x{n - 1}", after: f"_x{half} 7x{rest - 1}"},
            7,
            7,
            by=92,
        ),
        MeshCase(
            "an outage within a scrape gap",
            {
                up(): f"1x{half - 1} 0x{dark - 1} 1x{back - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{dark} {_went(1_000_000 + 300 * half, 300, back)}",
                after: f"5000x{half - 1} _x{dark} {5000 + 300 * dark}x{back - 1}",
            },
            300 * dark,
            300 * (half + back - 1) + 300 * dark,
            by=120,
        ),
        MeshCase(
            "an outage within a scrape gap, in which the proxy restarts",
            {
                up(): f"1x{half - 1} 0x{dark - 1} 1x{back - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{dark} {_went(600, 300, back)}",
                after: f"5000x{half - 1} _x{dark} 900x{back - 1}",
            },
            900,
            by=120,
        ),
        MeshCase(
            "the first errors of all within a scrape gap",
            {
                up(): f"1x{half - 1} 0x{dark - 1} 1x{back - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{dark} {_went(1_000_000 + 300 * half, 300, back)}",
                after: f"_x{half + dark} 4321x{back - 1}",
            },
            4321,
            by=120,
        ),
        MeshCase(
            "Prometheus does not scrape for twenty-five minutes",
            {
                up(): f"1x{half - 1} _x{dark} 1x{back - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{dark} {_later(half + dark)}",
                after: f"5000x{half - 1} _x{dark} 5555x{back - 1}",
            },
            555,
            busy + 555,
            by=120,
        ),
        MeshCase(
            "a target that is added holds whole counters",
            {
                up(): f"_x{half} 1x{rest - 1}",
                before: f"_x{half} {_went(1_000_000, 300, rest)}",
                after: f"_x{half} 5000x{rest - 1}",
            },
            0,
            300 * (rest - 1),
        ),
        MeshCase(
            "counters come without up, and one of them is new",
            {before: _went(1_000_000, 300, n), after: f"_x{half} {_went(501, 1, 120)} 620x{n - half - 121}"},
            620,
            busy + 620,
        ),
    ]
    long = 140  # samples: more than an hour
    left = n - half - long
    cases += [
        MeshCase(
            "a merged scrape lacks Envoy's part for seventy minutes",
            {
                up(): f"1x{n - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{long} {_later(half + long)}",
                after: f"5000x{half - 1} _x{long} 5000x{left - 1}",
            },
            0,
            300 * (half - 1 + left - 1),
        ),
        MeshCase(
            "a gap of seventy minutes, after which a merged scrape lacks Envoy's part at first",
            {
                up(): f"1x{half - 1} 0x{long - 3} 1x{left + 1}",
                before: f"{_went(1_000_000, 300, half)} _x{long} {_later(half + long)}",
                after: f"5000x{half - 1} _x{long} 5000x{left - 1}",
            },
            0,
            300 * (half - 1 + left - 1),
        ),
        MeshCase(
            "a gap of seventy minutes, in which the pod's processes restart",
            {
                up(): f"1x{half - 1} 0x{long - 1} 1x{left - 1}",
                series("istio_agent_process_start_time_seconds", **target()): (
                    f"-90000x{half - 1} _x{long} {30 * (half + long) - 60}x{left - 1}"
                ),
                before: f"{_went(1_000_000, 300, half)} _x{long} {_went(600, 300, left)}",
                after: f"5000x{half - 1} _x{long} 40x{left - 1}",
            },
            40,
            300 * (half - 1 + left - 1) + 600 + 40,
            by=161,
        ),
        MeshCase(
            "Prometheus does not scrape for seventy minutes, which is longer than any gap is bridged",
            {
                up(): f"1x{half - 1} _x{long} 1x{left - 1}",
                before: f"{_went(1_000_000, 300, half)} _x{long} {_later(half + long)}",
                after: f"5000x{half - 1} _x{long} 5555x{left - 1}",
            },
            0,
            300 * (half - 1 + left - 1),
        ),
        MeshCase(
            "one scrape in eight minutes succeeds, and an error is new",
            {
                up(): " ".join("0" if at % 16 else "1" for at in range(n)),
                before: " ".join("_" if at % 16 else str(1_000_000 + 300 * at) for at in range(n)),
                after: " ".join("_" if at % 16 or at < 192 else "50" for at in range(n)),
            },
            50,
            300 * (n - 1) // 4800 * 4800 + 50,
        ),
    ]
    pods = {
        series("istio_agent_process_start_time_seconds", **target("short-1")): f"_x{half} {30 * half - 15}x2",
        up("short-1"): f"_x{half} 1x1",
        requests("503", "short-1"): f"_x{half} 40 90",
    }
    cases.append(
        MeshCase("a pod that lives for a minute answers nothing but 503", steady | pods, 90, busy + 90, by=95)
    )
    pods = {
        series("kube_pod_start_time", namespace="shop", pod="short-1"): f"_x{half} {30 * half - 15}x2",
        up("short-1"): f"_x{half} 1x1",
        requests("503", "short-1"): f"_x{half} 40 90",
    }
    cases.append(
        MeshCase(
            "the same, and only kube-state-metrics knows when it started", steady | pods, 90, busy + 90, by=95
        )
    )
    old = {
        series("istio_agent_process_start_time_seconds", **target("old-1")): f"_x{half} 1x{rest - 1}",
        up("old-1"): f"_x{half} 1x{rest - 1}",
        requests("503", "old-1"): f"_x{half} 5000x{rest - 1}",
    }
    cases.append(
        MeshCase("a pod that has long been running is scraped for the first time", steady | old, 0, busy)
    )
    return cases


CASES = {case.name: case for case in _cases()}


def samples(notation: str) -> list[tuple[int, int]]:
    """What a notation says: (index of the instant, value)."""
    out: list[tuple[int, int]] = []
    at = 0
    for word in notation.split():
        match = _WORD.fullmatch(word)
        assert match, word
        times, step = int(match["times"] or 0), int(match["step"] or 0)
        if match["value"] == "_":
            at += max(times, 1)
            continue
        for number in range(times + 1):
            out.append((at, int(match["value"]) + number * step))
            at += 1
    return out


def sampled(raw: Mapping[str, str], start: int, namespace: str) -> list[SampledSeries]:
    """The raw series of a case from ``start`` on (Unix seconds), to be written to a TSDB.

    What is called ``shop`` there is called ``namespace``, and pods are named after that: many cases fit into one TSDB.
    """
    out = []
    for text, notation in raw.items():
        name, _, rest = text.partition("{")
        labels = {"__name__": name} | dict(re.findall(r'(\w+)="([^"]*)"', rest))
        for label in ("pod", "instance"):
            labels |= {label: f"{namespace}-{labels[label]}"} if label in labels else {}
        labels |= {label: namespace for label, value in labels.items() if value == "shop"}
        points = samples(notation)
        # What is a time in a case is one since its start.
        since = start if "start_time" in name else 0
        times = np.array([(start + at * STEP) * 1000 for at, _ in points], dtype=np.int64)
        out.append(
            SampledSeries(labels, times, np.array([value + since for _, value in points], dtype=np.int64))
        )
    return out
