"""The tables of the section ``kubernetes``: how jobs run there, and which Secrets they read."""

from __future__ import annotations

from sloctl.kubernetes_settings import PARTS
from sloctl.spec import checks
from sloctl.spec.containers import Items, Named
from sloctl.spec.quantities import Whole
from sloctl.spec.scalars import Choice, Loose, Text
from sloctl.spec.shapes import Field, Object
from sloctl.spec.tables_alerts import SECRET_KEY
from sloctl.spec.tables_common import (
    DNS_LABEL,
    OBJECT_LABEL,
    OBJECT_LABEL_HINT,
    OBJECT_LABEL_VALUE,
    URL,
)

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
