"""The image: what its Dockerfile says, and what its steps give when they are done in a folder instead of an image.

The steps run here with this Python and below a temporary root, so that neither a container engine nor the base image is
needed: what is shown is that the files copied suffice, that no compiler is needed, and that the result works where
nothing but /tmp can be written to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.manifests import pods
from sloctl import __version__

ROOT = Path(__file__).parents[2]
PLACES = ("/src", "/dist", "/opt/sloctl")
USER = 65532
SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {prometheus: {url: "http://127.0.0.1:1"}}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
jobs: [{name: report, cron: "0 9 * * 1", timezone: Europe/Paris}]
"""


def instructions() -> list[tuple[str, str]]:
    parsed: list[dict[str, Any]] = DockerfileParser(path=str(ROOT / "Dockerfile")).structure
    return [(item["instruction"], item["value"]) for item in parsed if item["instruction"] != "COMMENT"]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction, value in instructions():
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, value))
    return found


def last(name: str) -> str:
    return [value for instruction, value in stages()[-1] if instruction == name][-1]


def variables(value: str) -> dict[str, str]:
    return {name: text.strip('"') for name, text in re.findall(r'(\S+?)=("[^"]*"|\S+)', value)}


# What it says


def test_the_base_image_is_pinned_and_known_to_the_package() -> None:
    base = variables(dict(instructions())["ARG"])["PYTHON"]
    match = re.fullmatch(r"(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert match
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {match[1]}" in project["classifiers"]
    assert [value for name, value in instructions() if name == "FROM"] == [
        "python:${PYTHON} AS build",
        "python:${PYTHON}",
    ]


def test_the_lock_has_what_the_package_needs_with_hashes() -> None:
    """Of every extra, at versions that pyproject.toml allows; nothing is installed but what it has."""
    text = (ROOT / "requirements.lock").read_text()
    locked: dict[str, list[tuple[str, Marker | None]]] = {}
    for entry in re.split(r"\n(?=\S)", text.replace("\\\n", " ").strip()):
        if entry.startswith("#"):
            continue
        written, *hashes = re.split(r"\s+--hash=sha256:", entry)
        assert hashes and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes), written
        found = Requirement(written)
        ((version),) = [item.version for item in found.specifier]
        locked.setdefault(canonicalize_name(found.name), []).append((version, found.marker))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        item for name, items in project["optional-dependencies"].items() if name != "all" for item in items
    ]
    for needed in map(Requirement, [*project["dependencies"], *extras]):
        versions = locked[canonicalize_name(needed.name)]
        assert all(needed.specifier.contains(version, prereleases=True) for version, _ in versions), needed
    installs = [value for name, value in stages()[0] if name == "RUN" and " install " in value]
    for line in "\n".join(installs).split("&&"):
        assert (
            " install " not in line or "--require-hashes -r requirements.lock" in line or "--no-index" in line
        )


