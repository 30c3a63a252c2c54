"""SLIs: a preset with its parameters, or expressions over counters of one's own."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

from sloctl.model import GRID, CounterSli, ExprSli, Mesh, SampleSli, Sli
from sloctl.promql.presets import (
    COUNTED,
    ENVOY_BUCKETS,
    EXCLUDED,
    FAILED,
    GRPC_CODES,
    GRPC_SERVER_ERRORS,
    PRESETS,
    THRESHOLD,
    Preset,
    PresetProblem,
    filtered,
)
from sloctl.spec.fields import expressions
from sloctl.spec.fields.shapes import Block, Either, Field, Items, Named, Object, Section, Type, Variants
from sloctl.spec.fields.values import Choice, Complaint, Duration, Loose, Reader, Text
from sloctl.spec.sections.common import DNS_LABEL, LABEL_NAME
from sloctl.spec.yaml.tree import Node

_GRPC_CODE = Choice(tuple(GRPC_CODES), "the name of a gRPC status")
_HTTP_CODE = Loose(
    "a response code such as 503, 5xx or 0",
    r"[1-5](?:[0-9][0-9]|xx|XX)|0",
    "three digits, 4xx, 5xx, or 0 for no response",
    (("type", "integer"), ("enum", [0, *range(100, 600)])),
)


_VALUE = Text("text", max_length=256)
_VALUES = Items(_VALUE, maximum=100)
WHERE_FORMS = Object(
    "labelValues",
    doc="Values of a label of the requests, exactly as the metrics have them.",
    fields=(
        Field("in", _VALUES, "One of these.", examples=(["GET", "HEAD"],)),
        Field(
            "not",
            _VALUES,
            "None of these; a request without the label has none of them.",
            examples=(["429"],),
        ),
    ),
    one_of=(("in", "not"),),
)
WHERE = Named(LABEL_NAME, "a label of the metric", Either(_VALUE, WHERE_FORMS), maximum=20, minimum=1)


def preset_fields(preset: Preset) -> tuple[Field, ...]:
    """The parameters of a preset. Raises LookupError for one that has no ``Field`` here."""
    name = preset.name
    codes: Type = _GRPC_CODE if name == "grpc" else _HTTP_CODE
    bounds = f"{ENVOY_BUCKETS[0]}ms to {ENVOY_BUCKETS[-1]}ms"
    known = {
        "side": Field(
            "side",
            Choice(("client", "server")),
            "Who counts: the client's proxy sees the outcome after retries, the server's every attempt.",
            without="client",
        ),
        "threshold": Field(
            "threshold",
            Text(
                "a latency such as 250ms",
                r"[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|s)",
                "write it like 250ms or 2.5s",
                20,
            ),
            f"The latency to stay within; a bound of the histogram ({bounds}, or `mesh.latency_buckets`).",
            without=THRESHOLD,
            examples=("250ms", "2.5s"),
        ),
        "from": Field(
            "from",
            Text(
                "a workload, with or without its namespace",
                rf"(?:{DNS_LABEL}/)?(?:{DNS_LABEL}(?:\.{DNS_LABEL})*)|{DNS_LABEL}/\*",
                "write it like frontend, shop/frontend, or shop/* for all of a namespace",
                253,
            ),
            "Only requests of this caller (`source_workload`).",
            without="all",
            examples=("shop/frontend",),
        ),
        "where": Field(
            "where",
            WHERE,
            "Only requests whose labels have these values.",
            without="all",
            examples=({"request_protocol": "http", "response_code": {"not": ["429"]}},),
        ),
        "hang_ups": Field(
            "hang_ups",
            Choice((COUNTED, EXCLUDED)),
            "Requests whose callers hung up before the answer was complete: counted (bad without an answer), or "
            "excluded from all events.",
            without=COUNTED,
        ),
        "codes": Field(
            "codes",
            Items(codes, maximum=100),
            "gRPC status names that count as bad." if name == "grpc" else "Response codes that count as bad.",
            without=", ".join(word for word, code in GRPC_CODES.items() if code in GRPC_SERVER_ERRORS)
            if name == "grpc"
            else f"{' and '.join(FAILED)} (no response)",
            examples=(["UNAVAILABLE"],) if name == "grpc" else (["5xx", 429],),
        ),
    }
    for param in preset.params:
        if param not in known:
            raise LookupError(f"the parameter {param!r} of the preset {name!r} has no Field in preset_fields")
    return tuple(known[param] for param in preset.params)


def _preset(name: str) -> Object:
    preset = PRESETS[name]
    choice = Field("preset", Choice((name,)), "Which preset.", required=True)
    doc = f"`{name}`: {preset.summary}. Default objective: {preset.objective}."
    unknown = f"preset '{name}' has no parameter"
    return Object(f"{name}Sli", (choice, *preset_fields(preset)), doc=doc, unknown=unknown)


_EXPRESSION = Text("PromQL", max_length=4096, lines=True, make=str.strip)
EVENTS = Section(
    "events",
    model=ExprSli,
    doc="Two expressions over counters of your own.",
    fields=(
        Field(
            "bad",
            _EXPRESSION,
            "PromQL for the bad events; every range is [$window].",
            examples=("rate(jobs_late_total[$window])",),
        ),
        Field("good", _EXPRESSION, "PromQL for the good events, instead of the bad ones."),
        Field(
            "total",
            _EXPRESSION,
            "PromQL for all events.",
            required=True,
            examples=("rate(jobs_total[$window])",),
        ),
    ),
    one_of=(("bad", "good"),),
)
_COMPARISON = Text(
    "a comparison such as >= 1",
    r"(?:>=|<=|==|>|<) *-?[0-9]{1,15}(?:\.[0-9]{1,9})?",
    'write it like ">= 1", in quotes; >=, <=, >, < and == are known',
    40,
    make=lambda text: re.sub(r"^([<>=]+) *", r"\1 ", text),
)
SAMPLES = Section(
    "samples",
    model=SampleSli,
    doc="Samples of a gauge, of which each is good or bad.",
    fields=(
        Field(
            "gauge",
            Text(
                "a selector",
                max_length=4096,
                lines=True,
                checks=(expressions.gauge,),
                make=expressions.selected,
            ),
            "Which series: a metric with its matchers.",
            required=True,
            examples=('probe_success{job="blackbox"}',),
        ),
        Field("good", _COMPARISON, "What a good sample is.", examples=(">= 1",)),
        Field("bad", _COMPARISON, "What a bad sample is, instead of a good one.", examples=("> 300",)),
        Field(
            "every",
            Duration(1, GRID, 1, "10s"),
            "At most the gauge's scrape interval: of samples that are closer, only the last one counts.",
            examples=("5s",),
        ),
    ),
    one_of=(("good", "bad"),),
)
SLI = Variants(
    "preset",
    {name: _preset(name) for name in PRESETS},
    {
        "events": Object(
            "eventsSli", (Field("events", EVENTS, "Expressions instead of a preset.", required=True),)
        ),
        "samples": Object(
            "samplesSli", (Field("samples", SAMPLES, "Samples of a gauge instead of events.", required=True),)
        ),
    },
    Choice(tuple(PRESETS)),
    "a mapping with 'preset', 'events' or 'samples'",
)


OWN = ("events", "samples")
"""The keys of SLIs of one's own, in place of a preset."""


