"""The textfile of job runs: what node_exporter reads, and what must never happen to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sloctl.errors import UsageError
from sloctl.ledger.protocol import JobRun
from sloctl.telemetry import textfile

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def run(job: str = "slis", *, at: datetime = START, failed: bool = False) -> JobRun:
    return JobRun(job, at, at + timedelta(seconds=2.5), "failed" if failed else "succeeded")


def values(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_a_first_run_writes_all_four_metrics(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    textfile.write(path, "shop", run())
    assert path.read_text(encoding="utf-8") == (
        "# HELP sloctl_job_last_run_duration_seconds How long the job's last run took.\n"
        "# TYPE sloctl_job_last_run_duration_seconds gauge\n"
        'sloctl_job_last_run_duration_seconds{slo_set="shop",sloctl_job="slis"} 2.5\n'
        "# HELP sloctl_job_last_run_failed Whether the job's last run failed (1) or not (0).\n"
        "# TYPE sloctl_job_last_run_failed gauge\n"
        'sloctl_job_last_run_failed{slo_set="shop",sloctl_job="slis"} 0\n'
        "# HELP sloctl_job_last_run_timestamp_seconds Unix time at which the job's last run ended.\n"
        "# TYPE sloctl_job_last_run_timestamp_seconds gauge\n"
        'sloctl_job_last_run_timestamp_seconds{slo_set="shop",sloctl_job="slis"} 1795165202.5\n'
        "# HELP sloctl_job_last_success_timestamp_seconds Unix time at which the job's last successful run ended.\n"
        "# TYPE sloctl_job_last_success_timestamp_seconds gauge\n"
        'sloctl_job_last_success_timestamp_seconds{slo_set="shop",sloctl_job="slis"} 1795165202.5\n'
    )
    assert path.stat().st_mode & 0o777 == 0o644
    assert [item.name for item in tmp_path.iterdir()] == ["sloctl.prom"]


def test_a_failed_run_keeps_the_last_success(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    textfile.write(path, "shop", run())
    textfile.write(path, "shop", run(at=START + MINUTE, failed=True))
    found = values(path)
    labels = '{slo_set="shop",sloctl_job="slis"}'
    assert found[f"sloctl_job_last_success_timestamp_seconds{labels}"] == "1795165202.5"
    assert found[f"sloctl_job_last_run_timestamp_seconds{labels}"] == "1795165262.5"
    assert found[f"sloctl_job_last_run_failed{labels}"] == "1"


def test_a_success_of_a_clock_that_was_ahead_goes_with_the_next_failure(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    for ahead, kept in ((timedelta(days=365), False), (timedelta(seconds=30), True)):
        textfile.write(path, "shop", run(at=START + ahead))
        textfile.write(path, "shop", run(at=START, failed=True))
        assert (
            'sloctl_job_last_success_timestamp_seconds{slo_set="shop",sloctl_job="slis"}' in values(path)
        ) is kept


def test_a_job_that_never_succeeded_has_no_success(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    textfile.write(path, "shop", run(failed=True))
    assert "last_success" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["report", 'a"b', "back\\slash", "new\nline", "ü", "x} 1", "\\n", ""])
def test_other_jobs_and_sets_are_kept_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sloctl.prom"
    textfile.write(path, "shop", run(name))
    before = set(values(path).items())
    textfile.write(path, "shop", run("slis", at=START + MINUTE))
    textfile.write(path, "other", run(name))
    assert before <= set(values(path).items())
    assert len(values(path)) == 12
    textfile.write(path, "shop", run(name, at=START + MINUTE, failed=True))
    assert len(values(path)) == 12


@pytest.mark.parametrize("content", ["node_cpu 1\n", "sloctl_job_last_run_failed 0\n", "{\n", "\0\n"])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.prom"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"other\.prom:1: this is not a line that sloctl writes"):
        textfile.write(path, "shop", run())
    assert path.read_text(encoding="utf-8") == content
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="it is not a file"):
        textfile.write(path, "shop", run())
    assert path.is_fifo()


def test_another_suffix_would_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end in \.prom"):
        textfile.write(tmp_path / "sloctl.txt", "shop", run())


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write the textfile: No such file or directory"):
        textfile.write(tmp_path / "missing" / "sloctl.prom", "shop", run())


def test_the_old_file_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sloctl.prom"
    textfile.write(path, "shop", run())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        textfile.write(path, "shop", run(at=START + MINUTE))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["sloctl.prom"]


def test_runs_that_end_together_all_get_in(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    threads = [
        threading.Thread(target=textfile.write, args=(path, "shop", run(f"job-{i}"))) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values(path)) == 80


def test_processes_wait_for_each_other_too(tmp_path: Path) -> None:
    path = tmp_path / "sloctl.prom"
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from sloctl.ledger.protocol import JobRun; from sloctl.telemetry import textfile\n"
        "t = datetime(2026, 1, 1, tzinfo=UTC)\n"
        "for i in range(25): textfile.write(Path(sys.argv[1]), 's', JobRun(f'{sys.argv[2]}-{i}', t, t, 'succeeded'))"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    assert len(values(path)) == 200
