"""Files of other tools become an SLO file, and what that cannot say is said.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/unit/test_spec_foreign.py`` writes the expected texts of ``tests/golden/import``
anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.errors import UsageError
from sloctl.model import ExprSli
from sloctl.spec.foreign import Imported, convert
from sloctl.spec.foreign.queries import Recognised, istio
from sloctl.spec.foreign.to_openslo import export
from sloctl.spec.load import check_sources
from sloctl.spec.yaml import tree
from tests.support import shop_slos
from tests.support.yaml_text import read_yaml, read_yaml_all

GOLDEN = Path(__file__).parent.parent / "golden" / "import"
CASES = sorted(GOLDEN.glob("*.yaml"))
UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN")
CALLED = 'destination_service_name="cart",destination_service_namespace="shop"'


def imported(text: str, **options: int | str) -> Imported:
    return convert([spec.Source("given.yaml", text.encode())], **options)  # type: ignore[arg-type]


def sloth(
    bad: str, total: str = "rate(all_total[{{.window}}])", *, more: str = "", objective: str = "99"
) -> str:
    events = f"{{error_query: '{bad}', total_query: '{total}'}}"
    return (
        "version: prometheus/v1\nservice: cart\nslos:\n"
        f"  - {{name: a, objective: {objective}, sli: {{events: {events}}}{more}}}\n"
    )


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_golden(file: Path) -> None:
    result = convert([spec.Source(file.name, file.read_bytes())])
    said = spec.render_text(result.problems)
    for suffix, text in ((".expected", result.text), (".txt", said)):
        stored = file.with_suffix(suffix)
        if UPDATE:
            stored.write_text(text, encoding="utf-8") if text else stored.unlink(missing_ok=True)
        assert text == (stored.read_text(encoding="utf-8") if stored.exists() else "")


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.expected")), ids=lambda file: file.stem)
def test_what_was_written_validates_and_every_problem_stands_in_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    slo_set, problems = check_sources([spec.Source("slo.yaml", text.encode())])
    assert slo_set is not None
    assert [problem.code for problem in problems if problem.code != "no-owner"] == []
    comments = " ".join(
        line.strip().removeprefix("# ") for line in text.split("\n") if line.strip().startswith("#")
    )
    result = convert([spec.Source(file.name, file.with_suffix(".yaml").read_bytes())])
    for problem in result.problems:
        assert problem.message.partition(" is not converted: ")[2] in comments or problem.message in comments


def test_a_set_that_does_not_validate_is_never_written() -> None:
    refused = imported(sloth('rate(a_total{code=~"("}[{{.window}}])', objective="99.9999999"))
    assert refused.text == ""
    assert [(problem.code, problem.position.line) for problem in refused.problems] == [("import-refused", 4)]
    good, bad = sloth("rate(a_total[{{.window}}])"), sloth("count(rate(b_total[{{.window}}]))")
    both = convert([spec.Source("1.yaml", good.encode()), spec.Source("2.yaml", bad.encode())])
    assert both.written == 1
    assert check_sources([spec.Source("slo.yaml", both.text.encode())])[0] is not None
    assert "count() says how many series there are" in both.text


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ('response_code=~"5.."', ["5xx"]),
        ('response_code=~"(5..|429)"', ["5xx", "429"]),
        ('response_code=~"5[0-9]{2}"', ["5xx"]),
        ('response_code=~"5\\\\d\\\\d|0"', ["5xx", "0"]),
        ('response_code="503"', ["503"]),
        ('response_code!~"[1-4].."', ["5xx", "0"]),
        ('response_code=~"[45]..",response_code!="404"', None),
        ('response_code=~"x"', None),
        ('response_code=~"5{,3}"', None),
        ('response_code=~"5..",response_flags="-"', None),
        ('response_code=~"5..",source_workload="web"', None),
    ],
)
def test_codes_are_a_preset_where_they_are_the_same(more: str, codes: list[str] | None) -> None:
    base = f'reporter="source",{CALLED}'
    total = f"sum(rate(istio_requests_total{{{base}}}[$window]))"
    found = istio({"bad": f"sum(rate(istio_requests_total{{{base},{more}}}[$window]))", "total": total})
    if codes is None:
        assert isinstance(found, str)
        assert found
    else:
        assert found == Recognised({"preset": "errors", "codes": codes}, "cart", "shop")
    good = f'sum(increase(istio_requests_total{{{base},response_code!~"5.."}}[$window])) or vector(0)'
    assert istio({"good": good, "total": total}) == Recognised(
        {"preset": "errors", "codes": ["5xx"]}, "cart", "shop"
    )


@pytest.mark.parametrize(
    ("matchers", "why"),
    [
        (CALLED, "client's proxy and again"),
        (f'reporter="waypoint",{CALLED}', "ambient"),
        (f'reporter=~"source|destination",{CALLED}', "no matcher of reporter"),
        ('reporter="source",destination_service_name="cart"', "destination_service_namespace"),
        (f'reporter="source",cluster="eu1",{CALLED}', "no matcher of cluster"),
        (f'reporter="source",{CALLED.replace("=", "=~", 1)}', "destination_service_name"),
    ],
)
def test_what_counts_other_requests_is_no_preset(matchers: str, why: str) -> None:
    bad = f'sum(rate(istio_requests_total{{{matchers},response_code=~"5.."}}[$window]))'
    found = istio({"bad": bad, "total": f"sum(rate(istio_requests_total{{{matchers}}}[$window]))"})
    assert isinstance(found, str)
    assert why in found


def test_an_slo_for_each_service_is_one_of_all_services_and_no_other_grouping_is() -> None:
    base = 'reporter="destination",destination_service_namespace="shop"'
    events = {
        "bad": f'rate(istio_requests_total{{{base},response_code=~"5.."}}[$window])',
        "total": f"rate(istio_requests_total{{{base}}}[$window])",
    }
    sli: dict[str, object] = {"preset": "errors", "codes": ["5xx"], "side": "server"}
    assert istio(events, ["destination_service_name"]) == Recognised(sli, "*", "shop")
    assert isinstance(istio(events, ["source_workload"]), str)
    assert isinstance(istio(events), str)


def test_pyrra_windows_are_those_of_the_period() -> None:
    pyrra = (GOLDEN / "pyrra.yaml").read_text(encoding="utf-8").partition("\n---")[0]
    slo_set, _ = check_sources([spec.Source("slo.yaml", imported(pyrra).text.encode())])
    assert slo_set is not None
    [slo] = slo_set.slos
    assert slo.policy is not None
    factors = [slo.policy.scaled(line, slo.window.seconds) for line in slo.policy.windows]
    assert [round(float(factor), 6) for factor in factors] == [14, 7, 2, 1]


MALFORMED = (
    "[]",
    "{}",
    "~",
    "x",
    "-1",
    "[[x]]",
    "{a: {b: [c]}}",
    "'{{ .x }}'",
    '"\\u0085"',
    "'*'",
    "1e999999",
    "x" * 9000,
)


@pytest.mark.parametrize(
    "file", [file for file in CASES if file.stem != "malformed"], ids=lambda file: file.stem
)
def test_whatever_stands_in_a_file_is_a_problem_and_no_exception(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    roots = tree.parse(text, file.name, [])
    assert roots is not None
    nodes = [(key.line, key.column + len(key.text), value) for root in roots for key, value in pairs(root)]
    lines = text.split("\n")
    for index, (number, column, value) in enumerate(nodes):
        if value.kind != "scalar" or value.line != number or value.text.startswith(("(", "sum")):
            continue
        line = lines[number - 1]
        end = line.find(",", value.column) if "{" in line[:column] else len(line)
        given = MALFORMED[index % len(MALFORMED)]
        changed = f"{line[: value.column - 1]}{given}{line[end:] if end >= 0 else ''}"
        result = imported("\n".join([*lines[: number - 1], changed, *lines[number:]]))
        assert bool(result.problems) or bool(result.text)
        if result.text:
            assert check_sources([spec.Source("slo.yaml", result.text.encode())])[0] is not None


def pairs(node: tree.Node) -> list[tuple[tree.Node, tree.Node]]:
    found = [(node.keys[key], value) for key, value in node.entries.items()]
    for child in (*node.entries.values(), *node.items):
        found += pairs(child)
    return found


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "import-form"),
        (b"\xff\xfe\x00", "encoding"),
        (b"a: [", "yaml-syntax"),
        (b"version: prometheus/v1\nservice: !!python/name:os.system a\nslos: []\n", "yaml-tag"),
        (b"[" * 200, "depth"),
        (b"version: prometheus/v1\n" + b"x" * (10 * 1024 * 1024), "too-large"),
        (b"apiVersion: sloctl/v1\nkind: MeshSLOs\n", "import-form"),
        (b"groups: []\n", "import-form"),
    ],
)
def test_a_file_of_nobody_is_refused_with_its_place(content: bytes, code: str) -> None:
    result = convert([spec.Source("given.yaml", content)])
    assert result.invalid
    assert result.text == ""
    assert code in [problem.code for problem in result.problems]
    assert all(problem.position.file == "given.yaml" for problem in result.problems)


def test_queries_that_look_at_different_times_are_not_made_one_window() -> None:
    query = "{{source: prometheus, queryType: promql, query: 'sum(increase({}))'}}"
    text = (
        "apiVersion: openslo/v1alpha\nkind: SLO\nmetadata: {{name: a}}\nspec:\n  service: web\n  timeWindows: "
        "[{{count: 7, unit: Day}}]\n  objectives: [{{target: 0.9, ratioMetrics: {{good: {}, total: {}}}}}]\n"
    )
    unlike, alike = (
        imported(text.format(query.format("good[1m]"), query.format(f"everything[{other}]")))
        for other in ("1h", "1m")
    )
    assert "different ranges, [1h] and [1m]" in unlike.problems[0].message
    assert unlike.text == ""
    assert alike.written == 1


@pytest.mark.parametrize(("kind", "written"), [("Prometheus", 1), ("Graphite", 0)])
def test_what_a_query_is_asks_the_source_that_it_refers_to(kind: str, written: int) -> None:
    query = "{metricSource: {metricSourceRef: main, spec: {query: 'sum(requests)'}}}"
    result = imported(
        f"apiVersion: openslo/v1\nkind: DataSource\nmetadata: {{name: main}}\nspec: {{type: {kind}}}\n---\n"
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\nspec:\n  service: web\n  timeWindow: "
        "[{duration: 7d, isRolling: true}]\n  objectives: [{target: 0.9}]\n  indicator: {spec: {ratioMetric: "
        f"{{counter: true, good: {query}, total: {query}}}}}}}\n"
    )
    assert result.written == written
    assert any("not counted in Prometheus (Graphite)" in item.message for item in result.problems) is (
        not written
    )


@pytest.mark.parametrize(("bound", "written"), [("", 0), (',le="1"', 1)])
def test_buckets_without_a_bound_are_no_number_of_events(bound: str, written: int) -> None:
    """Pyrra's nginx example once had its bound elsewhere (spec.latency)."""
    result = imported(
        "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a}\nspec:\n  target: '90'\n"
        "  window: 4w\n  indicator:\n    latency:\n"
        f"      success: {{metric: 'seconds_bucket{{ingress=\"a\"{bound}}}'}}\n"
        "      total: {metric: 'seconds_count{ingress=\"a\"}'}\n"
    )
    assert result.written == written
    said = any("seconds_bucket without a bound (le)" in item.message for item in result.problems)
    assert said is not bool(written)


