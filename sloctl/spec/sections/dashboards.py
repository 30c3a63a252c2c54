"""The section ``dashboards``: where they go, as which objects, and what sidecars are reckoned at."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

from sloctl.model.dashboards import KINDS, Costs, DashboardObjects, DashboardSettings
from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Block, Field, Items, Section
from sloctl.spec.fields.values import Choice, Exact, Reader, Text
from sloctl.spec.sections.common import object_labels, once

_PRICE = Exact("a price from 0 to 1000000", Decimal(0), Decimal(1_000_000), inclusive=True)
COSTS = Section(
    "costs",
    model=Costs,
    doc="What the resources of sidecars are reckoned at.",
    fields=(
        Field("core_hour", _PRICE, "Price of a CPU core for an hour."),
        Field("gib_hour", _PRICE, "Price of a GiB of memory for an hour."),
        Field(
            "currency",
            Text("three capital letters", "[A-Z]{3}", "a code of ISO 4217, such as EUR", 3),
            "Currency of the prices; with another than the default, give both prices.",
            examples=("EUR",),
        ),
    ),
)
DASHBOARDS = Section(
    "dashboards",
    model=DashboardSettings,
    doc="Grafana's dashboards: what `sloctl generate --only dashboards` writes.",
    fields=(
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
            examples=("Service levels",),
        ),
        Field(
            "objects",
            Choice(get_args(DashboardObjects)),
            "Which Kubernetes objects `--format operator` writes: ConfigMaps for the sidecar of Grafana's Helm "
            "chart, or GrafanaDashboards for the Grafana operator.",
        ),
        Field(
            "labels",
            object_labels(checks.object_label, minimum=1),
            "`configmap`: the label that the sidecar looks for.",
            examples=({"grafana_dashboard": "1"},),
        ),
        Field(
            "instances",
            object_labels(minimum=1),
            "`grafana-operator`: labels of the Grafana objects that get the dashboards.",
            examples=({"dashboards": "grafana"},),
        ),
        Field(
            "leave_out",
            Items(Choice(KINDS), minimum=0, maximum=len(KINDS), unordered=True),
            "Dashboards that are not generated.",
            without="none",
            examples=(["debug"],),
        ),
        Field("costs", COSTS, "What the resources of sidecars are reckoned at."),
    ),
)


CODE = "dashboard-parameter"
_GOES_WITH = {"labels": "configmap", "instances": "grafana-operator"}


@DASHBOARDS.rule
def _labels_fit_the_objects(block: Block, reader: Reader) -> None:
    objects = block.get("objects") or DashboardSettings().objects
    for key, needed in _GOES_WITH.items():
        if block.has(key) and objects != needed and not block.broken("objects"):
            message = f"'{key}' goes with 'objects: {needed}' only, and the objects are {objects}"
            hint = f"remove it, or write 'objects: {needed}'"
            reader.add(block.node.keys[key], block.child(key), CODE, message, hint)


@DASHBOARDS.rule
def _left_out_once(block: Block, reader: Reader) -> None:
    once(block, "leave_out", CODE, reader)


@COSTS.rule
def _prices_are_in_the_currency(block: Block, reader: Reader) -> None:
    usual = Costs().currency
    currency = block.get("currency") or usual
    without = [key for key in ("core_hour", "gib_hour") if not block.has(key)]
    if currency != usual and without:
        missing = " and ".join(f"'{key}'" for key in without)
        message = f"the prices are in {currency}, but the default of {missing} is in {usual}"
        reader.add(block.at("currency"), block.child("currency"), CODE, message, f"add {missing}")
