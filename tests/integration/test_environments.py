"""The examples of docs/environments.md: base and overlays, what generated jobs read, Kustomize, a rendered chart."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.model import SloSet
from tests.support.command_line import ROOT, shell
from tests.support.yaml_text import read_yaml

EXAMPLES = ROOT / "docs" / "examples" / "environments"
PAGE = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "environments"))


def objectives(slo_set: SloSet) -> dict[str, Decimal]:
    return {slo.name: slo.objective for slo in slo_set.slos}


@pytest.mark.parametrize(
    ("name", "cluster", "window", "promised", "guardrails"),
    [
        ("dev", "dev1", "7d", {"availability": 95}, ["control-plane"]),
        ("stage", "stage1", "30d", {"availability": 99, "latency": 99}, ["control-plane", "mtls"]),
        (
            "prod", "eu1", "30d", {"availability": Decimal("99.95"), "latency": 99}, ["control-plane", "mtls"],
        ),
    ],
)  # fmt: skip
def test_each_environment(
    name: str, cluster: str, window: str, promised: dict[str, Decimal], guardrails: list[str]
) -> None:
    loaded = spec.load([EXAMPLES / "base", EXAMPLES / "overlays" / f"{name}.yaml"])
    assert loaded.warnings == ()
    assert loaded.mesh.matchers[0].value == cluster
    assert {slo.window.text for slo in loaded.slos} == {window}
    assert {slo.owner for slo in loaded.slos} == {"team-payments"}
    assert objectives(loaded) == promised
    assert [guardrail.preset for guardrail in loaded.guardrails] == guardrails


def test_two_environments_in_one_folder_are_an_error() -> None:
    slo_set, problems = spec.check([EXAMPLES / "base", EXAMPLES / "overlays"])
    assert slo_set is None
    assert {problem.code for problem in problems} == {"conflict"}


def test_the_page_shows_the_files() -> None:
    for name in ("overlays/dev.yaml", "chart/templates/overlay.yaml"):
        assert (EXAMPLES / name).read_text() in PAGE, name


def test_generated_jobs_read_the_overlay_too(folder: Path) -> None:
    done = shell("sloctl --quiet generate -f base -f overlays/dev.yaml -o out --only jobs", folder).clean()
    assert done.code == 0, done.stderr
    data = read_yaml((folder / "out/jobs/configmap-sloctl-shop-slo-file.yaml").read_text())["data"]
    mounted = folder / "mounted"
    mounted.mkdir()
    for name, text in data.items():
        (mounted / name).write_text(text)
    assert objectives(spec.load([mounted])) == {"availability": 95}


def test_jobs_have_the_variables_that_their_files_name(folder: Path) -> None:
    base = folder / "base" / "shop.yaml"
    text = base.read_text().replace("http://prometheus.monitoring", "http://${PROM_HOST}")
    base.write_text(f"{text}env: [PROM_HOST, {{name: REGION, default: eu}}]\n")
    done = shell("PROM_HOST=a.b sloctl --quiet generate -f base -o out --only jobs", folder).clean()
    assert done.code == 0, done.stderr
    job = read_yaml((folder / "out/jobs/cronjob-sloctl-shop-slis.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    for name, value in (("PROM_HOST", "a.b"), ("REGION", "eu")):
        assert {"name": name, "value": value} in container["env"]
    command = "PROM_HOST=a.b sloctl --quiet generate -f base -o cron --only jobs --format prometheus"
    assert shell(command, folder).clean().code == 0
    assert (
        " env PROM_HOST=a.b REGION=eu sloctl --quiet run slis " in (folder / "cron/jobs/crontab").read_text()
    )
    unset = shell("sloctl validate -f base -v", folder).clean()
    assert (unset.code, "base/shop.yaml:18:7: error: the variable PROM_HOST is not set" in unset.stdout) == (
        2,
        True,
    )


@pytest.mark.skipif(shutil.which("kustomize") is None, reason="kustomize is not on PATH")
def test_kustomize_builds_what_is_generated(folder: Path) -> None:
    generated = "sloctl --quiet generate -f base -f overlays/prod.yaml -o deploy/prod/slo"
    assert shell(generated, folder).code == 0
    (lines,) = re.findall(r"^cd deploy/prod\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    done = shell("cd deploy/prod\n" + lines.replace("| kubectl apply -f -", ""), folder)
    assert done.code == 0, done.stderr
    kinds = set(re.findall(r"^kind: (\w+)$", done.stdout, re.MULTILINE))
    assert {"PrometheusRule", "CronJob", "ConfigMap", "AlertmanagerConfig"} <= kinds


def test_a_chart_that_is_rendered_is_an_overlay(folder: Path) -> None:
    """Helm itself is not asked: its three references are filled in as it does it."""
    text = (folder / "chart/templates/overlay.yaml").read_text()
    values = read_yaml((folder / "chart/values-dev.yaml").read_text())
    for reference, value in (
        ("{{ .Release.Name }}", "dev"),
        ("{{ .Values.cluster | quote }}", f'"{values["cluster"]}"'),
        ("{{ .Values.objective }}", str(values["objective"])),
    ):
        assert reference in text
        text = text.replace(reference, value)
    (folder / "rendered.yaml").write_text(text)
    done = shell("sloctl generate -f base -f - -o out < rendered.yaml", folder).clean()
    assert done.code == 0, done.stderr
    raw = shell("sloctl validate -f base -f chart/templates/overlay.yaml", folder).clean()
    assert (raw.code, "was not filled in" in raw.stdout) == (2, True)


def test_what_a_folder_leaves_alone_is_said(folder: Path) -> None:
    (folder / "base" / "kustomization.yaml").write_text("resources: [shop.yaml]\n")
    assert "left alone" not in shell("sloctl validate -f base", folder).clean().stderr
    said = shell("sloctl -v validate -f base", folder).clean().stderr
    assert "base/kustomization.yaml: left alone: Kustomize's own\n" in said
