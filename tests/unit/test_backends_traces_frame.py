"""Frames of spans put together, and what counts as the same span reported twice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.backends.spans import Spans, empty, problems
from sloctl.backends.traces import columns, decode_zipkin
from sloctl.backends.traces.columns import concat, deduplicate, merge
from tests.support.spans_documents import TRACE, Span, zipkin


def frame(*spans: dict[str, Any]) -> pd.DataFrame:
    return decode_zipkin.decode(json.dumps(spans).encode()).frame


CLIENT = zipkin([Span()])[0]
SERVER = CLIENT | {"kind": "SERVER", "shared": True, "localEndpoint": {"serviceName": "payments.shop"}}


def test_frames_become_one_with_all_their_categories() -> None:
    left, right = frame(*zipkin(TRACE[:2])), frame(*zipkin(TRACE[2:]))
    both = concat([left, empty(), right])

    assert problems(both) == []
    assert list(both.index) == list(range(4))
    for column in both:
        assert list(both[column]) == [*left[column], *right[column]], column
    assert both["service"].cat.categories.is_unique


@pytest.mark.parametrize("frames", [[], [empty()], [empty(), empty()]])
def test_nothing_becomes_an_empty_frame(frames: list[pd.DataFrame]) -> None:
    assert (len(concat(frames)), problems(concat(frames))) == (0, [])
    assert deduplicate(concat(frames))[1] == 0


def test_pages_are_added_up() -> None:
    page = decode_zipkin.decode(json.dumps([*zipkin(TRACE), 5]).encode())
    both = merge([page, Spans(empty(), {"not an object": 2, "no trace id": 1}, 3, ("a page is lost",)), page])

    assert len(both.frame) == 2 * len(TRACE)
    assert (both.rejected, both.duplicates) == ({"not an object": 4, "no trace id": 1}, 3)
    assert both.incomplete == ("a page is lost",)


def test_spans_that_came_twice_are_there_once() -> None:
    once, count = deduplicate(frame(CLIENT, SERVER, CLIENT, SERVER, CLIENT))

    assert count == 3
    assert list(once["kind"]) == ["client", "server"]
    assert problems(once) == []


def test_the_finished_report_of_a_span_stays() -> None:
    unfinished = {key: value for key, value in CLIENT.items() if key != "duration"}

    once, count = deduplicate(frame(unfinished, CLIENT, unfinished))

    assert (count, list(once["duration"])) == (2, [1_500_000])


def test_halves_and_retries_under_one_id_are_different_spans() -> None:
    later = SERVER | {"timestamp": SERVER["timestamp"] + 1}
    elsewhere = SERVER | {"localEndpoint": {"serviceName": "payments.other"}}

    assert deduplicate(frame(CLIENT, SERVER, later, elsewhere))[1] == 0


@given(st.lists(st.integers(0, 40), max_size=60))
def test_as_many_go_as_were_repeated(numbers: list[int]) -> None:
    once, count = deduplicate(frame(*[CLIENT | {"id": f"{number + 1:x}"} for number in numbers]))

    assert (len(once), count) == (len(set(numbers)), len(numbers) - len(set(numbers)))


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1), st.text(max_size=18)), max_size=9),
    st.sampled_from([8, 16]),
)
def test_ids_one_by_one_and_in_bulk_are_the_same(values: list[int | str | None], size: int) -> None:
    texts = [f"{value:x}" if isinstance(value, int) else value for value in values]
    found, bad = columns.numbers(texts, size)

    assert found.shape == (len(texts), size // 8)
    for text, row, wrong in zip(texts, found.tolist(), bad.tolist(), strict=True):
        number = columns.number(text, size) if text else 0
        assert wrong is (number is None)
        if number is not None:
            assert row == ([number] if size == 8 else [number >> 64, number & (2**64 - 1)])


def test_ids_in_base64() -> None:
    found, bad = columns.numbers(["O6VWCcPN5JZJzXfR+dzZNg==", "AAAAAAAAAAAAAAAAAAAAAQ=="], 16)
    mixed, worse = columns.numbers(
        ["Sc130fnc2TY=", "49cd77d1f9dcd936", "Sc130fnc2TY", "=c130fnc2TY=", None], 8
    )

    assert found.tolist() == [[0x3BA55609C3CDE496, 0x49CD77D1F9DCD936], [0, 1]]
    assert not bad.any()
    assert mixed[:3].tolist() == [[0x49CD77D1F9DCD936]] * 3
    assert np.flatnonzero(worse).tolist() == [3]
