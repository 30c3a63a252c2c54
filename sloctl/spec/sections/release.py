"""The section ``release``: when a service may be released."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

from sloctl.model.release import CanaryPolicy, Pages, ReleasePolicy, Unknown
from sloctl.spec.fields.shapes import Block, Field, Section
from sloctl.spec.fields.values import Choice, Exact, Reader

_LEFT = Exact(
    "a percentage of the error budget from -1000 to 100, such as 25",
    above=Decimal(-1000),
    below=Decimal(100),
    decimals=3,
    inclusive=True,
)

CANARY = Section(
    "canary",
    model=CanaryPolicy,
    doc="What a version may do worse than the one that it is to replace (`sloctl canary`).",
    fields=(
        Field(
            "margin",
            Exact(
                "a percentage of the requests over 0 and below 50, such as 0.5",
                above=Decimal(0),
                below=Decimal(50),
            ),
            "How much more of its requests may fail, or be slow, in percent of them.",
            without="as much as the objective lets fail: 0.1 for one of 99.9",
            examples=(0.5,),
        ),
        Field(
            "confidence",
            Exact(
                "a percentage from 50 to below 100, such as 95",
                above=Decimal(49),
                below=Decimal(100),
                decimals=3,
            ),
            "How sure a verdict is, in percent, however often one looks.",
        ),
        Field(
            "budget",
            Exact(
                "a percentage over 0 and up to 100, such as 5",
                above=Decimal(0),
                below=Decimal(100),
                decimals=3,
                inclusive=True,
            ),
            "How much of an SLO's error budget it may cost before it is rolled back, in percent of the whole window's.",
        ),
    ),
)
RELEASE = Section(
    "release",
    model=ReleasePolicy,
    doc="The error budget policy: when a service may be released (`sloctl gate`).",
    fields=(
        Field(
            "freeze_below",
            _LEFT,
            "With less of its error budget left, in percent, nothing of a service is released. 0: when it is spent.",
            examples=(0, -20),
        ),
        Field(
            "fixes_below",
            _LEFT,
            "With less of it left, nothing but fixes (`sloctl gate --fix`).",
            examples=(25,),
        ),
        Field(
            "pages",
            Choice(get_args(Pages)),
            "Whether a release is allowed while a page fires for an SLO of the service. A fix always is.",
        ),
        Field(
            "unknown",
            Choice(get_args(Unknown)),
            "Whether it is where nobody can say: no data, too little recorded, numbers in doubt.",
        ),
        Field("canary", CANARY, "What a version may do worse than the one that it is to replace."),
    ),
)


@RELEASE.rule
def _in_order(block: Block, reader: Reader) -> None:
    freeze, fixes = (block.get(key) if block.has(key) else None for key in ("freeze_below", "fixes_below"))
    if freeze is not None and fixes is not None and fixes < freeze:
        message = "'fixes_below' is less than 'freeze_below': nothing is ever allowed for fixes alone"
        reader.add(block.at("fixes_below"), block.child("fixes_below"), "release-order", message, "swap them")
