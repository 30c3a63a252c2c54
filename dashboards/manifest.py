"""Which dashboards an SLO file gets, written as files that Grafana reads, or as Kubernetes objects.

It must not know what is on a dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from dashboards.boards import (
    budget,
    control_plane,
    debug,
    executive,
    mesh,
    oncall,
    retries,
    service,
    sidecars,
)
from dashboards.grafana import Dashboard, Json
from dashboards.parts.series import Subject
from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import HEADER, Format, object_metadata
from sloctl.errors import UsageError
from sloctl.mesh import Result
from sloctl.model import SloSet

__all__ = ["BUILDERS", "Json", "boards", "encoded"]


def _always(subject: Subject) -> bool:
    return True


BUILDERS: dict[str, tuple[Callable[[Subject], bool], Callable[[Subject], Dashboard]]] = {
    "executive": (_always, executive.build),
    "oncall": (_always, oncall.build),
    "service": (_always, service.build),
    "budget": (_always, budget.build),
    "mesh": (mesh.wanted, mesh.build),
    "retries": (retries.wanted, retries.build),
    "sidecars": (sidecars.wanted, sidecars.build),
    "control-plane": (control_plane.wanted, control_plane.build),
    "debug": (debug.wanted, debug.build),
}
"""When a kind of dashboard is made, and how."""


def encoded(dashboard: Any) -> Json:
    """A dashboard of grafanalib as plain data."""
    data: Json = json.loads(json.dumps(dashboard, default=lambda part: part.to_json_data()))
    return data


def boards(slo_set: SloSet, configured: Result | None = None) -> Iterator[tuple[str, Json]]:
    """Every dashboard of a set: its kind (``budget``, ``service``, …) and its JSON form, in a fixed order.

    ``configured`` is what the mesh's configuration says, where it is known.
    """
    subject = Subject(slo_set, configured)
    for kind, (wanted, build) in BUILDERS.items():
        if wanted(subject):
            yield kind, encoded(build(subject))


LARGEST = 1024 * 1024
"""Bytes that the values of a ConfigMap may have (and etcd takes little more of any other object)."""

RESYNC = "10m0s"
"""How often the Grafana operator puts a dashboard back that somebody has changed."""


def kinds(slo_set: SloSet) -> tuple[str, ...]:
    """The kinds of dashboards that a set gets: those that its file does not leave out."""
    return slo_set.dashboards.kinds


def documents(slo_set: SloSet, configured: Result | None = None) -> Iterator[tuple[str, str]]:
    """Kind and JSON text of every dashboard that a set gets."""
    wanted = kinds(slo_set)
    for kind, board in boards(slo_set, configured):
        if kind in wanted:
            yield kind, encode(board)


def encode(board: Json) -> str:
    """The text of a dashboard: keys in the order given, ASCII only, the same bytes everywhere."""
    return json.dumps(board, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def generate(slo_set: SloSet, form: Format, configured: Result | None = None) -> Iterator[tuple[str, str]]:
    """Paths below the output folder and contents of all dashboards; nothing if there are none.

    With ``operator`` the JSON stands in a folder of its own, so that ``kubectl apply -f dashboards/`` meets objects
    only; with ``prometheus`` a configuration of Grafana that loads the files stands beside them.
    """
    found = False
    for kind, text in documents(slo_set, configured):
        found = True
        stem = naming.dashboard_file(slo_set.name, kind)
        if form == "prometheus":
            yield f"dashboards/{stem}.json", text
            continue
        yield f"dashboards/json/{stem}.json", text
        yield f"dashboards/{stem}.yaml", _object(slo_set, kind, stem, text)
    if found and form == "prometheus":
        yield f"dashboards/provisioning/{naming.slug(slo_set.name)}.yaml", _provider(slo_set)


def _object(slo_set: SloSet, kind: str, stem: str, text: str) -> str:
    if len(text) > LARGEST:
        raise UsageError(
            f"the dashboard '{kind}' has {len(text)} bytes, and a Kubernetes object holds {LARGEST}",
            hint=f"leave it out (dashboards: {{leave_out: [{kind}]}}), split the SLO file, "
            "or load it from files: --format prometheus",
        )
    # The line feed at the end would cost the text its readable form in YAML.
    make = _config_map if slo_set.dashboards.objects == "configmap" else _grafana_dashboard
    return yaml.yaml(make(slo_set, stem, text.rstrip("\n")), comment=HEADER)


def _config_map(slo_set: SloSet, stem: str, text: str) -> yaml.YamlMapping:
    settings = slo_set.dashboards
    annotations: yaml.YamlMapping = {"grafana_folder": settings.folder}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(slo_set, stem, settings.labels) | {"annotations": annotations},
        "data": {f"{stem}.json": text},
    }


def _grafana_dashboard(slo_set: SloSet, stem: str, text: str) -> yaml.YamlMapping:
    settings = slo_set.dashboards
    return {
        "apiVersion": "grafana.integreatly.org/v1beta1",
        "kind": "GrafanaDashboard",
        "metadata": object_metadata(slo_set, stem),
        "spec": {
            "instanceSelector": {"matchLabels": dict(settings.instances)},
            "allowCrossNamespaceImport": True,
            "resyncPeriod": RESYNC,
            "folder": settings.folder,
            "json": text,
        },
    }


def _provider(slo_set: SloSet) -> str:
    """Grafana's configuration of a provider of dashboards, version 1."""
    settings = slo_set.dashboards
    path = f"/var/lib/grafana/dashboards/{naming.slug(slo_set.name)}"
    comment = (
        HEADER,
        "For Grafana's folder provisioning/dashboards. Mount the folder with the JSON files where options.path says.",
    )
    return yaml.yaml(
        {
            "apiVersion": 1,
            "providers": [
                {
                    "name": f"sloctl-{naming.slug(slo_set.name)}",
                    "orgId": 1,
                    # Grafana takes $NAME for a variable of its environment, and $$ for the sign itself.
                    "folder": settings.folder.replace("$", "$$"),
                    "folderUid": naming.folder_uid(settings.folder),
                    "type": "file",
                    "disableDeletion": False,
                    "allowUiUpdates": False,
                    "updateIntervalSeconds": 30,
                    "options": {"path": path},
                }
            ],
        },
        comment="\n".join(comment),
    )
