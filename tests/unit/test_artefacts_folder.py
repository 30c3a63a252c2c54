"""Writing artefacts: only our own files, only what changed, and nothing lost when a run is interrupted."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sloctl.artefacts.folder import Difference, WrittenFiles, check, write
from sloctl.errors import UsageError

MANIFEST = ".sloctl-manifest.json"
ALL = frozenset({"alert_rules", "dashboards", "jobs"})
A, B, C = "alert_rules/a.yaml", "alert_rules/b.yaml", "dashboards/c.json"
FILES = {A: "a: 1\n", B: "b: 1\n", C: "{}\n"}


def put(
    folder: Path,
    files: Mapping[str, str],
    owner: str = "shop",
    sections: frozenset[str] = ALL,
    *,
    sources: Sequence[Path] = (),
    force: bool = False,
) -> WrittenFiles:
    return write(folder, files.items(), owner=owner, sections=sections, sources=sources, force=force)


def drift(folder: Path, files: Mapping[str, str], **options: Any) -> str:
    return check(folder, files.items(), owner="shop", sections=ALL, **options).diff


def test_a_difference_says_of_each_file_how_it_differs(tmp_path: Path) -> None:
    put(tmp_path, {A: "a: 1\n", B: "b: 1\n", C: "{}\n"})
    (tmp_path / A).write_text("a: 2\n")
    (tmp_path / B).unlink()
    wanted = {A: "a: 3\n", B: "b: 1\n", "jobs/d.yaml": "d: 1\n"}
    files = check(tmp_path, wanted.items(), owner="shop", sections=ALL).files
    assert dict(files) == {
        A: "edited by hand",
        B: "missing",
        C: "no longer generated",
        "jobs/d.yaml": "missing",
    }
    put(tmp_path, wanted, force=True)
    changed = {**wanted, A: "a: 4\n"}
    assert check(tmp_path, changed.items(), owner="shop", sections=ALL).files == {A: "changed"}


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, without the manifest."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def everything(folder: Path) -> list[tuple[str, int, int]]:
    """Paths, inodes and times: equal before and after means that nothing was written."""
    return [(str(p), p.lstat().st_ino, p.lstat().st_mtime_ns) for p in sorted([folder, *folder.rglob("*")])]


def test_writes_what_changed_and_removes_what_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert put(out, FILES) == WrittenFiles(written=(A, B, C))
    assert tree(out) == FILES

    before = everything(out)
    assert put(out, dict(reversed(FILES.items()))) == WrittenFiles(unchanged=(A, B, C))
    assert everything(out) == before

    assert put(out, {A: "a: 2\n", B: FILES[B]}) == WrittenFiles(written=(A,), unchanged=(B,), removed=(C,))
    assert tree(out) == {A: "a: 2\n", B: FILES[B]}
    assert not (out / "dashboards").exists()


def test_the_manifest_is_the_same_bytes_whatever_led_to_it(tmp_path: Path) -> None:
    put(tmp_path / "one", FILES)
    put(tmp_path / "two", {"jobs/old.yaml": "x", A: "other"})
    put(tmp_path / "two", dict(reversed(FILES.items())))
    text = (tmp_path / "one" / MANIFEST).read_text()
    assert text == (tmp_path / "two" / MANIFEST).read_text()
    assert list(json.loads(text)["sets"]["shop"]["files"]) == [A, B, C]
    assert json.loads(text)["version"] == 1


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        put(tmp_path, FILES)
    finally:
        os.umask(old)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (A, C, MANIFEST)} == {0o640}


def test_a_foreign_file_stops_the_run_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "dashboards").mkdir()
    (tmp_path / C).write_text("written by hand")
    before = everything(tmp_path)
    for run in (put, drift):
        with pytest.raises(UsageError, match=r"not written by sloctl.*dashboards/c\.json"):
            run(tmp_path, FILES)
    assert everything(tmp_path) == before


def test_an_identical_file_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "dashboards").mkdir()
    (tmp_path / C).write_text(FILES[C])
    assert put(tmp_path, FILES) == WrittenFiles(written=(A, B), unchanged=(C,))
    assert put(tmp_path, {A: FILES[A]}).removed == (B, C)
    assert (tmp_path / "dashboards").is_dir()  # we did not make it


def test_files_and_folders_of_others_stay(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    (tmp_path / "dashboards" / "own.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    assert put(tmp_path, {}) == WrittenFiles(removed=(A, B, C))
    assert tree(tmp_path) == {"dashboards/own.json": "{}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "dashboards", "notes"]


def test_a_stale_file_that_was_edited_is_kept_and_reported_each_time(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    (tmp_path / B).write_text("b: mine\n")
    assert put(tmp_path, {A: FILES[A]}) == WrittenFiles(unchanged=(A,), removed=(C,), kept=(B,))
    assert drift(tmp_path, {A: FILES[A]}) == ""
    assert put(tmp_path, {A: FILES[A]}).kept == (B,)
    assert (tmp_path / B).read_text() == "b: mine\n"
    (tmp_path / B).unlink()
    assert put(tmp_path, {A: FILES[A]}).kept == ()


def test_an_edit_of_a_generated_file_is_an_error_or_put_right_by_force(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    (tmp_path / B).write_text("b: mine\n")
    (tmp_path / C).unlink()
    before = everything(tmp_path)
    with pytest.raises(UsageError, match=r"edited by hand since sloctl wrote it: .*/b\.yaml$") as caught:
        put(tmp_path, {**FILES, A: "a: 2\n"})
    assert "--force" in caught.value.hint
    assert everything(tmp_path) == before
    assert "-b: mine" in drift(tmp_path, FILES)
    assert put(tmp_path, FILES, force=True) == WrittenFiles(written=(B, C), unchanged=(A,), restored=(B,))
    assert tree(tmp_path) == FILES
    (tmp_path / B).write_text("b: 2\n")
    assert put(tmp_path, {**FILES, B: "b: 2\n"}).unchanged == (A, B, C)  # edited to what is generated now


def test_another_source_of_the_same_name_is_refused_if_anything_would_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, out = tmp_path / "a" / "slo.yaml", tmp_path / "b" / "slo.yaml", tmp_path / "out"
    put(out, {A: "1"}, sources=[one])
    before = everything(out)
    for files in ({B: "1"}, {A: "2"}, {}):
        for run in (put, drift):
            with pytest.raises(
                UsageError, match=r"'shop' in .*out comes from .*/a/slo\.yaml, .* lose .*/a\.y"
            ) as e:
                run(out, files, sources=[two])
            assert "metadata.name" in e.value.hint
    assert everything(out) == before
    put(out, {A: "1", B: "1"}, sources=[two])  # the file was moved: nothing is lost
    with pytest.raises(UsageError, match=r"comes from .*/b/slo\.yaml"):
        put(out, {A: "1"}, sources=[one])
    put(out, {A: "1", B: "2"}, sources=[one, two])  # and one was added
    put(out, {A: "1"}, sources=[one])
    put(out, {B: "1"}, sources=[two], force=True)
    assert put(out, {A: "1"}).removed == (B,)  # from standard input, which may be anything
    with pytest.raises(UsageError, match=r"comes from .*/b/slo\.yaml"):
        put(out, {B: "1"}, sources=[one])
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    put(out, {C: "1"}, sources=[Path("../b/slo.yaml")])
    assert json.loads((out / MANIFEST).read_text())["sets"]["shop"]["sources"] == ["../b/slo.yaml"]


def test_partial_generation_leaves_the_other_sections(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    rules = frozenset({"alert_rules"})
    assert put(tmp_path, {A: FILES[A]}, sections=rules) == WrittenFiles(unchanged=(A,), removed=(B,))
    assert check(tmp_path, [(A, FILES[A])], owner="shop", sections=rules) == Difference({}, "")
    assert tree(tmp_path) == {A: FILES[A], C: FILES[C]}
    assert put(tmp_path, {A: FILES[A]}).removed == (C,)
    with pytest.raises(ValueError, match="none of the sections"):
        put(tmp_path, FILES, sections=rules)


def test_sets_share_a_folder(tmp_path: Path) -> None:
    put(tmp_path, {A: "shop"}, "shop")
    put(tmp_path, {B: "bank"}, "bank")
    assert put(tmp_path, {C: "shop"}, "shop").removed == (A,)
    assert tree(tmp_path) == {B: "bank", C: "shop"}
    before = everything(tmp_path)
    for content in ("shop", "bank"):
        with pytest.raises(UsageError, match=r"b\.yaml belongs to the SLO set 'bank'"):
            put(tmp_path, {B: content}, "shop")
    assert everything(tmp_path) == before


def test_the_files_of_a_renamed_set_can_be_taken_over_once_they_are_removed(tmp_path: Path) -> None:
    put(tmp_path, {A: "1", B: "1"}, "old")
    with pytest.raises(UsageError) as caught:
        put(tmp_path, {A: "2"}, "new")
    assert "remove its files first" in caught.value.hint
    (tmp_path / A).unlink()
    assert put(tmp_path, {A: "2"}, "new").written == (A,)
    assert put(tmp_path, {}, "old").removed == (B,)
    assert tree(tmp_path) == {A: "2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "{",
        "[]",
        "null",
        "<<<<<<< HEAD",
        '{"version": 1}',
        '{"version": 0, "folders": [], "sets": {}}',
        '{"version": 1, "folders": 5, "sets": {}}',
        '{"version": 1, "folders": [], "sets": []}',
        '{"version": 1, "folders": [], "sets": {"shop": {"files": {"a": "1"}}}}',
        '{"version": 1, "folders": [], "sets": {"shop": {"files": {"../a": "%s"}}}}'.replace("%s", "0" * 64),
        '{"version": 1, "folders": ["/etc"], "sets": {}}',
        '{"version": 1, "folders": [], "sets": {"shop": {"files": {}, "sources": [1]}}}',
        '{"version": 1, "folders": [], "sets": {"a": {"files": {"x": "%s"}}, "b": {"files": {"x": "%s"}}}}'.replace(
            "%s", "0" * 64
        ),
        "[" * 100_000,
    ],
)
def test_a_broken_manifest_says_what_to_do_and_nothing_is_touched(tmp_path: Path, text: str) -> None:
    put(tmp_path, FILES)
    (tmp_path / MANIFEST).write_text(text)
    before = everything(tmp_path)
    for run in (put, drift):
        with pytest.raises(UsageError, match="sloctl-manifest") as caught:
            run(tmp_path, {A: "new"})
        assert "restore it from version control" in caught.value.hint
    assert everything(tmp_path) == before
    (tmp_path / MANIFEST).unlink()  # the other remedy
    assert put(tmp_path, FILES) == WrittenFiles(unchanged=(A, B, C))
    assert put(tmp_path, {}).removed == (A, B, C)


def test_a_manifest_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"version": 2}')
    with pytest.raises(UsageError, match="newer"):
        put(tmp_path, FILES)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/etc/x", "..", "../x", "jobs/../../x", "jobs/./x", "jobs//x", "jobs/", "jobs\\x", "jobs/a\nb"),
        *("jobs/\0", f"jobs/{MANIFEST}", MANIFEST, "jobs/.sloctl-tmp", "jobs/" + "x" * 256),
    ],
)
def test_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot generate a file named"):
        put(tmp_path / "out", {name: "x"})
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_name_or_in_each_others_way(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same name"):
        write(tmp_path, [(A, "1"), (A, "1")], owner="shop", sections=ALL)
    with pytest.raises(UsageError, match="cannot both exist"):
        put(tmp_path, {"jobs/a/b": "1", "jobs/a": "2"})
    with pytest.raises(UsageError, match="not a character"):
        put(tmp_path, {A: "\ud800"})
    assert list(tmp_path.iterdir()) == []


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "alert_rules").symlink_to(outside)
    with pytest.raises(UsageError, match="symbolic link"):
        put(out, FILES)
    (out / "alert_rules").unlink()
    (outside / "c.json").write_text(FILES[C])
    (out / "dashboards").mkdir()
    (out / C).symlink_to(outside / "c.json")
    with pytest.raises(UsageError, match="not written by sloctl"):
        put(out, FILES)
    (out / C).unlink()

    put(out, FILES)  # and afterwards: the folder is moved away and linked to
    (out / "alert_rules").rename(outside / "moved")
    (out / "alert_rules").symlink_to(outside / "moved")
    assert put(out, {C: FILES[C]}) == WrittenFiles(unchanged=(C,), kept=(A, B))
    assert tree(outside) == {"c.json": FILES[C], "moved/a.yaml": FILES[A], "moved/b.yaml": FILES[B]}


def test_the_output_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link", FILES)
    assert tree(tmp_path / "real") == FILES


def test_other_things_than_files_are_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for run in (put, drift):
        with pytest.raises(UsageError, match="/file"):
            run(tmp_path / "file", FILES)
    (tmp_path / A).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"not written by sloctl.*a\.yaml"):
        put(tmp_path, FILES)
    (tmp_path / A).rmdir()
    os.mkfifo(tmp_path / A)  # reading it would wait for ever
    with pytest.raises(UsageError, match=r"not written by sloctl.*a\.yaml"):
        put(tmp_path, FILES)
    (tmp_path / A).unlink()
    (tmp_path / "dashboards").write_text("")
    with pytest.raises(UsageError, match="dashboards is a file"):
        put(tmp_path, FILES)
    (tmp_path / "dashboards").unlink()
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(UsageError, match="is a folder, not a manifest"):
        put(tmp_path, FILES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    (tmp_path / "alert_rules").chmod(0o555)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            put(tmp_path, {**FILES, A: "new"})
    finally:
        (tmp_path / "alert_rules").chmod(0o755)
    put(tmp_path, {**FILES, A: "new"})
    assert tree(tmp_path) == {**FILES, A: "new"}


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    big = "x" * 200_000
    wanted = {A: "a: 2\n", B: big, C: "{2}\n", "jobs/new.yaml": "new\n"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UsageError, match="File too large"):
            put(tmp_path, wanted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert tree(tmp_path) == {**FILES, A: "a: 2\n"}
    put(tmp_path, wanted)
    assert tree(tmp_path) == wanted


class Crash(BaseException):
    """Stands for the end of the process: once raised, no more system call succeeds."""


class _Crasher:
    """Counts the changing system calls below a folder (by Python's audit events) and ends at the n-th."""

    def __init__(self) -> None:
        self.left: int | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: object) -> None:
        if self.left is not None and event in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}:
            self.left -= 1
            if self.left < 0:
                raise Crash

    def run(self, steps: int, folder: Path, files: Mapping[str, str]) -> bool:
        """Whether the run got to its end within so many steps."""
        self.left = steps
        try:
            put(folder, files)
        except Crash:
            return False
        finally:
            self.left = None
        return True


