"""The section ``maintenance``: time that counts in no budget."""

from __future__ import annotations

from sloctl.model.ledger import Maintenance
from sloctl.spec.fields.shapes import Block, Field, Items, Section
from sloctl.spec.fields.values import Duration, Moment, Reader
from sloctl.spec.sections.common import CRON, DAY, LINE, NAMESPACE, SERVICE_NAME, SLO_NAME, TIMEZONE

MAINTENANCE = Section(
    "maintenance",
    model=Maintenance,
    doc="Time that counts in no budget, by agreement.",
    fields=(
        Field("name", LINE, "What it is, for reports.", required=True, examples=("database upgrade",)),
        Field("start", Moment(), "When it begins, once.", examples=("2026-03-01T02:00:00Z",)),
        Field("end", Moment(), "When it ends.", examples=("2026-03-01T04:00:00Z",)),
        Field("cron", CRON, "When it begins, again and again.", examples=("0 3 * * 0",)),
        Field(
            "for",
            Duration(300, 7 * DAY, 300, "1h"),
            "How long it lasts each time.",
            without="–",
            fills="seconds",
        ),
        Field("timezone", TIMEZONE, "Time zone of `cron`.", examples=("Europe/Paris",)),
        Field("namespace", NAMESPACE, "Only services of this namespace."),
        Field("services", Items(SERVICE_NAME, unordered=True), "Only these services."),
        Field("slos", Items(SLO_NAME, unordered=True), "Only the SLOs of these names."),
    ),
    one_of=(("start", "cron"),),
    needs={"end": "start", "for": "cron", "timezone": "cron"},
)


@MAINTENANCE.rule
def _has_an_end(block: Block, reader: Reader) -> None:
    pairs = ("start", "end"), ("cron", "for")
    if all(block.has(first) == block.has(second) for first, second in pairs):
        start, end = block.get("start"), block.get("end")
        if start is not None and end is not None and end <= start:
            message = "'end' must be later than 'start'"
            reader.add(block.at("end"), block.child("end"), "maintenance-order", message)
        return
    first, second = pairs[not block.has("start")]
    if block.has(first):
        message = f"'{first}' goes with '{second}', which is missing"
        reader.add(block.node, block.path, "missing-key", message, f"add '{second}'")
