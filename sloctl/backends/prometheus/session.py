"""The session that ``PrometheusConnect`` is given: where prometheus-api-client and sloctl's own HTTP layer meet.

The package builds each request of the query API and takes the answer apart; it sends by a ``requests.Session``, for
which its constructor has an argument. Its own session would not do: it has no time limit for a whole answer, repeats
queries that a server rejects, puts the query of a POST into the address, and leaves of an error nothing but a string.
Of a successful answer the package passes on the result alone, so what else a server says (warnings, that an answer is
partial, that a result is a scalar) is heeded here.

This module must not know PromQL nor what is asked.
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
    """A successful answer that has been judged, as a ``requests.Response``: what the package asks one for.

    The payload was parsed to be judged, and may be large: it is not parsed again.
    """

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self.payload = payload

    def json(self, **_options: Any) -> Any:
        """The payload."""
        return self.payload


class Transport(HttpSession):
    """Sends requests to one Prometheus; safe to use from several threads.

    ``notices`` holds what answers said beside their data, each once. Options are those of the base class.
    """

    def __init__(self, settings: PrometheusSettings, *, max_bytes: int = MAX_BYTES, **options: Any) -> None:
        super().__init__(settings, max_bytes=max_bytes, **options)
        self.notices: list[str] = []
        self._get_only = False

    def request(
        self, method: str | bytes, url: str | bytes, params: Any = None, *_args: Any, **_given: Any
    ) -> JudgedAnswer:
        """As ``requests.Session.request``, for the package: the judged answer, after retries where they may help.

        The package also gives what it was made with (headers, credentials, a time-out: none) and the session's own
        TLS settings; both are the session's to know. Raises ``BackendError``.
        """
        path = str(url).removeprefix(self._settings.url)
        return JudgedAnswer(self.payload(str(method), path, params or {}))

    def payload(
        self, method: str, path: str, params: Mapping[str, Any], *, retries: int | None = None
    ) -> dict[str, Any]:
        """What the server answers, judged; ``retries`` takes the place of the setting. Raises ``BackendError``."""
        about = _about(params)
        if method == "POST" and not self._get_only:
            judge = self._judge(path, "POST")
            try:
                return self.ask("POST", path, judge, form=params, retries=retries, about=about)
            except _OnlyGet:
                self._get_only = True  # Some proxies in front of Prometheus let nothing but GET pass.
        return self.ask("GET", path, self._judge(path, "GET"), params=params, retries=retries, about=about)

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
