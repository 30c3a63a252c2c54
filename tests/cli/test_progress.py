"""What is said while something takes long: on a terminal only, and gone before results are printed."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from sloctl.cli import progress
from sloctl.cli.context import Context


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def appeared() -> None:
    """Wait until what is to appear has."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(30)


def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.shown(Context(), "reading budgets", after=0.0) as told:
        appeared()
        assert "reading budgets" in stderr.getvalue()
        told(0.5, "reading raw counters")
        told(-1.0, "slis")
    assert stderr.getvalue().endswith("\x1b[2K"), "the bar is wiped out"
    assert "\x1b[?25h" in stderr.getvalue(), "the cursor is there again"


def test_what_is_done_at_once_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.shown(Context(), "reading budgets", after=600.0) as told:
        told(0.5, "reading raw counters")
    appeared()
    assert stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("context", "stderr"), [(Context(quiet=True), Terminal()), (Context(), io.StringIO())]
)
def test_pipes_and_who_wants_quiet_are_told_nothing(
    monkeypatch: pytest.MonkeyPatch, context: Context, stderr: io.StringIO
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.shown(context, "reading budgets", after=0.0) as told:
        appeared()
        told(0.5, "reading raw counters")
    assert stderr.getvalue() == ""
