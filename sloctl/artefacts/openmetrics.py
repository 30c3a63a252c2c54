"""Writes series into a Prometheus TSDB: as OpenMetrics text, which ``promtool`` turns into blocks.

The text is cut into slices that are aligned as the blocks are, because promtool reads a file once for every
block that it makes of it; the slices are built side by side. Knows nothing about what the series mean.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sloctl.errors import SloctlError
from sloctl.settings.variables import environment

Progress = Callable[[float, str], None]
"""Called with the share that is done (0 to 1) and a short text."""

PROMTOOL = Path("promtool")
"""The program as it is found on PATH."""
BLOCK_HOURS = 54
"""The span of one block: the largest of Prometheus's compaction ranges (2 h times powers of 3) that keeps
about a dozen slices in a month, for a number of cores to share."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class SampledSeries:
    """One series: ``labels`` with ``__name__``, ``timestamps`` in Unix milliseconds, ascending, and values.

    Both arrays have shape (samples,). Values are integers or floats; a stale marker cannot be said in
    OpenMetrics, so a series that ends is simply not continued.
    """

    labels: Mapping[str, str]
    timestamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]


def backfill(
    series: Iterable[SampledSeries],
    into: Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    promtool: Path = PROMTOOL,
) -> int:
    """Write ``series`` as new blocks into the TSDB directory ``into`` (made if missing).

    A running Prometheus finds new blocks within a minute; one that starts later, at once. Blocks may overlap
    with others in the directory as long as no series has two samples at one instant. ``workers`` processes
    (all cores by default) run side by side. Returns the number of samples.

    Raises SloctlError with promtool's message if it refuses or cannot be run, ValueError for labels that Prometheus
    does not allow.
    """
    into.mkdir(parents=True, exist_ok=True)
    everything = [(series_text(one.labels), one) for one in series if len(one.timestamps)]
    if not everything:
        return 0
    total = sum(len(one.timestamps) for _, one in everything)
    report = progress or _silent
    workers = workers or os.cpu_count() or 1
    done = 0
    with (
        tempfile.TemporaryDirectory(prefix="backfill-", dir=into.parent) as scratch,
        ThreadPoolExecutor(workers) as pool,
    ):
        waiting: set[Future[int]] = {
            pool.submit(_build, everything, slice_, Path(scratch), into, promtool)
            for slice_ in _slices(everything)
        }
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in finished)
                report(done / total, f"{done / 1e6:.1f} of {total / 1e6:.1f} million samples")
        finally:
            for future in waiting:
                future.cancel()
    return total


def write_series(path: Path, series: Iterable[SampledSeries]) -> int:
    """Write ``series`` as one OpenMetrics file; returns the number of samples."""
    return _write(path, [(series_text(one.labels), one) for one in series], -(2**62), 2**62)


def _silent(share: float, text: str) -> None:
    del share, text


def _slices(everything: Sequence[tuple[str, SampledSeries]]) -> list[tuple[int, int]]:
    """Spans [low, high) of milliseconds, aligned as the blocks are, that hold all samples."""
    size = BLOCK_HOURS * 3600_000
    first = min(int(one.timestamps[0]) for _, one in everything) // size
    last = max(int(one.timestamps[-1]) for _, one in everything) // size
    return [(index * size, (index + 1) * size) for index in range(first, last + 1)]


def _build(
    everything: Sequence[tuple[str, SampledSeries]],
    span: tuple[int, int],
    scratch: Path,
    into: Path,
    promtool: Path,
) -> int:
    """Make one block of the samples in ``span``; returns how many there are."""
    text = scratch / f"{span[0]}.txt"
    blocks = scratch / f"{span[0]}"
    count = _write(text, everything, *span)
    if count:
        _create_blocks(promtool, text, blocks)
        for block in blocks.iterdir():
            if (block / "meta.json").exists():
                shutil.move(block, into / block.name)
    text.unlink()
    return count


def _create_blocks(promtool: Path, text: Path, blocks: Path) -> None:
    size = f"--max-block-duration={BLOCK_HOURS}h"
    try:
        done = subprocess.run(
            [str(promtool), "tsdb", "create-blocks-from", "openmetrics", size, str(text), str(blocks)],
            # Its heap is small and its garbage large: collect seldom.
            env={**environment(), "GOGC": "400"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise SloctlError(f"{promtool} cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SloctlError(f"promtool could not build a block: {last}")


def _write(path: Path, everything: Iterable[tuple[str, SampledSeries]], low: int, high: int) -> int:
    stamps = _Stamps()
    count = 0
    with path.open("w", encoding="utf-8", newline="\n", buffering=1 << 20) as file:
        for prefix, one in everything:
            first, last = np.searchsorted(one.timestamps, [low, high])
            if first == last:
                continue
            times = map(stamps.__getitem__, one.timestamps[first:last].tolist())
            values = map(_number, one.values[first:last].tolist())
            file.write(prefix)
            # The long prefix is repeated by join, in C.
            file.write(
                prefix.join(chain.from_iterable([map("%s %s\n".__mod__, zip(values, times, strict=True))]))
            )
            count += int(last - first)
        file.write("# EOF\n")
    return count


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) or math.isfinite(value) else _special(value)


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


class _Stamps(dict[int, str]):
    """Time stamps as OpenMetrics writes them (seconds), by milliseconds; the same few recur in every series."""

    def __missing__(self, milliseconds: int) -> str:
        seconds, rest = divmod(milliseconds, 1000)
        self[milliseconds] = text = f"{seconds}.{rest:03d}" if rest else str(seconds)
        return text


def series_text(labels: Mapping[str, str]) -> str:
    """``name{label="value",…} ``, labels in order as Prometheus keeps them.

    Raises ValueError for names that Prometheus does not allow.
    """
    name = labels.get("__name__", "")
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a metric name: {name!r}")
    parts = []
    for label, value in sorted(labels.items()):
        if label == "__name__":
            continue
        if not _LABEL.fullmatch(label):
            raise ValueError(f"not a label name: {label!r}")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        parts.append(f'{label}="{escaped}"')
    return f"{name}{{{','.join(parts)}}} " if parts else f"{name} "
