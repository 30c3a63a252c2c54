"""The section ``mesh``: how it exposes its metrics."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import get_args

from sloctl.model import Histograms, Matcher, Mesh, MeshMode
from sloctl.promql.presets import ENVOY_BUCKETS
from sloctl.spec.fields import checks, expressions
from sloctl.spec.fields.shapes import Block, Either, Field, Items, Named, Object, Section
from sloctl.spec.fields.values import Choice, Exact, Reader, Text

_LABEL_NAME = r"(?!__)[a-zA-Z_][-a-zA-Z0-9_.:/]*"
_UTF8 = "letters, digits and '_', with Prometheus 3 also '.', '-', ':' and '/'"
_REGEX = Text("a regular expression (RE2)", max_length=1000)
MATCHER_FORMS = Object(
    "matcher",
    doc="A label matcher other than equality.",
    fields=(
        Field("not", Text("text", max_length=256), "Any other value."),
        Field("regex", _REGEX, "A regular expression that the whole value matches."),
        Field("not_regex", _REGEX, "A regular expression that the whole value does not match."),
    ),
    one_of=(("not", "regex", "not_regex"),),
)
MATCHER = Either(
    Text("text", max_length=256, hint='for series without the label write {regex: "^$"}'), MATCHER_FORMS
)

MESH = Section(
    "mesh",
    model=Mesh,
    doc="How the mesh exposes its metrics.",
    fields=(
        Field(
            "mode",
            Choice(get_args(MeshMode)),
            "The data plane. In an ambient mesh, waypoints report each request once.",
        ),
        Field(
            "matchers",
            Named(_LABEL_NAME, "a label name", MATCHER, checks.matcher_name, key_hint=_UTF8),
            "Label matchers that are added to every selector, for several clusters or tenants in one Prometheus. "
            "Plain text means equality.",
            examples=({"cluster": "eu1"},),
        ),
        Field(
            "latency_buckets",
            Items(Exact("a number of milliseconds above 0", Decimal(0), Decimal(86_400_000), 6), maximum=200),
            "Bounds of the latency histogram in milliseconds, ascending, if the mesh overrides Envoy's.",
            without=f"Envoy's own bounds, {ENVOY_BUCKETS[0]} to {ENVOY_BUCKETS[-1]}",
            examples=([5, 25, 100, 250, 1000],),
        ),
        Field(
            "histograms",
            Choice(get_args(Histograms)),
            "How Prometheus keeps the latency of requests: in `_bucket` series, or as native histograms (converted "
            "ones too), where a threshold need not be a bound.",
        ),
        Field(
            "target_labels",
            Items(Text("a label name", _LABEL_NAME, _UTF8, max_length=128), maximum=10),
            "Labels that together tell scrape targets apart, on the metrics and on `up`.",
        ),
    ),
    apart={
        "matchers": "a matcher has a label and an operator, which is the key of the form it is written in"
    },
)


def mesh(block: Block | None, reader: Reader) -> Mesh:
    """The mesh; what the section does not say, or without it all, is as by default."""
    matchers = _matchers(block, reader) if block is not None else ()
    return MESH.build(block, reader, matchers=matchers) or Mesh()


def _matchers(block: Block, reader: Reader) -> tuple[Matcher, ...]:
    found = []
    for label, _, value in block.items("matchers"):
        if isinstance(value, str):
            found.append(Matcher(label, "=", value))
            continue
        for key, op in (("not", "!="), ("regex", "=~"), ("not_regex", "!~")):
            text = value.get(key)
            if text is None:
                continue
            complaint = expressions.regex(text) if op.endswith("~") else None
            if complaint is not None:
                reader.complain(value.at(key), value.child(key), complaint)
                continue
            found.append(Matcher(label, op, text))
    return tuple(found)


@MESH.rule
def _buckets_ascend(block: Block, reader: Reader) -> None:
    for (_, before), (node, bound) in pairwise(block.items("latency_buckets")):
        if bound <= before:
            message = f"bounds must ascend, and {bound} comes after {before}"
            reader.add(node, block.child("latency_buckets"), "bucket-order", message)


@MESH.rule
def _labels_tell_targets_apart(block: Block, reader: Reader) -> None:
    seen = set()
    for node, label in block.items("target_labels"):
        if label in seen or label == "le":
            what = "is given twice" if label in seen else "does not tell targets apart"
            reader.add(node, block.child("target_labels"), "target-label", f"'{label}' {what}", "remove it")
        seen.add(label)