@pytest.fixture(scope="module")
def crasher() -> _Crasher:
    return _Crasher()


def test_a_run_that_ended_at_any_step_is_made_good_by_the_next(tmp_path: Path, crasher: _Crasher) -> None:
    first = {A: "1", B: "1", "jobs/deep/x": "1"}
    second = {A: "2", C: "2", "jobs/y": "2"}
    third = {B: "3"}
    steps = 0
    while True:
        out = tmp_path / str(steps)
        put(out, first)
        (out / "alert_rules" / "own").write_text("own")
        finished = crasher.run(steps, out, second)
        for name, text in tree(out).items():
            assert text in {first.get(name), second.get(name), "own"} or name.endswith(".sloctl-tmp")
        again = tmp_path / f"{steps}-again"
        shutil.copytree(out, again)
        put(again, second)
        assert tree(again) == {**second, "alert_rules/own": "own"}
        assert "pending" not in (again / MANIFEST).read_text()
        assert put(out, third).kept == ()
        assert tree(out) == {**third, "alert_rules/own": "own"}
        assert sorted(path.name for path in out.iterdir()) == [MANIFEST, "alert_rules"]
        if finished:
            break
        steps += 1
    assert steps > 15


def test_runs_that_ended_one_after_the_other_leave_nothing_that_looks_edited(
    tmp_path: Path, crasher: _Crasher
) -> None:
    """The second run had announced another content, and had not written it."""
    for first in range(100):
        out = tmp_path / str(first)
        put(out, {A: "1", B: "1"})
        finished = crasher.run(first, out, {A: "2", B: "2"})
        for second in range(100):
            again = tmp_path / f"{first}-{second}"
            shutil.copytree(out, again)
            if crasher.run(second, again, {A: "3", B: "3"}):
                break
            assert put(again, {A: "4", B: "4"}).restored == ()
        shutil.rmtree(out)
        if finished:
            return
    raise AssertionError("a run takes fewer steps")


