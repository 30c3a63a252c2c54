"""SLI presets for Istio's metrics: what counts as an event and what counts as bad.

Metric and label names are Istio's (``istio_requests_total``, ``istio_request_duration_milliseconds``). The
client side (``reporter="source"``) sees final outcomes after retries, the server side
(``reporter="destination"``) every attempt; in ambient mode waypoints report both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from sloctl.model import CounterSli, Matcher, Mesh, Selector
from sloctl.model.durations import number, parse_milliseconds
from sloctl.promql.flags import DID_NOT_HANG_UP, HUNG_UP, WAS_CUT, WAS_NOT_CUT
from sloctl.promql.syntax import regex_quote

REQUESTS = "istio_requests_total"
DURATION = "istio_request_duration_milliseconds"
DURATION_BUCKET = f"{DURATION}_bucket"

ENVOY_BUCKETS = tuple(
    Decimal(bound)
    for bound in (
        "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000".split()
    )
)
"""Envoy's default histogram bounds in milliseconds (Envoy, ``StatsImpl``; Istio does not change them)."""

NO_RESPONSE = "0"
ANSWERED = "200"
"""The code of every answer of a gRPC server, failed ones too."""
CODE, GRPC_STATUS = "response_code", "grpc_response_status"
GRPC = Matcher("request_protocol", "=", "grpc")
UNFINISHED = ("", "1")
"""The gRPC statuses of a call that its caller gave up: none, and CANCELLED."""
COUNTED, EXCLUDED = "counted", "excluded"
"""What ``hang_ups`` may be; the first holds unless the file says otherwise."""
FAILED = ("5xx", NO_RESPONSE)
"""The response codes that count as bad, unless the file says otherwise."""
THRESHOLD = "100ms"
"""The latency to stay within, unless the file says otherwise."""
SERVER_ERRORS = "5..|0"
"""HTTP 5xx, and 0: the proxy never saw a response (reset, time-out, connection failure)."""

GRPC_SERVER_ERRORS = ("2", "4", "12", "13", "14", "15")
"""gRPC codes that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
DATA_LOSS (the ones OpenTelemetry's RPC conventions count as server errors)."""

GRPC_CODES = {
    name: str(code)
    for code, name in enumerate(
        (
            "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
            "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE "
            "DATA_LOSS UNAUTHENTICATED"
        ).split()
    )
}

Params = Mapping[str, object]
Side = Literal["client", "server", "waypoint"]
REPORTERS = {"client": "source", "server": "destination", "waypoint": "waypoint"}


