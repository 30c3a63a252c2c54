"""A user's own folder of a name that our packages have: it is said, and nothing of it is imported."""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from sloctl.cli import shadowing
from tests.support.command_line import ROOT, Outcome

SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
GENERATE = ("generate", "-f", "slo.yaml", "-o", "out")
LOUD = "raise SystemExit('a user\\'s module was imported')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "own"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder far down the path with sloctl in it, as ``site-packages`` is."""
    place = tmp_path / "site-packages"
    place.mkdir()
    for name in ("sloctl", *shadowing.PACKAGES):
        (place / name).symlink_to(ROOT / name)
    return place


def run(folder: Path, *command: str, path: str | None = None) -> Outcome:
    """A command of Python's, with a path of its own; None: without the variable."""
    given = {} if path is None else {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Outcome(done.stdout, done.stderr, done.returncode).clean()


@pytest.mark.parametrize("package", shadowing.PACKAGES)
@pytest.mark.parametrize("file", ["{}/__init__.py", "{}.py"])
def test_what_lies_in_the_working_folder_is_named(
    package: str, file: str, folder: Path, installed: Path
) -> None:
    own = folder / file.format(package)
    own.parent.mkdir(exist_ok=True)
    own.write_text(LOUD)
    kind, place = ("folder", own.parent) if own.name == "__init__.py" else ("file", own)
    said = run(folder, "-m", "sloctl", *GENERATE, path=str(installed))
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr == (
        f"sloctl: error: the {kind} {place} is found in place of sloctl's own package {package}\n"
        "  hint: run  sloctl  or  python -P -m sloctl, which do not look into the working folder, "
        f"or rename the {kind}\n"
    )
    assert not (folder / "out").exists()


def test_the_remedies_help(folder: Path, installed: Path) -> None:
    (folder / "jobs").mkdir()
    (folder / "jobs/__init__.py").write_text(LOUD)
    script = folder.parent / "bin" / "sloctl"
    script.parent.mkdir()
    script.write_text("from sloctl.cli import main\nmain()\n")  # what pip makes of an entry point
    for number, command in enumerate((("-P", "-m", "sloctl"), (str(script),))):
        done = run(folder, *command, *GENERATE[:-1], f"out{number}", path=str(installed))
        assert done.code == 0 and "files written" in done.stderr, done.stderr


RUN = "run  sloctl  or  python -P -m sloctl, which do not look into the working folder"
EMPTY = "take the empty entry, which is the working folder, out of PYTHONPATH"


@pytest.mark.parametrize(
    ("path", "safe", "hint"),
    [
        pytest.param(None, (), RUN, id="no variable"),
        pytest.param("", (), RUN, id="an empty variable"),
        pytest.param(":/nothing", (), f"{EMPTY} and {RUN}", id="an empty entry"),
        pytest.param("/nothing:", ("-P",), EMPTY, id="an empty entry alone"),
        pytest.param("{folder}", ("-P",), "take {folder} out of PYTHONPATH", id="the folder by its name"),
        pytest.param(
            "{folder}", (), f"take {{folder}} out of PYTHONPATH and {RUN}", id="by its name, and in front"
        ),
        pytest.param("{folder}", ("-E",), RUN, id="a variable that is not heeded"),
    ],
)
@pytest.mark.parametrize("file", ["jobs/__init__.py", "jobs/__init__.pyc", "jobs.py"])
def test_the_hint_is_about_what_brings_the_folder_in(
    path: str | None, safe: tuple[str, ...], hint: str, file: str, folder: Path
) -> None:
    """The tests' own environment has sloctl installed, so that no variable is needed."""
    own = folder / file
    own.parent.mkdir(exist_ok=True)
    own.write_text(LOUD)
    if own.suffix == ".pyc":
        source = own.with_suffix(".py")
        own.rename(source)
        py_compile.compile(str(source), cfile=str(own), doraise=True)
        source.unlink()
    given = None if path is None else path.format(folder=folder)
    said = run(folder, *safe, "-m", "sloctl", *GENERATE, path=given)
    kind, place = ("file", own) if file == "jobs.py" else ("folder", own.parent)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr == (
        f"sloctl: error: the {kind} {place} is found in place of sloctl's own package jobs\n"
        f"  hint: {hint.format(folder=folder)}, or rename the {kind}\n"
    )


@pytest.mark.slow
def test_an_install_without_sources_is_no_stranger_to_itself(folder: Path, tmp_path: Path) -> None:
    """``compileall -b``, and sources removed, as some images have it."""
    place = tmp_path / "bytecode"
    for name in ("sloctl", *shadowing.PACKAGES):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(place, quiet=1, legacy=True)
    for source in place.rglob("*.py"):
        source.unlink()
    done = run(folder, "-m", "sloctl", *GENERATE, path=str(place))
    assert done.code == 0 and "files written" in done.stderr, done.stderr
    script = (
        "from sloctl.ledger.store import open_ledger; from sloctl.settings.secret import Secret;"
        "print(open_ledger(Secret('sqlite:///new.db')).newest('shop'))"
    )
    new = run(folder, "-W", "ignore", "-c", script, path=str(place))
    assert new.stdout == "{}\n", "its migrations are not found: " + new.stderr


def test_what_pythonpath_brings_is_named(folder: Path, installed: Path, tmp_path: Path) -> None:
    other = tmp_path / "libraries"
    (other / "dashboards").mkdir(parents=True)
    (other / "dashboards/__init__.py").write_text(LOUD)
    said = run(folder, "-P", "-m", "sloctl", *GENERATE, path=f"{other}:{installed}")
    assert said.code == 2
    assert said.stderr == (
        f"sloctl: error: the folder {other}/dashboards is found in place of sloctl's own package dashboards\n"
        f"  hint: take {other} out of PYTHONPATH, or rename the folder\n"
    )
    assert run(folder, "-P", "-m", "sloctl", *GENERATE, path=f"{installed}:{other}").code == 0


def test_a_package_of_somebody_else_is_named(folder: Path, installed: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    (other / "jobs").mkdir(parents=True)
    (other / "jobs/__init__.py").write_text(LOUD)
    script = f"import sys; sys.path.insert(0, {str(other)!r}); from sloctl.cli import main; main()"
    said = run(folder, "-P", "-c", script, path=str(installed))
    assert said.code == 2
    assert "hint: install sloctl into an environment of its own, or rename the folder" in said.stderr


@pytest.mark.parametrize("package", shadowing.PACKAGES)
def test_a_folder_without_init_shadows_nothing(package: str, folder: Path, installed: Path) -> None:
    """As ``sloctl generate -o .`` makes them."""
    (folder / package).mkdir()
    (folder / package / "layout.py").write_text(LOUD)
    done = run(folder, "-m", "sloctl", *GENERATE, path=str(installed))
    assert done.code == 0 and "files written" in done.stderr


def test_the_folder_of_sloctl_itself_and_links_to_it_are_no_strangers(installed: Path, folder: Path) -> None:
    assert run(ROOT, "-m", "sloctl", "--version", path=str(installed)).code == 0
    assert run(installed, "-m", "sloctl", "--version", path=str(ROOT)).code == 0


def test_it_costs_nothing() -> None:
    """Seconds; starting takes a hundred times as long."""
    assert min(timeit.repeat(shadowing.check, number=10, repeat=20)) / 10 < 0.002
