"""Instants as texts. Durations and numbers are tried where they are read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.model.durations import rfc3339

NOON = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOON, "2026-03-01T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=-8))), "2026-03-01T12:00:00Z"),
        (1772366400, "2026-03-01T12:00:00Z"),
        (1772366400.999, "2026-03-01T12:00:00Z"),
        (-30_700_000_000, "0997-02-25T22:13:20Z"),
    ],
)
def test_an_instant_is_utc_in_whole_seconds(at: datetime | float, text: str) -> None:
    assert rfc3339(at) == text


def test_milliseconds_are_cut_not_rounded() -> None:
    assert rfc3339(NOON, milliseconds=True) == "2026-03-01T12:00:00.999Z"


@given(st.integers(-(10**10), 10**11))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert datetime.fromisoformat(rfc3339(seconds)).timestamp() == seconds
