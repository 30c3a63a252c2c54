"""Traffic that stops: what is recorded for an alert of it, and who else counts a service that an SLO does not see.

It must not know how events are counted: it reads the recorded ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloctl import naming
from sloctl.model import GRID, CounterSli, Matcher, Mesh, Slo
from sloctl.model.durations import duration
from sloctl.model.policies import SILENCE
from sloctl.promql.counting import full_selector, scope
from sloctl.promql.presets import REQUESTS
from sloctl.promql.recorded import just_recorded, recorded, total_rule
from sloctl.promql.syntax import labelled, milliseconds, regex_quote, selector

_BY = f"by ({', '.join(naming.IDENTITY)})"
_ON = f"on ({', '.join(naming.IDENTITY)})"
_LATELY = "10m"
_KEPT = 86400
"""For how long (seconds) the last event is remembered where no rules are evaluated."""


def _eventful(slo: Slo, mesh: Mesh, chained: bool) -> str:
    if chained:
        return f"max {_BY} ({just_recorded(recorded(naming.TOTAL_GRID, slo))}) > 0"
    text = total_rule(slo, mesh, GRID, chained=False)
    if not slo.wildcard:
        text = labelled(text, naming.SERVICE, slo.service)
        text = labelled(text, naming.NAMESPACE, slo.namespace) if slo.namespace else text
    return f"{text} > 0"


def _last(slo: Slo, reach: str) -> str:
    # Series of before and after a change of the file's labels are one.
    return f"max {_BY} (last_over_time({recorded(naming.LAST_EVENT, slo)}[{reach}]))"


def pause_rule(slo: Slo, mesh: Mesh, *, chained: bool = True) -> str:
    """At steps with events: seconds since such a step before. To be recorded before :func:`last_event_rule`."""
    return f"time() - {_last(slo, duration(_KEPT))}\nand {_ON}\n  ({_eventful(slo, mesh, chained)})"


def last_event_rule(slo: Slo, mesh: Mesh, *, chained: bool = True) -> str:
    """When the last step with events was; forgotten when it is older than what pauses are remembered."""
    return (
        f"0 * ({_eventful(slo, mesh, chained)}) + time()\n"
        f"or {_ON}\n"
        f"  ({_last(slo, duration(_KEPT))} > time() - {SILENCE.memory})"
    )


def stopped_rule(slo: Slo, *, chained: bool = True) -> str:
    """Seconds without events, where they are far more than usual."""
    pauses = f"{recorded(naming.EVENT_PAUSE, slo)}[{milliseconds(SILENCE.memory)}]"
    return (
        f"time() - {_last(slo, '1s' if chained else duration(2 * GRID))}\n"
        f"> {_ON}\n"
        f"  clamp_min({SILENCE.times} * max {_BY} (max_over_time({pauses})), {SILENCE.least})\n"
        f"and {_ON}\n"
        f"  max {_BY} (count_over_time({pauses})) >= {SILENCE.steps}\n"
        f"and {_ON}\n"
        f"  last_over_time({recorded(naming.LAST_EVENT, slo)}[1h] offset {duration(SILENCE.age)})"
    )


def other_reporters(slo: Slo, mesh: Mesh, services: Sequence[str]) -> str:
    """Requests of the last hour to some services of an SLO by reporters that it does not read; "" where none report."""
    if not isinstance(slo.sli, CounterSli):
        return ""
    part = slo.sli.total[0]
    own = "|".join(sorted(m.value for m in part.matchers if m.label == "reporter"))
    where = [
        Matcher("reporter", "!~", own),
        Matcher(slo.sli.namespace_label, "=", slo.namespace),
        Matcher(slo.sli.service_label, "=~", "|".join(regex_quote(service) for service in sorted(services))),
        *slo.sli.where,
        *mesh.matchers,
    ]
    return f"sum by (reporter, {slo.sli.service_label}) (increase({selector(REQUESTS, where)}[1h])) > 0"


def unmeasured(slo: Slo, mesh: Mesh) -> str:
    """The services of a latency SLO that have requests, none of which was measured in the last ten minutes."""
    sli = slo.sli
    if not isinstance(sli, CounterSli) or sli.threshold is None:
        return ""
    [total], by = sli.total, f"({sli.namespace_label}, {sli.service_label})"
    reporter = [matcher for matcher in total.matchers if matcher.label == "reporter"]
    requests = selector(REQUESTS, (*reporter, *scope(slo, sli), *mesh.matchers))
    measured = full_selector(slo, sli, total, mesh)
    return (
        f"sum by {by} (increase({requests}[{_LATELY}])) > 0\n"
        f"unless on {by}\n"
        f"  group by {by} (last_over_time({measured}[{_LATELY}]))"
    )
