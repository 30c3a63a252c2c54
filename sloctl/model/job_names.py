"""The jobs that there are, by name: one list for the SLO file, the command line, the scheduler and Kubernetes.

It must not know what a job does.
"""

from __future__ import annotations

from typing import Literal, get_args

SLIS = "slis"
"""Records events in the ledger: the only job that writes there."""
BURN_RATE = "burn_rate"
SIDECAR_RESTARTS = "sidecar_restarts"
RETRY_AMPLIFICATION = "retry_amplification"
"""Asks the trace backend: the only job that needs one."""
REPORT = "report"
"""The only job that a file may have several of, and the only one whose result is posted."""

RoutineKind = Literal["daily", "weekly", "monthly"]
ROUTINES: tuple[RoutineKind, ...] = get_args(RoutineKind)
"""Which periods a report may be of."""

NAMES = (SLIS, BURN_RATE, SIDECAR_RESTARTS, RETRY_AMPLIFICATION, REPORT)
"""All of them, in the order in which several are run at once."""
ALIASES = {"slo_report": REPORT}
"""What an SLO file may call a job too."""
IN_FILES = (SLIS, BURN_RATE, RETRY_AMPLIFICATION, SIDECAR_RESTARTS, REPORT, *ALIASES)
"""The names that an SLO file may give, in the order of its reference."""
