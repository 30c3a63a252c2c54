"""What is a service, what is bad and what is an event at all: rules, raw counters and the ledger say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.three_ways import WAYS, Counter, Events, counted, in_an_hour, request

EVERY = (
    '  - {name: availability, service: "*", namespace: shop, objective: 99, sli: {preset: availability}}\n'
)


def each_way(events: Events) -> dict[str, Events]:
    return dict.fromkeys(WAYS, events)


class TestServices:
    NOBODY = (
        "",
        "unknown",
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "InboundPassthroughClusterIpv4",
    )

    def test_names_of_no_service_become_none(self, tmp_path: Path) -> None:
        """A wildcard host is a service: one that is named has its own SLO, another is among those of the namespace."""
        counters = [
            request(10),
            *(request(3, destination_service_name=name, response_code="503") for name in self.NOBODY),
            request(4, destination_service_name="*.example.org"),
            request(1, destination_service_name="*.example.org", response_code="503"),
            request(7, destination_service_name="api.example.org"),
            request(6, destination_service_name="*.example.net"),
        ]
        slos = EVERY + (
            '  - {name: availability, service: "*.example.org", namespace: shop, objective: 99.9, '
            "sli: {preset: availability}}\n"
        )
        assert counted(slos, counters, tmp_path) == each_way(
            {
                ("availability", "checkout"): (0, in_an_hour(10)),
                ("availability", "*.example.org"): (in_an_hour(1), in_an_hour(5)),
                ("availability", "api.example.org"): (0, in_an_hour(7)),
                ("availability", "*.example.net"): (0, in_an_hour(6)),
            }
        )

    def test_workloads_of_no_name_are_no_gateways(self, tmp_path: Path) -> None:
        counters = [request(10), request(5, source_workload="unknown", response_code="503")]
        slos = EVERY.replace("preset: availability", "preset: gateway")
        assert counted(slos, counters, tmp_path) == each_way({("availability", "web"): (0, in_an_hour(10))})


class TestResponseFlags:
    """2,160 bad ones of 216,000 in six hours are 360 of 36,000 in one."""

    GOOD, CUT = 297, 3

    @pytest.mark.parametrize("preset", ["availability", "grpc", "gateway"])
    def test_an_answer_that_was_cut_is_bad(self, preset: str, tmp_path: Path) -> None:
        protocol = {"request_protocol": "grpc", "grpc_response_status": "0"} if preset == "grpc" else {}
        streams = {"UC": self.CUT, "UT": 1, "URX,UR": 1, "DI": 5, "UCX": 7}
        counters = [
            request(self.GOOD, **protocol),
            *(request(gain, **protocol, response_flags=seen) for seen, gain in streams.items()),
            request(2, **protocol | {"grpc_response_status": ""}, response_code="503", response_flags="UC"),
        ]
        slos = (
            f"  - {{name: {preset}, service: web, namespace: shop, objective: 99, sli: {{preset: {preset}}}}}\n"
            f'  - {{name: {preset}, service: "*", namespace: shop, objective: 99, sli: {{preset: {preset}}}}}\n'
            "  - {name: fast, service: checkout, namespace: shop, objective: 99, sli: {preset: errors}}\n"
        )
        service = "web" if preset == "gateway" else "checkout"
        bad, total = in_an_hour(self.CUT + 1 + 1 + 2), in_an_hour(self.GOOD + self.CUT + 1 + 1 + 5 + 7 + 2)
        assert counted(slos, counters, tmp_path) == each_way(
            {(preset, service): (bad, total), ("fast", "checkout"): (in_an_hour(2), total)}
        )

    @pytest.mark.parametrize("hang_ups", ["counted", "excluded"])
    def test_callers_that_hang_up(self, hang_ups: str, tmp_path: Path) -> None:
        grpc = {"request_protocol": "grpc", "grpc_response_status": "0"}
        counters = [
            request(100),
            request(10, response_flags="DC"),  # all of its answer was there
            request(7, response_code="0", response_flags="DC"),
            request(3, response_code="0", response_flags="UF"),
            request(200, **grpc),
            request(5, **grpc | {"grpc_response_status": ""}, response_code="0", response_flags="DC"),
            request(6, **grpc | {"grpc_response_status": ""}, response_flags="DC"),
            request(4, **grpc | {"grpc_response_status": "1"}, response_flags="DR"),
            request(2, **grpc | {"grpc_response_status": "1"}),  # the service's own doing
            request(1, **grpc | {"grpc_response_status": "14"}, response_flags="DC"),
            request(8, **grpc | {"grpc_response_status": ""}, response_code="503", response_flags="DC"),
        ]
        key = f", hang_ups: {hang_ups}" if hang_ups == "excluded" else ""
        slos = "".join(
            f'  - {{name: {preset}, service: "{service}", namespace: shop, objective: 99, '
            f"sli: {{preset: {preset}{key}}}}}\n"
            for preset, service in (("availability", "*"), ("grpc", "checkout"))
        )
        found = counted(slos, counters, tmp_path)
        http, calls = 100 + 10 + 3, 200 + 2 + 1 + 8
        failed, failed_calls = 3, 1 + 8
        if hang_ups == "excluded":
            events = {
                "availability": (failed + failed_calls, http + calls),
                "grpc": (failed_calls, calls),
            }
        else:
            events = {
                "availability": (failed + failed_calls + 7 + 5, http + calls + 7 + 5 + 6 + 4),
                "grpc": (failed_calls + 5, calls + 5 + 6 + 4),
            }
        assert found == each_way(
            {
                (name, "checkout"): (in_an_hour(bad), in_an_hour(total))
                for name, (bad, total) in events.items()
            }
        )


class TestOwnEvents:
    """A tenth of what 300 in 30 seconds are: 21,600 of 216,000 in six hours, 3,600 of 36,000 in one."""

    JOBS, QUICK, LOST = 300, 270, 5

    def counted(self, bad: str, folder: Path, *, total: str = "sum(rate(jobs_count[$window]))") -> Events:
        counters = [
            Counter("jobs_count", {}, self.JOBS),
            Counter("jobs_bucket", {"le": "250.0"}, self.QUICK),
            Counter("jobs_bucket", {"le": "500.0"}, self.JOBS),
            Counter("old_bucket", {"le": "250"}, self.QUICK),
            Counter("lost_total", {"queue": "mail"}, self.LOST),
        ]
        key, text = bad.split(": ", 1)
        slos = (
            "  - name: age\n    service: billing\n    objective: 99\n    sli:\n      events:\n"
            f"        total: {total}\n        {key}: {text}\n"
        )
        found = counted(slos, counters, folder)
        assert found["rules"] == found["raw"] == found["ledger"]
        return found["rules"]

    @pytest.mark.parametrize(
        "bad",
        [
            'bad: sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{le="250"}[$window]))',
            'bad: sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{le="250.0"}[$window]))',
            'bad: rate(jobs_count[$window]) - ignoring (le) rate(old_bucket{le="250.0"}[$window])',
            'bad: sum(rate(jobs_bucket{le=~"500"}[$window])) - sum(rate(jobs_bucket{le!~"500|1000"}[$window]))',
            'good: rate(jobs_bucket{le="250"}[$window])',
        ],
    )
    def test_bounds_match_whichever_prometheus_wrote_them(self, bad: str, tmp_path: Path) -> None:
        slow = in_an_hour(self.JOBS - self.QUICK)
        assert self.counted(bad, tmp_path) == {("age", "billing"): (slow, in_an_hour(self.JOBS))}

    @pytest.mark.parametrize(
        "bad",
        [
            'bad: sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{le="251"}[$window]))',
            'bad: sum(rate(jobs_late_total[$window])) - sum(rate(jobs_bucket{le="250"}[$window]))',
            'good: rate(jobs_bucket{le="251"}[$window])',
        ],
    )
    def test_an_operand_that_matches_nothing_is_no_data(self, bad: str, tmp_path: Path) -> None:
        assert self.counted(bad, tmp_path) == {}

    @pytest.mark.parametrize(
        ("bad", "events"),
        [
            ("bad: sum(rate(lost_total[$window])) + sum(rate(never_total[$window]))", LOST),
            ("bad: rate(never_total[$window]) + rate(lost_total[$window])", LOST),
            ("bad: rate(never_total[$window]) + rate(ever_total[$window])", 0),
            ("bad: rate(never_total[$window])", 0),
            ("bad: sum(rate(lost_total[$window])) - (sum(rate(never_total[$window])) or vector(0))", LOST),
        ],
    )
    def test_a_term_that_matches_nothing_has_counted_nothing(
        self, bad: str, events: int, tmp_path: Path
    ) -> None:
        expected = (in_an_hour(events), in_an_hour(self.JOBS))
        assert self.counted(bad, tmp_path) == {("age", "billing"): expected}
