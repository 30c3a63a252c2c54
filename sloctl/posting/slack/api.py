"""What sloctl asks of Slack, through slack_sdk, and what Slack's answers mean.

slack_sdk retries nothing here: the outbox decides that. No text of an error holds the token or the webhook's address.
https://docs.slack.dev/reference/methods
"""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from sloctl.posting.slack.transport import Fault, UrlOpener, fail, retry_after
from sloctl.settings.servers import loopback
from sloctl.settings.slack import SlackSettings

EVENT = "sloctl_report"
"""The type of the metadata by which a report's messages are found again."""
UNSURE = frozenset({"internal_error", "fatal_error", "service_unavailable"})
"""Slack says of these that a part of the operation may have succeeded."""
LATER = frozenset(
    {
        *("ratelimited", "rate_limited", "request_timeout", "team_added_to_org", "org_login_required"),
        *("accesslimited", "rollup_error", "message_limit_exceeded"),
    }
)
"""Errors that pass, and had no effect."""
MAYBE = frozenset({408, 499})
"""Statuses below 500 with which something in between gives up waiting for the answer to what it has passed on."""
PAGE = 200
MOST_PAGES = 50
_LOG = logging.getLogger("sloctl.slack.sdk")
_LOG.setLevel(logging.CRITICAL + 1)  # it would log every fault, with what was sent
_LOG.propagate = False


class _Client(WebClient):
    """slack_sdk's client, whose requests travel by ours.

    slack_sdk has no public way to say how a request travels. The two methods that open one, here and in :class:`_Hook`,
    are all that sloctl has to do with the private parts of any library; tests of deadlines and redirects fail with a
    version of slack_sdk that goes around them.
    """

    transport: UrlOpener

    def _perform_urllib_http_request_internal(self, url: str, req: urllib.request.Request) -> dict[str, Any]:
        status, headers, body = self.transport.open(req)
        return {"status": status, "headers": headers, "body": body.decode("utf-8", "replace")}


class _Hook(WebhookClient):
    """slack_sdk's client of incoming webhooks, whose requests travel by ours."""

    transport: UrlOpener

    def _perform_http_request_internal(self, url: str, req: urllib.request.Request) -> WebhookResponse:
        status, headers, body = self.transport.open(req)
        return WebhookResponse(
            url="", status_code=status, body=body.decode("utf-8", "replace"), headers=dict(headers)
        )


class Webhook:
    """An incoming webhook: one message, no thread, no file, and no way to ask what is there."""

    def __init__(self, settings: SlackSettings, *, now: Callable[[], float] = time.time) -> None:
        assert settings.webhook is not None
        self._secret, self._now = settings.webhook, now
        self._client = _Hook("", logger=_LOG, retry_handlers=[], user_agent_prefix="sloctl")
        self._client.transport = UrlOpener(settings.timeout)

    def post(self, message: Mapping[str, Any]) -> None:
        """Post a message. Raises :class:`Fault`."""
        self._client.url = self._secret.reveal()
        body = {**message, "unfurl_links": False, "unfurl_media": False}
        answer = self._client.send_dict(body)
        text = (answer.body or "").strip()
        if answer.status_code == 200 and text == "ok":
            return
        if answer.status_code == 429:
            fail("unsent", "Slack limits the rate", after=retry_after(answer.headers, self._now()))
        if answer.status_code >= 500 or answer.status_code in MAYBE:
            fail("unsure", f"Slack answered HTTP {answer.status_code}")
        if answer.status_code == 200:
            fail("unsure", "the answer is not Slack's")
        if re.fullmatch(r"[a-z_]{3,60}", text) and text not in LATER:
            fail("refused", f"Slack refused: {text}", code=text)
        fail("unsent", f"HTTP {answer.status_code}, not an answer of Slack's webhooks")


