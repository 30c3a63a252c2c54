"""Delivers posts, step by step, so that each message is there once whatever happens between the steps.

What is done is saved after each step, and what is about to be sent is saved before. So after a lost answer or a
process that was killed it is known that a message may be there: it is looked for, by the mark in its metadata, before
it is sent again. At the end the channel is looked at once more, and what is there twice (something between here and
Slack may repeat requests) is removed. Where nobody can look (an incoming webhook, or a token that may not read the
channel) such a message is sent again at most twice, and says that it may be a repetition: of a report that is there
twice and one that nobody ever saw, the latter is worse.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from sloctl.model import SloSet
from sloctl.posting.protocol import (
    Delivered,
    DeliveryOutcome,
    DeliveryProgress,
    OutboxEntry,
    Post,
    Postponed,
    Refused,
)
from sloctl.posting.slack.api import Fault, Slack, Webhook
from sloctl.posting.slack.mrkdwn import small, words
from sloctl.posting.slack.steps import (
    BLIND,
    CHECKS,
    CLOCKS,
    FIRST_CHECK,
    GONE,
    IMAGE_ATTEMPTS,
    LONGEST_CHECK,
    PATIENCE,
    PAUSES,
    REPEAT,
    REPEATS,
    SETTLE,
    Delivery,
    compose,
    mark,
    outcome,
)
from sloctl.report.data import Report


class SlackNotifier:
    """A :class:`sloctl.posting.protocol.Notifier` for a bot's token (``slack``) or an incoming webhook.

    ``now`` gives Unix seconds, ``sleep`` waits for some.
    """

    def __init__(
        self,
        backend: Slack | Webhook,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._backend, self._now, self._sleep = backend, now, sleep

    def compose(self, report: Report, slo_set: SloSet, key: str) -> Post:
        """The post of a report, whole, with its chart."""
        return compose(report, slo_set, key)

    def deliver(self, entry: OutboxEntry, save: Callable[[DeliveryProgress], None]) -> DeliveryOutcome:
        """Take the steps that are still to be taken."""
        delivery = Delivery(entry, dict(entry.progress), json.loads(entry.post.payload), save)
        try:
            if isinstance(self._backend, Webhook):
                return self._by_webhook(self._backend, delivery)
            return self._by_bot(self._backend, delivery)
        except Fault as fault:
            return outcome(fault)

    def _by_webhook(self, hook: Webhook, delivery: Delivery) -> DeliveryOutcome:
        if delivery.done.get("ts"):
            return Delivered()
        message = dict(delivery.payload["single"])
        if refused := self._blindly(delivery, "single", message):
            return refused
        self._sending(delivery, "single")
        try:
            hook.post(message)
        except Fault as fault:
            self._failed(delivery, fault)
            raise
        delivery.save(ts="-", sending="")
        return Delivered()

    def _by_bot(self, slack: Slack, delivery: Delivery) -> DeliveryOutcome:
        self._image(slack, delivery)
        if refused := self._main(slack, delivery):
            return refused
        for number in range(len(delivery.done.get("replies") or ()), len(delivery.payload["thread"])):
            if refused := self._reply(slack, delivery, number):
                return refused
            if delivery.done.get("gone"):
                return Delivered(tuple(delivery.done["notes"]))
        return self._check(slack, delivery)

    # --- the chart

    def _image(self, slack: Slack, delivery: Delivery) -> None:
        """Upload the chart, once; without it the report still goes. A file that no message shows is nobody's."""
        done, data = delivery.done, delivery.entry.post.image
        if not data or done.get("file") or done.get("no_chart") or done.get("ts"):
            return
        try:
            url, file = slack.reserve("budgets.png", len(data), delivery.payload["alt_text"])
            slack.upload(url, data)
            slack.complete(file, "Error budgets")
        except Fault as fault:
            tries = int(done.get("image_tries") or 0) + 1
            if fault.kind != "refused" and tries < IMAGE_ATTEMPTS:
                delivery.save(image_tries=tries)
                raise
            self._without_chart(delivery, fault.reason)
        else:
            delivery.save(file=file)

    def _without_chart(self, delivery: Delivery, why: str) -> None:
        delivery.note(f"the chart was left out: {why}")
        delivery.save(no_chart=True)

    # --- messages

    def _main(self, slack: Slack, delivery: Delivery) -> DeliveryOutcome | None:
        done = delivery.done
        if done.get("ts"):
            return None
        message = dict(delivery.payload["main"])
        if done.get("file") and not done.get("no_chart"):
            block = {
                "type": "image",
                "slack_file": {"id": done["file"]},
                "alt_text": delivery.payload["alt_text"] or "Error budgets",
            }
            at = delivery.payload["image_at"]
            message["blocks"] = [*message["blocks"][:at], block, *message["blocks"][at:]]
        if done.get("sending") == "main" and (there := self._look(slack, delivery, "main", message)):
            return there if isinstance(there, Refused) else None
        self._sending(delivery, "main")
        try:
            channel, ts = self._post(slack, delivery, "main", message)
        except Fault as fault:
            self._failed(delivery, fault)
            if (
                fault.code in ("invalid_blocks", "invalid_arguments")
                and "file" in done
                and not done.get("no_chart")
            ):
                self._file_not_ready(delivery)
                return self._main(slack, delivery)
            raise
        delivery.save(channel=channel, ts=ts, sending="")
        return None

    def _file_not_ready(self, delivery: Delivery) -> None:
        """Slack refuses a message with a file that it has not looked at yet; a moment later it takes it."""
        tries = int(delivery.done.get("file_tries") or 0) + 1
        delivery.save(file_tries=tries)
        if tries > 3:
            self._without_chart(delivery, "Slack did not accept it in a message")
        else:
            self._sleep(2.0 * tries)

    def _reply(self, slack: Slack, delivery: Delivery, number: int) -> DeliveryOutcome | None:
        done, part = delivery.done, f"reply {number}"
        message = dict(delivery.payload["thread"][number])
        if done.get("sending") == part and (there := self._look(slack, delivery, part, message)):
            return there if isinstance(there, Refused) else None
        self._sending(delivery, part)
        try:
            _, ts = self._post(slack, delivery, part, message)
        except Fault as fault:
            self._failed(delivery, fault)
            if fault.code in GONE:
                delivery.note("somebody removed the message before its thread was complete")
                delivery.save(gone=True)
                return None
            raise
        delivery.save(replies=[*(done.get("replies") or ()), ts], sending="")
        return None

    def _post(
        self, slack: Slack, delivery: Delivery, part: str, message: Mapping[str, Any]
    ) -> tuple[str, str]:
        done = delivery.done
        channel = done.get("channel") or delivery.entry.post.channel
        marks = {"key": mark(delivery.entry.post.key), "part": part}
        thread = "" if part == "main" else done["ts"]
        for pause in range(PAUSES + 1):
            try:
                return slack.post(channel, message, marks, thread, again=int(done.get("again") or 0))
            except Fault as fault:
                if fault.kind != "unsent" or fault.after is None or fault.after > PATIENCE or pause == PAUSES:
                    raise
                self._sleep(fault.after)
                delivery.save()
        raise AssertionError("unreachable")

    def _sending(self, delivery: Delivery, part: str) -> None:
        """Say before a message is sent that it may be there from now on."""
        delivery.done.setdefault("since", self._now())
        if delivery.done.get("sending") == part:
            delivery.done["maybe"] = part
        delivery.save(sending=part)

    def _failed(self, delivery: Delivery, fault: Fault) -> None:
        if fault.kind == "unsure" or fault.code.startswith("duplicate_"):
            delivery.done["unsure"] = True
            delivery.done["again"] = int(delivery.done.get("again") or 0) + bool(fault.code)
            delivery.done["maybe"] = delivery.done.get("sending")
            delivery.save()
        elif delivery.done.get("maybe") != delivery.done.get("sending"):
            # What an attempt before this one may have done is not undone by a refusal.
            delivery.save(sending="")

    # --- is it there already?

    def _look(
        self, slack: Slack, delivery: Delivery, part: str, message: dict[str, Any]
    ) -> DeliveryOutcome | bool:
        """Look for a message that may have been sent; true (and saved) if it is there."""
        done = delivery.done
        done["unsure"] = True
        try:
            found = self._ours(slack, delivery, "" if part == "main" else done["ts"]).get(part)
        except Fault as fault:
            if fault.kind != "refused" or fault.code not in BLIND:
                raise
            delivery.note(f"the token may not look whether a message arrived ({fault.reason})")
            return self._blindly(delivery, part, message) or False
        if not found:
            return False
        if part == "main":
            delivery.save(ts=found[0]["ts"], sending="")
        else:
            delivery.save(replies=[*(done.get("replies") or ()), found[0]["ts"]], sending="")
        return True

    def _ours(self, slack: Slack, delivery: Delivery, thread: str) -> dict[str, list[dict[str, Any]]]:
        """This post's messages in the channel or a thread, by their part."""
        done = delivery.done
        if not done.get("channel"):
            name = delivery.entry.post.channel
            channel = slack.channel_id(name)
            if not channel:
                raise Fault("refused", f"no channel {name} that the token may see", code="missing_scope")
            done["channel"] = channel
        since = float(done.get("since") or delivery.entry.created) - CLOCKS
        found: dict[str, list[dict[str, Any]]] = {}
        for message in slack.found(done["channel"], mark(delivery.entry.post.key), since, thread):
            found.setdefault(str(message["metadata"]["event_payload"].get("part")), []).append(message)
        return found

    def _blindly(self, delivery: Delivery, part: str, message: dict[str, Any]) -> Refused | None:
        """For those who cannot look: mark a repetition as one; give up after some."""
        if delivery.done.get("sending") != part:
            return None
        repeats = int(delivery.done.get("repeats") or 0) + 1
        if repeats > REPEATS:
            delivery.save(repeats=0)  # if a person has it tried again
            reason = f"no attempt of {repeats} was answered: the report may be there {repeats} times, or not at all"
            return Refused(reason, "look into the channel; then 'sloctl outbox retry' or 'drop' it")
        delivery.done["repeats"] = repeats
        message["text"] = f"{REPEAT} {message['text']}"
        message["blocks"] = [*message["blocks"], small(words(REPEAT, 200))]
        return None

    # --- is it there once?

    def _check(self, slack: Slack, delivery: Delivery) -> DeliveryOutcome:
        """Remove what is there twice. After a lost answer, only when a late request can no longer arrive."""
        done = delivery.done
        if done.get("unsure"):
            delivery.save(unsure=False, late=True)
            return Postponed("waits until no late request can arrive", after=SETTLE, failed=False)
        try:
            self._once(slack, delivery)
        except Fault as fault:
            checks = int(done.get("checks") or 0) + 1
            if fault.kind != "refused" and checks < CHECKS:
                delivery.save(checks=checks)
                # The report is there: no attempt of it failed, and its days are not counted.
                wait = min(FIRST_CHECK * 2**checks, LONGEST_CHECK)
                return Postponed(fault.reason, after=max(wait, fault.after or 0), failed=False)
            blind = fault.code in BLIND
            delivery.note(f"whether it is there only once was not looked at ({fault.reason})")
            if blind:
                delivery.note("with the scope channels:history (groups:history) sloctl can look")
        return Delivered(tuple(done.get("notes") or ()))

    def _once(self, slack: Slack, delivery: Delivery) -> None:
        done = delivery.done
        kept = {done["ts"], *(done.get("replies") or ())}
        for thread in ("", done["ts"]):
            for part, found in self._ours(slack, delivery, thread).items():
                for message in found:
                    ts = str(message.get("ts"))
                    if ts in kept or (part == "main") != (not thread):
                        continue
                    if message.get("reply_count"):
                        delivery.note("a second copy was left, for somebody answered it")
                        continue
                    try:
                        slack.delete(done["channel"], ts)
                    except Fault as fault:
                        if fault.code not in GONE:
                            raise
                    delivery.note("a second copy of a message was removed")
