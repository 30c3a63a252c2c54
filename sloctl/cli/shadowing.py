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
        spec = PathFinder.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        # A package is its folder, whether it has sources there or bytecode alone.
        folder = spec.submodule_search_locations is not None
        place = os.path.dirname(spec.origin) if folder else spec.origin  # noqa: PTH120
        ours = os.path.join(beside, name)  # noqa: PTH118
        if place == ours or os.path.realpath(place) == os.path.realpath(ours):
            continue
        kind = "folder" if folder else "file"
        raise UsageError(
            f"the {kind} {place} is found in place of sloctl's own package {name}",
            hint=f"{_remedy(os.path.dirname(place))}, or rename the {kind}",  # noqa: PTH120
        )


def _remedy(entry: str) -> str:
    """How to keep an entry of the path from being looked into first."""
    from sloctl.settings.variables import environment  # which few need, and not at every start

    real = os.path.realpath(entry)
    variable = "" if sys.flags.ignore_environment else environment().get("PYTHONPATH", "")
    named = (
        [item for item in variable.split(os.pathsep) if os.path.realpath(item) == real] if variable else []
    )
    steps = []
    if "" in named:  # as in  PYTHONPATH=:/usr/lib/more ; an empty variable is as good as none
        steps.append("take the empty entry, which is the working folder, out of PYTHONPATH")
    if any(named):
        steps.append(f"take {entry} out of PYTHONPATH")
    in_front = not sys.flags.safe_path and os.path.realpath(sys.path[0]) == real
    if real == os.path.realpath(os.getcwd()) and (in_front or not named):  # noqa: PTH109
        steps.append("run  sloctl  or  python -P -m sloctl, which do not look into the working folder")
    return " and ".join(steps) or "install sloctl into an environment of its own"
