"""What is said on a terminal while something takes longer than two seconds; pipes and CI are told nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sloctl.backends.protocols import Progress, silent
from sloctl.cli.context import Context

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PATIENCE = 2.0
"""Seconds in which nothing is said: most commands are done by then."""


@contextmanager
def shown(context: Context, text: str, *, after: float = PATIENCE) -> Iterator[Progress]:
    """A bar with ``text`` on a terminal, from ``after`` seconds on until the context ends; what it yields moves it.

    Results are to be printed when it has ended. A negative share says that nobody knows how much is left.
    """
    if context.quiet or sys.stderr is None or not sys.stderr.isatty():
        yield silent
        return
    late = _Late(text)
    timer = threading.Timer(after, late.start)
    timer.daemon = True
    timer.start()
    try:
        yield late.update
    finally:
        timer.cancel()
        late.stop()


class _Late:
    """A bar that appears when it is told to, with what was last said of it."""

    def __init__(self, text: str) -> None:
        self._lock = threading.Lock()
        self._share, self._text = -1.0, text
        self._bar: Bar | None = None
        self._ended = False

    def start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with self._lock:
            if self._ended:
                return
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._text, total=None)
            self._bar.start()
            self._show()

    def update(self, share: float, text: str) -> None:
        with self._lock:
            self._share, self._text = share, text
            self._show()

    def _show(self) -> None:
        if self._bar is not None:
            known = self._share >= 0
            self._bar.update(
                self._bar.task_ids[0],
                description=self._text,
                total=1.0 if known else None,
                completed=self._share if known else 0.0,
            )

    def stop(self) -> None:
        with self._lock:
            self._ended = True
            if self._bar is not None:
                self._bar.stop()
