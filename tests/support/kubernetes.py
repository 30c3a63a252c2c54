"""What a Kubernetes API server says about objects: by Kubernetes' own schemas, and by rules that these do not hold.

Written apart from what generates the objects. ``problems`` is everything that would make ``kubectl apply`` fail or
leave a pod that never starts; ``unrestricted`` is what the Pod Security Standard "restricted" forbids.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import jsonschema
import kubernetes_validate

SUPPORTED = ("1.27", "1.29", "1.31", "1.33", "1.35")
VERSIONS = SUPPORTED if os.environ.get("SLOCTL_KUBERNETES") == "all" else (SUPPORTED[0], SUPPORTED[-1])
"""The oldest and the newest; those between them, too, in ``make kubernetes``."""
Objekt = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_CHOICES = {
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "fsGroupChangePolicy": {"Always", "OnRootMismatch"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "action": {"FailJob", "Ignore", "Count", "FailIndex"},
}


def strict(schema: Any) -> Any:
    """A schema that knows no other keys than its own, wherever it lists some."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _definition(name: str) -> Any:
    schema = strict(json.loads(Path(__file__).with_name(name).read_text()))
    # An object's metadata is described elsewhere.
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return schema


DEFINITIONS = {
    "HTTPRoute": _definition("httproute.schema.json"),
    "ServiceMonitor": _definition("servicemonitor.schema.json"),
    "VMRule": _definition("vmrule.schema.json"),
}
"""The schemas of custom resources, by kind."""


def schema_problems(item: Objekt, version: str) -> list[str]:
    """What the schema of a version of Kubernetes says; of a custom resource, that of its definition."""
    if item["kind"] in DEFINITIONS:
        validator = jsonschema.Draft202012Validator(DEFINITIONS[item["kind"]])
        return [error.message for error in validator.iter_errors(item)]
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return []


def pod_of(item: Objekt) -> Objekt | None:
    """The pod's template in an object that has one."""
    if item["kind"] == "CronJob":
        return item["spec"]["jobTemplate"]["spec"]["template"]  # type: ignore[no-any-return]
    return item["spec"]["template"] if item["kind"] == "Deployment" else None


def problems(items: Iterable[Objekt]) -> list[str]:
    """What is wrong with objects that are applied together."""
    found = list(items)
    seen = set()
    names: dict[str, set[str]] = {}
    said = []
    for item in found:
        name = item["metadata"]["name"]
        names.setdefault(item["kind"], set()).add(name)
        if (item["kind"], name) in seen:
            said.append(f"{item['kind']} {name} twice")
        seen.add((item["kind"], name))
    for item in found:
        said += [f"{item['kind']} {item['metadata']['name']}: {text}" for text in _problems(item, names)]
    return said


def _problems(item: Objekt, names: dict[str, set[str]]) -> Iterator[str]:
    yield from _metadata(item["metadata"])
    limit = {"CronJob": 52, "Service": 63}.get(item["kind"], 253)
    name = item["metadata"]["name"]
    if len(name) > limit or not (_LABEL if item["kind"] == "Service" else _SUBDOMAIN).fullmatch(name):
        yield f"the name {name}"
    yield from _chosen(item)
    if item["kind"] == "ConfigMap":
        yield from _config_map(item)
    if (pod := pod_of(item)) is not None:
        yield from _metadata(pod["metadata"])
        yield from _pod(pod["spec"], names)
    if item["kind"] == "CronJob":
        yield from _cron_job(item["spec"])
    if item["kind"] == "Deployment":
        selected = item["spec"]["selector"]["matchLabels"].items()
        if not selected <= item["spec"]["template"]["metadata"]["labels"].items():
            yield "the selector does not select the pods"
        if item["spec"]["template"]["spec"].get("restartPolicy", "Always") != "Always":
            yield "a Deployment's pods are always restarted"


def _metadata(metadata: Objekt) -> Iterator[str]:
    for key, value in {**metadata.get("labels", {}), **metadata.get("annotations", {})}.items():
        prefix, slash, rest = key.rpartition("/")
        if not _QUALIFIED.fullmatch(rest) or len(rest) > 63 or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            yield f"the key {key}"
        if not isinstance(value, str):
            yield f"{key} is no text"
    for key, value in metadata.get("labels", {}).items():
        if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
            yield f"the label {key}={value}"


