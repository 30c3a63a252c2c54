"""When alerts are sure and when their windows are old enough: what promtool says, and what the report says, agree."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from math import log

import pytest

from jobs.budgets.collected import Collected, lines, would_fire
from sloctl.model import AlertPolicy, BurnWindow, RollingWindow, Slo
from sloctl.model.policies import POLICIES, Evidence
from tests.support.promtool import EVERY_LIMIT, Inputs, days, evaluate, of_group, rule_texts, series, slo

PAGE = AlertPolicy("page", (BurnWindow("page", Decimal(14), 3600, 300),))


def requests(code: str = "200", service: str = "checkout") -> str:
    return series(
        "istio_requests_total",
        job="envoy-stats",
        instance="10.0.0.1:15020",
        pod="pod-1",
        reporter="source",
        destination_service_name=service,
        destination_service_namespace="shop",
        request_protocol="http",
        response_code=code,
        response_flags="-",
    )


UP = {series("up", job="envoy-stats", instance="10.0.0.1:15020", pod="pod-1"): "1+0x20000"}


def fired(
    target: Slo,
    raw: dict[str, str],
    *minutes: int,
    interval: str = "1m",
    groups: str = "",
    evaluation: str = "1m",
) -> list[set[tuple[str, str]]]:
    """(alert, service) of what fires at some minutes; ``groups``, if not all, is the kind of those with the alert."""
    queries = [('ALERTS{alertstate="firing"}', f"{minute}m") for minute in minutes]
    texts = of_group(rule_texts(target), groups) if groups else rule_texts(target)
    [answers] = evaluate(texts, [Inputs(UP | raw, queries, interval)], evaluation_interval=evaluation)
    return [{(labels["alertname"], labels["service"]) for labels, _ in samples} for samples in answers]


def close(gate: Evidence, bad: int, total: int, budget: Decimal) -> bool:
    """Whether rounding may decide."""
    expected = float(budget * gate.allowed) * total
    if not 0 < expected < bad:
        return False
    return abs(bad * (log(bad / expected) - 1) + expected - float(gate.needed)) < 1e-6


def drawn(seed: int, budget: Decimal) -> dict[str, tuple[int, int]]:
    """(bad, total) of services with next to no traffic and with much, and failures around what decides."""
    rng = random.Random(seed)
    out = {}
    for number in range(120):
        total = rng.choice([1, 2, 3, 5, 10, 30, 60, 360, 1000, 4320, 20_000, 10**6])
        most = float(budget) * total
        bad = min(
            total, rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 12, int(most), int(3 * most), int(15 * most), total])
        )
        out[f"s{number}"] = (bad, total)
    return out


@pytest.mark.parametrize("policy", ["mesh", "sre-workbook"])
@pytest.mark.parametrize(
    ("objective", "window"),
    [("99.9", days(30)), ("99.99", days(30)), ("95", days(30)), ("99.9", days(7)), ("99.9", days(90))],
)
def test_rules_and_report_agree_on_every_line(policy: str, objective: str, window: RollingWindow) -> None:
    """Events of one minute, after minutes of recorded silence: every window holds the same ones."""
    target = slo(service="*", objective=objective, window=window, policy=POLICIES[policy])
    assert target.policy
    # No ``for``, which the report does not know; and short windows that do not take hours to be old enough.
    plain = tuple(replace(line, for_=0, short=300) for line in target.policy.windows)
    target = replace(target, policy=replace(target.policy, windows=plain))
    assert target.policy
    services = drawn(len(objective) + window.seconds, target.budget)
    idle = 6
    raw = {}
    for service, (bad, total) in services.items():
        raw[requests(service=service)] = f"0+0x{idle} {total - bad}"
        if bad:
            raw[requests("503", service)] = f"_x{idle + 1} {bad}"
    [found] = fired(target, raw, idle + 1)
    lengths = target.policy.lengths
    counts = {
        (target.id, "shop", name): (float(bad), float(total)) for name, (bad, total) in services.items()
    }
    known = Collected(
        period=counts,
        burn=dict.fromkeys(lengths, counts),
        seasoned={line: set(counts) for line in lines([target])},
    )
    gates = [target.policy.gate(line, window.seconds) for line in plain]
    judged = [
        (key, bad, total)
        for key, (bad, total) in counts.items()
        if not any(
            isinstance(gate, Evidence) and close(gate, int(bad), int(total), target.budget) for gate in gates
        )
    ]
    assert len(judged) > 100
    fires = {(name, key[2]) for key, _, _ in judged for name in would_fire(target, key, known)}
    assert len(fires) > 20
    assert {item for item in found if item[1] in {key[2] for key, _, _ in judged}} == fires


def quiet(failing_from: int, minutes: int, every: int = 20) -> dict[str, str]:
    """A request every ``every`` minutes, all of which fail from some minute on."""
    good, bad, ok, broken = [], [], 0, 0
    for minute in range(minutes + 1):
        if minute and minute % every == 0:
            ok, broken = (ok, broken + 1) if minute > failing_from else (ok + 1, broken)
        good.append(str(ok))
        bad.append(str(broken) if broken else "_")
    return {requests(): " ".join(good), requests("503"): " ".join(bad)}


@pytest.mark.parametrize("policy", ["mesh", "sre-workbook"])
@pytest.mark.parametrize("phase", [1, 7, 14])
def test_three_requests_an_hour_that_all_fail_page_with_the_second(policy: str, phase: int) -> None:
    """An outage begins ``phase`` minutes before a request: 20 + ``phase`` minutes later there are two."""
    page = replace(POLICIES[policy], windows=POLICIES[policy].windows[:1])
    start = 120 - phase
    raw = quiet(start, 150)
    one, two = fired(slo(policy=page), raw, 121, 120 + 20)
    assert one == set(), "one failure is no evidence"
    assert two == {("AvailabilityBudgetBurnPage1h", "checkout")}
    assert 140 - start <= 35


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mesh", "sre-workbook"] if EVERY_LIMIT else ["mesh"])
def test_a_request_a_minute_with_a_failure_a_day_alerts_nobody(policy: str) -> None:
    raw = {requests(): "0+1x1960", requests("503"): "_x500 1+0x1439 2+0x20"}
    minutes = [500, 503, 530, 700, 900, 1940, 1945, 1960]
    assert fired(slo(policy=POLICIES[policy]), raw, *minutes) == [set()] * len(minutes)


class TestYoungWindows:
    @pytest.mark.slow
    def test_an_outage_in_a_new_service_pages_through_the_fast_windows(self) -> None:
        raw = {requests("503"): "_x10 1+600x400"}
        found = fired(slo(), raw, 14, 15, 44, 45, 369, 370)
        names = [{name.removeprefix("AvailabilityBudgetBurn") for name, _ in one} for one in found]
        assert names == [
            set(),
            {"Page1h"},
            {"Page1h"},
            {"Page1h", "Page6h"},
            {"Page1h", "Page6h"},
            {"Page1h", "Page6h", "Ticket3d"},
        ]

    @pytest.mark.slow
    def test_a_ticket_does_not_speak_of_three_days_on_half_an_hour(self) -> None:
        """A burn of 3, which is no page."""
        raw = {requests(): "0+997x400", requests("503"): "0+3x400"}
        found = fired(slo(), raw, 30, 359, 360)
        assert found == [set(), set(), {("AvailabilityBudgetBurnTicket3d", "checkout")}]

    def test_a_gap_in_what_is_recorded_makes_no_window_young(self) -> None:
        raw = {requests(): "0+600x60 _x25 51600+0x20", requests("503"): "_x85 15000+600x20"}
        found = fired(slo(policy=PAGE), raw, 60, 90)
        assert found == [set(), {("AvailabilityBudgetBurnPage1h", "checkout")}]


class TestStoppedTraffic:
    """A pause of an hour is usual: three are not."""

    STOPS = 1500

    def test_is_told_after_three_times_the_longest_pause_of_a_service_that_is_older_than_a_day(self) -> None:
        """Steps 300 to 365 were the longest pause, 1505 the last with events: 3 × 65 minutes, and 10 of ``for``."""
        policy = AlertPolicy("stopped", (), traffic_stopped="ticket")
        raw = {
            requests(service="old"): self.pauses(begins=0),
            requests(service="young"): self.pauses(begins=290),
        }
        target = slo(service="*", policy=policy)
        minutes = [400, 1500, 1570, 1680, 1705, 1710, 1715, 1720]
        found = fired(target, raw, *minutes, groups="grid", evaluation="5m")
        assert [{service for _, service in one} for one in found] == [set()] * 6 + [{"old"}] * 2

    def pauses(self, begins: int) -> str:
        """Ten requests a minute from ``begins``, none for the hour from minute 300, none from ``STOPS``."""
        before = f"_x{begins} " if begins else ""
        count = 10 * (300 - begins)
        again = 10 * (self.STOPS - 360)
        return f"{before}0+10x{300 - begins} {count}+0x59 {count}+10x{self.STOPS - 360} {count + again}+0x400"
