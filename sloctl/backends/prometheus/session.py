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

import requests

from sloctl.backends.answers import PARTIAL, judged
from sloctl.backends.http.answers import Failure, Reply, TooLarge, by_status, parse, refuse_redirect, say
from sloctl.backends.http.session import HttpSession
from sloctl.errors import BackendLimit, BackendUnavailable, BadAnswer, QueryRejected
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.servers import PROMETHEUS
from sloctl.telemetry.protocol import Attributes

_TOO_LARGE = re.compile(
    r"too many (samples|points|series|chunks)|maximum resolution|exceeds? the (limit|maximum)|exceeded the maximum"
    r"|would (load|fetch) too many|err-mimir-max-|-search\.max",
    re.IGNORECASE,
)
_TOO_SLOW = re.compile(r"timed out|deadline exceeded|timeout", re.IGNORECASE)
_STORAGE = re.compile(r"expanding series|connection refused|no such host|unavailable", re.IGNORECASE)


def judge(path: str, reply: Reply) -> dict[str, Any]:
    """The payload ``{"status": "success", "data": …}`` of an answer to the endpoint ``path``.

    The result of a query has been checked to be what ``sloctl.backends.protocols.Series`` promises; a scalar has become
    a vector. Raises ``Failure``.
    """
    refuse_redirect(reply, PROMETHEUS)
    parsed, fault = parse(reply.body)
    if not fault and not isinstance(parsed, dict):
        fault = "JSON that is no Prometheus answer"
    payload: dict[str, Any] = {} if fault else parsed
    error_type = str(payload.get("errorType", ""))
    if reply.fine and not error_type and payload.get("status") != "error":
        if fault:
            raise reply.unusable(fault, PROMETHEUS)
        _check(path, payload)
        return payload
    said = say(str(payload.get("error") or ""), reply.secrets) or reply.quote()
    raise _failure(reply, error_type, said)


def notices(payload: dict[str, Any], secrets: Sequence[str] = ()) -> list[str]:
    """What the server says beside the data: warnings, infos, and that the answer is partial.

    The series of a query have it from now on: they become an ``Answer``.
    """
    said = {}
    for key in ("warnings", "infos"):
        texts = payload.get(key) or []
        said[key] = [say(str(item), secrets) for item in (texts if isinstance(texts, list) else [texts])]
    partial = payload.get("isPartial") not in (None, False)
    data = payload["data"]
    if isinstance(data, dict) and isinstance(data.get("result"), list):
        data["result"] = judged(data["result"], said["warnings"], said["infos"], partial=partial)
    return [*said["warnings"], *said["infos"], *([PARTIAL] if partial else [])]


def _failure(reply: Reply, error_type: str, said: str) -> Failure:
    """The failure behind an answer that is an error, by its error type where it has one, else by status."""
    text = said or f"HTTP status {reply.status}"
    if reply.status in (401, 403, 429) or not error_type:
        return by_status(reply, PROMETHEUS, said)
    if error_type != "unavailable":
        if _TOO_LARGE.search(said):
            return Failure(TooLarge, text, PROMETHEUS.smaller)
        if error_type == "timeout" or (error_type == "execution" and _TOO_SLOW.search(said)):
            return Failure(BackendLimit, f"the query took too long: {text}", PROMETHEUS.smaller)
        if error_type == "execution" and _STORAGE.search(said):
            return Failure(BackendUnavailable, text, "its storage did not answer; ask again later")
        if error_type in ("bad_data", "execution"):
            return Failure(QueryRejected, f"the query is rejected: {text}")
    if reply.status not in (502, 503, 504) and error_type in ("internal", "unavailable", "canceled"):
        return Failure(BackendUnavailable, text, "the server's own log says more")
    return by_status(reply, PROMETHEUS, said, cause=text)


def _check(path: str, payload: dict[str, Any]) -> None:
    """Raises ``Failure`` unless the data of a successful answer has the form that its endpoint promises."""
    if payload.get("status") != "success" or "data" not in payload:
        raise Failure(BadAnswer, "JSON that is no Prometheus answer", PROMETHEUS.address_hint)
    name = path.rpartition("/")[2]
    check = _CHECKS.get(name, lambda _data: True)
    try:
        fine = check(payload["data"])
    except (AttributeError, KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        raise Failure(BadAnswer, f"an answer to {path} of an unknown form", PROMETHEUS.address_hint)


def _query_data(data: dict[str, Any]) -> bool:
    if data["resultType"] == "scalar":
        data.update(resultType="vector", result=[{"metric": {}, "value": data["result"]}])
    check = {"vector": _vector_item, "matrix": _matrix_item}.get(data["resultType"])
    return check is not None and isinstance(data["result"], list) and all(map(check, data["result"]))


def _range_data(data: dict[str, Any]) -> bool:
    return data["resultType"] == "matrix" and _query_data(data)


def _vector_item(item: dict[str, Any]) -> bool:
    return _labels(item["metric"]) and _sample(item["value"])


def _matrix_item(item: dict[str, Any]) -> bool:
    values = item["values"]
    # Only the ends are looked at in full: there may be millions, and frames convert each of them.
    return (
        _labels(item["metric"])
        and isinstance(values, list)
        and all(len(pair) == 2 for pair in values)
        and all(map(_sample, values[:1] + values[-1:]))
    )


def _labels(metric: object) -> bool:
    return isinstance(metric, dict) and all(isinstance(value, str) for value in metric.values())


def _sample(pair: list[Any]) -> bool:
    # bool is an int to Python, but no time.
    time, value = pair
    if not isinstance(pair, list) or isinstance(time, bool) or not isinstance(time, (int, float)):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return isinstance(value, str)


def _strings(data: object) -> bool:
    return isinstance(data, list) and all(isinstance(item, str) for item in data)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "query": _query_data,
    "query_range": _range_data,
    "labels": _strings,
    "values": _strings,
    "series": lambda data: isinstance(data, list) and all(map(_labels, data)),
    "rules": lambda data: (
        isinstance(data["groups"], list) and all(isinstance(g, dict) for g in data["groups"])
    ),
    "buildinfo": lambda data: isinstance(data, dict),
    "runtimeinfo": lambda data: isinstance(data, dict),
}


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
