"""What becomes of an edge's requests: outcomes, retries, and the labels that each side reports them with.

Knows how Istio's two reporters see one request; knows nothing about pods' shares or counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sloctl.demo.pods import Generation, Labels
from sloctl.demo.truth import CountArray, CountKind, Side
from sloctl.demo.world import OUTSIDE, Floats, Grid, Leak, Outage, Service, World
from sloctl.promql.presets import GRPC_SERVER_ERRORS


@dataclass(frozen=True)
class Flow:
    """The requests of an edge with one outcome, as one side reports them; shape of ``events``: (ticks,)."""

    side: Side
    code: str
    flags: str
    grpc: str
    events: CountArray

    @property
    def kinds(self) -> tuple[CountKind, ...]:
        """What its events count as in the truth."""
        if self.code.startswith("5") or self.code == "0":
            return ("total", "bad", "bad_http")
        return ("total", "bad") if self.grpc in GRPC_SERVER_ERRORS else ("total",)


def outcomes(
    world: World, grid: Grid, server: Service, requests: CountArray, random: np.random.Generator
) -> list[Flow]:
    """Both sides' flows of ``requests`` (shape (ticks,)) that some client makes of ``server``."""
    play = _retried if server.retries else _once
    return play(world, grid, server, requests, random)


def _failures(world: World, grid: Grid, server: Service) -> list[tuple[Outage, Floats]]:
    """Ways in which the server's requests fail, each with its share per tick; the usual one last."""
    modes: list[tuple[Outage, Floats]] = []
    usual = np.full(grid.count, server.error_rate)
    for event in world.events:
        if event.service != server.name:
            continue
        if isinstance(event, Outage):
            share = np.zeros(grid.count)
            share[grid.span(event.start, event.end)] = event.share
            modes.append((event, share))
        elif isinstance(event, Leak):
            progress = (grid.ends - event.start) / (event.end - event.start)
            usual += np.clip(progress, 0.0, 1.0) * event.share
    template = Outage(server.name, 0, 0, source=("500", "-"), destination=("500", "-"), grpc_status="13")
    return [*modes, (template, np.minimum(usual, 1.0))]


def _once(
    world: World, grid: Grid, server: Service, requests: CountArray, random: np.random.Generator
) -> list[Flow]:
    """Both sides' flows of an edge without retries: each side sees the same outcomes."""
    flows: list[Flow] = []
    left = requests.copy()
    grpc = server.protocol == "grpc"
    for mode, share in _failures(world, grid, server):
        failed = random.binomial(left, share).astype(np.int64)
        left -= failed
        if grpc:
            flows += _both(("200", "-"), ("200", "-"), mode.grpc_status, failed)
        else:
            flows += _both(mode.source, mode.destination, "", failed)
    refused = random.binomial(left, server.client_error_rate).astype(np.int64)
    found = left - refused
    if grpc:
        flows += _both(("200", "-"), ("200", "-"), "5", refused)
        flows += _both(("200", "-"), ("200", "-"), "0", found)
    else:
        flows += _both(("404", "-"), ("404", "-"), "", refused)
        flows += _both(("200", "-"), ("200", "-"), "", found)
    return flows


def _retried(
    world: World, grid: Grid, server: Service, requests: CountArray, random: np.random.Generator
) -> list[Flow]:
    """Flows of an edge whose client tries again: final outcomes at the source, attempts at the destination."""
    healthy = np.ones(grid.count)
    for _, share in _failures(world, grid, server):
        healthy *= 1 - share
    attempts_failed = np.zeros_like(requests)
    left = requests
    for _ in range(server.retries + 1):
        left = random.binomial(left, 1 - healthy).astype(np.int64)
        attempts_failed += left
    answered = requests - left
    return [
        Flow("source", "503", "URX", "", left),
        Flow("source", "200", "-", "", answered),
        Flow("destination", "503", "UF", "", attempts_failed),
        Flow("destination", "200", "-", "", answered),
    ]


def _both(
    source: tuple[str, str], destination: tuple[str, str], grpc: str, events: CountArray
) -> Sequence[Flow]:
    return (Flow("source", *source, grpc, events), Flow("destination", *destination, grpc, events))


def flow_labels(client: Service | None, serving: Generation, flow: Flow) -> Labels:
    """Istio's labels of a flow to a generation of pods; ``client`` is None for callers without a sidecar."""
    server = serving.service
    secure = "mutual_tls" if client is not None else "none"
    labels = (
        ("reporter", flow.side),
        ("source_workload", client.name if client else OUTSIDE),
        ("source_workload_namespace", client.namespace if client else OUTSIDE),
        ("destination_workload", server.name),
        ("destination_workload_namespace", server.namespace),
        ("destination_service", f"{server.name}.{server.namespace}.svc.cluster.local"),
        ("destination_service_name", server.name),
        ("destination_service_namespace", server.namespace),
        ("destination_version", serving.version),
        ("request_protocol", server.protocol),
        ("response_code", flow.code),
        ("response_flags", flow.flags),
        # Only the server's sidecar knows whether a connection was secured.
        ("connection_security_policy", "unknown" if flow.side == "source" else secure),
    )
    return (*labels, ("grpc_response_status", flow.grpc)) if flow.grpc else labels
