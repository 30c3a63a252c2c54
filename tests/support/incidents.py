"""A small mesh whose incidents are known: calls by edge and minute, with failures that travel up the calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jobs.origins.onset import Counts
from jobs.origins.traffic import STEP, Calls, Edge, Place, Traffic
from sloctl.artefacts.openmetrics import SampledSeries

STEPS = 180
BEGAN = 140
"""The step at which incidents begin."""
GATEWAY: Place = ("istio-system", "istio-ingressgateway")
GRAPH: Mapping[str, Sequence[tuple[str, float]]] = {
    "frontend": (
        ("search", 0.5),
        ("catalog", 0.8),
        ("cart", 0.4),
        ("checkout", 0.3),
        ("recommendations", 0.6),
    ),
    "checkout": (("payments", 1.0), ("inventory", 1.0), ("orders", 1.0), ("tax", 1.0)),
    "payments": (("bank", 1.0), ("inventory", 0.5)),
    "orders": (("shipping", 0.7),),
    "shipping": (("inventory", 1.0), ("maps", 0.5)),
    "catalog": (("prices", 1.0), ("inventory", 0.3)),
    "cart": (("prices", 1.0),),
    "recommendations": (("ranking", 1.0),),
}
"""What each service calls for one of its requests, and how often."""
ORDER = (
    "inventory bank tax maps prices ranking search shipping payments orders checkout catalog cart "
    "recommendations frontend"
).split()
"""Services, the called before their callers."""


@dataclass(frozen=True)
class Trouble:
    """From ``begins`` to ``ends``, a share of a service's requests fails by itself.

    ``unreached``: nobody answers. ``caller``: only this one's calls.
    """

    service: str
    share: float
    begins: int = BEGAN
    ends: int = STEPS
    unreached: bool = False
    caller: str = ""


@dataclass(frozen=True)
class Incident:
    """What happens, and where it begins: services, with the callers that alone are concerned."""

    troubles: tuple[Trouble, ...]
    origins: tuple[tuple[str, str], ...] = ()
    swallows: frozenset[tuple[str, str]] = frozenset()
    """Edges whose failures their callers make good."""
    rate: float = 600.0
    noise: float = 0.0005
    usual: Mapping[str, float] = field(default_factory=dict)


def place(name: str) -> Place:
    return GATEWAY if name == "gateway" else ("shop", name)


def play(incident: Incident, seed: int) -> Traffic:
    """The calls of a mesh in which an incident happens, as they are read."""
    return Traffic(0.0, STEPS, _smoothed(count(incident, seed)))


def count(incident: Incident, seed: int) -> dict[Edge, Calls]:
    """The calls of each minute of a mesh in which an incident happens."""
    random = np.random.default_rng(seed)
    times = np.arange(STEPS)
    wanted = {("gateway", "frontend"): random.poisson(incident.rate * (1 + 0.2 * np.sin(times / 30)))}
    arriving = {"frontend": wanted["gateway", "frontend"].astype(float)}
    for caller in reversed(ORDER):
        for called, often in GRAPH.get(caller, ()):
            calls = random.poisson(arriving[caller] * often).astype(float)
            wanted[caller, called] = calls
            arriving[called] = arriving.get(called, np.zeros(STEPS)) + calls
    edges: dict[Edge, Calls] = {}
    failing: dict[str, dict[str, Counts]] = {}
    for service in ORDER:
        requests = arriving[service]
        failed = np.zeros(STEPS)
        for called, _ in GRAPH.get(service, ()):
            if (service, called) not in incident.swallows:
                failed += failing[called][service]
        failed = np.minimum(failed, requests)
        failing[service] = {}
        for (caller, called), calls in wanted.items():
            if called != service:
                continue
            passed = random.binomial(
                calls.astype(int), np.divide(failed, requests, out=np.zeros(STEPS), where=requests > 0)
            )
            own = np.full(STEPS, incident.usual.get(service, incident.noise))
            unreached = np.zeros(STEPS)
            for trouble in incident.troubles:
                if trouble.service == service and trouble.caller in ("", caller):
                    target = unreached if trouble.unreached else own
                    target[trouble.begins : trouble.ends] += trouble.share
            lost = random.binomial(calls.astype(int), np.minimum(unreached, 1))
            left = np.maximum(calls - lost - passed, 0)
            bad = np.minimum(lost + passed + random.binomial(left.astype(int), np.minimum(own, 1)), calls)
            failing[service][caller] = bad.astype(float)
            edges[place(caller), place(service)] = Calls(
                calls.astype(float), bad.astype(float), lost.astype(float)
            )
    return edges


def _smoothed(edges: Mapping[Edge, Calls]) -> dict[Edge, Calls]:
    """As counters are read: over three minutes, a third of them each."""

    def smooth(counts: Counts) -> Counts:
        return np.convolve(counts, np.ones(3) / 3)[: len(counts)]

    return {
        edge: Calls(smooth(calls.total), smooth(calls.bad), smooth(calls.unreached))
        for edge, calls in edges.items()
    }


INCIDENTS = {
    "a leaf that fails takes its callers with it": Incident(
        (Trouble("inventory", 0.3),), (("inventory", ""),)
    ),
    "a service in the middle fails by itself": Incident((Trouble("checkout", 0.2),), (("checkout", ""),)),
    "a service cannot be reached": Incident((Trouble("payments", 1.0, unreached=True),), (("payments", ""),)),
    "few requests, and few of them fail": Incident((Trouble("bank", 0.1),), (("bank", ""),), rate=120),
    "it was over after ten minutes": Incident((Trouble("prices", 0.5, 120, 130),), (("prices", ""),)),
    "two causes at once": Incident(
        (Trouble("inventory", 0.2), Trouble("search", 0.4)), (("inventory", ""), ("search", ""))
    ),
    "two causes, one after the other": Incident(
        (Trouble("bank", 0.3, 120), Trouble("tax", 0.3, 150)), (("bank", ""), ("tax", ""))
    ),
    "one caller's calls alone fail": Incident(
        (Trouble("inventory", 0.6, unreached=True, caller="shipping"),), (("inventory", "shipping"),)
    ),
    "a caller makes good what another one cannot": Incident(
        (Trouble("ranking", 0.8, 100), Trouble("search", 0.3)),
        (("search", ""),),
        frozenset({("recommendations", "ranking")}),
    ),
    "what fails all the time is no incident": Incident(
        (Trouble("maps", 0.4),), (("maps", ""),), usual={"tax": 0.01, "catalog": 0.003}
    ),
}
"""Ten incidents, as seen from the gateway's one service, ``frontend``."""
NOTHING = Incident(())


