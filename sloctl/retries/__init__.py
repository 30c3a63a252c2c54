"""Retries, from spans: calls and their attempts, amplification by edge and along paths, and what to worry about.

Works on frames of ``sloctl.backends.spans.COLUMNS``; must not know where spans come from, nor who reads the results.
"""

from sloctl.retries.calls import METHODS, CallTable, calls
from sloctl.retries.edges import edges, interval
from sloctl.retries.judge import Finding, compare, findings, worst_case, worst_traces
from sloctl.retries.paths import loads, paths

__all__ = [
    "METHODS",
    "CallTable",
    "Finding",
    "calls",
    "compare",
    "edges",
    "findings",
    "interval",
    "loads",
    "paths",
    "worst_case",
    "worst_traces",
]
