"""The YAML that we write is read back as it was, by readers of YAML 1.1 and 1.2, whatever the strings hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sloctl.artefacts import yaml as render
from sloctl.artefacts.yaml import YamlValue


def _read_1_1(text: str) -> Any:
    return yaml.load(text, Loader=yaml.SafeLoader)


def _read_libyaml(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _read_1_2(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


READERS: list[Callable[[str], Any]] = [_read_1_1, _read_libyaml, _read_1_2]

TRICKY = [
    *("", " ", "  leading", "trailing ", "\t", "\ttab", "tab\tinside", "\n", "\n\n", "a\n", "a\n\n", "\na"),
    *(
        "a\nb",
        "a\n\nb",
        "a\n  b",
        " a\nb",
        "a \nb",
        "a\n \nb",
        "a\nb ",
        "a\n\tb",
        "a\r\nb",
        "a\rb",
        "# a\n# b",
    ),
    *(
        "---\na",
        "a\n---\nb",
        "a\n...\nb",
        "---",
        "...",
        "--- a",
        "%YAML 1.2",
        "%a\nb",
        "- a\n- b",
        "a: b\nc: d",
    ),
    *("yes", "No", "on", "OFF", "true", "False", "y", "N", "null", "Null", "~", "none", "nan", ".nan", "inf"),
    *(
        "1",
        "-1",
        "+1",
        "1_000",
        "1.5",
        "1.",
        ".5",
        "1e3",
        "1E3",
        "1e+3",
        "1.0e3",
        "0x1f",
        "0X1F",
        "0o17",
        "017",
    ),
    *(
        "0b11",
        "1:30",
        "190:20:30",
        "-.inf",
        "2001-12-14",
        "2001-12-14 21:59:43",
        "08",
        "0e0",
        "12e03",
        "_",
        "__1",
    ),
    *(
        "- x",
        "-",
        "a: b",
        "a:",
        ":",
        ": a",
        "a #b",
        "#",
        "# a",
        "a#b",
        "?",
        "? a",
        "=",
        "<<",
        "!",
        "!!str a",
        "&a",
    ),
    *(
        "*a",
        "[a]",
        "{a}",
        "{}",
        "[]",
        "a, b",
        "'",
        '"',
        "a'b",
        'a"b',
        "\\",
        "a\\nb",
        "|",
        ">",
        "|-",
        "@",
        "`",
        "%",
    ),
    *("5m", "30d", "1h30m", "99.9", "0.999", "1.0.0", "v1", "a b", "a  b", "a - b", "/a", "a/b.c-d_e"),
    *(
        "\0",
        "\a",
        "\b",
        "\x1b[31m",
        "\x7f",
        "\x80",
        "\x85",
        "a\x85b",
        "\x9f",
        "\xa0",
        "\u2028",
        "a\u2029b\nc",
    ),
    *(
        "\ufeff",
        "\ufeffa",
        "a\ufeffb\nc",
        "\u200b",
        "\u202e",
        "\ufffd",
        "\ufffe",
        "\uffff",
        "\U0001f600",
        "é\nü",
    ),
    *(
        "\U0001f600\n\U0001f601",
        "\U0010ffff",
        "\ue000",
        "\ufdd0",
        "\u3000\nb",
        "日本\n語",
        "x" * 2000,
        "x y " * 900,
    ),
    *("1" + "a" * 60 + "!", "a " * 60 + "!", "{{ $value }}", "${a}", 'rate(x{a="b"}[5m])\n> 0.5'),
]
TEXTS = st.one_of(
    st.sampled_from(TRICKY),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from(" \n\t\r-:#'\"\\|>?&*!%@`[]{},.aé0\x00\x85\u2028\ufeff\U0001f600")),
    st.from_regex(r"[-+]?[0-9._:exobEa-f]{1,8}", fullmatch=True),
)
DOCUMENTS = st.dictionaries(
    TEXTS,
    st.recursive(
        TEXTS | st.integers() | st.booleans(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


def kinds(value: Any) -> Any:
    """The value with its types: True is not 1, and a list is not a tuple."""
    if isinstance(value, dict):
        return [(kinds(key), kinds(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [kinds(item) for item in value]
    return type(value).__name__, value


@pytest.mark.parametrize("read", READERS)
def test_each_tricky_text_in_each_place(read: Callable[[str], Any]) -> None:
    for text in TRICKY:
        document: dict[str, YamlValue] = {
            text: {"value": text, "list": [text, [text], {text: text, "b": text}, {"a": [text]}]}
        }
        assert kinds(read(render.yaml(document))) == kinds(document), repr(text)


@settings(deadline=None)
@given(DOCUMENTS)
@example({})
@example({"": {}})
@example({"a": [[], {}, "", [[]], [{}], [["a\nb"]], {"": ""}, True, 0, -1]})
@example({"a": {"x" * 3000: {"b": ["c"]}}, "l": [{"é\n" * 900: "d\ne", "f": 1}]})
def test_documents_are_read_back(document: dict[str, Any]) -> None:
    text = render.yaml(document)
    for read in READERS:
        assert kinds(read(text)) == kinds(document)
    assert all(line == line.rstrip(" ") for line in text.split("\n"))


def test_what_stands_in_several_documents_is_written_as_ever() -> None:
    rule: render.YamlMapping = {"expr": "a\nb", "labels": {"a": "1"}, "list": [{"x": 1}]}
    kept = render.Kept(rule)
    for _ in range(2):
        documents: tuple[render.YamlMapping, ...] = (
            {"rules": [kept, kept]},
            {"spec": {"rules": [kept]}},
            {"one": kept},
        )
        for document in documents:
            same = json.loads(json.dumps(document))
            assert render.yaml(document) == render.yaml(same)


@settings(deadline=None)
@given(st.text(st.characters(categories=["Cs"]) | st.characters(max_codepoint=0x7F)))
def test_surrogates_become_the_replacement_character(text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", text)
    out = render.yaml({"a": text})
    out.encode()
    assert _read_1_1(out) == {"a": expected}


@given(st.text())
def test_a_comment_never_ends_early(comment: str) -> None:
    text = render.yaml({"a": "b"}, comment=comment)
    text.encode()
    for read in READERS:
        assert read(text) == {"a": "b"}


def test_what_cannot_be_seen_is_escaped() -> None:
    hidden = "a\xa0b\u200bc\u202ed\u2066e\xadf\ue000g\u3000h"
    assert render.scalar(hidden) == r'"a\u00a0b\u200bc\u202ed\u2066e\u00adf\ue000g\u3000h"'
    assert render.scalar("é 日本 \U0001f600") == '"é 日本 \U0001f600"'


def test_the_style_is_one_that_people_write() -> None:
    document: dict[str, render.YamlValue] = {
        "groups": [
            {
                "name": "shop:shop/checkout:grid",
                "interval": "5m",
                "rules": [
                    {"record": "slo:bad", "expr": "sum(\n  rate(x[5m])\n)", "labels": {"objective": "0.999"}},
                    {"alert": "Burn", "expr": 'a{b="c"} > 1', "for": "1h30m", "labels": {}, "list": []},
                ],
            },
        ],
        "on": True,
        "count": 3,
        "text": "first\n\n  second",
        "nested": [["a", "b c"], [{"d": "~"}]],
    }
    assert render.yaml(document, comment="One.\n\nTwo.") == (
        "# One.\n"
        "#\n"
        "# Two.\n"
        "groups:\n"
        '  - name: "shop:shop/checkout:grid"\n'
        "    interval: 5m\n"
        "    rules:\n"
        '      - record: "slo:bad"\n'
        "        expr: |-\n"
        "          sum(\n"
        "            rate(x[5m])\n"
        "          )\n"
        "        labels:\n"
        '          objective: "0.999"\n'
        "      - alert: Burn\n"
        '        expr: "a{b=\\"c\\"} > 1"\n'
        "        for: 1h30m\n"
        "        labels: {}\n"
        "        list: []\n"
        '"on": true\n'
        "count: 3\n"
        "text: |-\n"
        "  first\n"
        "\n"
        "    second\n"
        "nested:\n"
        "  -\n"
        "    - a\n"
        "    - b c\n"
        "  -\n"
        '    - d: "~"\n'
    )


@pytest.mark.slow
def test_forty_megabytes_in_about_a_second() -> None:
    rule: dict[str, YamlValue] = {
        "record": "slo:x",
        "expr": 'sum(\n  rate(x{a="b"}[5m])\n)' * 8,
        "labels": {"id": "a:b/c", "d": "5m"},
    }
    start = time.process_time()
    text = render.yaml({"rules": [rule | {"n": f"{i}:{i}"} for i in range(120_000)]})
    assert len(text) > 40_000_000
    assert time.process_time() - start < 10


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool reads the file")
def test_prometheus_reads_the_same(tmp_path: Path) -> None:
    texts = [text for text in TRICKY if "{{" not in text and "\ufffe" not in text]
    annotations = {f"a{i}": text for i, text in enumerate(texts)}
    rule: dict[str, YamlValue] = {"alert": "A", "expr": "vector(1)", "annotations": annotations}
    (tmp_path / "rules.yaml").write_text(render.yaml({"groups": [{"name": "g", "rules": [rule]}]}))
    case = {
        "rule_files": ["rules.yaml"],
        "tests": [
            {
                "interval": "1m",
                "alert_rule_test": [
                    {"eval_time": "1m", "alertname": "A", "exp_alerts": [{"exp_annotations": "PLACE"}]}
                ],
            }
        ],
    }
    escaped = ", ".join(
        f'"{name}": "{"".join(f"{chr(92)}U{ord(char):08x}" for char in text)}"'
        for name, text in annotations.items()
    )
    (tmp_path / "case.yaml").write_text(json.dumps(case).replace('"PLACE"', f"{{{escaped}}}"))
    command = ["promtool", "test", "rules", "case.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
