"""Says in a Prometheus textfile when each job last ran: for node_exporter's textfile collector.

Jobs that write to one file keep what the others wrote. A file appears whole or not at all, and runs that end at the
same moment wait for each other (``flock`` on the folder, so that no lock file stays). node_exporter reads files whose
names end in ``.prom``. This module must not know what a job does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sloctl import naming
from sloctl.artefacts import atomic
from sloctl.errors import UsageError
from sloctl.ledger.protocol import AHEAD, JobRun
from sloctl.telemetry.own_metrics import Gauge

SUFFIX = ".prom"
METRICS = {
    naming.JOB_DURATION: "How long the job's last run took.",
    naming.JOB_FAILED: "Whether the job's last run failed (1) or not (0).",
    naming.JOB_LAST_RUN: "Unix time at which the job's last run ended.",
    naming.JOB_LAST_SUCCESS: "Unix time at which the job's last successful run ended.",
}
"""What is written, with its HELP; all are gauges, in seconds."""
_VALUE = r'"((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
_SAMPLE = re.compile(
    rf"({'|'.join(METRICS)})\{{{naming.SLO_SET}={_VALUE},{naming.JOB}={_VALUE}\}} (-?[0-9.e+]+)"
)

_Samples = dict[tuple[str, str, str], float]
"""Values by metric, set and job."""


def write(path: Path, slo_set: str, run: JobRun) -> None:
    """Enter a run of a set's job into the textfile ``path``; a failed one leaves the last success as it was.

    Raises UsageError if the name does not end in ``.prom``, if the file holds what sloctl did not write or is none (a
    FIFO), or if the system refuses.
    """
    _checked(path)
    try:
        with _locked(path.parent):
            samples = _read(path)
            _enter(samples, slo_set, run)
            _replace(path, text(samples))
    except OSError as error:
        raise UsageError(f"{path}: cannot write the textfile: {error.strerror or error}") from error


def write_gauges(path: Path, gauges: Iterable[Gauge], helps: Mapping[str, str]) -> None:
    """Write a job's numbers to a textfile of its own, in place of those of the run before.

    ``helps`` has the HELP of each name, in the order of the file. Raises UsageError as :func:`write` does.
    """
    _checked(path)
    lines = []
    every = list(gauges)
    for name, meaning in helps.items():
        found = [gauge for gauge in every if gauge.name == name]
        if found:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        for gauge in found:
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in gauge.labels.items())
            lines.append(f"{name}{{{labels}}} {gauge.value!r}")
    try:
        _replace(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise UsageError(f"{path}: cannot write the textfile: {error.strerror or error}") from error


def _checked(path: Path) -> None:
    if path.suffix != SUFFIX:
        raise UsageError(
            f"{path}: the textfile collector reads only files that end in {SUFFIX}",
            hint=f"write to {path.with_suffix(SUFFIX)}",
        )
    if path.exists() or path.is_symlink():
        atomic.target(path)


def _enter(samples: _Samples, slo_set: str, run: JobRun) -> None:
    ended, failed = run.ended.timestamp(), run.outcome == "failed"
    values = {
        naming.JOB_DURATION: max(0.0, ended - run.started.timestamp()),
        naming.JOB_FAILED: float(failed),
        naming.JOB_LAST_RUN: ended,
    }
    success = (naming.JOB_LAST_SUCCESS, slo_set, run.job)
    if not failed:
        values[naming.JOB_LAST_SUCCESS] = ended
    elif samples.get(success, 0) > ended + AHEAD:
        del samples[success]  # of a clock that has been set back since: the alert would never come
    for metric, value in values.items():
        samples[metric, slo_set, run.job] = value


def text(samples: _Samples) -> str:
    """The textfile: metrics by name, each with HELP and TYPE, its samples by set and job."""
    lines = []
    for metric, meaning in METRICS.items():
        found = sorted((key, value) for key, value in samples.items() if key[0] == metric)
        if found:
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge"]
        for (_, slo_set, job), value in found:
            labels = f'{naming.SLO_SET}="{_escaped(slo_set)}",{naming.JOB}="{_escaped(job)}"'
            lines.append(f"{metric}{{{labels}}} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def _read(path: Path) -> _Samples:
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    samples: _Samples = {}
    for number, line in enumerate(content.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        value = _float(match[4]) if match else None
        if match is None or value is None:
            raise UsageError(
                f"{path}:{number}: this is not a line that sloctl writes",
                hint="name a file of its own, for it would be lost",
            )
        samples[match[1], _plain(match[2]), _plain(match[3])] = value
    return samples


def _float(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _number(value: float) -> str:
    """Milliseconds are enough."""
    return f"{round(value, 3):.3f}".rstrip("0").rstrip(".")


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(escaped: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], escaped)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # A file system without locks: two runs that end together may lose one of the two entries.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: str) -> None:
    """Write a file that is whole at every moment; the collector must not read it before, so it has another suffix."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # node_exporter runs as another user
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
