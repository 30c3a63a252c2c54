"""The walk-throughs of README and quick start, done as a new user does them: every command, with the output shown."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.demo.pipeline import SLO_FILE
from sloctl.demo.programs import find_program
from sloctl.model import Sli, SloSet
from sloctl.report.markdown import header
from tests.support.command_line import Outcome, environment
from tests.support.faulty_server import FaultyServer
from tests.support.simulated import Flow, Simulated, serve
from tests.support.slack_server import SlackServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WALK = re.search(r"^## A first SLO file\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
assert WALK
QUICK = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
STEP = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def shell(command: str, folder: Path, timeout: float = 600, **env: str) -> Outcome:
    """One line of a shell, with this tree's ``sloctl`` on its PATH, of which users see no traceback."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder) | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Outcome(done.stdout, done.stderr, done.returncode).clean()


def steps(page: str = WALK[1]) -> list[tuple[str, str]]:
    """What a walk-through does, in order: ``("write", text)``, or (a command, the output shown)."""
    found: list[tuple[str, str]] = []
    for language, text in STEP.findall(page):
        if language == "yaml":
            found.append(("write", text))
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def test_walk_through(tmp_path: Path) -> None:
    find_program("promtool")
    seen = set()
    for command, shown in steps():
        if command == "write":
            (tmp_path / "slo.yaml").write_text(shown, encoding="utf-8")
            continue
        words = command.split()
        if words[1] == "report":
            continue  # needs a Prometheus: test_excerpts_of_reports
        done = shell(command, tmp_path)
        assert done.code == 0, (command, done.stderr)
        assert (done.stderr + done.stdout).strip() == shown.strip(), command
        seen |= set(words) & {"init", "validate", "generate", "--check", "promtool"}
    assert seen == {"init", "validate", "generate", "--check", "promtool"}


def test_quick_start(tmp_path: Path) -> None:
    """On a simulated Prometheus and Slack; what is shown of a report and of a message stands in what comes."""
    report, message = re.findall(r"^```text\n(.*?)^```$", QUICK, re.DOTALL | re.MULTILINE)
    text = dict(steps(QUICK))["write"]
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(text.encode()))
    every, one = (slo.id for slo in slo_set.slos)
    ever = (0.0, 1e11)
    flows = [
        Flow(every, "shop", "cart", *ever, 100, 0.001),
        Flow(every, "shop", "search", *ever, 100, 1.0),
        Flow(one, "shop", "checkout", *ever, 1000, 0.4),
    ]
    printed: dict[str, str] = {}
    with FaultyServer(serve(Simulated(slo_set, flows))) as prometheus, SlackServer() as slack:
        (tmp_path / "slo.yaml").write_text(
            text.replace("http://prometheus:9090", prometheus.url), encoding="utf-8"
        )
        for command, shown in steps(QUICK):
            if command == "write" or command.startswith("export "):
                continue
            done = shell(command, tmp_path, 600, **slack.environment())
            assert done.code == 0, (command, done.stderr)
            assert not shown or (done.stderr + done.stdout).strip() == shown.strip(), command
            printed[command] = done.stdout
        assert [name for name in slack.environment() if f"export {name}=" in QUICK] == ["SLOCTL_SLACK_TOKEN"]
        (post,) = slack.main()
    assert list(printed) == [
        "sloctl validate -f slo.yaml",
        "sloctl report -f slo.yaml",
        "sloctl generate -f slo.yaml -o out",
        "sloctl report -f slo.yaml --post",
    ]
    real = rows(printed["sloctl report -f slo.yaml"])
    assert list(rows(report)) == list(real)
    assert all(cells.items() <= real[key].items() for key, cells in rows(report).items())
    said = json.dumps(post["blocks"], ensure_ascii=False)
    for line in message.splitlines():
        assert line in said


def test_check_notices_that_only_one_was_changed(tmp_path: Path) -> None:
    text = next(text for command, text in steps() if command == "write")
    (tmp_path / "slo.yaml").write_text(text, encoding="utf-8")
    assert shell("sloctl generate -f slo.yaml -o out", tmp_path).code == 0
    (tmp_path / "slo.yaml").write_text(text.replace("objective: 99.9", "objective: 99.95"), encoding="utf-8")
    done = shell("sloctl generate -f slo.yaml -o out --check", tmp_path)
    assert done.code == 1
    assert "/ 0.0005" in done.stdout


def excerpts() -> list[str]:
    return re.findall(r"^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_excerpts_have_their_columns_in_the_order_of_the_table() -> None:
    titles = header(("5m", "1h"))
    for excerpt in excerpts():
        shown = re.split(r"\s{2,}", excerpt.splitlines()[0].strip())
        assert sorted(shown, key=titles.index) == shown


@pytest.mark.xdist_group("demo")
def test_excerpts_of_reports(tmp_path: Path) -> None:
    """Every cell shown is in the demo's own table, and every line below the table is one of its own.

    The walk-through's SLOs are among the demo's. That its report from raw counters has the same numbers as one from
    recorded series, test_demo_budgets.py holds.
    """
    find_program("promtool")
    kept = {name: os.environ[name] for name in ("XDG_CACHE_HOME", "HOME") if name in os.environ}
    done = shell("sloctl --quiet demo --html report.html", tmp_path, timeout=1800, **kept)
    assert done.code == 0, done.stderr
    assert "Error budget left" in (tmp_path / "report.html").read_text(encoding="utf-8")
    real = rows(done.stdout)
    first, second = excerpts()
    for excerpt in (first, second):
        shown = rows(excerpt)
        assert len(shown) >= 4
        for key, cells in shown.items():
            assert cells.items() <= real[key].items(), key
    below = first.splitlines()[len(rows(first)) + 1 :]
    assert below
    assert set(below) <= set(done.stdout.splitlines())


def test_demo_has_the_slos_of_the_walk_through(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(dict(steps())["write"], encoding="utf-8")
    first, demo = spec.load([tmp_path / "slo.yaml"]), spec.load([SLO_FILE])

    def promises(slo_set: SloSet) -> dict[tuple[str, str, str], tuple[Decimal, Sli]]:
        return {(slo.namespace, slo.service, slo.name): (slo.objective, slo.sli) for slo in slo_set.slos}

    assert promises(first).items() <= promises(demo).items()


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """The table in a report's text, by service and SLO; columns are at least two spaces apart."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(r"status +service +SLO", line))
    titles = re.split(r" {2,}", lines[start].strip())
    found = {}
    for line in lines[start + 1 :]:
        cells = re.split(r" {2,}", line.strip())
        if len(cells) != len(titles):
            break
        row = dict(zip(titles, cells, strict=True))
        found[row["service"], row["SLO"]] = row
    return found
