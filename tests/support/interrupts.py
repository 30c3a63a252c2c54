"""Ctrl-C where tests run in the background of a script, which ignores it, and hands that on to all it starts."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While the context lasts, this process and those that it starts end by SIGINT, as they do at a terminal."""
    # A new program has the default for every signal that had a handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
