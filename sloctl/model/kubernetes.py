"""How the jobs of an SLO file run on Kubernetes: plain immutable data, a part of the model.

Secrets are references only: a key of a Secret, never its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sloctl.model.alerting import SecretKey

Mode = Literal["cronjobs", "scheduler"]
AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]
Operator = Literal["Equal", "Exists"]
ServedBy = Literal["deployment", "scheduler"]

PARTS = ("network-policy", "service-monitor")
"""Objects that a file may leave out."""


@dataclass(frozen=True, slots=True)
class Login:
    """How a server is asked: keys of Secrets; ``ca_config_map`` is a key of a ConfigMap instead."""

    token: SecretKey | None = None
    username: SecretKey | None = None
    password: SecretKey | None = None
    headers: SecretKey | None = None
    ca: SecretKey | None = None
    ca_config_map: SecretKey | None = None
    cert: SecretKey | None = None
    key: SecretKey | None = None


@dataclass(frozen=True, slots=True)
class LedgerStorage:
    """Where the ledger is: in the database whose URL a Secret holds, or (without ``secret``) on a volume of its own.

    ``port`` is the database's, ``storage`` the volume's size as a Kubernetes quantity.
    """

    secret: SecretKey | None = None
    port: int = 5432
    storage: str = "5Gi"
    storage_class: str = ""
    access_mode: AccessMode = "ReadWriteOnce"


@dataclass(frozen=True, slots=True)
class SlackLogin:
    """A token, or the address of an incoming webhook."""

    token: SecretKey | None = None
    webhook: SecretKey | None = None


SLACK_TOKEN = SecretKey("sloctl-slack", "token")
"""What posts in Slack, unless the file says otherwise."""


@dataclass(frozen=True, slots=True)
class Otlp:
    """Where metrics and traces of the jobs themselves go; empty: nowhere."""

    endpoint: str = ""
    headers: SecretKey | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits as Kubernetes quantities; an empty one is not set."""

    cpu: str = "100m"
    memory: str = "256Mi"
    cpu_limit: str = ""
    memory_limit: str = "1Gi"


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint that pods may be put on a node with; an empty ``effect`` means every effect."""

    key: str
    operator: Operator = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Scraper:
    """The pods that may read the scheduler's metrics; an empty ``namespace`` means every namespace."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = (("app.kubernetes.io/name", "prometheus"),)


@dataclass(frozen=True, slots=True)
class PagesIngress:
    """An Ingress of live pages: its class, the Secret with the certificate, and what its controller is told."""

    class_name: str = ""
    tls_secret: str = ""
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PagesRoute:
    """An HTTPRoute of live pages: the Gateway that it is attached to, and which of its listeners."""

    gateway: str
    namespace: str = ""
    listener: str = ""


@dataclass(frozen=True, slots=True)
class Pages:
    """Live pages: the token that readers need, or the header in which a proxy says who reads.

    ``hosts`` are names by which they are reached; ``readers`` the pods that may reach them. They are ``served_by`` a
    Deployment of their own, or by the scheduler.

    ``ingress`` and ``route`` have the names of ``hosts`` lead to them.
    """

    token: SecretKey | None = None
    behind_proxy: str = ""
    hosts: tuple[str, ...] = ()
    readers: tuple[Scraper, ...] = ()
    served_by: ServedBy = "deployment"
    ingress: PagesIngress | None = None
    route: PagesRoute | None = None


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """How jobs run on Kubernetes. ``image`` is empty for that of this version of sloctl."""

    mode: Mode = "cronjobs"
    image: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    ledger: LedgerStorage = LedgerStorage()
    prometheus: Login = Login()
    traces: Login = Login()
    alertmanager: Login = Login()
    slack: SlackLogin = SlackLogin(token=SLACK_TOKEN)
    otlp: Otlp = Otlp()
    env: tuple[tuple[str, str], ...] = ()
    resources: Resources = Resources()
    pod_labels: tuple[tuple[str, str], ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    egress_ports: tuple[int, ...] = ()
    scrapers: tuple[Scraper, ...] = (Scraper(),)
    leave_out: tuple[str, ...] = ()
    pages: Pages | None = None
