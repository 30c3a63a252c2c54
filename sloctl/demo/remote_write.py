"""Writes series into a Prometheus TSDB: by remote write to a scratch Prometheus, whose snapshot is the block.

That costs a fifth of the processor time of OpenMetrics text (:mod:`sloctl.artefacts.openmetrics`): labels are sent once
for a series, not once for a sample. It needs ``prometheus`` where text needs ``promtool``. Knows nothing about what the
series mean.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sloctl.artefacts.openmetrics import Progress, SampledSeries, series_text
from sloctl.demo.server import PrometheusServer
from sloctl.errors import SloctlError

_BATCH = 1 << 20
"""Bytes after which a request is sent; a longer series is sent whole."""

_SAMPLE = np.dtype([("head", "V3"), ("value", "<f8"), ("tag", "u1"), ("stamp", "u1", 6)])
"""``Sample`` as field 2 of ``TimeSeries``: a double, and milliseconds as a varint of six bytes (until 2109)."""


def write_block(
    series: Iterable[SampledSeries],
    into: Path,
    *,
    progress: Progress | None = None,
    program: Path | None = None,
) -> int:
    """Write ``series`` as one new block into the TSDB directory ``into`` (made if missing).

    Blocks may overlap with others in the directory as long as no series has two samples at one instant. New
    versions of Prometheus take no sample that is later than ten minutes from now. ``program`` is the ``prometheus``
    to use. Returns the number of samples.

    Raises UsageError without ``prometheus``, BackendUnavailable if it does not start, SloctlError if it refuses
    samples or does not keep all, ValueError for labels that Prometheus does not allow.
    """
    into.mkdir(parents=True, exist_ok=True)
    everything = [one for one in series if len(one.timestamps)]
    if not everything:
        return 0
    for one in everything:
        series_text(one.labels)
    total = sum(len(one.timestamps) for one in everything)
    first = min(int(one.timestamps[0]) for one in everything)
    last = max(int(one.timestamps[-1]) for one in everything)
    flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        # Samples of any order are taken while they span less than half of a block.
        *(
            f"--storage.tsdb.{end}-block-duration={2 * (last - first) + 4 * 3600_000}ms"
            for end in ("min", "max")
        ),
        "--storage.tsdb.retention.time=100y",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="remote-write-", dir=into.parent) as scratch,
        PrometheusServer(Path(scratch), flags=flags, program=program) as server,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        done = 0

        def send(batch: list[SampledSeries]) -> int:
            server.remote_write(_snappy(b"".join(map(_time_series, batch))))
            return sum(len(one.timestamps) for one in batch)

        for count in pool.map(send, _batches(everything)):
            done += count
            if progress:
                progress(done / total, f"{done / 1e6:.1f} of {total / 1e6:.1f} million samples")
        blocks = [path.parent for path in server.snapshot().glob("*/meta.json")]
        kept = sum(json.loads((block / "meta.json").read_bytes())["stats"]["numSamples"] for block in blocks)
        if kept != total:
            raise SloctlError(f"Prometheus kept {kept} of {total} samples:\n{server.log_tail(5)}")
        for block in blocks:
            shutil.move(block, into / block.name)
    return total


def _batches(everything: Iterable[SampledSeries]) -> Iterator[list[SampledSeries]]:
    batch: list[SampledSeries] = []
    size = 0
    for one in everything:
        batch.append(one)
        size += 1000 + len(one.timestamps) * _SAMPLE.itemsize
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _time_series(one: SampledSeries) -> bytes:
    """``WriteRequest.timeseries`` (field 1) of remote write 1.0."""
    samples = np.empty(len(one.timestamps), _SAMPLE)
    samples["head"] = np.void(bytes([2 << 3 | 2, _SAMPLE.itemsize - 2, 1 << 3 | 1]))
    samples["value"] = one.values
    samples["tag"] = 2 << 3
    for place in range(6):
        samples["stamp"][:, place] = one.timestamps >> 7 * place & 127 | (128 if place < 5 else 0)
    return _field(1, _labels(one.labels) + samples.tobytes())


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for name, value in sorted(labels.items())
        if value
    )


def _field(number: int, data: bytes) -> bytes:
    """A protobuf field of a known length."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _snappy(data: bytes) -> bytes:
    """A Snappy block of one literal: remote write asks for Snappy, and nothing is gained by compressing here."""
    return _varint(len(data)) + bytes([63 << 2]) + (len(data) - 1).to_bytes(4, "little") + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
