"""Months of synthetic series in a real Prometheus: raw counters as Istio's proxies expose them, and recorded series.

Recorded series are written as the rules would have left them, without evaluating the rules 8,640 times: what a query
costs depends on how many samples there are, not on their values.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alert_rules.groups import RecordingRule
from alert_rules.manifest import rule_files
from sloctl import naming
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo.server import PrometheusServer
from sloctl.model import GRID, TILE, Slo, SloSet

SCRAPE = 60
DAY = 86400
Times = npt.NDArray[np.int64]
Labels = Mapping[str, str]


def times(end: int, seconds: int, step: int) -> Times:
    """Milliseconds of the instants of a grid, the last at ``end``."""
    return np.arange(end - seconds // step * step, end + 1, step, dtype=np.int64) * 1000


def counter(labels: Labels, at: Times, rate: int, rng: np.random.Generator) -> SampledSeries:
    """A counter that gains about ``rate`` a sample."""
    return SampledSeries(labels, at, np.cumsum(rng.poisson(rate, len(at))).astype(np.int64))


def constant(labels: Labels, at: Times, value: int) -> SampledSeries:
    return SampledSeries(labels, at, np.full(len(at), value, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Service:
    """A service and its proxies: ``pods`` of clients (and as many of servers) that count ``codes``."""

    name: str
    namespace: str
    codes: tuple[str, ...]
    pods: int = 1

    def raw(self, end: int, client: int, server: int, rng: np.random.Generator) -> Iterator[SampledSeries]:
        """Counters of the last ``client`` seconds of clients' proxies, and ``server`` of servers'; with ``up``.

        ``up`` is as long as the shorter of the two: no query looks further back for it.
        """
        for reporter, span in (("source", client), ("destination", server)):
            at = times(end, span, SCRAPE)
            short = times(end, min(client, server), SCRAPE)
            for number in range(self.pods):
                pod = f"{self.namespace}-{self.name}-{reporter}-{number}"
                target = {"job": "istio-proxies", "instance": f"{pod}:15020", "pod": pod}
                yield constant({"__name__": "up"} | target, short, 1)
                for code in self.codes:
                    labels = {
                        "__name__": "istio_requests_total",
                        "reporter": reporter,
                        "response_code": code,
                        "request_protocol": "http",
                        "destination_service_name": self.name,
                        "destination_service_namespace": self.namespace,
                    }
                    yield counter(labels | target, at, 1 if code >= "5" else 500, rng)


def recorded(
    slo_set: SloSet, services: Iterable[Service], end: int, *, more: int = 0, base: str = "", days: int = 30
) -> Iterator[SampledSeries]:
    """What the rules of a set record for some services, as far back from ``end`` as somebody reads it.

    That is ``days`` of the budget grid, 6 hours of the fine one, the last instant of everything else, and ``more``
    seconds of all. With ``base`` (a reporter) there are as many days of its base events, and no others.
    """
    known = list(services)
    for file in rule_files(slo_set):
        members = [service for service in known if _covers(file.slos[0], service)]
        for group in file.groups:
            for rule in group.rules:
                if isinstance(rule, RecordingRule):
                    for service in members:
                        yield from _recorded(rule, service, end, more, base, days)


def _covers(slo: Slo, service: Service) -> bool:
    named = slo.service == service.name or (slo.wildcard and service.name not in slo.overridden)
    return named and slo.namespace == service.namespace


def _recorded(
    rule: RecordingRule, service: Service, end: int, more: int, base: str, days: int
) -> Iterator[SampledSeries]:
    labels = {naming.SERVICE: service.name, naming.NAMESPACE: service.namespace} | rule.labels
    labels["__name__"] = rule.record
    grid, fine, last = (
        times(end, span + more, step) for span, step in ((days * DAY, GRID), (6 * 3600, TILE), (0, TILE))
    )
    spans = {
        naming.TOTAL_GRID: (grid, 5000),
        naming.BAD_GRID: (grid, 5),
        naming.GAP_GRID: (grid, 0),
        naming.OBJECTIVE: (grid, 1),
        naming.TOTAL_TILE: (fine, 1000),
        naming.BAD_TILE: (fine, 1),
    }
    if not rule.record.startswith("service:"):
        at, value = spans.get(rule.record, (last, 1))
        yield constant(labels, at, value)
        return
    if base and rule.record.endswith("1m"):
        return
    for reporter in (base,) if base else ("source", "destination"):
        for code in service.codes:
            own = {"reporter": reporter, "response_code": code, "request_protocol": "http"}
            yield constant(labels | own, grid if base else last, 5 if code >= "5" else 5000)


@contextmanager
def serving(
    series: Sequence[SampledSeries], *, rule_files: Sequence[Path] = (), quiet: bool = False
) -> Iterator[tuple[PrometheusServer, int]]:
    """A Prometheus that holds ``series``, each label set once; also gives the number of samples."""
    once = {tuple(sorted(one.labels.items())): one for one in series}
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        began = time.monotonic()
        samples = backfill(once.values(), folder / "data")
        with PrometheusServer(folder, rule_files=rule_files, timeout=300) as server:
            if not quiet:
                took = time.monotonic() - began
                print(
                    f"\n{samples / 1e6:.1f} million samples in {len(once):,} series; built in {took:.0f} s.\n",
                    flush=True,
                )
            yield server, samples
