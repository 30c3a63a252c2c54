"""The section ``reports``: where reports are posted."""

from __future__ import annotations

from sloctl.model import SloSet
from sloctl.spec.fields.shapes import Field, Object
from sloctl.spec.sections.common import CHANNEL

SLACK = Object(
    "slack",
    model=SloSet,
    doc="Slack.",
    fields=(
        Field(
            "channel",
            CHANNEL,
            "The channel. The webhook or token comes from the environment.",
            required=True,
            fills="slack_channel",
            examples=("#slo-reviews",),
        ),
    ),
)
REPORTS = Object(
    "reports",
    model=SloSet,
    doc="Where reports are posted.",
    fields=(Field("slack", SLACK, "Where reports go in Slack."),),
)
