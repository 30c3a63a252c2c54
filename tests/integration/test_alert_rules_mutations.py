"""The generated unit tests can fail: each breaks on rules that are wrong in one place.

A mutation is what a slip in the generator (or a hand in the file) would do. promtool must find each of them with
nothing but the tests that are generated beside the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from alert_rules import manifest
from sloctl.model import AlertPolicy, BurnWindow, ExprSli, SloSet
from tests.support.promtool import of_group, run, slo

POLICY = AlertPolicy(
    "page",
    (
        BurnWindow("page", Decimal(14), 3600, 300),
        BurnWindow("page", Decimal(4), 6 * 3600, 1500, 300),
    ),
)
GROUND = SloSet("shop", (slo(policy=POLICY),))


def passes(slo_set: SloSet, mutate: Callable[[str], str], folder: Path) -> bool:
    """Whether the generated tests pass on mutated rules. The mutation must change the rules and leave them valid.

    No alert reads the rules of the five-minute grid here: promtool, which evaluates all that it loads, is spared them.
    """
    changed = False
    for name, text in manifest.generate(slo_set, "prometheus"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("_test.yaml"):
            [plain], [mutated] = of_group([text], "tiles"), of_group([mutate(text)], "tiles")
            changed = changed or mutated != plain
            text = mutated
        path.write_text(text, encoding="utf-8")
    assert changed, "the mutation does not apply"
    rules = sorted((folder / "alert_rules").glob("*.yaml"))
    checked = run("check", "rules", *rules)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = sorted(folder.rglob("*_test.yaml"))
    return all(run("test", "rules", test.name, cwd=test.parent).returncode == 0 for test in tests)


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: re.sub(old, new, text)


def plain_increase(found: re.Match[str]) -> str:
    """A rule of base events as everybody writes it; the parts besides have nothing then."""
    labels = "reporter, request_protocol, response_code, grpc_response_status"
    plain = f"sum by ({labels}) (increase(istio_requests_total[1m]))"
    text = plain if "- (last_over_time" in found[2] else f"{plain} < 0"
    return f"{found[1]}{' ' * (len(found[2]) - len(found[2].lstrip()))}{text}\n"


MUTATIONS: dict[str, Callable[[str], str]] = {
    "factor 14 is 13": swap(r"> 14\b", "> 13"),
    "factor 14 is 15": swap(r"> 14\b", "> 15"),
    "factor 4 is 3.7": swap(r"> 4\b", "> 3.7"),
    "factor 14 only in the long window": swap(r"(burn_rate:5m\{[^}]*\}) > 14", r"\1 > 0"),
    "the short window is dropped": swap(
        r"\n +and on \(namespace, service\)\n +slo:burn_rate:5m\{[^}]*\} > 14", ""
    ),
    "the long window is dropped": swap(
        r"slo:burn_rate:1h(\{[^}]*\}\[1s\]\)) > 14", r"slo:burn_rate:5m\1 > 14"
    ),
    "the long window is half as long": swap(r"\[3599999ms\]", "[1799999ms]"),
    "> is > bool": swap(r"(burn_rate:1h\{[^}]*\}\[1s\]\)) > 14", r"\1 > bool 14"),
    "> is <": swap(r"> 14\b", "< 14"),
    "the budget is ten times smaller": swap(r"\n( +)/ 0\.001\n", r"\n\1/ 0.0001\n"),
    "the budget is ten times larger": swap(r"\n( +)/ 0\.001\n", r"\n\1/ 0.01\n"),
    "the gate is gone": swap(
        r"\n +and on \(namespace, service\)\n +sum by \(namespace, service\) "
        r"\(sum_over_time(?:[^\n]*\n){4} +\) >= [\d.]+",
        "",
    ),
    "one failure is enough": swap(r">= 9\.2103\b", ">= 4"),
    "a failure adds less": swap(r"4\.60515\b", "4.6"),
    "no window is too young": swap(
        r"\n +and on \(namespace, service\)\n +last_over_time\(slo:total_events[^\n]*", ""
    ),
    "a window is young for less time": swap(r"\] offset 25m\b", "] offset 24m"),
    "a window is young for longer": swap(r"\] offset 5m\b", "] offset 6m"),
    "for is gone": swap(r"\n +for: 5m", ""),
    "for is longer": swap(r"for: 5m", "for: 10m"),
    "an alert is gone": swap(r"alert: AvailabilityBudgetBurnPage6h", "alert: Another"),
    "severity": swap(r"severity: page", "severity: ticket"),
    "bad events are all events": swap(r',response_code=~\\"5\.\.\|0\\"|,response_code=~"5\.\.\|0"', ""),
    "the other reporter": swap(r'reporter=(\\?)"source', r'reporter=\1"destination'),
    "another service": swap(r'destination_service_name="checkout"', 'destination_service_name="cart"'),
    "first errors are not counted": swap(r"\) < on \(job", ") > on (job"),
    "increase() as everybody writes it": lambda text: re.sub(
        r"(record: \"service:requests:increase1m\"\n +expr: \|-\n)((?: {10,}[^\n]*\n)+)", plain_increase, text
    ),
}


def test_without_a_mutation_they_pass(tmp_path: Path) -> None:
    assert passes(GROUND, swap(r"> 14\b", "> 14.0"), tmp_path)


COUNTED = SloSet("shop", (slo(policy=replace(POLICY, min_events=20, min_bad_events=3)),))
COUNTED_MUTATIONS: dict[str, Callable[[str], str]] = {
    "the gate of events and bad events is gone": swap(
        r"\n +and on \(namespace, service\)\n +sum by \(namespace, service\) \(sum_over_time[^\n]*\) >= \d+",
        "",
    ),
    "the gate of events is wide open": swap(r"\)\) >= 20\b", ")) >= 1"),
    "the gate of bad events is wide open": swap(r"\)\) >= 3\b", ")) >= 1"),
}


@pytest.mark.parametrize("name", COUNTED_MUTATIONS)
def test_wrong_numbers_of_events_fail_their_tests(name: str, tmp_path: Path) -> None:
    assert not passes(COUNTED, COUNTED_MUTATIONS[name], tmp_path)


@pytest.mark.parametrize("name", MUTATIONS)
def test_wrong_rules_fail_their_tests(name: str, tmp_path: Path) -> None:
    assert not passes(GROUND, MUTATIONS[name], tmp_path)


@pytest.mark.parametrize(
    ("preset", "params", "old", "new"),
    [
        pytest.param("latency", {"threshold": "250ms"}, r"250\|250\\\\?\.0", "500", id="latency-of-another-bound"),
        pytest.param("grpc", {}, r"2\|4\|12\|13\|14\|15", "5", id="other-grpc-codes"),
        pytest.param("errors", {"codes": ("403",)}, r'(response_code=~\\?")403', r"\g<1>404", id="another-code"),
        pytest.param("gateway", {}, 'source_workload="checkout"', 'source_workload="cart"', id="another-gateway"),
    ],
)  # fmt: skip
def test_wrong_slis_fail_their_tests(
    preset: str, params: dict[str, object], old: str, new: str, tmp_path: Path
) -> None:
    slo_set = SloSet("shop", (slo(preset, params, objective="99", policy=POLICY),))
    assert not passes(slo_set, swap(old, new), tmp_path)


@pytest.mark.parametrize("kind", ["bad", "good"])
def test_a_wrong_custom_sli_fails_its_tests(kind: str, tmp_path: Path) -> None:
    sli = ExprSli(**{"total": "rate(jobs_total[$window])", kind: "rate(jobs_other_total[$window])"})
    slo_set = SloSet("shop", (replace(slo(policy=POLICY, objective="99"), sli=sli),))
    assert not passes(slo_set, swap("jobs_other_total", "jobs_another_total"), tmp_path)
