"""How dashboards are written: plain with Grafana's provider, as ConfigMaps, as GrafanaDashboard objects.

What is on a dashboard is not looked at: two small ones stand for all.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from dashboards import manifest
from sloctl import naming, spec
from sloctl.artefacts.objects import Format
from sloctl.errors import UsageError
from sloctl.model import Objects, SloSet
from sloctl.model.dashboards import KINDS, Costs, DashboardSettings
from tests.support.command_line import in_process
from tests.support.yaml_text import read_yaml

FORMS: tuple[Format, ...] = get_args(Format)
HOSTILE = (
    "yes", "007", "a: b # c", "- x", "{{ .Values.x }}", "$HOME ${HOME} $$", 'say "hi" \\n', "'", "%TAG", "@x", "é 中",
    "🚀", "null", "~", "*a", "&a", "!!str x", "| x", "x" * 100,
)  # fmt: skip
QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""What Kubernetes allows behind the slash of a label's or an annotation's name, and as a label's value."""
SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
TEXT = '\u2028é\x7f \\ "x" ${DS} {{ x }}\nline '


@pytest.fixture(autouse=True)
def boards(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(slo_set: SloSet, _configured: object = None) -> Iterator[tuple[str, dict[str, Any]]]:
        for kind in ("service", "control-plane"):
            uid = naming.dashboard_uid(slo_set.name, kind)
            yield (
                kind,
                {"uid": uid, "title": kind, "tags": [], "panels": [{"z": 0.1, "a": None, "text": TEXT}]},
            )

    monkeypatch.setattr(manifest, "boards", few)


def settled(name: str = "shop", **settings: Any) -> SloSet:
    return SloSet(name, (), dashboards=DashboardSettings(**settings))


def files(slo_set: SloSet, form: Format) -> dict[str, str]:
    pairs = list(manifest.generate(slo_set, form))
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def objects(slo_set: SloSet) -> list[Any]:
    return [read_yaml(text) for name, text in files(slo_set, "operator").items() if name.endswith(".yaml")]


# Plain files


def test_plain_files_and_their_provider() -> None:
    written = files(settled(), "prometheus")
    assert list(written) == [
        "dashboards/sloctl-shop-service.json",
        "dashboards/sloctl-shop-control-plane.json",
        "dashboards/provisioning/shop.yaml",
    ]
    text = written["dashboards/sloctl-shop-service.json"]
    assert text.isascii()
    assert text.startswith('{\n  "uid": "sloctl-shop-service",\n  "title": "service",\n')
    assert text.endswith("}\n")
    assert list(json.loads(text)["panels"][0].items()) == [("z", 0.1), ("a", None), ("text", TEXT)]
    (provider,) = read_yaml(written["dashboards/provisioning/shop.yaml"])["providers"]
    assert (provider["name"], provider["folder"], provider["type"]) == ("sloctl-shop", "SLOs", "file")
    assert provider["options"] == {"path": "/var/lib/grafana/dashboards/shop"}
    assert provider["disableDeletion"] is provider["allowUiUpdates"] is False


def test_sets_of_one_folder_share_its_uid_only() -> None:
    found = []
    for name, folder in (("shop", "A"), ("pay", "A"), ("pay", "B")):
        text = files(settled(name, folder=folder), "prometheus")[f"dashboards/provisioning/{name}.yaml"]
        (provider,) = read_yaml(text)["providers"]
        found.append((provider["name"], provider["folderUid"], provider["options"]["path"]))
    assert found[0][1] == found[1][1] != found[2][1]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid) for _, uid, _ in found)
    assert found[0][0] != found[1][0]
    assert found[0][2] != found[1][2]


@pytest.mark.parametrize("folder", HOSTILE)
def test_folder_is_text_wherever_it_stands(folder: str) -> None:
    slo_set = settled(folder=folder)
    (provider,) = read_yaml(files(slo_set, "prometheus")["dashboards/provisioning/shop.yaml"])["providers"]
    assert "$" not in provider["folder"].replace("$$", "")  # Grafana would put a variable's value there
    assert provider["folder"].replace("$$", "$") == folder
    assert {item["metadata"]["annotations"]["grafana_folder"] for item in objects(slo_set)} == {folder}
    grafana = objects(settled(folder=folder, objects="grafana-operator"))
    assert {item["spec"]["folder"] for item in grafana} == {folder}


def test_what_is_no_number_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.encode({"value": float("nan")})