class PresetProblem(Exception):
    """A parameter that a preset cannot use; the loader adds the place."""

    def __init__(self, param: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.param = param
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Preset:
    """A named SLI: its parameters, its default objective (percent), and how it is built."""

    name: str
    summary: str
    params: tuple[str, ...]
    objective: Decimal
    build: Callable[[Params, Mesh], CounterSli]


def _side(params: Params, mesh: Mesh) -> Side:
    wanted = params.get("side")
    if mesh.mode == "ambient":
        if wanted is not None:
            raise PresetProblem(
                "side",
                "an ambient mesh has no client or server side: its waypoints report each request once",
                "remove 'side', or set mesh.mode to sidecar",
            )
        return "waypoint"
    return "server" if wanted == "server" else "client"


def _requests(side: Side, *matchers: Matcher) -> Selector:
    return Selector(REQUESTS, (Matcher("reporter", "=", REPORTERS[side]), *matchers))


def _grpc_bad(codes: tuple[str, ...]) -> tuple[Matcher, ...]:
    return (
        GRPC,
        Matcher("grpc_response_status", "=~", "|".join(codes)),
    )


def _without_hang_ups(part: Selector) -> tuple[Selector, ...]:
    """What is left of a selector of requests without those whose callers hung up, as disjoint selectors.

    A caller hung up (see :data:`~sloctl.promql.flags.HANG_UP`) if there was no answer by then (code 0), or of a gRPC
    call an answer (200) with no status at the end of it, or CANCELLED.
    """

    def may_be(label: str, *values: str) -> bool:
        asked = [m for m in part.matchers if m.label == label]
        return any(all(_takes(matcher, value) for matcher in asked) for value in values)

    def left(*more: Matcher) -> Selector:
        return replace(part, matchers=tuple(dict.fromkeys((*part.matchers, *more))))

    no_answer = may_be(CODE, NO_RESPONSE)
    unfinished = (
        may_be(CODE, ANSWERED) and may_be(GRPC.label, GRPC.value) and may_be(GRPC_STATUS, *UNFINISHED)
    )
    if WAS_CUT in part.matchers or not (no_answer or unfinished):
        return (part,)
    codes = [code for code, there in ((NO_RESPONSE, no_answer), (ANSWERED, unfinished)) if there]
    found = [left(DID_NOT_HANG_UP), left(HUNG_UP, Matcher(CODE, "!~", "|".join(codes)))]
    if unfinished:
        answered = (HUNG_UP, Matcher(CODE, "=", ANSWERED))
        if GRPC not in part.matchers:
            found.append(left(*answered, Matcher(GRPC.label, "!=", GRPC.value)))
        found.append(left(*answered, GRPC, Matcher(GRPC_STATUS, "!~", "|".join(UNFINISHED))))
    return tuple(found)


def _takes(matcher: Matcher, value: str) -> bool:
    same = re.fullmatch(matcher.value, value) is not None if "~" in matcher.op else matcher.value == value
    return same is (matcher.op[0] == "=")


def _hang_ups(sli: CounterSli, params: Params) -> CounterSli:
    """An SLI as ``hang_ups`` says: with the calls that their callers gave up, or without them."""
    if params.get("hang_ups", COUNTED) == COUNTED:
        return sli
    total, bad = (
        tuple(left for part in parts for left in _without_hang_ups(part)) for parts in (sli.total, sli.bad)
    )
    return replace(sli, total=total, bad=bad)


_OK = (("request_protocol", "http"), ("response_code", "200"), ("response_flags", "-"))
_FAILED = (("response_code", "503"), ("response_flags", "UF"))


def _availability_of(side: Side, params: Params) -> CounterSli:
    other_code = Matcher("response_code", "!~", SERVER_ERRORS)
    sli = CounterSli(
        preset="availability",
        side=side,
        total=(_requests(side),),
        bad=(
            _requests(side, Matcher("response_code", "=~", SERVER_ERRORS)),
            # An answer that began well and was cut.
            _requests(side, other_code, WAS_CUT),
            # A gRPC failure travels in a response with code 200: it is in none of the selectors above.
            _requests(side, other_code, WAS_NOT_CUT, *_grpc_bad(GRPC_SERVER_ERRORS)),
        ),
        example=_OK,
        example_bad=_FAILED,
    )
    return _hang_ups(sli, params)


def _with_other_side(build: Callable[[Side], CounterSli], side: Side) -> CounterSli:
    if side == "waypoint":
        return build(side)
    return replace(build(side), other_side=build("server" if side == "client" else "client"))


FILTERS = ("from", "where")
"""Parameters that choose some requests of a service."""
_OF_OTHERS = {
    "reporter": "'side' says who counts",
    "le": "'threshold' says which latency is good",
    "__name__": "the preset says which metric is read",
}


def _chosen(params: Params, sli: CounterSli) -> tuple[Matcher, ...]:
    """The requests that ``from`` and ``where`` choose, as matchers."""
    found: list[Matcher] = []
    if caller := str(params.get("from", "")):
        namespace, _, workload = caller.rpartition("/")
        labels = (("source_workload_namespace", namespace), ("source_workload", workload))
        found += [Matcher(label, "=", name) for label, name in labels if name not in ("", "*")]
    given = params.get("where", ())
    assert isinstance(given, tuple)
    for label, form, values in given:
        why = _OF_OTHERS.get(label)
        if label in (sli.service_label, sli.namespace_label):
            why = "'service' and 'namespace' of the SLO say it"
        if why is not None:
            raise PresetProblem("where", f"'where' cannot choose by '{label}': {why}", "remove it there")
        if any(label == other.label and other.op == "=" for other in found):
            raise PresetProblem("where", f"'from' and 'where' both choose by '{label}'", "keep one of them")
        equal = "=" if form == "in" else "!"
        if len(values) == 1:
            found.append(Matcher(label, "=" if form == "in" else "!=", values[0]))
        else:
            found.append(Matcher(label, f"{equal}~", "|".join(map(regex_quote, values))))
    return tuple(sorted(found, key=lambda matcher: matcher.label))


def filtered(sli: CounterSli, params: Params) -> CounterSli:
    """An SLI of the requests that its parameters choose. Raises ``PresetProblem``."""
    where = _chosen(params, sli)
    if not where:
        return sli
    some = replace(sli, where=where)
    if sli.other_side is not None:
        some = replace(some, other_side=filtered(sli.other_side, params))
    good = _an_event(some, dict(sli.example), bad=False)
    bad = () if sli.good else _an_event(some, dict(sli.example) | dict(sli.example_bad), bad=True)
    for kind, there in (("good", good), ("bad", bad)):
        if there is None:
            message = f"of the requests that 'where' chooses, none can be {kind}"
            raise PresetProblem(
                "where", message, "choose by what does not tell good from bad, or leave out less"
            )
    assert good is not None and bad is not None
    return replace(some, example=good, example_bad=tuple(pair for pair in bad if pair not in good))


def _an_event(sli: CounterSli, usual: dict[str, str], *, bad: bool) -> tuple[tuple[str, str], ...] | None:
    """The labels of a request that is chosen, and good or bad; None if there is none."""
    named = {m.label: _first(m) for m in sli.where if m.op[0] == "="}
    codes = (usual.get(CODE, ANSWERED), *map(str, range(200, 600)), NO_RESPONSE)
    for code in (named[CODE],) if CODE in named else dict.fromkeys(codes):
        for flags in dict.fromkeys((usual.get("response_flags", "-"), "-")):
            for status in dict.fromkeys((usual.get(GRPC_STATUS, ""), "0", *GRPC_CODES.values())):
                changed = {CODE: code, "response_flags": flags} | ({GRPC_STATUS: status} if status else {})
                labels = usual | changed | named
                if all(_takes(m, labels.get(m.label, "")) for m in sli.where) and (
                    bool(sli.good) or _is_bad(sli, labels) is bad
                ):
                    return tuple(labels.items())
    return None


def _is_bad(sli: CounterSli, labels: Mapping[str, str]) -> bool | None:
    """Whether a request is bad; None if it is none of the SLI's."""

    def in_one_of(parts: tuple[Selector, ...]) -> bool:
        return any(
            all(_takes(m, labels.get(m.label, "")) for m in part.matchers if m.label != "reporter")
            for part in parts
        )

    return in_one_of(sli.bad) if in_one_of(sli.total) else None


def _first(matcher: Matcher) -> str:
    """A value that a matcher of some values accepts."""
    if matcher.op == "=":
        return matcher.value
    first = re.match(r"(?:\\.|[^|\\])*", matcher.value)
    assert first is not None
    return re.sub(r"\\(.)", r"\1", first[0])


def _availability(params: Params, mesh: Mesh) -> CounterSli:
    return _with_other_side(lambda side: _availability_of(side, params), _side(params, mesh))


def _code_pattern(code: str) -> str:
    return code.lower().replace("x", ".")


def _errors(params: Params, mesh: Mesh) -> CounterSli:
    raw = params.get("codes", FAILED)
    codes = tuple(str(code) for code in raw) if isinstance(raw, tuple | list) else (str(raw),)
    pattern = "|".join(_code_pattern(code) for code in codes)
    first = _code_pattern(codes[0]).replace(".", "0")

    def of(side: Side) -> CounterSli:
        sli = CounterSli(
            preset="errors",
            side=side,
            total=(_requests(side),),
            bad=(_requests(side, Matcher("response_code", "=~", pattern)),),
            example=(("request_protocol", "http"), ("response_code", "201"), ("response_flags", "-")),
            example_bad=(("response_code", first), ("response_flags", "-")),
        )
        return _hang_ups(sli, params)

    return _with_other_side(of, _side(params, mesh))


def _grpc(params: Params, mesh: Mesh) -> CounterSli:
    raw = params.get("codes", ())
    names = tuple(raw) if isinstance(raw, tuple | list) else (raw,)
    codes = tuple(GRPC_CODES[str(name)] for name in names) or GRPC_SERVER_ERRORS

    def of(side: Side) -> CounterSli:
        sli = CounterSli(
            preset="grpc",
            side=side,
            total=(_requests(side, GRPC),),
            bad=(
                _requests(side, GRPC, WAS_CUT),
                _requests(side, WAS_NOT_CUT, *_grpc_bad(codes)),
                # No gRPC status at all: the proxy answered, or nobody did.
                _requests(
                    side,
                    GRPC,
                    WAS_NOT_CUT,
                    Matcher("grpc_response_status", "=", ""),
                    Matcher("response_code", "!=", ANSWERED),
                ),
            ),
            example=(
                ("request_protocol", "grpc"),
                ("response_code", "200"),
                ("response_flags", "-"),
                ("grpc_response_status", "0"),
            ),
            example_bad=(("grpc_response_status", codes[0]),),
        )
        return _hang_ups(sli, params)

    return _with_other_side(of, _side(params, mesh))


def bucket_pattern(bound: Decimal) -> str:
    """A regular expression for ``le`` as Prometheus 2 (``250``) and 3 (``250.0``) write it."""
    text = number(bound)
    return text.replace(".", "\\.") if "." in text else f"{text}|{text}\\.0"


def _latency(params: Params, mesh: Mesh) -> CounterSli:
    text = str(params.get("threshold", THRESHOLD))
    threshold = parse_milliseconds(text)
    if threshold is None:
        raise PresetProblem("threshold", f"{text!r} is not a latency", "write it like 250ms or 2.5s")
    bounds = mesh.latency_buckets or ENVOY_BUCKETS
    native = mesh.histograms == "native"
    if threshold not in bounds and not native:
        near = sorted(sorted(bounds, key=lambda b: abs(b - threshold))[:2])
        choice = " or ".join(f"{number(bound)}ms" for bound in near)
        origin = "mesh.latency_buckets" if mesh.latency_buckets else "Envoy's default bounds"
        raise PresetProblem(
            "threshold",
            f"{text} is not a bound of the latency histogram ({origin}), so requests under it cannot be counted",
            f"use {choice}, or change the histogram and set mesh.latency_buckets, or mesh.histograms if it is native",
        )
    side = _side(params, mesh)
    reporter = Matcher("reporter", "=", REPORTERS[side])
    le = Matcher("le", "=~", bucket_pattern(threshold))
    metric = DURATION if native else DURATION_BUCKET
    return CounterSli(
        preset="latency",
        side=side,
        # The +Inf bucket is the count: one family of series holds both.
        total=(Selector(metric, (reporter, Matcher("le", "=", "+Inf"))),),
        good=(Selector(metric, (reporter, le)),),
        example=(*_OK, ("le", number(threshold))),
        example_bad=(),
        threshold=threshold,
        native=native,
    )


def _gateway(params: Params, mesh: Mesh) -> CounterSli:
    # A gateway is a client of the mesh in both modes: it reports with reporter="source".
    sli = _availability_of("client", params)
    return replace(
        sli,
        preset="gateway",
        service_label="source_workload",
        namespace_label="source_workload_namespace",
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "availability",
            "requests that did not fail on the server's side: no 5xx, no missing or cut response, no gRPC server error",
            ("side", "hang_ups", *FILTERS),
            Decimal("99.5"),
            _availability,
        ),
        Preset(
            "errors",
            "requests without the response codes given in 'codes'",
            ("side", "codes", "hang_ups", *FILTERS),
            Decimal(99),
            _errors,
        ),
        Preset(
            "grpc",
            "gRPC calls that were not cut, without the status codes given in 'codes'",
            ("side", "codes", "hang_ups", *FILTERS),
            Decimal("99.5"),
            _grpc,
        ),
        Preset(
            "latency",
            "requests answered within 'threshold'",
            ("side", "threshold", *FILTERS),
            Decimal(95),
            _latency,
        ),
        Preset(
            "gateway",
            "requests that a gateway workload (the 'service') passed on without failure",
            ("hang_ups", "where"),
            Decimal("99.5"),
            _gateway,
        ),
    )
}
