"""The section ``metadata``: the name of the set, its labels, and what Kubernetes objects carry."""

from __future__ import annotations

from sloctl.model import Objects, SloSet
from sloctl.spec.fields import checks
from sloctl.spec.fields.shapes import Field, Object, Section
from sloctl.spec.sections.common import LABELS, NAMESPACE, SET_NAME, object_labels

OBJECTS = Section(
    "objects",
    model=Objects,
    doc="What the generated Kubernetes objects carry, for the selectors of the operator.",
    fields=(
        Field(
            "namespace",
            NAMESPACE,
            "Their namespace.",
            without="none: that of `kubectl`",
            examples=("monitoring",),
        ),
        Field(
            "labels",
            object_labels(checks.object_label),
            "Their labels, besides sloctl's own.",
            examples=({"release": "monitoring"},),
        ),
    ),
)
METADATA = Object(
    "metadata",
    model=SloSet,
    doc="Names the set of SLOs.",
    fields=(
        Field(
            "name", SET_NAME, "Name of the set; it prefixes rule groups, files and dashboards.", required=True
        ),
        Field("labels", LABELS, "Labels for every rule and alert.", examples=({"team": "platform"},)),
        Field("objects", OBJECTS, "Namespace and labels of the generated Kubernetes objects."),
    ),
)
