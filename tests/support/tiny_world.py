"""The smallest world of the demo in which something fails."""

from __future__ import annotations

from sloctl.demo.world import Edge, Outage, Service, World

TINY = World(
    services=(Service("a"), Service("b", error_rate=0.1)),
    edges=(Edge("a", "b", 5.0),),
    events=(Outage("b", -600, -300),),
    days=0.1,
)