def test_a_largest_series_is_another_one_in_each_part_of_a_window() -> None:
    remark = "# max() is taken of each five minutes here, and these are added up; Sloth takes it of the whole"
    largest = imported(sloth("max(rate(bad_total[{{.window}}]))"))
    assert remark in largest.text
    assert "max()" not in imported(sloth("sum(rate(bad_total[{{.window}}]))")).text


def test_long_expressions_are_not_parsed() -> None:
    result = imported(sloth(" + ".join(["rate(a[{{.window}}])"] * 400)))
    assert [problem.code for problem in result.problems] == ["import-refused"]
    assert "4096 characters" in result.problems[0].message


@pytest.mark.parametrize(
    "bad",
    [
        "(" * 1500 + "rate(istio_a[{{.window}}])" + ")" * 1500,
        "rate(istio_a[{{.window}}])" + " + a" * 900,
        "-" * 3000 + "rate(a[{{.window}}])",
    ],
    ids=["brackets", "terms", "signs"],
)
def test_expressions_that_are_nested_too_deep_are_refused(bad: str) -> None:
    [problem] = imported(sloth(bad)).problems
    assert problem.code == "import-refused"
    assert "256 levels" in problem.message
    events = "events: {error_query: 'x', total_query: 'rate(all_total[{{.window}}])'}"
    raw = sloth("x").replace(events, f"raw: {{error_ratio_query: '{bad}'}}")
    assert "256 levels" in imported(raw).problems[0].message


