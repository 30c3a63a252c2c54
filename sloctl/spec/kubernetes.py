"""From documents to the model: how jobs run on Kubernetes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sloctl.kubernetes_settings import (
    SLACK,
    KubernetesSettings,
    LedgerStore,
    Login,
    Otlp,
    Resources,
    SlackLogin,
    Toleration,
)
from sloctl.notifications import SecretKey
from sloctl.spec.reader import Reader
from sloctl.spec.shapes import Block

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
        prometheus=_login(block.get("prometheus"), reader),
        traces=_login(block.get("traces"), reader),
        alertmanager=_login(block.get("alertmanager"), reader),
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


def _ledger(block: Block | None, reader: Reader) -> LedgerStore:
    basis = LedgerStore()
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
    return LedgerStore(
        secret=_key(block, "secret"),
        port=block.get("port") or basis.port,
        storage=block.get("storage") or basis.storage,
        storage_class=block.get("storage_class") or "",
        access_mode=access,
    )


def _login(block: Block | None, reader: Reader) -> Login:
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
