"""What runs the jobs, byte for byte.

Each folder below ``jobs/`` is a case: ``slo.yaml`` or a folder ``slo``, and what is made of it in ``expected``: the
objects of Kubernetes, and the crontab. To rewrite them: ``SLOCTL_UPDATE_GOLDEN=1 pytest
tests/golden/test_jobs_golden.py``, then read the difference.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jobs import manifests
from sloctl import spec

ROOT = Path(__file__).parent / "jobs"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"


def generated(case: str) -> dict[str, str]:
    """Everything that is made of a case, in both forms."""
    file = ROOT / case / "slo.yaml"
    sources = spec.read([file if file.exists() else ROOT / case / "slo"])
    slo_set = spec.load_sources(sources)
    files = [
        *manifests.generate(slo_set, "operator", sources),
        *manifests.generate(slo_set, "prometheus", sources),
    ]
    assert len({path for path, _ in files}) == len(files), "two files of one name"
    return dict(files)


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
