"""The section ``kubernetes``: how jobs run there, and which Secrets they read."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import get_args

from sloctl import project
from sloctl.model.kubernetes import (
    PARTS,
    SLACK_TOKEN,
    AccessMode,
    KubernetesSettings,
    LedgerStorage,
    Login,
    Mode,
    Operator,
    Otlp,
    Pages,
    PagesIngress,
    PagesRoute,
    Resources,
    Scraper,
    ServedBy,
    SlackLogin,
    Toleration,
)
from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Block, Field, Items, Named, Object, Section
from sloctl.spec.fields.values import Choice, Loose, Reader, Text, Whole
from sloctl.spec.sections.common import (
    DNS_LABEL,
    NAMESPACE,
    OBJECT_LABEL,
    OBJECT_LABEL_HINT,
    OBJECT_LABEL_VALUE,
    SECRET_KEY,
    URL,
    object_labels,
    once,
    secret_key,
)

CODE = "kubernetes-parameter"
_SUBDOMAIN = Text(
    "the name of a Kubernetes object", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "lower case letters, digits and '-'"
)
_HOST = Text("a host name", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "like slo.example.org")
_ANNOTATION = Text("the value of an annotation", r"[^\x00-\x1f\x7f]*", "one line of text", 1000)
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
    model=Login,
    doc="Where certificate authorities (PEM) are kept.",
    fields=(
        Field(
            "secret", SECRET_KEY, "Name and key of a Secret.", examples=("prometheus-tls/ca.crt",), fills="ca"
        ),
        Field(
            "config_map",
            Text(
                "the name and key of a ConfigMap such as trusted/ca.crt",
                rf"{DNS_LABEL}(?:\.{DNS_LABEL})*/(?!\.\.?$)[-._a-zA-Z0-9]{{1,253}}",
                max_length=507,
                make=secret_key,
            ),
            "Name and key of a ConfigMap.",
            examples=("trusted/ca.crt",),
            fills="ca_config_map",
        ),
    ),
    one_of=(("secret", "config_map"),),
)


def _login(name: str, doc: str) -> Section[Login]:
    prefix = f"SLOCTL_{name.upper()}_"
    return Section(
        f"{name}Login",
        model=Login,
        doc=doc,
        needs={"username": "password", "password": "username", "key": "cert"},
        fields=(
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
                without="the image's",
            ),
            Field("cert", SECRET_KEY, f"Client certificate (`{prefix}CERT_FILE`)."),
            Field("key", SECRET_KEY, f"Its key (`{prefix}KEY_FILE`); it may be in the certificate's file."),
        ),
        rules=[_token_or_username],
    )


def _token_or_username(block: Block, reader: Reader) -> None:
    if block.has("token") and block.has("username"):
        message = "'token' and 'username' exclude each other"
        hint = "keep one of the two; the password goes with 'username'"
        reader.add(block.node.keys["token"], block.child("token"), CODE, message, hint)


LEDGER = Section(
    "ledgerStore",
    model=LedgerStorage,
    doc="Where the ledger is kept: in a database, or on a volume.",
    fields=(
        Field(
            "secret",
            SECRET_KEY,
            "Name and key of the Secret with the database's URL (`SLOCTL_LEDGER_URL_FILE`).",
            examples=("sloctl-ledger/url",),
        ),
        Field("port", Whole(1, 65535), "The database's port, for the NetworkPolicy."),
        Field("storage", _BYTES, "Size of a volume of its own, with SQLite on it.", examples=("5Gi",)),
        Field("storage_class", _SUBDOMAIN, "The volume's storage class.", without="the cluster's default"),
        Field(
            "access_mode",
            Choice(get_args(AccessMode)),
            "Who may mount the volume. With ReadWriteOnce, pods of CronJobs that run at the same time share a node.",
        ),
    ),
    one_of=(("secret", "storage"),),
    needs={"port": "secret", "storage_class": "storage", "access_mode": "storage"},
)
PROMETHEUS_LOGIN = _login("prometheus", "How Prometheus is asked: name and key of Secrets.")
TRACES_LOGIN = _login("traces", "How the trace backend is asked: name and key of Secrets.")
ALERTMANAGER_LOGIN = _login("alertmanager", "How Alertmanager is asked: name and key of Secrets.")
SLACK_LOGIN = Section(
    "slackLogin",
    model=SlackLogin,
    doc="What posts in Slack; only pods of jobs that post get it.",
    fields=(
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
    one_of=(("token", "webhook"),),
)
OTLP = Section(
    "otlp",
    model=Otlp,
    doc="Where telemetry of the jobs themselves goes.",
    fields=(
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
)
RESOURCES = Section(
    "resources",
    model=Resources,
    doc="What a pod asks for, and may take.",
    fields=(
        Field("cpu", _CPU, "Requested CPU."),
        Field("memory", _BYTES, "Requested memory."),
        Field("cpu_limit", _CPU, "Limit of CPU.", without="none"),
        Field("memory_limit", _BYTES, "Limit of memory."),
    ),
)
SCRAPER = Section(
    "scraper",
    model=Scraper,
    doc="Pods that may read the scheduler's metrics.",
    fields=(
        Field("namespace", NAMESPACE, "Their namespace.", without="any"),
        Field(
            "labels",
            object_labels(minimum=1),
            "Labels that they have.",
            without="{app.kubernetes.io/name: prometheus}",
            examples=({"app.kubernetes.io/name": "vmagent"},),
        ),
    ),
)
TOLERATION = Section(
    "toleration",
    model=Toleration,
    doc="A taint that is tolerated.",
    fields=(
        Field(
            "key",
            Text("a taint's key", OBJECT_LABEL, OBJECT_LABEL_HINT, 317),
            "The taint's key.",
            required=True,
        ),
        Field(
            "operator", Choice(get_args(Operator)), "Whether its value must be `value`, or is of no account."
        ),
        Field("value", OBJECT_LABEL_VALUE, "The taint's value.", without="an empty one"),
        Field(
            "effect",
            Choice(("NoSchedule", "PreferNoSchedule", "NoExecute")),
            "The taint's effect.",
            without="all of them",
        ),
    ),
)


READER = Section(
    "reader",
    model=Scraper,
    doc="Pods that may reach the live pages: those of an ingress, for example.",
    fields=(
        Field("namespace", NAMESPACE, "Their namespace.", without="any"),
        Field(
            "labels",
            object_labels(minimum=1),
            "Labels that they have.",
            required=True,
            examples=({"app.kubernetes.io/name": "oauth2-proxy"},),
        ),
    ),
)
INGRESS = Section(
    "ingress",
    model=PagesIngress,
    doc="An Ingress of the live pages.",
    fields=(
        Field("class", _SUBDOMAIN, "Its class.", without="the cluster's default", fills="class_name"),
        Field(
            "tls_secret",
            _SUBDOMAIN,
            "The Secret with the certificate of all `hosts`.",
            without="the controller's own certificate, if it has one",
            examples=("slo-tls",),
        ),
        Field(
            "annotations",
            Named(OBJECT_LABEL, "an annotation of Kubernetes", _ANNOTATION, key_hint=OBJECT_LABEL_HINT),
            "What its controller is told, of certificates or logins for example.",
            without="none",
            examples=({"cert-manager.io/cluster-issuer": "letsencrypt"},),
        ),
    ),
)
ROUTE = Section(
    "route",
    model=PagesRoute,
    doc="An HTTPRoute of the live pages (Gateway API).",
    fields=(
        Field(
            "gateway", _SUBDOMAIN, "The Gateway that it is attached to.", required=True, examples=("public",)
        ),
        Field("namespace", NAMESPACE, "The Gateway's namespace.", without="that of the objects"),
        Field(
            "listener",
            _SUBDOMAIN,
            "Which of the Gateway's listeners: that with TLS.",
            without="all that take its host names",
            examples=("https",),
        ),
    ),
)
PAGES = Section(
    "pages",
    model=Pages,
    doc="Live pages (`sloctl serve`): a Deployment and a Service of their own, or the scheduler's.",
    fields=(
        Field(
            "token",
            SECRET_KEY,
            "Name and key of the Secret with the token that readers need (`SLOCTL_SERVE_TOKEN_FILE`).",
            examples=("sloctl-pages/token",),
        ),
        Field(
            "behind_proxy",
            Text(
                "the name of a header",
                r"[A-Za-z0-9][A-Za-z0-9-]{0,99}",
                "such as X-Forwarded-User",
                checks=(checks.proxy_header,),
            ),
            "The header in which a proxy that logs its users in says who reads; let `readers` be its pods.",
            without="nobody is believed",
            examples=("X-Forwarded-User",),
        ),
        Field(
            "hosts",
            Items(_HOST, maximum=16, unordered=True),
            "Names by which the pages are reached.",
            without="localhost and addresses only",
            examples=(["slo.example.org"],),
        ),
        Field(
            "readers",
            Items(READER, maximum=20),
            "The pods that the NetworkPolicy lets reach them.",
            without="none; `kubectl port-forward` does without",
            examples=([{"namespace": "ingress", "labels": {"app.kubernetes.io/name": "oauth2-proxy"}}],),
        ),
        Field(
            "served_by",
            Choice(get_args(ServedBy)),
            "A Deployment of their own, or the scheduler (with `mode: scheduler`), whose ledger they then read.",
        ),
        Field("ingress", INGRESS, "An Ingress that has `hosts` lead to them.", without="none"),
        Field("route", ROUTE, "An HTTPRoute that does, for the Gateway API.", without="none"),
    ),
)
KUBERNETES = Section(
    "kubernetes",
    model=KubernetesSettings,
    doc="How jobs run on Kubernetes: what `sloctl generate --only jobs` writes.",
    fields=(
        Field(
            "mode",
            Choice(get_args(Mode)),
            "A CronJob for each job, or one Deployment of `sloctl schedule` for all.",
        ),
        Field(
            "image",
            _IMAGE,
            "The image, with a tag or a digest.",
            without=f"`{project.IMAGE}:VERSION`, which a cluster has only if it was loaded there",
            examples=("registry.example.org/sloctl:1.0.0",),
        ),
        Field(
            "image_pull_secrets",
            Items(_SUBDOMAIN, maximum=10),
            "Secrets for the image's registry.",
            without="none",
            examples=(["registry"],),
        ),
        Field(
            "service_account",
            _SUBDOMAIN,
            "An existing service account.",
            without="one is generated, which may do nothing",
        ),
        Field(
            "ledger", LEDGER, "Where the ledger is kept.", without=f"`{{storage: {LedgerStorage().storage}}}`"
        ),
        Field("prometheus", PROMETHEUS_LOGIN, "How Prometheus is asked.", without="without credentials"),
        Field("traces", TRACES_LOGIN, "How the trace backend is asked.", without="without credentials"),
        Field(
            "alertmanager", ALERTMANAGER_LOGIN, "How Alertmanager is asked.", without="without credentials"
        ),
        Field(
            "slack",
            SLACK_LOGIN,
            "What posts in Slack.",
            without=f"`{{token: {SLACK_TOKEN.name}/{SLACK_TOKEN.key}}}`",
        ),
        Field("otlp", OTLP, "Where telemetry of the jobs goes.", without="nowhere"),
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
            object_labels(checks.pod_label),
            "Labels of the pods.",
            without='{sidecar.istio.io/inject: "false"}',
            examples=({"team": "platform"},),
        ),
        Field(
            "node_selector",
            object_labels(),
            "Labels of the nodes that pods may run on.",
            without="any node",
            examples=({"kubernetes.io/arch": "amd64"},),
        ),
        Field("tolerations", Items(TOLERATION, maximum=20), "Taints that are tolerated.", without="none"),
        Field(
            "egress_ports",
            Items(Whole(1, 65535), maximum=50, unordered=True),
            "Further TCP ports that the NetworkPolicy lets pods connect to.",
            without="none",
            examples=([9091],),
        ),
        Field(
            "scrapers",
            Items(SCRAPER, maximum=20),
            "The pods that the NetworkPolicy lets read the scheduler's metrics.",
            without="those with the label `app.kubernetes.io/name: prometheus` in any namespace",
            examples=([{"namespace": "monitoring"}],),
        ),
        Field(
            "leave_out",
            Items(Choice(PARTS), maximum=len(PARTS), unordered=True),
            "Objects that are not generated.",
            without="none",
            examples=(["network-policy"],),
        ),
        Field("pages", PAGES, "Live pages of all budgets.", without="none"),
    ),
)


@KUBERNETES.rule
def _each_once(block: Block, reader: Reader) -> None:
    for key in ("image_pull_secrets", "egress_ports", "leave_out"):
        once(block, key, CODE, reader)


@PAGES.rule
def _ways_have_names(block: Block, reader: Reader) -> None:
    for key in ("ingress", "route"):
        if block.has(key) and not block.has("hosts"):
            message, hint = (
                f"'{key}' needs the names that lead to the pages",
                "write 'hosts: [slo.example.org]'",
            )
            reader.add(block.at(key), block.child(key), CODE, message, hint)
    for node, host in block.items("hosts"):
        if re.fullmatch(r"[0-9.]+", host) and (block.has("ingress") or block.has("route")):
            message = "'hosts' has an address, which no Ingress and no HTTPRoute takes"
            hint = "pages answer to addresses anyway: leave it out"
            reader.add(node, block.child("hosts"), CODE, message, hint)


@KUBERNETES.rule
def _ways_are_let_in(block: Block, reader: Reader) -> None:
    pages = block.get("pages")
    if pages is None or "network-policy" in block.items("leave_out") or pages.has("readers"):
        return
    for key in ("ingress", "route"):
        if pages.has(key):
            message = "the NetworkPolicy lets nobody reach the pages, what is in front of them neither"
            hint = "write 'readers: [{namespace: …, labels: {…}}]' with the pods of the controller or Gateway"
            reader.add(pages.at(key), pages.child(key), CODE, message, hint)


@PAGES.rule
def _somebody_may_read(block: Block, reader: Reader) -> None:
    if not block.has("token") and not block.has("behind_proxy"):
        message = "whoever reaches these pages could read them"
        hint = "write 'token: sloctl-pages/token', the key of a Secret, or 'behind_proxy: X-Forwarded-User'"
        reader.add(block.node, block.path, CODE, message, hint)


@KUBERNETES.rule
def _a_scheduler_may_serve(block: Block, reader: Reader) -> None:
    pages = block.get("pages")
    if pages is not None and pages.get("served_by") == "scheduler" and block.get("mode") != "scheduler":
        message = "there is no scheduler that could serve the pages"
        hint = "write 'mode: scheduler', or leave out 'served_by'"
        reader.add(pages.at("served_by"), pages.child("served_by"), CODE, message, hint)


@LEDGER.rule
def _locks_need_a_disk(block: Block, reader: Reader) -> None:
    if block.get("access_mode") != "ReadWriteMany":
        return
    message = "a volume that several nodes mount is a network file system, where SQLite's locks may not hold"
    hint = "use ReadWriteOnce (pods are then put on one node), or a database: 'secret: name/key'"
    at = block.at("access_mode")
    reader.add(at, block.child("access_mode"), "shared-volume", message, hint, severity="warning")


@RESOURCES.rule
def _limits_are_not_below(block: Block, reader: Reader) -> None:
    basis = Resources()
    for key, usual, usual_limit in (
        ("cpu", basis.cpu, basis.cpu_limit),
        ("memory", basis.memory, basis.memory_limit),
    ):
        asked, limit = block.get(key) or usual, block.get(f"{key}_limit") or usual_limit
        if limit and _amount(asked) > _amount(limit):
            which = key if block.has(key) else f"{key}_limit"
            message = f"'{key}' ({asked}) is above '{key}_limit' ({limit})"
            hint = f"raise '{key}_limit', or lower '{key}'"
            reader.add(block.at(which), block.child(which), CODE, message, hint)


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _amount(quantity: str) -> Decimal:
    """A Kubernetes quantity as a number: of cores, or of bytes."""
    for unit, size in _UNITS.items():
        if quantity.endswith(unit):
            return Decimal(quantity.removesuffix(unit)) * size
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)


@TOLERATION.rule
def _only_equal_has_a_value(block: Block, reader: Reader) -> None:
    if block.get("operator") == "Exists" and block.has("value"):
        message = "'value' goes with 'operator: Equal' only"
        reader.add(block.node.keys["value"], block.child("value"), CODE, message, "remove it")
