"""The page of a report in a real browser: it works, says nothing on its console, and asks nobody for anything.

The report is that of the demo: a month of a shop on a real Prometheus. ``SLOCTL_UPDATE_GOLDEN=1`` writes the
picture of the README anew.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, FloatRect, Page, expect

from jobs.reports import details, slo_report
from sloctl.cli.composition import LedgerAccess, Overrides
from sloctl.cli.context import Context
from sloctl.cli.serve import Asks
from sloctl.cli.serve import running as serving
from sloctl.demo import pipeline
from sloctl.demo.pipeline import Demo
from sloctl.demo.shop import shop
from sloctl.model import RollingWindow
from sloctl.report import markdown
from sloctl.report.data import Report, SloStatus
from sloctl.report.html import page as html
from sloctl.report.numbers import budget_share
from sloctl.report.spreadsheet import csv_text
from sloctl.serve.access import Access
from sloctl.settings.variables import environment
from sloctl.telemetry.web import Web
from tests.support.browser import Watched, running, watched
from tests.support.reports import ATTACKS, attacked
from tests.support.scheduled import eventually

pytestmark = pytest.mark.xdist_group("demo")

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "report.png"
LIVE_PICTURE = PICTURE.with_name("serve.png")
PAYMENTS = "slo-shop-payments-availability"
Opened = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pipeline.running(shop(), folder, datetime.now(UTC), environment(), live=False) as found:
        yield found


@pytest.fixture(scope="module")
def report(demo: Demo) -> Report:
    with pipeline.source(demo.server) as source:
        found = slo_report.build(source, demo.slo_set, demo.end, "rules", history=True)
        return details.add(found, source, demo.slo_set)


@pytest.fixture(scope="module")
def url(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(report), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser: Browser, url: str) -> Opened:
    def start(fragment: str = "", **context: Any) -> AbstractContextManager[Watched]:
        return watched(browser, url + fragment, **context)

    return start


def rows(page: Page, column: str = "budget left") -> list[str]:
    """A column of the rows that are shown, as they stand."""
    return [
        text.strip()
        for text in page.locator(
            f'#table tbody tr:not([hidden]) td[data-label="{column}"]'
        ).all_text_contents()
    ]


def sections(page: Page, *, state: str = "[open]") -> list[str]:
    found: list[str] = page.locator(f"details.slo{state}:not([hidden]) .inside").evaluate_all(
        "all => all.map(one => one.id)"
    )
    return found


# --- what is drawn


def test_history_from_rules_is_history_from_raw_counters(demo: Demo) -> None:
    """Five days with a deploy, two crashes and the scrape gap, of every SLO."""
    days = RollingWindow(5 * 86400, "5d")
    slo_set = replace(demo.slo_set, slos=tuple(replace(slo, window=days) for slo in demo.slo_set.slos))
    found: list[dict[str, SloStatus]] = []
    with pipeline.source(demo.server) as source:
        for origin in ("rules", "raw"):
            made = slo_report.build(source, slo_set, demo.end, slo_report.ORIGINS[origin], history=True)
            found.append({item.name: item for item in made.slos})
    rules, raw = found
    assert len(rules) >= 23 and rules.keys() == raw.keys()
    for name, item in rules.items():
        one, other = item.history, raw[name].history
        assert one is not None and other is not None, name
        assert (one.start, one.end, one.width) == (other.start, other.end, other.width)
        assert len(one.buckets) == 160
        for ours, theirs in zip(one.buckets, other.buckets, strict=True):
            assert (ours is None) == (theirs is None), name
            assert ours is None or ours == pytest.approx(theirs, rel=1e-9, abs=1e-6), name
        left = [value for value in one.left() if value is not None]
        assert left[-1] == item.remaining
        assert sum(bucket[1] for bucket in one.buckets if bucket) == pytest.approx(item.total)


def test_outages_are_where_the_scenario_has_them(report: Report) -> None:
    items = {(item.service, item.slo): item for item in report.slos}
    payments = items["payments", "availability"].history
    assert payments is not None
    falls = [a - b for a, b in zip([1.0, *payments.left()], payments.left(), strict=False) if a and b]
    assert max(falls) > 2, "half an hour at the peak took two budgets"
    quiet = items["gift-cards", "availability"].history
    assert quiet is not None
    assert None in quiet.success(), "a quiet week is not 100 %"


# --- how it works


def test_it_asks_nobody_and_complains_of_nothing(opened: Opened, report: Report) -> None:
    with opened() as found:
        assert found.page.title() == f"{report.set_name}: error budgets, {report.at:%Y-%m-%d %H:%M} UTC"
        assert rows(found.page) == [budget_share(item.remaining) for item in markdown.ordered(report)]
        found.page.locator("#open-all").click()
        found.quiet()
        # A page without a policy would run this.
        found.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=bad onclick=\"x = 1\">')")
        found.page.evaluate("document.getElementById('bad').click()")
        assert found.page.evaluate("window.violations") == ["script-src-attr inline"]


def test_a_row_leads_to_its_slo(opened: Opened) -> None:
    with opened() as found:
        assert sections(found.page) == []
        found.page.locator(f'#table a[href="#{PAYMENTS}"]').click()
        found.page.locator(f"#{PAYMENTS}").wait_for(state="visible")
        assert sections(found.page) == [PAYMENTS]
        top = found.page.locator(f"details:has(#{PAYMENTS}) summary").bounding_box()
        assert top and 0 <= top["y"] < 200
        # Closed by hand, and asked for again.
        found.page.locator(f"details:has(#{PAYMENTS}) summary").click()
        assert sections(found.page) == []
        found.page.locator(f'#table a[href="#{PAYMENTS}"]').click()
        assert sections(found.page) == [PAYMENTS]
        found.quiet()
    with opened(f"#{PAYMENTS}") as found:
        assert sections(found.page) == [PAYMENTS], "a link from elsewhere opens it too"
    for fragment in ("#%E0%A4%A", "#slo-of-last-year", "#findings"):
        with opened(fragment) as found:
            assert sections(found.page) == []
            assert found.page.locator("#controls").is_visible(), "the script goes on"
            found.quiet()


def test_without_scripts_it_can_be_read(opened: Opened) -> None:
    with opened(java_script_enabled=False) as found:
        page = found.page
        assert not page.locator("#controls").is_visible() and not page.locator("#theme").is_visible()
        page.locator(f'#table a[href="#{PAYMENTS}"]').click()
        page.locator(f"#{PAYMENTS} figure").first.wait_for(state="visible")
        page.locator("details.slo summary").last.click()
        assert page.locator("details.slo .facts").last.is_visible()
        assert found.said == [] and len(found.asked) == 1


def test_filters_take_rows_and_sections_together(opened: Opened, report: Report) -> None:
    with opened() as found:
        page = found.page
        page.locator("#filter").fill("payments")
        assert rows(page, "SLO") == ["availability"]
        assert sections(page, state="") == [PAYMENTS]
        assert page.locator("#shown").inner_text() == f"1 of {len(report.slos)} shown"
        page.locator("#filter").fill("no such service")
        assert rows(page) == []
        page.locator("#filter").fill("")
        page.locator("#status").select_option("exhausted")
        assert len(rows(page)) == sum(item.status == "exhausted" for item in report.slos)
        page.locator("#status").select_option("")
        assert len(rows(page)) == len(report.slos)
        assert page.locator("#shown").inner_text() == ""
        page.locator("#filter").press("Enter")
        found.quiet()


def test_what_is_filtered_is_in_the_address(opened: Opened, report: Report) -> None:
    with opened() as found:
        page = found.page
        page.locator("#status").select_option("exhausted")
        page.locator("#filter").fill("shop payments")
        expect(page).to_have_url(re.compile(re.escape("#?filter=shop+payments&status=exhausted") + "$"))
        page.locator(f'#table a[href="#{PAYMENTS}"]').click()
        page.locator(f"#{PAYMENTS}").wait_for(state="visible")
        expect(page).to_have_url(
            re.compile(re.escape(f"#{PAYMENTS}?filter=shop+payments&status=exhausted") + "$")
        )
        there = page.url.partition("#")[2]
        found.quiet()
    with opened(f"#{there}") as found:
        assert rows(found.page, "SLO") == ["availability"] and sections(found.page) == [PAYMENTS]
        found.page.evaluate("location.hash = '#?status=ok'")
        expect(found.page.locator("#filter")).to_have_value("")
        assert len(rows(found.page)) == sum(item.status == "ok" for item in report.slos)
        found.quiet()


def test_rows_are_grouped_by_owner(opened: Opened, report: Report) -> None:
    with opened("#?group=1") as found:
        page = found.page
        owners = [item.owner for item in markdown.ordered(report)]
        heads = page.locator("#table .group th").evaluate_all(
            "all => all.map(one => one.firstChild.textContent)"
        )
        assert heads == list(dict.fromkeys(owners)), "the owner of the worst comes first"
        assert rows(page, "owner") == sorted(owners, key=heads.index)
        page.locator("#owner").select_option(heads[1])
        assert rows(page, "owner") == [heads[1]] * owners.count(heads[1])
        assert page.locator("#table .group:not([hidden])").count() == 1
        page.locator("#group").uncheck()
        assert page.locator("#table .group").count() == 0
        found.quiet()


def test_the_rows_that_are_shown_are_downloaded_as_csv(opened: Opened, report: Report) -> None:
    with opened("#?status=exhausted") as found:
        with found.page.expect_download() as waiting:
            found.page.locator("#csv").click()
        head, *lines = csv_text(report).splitlines()
        spent = [line for line in lines if ",exhausted," in line]
        assert spent and waiting.value.path().read_text().splitlines() == [head, *spent]
        assert waiting.value.suggested_filename == "budgets.csv"


def test_what_is_packed_is_there_when_it_is_wanted(browser: Browser, report: Report, tmp_path: Path) -> None:
    """A hundred rows of 120, and 25 SLOs that are drawn, until somebody asks for more."""
    each = [replace(item, service=f"{item.service}-{copy}") for copy in range(6) for item in report.slos][
        :120
    ]
    many = markdown.ordered(replace(report, slos=tuple(each)))
    (tmp_path / "many.html").write_text(html(replace(report, slos=tuple(many))), encoding="utf-8")
    url = (tmp_path / "many.html").as_uri()
    with watched(browser, url) as found:
        page = found.page
        assert len(rows(page)) == 100 and len(sections(page, state="")) == 25
        page.locator("#more").click()
        expect(page.locator("#table tbody tr")).to_have_count(120)
        assert rows(page) == [budget_share(item.remaining) for item in many]
        last = page.locator("#table tbody a").nth(110).get_attribute("href") or ""
        page.locator("#table tbody a").nth(110).click()
        page.locator(last).wait_for(state="visible")
        assert sections(page) == [last[1:]] == sections(page, state="")[25:]
        page.locator("#table tbody a").nth(60).click()
        expect(page.locator("details.slo")).to_have_count(27)
        assert sections(page)[1] == last[1:], "in the order of the table"
        found.quiet()
    with watched(browser, f"{url}{last}?filter={many[110].service}") as found:
        found.page.locator(last).wait_for(state="visible")
        assert (
            many[110].name.split()[0] in found.page.locator("#table tr:not([hidden]) th a").all_inner_texts()
        )
        found.quiet()


def test_columns_sort_by_value(opened: Opened) -> None:
    with opened() as found:
        page = found.page
        before = rows(page)

        def numbers(column: str) -> list[float]:
            return [
                float(text.removesuffix(" %").replace(",", "").replace("<", ""))
                for text in rows(page, column)
            ]

        for column in ("budget left", "spent in 7d", "SLI"):
            head = page.locator("#table thead th", has_text=column)
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == "ascending"
            assert numbers(column) == sorted(numbers(column))
            head.locator("button").press("Enter")
            assert head.get_attribute("aria-sort") == "descending"
            assert numbers(column) == sorted(numbers(column), reverse=True)
        assert page.locator("#table th[aria-sort]").count() == 1
        page.locator("#table thead th", has_text="runs out").locator("button").click()
        dates = rows(page, "runs out (UTC)")
        known = [text for text in dates if text != "–"]
        assert known and dates == sorted(known) + ["–"] * (len(dates) - len(known)), (
            "what is not known comes last"
        )
        page.locator("#table thead th", has_text="status").locator("button").click()
        assert rows(page) == before
        found.quiet()


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_is_the_systems_until_somebody_says_otherwise(opened: Opened) -> None:
    seen = []
    for scheme in ("light", "dark"):
        with opened(color_scheme=scheme) as found:
            seen.append(background(found.page))
            found.page.locator("#theme").click()
            seen.append(background(found.page))
            found.page.reload()
            seen.append(background(found.page))
    light, dark = seen[0], seen[3]
    assert light != dark
    assert seen == [light, dark, dark, dark, light, light]


def test_all_can_be_opened_and_closed(opened: Opened, report: Report) -> None:
    with opened() as found:
        found.page.locator("#open-all").click()
        assert len(sections(found.page)) == len(report.slos)
        assert found.page.locator("figure svg").first.is_visible()
        found.page.locator("#close-all").click()
        assert sections(found.page) == []


def test_a_place_of_a_plot_says_its_numbers(opened: Opened) -> None:
    with opened(f"#{PAYMENTS}", has_touch=True, viewport={"width": 360, "height": 740}) as found:
        area = found.page.locator(f"#{PAYMENTS} .areas path").nth(3)
        area.tap()
        shown = found.page.locator(f"#{PAYMENTS} .readout").inner_text()
        assert shown == f"Error budget left, {area.locator('title').text_content()}"
        assert " left" in shown and " bad" in shown


# --- how it looks


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_window(opened: Opened, tmp_path: Path, width: int, scheme: str) -> None:
    with opened(viewport={"width": width, "height": 800}, color_scheme=scheme) as found:
        page = found.page
        page.locator("#open-all").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = page.evaluate(
            "[...document.querySelectorAll('svg text')].filter(e => e.getBoundingClientRect().height < 8).length"
        )
        assert small == 0, "labels can be read"
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        found.quiet()


def test_on_paper_is_the_table_and_what_is_open_and_light(opened: Opened, tmp_path: Path) -> None:
    with opened(color_scheme="dark") as found:
        page = found.page
        page.emulate_media(media="print")
        assert background(page) == "rgb(255, 255, 255)"
        assert not page.locator("#slos").is_visible()
        assert not page.locator("#controls").is_visible() and not page.locator("#theme").is_visible()
        page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes())) <= 4
    with opened(f"#{PAYMENTS}") as found:
        found.page.emulate_media(media="print")
        assert found.page.locator("details.slo:visible").count() == 1
        assert found.page.locator(f"#{PAYMENTS} figure svg").last.is_visible()


def test_the_picture_of_the_readme(opened: Opened, tmp_path: Path) -> None:
    with opened(f"#{PAYMENTS}", viewport={"width": 1280, "height": 1000}) as found:
        found.page.locator("#status").select_option("exhausted")
        found.page.locator("#status").evaluate("it => it.blur()")
        found.page.evaluate("scrollTo(0, 0)")
        end = found.page.locator(f"details:has(#{PAYMENTS})").bounding_box()
        assert end
        file = tmp_path / "report.png"
        clip: FloatRect = {"x": 0, "y": 0, "width": 1280, "height": end["y"] + end["height"] + 16}
        found.page.screenshot(path=file, full_page=True, clip=clip)
        assert file.stat().st_size < 300_000
        if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
            PICTURE.parent.mkdir(exist_ok=True)
            PICTURE.write_bytes(file.read_bytes())
    assert PICTURE.read_bytes().startswith(b"\x89PNG")


# --- the same month as live pages


@pytest.fixture(scope="module")
def live(demo: Demo) -> Iterator[str]:
    """Their address; they have the report, and where failures begin."""
    asks = Asks(
        Context(quiet=True),
        demo.slo_set,
        Overrides(prometheus=demo.server.url),
        LedgerAccess("none"),
        lambda: demo.end,
        "rules",
    )
    with (
        serving(asks, Access(rate=1e6, burst=1_000_000), lambda: demo.end, 3600.0) as shown,
        Web("127.0.0.1:0", shown.application) as web,
    ):
        url = f"http://{web.address}"
        eventually(lambda: "Where it begins</h3>" in get(f"{url}/"))
        yield url


def get(address: str) -> str:
    try:
        with urllib.request.urlopen(address) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError:
        return ""


def test_live_pages_say_how_long_requests_take(live: str) -> None:
    latency = json.loads(get(f"{live}/api/v1/slo/shop/checkout/latency"))["latency"]
    assert latency["threshold_ms"] == 250
    for window in latency["windows"]:
        assert window["p50_ms"] < window["p95_ms"] < 250 < window["p99_ms"] < 300


def test_live_pages_say_what_the_report_says(live: str, report: Report) -> None:
    found = json.loads(get(f"{live}/api/v1/overview"))
    assert (found["stale"], found["failure"]) == (False, None)
    ours = {(item.service, item.slo): item for item in report.slos}
    assert len(found["report"]["slos"]) == len(ours)
    for each in found["report"]["slos"]:
        item = ours[each["service"], each["slo"]]
        assert (each["status"], each["alerts"]) == (item.status, list(item.alerts))
        assert each["budget"]["remaining"] == pytest.approx(item.remaining)


def test_a_part_of_the_month_has_the_events_of_the_month(live: str, report: Report) -> None:
    search = next(item for item in report.slos if (item.service, item.slo) == ("search", "availability"))
    for part, width in (("6h", 120), ("7d", 3600)):
        found = json.loads(get(f"{live}/api/v1/slo/shop/search/availability?range={part}"))["history"]
        assert found["width_seconds"] == width
        known = [bucket for bucket in found["buckets"] if bucket["bad"] is not None]
        assert len(known) > 0.9 * len(found["buckets"]) and known[-1]["left"] == pytest.approx(
            search.remaining
        )
        # Search failed in its last hours alone: all that the month lost of it is in either part, but for a few.
        assert sum(bucket["bad"] for bucket in known) == pytest.approx(search.bad, rel=0.02)


def test_the_mesh_of_the_month_has_what_fails(live: str) -> None:
    edges = json.loads(get(f"{live}/api/v1/mesh"))["edges"]
    worst = edges[0]
    assert (worst["source"]["name"], worst["destination"]["name"]) == ("frontend", "search")
    assert worst["failing"] and 0.2 < worst["failed"] / worst["requests"] < 0.5 and worst["mtls"] == 1


def test_the_picture_of_live_pages(browser: Browser, live: str, tmp_path: Path) -> None:
    with watched(browser, live, viewport={"width": 1280, "height": 1000}) as found:
        expect(found.page.locator(".cards .card").first).to_contain_text("shop/search availability")
        expect(found.page.locator(".told")).to_contain_text("Begins at shop/search")
        file = tmp_path / "serve.png"
        found.page.screenshot(path=file)
        if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
            LIVE_PICTURE.write_bytes(file.read_bytes())
    assert LIVE_PICTURE.read_bytes().startswith(b"\x89PNG")


# --- what is hostile


def noted_in(dialogs: list[str]) -> Callable[[Dialog], None]:
    return lambda dialog: dialogs.append(dialog.message)


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    for number, attack in enumerate(ATTACKS):
        path = tmp_path / f"{number}.html"
        path.write_text(html(attacked(attack)), encoding="utf-8")
        with watched(browser, path.as_uri(), viewport={"width": 360, "height": 740}) as found:
            dialogs: list[str] = []
            found.page.on("dialog", noted_in(dialogs))
            found.page.locator("#table a").click()
            found.page.locator("#filter").fill(attack)
            assert len(sections(found.page, state="")) <= 1
            assert found.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), attack
            assert found.page.locator("img, script:not(body > script), iframe").count() == 0
            found.quiet()
            assert dialogs == []
