"""The scenario of ``sloctl demo``: an online shop of twenty services, and the month it has had.

Data only: :mod:`.world` says what each part means, :mod:`.engine` plays it.
"""

from __future__ import annotations

from sloctl.demo.world import (
    OUTSIDE,
    BatchJob,
    Crash,
    Deploy,
    Edge,
    Latency,
    Leak,
    Outage,
    Quiet,
    ScrapeGap,
    Service,
    Slowdown,
    World,
    ago,
    on_day,
)

GATEWAY = "istio-ingressgateway"

_SERVICES = (
    Service(GATEWAY, namespace="istio-system"),
    Service("frontend", pods=2, error_rate=1e-4, client_error_rate=0.004),
    Service("checkout", pods=2, latency=Latency(45, 0.75)),
    Service("payments", pods=2, error_rate=2e-4),
    Service("search", latency=Latency(60, 0.7)),
    Service("catalog", pods=2, error_rate=0.02, retries=2),
    Service("cart", pods=2, error_rate=5e-5),
    Service("inventory", error_rate=1e-4),
    Service("recommendations", error_rate=1e-3),
    Service("ranking", error_rate=5e-4),
    Service("pricing", error_rate=5e-5),
    Service("accounts", error_rate=1e-4, client_error_rate=0.01),
    Service("orders", error_rate=1e-4),
    Service("shipping", protocol="grpc", error_rate=5e-4),
    Service("tax", protocol="grpc", error_rate=1e-4),
    Service("fraud", error_rate=3e-4),
    Service("ledger", error_rate=1e-4),
    Service("notifications", error_rate=2e-3),
    Service("billing", error_rate=1e-4),
    Service("gift-cards", error_rate=1e-3),
    Service("loyalty", error_rate=1e-4),
)

_EDGES = (
    Edge(GATEWAY, "frontend", 60.0),
    Edge("frontend", "search", 20.0),
    Edge("frontend", "catalog", 40.0),
    Edge("frontend", "cart", 15.0),
    Edge("frontend", "checkout", 8.0),
    Edge("frontend", "recommendations", 18.0),
    Edge("frontend", "accounts", 6.0),
    Edge("checkout", "payments", 4.0),
    Edge("checkout", "orders", 4.0),
    Edge("checkout", "tax", 5.0),
    Edge("checkout", "gift-cards", 0.2),
    Edge("cart", "pricing", 12.0),
    Edge("catalog", "inventory", 14.0),
    Edge("recommendations", "ranking", 9.0),
    Edge("orders", "shipping", 3.0),
    Edge("orders", "notifications", 1.5),
    Edge("payments", "fraud", 4.0),
    Edge("payments", "ledger", 3.0),
    Edge("ledger", "billing", 0.5),
    Edge(OUTSIDE, "pricing", 0.3),
)

LOST = (on_day(8, 15.0), on_day(8, 15.5))
"""When payments loses its budget, because fraud does not answer it: start and end, relative to the history's end."""

_EVENTS = (
    # What tells an exact budget from an average of ratios: the same error share, by night and at the peak.
    Outage("checkout", on_day(12, 3.0), on_day(12, 4.0)),
    Deploy("checkout", on_day(12, 10.0), "v2"),
    Outage("payments", *LOST, source=("504", "UT"), destination=("0", "DC")),
    Outage("fraud", *LOST, source=("504", "UT"), destination=("0", "DC")),
    # Still going on at the end, and after it.
    Leak("inventory", ago(days=4), ago(days=0), 0.012),
    Outage("search", ago(minutes=20), ago(days=-1), share=0.35),
    # Retries hide most of this one from the clients.
    Outage("catalog", on_day(5, 11.0), on_day(5, 13.0), share=0.35),
    Outage("shipping", on_day(17, 9.0), on_day(17, 9.5), share=0.25),
    Outage(
        "orders", on_day(17, 9.0), on_day(17, 9.5), share=0.19, source=("500", "-"), destination=("500", "-")
    ),
    Slowdown("checkout", on_day(20, 12.0), on_day(20, 15.0), 4.0),
    Slowdown("search", on_day(6, 17.0), on_day(6, 18.5), 3.0),
    # What must cost nothing, or must not be lost.
    Quiet("gift-cards", on_day(16, 0.0), on_day(9, 8.0)),
    ScrapeGap("recommendations", on_day(3, 12.0), on_day(3, 12.0) + 25 * 60),
    Outage("recommendations", on_day(3, 12.0) - 60, on_day(3, 12.0) + 26 * 60, share=0.02),
    Crash("frontend", 1, on_day(10, 13.0)),
    Crash("orders", 0, on_day(10, 16.0)),
    Crash("cart", 0, on_day(2, 20.0)),
    Crash("cart", 0, on_day(2, 20.5)),
    Deploy("frontend", on_day(23, 10.0), "v41"),
    Deploy("frontend", on_day(9, 10.0), "v42"),
    Deploy("search", on_day(14, 11.0), "v2"),
    Deploy("cart", on_day(19, 14.0), "v2"),
    Deploy("payments", on_day(7, 9.0), "v2"),
    Deploy("inventory", on_day(4, 13.5), "v7"),
)


def shop(days: float = 30.0) -> World:
    """The shop with the last ``days`` of its history; its events lie within the last 24 days."""
    return World(
        services=_SERVICES,
        edges=_EDGES,
        events=_EVENTS,
        batches=(BatchJob("billing", "billing", per_second=2.0),),
        days=days,
    )


def corner_shop(days: float = 1.0) -> World:
    """A small world with one event of every kind within its last day: for tests."""
    return World(
        services=(
            Service(GATEWAY, namespace="istio-system"),
            Service("web", pods=2, error_rate=0.002, client_error_rate=0.01),
            Service("api", pods=2, error_rate=0.005, latency=Latency(80, 0.8)),
            Service("store", protocol="grpc", error_rate=0.003),
            Service("flaky", error_rate=0.05, retries=2),
            Service("hidden", error_rate=0.01),
            Service("behind", error_rate=0.01),
            Service("seldom", error_rate=0.01),
            Service("idle"),
        ),
        edges=(
            Edge(GATEWAY, "web", 10.0),
            Edge("web", "api", 5.0),
            Edge("web", "flaky", 4.0),
            Edge("web", "hidden", 6.0),
            Edge("hidden", "behind", 6.0),
            Edge("api", "store", 3.0),
            Edge("web", "seldom", 0.5),
            Edge(OUTSIDE, "api", 0.2),
        ),
        events=(
            Outage("api", ago(hours=11), ago(hours=10)),
            Outage("store", ago(hours=2), ago(hours=1.5), share=0.5),
            Leak("web", ago(hours=6), ago(hours=0), 0.05),
            Slowdown("api", ago(hours=5), ago(hours=4), 4.0),
            Quiet("seldom", ago(hours=14), ago(hours=3)),
            Deploy("api", ago(hours=9), "v2"),
            Deploy("web", ago(hours=7), "v2"),
            Crash("web", 1, ago(hours=3)),
            Crash("web", 1, ago(hours=3) + 120),
            Crash("store", 0, ago(hours=1)),
            ScrapeGap("hidden", ago(hours=8), ago(hours=8) + 1500),
            Outage("flaky", ago(minutes=20), ago(days=-1), share=0.5),
        ),
        batches=(BatchJob("store", "store-jobs", per_second=0.5, late_share=0.05),),
        days=days,
    )
