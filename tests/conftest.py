"""A test that needs a program which is not installed is skipped, and says so (see scripts/install-tools)."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from sloctl.errors import UsageError

pytest_plugins = ["tests.support.ledgers", "tests.support.order"]
# No test may fail because a machine is slow: not by a deadline either, nor for inputs that took long to draw.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would every process that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A text of ten megabytes is no name: processes tell each other the names of all tests."""
    if isinstance(val, (str, bytes)) and len(val) > 120:
        begin = val[:60] if isinstance(val, str) else val[:60].decode(errors="replace")
        return f"{begin}… ({len(val)})"
    return None


def _skip_without_program(error: UsageError) -> None:
    if str(error).endswith(("is not on PATH", "could not be fetched")):
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    try:
        return (yield)
    except UsageError as error:
        _skip_without_program(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    try:
        return (yield)
    except UsageError as error:
        _skip_without_program(error)
        raise
