"""The whole pipeline on the simulated shop: history, rules, the grid's past, a live Prometheus.

This is what ``sloctl demo`` runs and what the integration tests measure: everything but the shop is real.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alert_rules import manifest
from jobs.recording.backfill import Backfill
from sloctl import naming, spec
from sloctl.artefacts.openmetrics import Progress, SampledSeries
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo.cache import cache_root, cached_history
from sloctl.demo.history import History
from sloctl.demo.live import LiveShop
from sloctl.demo.programs import find_program
from sloctl.demo.remote_write import write_block
from sloctl.demo.server import PrometheusServer
from sloctl.demo.world import World
from sloctl.model import GRID, SloSet
from sloctl.settings.backends import PrometheusSettings

SLO_FILE = Path(__file__).with_name("slo.yaml")
_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: the server, its SLOs, the history behind it, and where the rule files are."""

    server: PrometheusServer
    slo_set: SloSet
    history: History
    rules: Path

    @property
    def end(self) -> datetime:
        """The last instant of the history, to which reports are exact."""
        return datetime.fromtimestamp(self.history.end, UTC)


def source(server: PrometheusServer) -> Prometheus:
    """A metric source on a server of ours."""
    return Prometheus(PrometheusSettings(url=server.url, timeout=_TIMEOUT))


def write_rules(slo_set: SloSet, folder: Path) -> Path:
    """Write the rules in plain form below ``folder``; gives the folder that ``rule_files`` names."""
    for name, text in manifest.generate(slo_set, "prometheus"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "alert_rules"


def fill_grid(history: History, slo_set: SloSet, scratch: Path, progress: Progress | None = None) -> None:
    """Add to a history's TSDB what the rules would have recorded.

    Raises ``BackendError`` and what :func:`sloctl.demo.remote_write.write_block` raises.
    """
    end = datetime.fromtimestamp(history.end, UTC)
    start = datetime.fromtimestamp(history.start + GRID, UTC)
    for number, name in enumerate(("base", "events")):
        if progress:
            progress(number * 0.8, f"computing the grid's past: {name}")
        with PrometheusServer(scratch / name, data=history.data_dir) as server, source(server) as metrics:
            filler = Backfill(metrics, slo_set, start, end)
            found = filler.base() if name == "base" else filler.events()
            series = [SampledSeries(item.labels, item.times, item.values) for item in found]
        if progress:
            progress(number * 0.8 + 0.7 * (1 - number * 0.8), f"writing the grid's past: {name}")
        write_block(series, history.data_dir)


@contextlib.contextmanager
def running(
    world: World,
    directory: Path,
    now: datetime,
    environ: Mapping[str, str],
    *,
    progress: Progress | None = None,
    live: bool = True,
) -> Iterator[Demo]:
    """The demo while the context lasts; everything is stopped at its end.

    ``progress`` is called with a share of 0…1 and a text. Raises UsageError where a program is missing and
    cannot be installed, and ``SloctlError``.
    """
    find_program("prometheus", install=True)
    slo_set = spec.load([SLO_FILE])
    rules = write_rules(slo_set, directory / "generated")
    variant = naming.digest(*(path.read_text(encoding="utf-8") for path in sorted(rules.glob("*.yaml"))))

    def part(low: float, high: float) -> Progress:
        return lambda share, text: progress(low + (high - low) * share, text) if progress else None

    history = cached_history(
        world,
        cache_root(environ),
        directory / "prometheus",
        now.timestamp(),
        progress=part(0.0, 0.2),
        variant=variant,
        finish=lambda built: fill_grid(built, slo_set, directory / "grid", part(0.2, 0.98)),
    )
    if progress:
        progress(0.99, "starting Prometheus")
    with contextlib.ExitStack() as stack:
        scrapes = stack.enter_context(LiveShop(history, clock=time.time)).scrape_configs() if live else ()
        server = stack.enter_context(
            PrometheusServer(
                directory / "prometheus",
                data=history.data_dir,
                rule_files=[rules / "*.yaml"],
                scrape_configs=scrapes,
                timeout=_TIMEOUT,
            )
        )
        if progress:
            progress(1.0, "ready")
        yield Demo(server, slo_set, history, rules)
