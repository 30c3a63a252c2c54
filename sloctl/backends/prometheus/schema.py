"""The forms that the query API's answers have: what is not of them does not get in.

Of samples the times and the values are numbers; a value stays the text that it came as. It must not know what was
asked. API: https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, NotRequired, TypeAlias, TypedDict

import msgspec

from sloctl.backends.http.decoding import clean


class Answer(msgspec.Struct, gc=False, rename="camel"):
    """What every answer is wrapped in; ``data`` is read later, by its endpoint's form."""

    status: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    error_type: str | None = None
    error: str | None = None
    warnings: list[str] | str | None = None
    infos: list[str] | str | None = None
    is_partial: msgspec.Raw = msgspec.Raw(b"false")

    @property
    def partial(self) -> bool:
        """Whether the server says so, in whatever form."""
        return bytes(self.is_partial) not in (b"false", b"null")


Time: TypeAlias = Annotated[float, msgspec.Meta(ge=-9e9, le=9e9)]
"""Unix seconds, as far as nanoseconds of 64 bits reach."""
Sample: TypeAlias = tuple[Time, str]


class _VectorItem(TypedDict):
    metric: dict[str, str]
    value: NotRequired[Sample]
    histogram: NotRequired[msgspec.Raw]


class _MatrixItem(TypedDict):
    metric: dict[str, str]
    values: NotRequired[list[Sample]]
    histograms: NotRequired[msgspec.Raw]


class _Vector(msgspec.Struct, tag_field="resultType", tag="vector"):
    result: list[_VectorItem]
    stats: msgspec.Raw = msgspec.Raw(b"null")


class _Matrix(msgspec.Struct, tag_field="resultType", tag="matrix"):
    result: list[_MatrixItem]
    stats: msgspec.Raw = msgspec.Raw(b"null")


class _Scalar(msgspec.Struct, tag_field="resultType", tag="scalar"):
    result: Sample
    stats: msgspec.Raw = msgspec.Raw(b"null")


class _Group(TypedDict):
    name: str
    rules: NotRequired[list[dict[str, Any]]]


class _Groups(TypedDict):
    groups: list[_Group]


class _Alertmanager(TypedDict):
    url: str


class _Alertmanagers(TypedDict):
    activeAlertmanagers: list[_Alertmanager]


class _Samples(msgspec.Struct, rename="camel"):
    total_queryable_samples: int


class _Stats(msgspec.Struct):
    samples: _Samples


_QUERIES: Mapping[str, msgspec.json.Decoder[Any]] = {
    "query": msgspec.json.Decoder(_Vector | _Matrix | _Scalar),
    "query_range": msgspec.json.Decoder(_Matrix),
}
_OTHERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "labels": msgspec.json.Decoder(list[str]),
    "values": msgspec.json.Decoder(list[str]),
    "series": msgspec.json.Decoder(list[dict[str, str]]),
    "rules": msgspec.json.Decoder(_Groups),
    "alertmanagers": msgspec.json.Decoder(_Alertmanagers),
    "buildinfo": msgspec.json.Decoder(dict[str, Any]),
    "runtimeinfo": msgspec.json.Decoder(dict[str, Any]),
}
_STATS = msgspec.json.Decoder(_Stats)


def read(path: str, data: msgspec.Raw) -> Any:
    """The data of an answer to the endpoint ``path``; of queries ``{"result": […], "stats": …, "histograms": …}``.

    The result is a list of ``sloctl.backends.protocols.Series``: a scalar has become a vector, and native histograms,
    which are no numbers, are left out and counted. Raises what is in ``sloctl.backends.http.decoding.FAILURES``.
    """
    endpoint = path.rpartition("/")[2]
    if endpoint in _OTHERS:
        return _OTHERS[endpoint].decode(data)
    found = _QUERIES[endpoint].decode(data)
    number, histogram = ("values", "histograms") if isinstance(found, _Matrix) else ("value", "histogram")
    series: list[Any] = (
        [{"metric": {}, "value": found.result}] if isinstance(found, _Scalar) else found.result
    )
    left_out = 0
    if not all(number in item for item in series) or any(histogram in item for item in series):
        left_out = sum(item.pop(histogram, None) is not None for item in series)
        numbers = [item for item in series if number in item]
        if len(series) - len(numbers) > left_out:
            raise ValueError("a series without samples")
        series = numbers
    texts = (
        chain.from_iterable(item[number] for item in series)
        if number == "values"
        else (item[number] for item in series)
    )
    deque(map(float, map(itemgetter(1), texts)), maxlen=0)
    for item in series:
        item["metric"] = clean(item["metric"])
    return {"result": series, "stats": found.stats, "histograms": left_out}


def samples_read(stats: msgspec.Raw) -> int:
    """How many samples the server read, by its statistics. Raises ``msgspec.ValidationError`` if they do not say."""
    return _STATS.decode(stats).samples.total_queryable_samples
