"""The session under the Prometheus client, which judges each answer.

It is given to ``PrometheusConnect`` in place of its own session, which has no time limit, repeats rejected
queries, puts a POST's query into the URL, and leaves a string of an error. This module must not know PromQL
nor what is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import requests

from sloctl.backends.http.answers import Reply
from sloctl.backends.http.session import HttpSession
from sloctl.backends.prometheus.answers import judge, notices
from sloctl.settings.backends import PrometheusSettings
from sloctl.telemetry.protocol import Attributes

MAX_BYTES = 512 * 2**20
"""The largest answer that is read, decompressed."""
_MAX_NOTICES = 100
_EXCERPT = 200
"""Characters of a query that telemetry has."""


class JudgedAnswer(requests.Response):
    """A judged answer: status 200, and a payload that has been checked."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self.payload = payload

    def json(self, **_options: Any) -> Any:
        """The payload, parsed once."""
        return self.payload


class Transport(HttpSession):
    """Sends requests to one Prometheus; safe to use from several threads.

    ``notices`` holds what answers said beside their data, each once. Options are those of the base class.
    """

    def __init__(self, settings: PrometheusSettings, *, max_bytes: int = MAX_BYTES, **options: Any) -> None:
        super().__init__(settings, max_bytes=max_bytes, **options)
        self.notices: list[str] = []
        self._get_only = False

    def request(self, method: str | bytes, url: str | bytes, *_args: Any, **kwargs: Any) -> JudgedAnswer:
        """The judged answer to a request for ``url`` with ``params``, after retries where they may help.

        Of the other keyword arguments of ``requests`` none is heeded but ``retries``, which takes the place
        of the setting. Raises ``BackendError``.
        """
        path = str(url).removeprefix(self._settings.url)
        params, retries = kwargs.get("params") or {}, kwargs.get("retries")
        about = _about(params)
        if method == "POST" and not self._get_only:
            judge = self._judge(path, "POST")
            try:
                return JudgedAnswer(self.ask("POST", path, judge, form=params, retries=retries, about=about))
            except _OnlyGet:
                self._get_only = True  # Some proxies in front of Prometheus let nothing but GET pass.
        judge = self._judge(path, "GET")
        return JudgedAnswer(self.ask("GET", path, judge, params=params, retries=retries, about=about))

    def _judge(self, path: str, method: str) -> Callable[[Reply], dict[str, Any]]:
        def judged(reply: Reply) -> dict[str, Any]:
            if method == "POST" and reply.status in (405, 501):
                raise _OnlyGet
            payload = judge(path, reply)
            self._note(notices(payload, reply.secrets))
            return payload

        return judged

    def _note(self, said: list[str]) -> None:
        with self._lock:
            new = [text for text in dict.fromkeys(said) if text not in self.notices]
            self.notices += new[: _MAX_NOTICES - len(self.notices)]


def _about(params: Mapping[str, Any]) -> Attributes:
    """What telemetry says of a query: enough to know it again."""
    query = params.get("query")
    if not isinstance(query, str):
        return {}
    digest = hashlib.sha256(query.encode()).hexdigest()[:16]
    return {"db.query.text": query[:_EXCERPT], "sloctl.query.digest": digest}


class _OnlyGet(Exception):
    """The server refuses POST."""
