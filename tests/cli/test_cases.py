"""Text cases: every file in ``cases/`` is a session with the command line.

::

    What the case shows.

    <<< slo.yaml
    …
    >>>

    $ sloctl validate -f slo.yaml
    1| a line of stdout
    2| a line of stderr
    ? 0

Files are written first; then each ``$`` line runs in a shell, in the case's own folder. ``SLOCTL_UPDATE_GOLDEN=1
pytest tests/cli`` writes what is expected anew. The folder is shown as ``<tmp>``, the version as ``<version>``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sloctl import __version__
from tests.support.command_line import shell

CASES = sorted((Path(__file__).parent / "cases").glob("*.txt"))
FILE = re.compile(r"^<<< (\S+)\n(.*?)^>>>$\n?", re.MULTILINE | re.DOTALL)


def shown(text: str, mark: str, folder: Path) -> list[str]:
    text = text.replace(str(folder), "<tmp>").replace(f"sloctl {__version__}", "sloctl <version>")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += " (no line end)"
    return [f"{mark}| {line}".rstrip() for line in lines]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    text = case.read_text(encoding="utf-8")
    for name, content in FILE.findall(text):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    head = (
        FILE.sub(lambda match: match[0].replace("\n$ ", "\n\0$ "), text).split("\n$ ", 1)[0].replace("\0", "")
    )
    commands = re.findall(r"^\$ (.*)$", text[len(head) :], re.MULTILINE)
    assert commands, "a case without a command"
    blocks = []
    for command in commands:
        outcome = shell(command, folder).clean()
        lines = [*shown(outcome.stdout, "1", folder), *shown(outcome.stderr, "2", folder)]
        blocks.append("\n".join([f"$ {command}", *lines, f"? {outcome.code}"]))
    actual = head.rstrip("\n") + "\n\n" + "\n\n".join(blocks) + "\n"
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        case.write_text(actual, encoding="utf-8")
    assert actual == case.read_text(encoding="utf-8")