def test_a_file_that_appeared_where_an_interrupted_run_meant_to_write_is_foreign(
    tmp_path: Path, crasher: _Crasher
) -> None:
    steps = 0
    while not (tmp_path / MANIFEST).exists():  # ends just after it announced what it will write
        steps += 1
        crasher.run(steps, tmp_path, {A: "generated"})
    assert not (tmp_path / A).exists()
    (tmp_path / A).parent.mkdir(exist_ok=True)
    (tmp_path / A).write_text("own")
    with pytest.raises(UsageError, match="not written by sloctl"):
        put(tmp_path, {A: "generated"})
    assert put(tmp_path, {}) == WrittenFiles()
    assert tree(tmp_path) == {A: "own"}


def test_killed_at_any_moment(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sloctl.artefacts.folder import write\n"
        "print(flush=True)\n"
        "for turn in range(10**6):\n"
        "    files = [(f'jobs/{turn % 3}/{i}', str(turn) * 9000) for i in range(300)]\n"
        "    write(Path(sys.argv[1]), files, owner='shop', sections={'jobs'})\n"
    )
    put(tmp_path, FILES)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "own").write_text("own")
    for milliseconds in (5, 40, 75, 110):
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(milliseconds / 1000)
            child.kill()
        for name, text in tree(tmp_path).items():
            if name.startswith("jobs/") and name != "jobs/own" and not name.endswith(".sloctl-tmp"):
                assert len(text) % 9000 == 0
                assert text
    assert put(tmp_path, FILES).kept == ()
    assert tree(tmp_path) == {**FILES, "jobs/own": "own"}
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == ["own"]


