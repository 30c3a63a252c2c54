"""What is a service, what is bad and what is an event at all: rules, raw counters and the ledger say the same."""

from __future__ import annotations

from pathlib import Path

from tests.support.three_ways import WAYS, Events, counted, in_an_hour, request

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
