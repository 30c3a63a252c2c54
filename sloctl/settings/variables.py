"""The environment's variables, and how one is read: as text, as a secret or the file of one, as a number, as a flag.

The only module that reads the environment of the process. It must not know what a variable is for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from sloctl.errors import UsageError
from sloctl.settings.secret import Secret, printable

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
N = TypeVar("N", int, float)


def environment() -> Mapping[str, str]:
    """The process's environment, for those who are handed one."""
    return dict(os.environ)


class Variables:
    """The variables whose names begin with ``prefix``; an empty one counts as unset.

    ``environ`` defaults to the process's own environment. All methods raise ``UsageError``, which names the variable.
    """

    def __init__(self, prefix: str, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.prefix = prefix

    def get(self, name: str) -> str:
        """The text of a variable, without white space around it."""
        return self._environ.get(self.prefix + name, "").strip()

    def secret(self, name: str) -> Secret | None:
        """The secret that a variable holds, or that is in the file which ``name_FILE`` names."""
        value, path = self.get(name), self.get(f"{name}_FILE")
        if value and path:
            raise UsageError(
                f"both {self.prefix}{name} and {self.prefix}{name}_FILE are set; use one of them"
            )
        if path:
            return Secret.read(path, f"{self.prefix}{name}_FILE")
        return Secret(printable(value, f"{self.prefix}{name}")) if value else None

    def number(self, name: str, parse: Callable[[str], N], option: N | None, default: N) -> N:
        """``option`` if it is given, else the variable's number, else ``default``."""
        if option is not None:
            return option
        text = self.get(name)
        try:
            return parse(text) if text else default
        except ValueError:
            raise UsageError(f"{self.prefix}{name}: {text!r} is not a number") from None

    def flag(self, name: str) -> bool:
        """Whether a variable says yes; unset is no."""
        text = self.get(name).lower()
        if text not in _TRUE | _FALSE:
            raise UsageError(f"{self.prefix}{name}: {text!r} is neither true nor false")
        return text in _TRUE
