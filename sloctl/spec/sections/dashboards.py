"""The section ``dashboards``: where they go, as which objects, and what sidecars are reckoned at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sloctl.model.dashboards import KINDS, Costs, DashboardSettings
from sloctl.spec.fields import checks
from sloctl.spec.fields.containers import Items, Named
from sloctl.spec.fields.quantities import Exact
from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.scalars import Choice, Text
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.sections.common import OBJECT_LABEL, OBJECT_LABEL_HINT, OBJECT_LABEL_VALUE

_PRICE = Exact("a price from 0 to 1000000", Decimal(0), Decimal(1_000_000), inclusive=True)
COSTS = Object(
    "costs",
    (
        Field("core_hour", _PRICE, "Price of a CPU core for an hour.", default="0.031"),
        Field("gib_hour", _PRICE, "Price of a GiB of memory for an hour.", default="0.0042"),
        Field(
            "currency",
            Text("three capital letters", "[A-Z]{3}", "a code of ISO 4217, such as EUR", 3),
            "Currency of the prices; with another than the default, give both prices.",
            default="USD",
            examples=("EUR",),
        ),
    ),
    doc="What the resources of sidecars are reckoned at.",
)
DASHBOARDS = Object(
    "dashboards",
    (
        Field(
            "folder",
            Text(
                "the name of a folder",
                r"(?![ .])[^/]*[^/ ]",
                "without '/', a '.' at its start, and blanks at its ends",
                100,
                checks=(checks.folder,),
            ),
            "Grafana's folder for the dashboards; it is made if it does not exist.",
            default="SLOs",
            examples=("Service levels",),
        ),
        Field(
            "objects",
            Choice(("configmap", "grafana-operator")),
            "Which Kubernetes objects `--format operator` writes: ConfigMaps for the sidecar of Grafana's Helm "
            "chart, or GrafanaDashboards for the Grafana operator.",
            default="configmap",
        ),
        Field(
            "labels",
            Named(
                OBJECT_LABEL,
                "a label of Kubernetes",
                OBJECT_LABEL_VALUE,
                checks.object_label,
                key_hint=OBJECT_LABEL_HINT,
                minimum=1,
            ),
            "`configmap`: the label that the sidecar looks for.",
            default='{grafana_dashboard: "1"}',
            examples=({"grafana_dashboard": "1"},),
        ),
        Field(
            "instances",
            Named(
                OBJECT_LABEL,
                "a label of Kubernetes",
                OBJECT_LABEL_VALUE,
                key_hint=OBJECT_LABEL_HINT,
                minimum=1,
            ),
            "`grafana-operator`: labels of the Grafana objects that get the dashboards.",
            default="{dashboards: grafana}",
            examples=({"dashboards": "grafana"},),
        ),
        Field(
            "leave_out",
            Items(Choice(KINDS), minimum=0, maximum=len(KINDS)),
            "Dashboards that are not generated.",
            default="none",
            examples=(["debug"],),
        ),
        Field("costs", COSTS, "What the resources of sidecars are reckoned at."),
    ),
    doc="Grafana's dashboards: what `sloctl generate --only dashboards` writes.",
)


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
