"""A string that shows itself to nobody: tokens, passwords, the values of headers.

This module must not know where a secret comes from, but for the file that it may be read anew from.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from sloctl.errors import UsageError


class Secret:
    """A string that shows itself to nobody but the caller of ``reveal``."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: str, *, path: Path | None = None) -> None:
        self._value = value
        self._path = path

    @classmethod
    def read(cls, path: str, variable: str) -> Secret:
        """The secret in a file, without the white space around it; ``variable`` is named in errors."""
        file = Path(path)
        try:
            value = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(
                f"{variable}: cannot read {path}: {error.strerror or 'not a file'}",
                hint="give the path of a readable file that holds the secret and nothing else",
            ) from None
        except ValueError:
            raise UsageError(f"{variable}: {path} is not a text file") from None
        return cls(printable(value, f"{variable}: {path}"), path=file)

    def reveal(self) -> str:
        """The secret itself. A secret from a file is read anew: tokens in pods are replaced every hour."""
        if self._path is not None:
            # In the middle of being replaced it may be unreadable: the last one read may still hold.
            with contextlib.suppress(OSError, ValueError, UsageError):
                self._value = printable(self._path.read_text(encoding="utf-8").strip(), "")
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret cannot be pickled or copied")


def printable(value: str, what: str) -> str:
    """``value``; raises ``UsageError``, which names ``what``, if it is empty or no header may hold it."""
    if not value:
        raise UsageError(f"{what} is empty")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"{what} holds characters that no header may hold (a line break, perhaps)")
    return value
