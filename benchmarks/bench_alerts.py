"""When alerts fire, and when they do not: named scenarios through promtool, beside rules as others write them.

Each scenario is the raw counters of one service, scraped every 30 seconds; rules are evaluated every minute, those of
the five-minute grid every fifth, as Prometheus does. What is printed does not depend on the machine.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import sin, tau
from pathlib import Path
from random import Random

from alert_rules.groups import RecordingRule, RuleFile
from alert_rules.manifest import prometheus, rule_files
from benchmarks import measure
from sloctl import spec
from sloctl.model import GRID, SloSet
from sloctl.model.policies import POLICIES
from tests.support.promtool import Inputs, evaluate, series

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: bench}
defaults: {objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - name: mesh
    service: checkout
    namespace: shop
    sli: {preset: availability}
    alerting: {policy: mesh, traffic_stopped: ticket}
  - name: sre-workbook
    service: checkout
    namespace: shop
    sli: {preset: availability}
    alerting: {policy: sre-workbook, traffic_stopped: ticket}
"""
STEP = 30
"""Seconds between two scrapes."""
HISTORY = 480
"""Minutes before anything fails."""
PEERS = ("mesh", "sre-workbook", "rates")
Gain = Callable[[int], float]
"""Events a second at a second of the scenario."""


