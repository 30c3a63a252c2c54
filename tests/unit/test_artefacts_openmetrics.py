"""The text that promtool reads: names, escapes, numbers and exact time stamps."""

from pathlib import Path

import numpy as np
import pytest

from sloctl.artefacts.openmetrics import SampledSeries, write_series


def _one(labels: dict[str, str], stamps: list[int], values: list[float] | list[int]) -> SampledSeries:
    return SampledSeries(labels, np.array(stamps), np.array(values))


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    count = write_series(
        path,
        [
            _one({"__name__": "a_total", "z": 'q"\\\n', "b": "1"}, [1000, 61_007], [3, 4]),
            _one({"__name__": "slo:x:increase5m"}, [1500, 2000, 3000], [0.1, float("nan"), float("inf")]),
            _one({"__name__": "empty"}, [], []),
        ],
    )
    assert count == 5
    assert path.read_text().splitlines() == [
        'a_total{b="1",z="q\\"\\\\\\n"} 3 1',
        'a_total{b="1",z="q\\"\\\\\\n"} 4 61.007',
        "slo:x:increase5m 0.1 1.500",
        "slo:x:increase5m NaN 2",
        "slo:x:increase5m +Inf 3",
        "# EOF",
    ]


@pytest.mark.parametrize("labels", [{}, {"__name__": "a b"}, {"__name__": "a", "b-c": "1"}])
def test_wrong_names_are_refused(tmp_path: Path, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a"):
        write_series(tmp_path / "x.txt", [_one(labels, [1], [1])])