def test_the_last_stage_runs_nothing_and_is_nobody() -> None:
    build, final = stages()
    assert "RUN" in dict(build)
    assert {name for name, _ in final} == {
        "FROM",
        "LABEL",
        "COPY",
        "ENV",
        "WORKDIR",
        "USER",
        "ENTRYPOINT",
        "CMD",
    }
    assert [value for name, value in final if name == "COPY"] == ["--from=build /opt/sloctl /opt/sloctl"]
    assert last("USER") == f"{USER}:{USER}"
    assert json.loads(last("ENTRYPOINT")) == ["sloctl"]
    labels = variables(last("LABEL"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]


def test_pods_run_as_the_user_of_the_image() -> None:
    assert f"{pods.USER}:{pods.USER}" == last("USER")
    assert variables(last("ENV"))["HOME"] == pods.TMP


def test_everything_that_is_copied_is_sent_and_nothing_else() -> None:
    copied = {source for name, value in stages()[0] if name == "COPY" for source in value.split()[:-1]}
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert set(packages["packages"]) <= copied


# What it gives


@dataclass(frozen=True)
class Image:
    root: Path
    environment: dict[str, str]

    def run(self, *arguments: str, program: str = "") -> subprocess.CompletedProcess[str]:
        """Run the entry point, or another program of the image; it may write to ``/tmp`` only."""
        program = program or json.loads(last("ENTRYPOINT"))[0]
        before = self._state()
        done = subprocess.run(
            [str(self.root / "opt/sloctl/bin" / program), *arguments],
            env=self.environment,
            cwd=self.root / "slo",
            capture_output=True,
            text=True,
            check=False,
        )
        assert self._state() == before, "a read-only root file system would have refused this"
        return done

    def _state(self) -> set[tuple[str, int, int]]:
        """Every file but those in ``/tmp``, with its size and when it was written."""
        found = set()
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if Path(folder, name) != self.root / "tmp"]
            for name in names:
                status = Path(folder, name).lstat()
                found.add((f"{folder}/{name}", status.st_size, status.st_mtime_ns))
        return found


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The build stage, done below a folder."""
    if not os.environ.get("SLOCTL_IMAGE"):
        pytest.skip("installs everything once more, which takes minutes: make image")
    root = Path(tempfile.mkdtemp(prefix="sloctl-image-"))
    try:
        _build(root)
        (root / "slo").mkdir()
        (root / "slo/slo.yaml").write_text(SLO_FILE)
        environment = {name: _placed(text, root) for name, text in variables(last("ENV")).items()}
        (root / "tmp").mkdir()
        environment |= {"HOME": str(root / "tmp")}
        yield Image(root, environment)
    finally:
        shutil.rmtree(root)


def _placed(text: str, root: Path) -> str:
    return re.sub(rf"(?<![\w/.])({'|'.join(PLACES)})(?=/|\s|:|$)", lambda match: f"{root}{match[1]}", text)


def _build(root: Path) -> None:
    (root / "bin").mkdir()
    (root / "bin/python").symlink_to(sys.executable)
    # No compiler: those of this machine are out of reach.
    (root / "bin/sh").symlink_to("/bin/sh")
    for tool in ("find", "rm"):
        (root / "bin" / tool).symlink_to(str(shutil.which(tool)))
    environment = {"PATH": str(root / "bin"), "HOME": str(Path.home()), "PYTHONHOME": ""}
    environment |= {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP"))
    }
    workdir = root
    for instruction, value in stages()[0]:
        if instruction == "WORKDIR":
            workdir = root / value.lstrip("/")
            workdir.mkdir(parents=True)
        elif instruction == "COPY":
            *sources, target = value.split()
            for source in sources:
                _copy(ROOT / source, workdir / target)
        elif instruction == "RUN":
            done = subprocess.run(
                ["/bin/sh", "-c", _placed(value, root)],
                cwd=workdir,
                env={name: text for name, text in environment.items() if text},
                capture_output=True,
                text=True,
                check=False,
            )
            if re.search("No matching distribution|Failed to establish|Temporary failure", done.stderr):
                pytest.skip("no package index")
            assert done.returncode == 0, done.stderr[-2000:]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)


@pytest.mark.slow
def test_the_command_works_and_writes_nothing_but_results(image: Image) -> None:
    assert image.run("--version").stdout.strip().endswith(__version__)
    valid = image.run("validate", "-f", "slo.yaml")
    assert (valid.returncode, valid.stdout) == (0, ""), valid.stderr
    generated = image.run("generate", "-f", "slo.yaml", "-o", str(image.root / "tmp/out"))
    assert generated.returncode == 0, generated.stderr
    # The time zone comes from the package tzdata, and 3 is what a server that does not answer gives.
    asked = image.run("run", "report", "-f", "slo.yaml", "--timeout", "0.5")
    assert asked.returncode == 3, asked.stderr
    assert "Traceback" not in asked.stderr


@pytest.mark.slow
def test_every_module_loads_without_what_was_removed(image: Image) -> None:
    script = (
        "import importlib, pkgutil, sys\n"
        "for name in ('sloctl', 'alert_rules', 'dashboards', 'jobs'):\n"
        "    package = importlib.import_module(name)\n"
        "    assert package.__file__.startswith(sys.prefix), package.__file__\n"
        "    for module in pkgutil.walk_packages(package.__path__, name + '.'):\n"
        "        if not module.name.endswith('__main__') and '.migrations.' not in module.name:\n"
        "            importlib.import_module(module.name)\n"
        "import psycopg, opentelemetry.exporter.otlp.proto.http\n"
        "print(len(sys.modules))\n"
    )
    done = image.run("-c", script, program="python")
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 500


@pytest.mark.slow
def test_there_is_no_installer_and_no_test_in_it(image: Image) -> None:
    library = image.root / "opt/sloctl"
    assert not (library / "bin/pip").exists()
    assert not [path for path in library.rglob("tests") if path.is_dir()]
