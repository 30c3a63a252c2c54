"""Reports made by hand: healthy ones, ones with a history, and ones whose every name is an attack on what shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from sloctl.report.data import Detail, Finding, Mark, Report, SloStatus
from sloctl.report.health import EdgeAmplification, GuardrailStatus, SidecarRestarts
from sloctl.report.history import BudgetHistory, bucket_count, history

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86400
MONTH = 30 * DAY
HOSTILE = "a|b`c`<script>alert(1)</script>\n# x\r\x1b[31mred\x9b1m\u202eevil\u2066*_[l](https://e.x)&amp;@all"
ATTACKS = (
    *(
        "<script>alert(1)</script>",
        "</style><script>x</script>",
        '"><img src=x onerror=alert(1)>',
        "'><svg onload=x>",
    ),
    *(
        "javascript:alert(1)",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "</title></svg>",
        "&lt;b&gt;",
        "<!--",
        "]]>",
        HOSTILE,
    ),
)


def item(**values: Any) -> SloStatus:
    """A healthy SLO, but for ``values``."""
    plain: dict[str, Any] = {
        "slo": "availability",
        "service": "checkout",
        "namespace": "shop",
        "objective": 99.9,
        "window": "30d",
        "status": "ok",
        "sli": 0.9995,
        "sli_interval": (0.999, 0.9998),
        "good": 9995.0,
        "bad": 5.0,
        "total": 10000.0,
        "spent": 0.5,
        "remaining": 0.5,
        "burn_rates": {"5m": 0.0, "1h": 0.5, "3d": None},
        "exhausted_at": None,
    }
    return SloStatus(**plain | values)


def report(*items: SloStatus, findings: tuple[Finding, ...] = ()) -> Report:
    return Report("shop", AT, "prometheus", items, findings)


def drawn(bad: float = 0.5, total: float = 1000.0, objective: float = 99.9, **values: Any) -> SloStatus:
    """An SLO with the same events in each of its 180 buckets."""
    share = (100 - objective) / 100
    counts = dict.fromkeys(range(180), (bad, total))
    made = history(counts, (bad * 180, total * 180), AT, MONTH, share)
    assert made is not None
    whole = {"bad": bad * 180, "total": total * 180, "good": (total - bad) * 180, "objective": objective}
    return item(
        **whole | {"remaining": made.remaining, "spent": 1 - made.remaining, "history": made} | values
    )


def attacked(attack: str) -> Report:
    entry = drawn(
        slo=attack,
        service=attack,
        namespace=attack,
        window=attack,
        owner=attack,
        alerts=(attack,),
        status="at_risk",
        detail=Detail(
            causes=((attack, 80.0),),
            marks=(Mark(AT - timedelta(days=3), AT - timedelta(days=2), "silence", attack),),
            links=(
                ("Dashboard", attack),
                ("Query", f"https://prometheus.example.org/graph?g0.expr={attack}"),
            ),
        ),
    )
    return Report(
        attack,
        AT,
        "prometheus",
        (entry,),
        (Finding("error", "x", attack, {attack: attack}),),
        (GuardrailStatus("mtls", {attack: attack}, 0.5, 1.0, "ratio", "min"),),
        (EdgeAmplification(attack, attack, 100.0, 150.0, 1.5, "metrics"),),
        (SidecarRestarts(attack, attack, 3.0, 2.0, 0.666, {attack: 2.0}),),
    )


@st.composite
def kept(draw: st.DrawFn) -> tuple[BudgetHistory, float]:
    """A history of any events, and what is left of its budget."""
    seconds = draw(st.sampled_from([300, 900, DAY, 7 * DAY + 123, 30 * DAY]))
    events = st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)).map(
        lambda two: (float(min(two)), float(two[1]))
    )
    counts = draw(st.dictionaries(st.integers(0, bucket_count(seconds) - 1), events, max_size=30))
    late = draw(events)
    window = tuple(sum(item[kind] for item in counts.values()) + late[kind] for kind in (0, 1))
    share = draw(st.sampled_from([0.5, 0.05, 0.001, 0.00001]))
    made = history(counts, (window[0], window[1]), AT, seconds, share)
    if made is None:
        assert window[1] == 0
        return BudgetHistory(AT - timedelta(seconds=300), AT, 300, ((0.0, 1.0),), share, 1.0), 1.0
    return made, 1 - window[0] / window[1] / share
