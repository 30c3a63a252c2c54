"""Cases of ``tests/golden`` that are SLO files, or folders of them."""

from __future__ import annotations

from pathlib import Path


def cases(folder: Path) -> list[Path]:
    """The files and folders of a folder, each a case."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".yaml" or path.is_dir())
