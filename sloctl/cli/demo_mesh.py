"""``sloctl demo --mesh``: retries in a mesh of real Envoys."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sloctl.cli.context import Context

if TYPE_CHECKING:
    from sloctl.demo.retry_phases import Comparison, Phase

REQUESTS = 60
TITLES = (
    "failures",
    "source",
    "destination",
    "requests",
    "attempts",
    "by traces",
    "by metrics",
    "amplification",
    "agree",
)
LEGEND = """
requests, attempts, amplification: as the applications counted them.  by traces, by metrics: attempts that these show.
agree: traces have each request and attempt, and metrics the same attempts per request to within 5 %.
"""
NEXT = """
What to look at:
  edges         with every answer an error, each edge has 3 attempts per request: one, and two retries.
  paths         the two multiply: one request at the gateway is 9 attempts at payments. No edge alone shows it.
  services      8 of 9 attempts at payments are retries: load that keeps a failing service down.
  by_metrics    Prometheus counts all requests, traces a sample: where the two disagree, one is set up wrongly.
  worst traces  links to where people look at them; here they last as long as Zipkin does (--keep).
"""


def run(context: Context, directory: Path, keep: bool) -> None:
    """Show what the applications, traces and metrics say of retries, then the job's result for the last phase.

    ``directory`` receives all files. Raises ``SloctlError``.
    """
    from jobs import retry_amplification
    from sloctl.cli.run import print_tables
    from sloctl.cli.tables import print_table
    from sloctl.demo import retry_phases

    began = time.monotonic()
    retry_phases.require_programs()
    for number, failures in enumerate(retry_phases.FAILURES, 1):
        last = number == len(retry_phases.FAILURES)
        context.say(f"phase {number} of {len(retry_phases.FAILURES)}: a new mesh, {REQUESTS} requests")
        with retry_phases.running(directory / str(number), failures, REQUESTS) as phase:
            print_table(TITLES, [_row(failures, item) for item in phase.comparisons])
            if last:
                context.say(LEGEND)
                print_tables(context, {"retry_amplification": retry_amplification.rows(phase.found)})
                context.say(NEXT.rstrip())
                context.say(f"\n{time.monotonic() - began:.0f} seconds since the start.")
                if keep:
                    _keep(context, phase)
    if not keep:
        context.say("sloctl demo --mesh --keep  leaves the last mesh running to explore.")


def _row(failures: float, item: Comparison) -> list[str]:
    truth = item.truth
    return [
        f"{failures:.0%}".replace("%", " %"),
        item.source,
        item.destination,
        _count(truth.requests),
        _count(truth.attempts),
        _count(item.traces.attempts),
        _count(item.metrics.attempts),
        f"{truth.attempts / truth.requests:.2f}" if truth.requests else _count(math.nan),
        "yes" if item.agree else "no",
    ]


def _count(value: float) -> str:
    from sloctl.report_text import NOTHING
    from sloctl.windows import number

    return number(round(value, 1)) if math.isfinite(value) else NOTHING


def _keep(context: Context, phase: Phase) -> None:
    context.say(
        f"\nPrometheus is at {phase.mesh.prometheus.url}, Zipkin at {phase.mesh.zipkin_url}.\n"
        f"Try within half an hour:  sloctl run retry_amplification -f {phase.file}\n"
        "Ctrl-C stops and removes everything."
    )
    phase.mesh.prometheus.wait()
