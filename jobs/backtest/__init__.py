"""Alert policies over the past: what would have paged, when, for how long, and which incidents it would have told of.

:mod:`~jobs.backtest.history` reads recorded events, :mod:`~jobs.backtest.replay` evaluates a policy on them as
Prometheus evaluates its rules, :mod:`~jobs.backtest.judged` compares with known incidents and other policies, and
:mod:`~jobs.backtest.told` prints it. Nothing is recorded.
"""

from jobs.backtest.history import History, LedgerHistory, RecordedHistory
from jobs.backtest.judged import Backtest, Incident, run

__all__ = ["Backtest", "History", "Incident", "LedgerHistory", "RecordedHistory", "run"]
