"""From documents to the model: how dashboards are delivered."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sloctl.dashboard_settings import Costs, DashboardSettings
from sloctl.spec.reader import Reader
from sloctl.spec.shapes import Block

_GOES_WITH = {"labels": "configmap", "instances": "grafana-operator"}


def dashboards(block: Block | None, reader: Reader) -> DashboardSettings:
    """The settings; what the section does not say, or without it all, is as by default."""
    basis = DashboardSettings()
    if block is None:
        return basis
    objects = block.get("objects") or basis.objects
    for key, needed in _GOES_WITH.items():
        if block.has(key) and objects != needed and not block.broken("objects"):
            message = f"'{key}' goes with 'objects: {needed}' only, and the objects are {objects}"
            hint = f"remove it, or write 'objects: {needed}'"
            reader.add(block.node.keys[key], block.child(key), "dashboard-parameter", message, hint)
    left_out: list[str] = []
    for index, (node, kind) in enumerate(block.get("leave_out") or ()):
        if kind in left_out:
            path = f"{block.child('leave_out')}[{index}]"
            reader.add(node, path, "dashboard-parameter", f"'{kind}' is given twice", "remove it")
        left_out.append(kind)
    return DashboardSettings(
        folder=block.get("folder") or basis.folder,
        objects=objects,
        labels=_labels(block.get("labels")) or basis.labels,
        instances=_labels(block.get("instances")) or basis.instances,
        leave_out=tuple(sorted(left_out)),
        costs=_costs(block.get("costs"), reader),
    )


def _labels(entries: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, _, value in entries or ()))


def _costs(block: Block | None, reader: Reader) -> Costs:
    basis = Costs()
    if block is None:
        return basis
    currency = block.get("currency") or basis.currency
    without = [key for key in ("core_hour", "gib_hour") if not block.has(key)]
    if currency != basis.currency and without:
        missing = " and ".join(f"'{key}'" for key in without)
        message = f"the prices are in {currency}, but the default of {missing} is in {basis.currency}"
        reader.add(
            block.at("currency"), block.child("currency"), "dashboard-parameter", message, f"add {missing}"
        )
    core: Decimal | None = block.get("core_hour")
    gib: Decimal | None = block.get("gib_hour")
    return Costs(
        core_hour=basis.core_hour if core is None else core,
        gib_hour=basis.gib_hour if gib is None else gib,
        currency=currency,
    )
