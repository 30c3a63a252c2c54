"""``sloctl report --format html`` and ``--output``: one page, whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import naming, promql, spec
from sloctl.artefacts.atomic import write
from sloctl.errors import UsageError
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
from tests.support import shop_slos
from tests.support.command_line import Outcome, in_process, sloctl
from tests.support.faulty_server import FaultyServer, error
from tests.support.simulated import Flow, Simulated, serve, unjoined

AT = datetime(2026, 3, 1, 12, 2, 12, tzinfo=UTC)
SLO_FILE = shop_slos.text(shop_slos.CHECKOUT, shop_slos.EVERY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture(scope="module")
def source() -> Simulated:
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    now = AT.timestamp()
    flows = [Flow(slo_set.slos[0].id, "shop", "checkout", now - 1e7, now + 1e7, 100, 0.05)]
    return Simulated(slo_set, [*flows, Flow(slo_set.slos[1].id, "shop", "cart", now - 1e7, now + 1e7, 10, 1)])


@pytest.fixture(scope="module")
def url(source: Simulated) -> Iterator[str]:
    with FaultyServer(serve(source)) as server:
        yield server.url


def report(folder: Path, url: str, *arguments: str) -> Outcome:
    return in_process(
        "report", "-f", "slo.yaml", "--prometheus", url, "--at", AT.isoformat(), *arguments, folder=folder
    )


def test_a_page_on_stdout(folder: Path, url: str) -> None:
    first = sloctl(
        "report",
        "-f",
        "slo.yaml",
        "--prometheus",
        url,
        "--at",
        AT.isoformat(),
        "--format",
        "html",
        folder=folder,
    )
    assert first.code == 0 and first.stderr == ""
    assert first.stdout.startswith("<!doctype html>\n") and first.stdout.endswith("</html>\n")
    assert "shop/<wbr>checkout" in first.stdout and "Error budget left" in first.stdout
    assert report(folder, url, "--format", "html").stdout == first.stdout, "the same report, the same bytes"


@pytest.mark.parametrize("form", ["table", "markdown", "json", "html", "csv"])
def test_a_file_gets_what_stdout_would(folder: Path, url: str, form: str) -> None:
    printed = report(folder, url, "--format", form)
    done = report(folder, url, "--format", form, "-o", "report.out", "--fail-on", "exhausted")
    assert (done.code, done.stdout) == (1, ""), "the gate fails all the same"
    assert done.stderr == "wrote report.out\nsloctl: 1 of 2 budgets: exhausted\n"
    file = folder / "report.out"
    assert file.read_bytes() == printed.stdout.encode()
    assert sorted(path.name for path in folder.iterdir()) == ["report.out", "slo.yaml"]
    assert report(folder, url, "--format", form, "-o", "-").stdout == printed.stdout


@pytest.mark.parametrize(
    ("options", "services"),
    [
        (("--service", "cart"), {"cart"}),
        (("--service", "shop/checkout", "--service", "cart"), {"cart", "checkout"}),
        (("--namespace", "shop"), {"cart", "checkout"}),
        (("--owner", "team-shop", "--top", "1"), {"cart"}),
        (("--namespace", "bank"), set()),
    ],
)
def test_some_budgets(folder: Path, url: str, options: tuple[str, ...], services: set[str]) -> None:
    done = report(folder, url, "--format", "csv", *options)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["service"] for row in rows} == services
    assert ("no budget is of this" in done.stderr) == (not services)
    assert done.code == 0


def test_a_gate_judges_what_is_chosen_and_all_of_it(folder: Path, url: str) -> None:
    """cart is exhausted, checkout is not."""
    assert report(folder, url, "--fail-on", "exhausted", "--service", "checkout").code == 0
    assert report(folder, url, "--fail-on", "exhausted", "--service", "cart").code == 1
    both = report(folder, url, "--fail-on", "at_risk", "--top", "1")
    assert both.stdout.splitlines()[0].endswith(": 1 exhausted, 1 ok; shown are the worst 1 of 2")
    two = report(folder, url, "--fail-on", "exhausted", "--service", "checkout", "--service", "chekout")
    assert (two.code, two.stderr.count("chekout")) == (3, 2), "it is warned of, and opens no gate"
    misspelt = report(folder, url, "--fail-on", "exhausted", "--service", "chekout")
    assert (misspelt.code, "chekout" in misspelt.stderr) == (3, True), "nobody can judge what is not there"
    assert report(folder, url, "--service", "chekout").code == 0
    refused = report(folder, url, "--post", "--top", "1")
    assert (refused.code, "--post posts the whole report" in refused.stderr) == (2, True)


@pytest.mark.parametrize(("state", "code"), [("never", 0), ("exhausted", 3)])
def test_a_gate_cannot_judge_ten_minutes(folder: Path, state: str, code: int) -> None:
    slo_set = spec.load([folder / "slo.yaml"])
    now = AT.timestamp()
    flows = [Flow(slo.id, "shop", "checkout", now - 600, now + 1e7, 100, 0.5) for slo in slo_set.slos[:1]]
    young = Simulated(slo_set, flows, recorded=(now + 1e7, now + 1e7), down=[(now - 1e7, now - 600)])
    with FaultyServer(serve(young)) as server:
        done = report(folder, server.url, "--fail-on", state)
    assert done.code == code
    assert done.stdout.splitlines()[0].endswith("only 10m of 30d is recorded for all budgets")
    assert ("1 of 1 budgets are in doubt or partial, so that --fail-on cannot judge" in done.stderr) == bool(
        code
    )


def test_only_html_asks_for_the_history(folder: Path, url: str, source: Simulated) -> None:
    step = promql.of_set(naming.TOTAL_GRID, "shop", 4 * 3600)
    for form in ("table", "markdown", "json", "html"):
        source.parts.clear()
        assert report(folder, url, "--format", form).code == 0
        assert (step in source.parts) == (form == "html")


def test_a_page_without_its_history(folder: Path, source: Simulated) -> None:
    step = promql.of_set(naming.TOTAL_GRID, "shop", 4 * 3600)
    broken = error(500, "internal", "disk on fire")

    def plain(query: str) -> list[str]:
        return [part for _, part in unjoined(query)]

    with FaultyServer(serve(source, lambda query: broken if step in plain(query) else None)) as server:
        done = report(folder, server.url, "--format", "html", "-o", "r.html")
    assert done.code == 0
    page = (folder / "r.html").read_text()
    assert "The history could not be read, so it is not drawn; see the findings." in page
    assert "disk on fire" in page and "history-not-read" in page
    assert "50.0 %" in page


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/report.html", "cannot be written: there is no folder"),
        (".", "cannot be written: it is not a file"),
        ("/dev/full", "cannot be written: it is not a file"),
        ("slo.yaml/report.html", "cannot be written: "),
        ("loop", "cannot be written: "),
        ("a" * 300, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_asked(
    folder: Path, url: str, source: Simulated, output: str, message: str
) -> None:
    (folder / "loop").symlink_to("loop")
    source.asked.clear()
    done = report(folder, url, "--format", "html", "-o", output)
    assert done.code == 2 and done.stdout == ""
    assert f"sloctl: error: {output}: {message}" in done.stderr
    assert source.asked == []


# --- files that are whole


def test_what_was_there_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".html")
    path.write_text("before")
    before = path.open()
    write(path, "after é\n")
    assert before.read() == "before", "who reads it reads on"
    before.close()
    assert path.read_bytes() == "after é\n".encode()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_of_another_user_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "report.html").write_text("kept")
    link = tmp_path / "link"
    link.symlink_to("real" if what == "folder" else "real/report.html")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    path = link / "report.html" if what == "folder" else link
    with pytest.raises(UsageError, match=r"link is a symbolic link of another user"):
        write(path, "x")
    assert (tmp_path / "real" / "report.html").read_text() == "kept"
    os.chown(link, os.geteuid(), -1, follow_symlinks=False)
    write(path, "x")
    assert (tmp_path / "real" / "report.html").read_text() == "x"


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    """Every option that names a file to write: a FIFO has no end, a device must not be replaced by a file."""
    os.mkfifo(tmp_path / "fifo.prom")
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")):
        pass
    for command in (
        ("ledger", "export", "--ledger", "ledger.db", "-o", "fifo.prom"),
        ("init", "fifo.prom", "--force"),
        ("report", "-f", "slo.yaml", "--prometheus", "http://127.0.0.1:1", "-o", "fifo.prom"),
        *(
            ("run", job, "-f", "slo.yaml", "--prometheus", "http://127.0.0.1:1", option, "fifo.prom", *more)
            for job, option, more in (
                ("slis", "--textfile", ("--ledger", "none")),
                ("retry_amplification", "--metrics", ("--spans", "spans.json")),
            )
        ),
    ):
        (tmp_path / "spans.json").write_text("[]")
        done = in_process(*command, folder=tmp_path, env={"SLOCTL_PROMETHEUS_RETRIES": "0"})
        assert done.code in (2, 3), done
        assert (tmp_path / "fifo.prom").is_fifo(), command
        if "--textfile" not in command:  # its own error comes after that of the job
            assert "it is not a file" in done.stderr, command


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.html"
    link.symlink_to("real/report.html")
    write(link, "x")
    assert link.is_symlink() and (tmp_path / "real" / "report.html").read_text() == "x"


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            write(tmp_path / "x", "x")
        finally:
            os.umask(before)
        assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_what_cannot_be_encoded_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write(path, "\ud800")
    assert path.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "x"
    with pytest.raises(UsageError, match="there is no folder"):
        write(path, "x")
