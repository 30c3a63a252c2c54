"""The golden cases of rules: where they are, and what is made of each."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from alert_rules import manifest
from sloctl import spec
from sloctl.artefacts.objects import Format

ROOT = Path(__file__).parents[1] / "golden" / "rules"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


@cache
def generated(case: str, form: Format = "prometheus") -> dict[str, str]:
    source = ROOT / case / "slo.yaml"
    slo_set = spec.load([source if source.exists() else ROOT / case / "slo"])
    files = list(manifest.generate(slo_set, form))
    assert len({path for path, _ in files}) == len(files), "two files of one name"
    return dict(files)


def stored(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def write(folder: Path, files: dict[str, str]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


@cache
def parsed(text: str) -> Any:
    """A YAML document; nobody changes it."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def rules(text: str) -> Iterator[dict[str, Any]]:
    document = parsed(text)
    for group in document.get("spec", document)["groups"]:
        yield from group["rules"]


def is_test(path: str) -> bool:
    return path.endswith("_test.yaml")


def loaded(files: dict[str, str]) -> dict[str, str]:
    """The rule files that Prometheus loads."""
    return {path: text for path, text in files.items() if "/tests/" not in path}


def copies(files: dict[str, str]) -> dict[str, str]:
    """Rule files that only promtool reads: beside the tests."""
    return {path: text for path, text in files.items() if "/tests/" in path and not is_test(path)}


@cache
def with_sidecars() -> dict[str, str]:
    """Of the case ``guardrails``, in a mesh without matchers, as that of ``guardrails-ambient`` is."""
    text = (ROOT / "guardrails" / "slo.yaml").read_text(encoding="utf-8")
    text = text.replace("mesh: {matchers: {cluster: eu1}}", "mesh: {mode: sidecar}")
    return dict(manifest.generate(spec.load([Path("-")], stdin=io.BytesIO(text.encode())), "prometheus"))


def held(case: str) -> dict[str, str]:
    """The files of a case that are compared byte by byte.

    Copies have the rules of the loaded files once more: see
    test_what_promtool_reads_is_what_prometheus_loads.
    """
    files = generated(case)
    if case == "guardrails-ambient":
        return {path: text for path, text in copies(files).items() if text != with_sidecars().get(path)}
    if case == "guardrails-limits":
        return {path: text for path, text in loaded(files).items() if "-mesh-health-" in path}
    return {path: text for path, text in files.items() if path not in copies(files)}


ONLY_3 = {"native-histograms", "utf8-names"}
"""Cases with histograms or names that Prometheus 2 and its promtool do not know."""


def proved(case: str) -> list[str]:
    """The unit tests of a case that no other case has with the same rules."""
    files = generated(case)
    tests = [path for path in files if is_test(path)]
    if case != "guardrails-ambient":
        return tests
    same = {path for path in files if files[path] == with_sidecars().get(path)}
    return [path for path in tests if not {path, path.replace("_test.yaml", ".yaml")} <= same]


PROVED = {
    "custom-events",
    "gauges",
    "per-label",
    "guardrails",
    "guardrails-ambient",
    "guardrails-limits",
    "latency",
    "remote",
    "traffic-stopped",
}
PROVED |= {"wildcard-and-override"}
"""The cases whose proofs promtool runs: every kind of rule and alert; ``make proofs`` runs all."""
