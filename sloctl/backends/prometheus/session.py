"""The session that ``PrometheusConnect`` is given: where prometheus-api-client and sloctl's own HTTP layer meet.

The package builds each request of the query API and takes the answer apart; it sends by a ``requests.Session``, for
which its constructor has an argument. Its own session would not do: it has no time limit for a whole answer, repeats
queries that a server rejects, puts the query of a POST into the address, and leaves of an error nothing but a string.
Of a successful answer the package passes on the result alone, so what else a server says (warnings, that an answer is
partial, that a result is a scalar) is judged and heeded here.
API: https://prometheus.io/docs/prometheus/latest/querying/api/ (Thanos, Mimir and VictoriaMetrics differ in
what they answer to errors and in how they say that an answer is partial).

This module must not know PromQL nor what is asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import requests

from sloctl.backends.answers import MAX_VALUES, PARTIAL, TooMuchTogether, judged, weigh
from sloctl.backends.http import decoding
from sloctl.backends.http.answers import Failure, Reply, TooLarge, by_status, refuse_redirect, say
from sloctl.backends.http.session import HttpSession
from sloctl.backends.prometheus import schema
from sloctl.errors import BackendUnavailable, BadAnswer, QueryRejected
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.servers import PROMETHEUS
from sloctl.telemetry.protocol import Attributes

_ANSWER = msgspec.json.Decoder(schema.Answer)
_TOO_LARGE = re.compile(
    r"too many (samples|points|series|chunks)|maximum resolution|exceeds? the (limit|maximum)|exceeded the maximum"
    r"|would (load|fetch) too many|err-mimir-max-|-search\.max",
    re.IGNORECASE,
)
_ECHO = re.compile(r'^error when executing query="(?:[^"\\]|\\.)*+"[^:]*: ', re.DOTALL)
"""VictoriaMetrics says the whole query before what is wrong with it."""
NO_NUMBERS = "{} series of the answer are native histograms, which are no numbers"
_TOO_SLOW = re.compile(r"timed out|deadline exceeded|timeout", re.IGNORECASE)
_STORAGE = re.compile(r"expanding series|connection refused|no such host|unavailable", re.IGNORECASE)


def judge(path: str, reply: Reply) -> tuple[Any, list[str]]:
    """The data of a successful answer to the endpoint ``path``, and what the server says beside it.

    The data has the form of its endpoint (``sloctl.backends.prometheus.schema``); the series of a query are an
    ``Answer``. Raises ``Failure``.
    """
    refuse_redirect(reply, PROMETHEUS)
    if not reply.fine:
        told = decoding.said(reply.body)
        told = told if isinstance(told, dict) else {}
        raise _failure(reply, str(told.get("errorType") or ""), str(told.get("error") or ""))
    answer = reply.decode(_ANSWER, PROMETHEUS, "JSON that is no Prometheus answer")
    if answer.error_type or answer.status == "error":
        raise _failure(reply, answer.error_type or "", answer.error or "")
    if answer.status != "success" or not bytes(answer.data):
        raise Failure(BadAnswer, "JSON that is no Prometheus answer", PROMETHEUS.address_hint)
    if not weigh(lambda: decoding.values(reply.body)):
        # No TooLarge: the halves of this answer would come to as many.
        cause = f"the answers to one question have more than {MAX_VALUES:,} values together"
        raise Failure(TooMuchTogether, cause, PROMETHEUS.smaller)
    try:
        data = schema.read(path, answer.data)
    except decoding.FAILURES:
        raise Failure(BadAnswer, f"an answer to {path} of an unknown form", PROMETHEUS.address_hint) from None
    warnings, infos = (_lines(texts, reply.secrets) for texts in (answer.warnings, answer.infos))
    if isinstance(data, dict) and "result" in data:
        if data["histograms"]:
            warnings.append(NO_NUMBERS.format(data["histograms"]))
        data["result"] = judged(data["result"], warnings, infos, partial=answer.partial)
    return data, [*warnings, *infos, *([PARTIAL] if answer.partial else [])]


def _lines(texts: Sequence[str] | str | None, secrets: Sequence[str]) -> list[str]:
    return [say(text, secrets) for text in ([texts] if isinstance(texts, str) else texts or ())]


def _failure(reply: Reply, error_type: str, error: str) -> Failure:
    """The failure behind an answer that is an error, by its error type where it has one, else by status."""
    error = _ECHO.sub("", error)
    said = say(error, reply.secrets) or reply.quote()
    text = said or f"HTTP status {reply.status}"
    if reply.status in (401, 403, 429) or not error_type:
        return by_status(reply, PROMETHEUS, said)
    if error_type != "unavailable":
        if _TOO_LARGE.search(said):
            return Failure(TooLarge, text, PROMETHEUS.smaller)
        if error_type == "timeout" or (error_type == "execution" and _TOO_SLOW.search(said)):
            return Failure(TooLarge, f"the query took too long: {text}", PROMETHEUS.smaller)
        if error_type == "execution" and _STORAGE.search(said):
            return Failure(BackendUnavailable, text, "its storage did not answer; ask again later")
        if error_type in ("bad_data", "execution"):
            return Failure(QueryRejected, f"the query is rejected: {text}")
    if reply.status not in (502, 503, 504) and error_type in ("internal", "unavailable", "canceled"):
        return Failure(BackendUnavailable, text, "the server's own log says more")
    return by_status(reply, PROMETHEUS, said, cause=text)


_MAX_NOTICES = 100
_EXCERPT = 200
"""Characters of a query that telemetry has."""


class JudgedAnswer(requests.Response):
    """A successful answer that has been judged, as a ``requests.Response``: what the package asks one for.

    The data was parsed to be judged, and may be large: it is not parsed again.
    """

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.status_code = 200
        self._data = data

    def json(self, **_options: Any) -> Any:
        """The payload."""
        return {"status": "success", "data": self._data}


class Transport(HttpSession):
    """Sends requests to one Prometheus; safe to use from several threads.

    ``notices`` holds what answers said beside their data, each once. Options are those of the base class.
    """

    def __init__(
        self, settings: PrometheusSettings, *, max_bytes: int = decoding.MAX_BYTES, **options: Any
    ) -> None:
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
        return JudgedAnswer(self.data(str(method), path, params or {}))

    def data(self, method: str, path: str, params: Mapping[str, Any], *, retries: int | None = None) -> Any:
        """The data of an answer, judged; ``retries`` takes the place of the setting. Raises ``BackendError``."""
        about = _about(params)
        if method == "POST" and not self._get_only:
            judge = self._judge(path, "POST")
            try:
                return self.ask("POST", path, judge, form=params, retries=retries, about=about)
            except _OnlyGet:
                self._get_only = True  # Some proxies in front of Prometheus let nothing but GET pass.
        return self.ask("GET", path, self._judge(path, "GET"), params=params, retries=retries, about=about)

    def _judge(self, path: str, method: str) -> Callable[[Reply], Any]:
        def judged(reply: Reply) -> Any:
            if method == "POST" and reply.status in (405, 501):
                raise _OnlyGet
            data, notices = judge(path, reply)
            self._note(notices)
            return data

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
