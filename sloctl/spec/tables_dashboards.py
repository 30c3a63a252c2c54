"""The tables of dashboards: where they go, as which objects, and what sidecars are reckoned at."""

from __future__ import annotations

from decimal import Decimal

from sloctl.dashboard_settings import KINDS
from sloctl.spec import checks
from sloctl.spec.containers import Items, Named
from sloctl.spec.quantities import Exact
from sloctl.spec.scalars import Choice, Text
from sloctl.spec.shapes import Field, Object
from sloctl.spec.tables_common import OBJECT_LABEL, OBJECT_LABEL_HINT, OBJECT_LABEL_VALUE

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
