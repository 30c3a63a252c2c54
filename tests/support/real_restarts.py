"""What kube-state-metrics tells of proxies that restart, and how often they truly did: one table for rules and jobs.

Samples are 30 seconds apart, in the notation of :mod:`tests.support.real_meshes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.promtool import series
from tests.support.real_meshes import SAMPLES

POD = "checkout-5d8f7c9b6d-xx2xb"
OTHER = "cart-5d8f7c9b6d-xx2xb"
NATIVE = "kube_pod_init_container_status_restarts_total"
N, HALF = SAMPLES, SAMPLES // 2
GAP = 40
"""Samples of twenty minutes."""


@dataclass(frozen=True, slots=True)
class RestartCase:
    """Raw series by selector, and the restarts that can be known."""

    raw: dict[str, str]
    restarts: int


def told(pod: str = POD, replica: int = 1, metric: str = "", **labels: str) -> str:
    """The selector of a count, as kube-state-metrics 2.x tells it; an empty label is none."""
    found = {
        "cluster": "shop",
        "job": "kube-state-metrics",
        "instance": f"ksm-{replica}:8080",
        "namespace": "shop",
        "pod": pod,
        "container": "istio-proxy",
        "uid": f"uid-of-{pod}",
        **labels,
    }
    metric = metric or "kube_pod_container_status_restarts_total"
    return series(metric, **{name: value for name, value in found.items() if value})


def began(pod: str = POD, replica: int = 1) -> str:
    """The selector of a pod's start time."""
    return told(pod, replica, "kube_pod_start_time", container="")


def _cases() -> dict[str, RestartCase]:
    rest, back = N - HALF, N - HALF - GAP
    steady = {told(OTHER): f"4x{N - 1}"}
    dark = {told(OTHER): f"4x{HALF - 1} _x{GAP} 4x{back - 1}"}
    moved = {told(OTHER): f"4x{HALF - 1}", told(OTHER, 2): f"_x{HALF + GAP} 4x{back - 1}"}
    whole, long_ago = f"{N - 1}", -100_000
    cases = {
        "nothing restarts": ({told(): f"7x{whole}"}, 0),
        "a proxy restarts": ({told(): f"2x{HALF - 1} 3x{rest - 1}"}, 1),
        "a native sidecar restarts": ({told(metric=NATIVE): f"2x{HALF - 1} 4x{rest - 1}"}, 2),
        "an upgrade of kube-state-metrics adds a uid": (
            {told(uid=""): f"7x{HALF - 1}", told(): f"_x{HALF} 7x{rest - 1}"},
            0,
        ),
        "an upgrade adds a uid, and the pod is young": (
            {
                told(uid=""): f"7x{HALF - 1}",
                told(replica=2): f"_x{HALF} 7x{rest - 1}",
                began(replica=2): f"_x{HALF} 1x{rest - 1}",
                **steady,
            },
            0,
        ),
        "an upgrade adds a uid, and proxies restart meanwhile": (
            {told(uid=""): f"7x{HALF - 1}", told(replica=2): f"_x{HALF + GAP} 9x{back - 1}"},
            2,
        ),
        "while it is rolled out, both tell of the same restarts": (
            {told(uid=""): f"7x{HALF - 4} 8x9", told(replica=2): f"_x{HALF - 6} 7x2 8x{rest + 2}"},
            1,
        ),
        "a relabelling drops the uid": (
            {told(): f"7x{HALF - 1}", told(uid=""): f"_x{HALF} 7x{rest - 1}", **steady},
            0,
        ),
        "proxies restart in a gap of twenty minutes": (
            {told(): f"3x{HALF - 1} _x{GAP} 5x{back - 1}", **dark},
            2,
        ),
        "proxies restart in a gap of ninety minutes": ({told(): f"3x79 _x180 5x{N - 261}"}, 2),
        "kube-state-metrics moves in the gap": (
            {told(): f"3x{HALF - 1}", told(replica=2): f"_x{HALF + GAP} 5x{back - 1}", **moved},
            2,
        ),
        "two replicas tell of the same restarts": (
            {told(): f"2x{HALF - 1} 3x{rest - 1}", told(replica=2): f"2x{HALF} 3x{rest - 2}"},
            1,
        ),
        "a replica is behind, and then alone": (
            {told(): f"1x{HALF - 1} 3x4", told(replica=2): f"1x{HALF + 2} 2x6 3x{rest - 11}"},
            2,
        ),
        "a replica without a uid is behind, and then alone": (
            {
                told(uid=""): f"1x{HALF - 1} 3x4",
                told(replica=2, uid=""): f"1x{HALF + 2} 2x6 3x{rest - 11}",
            },
            2,
        ),
        "a shard is away for seventy minutes": (
            {told(replica=2): f"9x{HALF - 71} _x140 9x{rest - 71}", **steady},
            0,
        ),
        "a pod of a stateful set is made again": (
            {told("db-0", uid="a"): f"5x{HALF - 1}", told("db-0", uid="b"): f"_x{HALF} 0x9 1x{rest - 11}"},
            1,
        ),
        "it is made again three times": (
            {
                told("db-0", uid="a"): "5x99 6x20",
                told("db-0", uid="b"): "_x122 0x9 1x30",
                told("db-0", uid="c"): f"_x164 0x9 1x9 2x{N - 185}",
            },
            4,
        ),
        "it is made again, and has no uid": ({told("db-0", uid=""): f"5x{HALF - 1} 0x9 1x{rest - 11}"}, 1),
        "it restarts, is made again and restarts, and has no uid": (
            {told("db-0", uid=""): f"5x99 6x{HALF - 101} 0x9 2x{rest - 11}"},
            3,
        ),
        "it is made again in a gap, and has no uid": (
            {told("db-0", uid=""): f"5x{HALF - 1} _x{GAP} 1x{back - 1}", **dark},
            1,
        ),
        "it is made again after kube-state-metrics moved, and has no uid": (
            {
                told("db-0", uid=""): "9x79",
                told("db-0", 2, uid=""): f"_x81 9x{HALF - 82} 0x9 1x{rest - 11}",
            },
            1,
        ),
        "a new pod has restarted before it is told of": (
            {told(): f"_x{HALF} 2x9 3x{rest - 11}", **steady},
            3,
        ),
        "a new pod is first told of after a gap": ({told(): f"_x{HALF + GAP} 3x{back - 1}", **dark}, 3),
        "so is one that kube-state-metrics says the start of, which moved": (
            {
                told(replica=2): f"_x{HALF + GAP} 3x{back - 1}",
                began(replica=2): f"_x{HALF + GAP} {30 * HALF + 60}x{back - 1}",
                **moved,
            },
            3,
        ),
        "an old pod is first told of": (
            {told(): f"_x{HALF} 9x{rest - 1}", began(): f"_x{HALF} {long_ago}x{rest - 1}", **steady},
            0,
        ),
        "kube-state-metrics is new": ({told(): f"_x{HALF} 9x{rest - 1}"}, 0),
        "kube-state-metrics is new, and so are pods": (
            {told(): f"_x{HALF} 9x{rest - 1}", began(): f"_x{HALF} 60x{rest - 1}"},
            0,
        ),
        "kube-state-metrics starts, and answers at first without some pods": (
            {told(): f"_x{HALF + 6} 9x{rest - 7}", told(OTHER): f"_x{HALF} 4x{rest - 1}"},
            0,
        ),
    }
    return {name: RestartCase(*case) for name, case in cases.items()}


CASES = _cases()