class Slack:
    """Slack's Web API with a bot's token. Every method raises :class:`Fault`."""

    def __init__(self, settings: SlackSettings, *, now: Callable[[], float] = time.time) -> None:
        assert settings.token is not None
        self._token, self._now, self._api = settings.token, now, settings.api_url
        self._client = _Client(
            base_url=settings.api_url, logger=_LOG, retry_handlers=[], user_agent_prefix="sloctl"
        )
        self._client.transport = UrlOpener(settings.timeout)

    def post(
        self,
        channel: str,
        message: Mapping[str, Any],
        mark: Mapping[str, str],
        thread: str = "",
        *,
        again: int = 0,
    ) -> tuple[str, str]:
        """Post a message, in a thread if one is named; the channel's ID and the message's time stamp.

        ``mark`` goes with it as metadata. Slack may also recognise a repetition by ``client_msg_id``, which it has
        never promised; ``again`` makes another one.
        """
        name = "\0".join((*(mark[key] for key in sorted(mark)), str(again)))
        answer = self._call(
            "chat.postMessage",
            json={
                **message,
                "channel": channel,
                "metadata": {"event_type": EVENT, "event_payload": dict(mark)},
                "client_msg_id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
                "link_names": False,
                "parse": "none",
                "unfurl_links": False,
                "unfurl_media": False,
                **({"thread_ts": thread} if thread else {}),
            },
        )
        place, ts = answer.get("channel"), answer.get("ts")
        if not isinstance(place, str) or not isinstance(ts, str) or not ts:
            fail("unsure", "Slack's answer lacks the message's time stamp")
        return place, ts

    def found(self, channel: str, key: str, since: float, thread: str = "") -> list[dict[str, Any]]:
        """The messages of this token's app with our mark and ``key``, oldest first; ``channel`` is an ID.

        A channel is read from its newest message back to ``since``, :data:`PAGE` messages at least and
        :data:`MOST_PAGES` at most: that time is of a clock that may be wrong.
        """
        method = "conversations.replies" if thread else "conversations.history"
        params: dict[str, Any] = {
            "channel": channel,
            "include_all_metadata": True,
            "inclusive": True,
            "limit": PAGE,
            **({"ts": thread} if thread else {}),
        }
        found, seen = [], 0
        for number, answer in enumerate(self._pages(method, params), 1):
            messages = answer.get("messages") or ()
            for message in messages:
                data = message.get("metadata") or {}
                if data.get("event_type") == EVENT and (data.get("event_payload") or {}).get("key") == key:
                    found.append(message)
            oldest = min((float(message.get("ts") or 0) for message in messages), default=0.0)
            seen += len(messages)
            if not thread and ((oldest < since and seen >= PAGE) or number >= MOST_PAGES):
                break
        return sorted(found, key=lambda message: float(message.get("ts") or 0))

    def channel_id(self, name: str) -> str:
        """The ID of a channel that is given by its name, or is one already; "" if there is none of this name."""
        plain = name.lstrip("#")
        if re.fullmatch(r"[CGD][A-Z0-9]{6,}", plain):
            return plain
        params = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": PAGE}
        for answer in self._pages("conversations.list", params):
            for channel in answer.get("channels") or ():
                if channel.get("name") == plain:
                    return str(channel.get("id") or "")
        return ""

    def delete(self, channel: str, ts: str) -> None:
        """Remove a message of this app."""
        self._call("chat.delete", json={"channel": channel, "ts": ts})

    def reserve(self, name: str, size: int, alt: str) -> tuple[str, str]:
        """An address to upload a file to, and the file's ID."""
        answer = self._call(
            "files.getUploadURLExternal", params={"filename": name, "length": size, "alt_txt": alt}
        )
        url, file = str(answer.get("upload_url") or ""), str(answer.get("file_id") or "")
        parts = urlsplit(url)
        if not file or parts.scheme not in ("https", "http"):
            fail("unsent", "Slack gave no address to upload to")
        local = loopback(urlsplit(self._api).hostname or "") and loopback(parts.hostname or "")
        if parts.scheme != "https" and not local:
            fail("refused", "Slack gave an address to upload to that is not https")
        return url, file

    def upload(self, url: str, data: bytes) -> None:
        """Send a file's content. The address is a secret of its own: no error shows it."""
        request = urllib.request.Request(url, data, {"Content-Type": "image/png"}, method="POST")  # noqa: S310
        try:
            self._client.transport.open(request)
        except HTTPError as error:
            status = error.code
            error.close()
            fail("unsent", f"the upload got HTTP {status}", after=retry_after(error.headers, self._now()))

    def complete(self, file: str, title: str) -> None:
        """Say that the content is there. The file is nobody's until a message shows it."""
        self._call(
            "files.completeUploadExternal", params={"files": json.dumps([{"id": file, "title": title}])}
        )

    def _pages(self, method: str, params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        cursor, seen = "", set()
        while True:
            answer = self._call(method, params={**params, **({"cursor": cursor} if cursor else {})})
            yield answer
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor or cursor in seen:
                return
            seen.add(cursor)

    def _call(self, method: str, **content: Any) -> Mapping[str, Any]:
        self._client.token = self._token.reveal()
        try:
            answer = self._client.api_call(method, **content)
        except SlackApiError as error:
            self._judge(method, error)
        except (ValueError, LookupError, AttributeError, TypeError):
            # What slack_sdk makes of an answer that is not an object, or not text.
            fail("unsure", "the answer is not Slack's")
        data = answer.data
        return data if isinstance(data, dict) else {}

    def _judge(self, method: str, error: SlackApiError) -> NoReturn:
        """What an answer means that is no success."""
        response: Any = error.response
        status, headers, data = response.status_code, response.headers, response.data
        code = str(data.get("error") or "") if isinstance(data, dict) else ""
        known = bool(re.fullmatch(r"[a-z0-9_]{3,80}", code))
        if status == 429 or code in ("ratelimited", "rate_limited"):
            fail("unsent", f"{method}: Slack limits the rate", after=retry_after(headers, self._now()))
        if status >= 500 or status in MAYBE or (known and code in UNSURE):
            said = code if known and code in UNSURE else f"HTTP {status}"
            fail("unsure", f"{method}: Slack answered {said}", after=retry_after(headers, self._now()))
        if code.startswith("duplicate_"):  # of client_msg_id: one was there, and is not any more
            fail("unsure", f"{method}: {code}", code=code)
        if not known:
            if status == 200:
                fail("unsure", f"{method}: the answer is not Slack's")
            fail("unsent", f"{method}: HTTP {status}, not an answer of Slack's API")
        if code in LATER:
            fail("unsent", f"{method}: {code}")
        needed = str(data.get("needed") or "")
        missing = f" (it needs {needed})" if re.fullmatch(r"[a-z:,._]{1,100}", needed) else ""
        fail("refused", f"{method}: {code}{missing}", code=code)


__all__ = ["EVENT", "Fault", "Slack", "Webhook"]
