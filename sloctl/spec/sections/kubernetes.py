"""The section ``kubernetes``: how jobs run there, and which Secrets they read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sloctl.model.alerting import SecretKey
from sloctl.model.kubernetes import (
    PARTS,
    SLACK,
    KubernetesSettings,
    LedgerStorage,
    Login,
    Otlp,
    Resources,
    SlackLogin,
    Toleration,
)
from sloctl.spec.fields import checks
from sloctl.spec.fields.containers import Items, Named
from sloctl.spec.fields.quantities import Whole
from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.scalars import Choice, Loose, Text
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.sections.alerts import SECRET_KEY
from sloctl.spec.sections.common import DNS_LABEL, OBJECT_LABEL, OBJECT_LABEL_HINT, OBJECT_LABEL_VALUE, URL

_SUBDOMAIN = Text(
    "the name of a Kubernetes object", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "lower case letters, digits and '-'"
)
_IMAGE = Text(
    "an image with a tag or a digest",
    r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(?:@sha256:[a-f0-9]{64})?|@sha256:[a-f0-9]{64})",
    "write it like registry.example.org/sloctl:1.0.0, or with @sha256:… and 64 digits",
    500,
)
_CPU = Loose(
    "a number of CPU cores",
    r"[1-9][0-9]{0,5}m|0\.(?=[0-9]*[1-9])[0-9]{1,3}|[1-9][0-9]{0,3}(?:\.[0-9]{1,3})?",
    "write it like 250m, 0.5 or 2",
    (("type", "number"), ("exclusiveMinimum", 0)),
)
_BYTES = Text(
    "an amount of bytes", r"[1-9][0-9]{0,9}(?:\.[0-9]{1,3})?(?:Ki|Mi|Gi|Ti|k|M|G|T)", "like 512Mi", 20
)

CERTIFICATES = Object(
    "authorities",
    (
        Field("secret", SECRET_KEY, "Name and key of a Secret.", examples=("prometheus-tls/ca.crt",)),
        Field(
            "config_map",
            Text(
                "the name and key of a ConfigMap such as trusted/ca.crt",
                rf"{DNS_LABEL}(?:\.{DNS_LABEL})*/(?!\.\.?$)[-._a-zA-Z0-9]{{1,253}}",
                max_length=507,
            ),
            "Name and key of a ConfigMap.",
            examples=("trusted/ca.crt",),
        ),
    ),
    doc="Where certificate authorities (PEM) are kept.",
    one_of=(("secret", "config_map"),),
)


def _login(name: str, doc: str) -> Object:
    prefix = f"SLOCTL_{name.upper()}_"
    return Object(
        f"{name}Login",
        (
            Field(
                "token", SECRET_KEY, f"The bearer token (`{prefix}TOKEN_FILE`).", examples=(f"{name}/token",)
            ),
            Field("username", SECRET_KEY, f"User name of basic authentication (`{prefix}USERNAME`)."),
            Field("password", SECRET_KEY, f"Its password (`{prefix}PASSWORD_FILE`)."),
            Field(
                "headers",
                SECRET_KEY,
                f"Further headers, `Name=value`, separated by commas (`{prefix}HEADERS`).",
                examples=(f"{name}/headers",),
            ),
            Field(
                "ca",
                CERTIFICATES,
                f"Certificate authorities to trust (`{prefix}CA_FILE`).",
                default="the image's",
            ),
            Field("cert", SECRET_KEY, f"Client certificate (`{prefix}CERT_FILE`)."),
            Field("key", SECRET_KEY, f"Its key (`{prefix}KEY_FILE`); it may be in the certificate's file."),
        ),
        doc=doc,
        needs={"username": "password", "password": "username", "key": "cert"},
    )


LEDGER = Object(
    "ledgerStore",
    (
        Field(
            "secret",
            SECRET_KEY,
            "Name and key of the Secret with the database's URL (`SLOCTL_LEDGER_URL_FILE`).",
            examples=("sloctl-ledger/url",),
        ),
        Field("port", Whole(1, 65535), "The database's port, for the NetworkPolicy.", default="5432"),
        Field("storage", _BYTES, "Size of a volume of its own, with SQLite on it.", examples=("5Gi",)),
        Field("storage_class", _SUBDOMAIN, "The volume's storage class.", default="the cluster's default"),
        Field(
            "access_mode",
            Choice(("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")),
            "Who may mount the volume. With ReadWriteOnce, pods of CronJobs that run at the same time share a node.",
            default="ReadWriteOnce",
        ),
    ),
    doc="Where the ledger is kept: in a database, or on a volume.",
    one_of=(("secret", "storage"),),
    needs={"port": "secret", "storage_class": "storage", "access_mode": "storage"},
)
PROMETHEUS_LOGIN = _login("prometheus", "How Prometheus is asked: name and key of Secrets.")
TRACES_LOGIN = _login("traces", "How the trace backend is asked: name and key of Secrets.")
ALERTMANAGER_LOGIN = _login("alertmanager", "How Alertmanager is asked: name and key of Secrets.")
SLACK_LOGIN = Object(
    "slackLogin",
    (
        Field(
            "token",
            SECRET_KEY,
            "Name and key of the Secret with a bot's token (`SLOCTL_SLACK_TOKEN_FILE`).",
            examples=("sloctl-slack/token",),
        ),
        Field(
            "webhook",
            SECRET_KEY,
            "Name and key of the Secret with an incoming webhook's address (`SLOCTL_SLACK_WEBHOOK_FILE`).",
        ),
    ),
    doc="What posts in Slack; only pods of jobs that post get it.",
    one_of=(("token", "webhook"),),
)
OTLP = Object(
    "otlp",
    (
        Field(
            "endpoint",
            URL,
            "Address of a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`).",
            required=True,
            examples=("http://otel-collector:4318",),
        ),
        Field(
            "headers", SECRET_KEY, "Name and key of the Secret with headers (`OTEL_EXPORTER_OTLP_HEADERS`)."
        ),
    ),
    doc="Where telemetry of the jobs themselves goes.",
)
RESOURCES = Object(
    "resources",
    (
        Field("cpu", _CPU, "Requested CPU.", default="100m"),
        Field("memory", _BYTES, "Requested memory.", default="256Mi"),
        Field("cpu_limit", _CPU, "Limit of CPU.", default="none"),
        Field("memory_limit", _BYTES, "Limit of memory.", default="1Gi"),
    ),
    doc="What a pod asks for, and may take.",
)
TOLERATION = Object(
    "toleration",
    (
        Field(
            "key",
            Text("a taint's key", OBJECT_LABEL, OBJECT_LABEL_HINT, 317),
            "The taint's key.",
            required=True,
        ),
        Field(
            "operator",
            Choice(("Equal", "Exists")),
            "Whether its value must be `value`, or is of no account.",
            default="Equal",
        ),
        Field("value", OBJECT_LABEL_VALUE, "The taint's value.", default="an empty one"),
        Field(
            "effect",
            Choice(("NoSchedule", "PreferNoSchedule", "NoExecute")),
            "The taint's effect.",
            default="all of them",
        ),
    ),
    doc="A taint that is tolerated.",
)


def _labels(*, reserved: bool) -> Named:
    return Named(
        OBJECT_LABEL,
        "a label of Kubernetes",
        OBJECT_LABEL_VALUE,
        checks.pod_label if reserved else None,
        key_hint=OBJECT_LABEL_HINT,
    )


KUBERNETES = Object(
    "kubernetes",
    (
        Field(
            "mode",
            Choice(("cronjobs", "scheduler")),
            "A CronJob for each job, or one Deployment of `sloctl schedule` for all.",
            default="cronjobs",
        ),
        Field(
            "image",
            _IMAGE,
            "The image, with a tag or a digest.",
            default="`ghcr.io/sloctl/sloctl` of the version that generates",
            examples=("registry.example.org/sloctl:1.0.0",),
        ),
        Field(
            "image_pull_secrets",
            Items(_SUBDOMAIN, maximum=10),
            "Secrets for the image's registry.",
            default="none",
            examples=(["registry"],),
        ),
        Field(
            "service_account",
            _SUBDOMAIN,
            "An existing service account.",
            default="one is generated, which may do nothing",
        ),
        Field("ledger", LEDGER, "Where the ledger is kept.", default="`{storage: 5Gi}`"),
        Field("prometheus", PROMETHEUS_LOGIN, "How Prometheus is asked.", default="without credentials"),
        Field("traces", TRACES_LOGIN, "How the trace backend is asked.", default="without credentials"),
        Field(
            "alertmanager", ALERTMANAGER_LOGIN, "How Alertmanager is asked.", default="without credentials"
        ),
        Field("slack", SLACK_LOGIN, "What posts in Slack.", default="`{token: sloctl-slack/token}`"),
        Field("otlp", OTLP, "Where telemetry of the jobs goes.", default="nowhere"),
        Field(
            "env",
            Named(
                "[A-Z_][A-Z0-9_]{0,127}",
                "the name of a variable",
                Text("text", max_length=1000, checks=(checks.variable,), secret=True),
                checks.variable_name,
                key_hint="capital letters, digits and '_'",
            ),
            "Further environment variables, no secrets.",
            examples=({"HTTPS_PROXY": "http://proxy:3128", "SLOCTL_PROMETHEUS_TIMEOUT": "60"},),
        ),
        Field("resources", RESOURCES, "What a pod asks for, and may take."),
        Field(
            "pod_labels",
            _labels(reserved=True),
            "Labels of the pods.",
            default='{sidecar.istio.io/inject: "false"}',
            examples=({"team": "platform"},),
        ),
        Field(
            "node_selector",
            _labels(reserved=False),
            "Labels of the nodes that pods may run on.",
            default="any node",
            examples=({"kubernetes.io/arch": "amd64"},),
        ),
        Field("tolerations", Items(TOLERATION, maximum=20), "Taints that are tolerated.", default="none"),
        Field(
            "egress_ports",
            Items(Whole(1, 65535), maximum=50),
            "Further TCP ports that the NetworkPolicy lets pods connect to.",
            default="none",
            examples=([9091],),
        ),
        Field(
            "leave_out",
            Items(Choice(PARTS), maximum=len(PARTS)),
            "Objects that are not generated.",
            default="none",
            examples=(["network-policy"],),
        ),
    ),
    doc="How jobs run on Kubernetes: what `sloctl generate --only jobs` writes.",
)


CODE = "kubernetes-parameter"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def kubernetes(block: Block | None, reader: Reader) -> KubernetesSettings:
    """The settings; what the section does not say, or without it all, is as by default."""
    basis = KubernetesSettings()
    if block is None:
        return basis
    for key in ("image_pull_secrets", "egress_ports", "leave_out"):
        _once(block, key, reader)
    otlp = block.get("otlp")
    return KubernetesSettings(
        mode=block.get("mode") or basis.mode,
        image=block.get("image") or "",
        image_pull_secrets=_items(block, "image_pull_secrets"),
        service_account=block.get("service_account") or "",
        ledger=_ledger(block.get("ledger"), reader),
        prometheus=_login_of(block.get("prometheus"), reader),
        traces=_login_of(block.get("traces"), reader),
        alertmanager=_login_of(block.get("alertmanager"), reader),
        slack=_slack(block.get("slack")),
        otlp=basis.otlp if otlp is None else Otlp(otlp.get("endpoint") or "", _key(otlp, "headers")),
        env=_pairs(block.get("env")),
        resources=_resources(block.get("resources"), reader),
        pod_labels=_pairs(block.get("pod_labels")),
        node_selector=_pairs(block.get("node_selector")),
        tolerations=tuple(_toleration(item, reader) for _, item in block.get("tolerations") or ()),
        egress_ports=tuple(sorted(_items(block, "egress_ports"))),
        leave_out=tuple(sorted(_items(block, "leave_out"))),
    )


def _once(block: Block, key: str, reader: Reader) -> None:
    seen: list[Any] = []
    for index, (node, value) in enumerate(block.get(key) or ()):
        if value in seen:
            reader.add(node, f"{block.child(key)}[{index}]", CODE, f"'{value}' is given twice", "remove it")
        seen.append(value)


def _items(block: Block, key: str) -> tuple[Any, ...]:
    return tuple(value for _, value in block.get(key) or ())


def _pairs(entries: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, _, value in entries or ()))


def _key(block: Block, key: str) -> SecretKey | None:
    text = block.get(key)
    if text is None:
        return None
    name, _, entry = text.partition("/")
    return SecretKey(name, entry)


def _ledger(block: Block | None, reader: Reader) -> LedgerStorage:
    basis = LedgerStorage()
    if block is None:
        return basis
    access: Any = block.get("access_mode") or basis.access_mode
    if access == "ReadWriteMany":
        message = (
            "a volume that several nodes mount is a network file system, where SQLite's locks may not hold"
        )
        hint = "use ReadWriteOnce (pods are then put on one node), or a database: 'secret: name/key'"
        at = block.at("access_mode")
        reader.add(at, block.child("access_mode"), "shared-volume", message, hint, severity="warning")
    return LedgerStorage(
        secret=_key(block, "secret"),
        port=block.get("port") or basis.port,
        storage=block.get("storage") or basis.storage,
        storage_class=block.get("storage_class") or "",
        access_mode=access,
    )


def _login_of(block: Block | None, reader: Reader) -> Login:
    if block is None:
        return Login()
    if block.has("token") and block.has("username"):
        message = "'token' and 'username' exclude each other"
        hint = "keep one of the two; the password goes with 'username'"
        reader.add(block.node.keys["token"], block.child("token"), CODE, message, hint)
    ca = block.get("ca")
    return Login(
        token=_key(block, "token"),
        username=_key(block, "username"),
        password=_key(block, "password"),
        headers=_key(block, "headers"),
        ca=None if ca is None else _key(ca, "secret"),
        ca_config_map=None if ca is None else _key(ca, "config_map"),
        cert=_key(block, "cert"),
        key=_key(block, "key"),
    )


def _slack(block: Block | None) -> SlackLogin:
    return SLACK if block is None else SlackLogin(_key(block, "token"), _key(block, "webhook"))


def _resources(block: Block | None, reader: Reader) -> Resources:
    basis = Resources()
    if block is None:
        return basis
    found = Resources(
        cpu=block.get("cpu") or basis.cpu,
        memory=block.get("memory") or basis.memory,
        cpu_limit=block.get("cpu_limit") or basis.cpu_limit,
        memory_limit=block.get("memory_limit") or basis.memory_limit,
    )
    for key, asked, limit in (
        ("cpu", found.cpu, found.cpu_limit),
        ("memory", found.memory, found.memory_limit),
    ):
        if limit and _amount(asked) > _amount(limit):
            which = key if block.has(key) else f"{key}_limit"
            message = f"'{key}' ({asked}) is above '{key}_limit' ({limit})"
            reader.add(
                block.at(which), block.child(which), CODE, message, f"raise '{key}_limit', or lower '{key}'"
            )
    return found


def _amount(quantity: str) -> Decimal:
    """A Kubernetes quantity as a number: of cores, or of bytes."""
    for unit, size in _UNITS.items():
        if quantity.endswith(unit):
            return Decimal(quantity.removesuffix(unit)) * size
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)


def _toleration(block: Block, reader: Reader) -> Toleration:
    operator: Any = block.get("operator") or "Equal"
    if operator == "Exists" and block.has("value"):
        message = "'value' goes with 'operator: Equal' only"
        reader.add(block.node.keys["value"], block.child("value"), CODE, message, "remove it")
    return Toleration(block.get("key") or "", operator, block.get("value") or "", block.get("effect") or "")
