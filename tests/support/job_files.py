"""The golden cases of what runs the jobs, and what is made of them now."""

from __future__ import annotations

from pathlib import Path

from jobs import manifests
from sloctl import spec

ROOT = Path(__file__).parents[1] / "golden" / "jobs"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


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
