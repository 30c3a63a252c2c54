"""Judges the answers of a Prometheus API: a checked payload, or why there is none and whether to ask again.

Pure functions over status, headers and body; this module must not know how they travelled.
API: https://prometheus.io/docs/prometheus/latest/querying/api/ (Thanos, Mimir and VictoriaMetrics differ in
what they answer to errors and in how they say that an answer is partial).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sloctl.backends.http.answers import Failure, Reply, TooLarge, by_status, parse, refuse_redirect, say
from sloctl.errors import BackendLimit, BackendUnavailable, BadAnswer, QueryRejected
from sloctl.settings.kinds import PROMETHEUS

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


def notices(payload: Mapping[str, Any], secrets: Sequence[str] = ()) -> list[str]:
    """What the server says beside the data: warnings, infos, and that the answer is partial."""
    found = []
    for key in ("warnings", "infos"):
        said = payload.get(key)
        found += [say(str(item), secrets) for item in said] if isinstance(said, list) else []
    if payload.get("isPartial") is True:
        found.append("the answer is partial: a storage node did not answer")
    return found


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
