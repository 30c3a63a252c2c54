"""The table of docs/engines.md says what was run, and nobody wrote it by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.engine_table import KEPT, ROWS, Kept, read, table, versions, written

TESTS = Path(__file__).parents[1] / "integration" / "test_engines.py"


def test_the_table_is_what_make_engines_wrote() -> None:
    kept = json.loads(KEPT.read_text())
    assert written() == table(kept)
    assert kept["versions"] == versions(), "other versions are built than were run: make engines"


def test_every_test_of_engines_has_a_row() -> None:
    tests = re.findall(r"^def (test_\w+)", TESTS.read_text(), re.MULTILINE)
    assert sorted(name for row in ROWS for name in row.tests) == sorted(tests)


def test_what_failed_or_was_not_run_is_no_result(tmp_path: Path) -> None:
    name = ROWS[0].tests[0]
    report = tmp_path / "report.xml"
    cases = f'<testcase name="{name}[a]"/><testcase name="{name}[b]"><failure/></testcase>'
    report.write_text(f'<testsuite>{cases}<testcase name="{name}[c]@group"><skipped/></testcase></testsuite>')
    found: Kept = {"versions": versions(), "tests": read(report)}
    [first, second] = table(found).splitlines()[2:4]
    assert first.endswith("| 1 failed, 1 not run, of 3 |")
    assert second.endswith("| 0 failed, 0 not run, of 0 |")
