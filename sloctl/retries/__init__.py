"""Retries, from spans: calls and their attempts, amplification by edge and along paths, and what to worry about.

How spans become amplification, with the module of each step, the table that it gives, and what a row of that is::

    frame of spans                     a span, in any order; the columns of sloctl.backends.spans.COLUMNS
      │ ordered   in_order             each once; ids and services become numbers
      ▼
    OrderedSpans                       a span, in the order of trace and time
      │ routers   router_spans         which are attempts of Envoy's router, at which request
      │ links     link                 what caused each, and which arrive at another service
      ▼
    Links, with RouterSpans            a span
      │ evidence  evidence_of          which show an attempt, and how
      ▼
    Evidence                           an attempt that is seen, or a call without
      │ grouping  same_call, resent    which are at one request, and of which that cannot be told
      │ logical   logical_calls
      ▼
    LogicalCalls of Evidence           a logical call
      │ logical   seen_attempts        in the order of time, with pauses
      │           sent_attempts        how many were sent, by a tag or by what is seen
      │ calls     calls                who called whom, how it ended, what made the call
      ▼
    CallTable                          a logical call; an attempt; a place where traces begin
      ├ edges     edges ──► a client and server: amplification, errors, durations, pauses
      ├ paths     paths ──► a path of services from where traces begin; loads ──► a service
      ▼
      judge       findings, compare (with metrics), worst_case, worst_traces

Attempts over requests of an edge, those of its calls of which anything was sent, are its amplification. ``numbering``
is what all steps count and look up with.

Works on frames of ``sloctl.backends.spans.COLUMNS``; must not know where spans come from, nor who reads the results.
"""

from sloctl.retries.calls import CallTable, calls
from sloctl.retries.edges import edges, interval
from sloctl.retries.judge import Finding, compare, findings, worst_case, worst_traces
from sloctl.retries.logical import METHODS
from sloctl.retries.paths import breadth, loads, paths

__all__ = [
    "METHODS",
    "CallTable",
    "Finding",
    "breadth",
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