def test_secrets_of_data_sources_are_shown_nowhere() -> None:
    text = (GOLDEN / "openslo.yaml").read_text(encoding="utf-8")
    result = imported(text)
    assert "hunter2" not in result.text + spec.render_text(result.problems)


def test_names_and_windows_are_options() -> None:
    text = sloth("rate(a[{{.window}}])")
    result = imported(text, name="bakery", seconds=28 * 86400)
    slo_set, _ = check_sources([spec.Source("slo.yaml", result.text.encode())])
    assert slo_set is not None
    assert (slo_set.name, slo_set.slos[0].window.seconds) == ("bakery", 28 * 86400)
    with pytest.raises(UsageError, match="--name"):
        imported(text, name="No Name")


def test_slos_of_one_name_are_told_apart() -> None:
    text = sloth("rate(a[{{.window}}])")
    result = convert([spec.Source("1.yaml", text.encode()), spec.Source("2.yaml", text.encode())])
    assert result.written == 2
    assert [problem.code for problem in result.problems] == ["import-renamed"]


def test_what_is_exported_as_openslo_comes_back_as_it_was() -> None:
    given = (
        (GOLDEN / "sloth.expected")
        .read_bytes()
        .replace(b"window: 30d", b"window: {calendar: week, timezone: UTC, starts: sunday}", 1)
    )
    slo_set, _ = check_sources([spec.Source("slo.yaml", given)])
    assert slo_set is not None
    text, problems, written = export(slo_set)
    assert written == len(slo_set.slos) == 5
    assert [problem.field for problem in problems] == ["alerting"]
    back, _ = check_sources([spec.Source("slo.yaml", imported(text).text.encode())])
    assert back is not None
    for before, after in zip(slo_set.slos, back.slos, strict=True):
        assert before.name in after.name
        assert (before.service, before.namespace, before.objective) == (
            after.service,
            after.namespace,
            after.objective,
        )
        assert (before.window, before.labels, before.owner) == (after.window, after.labels, after.owner)
        assert (before.description, before.runbook) == (after.description, after.runbook)
        assert before.sli == after.sli
        assert (before.policy and before.policy.windows) == (after.policy and after.policy.windows)


