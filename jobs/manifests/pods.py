"""The pods that run sloctl: image, environment, volumes, and as little privilege as there is.

They satisfy the profile "restricted" of Kubernetes' Pod Security Standards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.manifests import files, secrets
from jobs.manifests.network import selector
from sloctl import __version__, naming, project
from sloctl.artefacts import yaml
from sloctl.model import SloSet
from sloctl.model.kubernetes import Toleration

USER = 65532
"""The user and group of the image, known by number only."""
SLO_FOLDER = "/etc/sloctl/slo"
LEDGER_FOLDER = "/var/lib/sloctl"
TMP = "/tmp"  # noqa: S108 - the path in the pod, a volume of its own
NO_SIDECAR = ("sidecar.istio.io/inject", "false")
"""A Job's pod with a sidecar that is no native one never ends; and nothing is served here that a mesh would protect."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a pod runs: its label, its arguments, whether it posts in Slack, and the ports that it serves on.

    The first port is probed. What ``shows`` live pages has readers' token; what ``reads`` only does not write to a
    ledger: it reads one that is in a database.
    """

    component: str
    arguments: tuple[str, ...]
    posts: bool = False
    serves: tuple[tuple[str, int], ...] = ()
    shows: bool = False
    reads: bool = False


def template(slo_set: SloSet, run: Run, checksum: str) -> yaml.YamlMapping:
    """The template of a pod, but for how it is restarted."""
    settings = slo_set.kubernetes
    labels = dict((NO_SIDECAR, *settings.pod_labels)) | labels_of(slo_set, run)
    spec: yaml.YamlMapping = {
        "serviceAccountName": settings.service_account or naming.kubernetes_object(slo_set.name),
        "automountServiceAccountToken": False,
        # Variables made of Services could be taken for settings: sloctl-prometheus gives SLOCTL_PROMETHEUS_PORT.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        spec["tolerations"] = [_toleration(item) for item in settings.tolerations]
    if _shares_a_volume(slo_set) and not run.reads:
        spec["affinity"] = _on_one_node(slo_set)
    mounted = secrets.mounted(settings, posts=run.posts, pages=run.shows)
    spec["containers"] = [_container(slo_set, run, mounted)]
    spec["volumes"] = _volumes(slo_set, run, mounted)
    return {"metadata": {"labels": labels, "annotations": {files.CHECKSUM: checksum}}, "spec": spec}


def labels_of(slo_set: SloSet, run: Run) -> yaml.YamlMapping:
    """The labels of a pod that are sloctl's own."""
    own = dict(zip(naming.OBJECT_LABELS, ("sloctl", slo_set.name), strict=True))
    return own | selector(slo_set) | {naming.COMPONENT_LABEL: run.component}


def _container(slo_set: SloSet, run: Run, mounted: Sequence[secrets.Mounted]) -> yaml.YamlMapping:
    settings = slo_set.kubernetes
    node: yaml.YamlMapping = {
        "name": "sloctl",
        "image": settings.image or f"{project.IMAGE}:{__version__}",
        "args": list(run.arguments),
        "env": _environment(slo_set, run, mounted),
        "resources": _resources(slo_set),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if run.serves:
        node["ports"] = [
            {"name": name, "protocol": "TCP", "containerPort": number} for name, number in run.serves
        ]
        name, _ = run.serves[0]
        # Two minutes to start, to open the ledger for instance; then half a minute of silence is a hang.
        node["startupProbe"] = _probe(name, "/healthz", 2, 60)
        node["livenessProbe"] = _probe(name, "/healthz", 10, 3)
        node["readinessProbe"] = _probe(name, "/readyz", 10, 3)
    mounts: list[yaml.YamlValue] = [
        {"name": "slo-file", "mountPath": SLO_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": TMP},
    ]
    if mounted:
        mounts.append({"name": secrets.VOLUME, "mountPath": secrets.FOLDER, "readOnly": True})
    if not settings.ledger.secret and not run.reads:
        mounts.append({"name": "ledger", "mountPath": LEDGER_FOLDER})
    return node | {"volumeMounts": mounts}


def _probe(port: str, path: str, period: int, failures: int) -> yaml.YamlMapping:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(slo_set: SloSet, run: Run, mounted: Sequence[secrets.Mounted]) -> list[yaml.YamlValue]:
    """In the order of names; ``HOME`` is the only folder that can be written to."""
    settings = slo_set.kubernetes
    plain = {"HOME": TMP} | dict(slo_set.variables) | dict(settings.env)
    plain |= {item.variable: item.path for item in mounted}
    if not settings.ledger.secret:
        plain["SLOCTL_LEDGER_URL"] = "none" if run.reads else f"sqlite:///{LEDGER_FOLDER}/ledger.db"
    if settings.otlp.endpoint:
        plain["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.otlp.endpoint
    # Kubernetes replaces $(NAME) by another variable's value; $$ is the sign itself.
    found: dict[str, yaml.YamlMapping] = {
        name: {"name": name, "value": value.replace("$", "$$")} for name, value in plain.items()
    }
    found |= {str(item["name"]): item for item in secrets.variables(settings)}
    return [found[name] for name in sorted(found)]


def _resources(slo_set: SloSet) -> yaml.YamlMapping:
    asked = slo_set.kubernetes.resources
    limits = {"cpu": asked.cpu_limit, "memory": asked.memory_limit}
    return {
        "requests": {"cpu": asked.cpu, "memory": asked.memory},
        "limits": {name: value for name, value in limits.items() if value},
    }


def _volumes(slo_set: SloSet, run: Run, mounted: Sequence[secrets.Mounted]) -> list[yaml.YamlValue]:
    volumes: list[yaml.YamlValue] = [
        {"name": "slo-file", "configMap": {"name": files.name(slo_set)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "128Mi"}},
    ]
    if mounted:
        volumes.append(secrets.volume(list(mounted)))
    if not slo_set.kubernetes.ledger.secret and not run.reads:
        volumes.append({"name": "ledger", "persistentVolumeClaim": {"claimName": claim_name(slo_set)}})
    return volumes


def claim_name(slo_set: SloSet) -> str:
    """The claim of the ledger's volume."""
    return naming.kubernetes_object(slo_set.name, "ledger")


def _shares_a_volume(slo_set: SloSet) -> bool:
    """Whether pods that run at the same time need a volume that one node at a time can mount."""
    settings = slo_set.kubernetes
    own_volume = settings.ledger.secret is None and settings.ledger.access_mode == "ReadWriteOnce"
    return settings.mode == "cronjobs" and own_volume


def _on_one_node(slo_set: SloSet) -> yaml.YamlMapping:
    """Go where another pod of the set runs; the first one goes anywhere, for the rule holds for itself."""
    return {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": selector(slo_set)},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    }


def _toleration(item: Toleration) -> yaml.YamlMapping:
    node: yaml.YamlMapping = {"key": item.key, "operator": item.operator}
    if item.operator == "Equal":
        node["value"] = item.value
    return node | ({"effect": item.effect} if item.effect else {})
