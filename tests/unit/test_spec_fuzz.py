"""Whatever is in a file, sloctl answers with problems or with a set, and never with a traceback.

``HYPOTHESIS_PROFILE=deep`` runs many more examples.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sloctl import promql, spec
from sloctl.errors import UsageError
from sloctl.model import CounterSli, Matcher, Slo, SloSet
from sloctl.spec.fields import expressions
from tests.support.yaml_text import read_yaml_all

COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("spec", max_examples=200, **COMMON)
settings.register_profile("deep", max_examples=20_000, **COMMON)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "spec"))

GOLDEN = Path(__file__).parent.parent / "golden"
GOOD = [
    document
    for file in sorted((GOLDEN / "valid").glob("*.yaml"))
    for document in read_yaml_all(file.read_text(encoding="utf-8"))
    if document is not None
]
TEXTS = [file.read_text(encoding="utf-8") for file in sorted((GOLDEN / "valid").glob("*.yaml"))]
KEYS = sorted({key for text in TEXTS for key in text.replace("{", " ").replace(":", " ").split()})


def check(content: bytes) -> SloSet | None:
    """Load, and render what is wrong; only UsageError may come out."""
    try:
        slo_set, problems = spec.check([Path("-")], stdin=io.BytesIO(content))
    except UsageError:
        return None
    lines = spec.source_lines(problems, texts={"<stdin>": content.decode("utf-8", "replace")})
    spec.render_text(problems, lines=lines).encode()
    spec.render_json(problems).encode()
    has_errors = any(problem.severity == "error" for problem in problems)
    assert (slo_set is None) is has_errors
    for problem in problems:
        assert problem.message
        assert problem.position.line >= 1
        assert problem.position.column >= 1
        assert len(problem.message) < 600
    if slo_set is not None:
        assert_sound(slo_set)
    return slo_set


def walk(node: Any) -> Any:
    """All nodes of a syntax tree."""
    yield node
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "param"):
        child = getattr(node, name, None)
        for item in child if isinstance(child, list) else [child]:
            if item is not None and type(item).__module__.startswith("promql_parser"):
                yield from walk(item)


def selectors(expr: str) -> list[dict[tuple[str, str], str]]:
    """The matchers of each selector of an expression, as a parser reads them."""
    found = []
    for node in walk(promql_parser.parse(expr)):
        # kube-state-metrics is no part of the mesh, and its selector has nothing of the file.
        if isinstance(node, promql_parser.VectorSelector) and node.name != "kube_pod_start_time":
            found.append({(m.name, op_of(m)): m.value for m in node.matchers.matchers})
    return found


OPS = (
    (promql_parser.MatchOp.Equal, "="),
    (promql_parser.MatchOp.NotEqual, "!="),
    (promql_parser.MatchOp.Re, "=~"),
    (promql_parser.MatchOp.NotRe, "!~"),
)


def op_of(matcher: promql_parser.Matcher) -> str:
    return next(text for op, text in OPS if op == matcher.op)


def assert_sound(slo_set: SloSet) -> None:
    """Every expression of the set parses, and each selector holds exactly the values of the file."""
    for slo in slo_set.slos[:4]:
        for expr in promql.events(slo, slo_set.mesh, 300).values():
            found = selectors(expr)
            assert found
            if isinstance(slo.sli, CounterSli):
                for matchers in found:
                    assert_holds(matchers, slo, slo.sli, slo_set.mesh.matchers)


def assert_holds(
    matchers: dict[tuple[str, str], str], slo: Slo, sli: CounterSli, mesh: tuple[Matcher, ...]
) -> None:
    for matcher in mesh:
        assert matchers[matcher.label, matcher.op] == matcher.value
    if (sli.namespace_label, "=") not in matchers:
        assert set(matchers) == {(matcher.label, matcher.op) for matcher in mesh}, (
            "up and the agent's start have the mesh's matchers only"
        )
        return
    assert matchers[sli.namespace_label, "="] == slo.namespace
    if not slo.wildcard:
        assert matchers[sli.service_label, "="] == slo.service


@PROFILE
@given(st.binary(max_size=400))
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@example(b"%YAML 1.1\n---\n")
@example(b"%TAG ! tag:x,2000:\n--- !y\n")
@example(b"? [a]\n: b")
@example(b"a: &a [*a]")
@example(b"<<: {<<: {<<: x}}")
@example(b"a: 0o8\nb: !!binary x\nc: !!timestamp x\nd: 2024-99-99\ne: 1e999\nf: " + b"9" * 9000)
def test_any_bytes(content: bytes) -> None:
    check(content)


@PROFILE
@given(st.text(alphabet="ab:-{}[]&*!|>'\"%@`#,?~<= \n\t0159.\\xu\u00e9\u2028", max_size=200))
def test_any_punctuation(text: str) -> None:
    check(text.encode())
    check((TEXTS[0] + text).encode())


@PROFILE
@given(st.data())
def test_good_file_with_a_few_characters_changed(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + length :]
    check(text.encode("utf-8", "surrogatepass"))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=30)
    | st.sampled_from(KEYS)
    | st.sampled_from(
        ["1:30", "30d", "0d", "9" * 40 + "d", "*", "{slo}", "rate(a[$window])", "mesh", "none", "99.9"]
    )
)
TREES = st.recursive(
    SCALARS,
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), child, max_size=4)
    ),
    max_leaves=10,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree where something can be replaced: (container, key)."""
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        found += places(value)
    return found


def copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: copy(value) for key, value in node.items()}
    return [copy(value) for value in node] if isinstance(node, list) else node


@PROFILE
@given(st.data())
def test_good_file_with_a_few_values_changed(data: st.DataObject) -> None:
    tree = copy(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(tree)))
        if data.draw(st.booleans()):
            container[key] = data.draw(TREES)
        elif isinstance(container, dict):
            container[data.draw(st.sampled_from(KEYS))] = container.pop(key)
        if not places(tree):
            break
    check(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


HOSTILE = st.text(max_size=20) | st.text(alphabet="\"'\\`{}[]()#$\n=~!|.*, ab", max_size=20)
FIELDS = (
    "service", "namespace", "name", "set", "matcher", "matcher_regex", "label", "owner", "runbook", "description",
    "bad", "total", "window", "threshold", "channel", "cron", "timezone", "prometheus",
)  # fmt: skip


def file_with(**values: str) -> bytes:
    """A good file with some texts replaced, whatever they hold."""
    get = values.get
    document: dict[str, Any] = {
        "apiVersion": "sloctl/v1",
        "kind": "MeshSLOs",
        "metadata": {"name": get("set", "shop"), "labels": {"team": get("label", "x")}},
        "mesh": {"matchers": {"cluster": get("matcher", "eu1")}},
        "sources": {"prometheus": {"url": get("prometheus", "http://p")}},
        "defaults": {
            "owner": get("owner", "me"),
            "runbook": get("runbook", "http://r"),
            "window": get("window", "30d"),
        },
        "slos": [
            {
                "name": get("name", "availability"),
                "service": get("service", "checkout"),
                "namespace": get("namespace", "shop"),
                "description": get("description", "text"),
                "sli": {"preset": "latency", "threshold": get("threshold", "250ms")},
            },
            {
                "name": "events",
                "service": "billing",
                "objective": 99,
                "sli": {
                    "events": {
                        "bad": get("bad", "rate(a[$window])"),
                        "total": get("total", "rate(b[$window])"),
                    }
                },
            },
            {"name": "all", "service": "*", "namespace": "shop", "sli": {"preset": "availability"}},
        ],
        "jobs": [{"name": "report", "cron": get("cron", "0 9 * * 1"), "timezone": get("timezone", "UTC")}],
        "reports": {"slack": {"channel": get("channel", "#slo")}},
    }
    if "matcher_regex" in values:
        document["mesh"]["matchers"]["tenant"] = {"regex": values["matcher_regex"]}
    return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")


def test_the_base_of_the_fields_test_is_valid() -> None:
    assert check(file_with()) is not None
    assert check(file_with(matcher='a"} or b{c="', matcher_regex="a|b")) is not None


@PROFILE
@given(st.sampled_from(FIELDS), HOSTILE)
@example("matcher", 'a"}) or vector(1) # ')
@example("matcher", "\\")
@example("matcher_regex", '.*"} or up{x=~"')
@example("bad", "rate(a[$window])) or vector(1) or (rate(a[$window])")
@example("bad", "rate(a[$window]) # ")
@example("bad", 'rate(a{b="rate("}[$window])')
@example("bad", 'rate(a{b="`"}[$window]) or rate(a{b="`#"}[$window])')
@example("timezone", "../../etc/passwd")
@example("timezone", "/etc/localtime")
@example("timezone", "Europe")
@example("prometheus", "http://[::1")
@example("prometheus", "http://a\u2100b")
@example("window", "99999999999d")
def test_any_text_in_any_field(name: str, text: str) -> None:
    check(file_with(**{name: text}))


@PROFILE
@given(HOSTILE)
def test_matcher_values_reach_prometheus_as_they_are(text: str) -> None:
    slo_set = check(file_with(matcher=text))
    if slo_set is not None:
        matcher = Matcher("cluster", "=", text)
        assert slo_set.mesh.matchers == (matcher,)
        assert selectors(promql.selector("up", [matcher])) == [{("cluster", "="): text}]


FRAGMENTS = st.sampled_from(
    ["rate(", "increase(", "sum(", ")", "a", "b_total", '{x="y"}', "[$window]", "[5m]", " or ", " + ", "#", "\n",
     '"', "'", "`", "{", "}", "$window", "vector(1)", " offset 5m", "@", ",", "by (x)", "1", "\\", "(", "[", "]"]
)  # fmt: skip


@PROFILE
@given(st.lists(FRAGMENTS, min_size=1, max_size=14).map("".join))
@example("rate(a[$window])")
@example('rate(a{x="y"}[$window]) + sum(rate(b_total[$window]))')
def test_expressions_stay_within_their_parentheses(text: str) -> None:
    """What loads is complete PromQL by itself, and stays one operand wherever it is embedded."""
    slo_set = check(file_with(bad=text))
    if slo_set is None:
        return
    (slo,) = (slo for slo in slo_set.slos if slo.name == "events")
    expr = promql.events(slo, slo_set.mesh, 300)["bad"]
    outer = promql_parser.parse(f"0 * (\n{expr}\n)")
    assert isinstance(outer, promql_parser.BinaryExpr)
    assert isinstance(outer.rhs, promql_parser.ParenExpr)
    assert isinstance(outer.rhs.expr, promql_parser.AggregateExpr)
    assert "$window" not in expr


def calls(content: str) -> int:
    """How many functions are called to check a file: steps that no machine makes faster or slower."""
    count = 0

    def step(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(step)
    try:
        check(content.encode())
    finally:
        sys.setprofile(None)
    return count


def unknown_keys(number: int) -> str:
    return TEXTS[0].partition("\n---\n")[0] + "".join(f"unknown{index}: 1\n" for index in range(number))


def test_the_steps_grow_with_the_unknown_keys_and_not_with_their_square() -> None:
    first, second, third = (calls(unknown_keys(number)) for number in (400, 800, 1200))
    assert third - second <= 1.1 * (second - first)


MANY = 200_000
"""The square of it is more steps than a test could wait for."""


@pytest.mark.parametrize(
    "total",
    [
        "rate(" + " " * MANY,
        "rate" + " " * MANY,
        "rate(x" + " " * MANY + "[",
        "rate(x{a='b'}" + " " * MANY + "[$window" + " " * MANY,
        "f(" + " " * MANY + "[$window",
        "f(" + "[" * MANY + "$window]",
        "{{" * MANY,
        "rate(" * MANY,
        "rate({" * MANY,
        "$" * MANY,
    ],
    ids=lambda total: total[:20],
)
def test_an_expression_of_any_length_is_checked_in_one_pass(total: str) -> None:
    complaint = expressions.check(total)
    assert complaint is not None and len(complaint.message) < 400
