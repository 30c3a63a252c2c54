"""The page of a report: what it says, that nothing in it is obeyed, and that its plots are what was counted."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.report import markdown
from sloctl.report.data import Detail, Finding, Mark, Quality, Report, SideComparison
from sloctl.report.health import EdgeAmplification, GuardrailStatus, SidecarRestarts
from sloctl.report.history import BudgetHistory, bucket_count, history
from sloctl.report.html import FOLDER, PACK, asset, charts, page, view
from sloctl.report.numbers import budget_share, plain
from sloctl.report.spreadsheet import csv_text
from tests.support.html import Document
from tests.support.reports import AT, ATTACKS, MONTH, attacked, drawn, item, kept, report


def everything() -> Report:
    nothing = dict.fromkeys(("sli", "sli_interval", "spent", "remaining"))
    return Report(
        "shop",
        AT,
        "prometheus",
        (
            drawn(service="ok", owner="team-a", sides=SideComparison(0.9999, None)),
            drawn(5.0, service="gone", status="exhausted", alerts=("AvailabilityBudgetBurnPage1h",)),
            drawn(
                service="risk",
                status="at_risk",
                exhausted_at=AT + timedelta(hours=5),
                quality=Quality(gaps=1500),
            ),
            item(service="quiet", status="no_data", total=0.0, bad=0.0, good=0.0, **nothing),
        ),
        (Finding("info", "b", "mild"), Finding("error", "a", "grave")),
        (
            GuardrailStatus("mtls", {"service": "cart"}, 0.993, 1.0, "ratio", "min"),
            GuardrailStatus("retry-amplification", {"service": "cart"}, 1.5, 1.1, "attempts per request"),
            GuardrailStatus("sidecar-restarts", {}, 0.0, 0.01, "restarts per pod and day"),
        ),
        (EdgeAmplification("shop/a", "shop/b", 100.0, 150.0, 1.5, "metrics"),),
        (SidecarRestarts("shop", "cart", 3.0, 2.0, 0.666, {"OOMKilled": 2.0}),),
    )


# --- what it says


def test_every_cell_of_the_table_form_is_there_as_it_is() -> None:
    made = everything()
    document = Document(page(made))
    windows = markdown.columns(made)
    for entry in made.slos:
        for cell in markdown.row(entry, windows):
            assert cell in document.text, (entry.name, cell)
    for table in markdown.tables(made):
        for row in table[2]:
            for cell in row:
                assert cell in document.text
    for title in markdown.header(windows):
        assert title in document.text
    assert "2026-03-01 12:00 UTC" in document.text
    assert "1 exhausted, 1 at risk, 1 no data, 1 ok." in document.text
    assert document.text.index("grave") < document.text.index("mild")
    assert document.text.index("shop/gone") < document.text.index("shop/ok")


def test_the_plots_end_at_the_budget_of_the_table() -> None:
    for entry in (drawn(), drawn(5.0), drawn(0.0)):
        assert entry.history
        text = page(report(entry))
        shown = budget_share(entry.remaining)
        assert f"to {shown} at 1 Mar 12:00 UTC." in text
        assert re.search(rf"<title>[^<]*, {re.escape(shown)} left</title></path></g>", text)


def test_links_lead_to_what_is_there() -> None:
    made = everything()
    twins = (item(service="a-b"), item(service="a_b"), item(service="Ä"), item(service="Ö"))
    document = Document(page(replace(made, slos=made.slos + twins)))
    idents = [attributes["id"] for _, attributes in document.tags if attributes.get("id")]
    assert len(idents) == len(set(idents))
    links = [str(attributes["href"]) for attributes in document.all("a")]
    assert len(links) > 10
    assert all(link.startswith("#") and link[1:] in idents for link in links)
    for _, attributes in document.tags:
        for name in ("aria-labelledby", "data-of"):
            assert all(word in idents for word in (attributes.get(name) or "").split())


def test_causes_what_happened_meanwhile_and_links_are_there() -> None:
    marks = (
        Mark(AT - timedelta(days=40), AT - timedelta(days=39), "alert", "Before"),
        Mark(AT - timedelta(days=6), AT - timedelta(days=6, hours=-3), "alert", "CheckoutPage1h"),
        Mark(AT - timedelta(days=2), AT - timedelta(days=1), "silence", "deploy of checkout v3"),
    )
    entry = drawn(
        detail=Detail(
            causes=(("503 UF, from shop/web", 60.0), ("504", 20.0)),
            marks=marks,
            links=(("Dashboard", "https://grafana.example.org/d/x?var-slo=a"), ("Runbook", "javascript:x")),
        )
    )
    document = Document(page(report(entry)))
    for text in (
        "503 UF, from shop/web60 (66.7 %)",
        "all others10 (11.1 %)",
        "23 Feb 12:00: alert CheckoutPage1h (3h)",
        "27 Feb 12:00: silence deploy of checkout v3 (1d)",
    ):
        assert text in document.text
    drawn_marks = [tag["class"] for tag in document.all("path") if str(tag.get("class")).startswith("mark")]
    assert drawn_marks == ["mark alert", "mark silence"] * 2, "in both plots, and what was before in none"
    out = [tag for tag in document.all("a") if not str(tag["href"]).startswith("#")]
    assert [tag["href"] for tag in out] == ["https://grafana.example.org/d/x?var-slo=a"]
    assert "noreferrer" in str(out[0]["rel"])


def test_a_row_has_the_owner_and_the_last_week() -> None:
    counts = {number: (2.0 if number < 42 else 0.5, 1000.0) for number in range(180)}
    made = history_of(counts)
    entry = replace(drawn(owner="team-a", history=made), remaining=made.remaining)
    shown = view.page_view(report(entry, item(service="b", status="no_data", remaining=None)))
    titles = [column.title for column in shown.columns]
    first, second = (
        dict(zip(titles, section.cells, strict=True)) for section in (shown.sections[1], shown.sections[0])
    )
    assert (first["owner"], first["spent in 7d"]) == ("team-a", f"{84 / 180 * 100:.1f} %")
    assert (second["owner"], second["spent in 7d"]) == ("–", "–")
    (line,) = points(shown.sections[1].spark)
    assert (line[0], line[-1]) == ((0.0, 1.0), (60.0, 15.0))
    assert view.page_view(report(item())).owners == ()
    assert "owner" not in [column.title for column in view.page_view(report(item())).columns]


def test_a_little_that_was_spent_looks_little() -> None:
    (line,) = points(charts.spark(history_of(dict.fromkeys(range(180), (0.1, 1000.0)))))
    assert line[0][1] - line[-1][1] >= -2


def test_a_spent_budget_has_an_empty_bar() -> None:
    spent, full = (drawn(bad, status=state) for bad, state in ((5.0, "exhausted"), (0.0, "ok")))
    assert [section.bar for section in view.page_view(report(spent, full)).sections] == [0.0, 60.0]


@given(kept(), st.integers(1, 200))
def test_a_coarser_history_has_the_same_events(made: tuple[BudgetHistory, float], most: int) -> None:
    entry, _ = made
    coarse = entry.coarser(most)
    assert len(coarse.buckets) <= max(most, 1)
    assert {*coarse.edges()} <= {*entry.edges()}
    for kind in (0, 1):
        assert sum(one[kind] for one in coarse.buckets if one) == pytest.approx(
            sum(one[kind] for one in entry.buckets if one)
        )
    assert [value for value in coarse.left() if value is not None][-1] == entry.remaining


def test_what_is_empty_says_why() -> None:
    def text(**values: Any) -> str:
        return " ".join(Document(page(replace(report(), **values))).text.split())

    empty = text()
    for sentence in (
        "No budgets: the SLO file has no SLO",
        "No guardrail in the SLO file",
        "no guardrail retry-amplification",
        "no guardrail sidecar-restarts",
        "No findings",
    ):
        assert sentence in empty
    retries = GuardrailStatus("retry-amplification", {}, 1.0, 1.1, "attempts per request")
    restarts = GuardrailStatus("sidecar-restarts", {}, 0.0, 0.01, "restarts per pod and day")
    edge = EdgeAmplification("a", "b", 100.0, 101.0, 1.01, "metrics")
    quiet = text(guardrails=(retries, restarts), retry_amplification=(edge,))
    assert "No edge has 1.05 attempts per request or more: 1 were measured" in quiet
    assert "No proxy restarted in the last day." in quiet
    unknown = text(guardrails=(replace(retries, value=None), replace(restarts, value=None)))
    assert "No data: no edge had requests" in unknown
    assert "No data: no restarts of proxies could be measured." in unknown
    assert "No proxy restarted" not in unknown


def test_what_cannot_be_drawn_says_why() -> None:
    nothing = dict.fromkeys(("sli", "sli_interval", "spent", "remaining"))
    quiet = item(status="no_data", good=0.0, bad=0.0, total=0.0, **nothing)
    assert "No events in the window: there is nothing to draw." in page(report(quiet))
    failed = page(report(item(), findings=(Finding("warning", "history-not-read", "slow"),)))
    assert "The history could not be read, so it is not drawn; see the findings." in failed
    assert "no history that adds up" in page(report(item()))


# --- that nothing is obeyed


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names_are_text(attack: str) -> None:
    harmless, document = Document(page(attacked("h" * len(attack)))), Document(page(attacked(attack)))

    def bare(found: Document) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in found.tags if tag != "wbr"]

    assert bare(document) == bare(harmless), "no tag and no attribute more"
    assert plain(attack) in document.text
    assert len(document.all("script")) == len(document.all("style")) == 1
    assert all(char.isprintable() or char == "\n" for char in page(attacked(attack)))
    for _, attributes in document.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src", "action"):
            assert re.match(
                r"(#|data:image/svg\+xml,|https://prometheus\.example\.org/)", attributes.get(name) or "#"
            )


@given(st.text(max_size=40))
def test_any_name_leaves_the_page_whole(name: str) -> None:
    document = Document(page(attacked(name)))
    assert [tag for tag, _ in document.tags].count("details") == 1


def test_the_policy_allows_the_pages_own_style_and_script_only() -> None:
    text = page(everything())
    (policy,) = (str(tag["content"]) for tag in Document(text).all("meta") if "http-equiv" in tag)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert "</" not in content.replace("</g, ", "")
    assert not re.findall(
        r"(?:https?:)?//[a-z]", re.sub(r"http://www\.w3\.org/2000/svg", "", text.split("<script>")[0])
    )


def test_the_same_report_gives_the_same_bytes() -> None:
    assert page(everything()) == page(everything())


# --- size, colours


def unpacked(text: str, kind: str) -> list[str]:
    found = re.findall(rf"<template {kind}>([^<]*)</template>", text)
    return [zlib.decompress(base64.b64decode(one)).decode() for one in found]


@pytest.mark.slow
def test_a_thousand_slos_fit_into_two_megabytes_and_all_are_there() -> None:
    entries = []
    for number in range(100):
        counts = {n: (float((n * 7919 + number) % 97), 12_345_678.0 + n * number) for n in range(180)}
        window = tuple(sum(values) for values in zip(*counts.values(), strict=True))
        made = history(counts, (window[0], window[1]), AT, MONTH, 0.00001)
        assert made
        entries.append(drawn(service=f"recommendations-{number}", owner="team-recommendations", history=made))
    assert len(page(report(*entries)).encode()) < 1_250_000
    many = report(*(replace(one, service=f"{one.service}-{copy}") for one in entries for copy in range(10)))
    text = page(many)
    assert len(text.encode()) < 2_000_000
    document = Document(text)
    (more,) = unpacked(text, 'id="rows-data"')
    links = [str(tag["href"])[1:] for tag in Document(text + more).all("a") if "#slo-" in str(tag["href"])]
    assert len(links) == len(set(links)) == 1000
    packs = unpacked(text, 'class="packed"')
    assert all(pack.count("<details") == PACK for pack in packs[:-1])
    packed = [
        str(tag["id"])
        for pack in packs
        for tag in Document(pack).all("div")
        if str(tag.get("id")).startswith("slo-")
    ]
    shown = [str(tag["id"]) for tag in document.all("div") if str(tag.get("id")).startswith("slo-")]
    assert [*shown, *packed] == links, "in the order of the table"
    assert unpacked(text, 'id="csv-data"') == [csv_text(many)]


def themes() -> Iterator[dict[str, str]]:
    style = asset("style.css")[0]
    blocks = re.findall(r":root[^{,]* \{([^}]*--bg[^}]*)\}", style)
    assert len(blocks) == 4, "light, dark by the system, dark by choice, print"
    for block in blocks:
        yield dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    assert blocks[1].split() == blocks[2].split(), "dark is dark, whoever asked for it"


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_can_be_read_in_both_themes() -> None:
    """WCAG 2.2 AA: 4.5 for texts, 3 for lines of plots."""
    for theme in themes():
        pairs = [(text, ground, 4.5) for text in ("ink", "muted", "accent") for ground in ("bg", "card")]
        pairs += [
            (state, ground, 4.5) for state in ("ex", "ri", "ok", "nd") for ground in ("card", f"{state}-bg")
        ]
        pairs += [("accent", "ex-bg", 3.0), ("muted", "ex-bg", 3.0)]
        for front, back, least in pairs:
            dark, light = sorted((luminance(theme[front]), luminance(theme[back])))
            assert (light + 0.05) / (dark + 0.05) >= least, (front, back)


def test_assets_are_small_and_lie_beside_the_code() -> None:
    assert {path.name for path in FOLDER.iterdir()} >= {"page.html.j2", "style.css", "script.js"}
    assert sum(len(asset(name)[0]) for name in ("style.css", "script.js")) < 25_000


# --- plots


def points(path: str) -> list[list[tuple[float, float]]]:
    """Where a path goes, by its unbroken parts."""
    found: list[list[tuple[float, float]]] = []
    x = y = 0.0
    for command, text in re.findall(r"([MHVhvl])([^MHVhvl]*)", path):
        values = [float(value) for value in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", text)]
        assert re.fullmatch(r"(?: ?-?(?:\d+(?:\.\d)?|\.\d))+", text), text
        if command == "M":
            x, y = values
            found.append([(x, y)])
        elif command == "l":
            for right, down in zip(values[::2], values[1::2], strict=True):
                x, y = x + right, y + down
                found[-1].append((x, y))
        else:
            for value in values:
                x = value if command == "H" else x + value if command == "h" else x
                y = value if command == "V" else y + value if command == "v" else y
                found[-1].append((x, y))
    return found


def history_of(
    counts: dict[int, tuple[float, float]], seconds: int = MONTH, share: float = 0.001
) -> BudgetHistory:
    window = tuple(sum(values) for values in zip(*counts.values(), strict=True))
    made = history(counts, (window[0], window[1]), AT, seconds, share)
    assert made is not None
    return made


def sound(chart: charts.Chart) -> None:
    """What is true of every plot."""
    for x, y in (point for part in points(chart.line + chart.reference) for point in part):
        assert (
            charts.LEFT - 0.05 <= x <= charts.RIGHT + 0.05 and charts.TOP - 0.05 <= y <= charts.BOTTOM + 0.05
        )
    heights = [tick.at for tick in chart.y_ticks]
    assert heights[0] - charts.TOP <= 14 and heights[-1] == pytest.approx(charts.BOTTOM)
    assert 2 <= len(heights) <= 8 and all(b - a >= 14 for a, b in pairwise(heights))
    labels = [tick.label for tick in chart.y_ticks]
    assert len(set(labels)) == len(labels) and "-0 %" not in labels
    assert len(chart.x_ticks) <= 8
    assert all(b.at - a.at > 40 for a, b in zip(chart.x_ticks, chart.x_ticks[1:], strict=False))
    assert 1 <= len(chart.areas) <= charts.AREAS
    ends = [area.x + area.width for area in chart.areas]
    assert chart.areas[0].x == charts.LEFT and ends[-1] == pytest.approx(charts.RIGHT)
    for text in (chart.summary, *labels, *(area.text for area in chart.areas)):
        assert not re.search(r"\b(nan|inf)\b|e[+-]\d", text), text


@given(kept(), st.sampled_from([50.0, 95.0, 99.9, 99.999]))
def test_plots_of_any_history_are_sound(made: tuple[BudgetHistory, float], objective: float) -> None:
    entry, _ = made
    entry = replace(entry, share=(100 - objective) / 100)
    sound(charts.burn_down(entry))
    sound(charts.success(entry, objective))


def test_one_bucket() -> None:
    made = history_of({0: (1.0, 1000.0)}, seconds=300)
    assert bucket_count(300) == 1
    burn, over_time = charts.burn_down(made), charts.success(made, 99.9)
    assert points(burn.line) == [[(charts.LEFT, charts.TOP), (charts.RIGHT, charts.BOTTOM)]]
    ((first, last),) = points(over_time.line)
    assert first == pytest.approx((charts.LEFT, (charts.TOP + charts.BOTTOM) / 2))
    assert last == pytest.approx((charts.RIGHT, first[1]))
    assert f"M{charts.LEFT} {charts.coordinate(first[1])}H" in over_time.reference, "it is the objective"


def test_nothing_bad_is_a_level_line_at_100_percent() -> None:
    made = history_of(dict.fromkeys(range(180), (0.0, 10.0)))
    for chart in (charts.burn_down(made), charts.success(made, 99.9)):
        (line,) = points(chart.line)
        assert {y for _, y in line} == {charts.TOP}
        assert len(line) == 2, "a level stretch needs no points within"
        assert chart.overspent is None and chart.below == ()
    assert charts.burn_down(made).y_ticks[-1].label == "0 %"


def test_an_overspent_budget_falls_below_zero() -> None:
    made = history_of(dict.fromkeys(range(180), (2.5, 1000.0)))
    assert made.remaining == pytest.approx(-1.5)
    chart = charts.burn_down(made)
    sound(chart)
    assert [tick.label for tick in chart.y_ticks] == ["100 %", "50 %", "0 %", "-50 %", "-100 %", "-150 %"]
    zero = next(tick.at for tick in chart.y_ticks if tick.label == "0 %")
    assert chart.overspent == zero
    assert chart.end == pytest.approx((charts.RIGHT, charts.BOTTOM))


def test_where_nothing_is_known_there_is_no_line() -> None:
    counts = {number: (0.1, 100.0) for number in range(180) if not 60 <= number < 90}
    made = history_of(counts)
    for chart in (charts.burn_down(made), charts.success(made, 99.9)):
        sound(chart)
        before, after = points(chart.line)
        assert after[0][0] - before[-1][0] == pytest.approx((charts.RIGHT - charts.LEFT) * 30 / 180, abs=0.2)
        assert any("nothing is known" in area.text for area in chart.areas)
    before, after = points(charts.burn_down(made).line)
    assert after[0][1] == pytest.approx(before[-1][1], abs=0.2), (
        "it goes on at the level at which it was left"
    )


def test_a_budget_begins_where_something_is_known() -> None:
    made = history_of(dict.fromkeys(range(90), (0.1, 100.0)))
    chart = charts.burn_down(made)
    ((first, *_),) = points(chart.line)
    assert first == pytest.approx(((charts.LEFT + charts.RIGHT) / 2, charts.TOP))
    assert chart.summary.startswith("From 100 % at 14 Feb 12:00 to ")


def test_no_events_are_not_100_percent() -> None:
    counts = dict.fromkeys(range(180), (0.1, 100.0)) | dict.fromkeys(range(60, 90), (0.0, 0.0))
    made = history_of(counts)
    assert len(points(charts.success(made, 99.9).line)) == 2
    assert len(points(charts.burn_down(made).line)) == 1, "no events cost nothing: that is known"
    assert any(area.text.endswith("no events") for area in charts.success(made, 99.9).areas)


def test_an_outage_below_the_axis_is_marked_and_said() -> None:
    counts = dict.fromkeys(range(180), (0.1, 1000.0)) | {90: (1000.0, 1000.0), 91: (900.0, 1000.0)}
    chart = charts.success(history_of(counts), 99.9)
    sound(chart)
    assert len(chart.below) == 1
    assert chart.y_ticks[-1].label == "99.2 %"
    assert chart.summary == "Lowest: 0.000 %, from 14 Feb 08:00 to 14 Feb 12:00 UTC."
    mild = charts.success(history_of(counts | {90: (3.0, 1000.0), 91: (0.1, 1000.0)}), 99.9)
    assert mild.below == ()


@given(st.floats(1e-6, 1e6), st.integers(1, 10))
def test_steps_are_round_and_few(span: float, most: int) -> None:
    step = charts.nice_step(span, most)
    assert span / step <= most * (1 + 1e-6)
    assert span / step >= most / 2.5 * (1 - 1e-6)
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-6


@given(
    st.lists(
        st.tuples(st.integers(0, 4800), st.integers(0, 2000)),
        min_size=2,
        max_size=50,
        unique_by=lambda p: p[0],
    )
)
def test_a_path_goes_where_it_was_told(tenths: list[tuple[int, int]]) -> None:
    wanted = [(x / 10, y / 10) for x, y in sorted(tenths)]
    (found,) = points(charts.path(wanted))
    assert found[0] == wanted[0] and found[-1] == pytest.approx(wanted[-1])
    for x, y in wanted:
        if (x, y) not in [(round(a, 1), round(b, 1)) for a, b in found]:
            (left,) = [b for (a, b), (c, _) in itertools.pairwise(found) if a < x < c]
            assert left == pytest.approx(y)


def test_the_page_says_the_source_of_each_row_where_they_differ() -> None:
    mixed = view.page_view(report(item(source="ledger"), item(slo="latency", source="raw", doubts=("x-y",))))
    one = view.page_view(report(item(source="ledger")))
    assert mixed.columns[-1].title == "source" != one.columns[-1].title
    assert sorted((section.word, section.cells[-1]) for section in mixed.sections) == [
        ("ok", "ledger"),
        ("ok (?)", "raw"),
    ]
    facts = dict(next(section for section in mixed.sections if section.slo == "latency").facts)
    assert facts["in doubt, see the findings"] == "x-y"