# Objects


def kubernetes_rules(item: Any) -> None:
    """The API server's rules for names, labels and annotations, and for the keys and size of a ConfigMap."""
    metadata = item["metadata"]
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", metadata["name"])
    for kind in ("labels", "annotations"):
        for key, value in metadata.get(kind, {}).items():
            assert isinstance(value, str)
            assert QUALIFIED_NAME.fullmatch(key.rpartition("/")[2])
            assert kind == "annotations" or QUALIFIED_NAME.fullmatch(value)
    if item["kind"] == "ConfigMap":
        assert set(item) == {"apiVersion", "kind", "metadata", "data"}
        assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in item["data"])
        assert sum(len(value.encode()) for value in item["data"].values()) <= 1024 * 1024


def test_config_maps() -> None:
    slo_set = replace(
        settled(folder="Shop", labels=(("example.org/board", "yes"), ("grafana_dashboard", "1"))),
        objects=Objects("monitoring", (("release", "main"),)),
    )
    written = files(slo_set, "operator")
    assert set(written) == {
        f"dashboards/{path}"
        for stem in ("sloctl-shop-service", "sloctl-shop-control-plane")
        for path in (f"json/{stem}.json", f"{stem}.yaml")
    }
    for item in objects(slo_set):
        kubernetes_rules(item)
        stem = item["metadata"]["name"]
        assert (item["apiVersion"], item["kind"]) == ("v1", "ConfigMap")
        assert item["metadata"]["namespace"] == "monitoring"
        assert item["metadata"]["annotations"] == {"grafana_folder": "Shop"}
        assert item["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "sloctl",
            "app.kubernetes.io/part-of": "shop",
            "example.org/board": "yes",
            "grafana_dashboard": "1",
            "release": "main",
        }
        plain = written[f"dashboards/json/{stem}.json"]
        assert item["data"] == {f"{stem}.json": plain.rstrip("\n")}


def test_grafana_dashboards() -> None:
    slo_set = settled(objects="grafana-operator", instances=(("dashboards", "main"),))
    written = files(slo_set, "operator")
    for item in objects(slo_set):
        kubernetes_rules(item)
        stem = item["metadata"]["name"]
        assert (item["apiVersion"], item["kind"]) == ("grafana.integreatly.org/v1beta1", "GrafanaDashboard")
        assert "grafana_dashboard" not in item["metadata"]["labels"]
        content = item["spec"].pop("json")
        assert f"{content}\n" == written[f"dashboards/json/{stem}.json"]
        assert item["spec"] == {
            "instanceSelector": {"matchLabels": {"dashboards": "main"}},
            "allowCrossNamespaceImport": True,
            "resyncPeriod": "10m0s",
            "folder": "SLOs",
        }


def test_both_forms_have_the_same_json() -> None:
    plain = {
        Path(name).name: text for name, text in files(settled(), "prometheus").items() if "provis" not in name
    }
    operator = files(settled(), "operator")
    assert plain == {Path(name).name: text for name, text in operator.items() if name.endswith(".json")}


def test_json_is_readable_in_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        manifest, "boards", lambda *_: iter([("mesh", {"uid": "x", "panels": [1, {"a": "b\nc"}]})])
    )
    text = files(settled(), "operator")["dashboards/sloctl-shop-mesh.yaml"]
    assert '  sloctl-shop-mesh.json: |-\n    {\n      "uid": "x",\n' in text


def test_names_are_distinct_and_fit() -> None:
    names = ("shop", "a", "x" * 40, "Shop", "shöp", "sh_op", "x" * 60, "x" * 61)
    stems = [naming.dashboard_file(name, kind) for name in names for kind in KINDS]
    assert len(stems) == len(set(stems))
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", stem) for stem in stems)
    assert naming.dashboard_file("x" * 40, "control-plane") == f"sloctl-{'x' * 40}-control-plane"


def test_an_object_has_a_limit_and_a_file_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = len(manifest.encode({"text": ""}))
    text = "x" * (manifest.LARGEST - frame)
    monkeypatch.setattr(manifest, "boards", lambda *_: iter([("service", {"text": text})]))
    kubernetes_rules(objects(settled())[0])
    monkeypatch.setattr(manifest, "boards", lambda *_: iter([("service", {"text": f"{text}x"})]))
    for kind in ("configmap", "grafana-operator"):
        with pytest.raises(UsageError, match="the dashboard 'service' has 1048577 bytes") as caught:
            files(settled(objects=kind), "operator")
        assert "leave_out: [service]" in caught.value.hint
    assert len(files(settled(), "prometheus")) == 2


