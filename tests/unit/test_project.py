"""The project's addresses have one spelling, and it is that of :mod:`sloctl.project`."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from sloctl import __version__, project

ROOT = Path(__file__).parents[2]
CODE = ("sloctl/", "alert_rules/", "dashboards/", "jobs/")
ADDRESS = re.compile(r"(?:https?|git|ssh)[:+/@\w]*?//?[\w.-]+/[\w.-]+/sloctl(?![\w-])")
"""Of a repository named sloctl, whoever's."""
IMAGE = re.compile(r"(?<![\w./-])[\w-]+(?:\.[\w-]+)+(?::\d+)?/(?:[\w.-]+/)*sloctl(?![\w/-])")
"""Of an image named sloctl, in whatever registry."""
NO_REGISTRY = re.compile(r"(?:.*\.)?example\.(?:org|com)/|github\.com/")

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="git knows which files are ours"
)


def files() -> Iterator[tuple[str, str]]:
    """Names and texts of what is ours; not of what tests expect."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            try:
                yield name, (ROOT / name).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_no_other_address_of_the_repository() -> None:
    found = {(name, match[0]) for name, text in files() for match in ADDRESS.finditer(text)}
    assert {address.removeprefix("git+") for _, address in found} == {project.REPOSITORY}


def test_no_registry_is_said_to_have_the_image() -> None:
    found = {match[0] for _, text in files() for match in IMAGE.finditer(text)}
    assert {name for name in found if not NO_REGISTRY.match(name)} == set()
    assert "/" not in project.IMAGE


def test_the_code_spells_them_in_one_module() -> None:
    spelt = {
        name
        for name, text in files()
        if name.startswith(CODE) and name.endswith(".py")
        if project.REPOSITORY in text
    }
    assert len(spelt) == 1 and spelt.pop().endswith("/project.py")


def test_what_is_told_to_package_indexes_and_registries_is_there() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert urls == {
        "Homepage": project.REPOSITORY,
        "Documentation": f"{project.DOCUMENTATION}/index.md",
        "Changelog": f"{project.REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{project.REPOSITORY}/issues",
    }
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    for made in hooks["fancy-pypi-readme"]["substitutions"]:
        assert re.search(re.escape(project.REPOSITORY) + "/(raw|blob)/main/", made["replacement"]), made
    labels = DockerfileParser(path=str(ROOT / "Dockerfile")).labels
    assert labels["org.opencontainers.image.source"] == project.REPOSITORY
    addresses = [*urls.values(), labels["org.opencontainers.image.documentation"]]
    for address in addresses:
        if "/blob/main/" in address:
            assert (ROOT / address.removeprefix(f"{project.REPOSITORY}/blob/main/")).exists(), address


def test_examples_name_this_version() -> None:
    pinned = re.compile(r"(?:\$SLOCTL_REPOSITORY@|/sloctl .*\n\s*rev: )v([\w.]+)")
    found = {match[1] for _, text in files() for match in pinned.finditer(text)}
    assert found == {__version__}