@dataclass
class Scenario:
    """Raw series of a service. What goes wrong begins at minute ``begins``; the last one is ``minutes``."""

    name: str
    target: str
    minutes: int
    begins: int = HISTORY
    seed: int = 1
    rows: dict[str, list[str]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Scrapes of the whole scenario."""
        return self.minutes * 60 // STEP + 1

    def counter(
        self,
        code: str,
        gain: Gain,
        *,
        pod: str = "pod-1",
        born: int = 0,
        dies: int | None = None,
        restarts: int = 0,
        chance: bool = False,
    ) -> None:
        """A counter of a pod that lives from ``born`` to ``dies`` (seconds), and begins again every ``restarts``.

        It appears with its first event. ``chance`` draws events, as a Poisson process has them.
        """
        rng = Random(f"{self.seed} {self.name} {pod} {code}")
        end = self.minutes * 60 + 1 if dies is None else dies
        row, count, ended = [], 0.0, False
        for number in range(self.samples):
            time = number * STEP
            if time > end:
                row.append("_" if ended else "stale")
                ended = True
                continue
            for second in range(max(time - STEP, born), time):
                if restarts and second % restarts == 0 and second > born:
                    count = 0.0
                rate = gain(second)
                count += _drawn(rng, rate) if chance else rate
            row.append(str(int(count + 1e-6)) if int(count + 1e-6) else "_")
        self.rows[_requests(code, pod)] = row

    def up(self, pod: str = "pod-1", *, born: int = 0, dies: int | None = None) -> None:
        """The scrapes of a pod."""
        end = self.minutes * 60 if dies is None else dies
        self.rows[series("up", job="envoy-stats", instance=pod, pod=pod)] = [
            "1" if born <= number * STEP <= end else ("stale" if end < number * STEP <= end + STEP else "_")
            for number in range(self.samples)
        ]

    def blind(self, start: int, end: int) -> None:
        """Scrapes that fail after ``start`` and before ``end`` (seconds)."""
        for name, row in self.rows.items():
            first, last = start // STEP + 1, end // STEP
            gone = ["stale", *["_"] * (last - first - 1)]
            row[first:last] = ["0"] * (last - first) if name.startswith("up") else gone


def _drawn(rng: Random, rate: float) -> int:
    count, time = 0, rng.expovariate(rate) if rate > 0 else 2.0
    while time < 1:
        count += 1
        time += rng.expovariate(rate)
    return count


def _requests(code: str, pod: str) -> str:
    return series(
        "istio_requests_total",
        job="envoy-stats",
        instance=pod,
        pod=pod,
        reporter="source",
        destination_service_name="checkout",
        destination_service_namespace="shop",
        request_protocol="http",
        response_code=code,
        response_flags="-",
    )


def _failing(name: str, target: str, share: Gain, *, minutes: int, rate: float = 10) -> Scenario:
    """Steady traffic of which a share fails."""
    scenario = Scenario(name, target, HISTORY + minutes)
    scenario.up()
    begins = scenario.begins * 60
    part: Gain = lambda second: share(second - begins) if second >= begins else 0  # noqa: E731
    scenario.counter("200", lambda second: rate * (1 - part(second)))
    scenario.counter("503", lambda second: rate * part(second))
    return scenario


def _outage(minutes: int) -> Scenario:
    share: Gain = lambda second: float(second < minutes * 60)  # noqa: E731
    return _failing(f"outage of {minutes} min", "1", share, minutes=minutes + 20)


def _crash_loop(life: int) -> Scenario:
    """One of two callers is replaced again and again, and sees nothing but failures."""
    scenario = Scenario(f"crash loop, pods live {life} s", "5", HISTORY + 30)
    scenario.up()
    scenario.counter("200", lambda _: 10)
    for number, born in enumerate(range(scenario.begins * 60, scenario.minutes * 60, life)):
        pod = f"loop-{number}"
        scenario.up(pod, born=born + 1, dies=born + life)
        scenario.counter("503", lambda _: 10, pod=pod, born=born, dies=born + life)
    return scenario


def _blind_outage() -> Scenario:
    """Everything fails for 25 minutes in which nothing is scraped; a few failures are known from before."""
    scenario = Scenario("outage of 25 min inside a scrape gap", "35", HISTORY + 60)
    scenario.up()
    begins, end = scenario.begins * 60, (scenario.begins + 25) * 60
    scenario.counter("200", lambda second: 0 if begins <= second < end else 10)
    scenario.counter("503", lambda second: 10 if begins <= second < end else 0.001 * (second < 7200))
    scenario.blind(begins, end)
    return scenario


def _vanishing() -> Scenario:
    scenario = Scenario("traffic that vanishes after 2 min of failures", "page, ticket", 1620, begins=1500)
    begins, end = scenario.begins * 60, (scenario.begins + 2) * 60
    scenario.up(dies=end)
    scenario.counter("200", lambda second: 10 if second < begins else 0, dies=end)
    scenario.counter("503", lambda second: 10 if begins <= second < end else 0, dies=end)
    return scenario


def _quiet_outage() -> Scenario:
    scenario = Scenario("3 requests an hour, all of which fail", "35", HISTORY + 60)
    scenario.up()
    begins = scenario.begins * 60
    # Requests come at minutes 8, 28 and 48 of each hour.
    due: Gain = lambda second: float(second % 1200 == 480)  # noqa: E731
    scenario.counter("200", lambda second: due(second) * (second < begins))
    scenario.counter("503", lambda second: due(second) * (second >= begins))
    return scenario


def failures() -> Iterator[Scenario]:
    """What somebody must hear of."""
    for burn, target in ((7, "212"), (15, "57"), (100, "9")):
        yield _failing(f"burn {burn} ×", target, lambda _, burn=burn: burn / 1000, minutes=330)  # type: ignore[misc]
    for minutes in (5, 10, 60):
        yield _outage(minutes)
    yield _failing(
        "slow leak: none to 1 % in 12 h", "474", lambda second: min(0.01, second / 4_320_000), minutes=600
    )
    yield _crash_loop(100)
    yield _crash_loop(40)
    yield _blind_outage()
    yield _vanishing()
    yield _quiet_outage()


def _normal(second: int) -> float:
    """Requests a second over a day: 1 at night, 19 at noon."""
    return 10 + 9 * sin(tau * (second / 86400 - 0.25))


def _noise(scenario: Scenario, starting: int = 0) -> Gain:
    """A share of failures of half the budget on average: little as a rule, ten short bursts a day.

    And one of five minutes from ``starting`` on.
    """
    rng = Random(f"bursts {scenario.seed}")
    bursts = sorted(rng.randrange(scenario.minutes * 60) for _ in range(scenario.minutes // 144))
    busy = {second for start in bursts for second in range(start, start + 120)}
    if starting:
        busy |= set(range(starting, starting + 300))
    return lambda second: 0.01 if second in busy else 0.0003


def normal(days: int, seeds: int) -> Iterator[Scenario]:
    """What nobody should hear of."""

    def scenario(name: str, seed: int) -> Scenario:
        found = Scenario(name, "silent", days * 1440, begins=0, seed=seed)
        found.up()
        return found

    for seed in range(1, seeds + 1):
        quiet = scenario("quiet: a request a minute, a failure a day", seed)
        _a_failure_a_day(quiet, days)
        yield quiet
        noisy = scenario("noisy: half the budget, in bursts", seed)
        _two(noisy, _noise(noisy))
        yield noisy
        restarted = scenario("restarted: counters begin again every 2 h", seed)
        _two(restarted, _noise(restarted), restarts=7200)
        yield restarted
        churning = scenario("churning: pods replaced every 30 min", seed)
        share = _noise(churning)
        for number, born in enumerate(range(0, churning.minutes * 60, 1800)):
            churning.up(f"pod-{number}", born=born, dies=born + 1800)
            _two(churning, share, pod=f"pod-{number}", born=born, dies=born + 1800)
        yield churning
        new = scenario("new: 1 % fails in its first 5 minutes", seed)
        _two(new, _noise(new, starting=36000), born=36000)
        yield new


def _a_failure_a_day(scenario: Scenario, days: int) -> None:
    minutes = (Random(f"{scenario.seed} {day}").randrange(1440) + 1440 * day for day in range(days))
    fails = {60 * minute for minute in minutes}
    scenario.counter("200", lambda second: float(second % 60 == 0 and second not in fails))
    scenario.counter("503", lambda second: float(second in fails))


def _two(
    scenario: Scenario,
    share: Gain,
    *,
    pod: str = "pod-1",
    born: int = 0,
    dies: int | None = None,
    restarts: int = 0,
) -> None:
    good: Gain = lambda second: _normal(second) * (1 - share(second))  # noqa: E731
    bad: Gain = lambda second: _normal(second) * share(second)  # noqa: E731
    for code, gain in (("200", good), ("503", bad)):
        scenario.counter(code, gain, pod=pod, born=born, dies=dies, restarts=restarts, chance=True)


def rates() -> str:
    """Multi-window rules on plain rates, with the windows and factors of the SRE workbook, as Sloth writes them."""
    lines = POLICIES["sre-workbook"].windows
    windows = sorted({window for line in lines for window in (line.long, line.short)})
    where = 'reporter="source",destination_service_namespace="shop",destination_service_name="checkout"'
    rules = []
    for window in windows:
        bad = f'sum(rate(istio_requests_total{{{where},response_code=~"5..|0"}}[{window}s]))'
        total = f"sum(rate(istio_requests_total{{{where}}}[{window}s]))"
        rules.append(f"      - {{record: 'ratio:{window}', expr: '{bad} / {total}'}}")
    for severity in ("page", "ticket"):
        parts = [
            f"(ratio:{line.long} > {line.factor} * 0.001 and ratio:{line.short} > {line.factor} * 0.001)"
            for line in lines
            if line.severity == severity
        ]
        labels = f"{{severity: {severity}, slo: rates}}"
        rules.append(f"      - {{alert: Rates, expr: '{' or '.join(parts)}', labels: {labels}}}")
    return "\n".join(["groups:", "  - name: rates", "    rules:", *rules, ""])


def every_fifth_minute(file: RuleFile) -> RuleFile:
    """A rule file for promtool, which evaluates every group once a minute: the grid's rules record on the grid only."""
    groups = []
    for group in file.groups:
        if group.interval == GRID:
            rules = tuple(
                replace(rule, expr=f"({rule.expr})\nand on () (vector(time()) % {GRID} == 0)")
                if isinstance(rule, RecordingRule)
                else replace(rule, expr=rule.expr.replace("[1s]", f"[{GRID - 1}s]"))
                for rule in group.rules
            )
            group = replace(group, rules=rules)
        groups.append(group)
    return replace(file, groups=tuple(groups))


def slo_set() -> SloSet:
    found, problems = spec.check([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    assert found is not None, problems
    return found


Played = dict[tuple[str, str], float]
"""By policy and severity: the minute of the first alert, or how many there were."""


def play(scenario: Scenario) -> tuple[Played, Played]:
    """(minute of the first alert since the failure began, number of alerts)."""
    rules = [prometheus(every_fifth_minute(file)) for file in rule_files(slo_set())]
    firing = 'ALERTS{alertstate="firing"}'
    span = scenario.minutes - scenario.begins
    queries = [
        f"min by (slo, severity) (min_over_time(timestamp({firing})[{span}m:1m]))",
        f"sum by (slo, severity) (count_over_time(({firing} unless {firing} offset 1m)[{scenario.minutes}m:1m]))",
    ]
    raw = {name: " ".join(row) for name, row in scenario.rows.items()}
    asked = Inputs(raw, [(query, f"{scenario.minutes}m") for query in queries], f"{STEP}s")
    [[first, count]] = evaluate([*rules, rates()], [asked])
    return (
        {(labels["slo"], labels["severity"]): time / 60 - scenario.begins for labels, time in first},
        {(labels["slo"], labels["severity"]): number for labels, number in count},
    )


def main(days: int = 2, seeds: int = 2, only: Sequence[str] = ()) -> None:
    measure.title("Alerts")
    print(
        "Minutes from the beginning of the failure to the first page (– is none), and to the first ticket:\n"
    )
    head = ("", "target", *(f"{name}, {kind}" for name in PEERS for kind in ("page", "ticket")))
    rows = []
    for scenario in failures():
        if not only or scenario.name in only:
            first, _ = play(scenario)
            cells = [first.get((name, kind)) for name in PEERS for kind in ("page", "ticket")]
            rows.append(
                (
                    scenario.name,
                    f"≤ {scenario.target}" if scenario.target.isdigit() else scenario.target,
                    *map(_shown, cells),
                )
            )
    measure.table(head, rows)
    if not days:
        return
    print(f"\nFalse alerts in {days} days, sum of {seeds} runs that differ by chance:\n")
    counts: dict[str, dict[tuple[str, str], float]] = {}
    for scenario in normal(days, seeds):
        if not only or scenario.name in only:
            _, found = play(scenario)
            have = counts.setdefault(scenario.name, {})
            for key, number in found.items():
                have[key] = have.get(key, 0) + number
    measure.table(
        ("", *head[2:]),
        [
            (name, *(f"{have.get((peer, kind), 0):.0f}" for peer in PEERS for kind in ("page", "ticket")))
            for name, have in counts.items()
        ],
    )


def _shown(minute: float | None) -> str:
    return "–" if minute is None else f"{minute:.0f}"


if __name__ == "__main__":
    main()
