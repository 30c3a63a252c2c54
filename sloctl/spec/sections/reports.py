"""The section ``reports``: where reports are posted."""

from __future__ import annotations

from collections.abc import Sequence

from sloctl.model import Slo, SloSet
from sloctl.spec.fields.shapes import Block, Field, Named, Object
from sloctl.spec.fields.values import Reader
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
        Field(
            "owners",
            Named(r"[^\x00-\x1f]{1,128}", "an owner", CHANNEL, maximum=1000, key_hint="one line of text"),
            "Channels that get, of each report that is posted, what an `owner` answers for.",
            fills="slack_owners",
            examples=({"team-payments": "#payments"},),
        ),
    ),
)


def warn_of_channels(block: Block | None, promised: Sequence[Slo], reader: Reader) -> None:
    """Channels of owners who answer for no SLO: nothing is ever posted there."""
    slack: Block | None = block.get("slack") if block is not None else None
    known = {slo.owner for slo in promised}
    for name, node, _ in slack.items("owners") if slack is not None else ():
        if name not in known:
            message = f"no SLO is owned by '{name}', so nothing is posted to this channel"
            path = f"{slack.child('owners')}.{name}" if slack is not None else ""
            hint = "is it spelled as in 'owner'?"
            reader.add(node, path, "unknown-owner", message, hint, severity="warning")


REPORTS = Object(
    "reports",
    model=SloSet,
    doc="Where reports are posted.",
    fields=(Field("slack", SLACK, "Where reports go in Slack."),),
)