def _where(entries: list[tuple[str, Node, Any]]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Of each label the form, ``in`` or ``not``, and the values."""
    found = []
    for label, _, value in entries:
        if isinstance(value, str):
            found.append((label, "in", (value,)))
            continue
        form = next((form for form in ("in", "not") if value.get(form)), None)
        if form is not None:
            found.append((label, form, tuple(sorted({text for _, text in value.get(form)}))))
    return tuple(sorted(found))


class Slis:
    """Builds SLIs of a mesh; what many SLOs have in common is built, or complained about, once."""

    def __init__(self, mesh: Mesh, reader: Reader) -> None:
        self.mesh = mesh
        self.reader = reader
        self._presets: dict[Hashable, CounterSli | PresetProblem] = {}
        self._expressions: dict[tuple[str, str], Complaint | None] = {}
        self._warned: set[int] = set()

    def build(self, block: Block, per: str = "") -> Sli | None:
        """The SLI of a block that :data:`SLI` has read; None, with the problems noted, if it is unusable.

        ``per`` is the label by which events of one's own are told apart.
        """
        if block.has("events"):
            events = block.get("events")
            return None if events is None else self._events(events, per)
        if block.has("samples"):
            return self._samples(block.get("samples"))
        name = block.get("preset")
        if name is None or any(block.broken(key) for key in block.node.entries):
            return None
        params = {key: block.get(key) for key in PRESETS[name].params if block.has(key)}
        if "codes" in params:
            if not params["codes"]:
                return None  # all of them were complained about
            params["codes"] = tuple(dict.fromkeys(code for _, code in params["codes"]))
        if "where" in params:
            params["where"] = _where(params["where"])
            if not params["where"]:
                return None  # all of it was complained about
        built = self._preset(name, params)
        if isinstance(built, PresetProblem):
            at, path = block.at(built.param), block.child(built.param)
            self.reader.add(at, path, "preset-parameter", str(built), built.hint)
            return None
        return built

    def _preset(self, name: str, params: dict[str, Any]) -> CounterSli | PresetProblem:
        key = (name, *params.items())
        if key not in self._presets:
            try:
                self._presets[key] = filtered(PRESETS[name].build(params, self.mesh), params)
            except PresetProblem as problem:
                self._presets[key] = problem
        return self._presets[key]

    def _events(self, block: Block, per: str) -> ExprSli | None:
        before = len(self.reader.problems)
        sli = EVENTS.build(block, self.reader)
        texts = {
            key: block.get(key).strip() for key in ("total", "bad", "good") if block.get(key) is not None
        }
        for key, text in texts.items():
            if text and (complaint := self._complaint(text, per)) is not None:
                self.reader.complain(block.at(key), block.child(key), complaint)
        used = set().union(*(expressions.functions(text) for text in texts.values()))
        if len(used) > 1 and len(self.reader.problems) == before:
            message = "rate() and increase() are mixed; both count the same events"
            self.reader.add(block.node, block.path, "promql-mixed", message, "use one of them throughout")
        usable = len(self.reader.problems) == before and sli is not None and bool(sli.bad) != bool(sli.good)
        return sli if usable else None

    def _samples(self, block: Block | None) -> SampleSli | None:
        before = len(self.reader.problems)
        sli = None if block is None else SAMPLES.build(block, self.reader)
        if sli is None or len(self.reader.problems) > before or not sli.gauge:
            return None
        return sli if bool(sli.good) != bool(sli.bad) else None

    def warn_of_counter(self, block: Block) -> None:
        """Say that a gauge is called as counters are, once for SLOs that stand in one place."""
        samples: Block | None = block.get("samples") if block.has("samples") else None
        if samples is None:
            return
        metric = (samples.get("gauge") or "").partition("{")[0]
        if not metric.endswith(("_total", "_bucket")) or id(samples.at("gauge")) in self._warned:
            return
        self._warned.add(id(samples.at("gauge")))
        message = f"{metric} is called as counters are, whose samples only count up"
        hint = "count its events: events with rate(metric[$window]); a gauge of such a name may stay"
        at, path = samples.at("gauge"), samples.child("gauge")
        self.reader.add(at, path, "samples-counter", message, hint, severity="warning")

    def _complaint(self, text: str, per: str) -> Complaint | None:
        if (text, per) not in self._expressions:
            self._expressions[text, per] = expressions.check(text, per)
        return self._expressions[text, per]


@EVENTS.rule
def _not_blank(block: Block, reader: Reader) -> None:
    for key in ("total", "bad", "good"):
        text = block.get(key)
        if text is not None and not text.strip():
            reader.add(block.at(key), block.child(key), "promql-syntax", f"'{key}' is blank")
