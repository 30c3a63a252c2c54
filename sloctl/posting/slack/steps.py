"""What a post for Slack is, what is saved of its delivery, and what faults mean for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sloctl.model import SloSet
from sloctl.posting.protocol import DeliveryOutcome, DeliveryProgress, OutboxEntry, Post, Postponed, Refused
from sloctl.posting.slack.message import messages
from sloctl.posting.slack.transport import Fault
from sloctl.report.data import Report

KIND = "slack"
REPEATS = 2
"""How often a message that may be there is sent again by those who cannot look."""
CLOCKS = 3600
"""Seconds by which this machine's clock and Slack's may differ, when messages are looked for."""
PATIENCE = 10.0
"""Seconds that Slack may ask to wait and that are waited at once, ``PAUSES`` times; longer waits are the outbox's."""
PAUSES = 6
GONE = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message"})
SETTLE = 600
"""Seconds after which a request whose answer was lost is believed to have arrived or not."""
IMAGE_ATTEMPTS = 4
"""Failed attempts after which a report goes without its chart."""
CHECKS = 72
"""How often it is tried to look whether a report is there once: for about three days."""
FIRST_CHECK, LONGEST_CHECK = 60, 3600
"""Seconds from one such attempt to the next, doubled each time."""
BLIND = frozenset(
    {"missing_scope", "not_allowed_token_type", "no_permission", "method_not_supported_for_channel_type"}
)
"""What Slack says to a token that may not look."""
REPEAT = "This may be a repetition: whether an earlier attempt arrived is not known."
HINTS = {
    "invalid_auth": "the token is not valid: is it that of the installed app?",
    "not_authed": "the token is empty",
    "account_inactive": "the token's app or user was removed: install the app again",
    "token_revoked": "the token was revoked: install the app again",
    "token_expired": "the token has expired: put the new one into the file",
    "channel_not_found": "is the channel's name right? The app must be a member of a private one",
    "not_in_channel": "invite the app into the channel: /invite @app",
    "is_archived": "the channel is archived; name another one",
    "missing_scope": "add the scope to the app, and install it again",
    "no_service": "the webhook was removed: make a new one",
    "invalid_blocks": "this is a bug of sloctl: please report it with the output of --format slack",
}


def compose(report: Report, slo_set: SloSet, key: str, *, chart: bool = True) -> Post:
    """The post of a report, whole, with its chart."""
    image, alt = b"", ""
    if chart:
        from sloctl.posting.slack import chart as charts

        if image := charts.png(report):
            alt = charts.alt_text(report)
    made = messages(report, slo_set, alt)
    payload = json.dumps(made.as_json(), sort_keys=True)
    return Post(slo_set.name, key, KIND, slo_set.slack_channel, payload, image)


def mark(key: str) -> str:
    """What stands for a post's key in metadata."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@dataclass(slots=True)
class Delivery:
    """One entry on its way: what was saved of it, and how to save more."""

    entry: OutboxEntry
    done: DeliveryProgress
    payload: Mapping[str, Any]
    keep: Callable[[DeliveryProgress], None]

    def save(self, **changes: Any) -> None:
        """Keep what is done, with these changes. Raises LeaseLost."""
        self.done.update(changes)
        self.keep(self.done)

    def note(self, text: str) -> None:
        """Something that a person should know, said once."""
        if text not in self.done.setdefault("notes", []):
            self.done["notes"].append(text)


def outcome(fault: Fault) -> DeliveryOutcome:
    """What becomes of a post after a fault."""
    if fault.kind == "refused":
        return Refused(fault.reason, HINTS.get(fault.code, ""))
    return Postponed(fault.reason, after=fault.after)