def test_exported_slos_have_names_of_their_own() -> None:
    """Where a dash ends a namespace or a service is not to be seen in their names together."""
    one = shop_slos.CHECKOUT.replace("checkout", "web-api")
    other = shop_slos.CHECKOUT.replace("checkout", "api").replace("shop", "shop-web")
    text = export(shop_slos.slos(one, other))[0]
    names = [document["metadata"]["name"] for document in read_yaml_all(text) if document["kind"] == "SLO"]
    assert names[0] == "shop-web-api-availability"
    assert len(set(names)) == 2


def test_what_openslo_cannot_say_is_said() -> None:
    slo_set, _ = check_sources([spec.Source("slo.yaml", (GOLDEN / "pyrra.expected").read_bytes())])
    assert slo_set is not None
    text, problems, written = export(slo_set)
    assert [problem.code for problem in problems] == ["export-left-out", "export-refused", "export-refused"]
    assert written == 2
    assert "every service of its namespace" in problems[1].message
    assert isinstance(slo_set.slos[0].sli, ExprSli)
    assert 'http_requests_total{job="shop-api"}\'' in text


def test_the_example_of_the_page_is_what_is_written() -> None:
    page = (GOLDEN.parents[2] / "docs" / "migrate.md").read_text(encoding="utf-8")
    given, becomes = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[:2]
    written = read_yaml(imported(given).text)
    assert {key: written[key] for key in ("metadata", "slos")} == read_yaml(becomes)


def test_native_histograms_are_not_exported() -> None:
    text = (
        (GOLDEN / "sloth.expected")
        .read_text(encoding="utf-8")
        .replace("slos:", "mesh: {histograms: native}\nslos:")
    )
    slo_set, _ = check_sources([spec.Source("slo.yaml", text.encode())])
    assert slo_set is not None
    _, problems, written = export(slo_set)
    assert written == 4
    assert "native histograms" in problems[-1].message
