"""Writes a file that is whole at every moment: who reads it sees what was there before, or all of what is new."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sloctl.errors import UsageError


def target(path: Path) -> Path:
    """Where a file that is asked for will be: what a link names is replaced, not the link.

    Raises UsageError if it cannot be there: what is there is no file, or is reached by a link that another user made,
    who would choose what is overwritten.
    """
    try:
        for part in (path.absolute(), *path.absolute().parents):
            if part.is_symlink() and part.lstat().st_uid not in (0, os.geteuid()):
                raise UsageError(
                    f"{path}: cannot be written: {part} is a symbolic link of another user",
                    hint="write into a folder of your own",
                )
        real = path.resolve()
        if real.exists() and not real.is_file():
            raise UsageError(f"{path}: cannot be written: it is not a file")
        if not real.parent.is_dir():
            raise UsageError(f"{path}: cannot be written: there is no folder {real.parent}")
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path}: cannot be written: {getattr(error, 'strerror', '') or error}") from error
    return real


def write(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, with the permissions that any new file gets.

    Raises UsageError if the system refuses; then the file is as it was.
    """
    real = target(path)
    # Not named after the file, whose name may be as long as a name can be.
    draft = real.with_name(f".sloctl-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with draft.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(real)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