def test_runs_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def run(owner: str) -> None:
        try:
            for turn in range(5):
                put(tmp_path, {f"jobs/{owner}-{i}": f"{turn}" for i in range(20)}, owner)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(owner,)) for owner in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(tree(tmp_path)) == 60
    assert {len(s["files"]) for s in json.loads((tmp_path / MANIFEST).read_text())["sets"].values()} == {20}


def test_check_shows_changed_missing_and_stale_files_and_writes_nothing(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    before = everything(tmp_path)
    assert drift(tmp_path, FILES) == ""
    assert drift(tmp_path, {A: "a: 2\n", B: "b: 1", "jobs/d.yaml": "new\n"}) == (
        "--- a/alert_rules/a.yaml\n"
        "+++ b/alert_rules/a.yaml\n"
        "@@ -1 +1 @@\n"
        "-a: 1\n"
        "+a: 2\n"
        "--- a/alert_rules/b.yaml\n"
        "+++ b/alert_rules/b.yaml\n"
        "@@ -1 +1 @@\n"
        "-b: 1\n"
        "+b: 1\n"
        "\\ No newline at end of file\n"
        "--- a/dashboards/c.json\n"
        "+++ /dev/null\n"
        "@@ -1 +0,0 @@\n"
        "-{}\n"
        "--- /dev/null\n"
        "+++ b/jobs/d.yaml\n"
        "@@ -0,0 +1 @@\n"
        "+new\n"
    )
    assert everything(tmp_path) == before
    assert "+++ b/alert_rules/a.yaml" in drift(tmp_path / "not there", FILES)
    assert not (tmp_path / "not there").exists()


def test_check_sees_every_difference(tmp_path: Path) -> None:
    put(tmp_path, {A: "é\n"})
    for content in (b"e\n", b"", b"\xff\n", "é\r\n".encode(), "é\x85\n".encode(), b"\xc3\xa9"):
        (tmp_path / A).write_bytes(content)
        assert drift(tmp_path, {A: "é\n"}).startswith("--- a/alert_rules/a.yaml\n+++ b/alert_rules/a.yaml\n")
    (tmp_path / A).unlink()
    assert drift(tmp_path, {A: ""}) == "--- /dev/null\n+++ b/alert_rules/a.yaml\n"


def test_a_long_diff_is_cut(tmp_path: Path) -> None:
    files = {f"jobs/{i}": "line\n" * 100 for i in range(10)}
    assert len(drift(tmp_path, files).splitlines()) == 10 * 103
    cut = drift(tmp_path, files, max_lines=150).splitlines()
    assert len(cut) == 151
    assert cut[-1] == "... 56 more lines of jobs/1 and 8 more files"


@pytest.mark.slow
def test_four_thousand_files_in_about_a_second(tmp_path: Path) -> None:
    files = {f"alert_rules/{i}.yaml": f"- expr: sum(rate(x[{i}m]))\n" * 300 for i in range(4000)}
    start = time.process_time()
    put(tmp_path, files)
    assert drift(tmp_path, files) == ""
    assert time.process_time() - start < 10


# -- properties ------------------------------------------------------------------------------------------

NAMES = [f"{folder}/{name}" for folder in ("jobs", "jobs/in", "dashboards") for name in ("x", "y", "z")]
TEXTS = st.sampled_from(["", "1\n", "2\n", "no end"])
SOME = st.dictionaries(st.sampled_from(NAMES), TEXTS)


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the diff")
@settings(max_examples=25, deadline=None)
@given(SOME, SOME)
def test_the_diff_is_a_patch(old: dict[str, str], new: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        new = {name: text or "not empty" for name, text in new.items()}  # a patch cannot make an empty file
        old = {name: text or "not empty" for name, text in old.items()}
        put(out, old)
        patch = drift(out, new)
        if patch:
            subprocess.run(["git", "apply"], cwd=out, input=patch.encode(), check=True, capture_output=True)
        assert tree(out) == new


class Folder(RuleBasedStateMachine):
    """People and two SLO sets use one folder in any order; what is not ours is never touched.

    ``disk`` is what must be there, ``claims`` what each set last wrote and may remove or overwrite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.context = tempfile.TemporaryDirectory()
        self.out = Path(self.context.name)
        self.disk: dict[str, str] = {}
        self.claims: dict[str, dict[str, str]] = {"shop": {}, "bank": {}}

    def teardown(self) -> None:
        self.context.cleanup()

    @rule(owner=st.sampled_from(["shop", "bank"]), files=SOME, partial=st.booleans())
    def generate(self, owner: str, files: dict[str, str], partial: bool) -> None:
        sections = {"jobs"} if partial else {"jobs", "dashboards"}
        files = {name: text for name, text in files.items() if name.split("/")[0] in sections}
        own, other = self.claims[owner], self.claims["bank" if owner == "shop" else "shop"]
        before = everything(self.out)
        if any(n in self.disk and (n in other or (n not in own and self.disk[n] != files[n])) for n in files):
            for run in (write, check):
                with pytest.raises(UsageError):
                    run(self.out, files.items(), owner=owner, sections=sections)
            assert everything(self.out) == before
            return
        diff = check(self.out, files.items(), owner=owner, sections=sections).diff
        assert everything(self.out) == before
        edited = {
            name for name in files if self.disk.get(name, files[name]) not in (files[name], own.get(name))
        }
        if edited:
            with pytest.raises(UsageError, match="edited by hand"):
                write(self.out, files.items(), owner=owner, sections=sections)
            assert everything(self.out) == before
        result = write(self.out, files.items(), owner=owner, sections=sections, force=True)
        assert set(result.restored) == edited
        assert bool(diff) == bool(result.written or result.removed)
        assert check(self.out, files.items(), owner=owner, sections=sections) == Difference({}, "")
        old = {name for name in own if name.split("/")[0] in sections and name not in files}
        kept = {name for name in old if self.disk.get(name, own[name]) != own[name]}
        assert set(result.kept) == kept
        for name in old - kept:
            self.disk.pop(name, None)
            del own[name]
        for name, text in files.items():
            self.disk[name] = own[name] = text
            other.pop(name, None)

    @rule(name=st.sampled_from(NAMES), text=TEXTS)
    def somebody_writes(self, name: str, text: str) -> None:
        (self.out / name).parent.mkdir(parents=True, exist_ok=True)
        (self.out / name).write_text(text)
        self.disk[name] = text

    @rule(name=st.sampled_from(NAMES))
    def somebody_removes(self, name: str) -> None:
        (self.out / name).unlink(missing_ok=True)
        self.disk.pop(name, None)

    @invariant()
    def nothing_is_lost_and_nothing_is_left(self) -> None:
        assert tree(self.out) == self.disk


Folder.TestCase.settings = settings(
    stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestFolder = Folder.TestCase


@pytest.fixture(autouse=True)
def _no_temporary_file_stays(tmp_path: Path) -> Iterator[None]:
    yield
    assert [path for path in tmp_path.rglob(".sloctl-tmp") if path.is_file()] == []