# What is left out


@pytest.mark.parametrize("form", FORMS)
def test_left_out(form: Format) -> None:
    written = files(settled(leave_out=("debug", "service")), form)
    assert written
    assert not [name for name in written if "service" in name]
    assert files(settled(leave_out=KINDS), form) == {}


def test_kinds() -> None:
    assert manifest.kinds(settled()) == KINDS
    assert manifest.kinds(settled(leave_out=("debug", "mesh"))) == tuple(
        kind for kind in KINDS if kind not in {"debug", "mesh"}
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_dashboards_no_file(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "boards", lambda *_: iter(()))
    assert files(settled(), form) == {}


def test_every_kind_is_known() -> None:
    from dashboards.manifest import boards as real

    slo_set = spec.load([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    found = [kind for kind, _ in real(slo_set)]
    assert len(found) == len(set(found))
    assert set(found) <= set(KINDS)


# From the file


def load(section: str) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO((SLO_FILE + section).encode()))


def test_settings_of_the_file() -> None:
    assert load("").dashboards == load("dashboards: {}\n").dashboards == DashboardSettings()
    settings = load(
        """\
dashboards:
  folder: Größe
  objects: grafana-operator
  instances: {b: x, a: y}
  leave_out: [mesh, debug]
  costs: {core_hour: 0.10, gib_hour: 0, currency: EUR}
"""
    ).dashboards
    assert settings == DashboardSettings(
        folder="Größe",
        objects="grafana-operator",
        instances=(("a", "y"), ("b", "x")),
        leave_out=("debug", "mesh"),
        costs=Costs(settings.costs.core_hour, settings.costs.gib_hour, "EUR"),
    )
    assert (str(settings.costs.core_hour), str(settings.costs.gib_hour)) == ("0.10", "0")


def test_section_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SLO_FILE)
    other = "apiVersion: sloctl/v1\nkind: MeshSLOs\ndashboards: {folder: Shop}\n"
    (tmp_path / "b.yaml").write_text(other)
    (tmp_path / "c.yaml").write_text(other)
    assert spec.load([tmp_path]).dashboards.folder == "Shop"
    (tmp_path / "c.yaml").write_text(other.replace("Shop", "Pay"))
    assert [problem.code for problem in spec.check([tmp_path])[1]] == ["conflict"]


# The command line


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        ".sloctl-manifest.json"
    }


@pytest.mark.parametrize("form", FORMS)
def test_drift_and_stale_files(form: Format, tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    call = ("generate", "-f", "slo.yaml", "-o", "out", "--only", "dashboards", "--format", form)
    assert in_process(*call, folder=tmp_path).code == 0
    first = {name: (tmp_path / "out" / name).read_bytes() for name in tree(tmp_path / "out")}
    assert {name: text.encode() for name, text in files(load(""), form).items()} == first
    assert in_process(*call, "--check", folder=tmp_path).code == 0

    (mine := tmp_path / "out/dashboards/mine.json").write_text("{}")
    (tmp_path / "slo.yaml").write_text(SLO_FILE + "dashboards: {folder: Shop, leave_out: [service]}\n")
    check = in_process(*call, "--check", folder=tmp_path)
    assert check.code == 1
    assert re.search(r"^\+.*Shop", check.stdout, re.MULTILINE)
    assert "+++ /dev/null" in check.stdout
    assert tree(tmp_path / "out") == {*first, "dashboards/mine.json"}
    assert in_process(*call, folder=tmp_path).code == 0
    left = {name for name in first if "service" not in name}
    assert tree(tmp_path / "out") == {*left, "dashboards/mine.json"}

    mine.unlink()
    (tmp_path / "slo.yaml").write_text(SLO_FILE + f"dashboards: {{leave_out: [{', '.join(KINDS)}]}}\n")
    assert in_process(*call, folder=tmp_path).code == 0
    assert tree(tmp_path / "out") == set()
    assert not (tmp_path / "out/dashboards").exists()


def test_the_other_form_takes_the_place(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    call = ("generate", "-f", "slo.yaml", "-o", "out", "--only", "dashboards", "--format")
    for form in (*FORMS, *FORMS):
        assert in_process(*call, form, folder=tmp_path).code == 0
        assert tree(tmp_path / "out") == set(files(load(""), form))
