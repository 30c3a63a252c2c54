"""Frames: the same columns and dtypes whatever the answer."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from sloctl.backends.frames import matrix_frame
from sloctl.errors import BadAnswer


def test_labels_times_and_values_of_series() -> None:
    frame = matrix_frame(
        [
            {"metric": {"service": "cart", "code": "200"}, "values": [[1700000000.25, "12.5"]]},
            {"metric": {"service": "checkout"}, "values": [[1700000000, "NaN"]]},
            {"metric": {}, "values": [[1700000000, "+Inf"]]},
            {"metric": {}, "values": [[1700000000, "-Inf"]]},
            {"metric": {}, "values": [[1700000000, "1e+06"]]},
        ],
        ["service", "code"],
    )
    assert list(frame.columns) == ["service", "code", "time", "value"]
    assert list(frame["service"]) == ["cart", "checkout", "", "", ""]
    assert list(frame["code"]) == ["200", "", "", "", ""]
    assert frame["time"].iloc[0] == pd.Timestamp("2023-11-14T22:13:20.25Z")
    assert frame["value"].iloc[0] == 12.5
    assert np.isnan(frame["value"].iloc[1])
    assert list(frame["value"].iloc[2:]) == [float("inf"), float("-inf"), 1e6]


def test_a_matrix_becomes_one_row_per_sample_in_order() -> None:
    frame = matrix_frame(
        [
            {"metric": {"s": "b"}, "values": [[0, "1"], [60, "2"]]},
            {"metric": {"s": "a"}, "values": [[60, "3"]]},
            {"metric": {"s": "none"}, "values": []},
        ],
        ["s"],
    )
    assert list(frame["s"]) == ["b", "b", "a"]
    assert list(frame["value"]) == [1, 2, 3]
    assert [t.timestamp() for t in frame["time"]] == [0, 60, 60]


@pytest.mark.parametrize("labels", [[], ["service"], ["service", "namespace"]])
def test_an_empty_answer_has_the_same_columns_and_dtypes(labels: list[str]) -> None:
    sample = {"metric": {"service": "cart", "namespace": "shop"}}
    full = matrix_frame([{**sample, "values": [[0, "1"]]}], labels)
    frames = [full, matrix_frame([], labels), matrix_frame([{**sample, "values": []}], labels)]
    for frame in frames:
        assert list(frame.columns) == [*labels, "time", "value"]
        assert list(frame.dtypes) == list(full.dtypes)
    assert str(full["time"].dtype) == "datetime64[ns, UTC]"
    assert full["value"].dtype == np.float64


def test_times_are_exact_to_the_millisecond() -> None:
    frame = matrix_frame([{"metric": {}, "values": [[1700000000.123, "1"]]}], [])
    assert frame["time"].iloc[0].value == 1700000000123 * 1_000_000


NO_SAMPLES: list[object] = [
    [0, "abc"],
    [0, None],
    ["soon", "1"],
    [0],
    [0, "1", "2"],
    7,
    [1e300, "1"],
    {"metric": {}},
    "cart",
]


@pytest.mark.parametrize(
    "item", ["cart", {"metric": {}}, *({"metric": {}, "values": [sample]} for sample in NO_SAMPLES)]
)
def test_what_is_not_a_sample_is_a_bad_answer(item: object) -> None:
    with pytest.raises(BadAnswer):
        matrix_frame([item], [])  # type: ignore[list-item]


def test_a_label_column_cannot_hide_the_samples() -> None:
    with pytest.raises(ValueError, match="value"):
        matrix_frame([], ["value"])


def test_a_large_matrix_takes_seconds_not_minutes() -> None:
    values = [[1700000000 + 300 * i, str(i * 1.37)] for i in range(8640)]
    result = [{"metric": {"service": f"s{n}", "namespace": "shop"}, "values": values} for n in range(200)]
    started = time.process_time()
    frame = matrix_frame(result, ["service", "namespace"])
    assert len(frame) == 200 * 8640
    assert time.process_time() - started < 5
