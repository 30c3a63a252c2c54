"""What goes on until it is asked to end, and looks after SLO files that may change meanwhile."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from sloctl.errors import SloctlError, UsageError
from sloctl.settings.variables import environment

if TYPE_CHECKING:
    from sloctl.model import SloSet
    from sloctl.spec import Source

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
LOOK = 5.0
"""Seconds between two looks at the files."""


class Files:
    """The SLO files that a process was started with, of the set called ``name``, and what becomes of them.

    ``check`` raises SloctlError for SLOs that the process could not go on with.
    """

    def __init__(
        self, names: Sequence[str], sources: Sequence[Source], name: str, check: Callable[[SloSet], None]
    ) -> None:
        self._paths = [] if "-" in names else [Path(each) for each in names]
        self._seen, self._name, self._check = tuple(sources), name, check
        self._met, self._refused = self._seen, False

    def changed(self, *, asked: bool = False) -> SloSet | None:
        """The SLOs of files that have changed, and are the same at two looks; what is not valid is said once.

        Who writes the files may be half-way: what is used is never half of one and half of another. ``asked``: they
        are complete, and judged now, those that were refused as well. Raises SloctlError.
        """
        from sloctl import spec

        if not self._paths:
            return None
        try:
            found = spec.read(self._paths)
            whole = found == (spec.read(self._paths) if asked else self._met)
        except UsageError:
            known, self._seen, self._met = not self._met, (), ()
            if known and not asked:
                return None
            raise
        self._met = found
        if not whole or (found == self._seen and not (asked and self._refused)):
            return None
        self._seen, self._refused = found, True
        slo_set = spec.load_sources(found, environment())
        if slo_set.name != self._name:
            raise UsageError(f"the set is now called {slo_set.name}: start anew")
        self._check(slo_set)
        self._refused = False
        return slo_set


def told(error: SloctlError) -> str:
    """Why changed files are not used, with their first problems."""
    problems = [f"{p.position}: {p.message}" for p in getattr(error, "problems", ()) if p.severity == "error"]
    return "; ".join([str(error), *problems[:10]])


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Leaves signals to :func:`attend`: threads inherit this, and they are for the main thread alone."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def attend(look: Callable[[bool], None]) -> signal.Signals:
    """Wait for the signal that ends all; ``look`` after the files meanwhile, with whether SIGHUP asks for it."""
    looked = monotonic()
    while True:
        found = signal.sigtimedwait(SIGNALS, 1.0)
        number = found.si_signo if found else 0
        if number in (signal.SIGTERM, signal.SIGINT):
            return signal.Signals(number)
        if number == signal.SIGHUP or monotonic() - looked >= LOOK:
            looked = monotonic()
            look(number == signal.SIGHUP)