def _chosen(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _CHOICES and value not in _CHOICES[key]:
                yield f"{key}: {value}"
            yield from _chosen(value)
    elif isinstance(node, list):
        for value in node:
            yield from _chosen(value)


def _config_map(item: Objekt) -> Iterator[str]:
    if sum(len(value.encode()) for value in item["data"].values()) > 1024 * 1024:
        yield "more than 1 MiB"
    for key in item["data"]:
        if not _KEY.fullmatch(key) or len(key) > 253 or key.startswith(".."):
            yield f"the key {key}"


def _cron_job(spec: Objekt) -> Iterator[str]:
    if spec["timeZone"] not in available_timezones():
        yield f"the time zone {spec['timeZone']}"
    if not re.fullmatch(r"[-0-9*/,a-zA-Z]+( [-0-9*/,a-zA-Z]+){4}", spec["schedule"]):
        yield f"the schedule {spec['schedule']}"
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "a Job's pods are not always restarted"
    if "podFailurePolicy" in job and pod["restartPolicy"] != "Never":
        yield "a podFailurePolicy needs restartPolicy: Never"
    containers = {container["name"] for container in pod["containers"]}
    for rule in job.get("podFailurePolicy", {}).get("rules", ()):
        codes = rule.get("onExitCodes")
        if bool(codes) == bool(rule.get("onPodConditions")):
            yield "a rule is about exit codes or about conditions"
        if codes and (
            codes.get("containerName") not in containers or codes["values"] != sorted(set(codes["values"]))
        ):
            yield "a rule about exit codes"


def _pod(spec: Objekt, names: dict[str, set[str]]) -> Iterator[str]:
    volumes = [volume["name"] for volume in spec["volumes"]]
    if len(set(volumes)) < len(volumes):
        yield "a volume twice"
    for volume in spec["volumes"]:
        yield from _volume(volume, names)
    for container in spec["containers"]:
        yield from _container(container, volumes)


def _volume(volume: Objekt, names: dict[str, set[str]]) -> Iterator[str]:
    if len(volume) != 2:
        yield f"the volume {volume['name']} has not one source"
    if "configMap" in volume and volume["configMap"]["name"] not in names.get("ConfigMap", ()):
        yield f"no ConfigMap {volume['configMap']['name']}"
    claim = volume.get("persistentVolumeClaim", {}).get("claimName")
    if claim and claim not in names.get("PersistentVolumeClaim", ()):
        yield f"no claim {claim}"
    paths = [
        entry["path"]
        for source in volume.get("projected", {}).get("sources", ())
        for part in source.values()
        for entry in part["items"]
    ]
    if len(set(paths)) < len(paths) or any("/" in path or ".." in path for path in paths):
        yield f"paths {paths}"


def _container(container: Objekt, volumes: list[str]) -> Iterator[str]:
    mounts = [mount["name"] for mount in container["volumeMounts"]]
    places = [mount["mountPath"] for mount in container["volumeMounts"]]
    if sorted(mounts) != sorted(volumes):
        yield f"volumes {volumes}, mounts {mounts}"
    if len(set(places)) < len(places) or any(":" in place or not place.startswith("/") for place in places):
        yield f"mounts at {places}"
    variables = [variable["name"] for variable in container["env"]]
    if len(set(variables)) < len(variables):
        yield f"a variable twice: {variables}"
    ports = [port["name"] for port in container.get("ports", ())]
    probed = {
        probe["httpGet"]["port"]
        for key, probe in container.items()
        if key.endswith("Probe") and isinstance(probe["httpGet"]["port"], str)
    }
    if not probed <= set(ports) or any(len(port) > 15 for port in ports):
        yield f"ports {ports}, probed {probed}"


def unrestricted(spec: Objekt) -> list[str]:
    """What the Pod Security Standard "restricted" (v1.33) forbids of a pod."""
    pod = spec.get("securityContext", {})
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    allowed = {
        *("name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
        *("persistentVolumeClaim", "projected", "secret"),
    }
    found += [f"volume {key}" for volume in spec.get("volumes", ()) for key in volume if key not in allowed]
    if pod.get("runAsUser") == 0:
        found.append("runAsUser 0")
    for container in [
        *spec["containers"],
        *spec.get("initContainers", ()),
        *spec.get("ephemeralContainers", ()),
    ]:
        found += _unrestricted_container(container, pod)
    if {key for key in ("seLinuxOptions", "sysctls", "windowsOptions") if pod.get(key)}:
        found.append("options of the host")
    return found


def _unrestricted_container(container: Objekt, pod: Objekt) -> Iterator[str]:
    """Of a container, with the security context of its pod."""
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if own.get("runAsUser") == 0:
        yield "runAsUser 0"
    profile = own.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPort"
