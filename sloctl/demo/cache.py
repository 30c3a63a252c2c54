"""Keeps a built history, so that the second ``sloctl demo`` starts at once.

A history is kept under a digest of its world and of this package's code, and is used for twelve hours after
its end; then it is built anew, so that its reports are about today and the gap between its end and the live
scrapes stays short. ``at_cached`` takes one of any age, for reports as of its own end. One process builds at
a time, and a history appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sloctl.artefacts.openmetrics import Progress
from sloctl.demo.history import GRID, History, build_history, load_history
from sloctl.demo.world import World
from sloctl.errors import UsageError

MAX_AGE = 12 * 3600.0
"""Seconds after its end for which a history is used."""


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where histories are kept: ``$XDG_CACHE_HOME/sloctl``, by default ``~/.cache/sloctl``."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "sloctl"


def cached_history(
    world: World,
    root: Path,
    into: Path,
    now: float,
    *,
    at_cached: bool = False,
    max_age: float = MAX_AGE,
    progress: Progress | None = None,
    variant: str = "",
    finish: Callable[[History], None] | None = None,
) -> History:
    """The history of ``world`` up to about ``now`` (Unix seconds), from the cache in ``root`` or built.

    A new one ends at ``now``, rounded down to 5 minutes; ``finish`` may add to its TSDB before it is kept, under a
    key of its own for each ``variant`` of what it adds. Its TSDB is a copy of its own in ``into``/data
    (hard links: at once, and without space), which a server may write to.

    Raises UsageError if ``root`` cannot be written or Prometheus is missing, SloctlError if it fails.
    """
    key = f"demo-{_digest(world, variant)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{key}.lock", progress):
            home = root / key
            history = _load(world, home)
            if history is None or not (at_cached or 0 <= now - history.end <= max_age):
                history = _build(world, home, now, progress, finish)
            return replace(history, data_dir=_check_out(history.data_dir, into / "data"))
    except OSError as error:
        raise UsageError(
            f"the demo's history cannot be kept in {root}: {error}",
            hint="set XDG_CACHE_HOME to a directory that can be written",
        ) from error


def _digest(world: World, variant: str) -> str:
    code = hashlib.sha256(f"{world!r}{variant}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress(0.0, "waiting for another process that builds the same history")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load(world: World, home: Path) -> History | None:
    try:
        return load_history(world, home)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None  # there is none, or a damaged one: build it


def _build(
    world: World,
    home: Path,
    now: float,
    progress: Progress | None,
    finish: Callable[[History], None] | None = None,
) -> History:
    for left in home.parent.glob(f".{home.name}-*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        end = int(now // GRID * GRID)
        history = build_history(world, end, scratch / "new", progress)
        if finish:
            finish(history)
        if home.exists():
            home.rename(scratch / "old")
        (scratch / "new").rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return replace(history, data_dir=home / "data")


def _check_out(data: Path, into: Path) -> Path:
    """Give a server blocks of its own: Prometheus replaces files of a block, but never changes one."""
    shutil.copytree(data, into, copy_function=_link, dirs_exist_ok=True)
    return into


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
