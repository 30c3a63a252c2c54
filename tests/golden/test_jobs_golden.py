"""What runs the jobs, byte for byte.

Each folder below ``jobs/`` is a case: ``slo.yaml`` or a folder ``slo``, and what is made of it in ``expected``: the
objects of Kubernetes, and the crontab. To rewrite them: ``SLOCTL_UPDATE_GOLDEN=1 pytest
tests/golden/test_jobs_golden.py``, then read the difference.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support.job_files import CASES, ROOT, generated

UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"


@pytest.mark.parametrize("case", CASES)
def test_files(case: str) -> None:
    files = generated(case)
    folder = ROOT / case / "expected"
    if UPDATE:
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    stored = {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert files == stored
