"""Every PromQL expression that sloctl writes, built once for rules, dashboards and jobs alike.

It must not know where an expression goes. Windows are seconds.
"""

from sloctl.promql.counting import (
    SEEN,
    base_families,
    base_rule,
    events,
    full_selector,
    gap_rule,
    increments,
    range_calls,
    scope,
    user_expression,
    without,
)
from sloctl.promql.reading import (
    base_of_set,
    evaluated,
    firing,
    last_instant,
    of_set,
)
from sloctl.promql.recorded import (
    alert_rule,
    bad_rule,
    burn_rate_rule,
    period_rule,
    recorded,
    recorded_events,
    remaining_rule,
    step_of,
    tile_metrics,
    total_rule,
    windowed,
)
from sloctl.promql.syntax import (
    indent,
    labelled,
    milliseconds,
    quote,
    regex_quote,
    selector,
    union,
)

__all__ = [
    "SEEN",
    "alert_rule",
    "bad_rule",
    "base_families",
    "base_of_set",
    "base_rule",
    "burn_rate_rule",
    "evaluated",
    "events",
    "firing",
    "full_selector",
    "gap_rule",
    "increments",
    "indent",
    "labelled",
    "last_instant",
    "milliseconds",
    "of_set",
    "period_rule",
    "quote",
    "range_calls",
    "recorded",
    "recorded_events",
    "regex_quote",
    "remaining_rule",
    "scope",
    "selector",
    "step_of",
    "tile_metrics",
    "total_rule",
    "union",
    "user_expression",
    "windowed",
    "without",
]
