"""The report's JSON interface and what people read: schema, hostile names, numbers, tables."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.reports import slo_report
from sloctl import spec
from sloctl.cli import tables
from sloctl.report import html, markdown, spreadsheet
from sloctl.report.data import (
    Finding,
    PartialBudget,
    Quality,
    Report,
    SideComparison,
    SloStatus,
    json_schema,
    to_json,
)
from sloctl.report.health import ConfiguredRetries, EdgeAmplification
from sloctl.report.numbers import budget_share, count, digits_for, percent, rate, spent_share
from sloctl.report.routine import Routine, RoutineColumn, RoutineSection, last_period
from tests.support import slack_reports
from tests.support.reports import AT, HOSTILE, item, report
from tests.support.simulated import Flow, Simulated

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
VALIDATOR = jsonschema.Draft202012Validator(
    json_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def built() -> Report:
    """A report over every kind of SLO: with and without data, wildcard, on and off the mesh."""
    text = (ROOT / "tests" / "golden" / "valid" / "design.yaml").read_bytes()
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(text))
    now = AT.timestamp()
    services = {"availability": ("checkout", 5.0), "latency": ("checkout", 0.0)}
    flows = []
    for slo in slo_set.slos:
        service, bad = ("cart", 0.0) if slo.wildcard else services.get(slo.name, ("", 0.0))
        if service:
            flows.append(Flow(slo.id, slo.namespace, service, 0, now + 1e6, 10, bad))
    alerts = [(flow, "LatencyBudgetBurnPage1h") for flow in flows if flow.slo_id.endswith("latency")]
    source = Simulated(slo_set, flows, alerts=alerts, sides={"cart": (1, 11)})
    return slo_report.build(source, slo_set, AT)


# --- JSON


def published(name: str, text: str) -> None:
    file = DOCS / name
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text


def test_published_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    published("report.schema.json", json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")


def test_a_built_report_is_valid() -> None:
    made = built()
    assert {entry.status for entry in made.slos} == {"no_data", "exhausted", "at_risk", "ok"}
    assert made.findings
    VALIDATOR.validate(json.loads(markdown.json_text(to_json(made))))


def part(alike: float = 34.0, good: float = 0.0079, **values: Any) -> SloStatus:
    """A budget of which ten minutes are recorded."""
    nothing = {"status": "partial", "spent": None, "remaining": None}
    return item(
        **nothing | {"partial": PartialBudget(alike, good), "quality": Quality(recorded=612.0)} | values
    )


def states() -> Iterator[SloStatus]:
    nothing = dict.fromkeys(("sli", "sli_interval", "spent", "remaining"))
    yield item()
    yield item(status="no_data", good=0.0, bad=0.0, total=0.0, burn_rates={"1h": None}, **nothing)
    yield item(status="exhausted", spent=3.5, remaining=-2.5, bad=35.0, good=9965.0, sli=0.9965)
    yield item(status="at_risk", alerts=("Page", "Ticket"), exhausted_at=AT + timedelta(hours=3))
    yield item(quality=Quality(gaps=1500.5, excluded=60), owner="team", sides=SideComparison(1.0, None))
    yield part()
    yield item(good=0.25, bad=0.5, total=0.75, window="month (Europe/Paris)", namespace="")


@pytest.mark.parametrize("entry", list(states()))
def test_every_state_is_valid(entry: SloStatus) -> None:
    finding = Finding("info", "x", HOSTILE, {"slo": HOSTILE})
    text = markdown.json_text(to_json(report(entry, findings=(finding,))))
    data = json.loads(text)
    VALIDATOR.validate(data)
    assert data["findings"][0]["message"] == HOSTILE, "programs get what there is"
    assert text.isascii() and all(char.isprintable() or char == "\n" for char in text)
    budget: dict[str, Any] = {"spent": entry.spent, "remaining": entry.remaining}
    if entry.partial:
        budget |= {"partial": {"alike": entry.partial.alike, "good": entry.partial.good}}
    assert data["slos"][0]["budget"] == budget
    assert data["slos"][0]["quality"].get("recorded") == entry.quality.recorded


def test_what_is_recorded_of_a_part_of_its_window_says_so_on_top_and_in_its_row() -> None:
    made = report(part(), item(slo="old"), part(0.0, 0.0, slo="quiet", quality=Quality(recorded=3600.0)))
    on_top = "10m of 30d or more is recorded for 2 of 3 budgets"
    text = markdown.markdown(made)
    title, *_ = text.splitlines()
    assert title.endswith(f": 2 partial, 1 ok; {on_top}")
    rows = {row[2]: row for row in map(cells, text.splitlines()) if row[0].strip("| ") in ("partial", "ok")}
    found = {name: [cell for cell in row if "…" in cell or "30d" in cell] for name, row in rows.items()}
    assert found["availability"][0] == "-3,300 … 99.2 %"
    assert found["availability"][1] == "10m of 30d"
    assert "100.0 %" in rows["quiet"] and "1h of 30d" in rows["quiet"]
    assert "30d" in rows["old"]
    page = html.page(made)
    assert page.count("10m of 30d") >= 3 and "2 partial, 1 ok." in page and on_top in page
    assert "-3,300 … 99.2 %" in page


def test_a_narrow_terminal_shows_how_much_of_the_window_is_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report(part(alerts=("AvailabilityBudgetBurnPage1h",)))
    monkeypatch.setattr(tables, "console", lambda width=0: Console(width=78, force_terminal=True))
    tables.print_report(made)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "-3,300 … 99.2 %" in line]
    assert "10m of 30d" in row


@pytest.mark.parametrize(("columns", "listed"), [(60, True), (120, False)])
def test_a_table_without_room_for_its_names_is_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, listed: bool
) -> None:
    monkeypatch.setattr(
        tables, "console", lambda width=0: Console(width=columns, force_terminal=True, no_color=True)
    )
    monkeypatch.setattr(tables, "_piped", lambda: False)
    edge = EdgeAmplification("shop/frontend", "shop/checkout", 1000.0, 1300.0, 1.3, "metrics")
    tables.print_report(replace(report(item()), retry_amplification=(edge,)))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(lines)
    assert "shop/frontend" in text and "shop/checkout" in text, "whole"
    assert ("- source shop/frontend, destination shop/checkout, requests" in text) is listed


def test_csv_has_every_budget_and_no_formula() -> None:
    made = report(
        part(service='=HYPERLINK("http://e.x")', owner="@team", alerts=("-Page", "Ticket")),
        item(slo="a,b", doubts=("partial-answer",), sli=0.9999995),
        item(status="no_data", sli=None, sli_interval=None, spent=None, remaining=None, total=0.0),
    )
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv_text(made))))
    assert len(rows) == 3
    first, nothing, fine = rows
    assert first["service"] == '\'=HYPERLINK("http://e.x")'
    assert (first["owner"], first["alerts"]) == ("'@team", "'-Page Ticket")
    assert (first["status"], first["recorded_seconds"], first["budget_spent"]) == ("partial", "612", "")
    assert (first["spent_if_alike"], first["spent_if_good"]) == ("34", "0.0079")
    assert (nothing["status"], nothing["sli"], nothing["total"]) == ("no_data", "", "0")
    assert (fine["slo"], fine["sli"], fine["doubts"]) == ("a,b", "0.9999995", "partial-answer")
    assert (fine["burn_rate_1h"], fine["burn_rate_3d"], fine["recorded_seconds"]) == ("0.5", "", "")


def test_the_worst_say_that_there_are_more() -> None:
    made = report(
        *(item(service=f"s{n}", remaining=n / 10, spent=1 - n / 10) for n in range(9, 0, -1)),
        findings=(
            Finding("warning", "no-data", "s9 has none", {"namespace": "shop", "service": "s9"}),
            Finding("warning", "scrape-gap", "s1 has one", {"namespace": "shop", "service": "s1"}),
            Finding("info", "mixed-sources", "of all", {"slo_set": "shop"}),
        ),
    )
    worst = markdown.top(made, 2)
    assert [entry.service for entry in worst.slos] == ["s2", "s1"], "in the order of the report"
    assert markdown.summary(worst).endswith(": 9 ok; shown are the worst 2 of 9")
    assert [found.code for found in worst.findings] == ["scrape-gap", "mixed-sources", "rows-left-out"]
    assert markdown.top(made, 9) is made
    VALIDATOR.validate(json.loads(markdown.json_text(to_json(worst))))


@pytest.mark.parametrize(("many", "lines"), [(3, 3), (342, 1)])
@pytest.mark.parametrize("code", ["no-data", "traffic-stopped"])
def test_what_is_said_of_many_slos_is_one_line_with_a_count(many: int, lines: int, code: str) -> None:
    made = report(item(), findings=tuple(Finding("warning", code, f"slo {n}") for n in range(many)))
    brief = markdown.brief(made)
    assert len(brief) == lines
    assert ("341 more like it" in brief[0].message) == (lines == 1)
    folded = code == "no-data"
    assert len(markdown.findings(made)) == (lines if folded else many), "only what the table says too"


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\", "") for cell in line.strip("|").split(" | ")]


def test_a_row_says_its_source_where_they_differ_and_its_doubts() -> None:
    one, two = item(source="ledger"), item(slo="latency", source="raw", doubts=("partial-answer",))
    mixed, plain = markdown.markdown(report(one, two)), markdown.markdown(report(one))
    titles, _, *rows = [cells(line) for line in mixed.splitlines() if line.startswith("| ")]
    assert titles[-1] == "source"
    assert sorted((row[0], row[-1]) for row in rows) == [("ok", "ledger"), ("ok (?)", "raw")]
    assert "source" not in plain
    data = to_json(report(one, two))
    VALIDATOR.validate(json.loads(markdown.json_text(data)))
    assert [(slo["source"], slo.get("doubts")) for slo in data["slos"]] == [
        ("ledger", None),
        ("raw", ["partial-answer"]),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"source": "guess"},
        {"at": "yesterday"},
        {"extra": 1},
        {"slos": [{}]},
        {"findings": [{"severity": "fatal", "code": "x", "message": "y", "scope": {}}]},
    ],
)
def test_the_schema_refuses_what_is_no_report(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(to_json(report(item())) | change)


@pytest.mark.parametrize(
    "change", [{"sli": 1.5}, {"sli_interval": [0.5]}, {"status": "fine"}, {"objective": 100}, {"sli": "NaN"}]
)
def test_the_schema_refuses_what_is_no_slo(change: dict[str, Any]) -> None:
    data = to_json(report(item()))
    data["slos"][0] |= change
    assert not VALIDATOR.is_valid(data)


def test_numbers_that_json_does_not_know_are_null() -> None:
    nan, inf = float("nan"), float("inf")
    assert json.loads(markdown.json_text({"a": [nan, -inf, (inf, 1)], "b": {"c": nan}})) == {
        "a": [None, None, [None, 1]],
        "b": {"c": None},
    }


# --- numbers as people read them


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 9))
def test_a_share_below_one_is_never_shown_as_100_percent(share: float, digits: int) -> None:
    shown = float(percent(share, digits).removesuffix(" %"))
    assert shown < 100
    assert shown == pytest.approx(share * 100, abs=10.0**-digits + 1e-9)


@given(st.floats(-1000, 1, exclude_max=True))
def test_what_is_left_is_rounded_down_and_keeps_its_sign(share: float) -> None:
    shown = float(budget_share(share).removesuffix(" %").replace(",", ""))
    if share < 1 - 1e-9:
        assert shown < 100
    if share < -1e-9:
        assert shown < 0
    assert shown <= share * 100 + 1e-6


@pytest.mark.parametrize(
    ("function", "value", "shown"),
    [
        (percent, None, "–"),
        (percent, 1.0, "100.000 %"),
        (percent, 0.9999999, "99.999 %"),
        (percent, float("nan"), "–"),
        (budget_share, 1.0, "100.0 %"),
        (budget_share, 1 - 0.9, "10.0 %"),
        (budget_share, 0.99999, "99.9 %"),
        (budget_share, -0.0001, "-0.1 %"),
        (budget_share, -12.5, "-1,250 %"),
        (budget_share, None, "–"),
        (rate, None, "–"),
        (rate, 0.0, "0"),
        (rate, 0.0001, "<0.01"),
        (rate, 1.234, "1.23"),
        (rate, 1000.0, "1,000"),
        (count, 0.0, "0"),
        (count, 0.3, "<1"),
        (count, 1234567.0, "1,234,567"),
    ],
)
def test_numbers(function: Any, value: float | None, shown: str) -> None:
    assert function(value) == shown


@pytest.mark.parametrize("objective", [90, 99, 99.5, 99.9, 99.99, 99.999, 99.9999])
def test_an_sli_just_below_its_objective_reads_below_it(objective: float) -> None:
    budget = (100 - objective) / 100
    digits = digits_for(objective)
    below = percent(1 - budget * 1.05, digits)
    above = percent(1 - budget * 0.95, digits)
    assert float(below.removesuffix(" %")) < objective < float(above.removesuffix(" %"))


def test_burn_windows_are_in_order_of_their_length() -> None:
    rates = dict.fromkeys(("3d", "1h30m", "5m", "1h", "1d12h", "30s"), 1.0)
    assert markdown.columns(report(item(burn_rates=rates))) == [
        "30s", "5m", "1h", "1h30m", "1d12h", "3d",
    ]  # fmt: skip


# --- texts


def test_the_worst_comes_first() -> None:
    order = [
        item(service="b", status="exhausted", remaining=-3.0),
        item(service="a", status="exhausted", remaining=-0.1),
        item(service="z", status="at_risk", remaining=0.5, alerts=("Page",)),
        item(service="c", status="at_risk", remaining=0.05),
        item(service="d", status="no_data", remaining=None),
        item(service="e", status="ok", remaining=0.2),
        item(service="f", status="ok", remaining=0.9),
    ]
    found = [entry.service for entry in markdown.ordered(report(*sorted(order, key=lambda i: i.service)))]
    assert found == ["b", "a", "z", "c", "d", "e", "f"]
    summary = markdown.summary(report(*order))
    assert summary == "shop at 2026-03-01T12:00:00Z: 2 exhausted, 2 at risk, 1 no data, 2 ok"


def hostile() -> Report:
    entry = item(slo=HOSTILE, service=HOSTILE, namespace=HOSTILE, window=HOSTILE, alerts=(HOSTILE,))
    return report(entry, findings=(Finding("warning", "x", HOSTILE), Finding("error", "y", "grave")))


def test_markdown_shows_hostile_names_as_they_are() -> None:
    text = markdown.markdown(hostile())
    lines = text.splitlines()
    header, rule, row = lines[2:5]
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == len(re.split(r"(?<!\\)\|", header)) == len(rule.split("|")), "no cell breaks its row"
    assert lines[5] == ""
    # Whatever could be markup has a backslash before it, or is a character reference.
    names = "".join(cells[2:4]) + lines[-1]
    assert not re.search(r"(?<!\\)[`<>*_\[\]()#@]", names)
    assert not re.search(r"&(?!amp;)", names)
    assert not re.search(r"[@#!~$%]\w", names), "nobody is mentioned, and no issue"
    assert "s\\://e.x" in names and "&amp;amp;" in text
    assert all(char.isprintable() or char in "\n\N{ZERO WIDTH SPACE}" for char in text)
    assert lines[-2].startswith("- error"), "the gravest first"


def test_table_output_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    from sloctl.cli.tables import print_report

    print_report(hostile())
    text = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "[l](https://e.x)" in text, "rich takes no part of it for its own markup"
    header, row, *findings = text.splitlines()[1:]
    assert len(findings) == 2
    assert re.findall(r"\S+(?: \S+)*", header)[:4] == ["status", "service", "SLO", "budget left"]
    assert row.startswith("ok ")


def test_a_pipe_gets_every_column_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from sloctl.cli.tables import print_report

    entry = item(service="s" * 253, alerts=tuple(f"Alert{n}" for n in range(60)))
    print_report(report(entry, findings=(Finding("info", "x", "word " * 200),)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "s" * 253 in lines[2] and "Alert59" in lines[2] and "99.900 … 99.980 %" in lines[2]
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize(("many", "lines"), [(3, 3), (4, 1), (5000, 1)])
def test_what_is_said_of_many_edges_is_one_line_for_people(many: int, lines: int) -> None:
    other = Finding("info", "sides-not-compared", "too many")
    edges = [Finding("warning", "retry-meltdown", f"a to b-{number}: ten") for number in range(many)]
    made = report(item(), findings=(*edges, other))
    text, page = markdown.markdown(made), html.page(made)
    assert (text.count("retry-meltdown"), page.count(">retry-meltdown<")) == (lines, lines)
    assert (f"{many - 1:,} more like it" in text) == (lines == 1)
    assert len(to_json(made)["findings"]) == many + 1


def test_a_page_shows_the_edges_that_add_most_load() -> None:
    edges = tuple(
        EdgeAmplification("a", f"b-{number:04}", 10, 20 + number, 2 + number / 10, "traces")
        for number in range(200)
    )
    made = replace(report(item()), retry_amplification=edges)
    assert [edge.destination for edge in markdown.shown_edges(made)][:2] == ["b-0199", "b-0198"]
    page = html.page(made)
    assert sum(f"b-{number:04}" in page for number in range(200)) == 50
    assert "the 50 of 200 that add most load" in page


def test_a_gap_that_many_slos_have_is_one_line_for_a_terminal_or_a_channel() -> None:
    slos = tuple(item(slo=f"slo-{number}", quality=Quality(gaps=60 * number)) for number in range(80))
    down = Finding("warning", "evaluation-gap", "Prometheus recorded nothing for 1h20m")
    other = Finding("info", "sides-not-compared", "too many")
    for many, lines in ((3, 3), (4, 1), (80, 1)):
        gaps = [Finding("warning", "scrape-gap", f"slo-{number}: nothing is known") for number in range(many)]
        brief = markdown.brief(report(*slos, findings=(down, *gaps, other)))
        assert [finding.code for finding in brief] == [down.code, *["scrape-gap"] * lines, other.code]
        if lines == 1:
            assert brief[1].message.startswith(f"of {many} SLOs some time is not known, up to 1h19m;")


def test_a_routine_of_some_budgets_has_their_rows_from_beyond_what_is_shown() -> None:
    budgets = [
        replace(slack_reports.slo(service=f"s{n}"), owner="few" if n == 299 else "many") for n in range(300)
    ]
    identity = (RoutineColumn("service", "service"), RoutineColumn("slo", "SLO"))
    fired = (RoutineColumn("alert", "alert"), RoutineColumn("what", "of"))
    pods = (RoutineColumn("namespace", "namespace"), RoutineColumn("workload", "workload"))
    sections = (
        RoutineSection(
            "budgets", "", identity, tuple((f"shop/s{n}", "availability") for n in range(300)), note="300"
        ),
        RoutineSection(
            "alerts",
            "",
            fired,
            (("A", "shop/s1 availability"), ("B", "shop/s299 availability"), ("C", "mesh mtls")),
        ),
        RoutineSection("restarts", "", pods, (("shop", "x"), ("other", "y"))),
    )
    period = last_period("weekly", slack_reports.AT)
    whole = Report("shop", slack_reports.AT, "ledger", tuple(budgets), routine=Routine(period, sections))
    assert whole.routine is not None and len(whole.routine.sections[0].rows) == 200
    few = whole.of_owner("few")
    assert [item.service for item in few.slos] == ["s299"] and few.owner == "few"
    assert few.routine is not None
    assert [section.rows for section in few.routine.sections] == [
        (("shop/s299", "availability"),),
        (("B", "shop/s299 availability"), ("C", "mesh mtls")),
        (("shop", "x"), ("other", "y")),
    ]
    assert few.routine.sections[0].note == "", "a sum over all rows is none of theirs"


@pytest.mark.parametrize(
    "spent", [0, 0.00004, 0.001, 0.123456, 1 / 3, 0.9999, 1, 1.5, 2.3456, 9.99, 12.345, 400]
)
def test_what_is_spent_and_what_is_left_are_all_of_the_budget(spent: float) -> None:
    shown = [
        float(text.removesuffix(" %").replace(",", ""))
        for text in (spent_share(spent), budget_share(1 - spent))
    ]
    assert sum(shown) == pytest.approx(100)
    assert shown[0] == pytest.approx(100 * spent, abs=1 if spent > 10 else 0.1)
    assert (shown[0] == 0) is (spent == 0)


def test_what_the_mesh_is_configured_for_stands_beside_what_is_measured() -> None:
    way = ("shop/web", "shop/payments", "shop/fraud")
    steps = " → ".join(way)
    rows = (
        ConfiguredRetries("shop/payments", "shop/fraud", 3, 9, way, 20.0, 2.7, 180.0),
        ConfiguredRetries("shop/web", "shop/<i>cart", 3, 3, ("shop/web", "shop/<i>cart"), None, 1.3, None),
        ConfiguredRetries("shop/web", "shop/quiet", 3, 3, ("shop/web", "shop/quiet"), 1.0, 1.0, 3.0),
    )
    made = replace(report(item()), configured_retries=rows)
    VALIDATOR.validate(json.loads(markdown.json_text(to_json(made))))
    (table,) = (cells for title, _, cells in markdown.tables(made) if title == markdown.CONFIGURED)
    assert table == [
        [
            "shop/payments",
            "shop/fraud",
            "9x (3x here)",
            "2.7x",
            "20",
            "180",
            steps,
        ],
        ["shop/web", "shop/<i>cart", "3x", "1.3x", "-", "-", "shop/web → shop/<i>cart"],
    ]
    assert rows[0].text == (
        f"shop/payments → shop/fraud: configured up to 9x (3x in this hop; {steps}), seen 2.7x"
    )
    page = html.page(made)
    assert markdown.CONFIGURED in page and "9x (3x here)" in page and "<i>cart" not in page
    assert markdown.CONFIGURED not in html.page(report(item()))
    assert "No call is configured for more than 3 tries" in html.page(replace(made, configured_retries=()))
