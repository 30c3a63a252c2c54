"""What the Envoys of a mesh count of requests, kept as if it had been scraped at times that a test chooses.

A mesh plays seconds where a test needs an hour: what is exposed after each of many small loads is a minute's scrape.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.mesh import Mesh


class Scrapes:
    """Samples of ``istio_requests_total``."""

    def __init__(self) -> None:
        self._seen: dict[frozenset[tuple[str, str]], list[tuple[int, float]]] = {}

    def take(self, mesh: Mesh, at: int, replica: str = "") -> None:
        """Scrape every proxy at a Unix second; ``replica`` tells pods of meshes apart that stand for one."""
        [scraped] = mesh.scrape_configs
        for envoy, target in zip(mesh.envoys.values(), reversed(scraped["static_configs"]), strict=True):
            own = {name: f"{target['labels'][name]}{replica}" for name in ("instance", "pod")}
            more = {"__name__": "istio_requests_total", "job": scraped["job_name"], **target["labels"], **own}
            for family in text_string_to_metric_families(envoy.get("/stats/prometheus?filter=istio")):
                for sample in family.samples:
                    if sample.name == "envoy_istio_requests_total":
                        labels = frozenset((sample.labels | more).items())
                        self._seen.setdefault(labels, []).append((at, sample.value))

    def series(self) -> Iterator[SampledSeries]:
        """All of them."""
        for labels, samples in self._seen.items():
            times, values = zip(*samples, strict=True)
            yield SampledSeries(dict(labels), 1000 * np.array(times), np.array(values))
