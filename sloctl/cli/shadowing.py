"""Whether something else of their names is found before our top-level packages: a user's own folder ``jobs``, say.

Asked at every start, before anything of theirs is imported, so it costs a look into the folders of the path.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

import sloctl
from sloctl.errors import UsageError

PACKAGES = ("alert_rules", "dashboards", "jobs")
"""Those that are installed beside ``sloctl``."""


def check() -> None:
    """Raises UsageError that says what shadows a package of ours, and what to do.

    A folder without ``__init__.py`` shadows nothing: Python prefers a package further down the path to it.
    """
    beside = os.path.dirname(os.path.dirname(sloctl.__file__))  # noqa: PTH120 - pathlib is not loaded yet
    for name in PACKAGES:
        ours = os.path.join(beside, name, "__init__.py")  # noqa: PTH118
        spec = PathFinder.find_spec(name)
        found = spec.origin if spec is not None else None
        if found is None or found == ours or os.path.realpath(found) == os.path.realpath(ours):
            continue
        place = found.removesuffix(f"{os.sep}__init__.py")
        kind = "file" if place == found else "folder"
        raise UsageError(
            f"the {kind} {place} is found in place of sloctl's own package {name}",
            hint=f"{_remedy(os.path.dirname(place))}, or rename the {kind}",  # noqa: PTH120
        )


def _remedy(entry: str) -> str:
    """How to keep an entry of the path from being looked into first."""
    from sloctl.settings.variables import environment  # which few need, and not at every start

    named = environment().get("PYTHONPATH", "").split(os.pathsep)
    if not sys.flags.ignore_environment and any(
        os.path.realpath(item) == os.path.realpath(entry) for item in named
    ):
        return f"take {entry} out of PYTHONPATH"
    if os.path.realpath(entry) == os.path.realpath(os.getcwd()):  # noqa: PTH109
        return "run  sloctl  or  python -P -m sloctl, which do not look into the working folder"
    return "install sloctl into an environment of its own"
