"""Judges the answers of a Prometheus API: a checked payload, or why there is none and whether to ask again.

Pure functions over status, headers and body; this module must not know how they travelled.
API: https://prometheus.io/docs/prometheus/latest/querying/api/ (Thanos, Mimir and VictoriaMetrics differ in
what they answer to errors and in how they say that an answer is partial).
"""

from __future__ import annotations

import email.utils
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRefused,
    BackendUnavailable,
    BadAnswer,
    QueryRejected,
)
from sloctl.settings import redact

Again = Literal["never", "once", "yes"]

ADDRESS_HINT = "is it running, and is the address right? --prometheus URL"
LOGIN_HINT = (
    "set SLOCTL_PROMETHEUS_TOKEN_FILE, or SLOCTL_PROMETHEUS_USERNAME and SLOCTL_PROMETHEUS_PASSWORD_FILE; "
    "a tenant goes into SLOCTL_PROMETHEUS_HEADERS"
)
SIZE_HINT = "ask for a shorter range, a longer step or fewer series, or raise the server's limit"
WAIT_HINT = "ask again later, or with fewer requests at once (SLOCTL_PROMETHEUS_CONCURRENCY)"

_MAY_PASS = frozenset({429, 502, 503, 504})
_TOO_LARGE = re.compile(
    r"too many (samples|points|series|chunks)|maximum resolution|exceeds? the (limit|maximum)|exceeded the maximum"
    r"|would (load|fetch) too many|err-mimir-max-|-search\.max",
    re.IGNORECASE,
)
_TOO_SLOW = re.compile(r"timed out|deadline exceeded|timeout", re.IGNORECASE)
_STORAGE = re.compile(r"expanding series|connection refused|no such host|unavailable", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_EXCERPT = 300


class QueryTooLarge(BackendLimit):
    """The server, or this client, refuses because of the amount of data: asking for less may help."""


class Failure(Exception):
    """Why an attempt failed: the error it stands for, and whether to ask again (after so many seconds)."""

    def __init__(
        self,
        kind: type[BackendError],
        cause: str,
        hint: str = "",
        *,
        again: Again = "never",
        after: float | None = None,
    ) -> None:
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.hint = hint
        self.again = again
        self.after = after


def judge(
    path: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    secrets: Sequence[str] = (),
) -> dict[str, Any]:
    """The payload ``{"status": "success", "data": …}`` of an answer to the endpoint ``path``.

    The result of a query has been checked to be what ``sloctl.model.Series`` promises; a scalar has become
    a vector. ``now`` (Unix seconds) is what a Retry-After date counts from. What the server says is quoted
    without ``secrets``. Raises ``Failure``.
    """
    if 300 <= status < 400:
        place = say(redact(headers.get("Location", "nowhere")), secrets)
        raise Failure(
            BadAnswer,
            f"it redirects to {place}, and credentials are not carried elsewhere",
            "give the final address with --prometheus; a login page there means that credentials are missing",
        )
    payload, fault = _parse(body)
    error_type = str(payload.get("errorType", ""))
    if status in (200, 201, 202, 203) and not error_type and payload.get("status") != "error":
        if fault:
            raise Failure(BadAnswer, f"{fault}{_quote(body, secrets)}", ADDRESS_HINT)
        _check(path, payload)
        return payload
    said = say(str(payload.get("error") or ""), secrets) or _page(body, secrets)
    raise _failure(status, error_type, said, retry_after(headers, now))


def notices(payload: Mapping[str, Any], secrets: Sequence[str] = ()) -> list[str]:
    """What the server says beside the data: warnings, infos, and that the answer is partial."""
    found = []
    for key in ("warnings", "infos"):
        said = payload.get(key)
        found += [say(str(item), secrets) for item in said] if isinstance(said, list) else []
    if payload.get("isPartial") is True:
        found.append("the answer is partial: a storage node did not answer")
    return found


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a Retry-After header (seconds or a date, RFC 9110) asks to wait; None without one."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text[:9])
    parsed = email.utils.parsedate_tz(text) if text else None
    return max(0.0, email.utils.mktime_tz(parsed) - now) if parsed else None


def say(text: str, secrets: Sequence[str] = ()) -> str:
    """One short line of what a server said: no secrets, no control characters."""
    for secret in secrets:
        text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * _EXCERPT]).split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def _failure(status: int, error_type: str, said: str, after: float | None) -> Failure:
    """The failure behind an answer that is an error, by its error type where it has one, else by status."""
    text = said or f"HTTP status {status}"
    cause = text if error_type else f"HTTP status {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        return Failure(BackendRefused, f"access denied ({status}): {text}", LOGIN_HINT)
    if status == 429:
        return Failure(BackendLimit, f"too many requests (429): {text}", WAIT_HINT, again="yes", after=after)
    if error_type and error_type != "unavailable":
        if _TOO_LARGE.search(said):
            return Failure(QueryTooLarge, cause, SIZE_HINT)
        if error_type == "timeout" or (error_type == "execution" and _TOO_SLOW.search(said)):
            return Failure(BackendLimit, f"the query took too long: {text}", SIZE_HINT)
        if error_type == "execution" and _STORAGE.search(said):
            return Failure(BackendUnavailable, cause, "its storage did not answer; ask again later")
        if error_type in ("bad_data", "execution"):
            return Failure(QueryRejected, f"the query is rejected: {text}")
    if status in _MAY_PASS:
        return Failure(BackendUnavailable, cause, ADDRESS_HINT, again="yes", after=after)
    if status >= 500 or error_type in ("internal", "unavailable", "canceled"):
        return Failure(BackendUnavailable, cause, "the server's own log says more")
    if status == 404 or error_type == "not_found":
        return Failure(
            BadAnswer, f"not found ({status}): {text}", "is the address right? it may lack a prefix"
        )
    return Failure(BadAnswer, cause, ADDRESS_HINT)


def _parse(body: bytes) -> tuple[dict[str, Any], str]:
    """The JSON object of a body, or an empty one and what is wrong with it."""
    if not body.strip():
        return {}, "an empty answer"
    if body.lstrip()[:1] == b"<":
        return {}, "an HTML page instead of JSON"
    try:
        payload = json.loads(body)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        return {}, "JSON that ends in the middle" if cut else "an answer that is not JSON"
    except (ValueError, RecursionError):
        return {}, "an answer that is not JSON"
    return (payload, "") if isinstance(payload, dict) else ({}, "JSON that is no Prometheus answer")


def _page(body: bytes, secrets: Sequence[str]) -> str:
    """What a body that is no API error says: the title of a page, or the beginning of a text."""
    text = body[: 20 * _EXCERPT].decode("utf-8", "replace")
    if not text.lstrip().startswith("<"):
        return say(text, secrets)
    title = _TITLE.search(text)
    return say(f'an HTML page "{html.unescape(title[1])}"' if title else "an HTML page", secrets)


def _quote(body: bytes, secrets: Sequence[str]) -> str:
    quoted = _page(body, secrets)
    return f" ({quoted})" if quoted else ""


def _check(path: str, payload: dict[str, Any]) -> None:
    """Raises ``Failure`` unless the data of a successful answer has the form that its endpoint promises."""
    if payload.get("status") != "success" or "data" not in payload:
        raise Failure(BadAnswer, "JSON that is no Prometheus answer", ADDRESS_HINT)
    name = path.rpartition("/")[2]
    check = _CHECKS.get(name, lambda _data: True)
    try:
        fine = check(payload["data"])
    except (AttributeError, KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        raise Failure(BadAnswer, f"an answer to {path} of an unknown form", ADDRESS_HINT)


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
}