def counters(played: Sequence[tuple[Incident, str]], end: int) -> list[SampledSeries]:
    """Istio's counters of some incidents, one after the other up to ``end`` (Unix seconds), scraped every minute.

    Each comes with a service of which version v2 serves a third of the calls from :data:`BEGAN` on, and fails alone; or
    "".
    """
    gains: dict[tuple[tuple[str, str], ...], Counts] = {}
    whole = len(played) * STEPS
    for number, (incident, released) in enumerate(played):
        span = slice(number * STEPS, (number + 1) * STEPS)
        for (caller, called), calls in count(incident, number).items():
            answered = calls.bad - calls.unreached
            good, new = calls.total - calls.bad, np.zeros(STEPS)
            if called[1] == released:
                new[BEGAN:] = np.floor(good[BEGAN:] / 3)
            by_new = np.where((np.arange(STEPS) >= BEGAN) & (called[1] == released), answered, 0)
            for side in ("source", "destination"):
                for version, code, flags, counts in (
                    ("v1", "200", "-", good - new),
                    ("v2", "200", "-", new),
                    ("v1", "503", "-", answered - by_new),
                    ("v2", "503", "-", by_new),
                    *((("v1", "503", "UF", calls.unreached),) if side == "source" else ()),
                ):
                    labels = _labels(side, caller, called, version, code, flags)
                    gains.setdefault(labels, np.zeros(whole))[span] += counts
    times = (end - np.arange(whole)[::-1] * STEP) * 1000
    return [
        SampledSeries(dict(labels), times.astype(np.int64), np.cumsum(gained).astype(np.int64))
        for labels, gained in sorted(gains.items())
        if gained.any()
    ]


def _labels(
    side: str, caller: Place, called: Place, version: str, code: str, flags: str
) -> tuple[tuple[str, str], ...]:
    pod = caller if side == "source" else called
    return (
        ("__name__", "istio_requests_total"),
        ("job", "proxies"),
        ("instance", pod[1]),
        ("reporter", side),
        ("source_workload_namespace", caller[0]),
        ("source_workload", caller[1]),
        ("destination_workload_namespace", called[0]),
        ("destination_workload", called[1]),
        ("destination_service_namespace", called[0]),
        ("destination_service_name", called[1]),
        ("destination_version", version),
        ("request_protocol", "http"),
        ("response_code", code),
        ("response_flags", flags),
    )
