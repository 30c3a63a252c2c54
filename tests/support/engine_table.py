"""The table of docs/engines.md: what ``make engines`` ran on which version, with which result.

``python -m tests.support.engine_table REPORT`` takes pytest's report in JUnit's form, keeps the numbers beside this
module, and writes the table anew. Nobody edits either by hand: a test compares them.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tests.support.engines import MODULES

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
KEPT = Path(__file__).with_name("engine_results.json")
BEGIN, END = "<!-- what make engines writes -->\n", "<!-- end of it -->\n"
OUTCOMES = ("passed", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class Row:
    """What some tests run on an engine, and what it means that they pass."""

    engine: str
    program: str
    tests: tuple[str, ...]
    what: str
    meaning: str


ROWS = (
    Row(
        "Prometheus",
        "promtool",
        ("test_alerts_fire_in_prometheus_3",),
        "`promtool test rules` of the proved golden cases: every kind of rule and alert, all guardrails, sidecar and "
        "ambient, native histograms, names with dots",
        "every alert fires at its minute",
    ),
    Row(
        "Prometheus",
        "promtool",
        ("test_native_histograms_count_what_counters_would",),
        "every case of what counters do on real meshes, as native histograms: rules of one and of five minutes",
        "events equal the truth",
    ),
    Row(
        "Prometheus",
        "prometheus",
        ("test_a_preflight_knows_histograms_that_prometheus_converted",),
        "a scrape with `convert_classic_histograms_to_nhcb`: preflight, queries",
        "it is told which form is there; histograms are no unknown answers",
    ),
    Row(
        "vmalert",
        "vmalert-tool",
        ("test_alerts_fire_in_vmalert",),
        'the generated tests of SLOs with `"*"`, of latency, of traffic that stops and of all guardrails, for '
        "`engine: victoriametrics`",
        "every alert fires at most one step later than in Prometheus, and never earlier",
    ),
    Row(
        "VictoriaMetrics (single node)",
        "victoria-metrics",
        ("test_victoria_metrics_counts_what_is_true",),
        "every case of what counters do on real meshes: `report --source raw`, `run slis`",
        "events equal the truth",
    ),
    Row(
        "VictoriaMetrics (single node)",
        "victoria-metrics",
        (
            "test_victoria_metrics_answers_for_the_times_that_are_asked_for",
            "test_a_preflight_knows_victoria_metrics",
        ),
        "range queries at any time, preflight",
        "samples are of the times that were asked for; it is not taken for an old Prometheus",
    ),
    Row(
        "Thanos",
        "thanos",
        ("test_thanos_counts_replicas_once_where_it_is_told_of_them",),
        "a Querier over sidecars of two replicas of Prometheus, each of which missed some scrapes: `report --source "
        "raw` of every case of what counters do on real meshes, preflight, `run slis` with one replica gone",
        "events equal the truth with `--query.replica-label`, and preflight names the label without; nothing is "
        "recorded of an answer that lacks a replica",
    ),
)


class Kept(TypedDict):
    """What is kept of a run: the versions of programs, and how often each test passed, failed and was skipped."""

    versions: dict[str, str]
    tests: dict[str, dict[str, int]]


def versions() -> dict[str, str]:
    """The version of each program that is built; Go's of Prometheus 3.16 is 0.316."""
    found: dict[str, str] = {}
    for module, programs in MODULES.items():
        version = re.sub(r"^0\.3(\d\d)\.", r"3.\1.", module.rpartition("@v")[2])
        found |= dict.fromkeys(programs, version)
    return found


def read(report: Path) -> dict[str, dict[str, int]]:
    """How many runs of each test passed, failed and were skipped, by JUnit's report."""
    counts: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts.setdefault(re.split(r"[\[@]", case.get("name", ""))[0], Counter())[outcome] += 1
    return {name: {key: found[key] for key in OUTCOMES} for name, found in sorted(counts.items())}


def table(kept: Kept) -> str:
    """The table, in Markdown."""
    lines = ["| engine | what was run | result |", "|---|---|---|"]
    for row in ROWS:
        ran: Counter[str] = sum((Counter(kept["tests"].get(name, {})) for name in row.tests), Counter())
        failed, passed = ran["failed"], ran["passed"]
        result = f"{row.meaning} ({passed} test{'s' if passed != 1 else ''})"
        if failed or not passed or ran["skipped"]:
            result = f"{failed} failed, {ran['skipped']} not run, of {sum(ran.values())}"
        lines.append(f"| {row.engine} {kept['versions'][row.program]} | {row.what} | {result} |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """The table as the page has it."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def main(report: Path) -> None:
    """Keep what a report says, and write the table."""
    kept: Kept = {"versions": versions(), "tests": read(report)}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(written(), table(kept)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
