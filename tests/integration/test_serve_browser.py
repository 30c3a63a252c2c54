"""The live pages in a real browser: with a mouse, a thumb and a keyboard, with and without scripts, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from sloctl.telemetry.web import Web
from tests.support.browser import Watched, running, watched
from tests.support.reports import drawn
from tests.support.served import Site, later, shop, slo_set

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve-browser")]

CHECKOUT = "/slo/shop/checkout/availability"
PAGES = (
    "/",
    CHECKOUT,
    f"{CHECKOUT}?range=6h",
    "/explain?service=checkout",
    "/mesh",
    "/nothing",
)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass
class Served:
    """Pages on a port of this machine, and what they are made of."""

    url: str
    site: Site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    site = Site(slo_set(tmp_path_factory.mktemp("serve")))
    site.refresher.refresh()
    with Web("127.0.0.1:0", cast(Any, site.application())) as web:
        yield Served(f"http://{web.address}", site)
    site.answers.close()


@pytest.fixture
def stale(served: Served) -> Iterator[Served]:
    before = served.site.now
    served.site.now = later(1000)
    yield served
    served.site.now = before


def quiet(found: Watched, url: str) -> None:
    """Fails if a page complained, did what its policy forbids, asked anybody else, or is wider than its window."""
    said = [text for text in found.said if "404" not in text]
    assert said == [] and found.page.evaluate("window.violations") == []
    assert [asked for asked in found.asked if not asked.startswith((url, "data:"))] == []
    wide = found.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


def accessible(found: Watched) -> None:
    results = Axe().run(found.page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_every_page_is_for_everybody(browser: Browser, served: Served, viewport: Any, scheme: str) -> None:
    with watched(browser, f"{served.url}{PAGES[0]}", viewport=viewport, color_scheme=scheme) as found:
        for path in PAGES:
            found.page.goto(served.url + path)
            quiet(found, served.url)
            accessible(found)


def test_fifty_slos_are_a_page_that_a_thumb_gets_through(browser: Browser, tmp_path: Path) -> None:
    many = [drawn(service=f"a-service-with-a-long-name-{number}") for number in range(45)]
    site = Site(slo_set(tmp_path), lambda: replace(shop(), slos=(*shop().slos, *many)))
    site.refresher.refresh()
    with Web("127.0.0.1:0", cast(Any, site.application())) as web:
        url = f"http://{web.address}"
        with watched(browser, url, viewport=PHONE, color_scheme="light") as found:
            page = found.page
            assert page.locator("#table tbody tr").count() == 50
            assert page.evaluate("document.documentElement.scrollHeight") < 50 * 100 + 2500
            first = page.locator(".cards .card").first.bounding_box()
            assert first and first["y"] + first["height"] < PHONE["height"]
            tapped = page.locator("#table tbody th a").first.bounding_box()
            assert tapped and tapped["height"] >= 24  # WCAG 2.2, 2.5.8
            page.get_by_label("Order by").select_option("burn 1h")
            page.get_by_label("largest first").check()
            page.get_by_role("button", name="Show").click()
            page.wait_for_url("**sort=burn+1h&order=down")
            expect(page.locator("#table tbody th").first).to_have_text("shop/checkout")
            quiet(found, url)
            accessible(found)
    site.answers.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_old_looks_old_to_everybody(browser: Browser, stale: Served, scheme: str) -> None:
    with watched(browser, stale.url, color_scheme=scheme, viewport=PHONE) as found:
        expect(found.page.get_by_role("alert")).to_contain_text("may not hold any more")
        expect(found.page).to_have_title("OLD: 1 firing: shop: error budgets")
        accessible(found)
        quiet(found, stale.url)


def test_from_the_page_of_what_burns_to_its_cause_by_keyboard(browser: Browser, served: Served) -> None:
    with watched(browser, served.url) as found:
        keys, page = found.page.keyboard, found.page
        keys.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_focused()
        keys.press("Enter")
        page.wait_for_url("**/#main")
        for _ in range(2):
            keys.press("Tab")
            if (
                page.evaluate("document.activeElement.textContent").replace("\u200b", "")
                == "shop/checkout availability"
            ):
                break
        keys.press("Enter")
        page.wait_for_url(f"**{CHECKOUT}")
        expect(page.get_by_text("fires since about 2026-03-01 11:35 UTC (25m)")).to_be_visible()
        expect(page.get_by_text("26.4 % fail since about 11:35 UTC")).to_be_visible()
        page.get_by_role("link", name="6h").focus()
        keys.press("Enter")
        page.wait_for_url("**?range=6h")
        quiet(found, served.url)


@pytest.mark.parametrize("scripts", [True, False])
def test_search_sort_and_filter_work_with_and_without_scripts(
    browser: Browser, served: Served, scripts: bool
) -> None:
    with watched(browser, served.url, java_script_enabled=scripts) as found:
        page = found.page
        page.get_by_label("Search").fill("shop")
        page.locator("select[name=status]").select_option("ok")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**/?q=shop&status=ok&owner=&sort=")
        expect(page.locator("#table tbody th")).to_have_count(2)
        page.get_by_role("link", name="service", exact=True).click()
        expect(page.locator("#table th[aria-sort=ascending]")).to_have_text("service")
        expect(page.locator("#table tbody th").first).to_have_text("shop/cart")
        page.get_by_role("link", name="service", exact=True).click()
        expect(page.locator("#table tbody th").first).to_have_text("shop/search")


def test_a_page_that_stays_open_ages_and_says_so(browser: Browser, served: Served) -> None:
    with watched(browser, f"{served.url}/healthz") as found:
        page = found.page
        page.clock.install()
        page.goto(served.url)
        expect(page.get_by_role("alert")).to_be_hidden()
        page.clock.fast_forward(65_000)
        expect(page.locator("#age")).to_have_text(re.compile(r"^(6[5-9]|[7-9]\d|1[01]\d)s$"))
        expect(page.get_by_role("alert")).to_be_hidden()
        page.clock.fast_forward(200_000)
        expect(page.get_by_role("alert")).to_contain_text("may not hold any more")
        expect(page).to_have_title("OLD: 1 firing: shop: error budgets")


def test_promql_is_copied_and_the_theme_stays(browser: Browser, served: Served) -> None:
    with watched(browser, served.url + CHECKOUT, permissions=["clipboard-read", "clipboard-write"]) as found:
        page = found.page
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()").startswith("sloctl silence -f slo.yaml")
        page.locator("#theme").click()
        page.goto(served.url)
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_service_of_the_mesh_is_looked_at_by_a_click(browser: Browser, served: Served) -> None:
    with watched(browser, f"{served.url}/mesh") as found:
        page = found.page
        page.locator(".mesh a", has_text="inventory").click()
        page.wait_for_url("**/mesh?q=shop%2Finventory")
        expect(page.locator(".mesh .node")).to_have_count(2)
        quiet(found, served.url)
