"""Two SLO files beside each other: what a change means before it is merged.

:mod:`~jobs.diff.compared` says what comes, goes and changes, and which budgets go on; :mod:`~jobs.diff.replayed` has
:mod:`jobs.backtest` replay both on the same past; :mod:`~jobs.diff.told` and :mod:`~jobs.diff.comment` print it.
Nothing is recorded.
"""

from jobs.diff.compared import Change, Comparison, compare
from jobs.diff.replayed import Replay, replay

__all__ = ["Change", "Comparison", "Replay", "compare", "replay"]
