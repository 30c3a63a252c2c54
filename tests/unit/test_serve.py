"""The live pages: what they say, how old they say it is, who may read them, and that nothing in a name can act."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from starlette.testclient import TestClient

from sloctl import spec
from sloctl.cli.reloading import Files, told
from sloctl.errors import BackendUnavailable, InvalidFile, UsageError
from sloctl.model import Slo, SloSet
from sloctl.report.data import Report
from sloctl.report.html import live
from sloctl.report.html.live import Wanted
from sloctl.report.mesh import Edge, MeshCalls, Node
from sloctl.report.numbers import plain
from sloctl.serve import feeds
from sloctl.serve.access import Access, check_bind, check_names, host_of
from sloctl.serve.cache import Asked, Busy, Explained, Refresher
from sloctl.settings.secret import Secret
from sloctl.spec import Source
from tests.support.html import Document
from tests.support.reports import AT, ATTACKS, attacked, drawn, report
from tests.support.served import OBSERVED, SLO_FILE, Site, later, shop, slo_set

CHECKOUT = "/slo/shop/checkout/availability"
DOWN = BackendUnavailable("Prometheus at http://prometheus:9090 refused", backend="prometheus", url="x")


@pytest.fixture(scope="module")
def slos(tmp_path_factory: pytest.TempPathFactory) -> SloSet:
    return slo_set(tmp_path_factory.mktemp("serve"))


@pytest.fixture
def site(slos: SloSet) -> Iterator[Site]:
    found = Site(slos)
    found.refresher.refresh()
    yield found
    found.answers.close()


def client(site: Site, access: Access | None = None, **headers: str) -> TestClient:
    return TestClient(site.application(access), base_url="http://localhost", headers=headers)


@pytest.fixture
def web(site: Site) -> TestClient:
    return client(site)


def services(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/slo/([^"]*)"', text)


# --- what pages say


def test_what_burns_stands_first_with_since_when_and_how_fast(web: TestClient) -> None:
    text = Document(web.get("/").text).text
    now = text[: text.index("Search")]
    assert "AvailabilityBudgetBurnPage1h since about 11:35 UTC (25m)" in " ".join(now.split())
    assert "21.5" in now or "22 × over 5m" in now
    assert "26.4 % fail since about 11:35 UTC" in now
    assert "shop/cart availability 2.50 ×" in " ".join(now.split())
    assert services(web.get("/").text)[0] == "shop/checkout/availability"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("?q=cart", ["shop/cart/availability"]),
        ("?q=CHECK+page1h", ["shop/checkout/availability"]),
        ("?q=team-pay", ["shop/checkout/availability"]),
        ("?status=no_data", ["shop/quiet/availability"]),
        ("?status=firing", ["shop/checkout/availability"]),
        ("?owner=team-find", ["shop/search/availability"]),
        ("?q=nowhere", []),
        (
            "?sort=burn+5m&order=down",
            [f"shop/{name}/availability" for name in ("checkout", "cart")],
        ),
        (
            "?sort=service",
            [
                "-/billing/late",
                *(f"shop/{name}/availability" for name in ("cart", "checkout", "quiet", "search")),
            ],
        ),
        ("?sort=no+such+column&page=99&status=%3Cx%3E", None),
    ],
)
def test_order_and_filter_are_in_the_address(web: TestClient, asked: str, found: list[str] | None) -> None:
    answer = web.get(f"/{asked}")
    assert answer.status_code == 200
    rows = services(answer.text)
    assert len(rows) == 5 if found is None else rows[: len(found)] == found
    if found is not None and not asked.startswith("?sort=burn"):
        assert len(rows) == len(found)
    data = web.get(f"/api/v1/overview{asked}").json()["report"]["slos"]
    names = {f"{each['namespace'] or '-'}/{each['service']}/{each['slo']}" for each in data}
    assert names == set(rows)
    table = list(csv.reader(io.StringIO(web.get(f"/api/v1/overview.csv{asked}").text)))
    assert len(table) == len(rows) + 1


def test_slos_that_carry_a_cluster_are_grouped_and_filtered_by_it(tmp_path: Path, web: TestClient) -> None:
    carried = SLO_FILE.replace("objective: 99.9,", "objective: 99.9, labels: {cluster: eu1},").replace(
        "metadata: {name: shop}", "metadata: {name: shop, labels: {cluster: us1}}"
    )
    site = Site(slo_set(tmp_path, carried))
    site.refresher.refresh()
    found = client(site)
    text = " ".join(Document(found.get("/").text).text.split())
    assert "By cluster clusteralerts fire" in text
    assert services(found.get("/?cluster=eu1").text) == ["shop/checkout/availability"]
    assert len(services(found.get("/?cluster=us1").text)) == 4
    assert len(found.get("/api/v1/overview?cluster=us1").json()["report"]["slos"]) == 4
    assert services(found.get("/?cluster=nowhere").text) == []
    assert "cluster" not in Document(web.get("/").text).text
    site.answers.close()


def test_what_is_not_known_sorts_last_either_way() -> None:
    for down in (False, True):
        found = Wanted(sort="SLI", down=down).select(shop())
        assert found[-1].service == "quiet" and found[0].service == (
            "checkout" if not down else found[0].service
        )


def test_of_what_fires_pages_come_first_and_what_burns_fastest() -> None:
    made = [
        drawn(
            service=name, status=status, alerts=(f"XBudgetBurn{alert}",), burn_rates={"5m": burn, "1h": burn}
        )
        for name, alert, status, burn in (
            ("slow", "Ticket3d", "exhausted", 2.0),
            ("over", "Ticket3d", "exhausted", None),
            ("brief", "Ticket3d", "at_risk", 90.0),
            ("fast", "Page1h", "at_risk", 60.0),
        )
    ]
    found = [each.service for each in live.by_urgency(report(*made))]
    assert found == ["fast", "brief", "slow", "over"]


def test_of_a_latency_slo_it_is_said_that_failures_are_followed_and_not_slowness(tmp_path: Path) -> None:
    text = SLO_FILE.replace("{preset: availability}", "{preset: latency, threshold: 250ms}", 1)
    site = Site(slo_set(tmp_path, text))
    site.refresher.refresh()
    try:
        page = Document(client(site).get(CHECKOUT).text).text
        other = Document(client(site).get("/slo/shop/cart/availability").text).text
    finally:
        site.answers.close()
    assert "Where slow ones begin, it does not know" in page
    assert "Where slow ones begin" not in other


def test_an_slo_says_how_long_requests_take_and_what_changed(web: TestClient) -> None:
    page = web.get(CHECKOUT).text
    text = " ".join(Document(page).text.split())
    assert "5 minutes12.5 ms180 ms✕ ≥ 3,600,000 ms 1 hour11 ms90 ms240 ms" in text
    assert "shop/frontendcaller9,00012 ms190 ms✕ 400 ms v2version10080 ms✕ 300 ms–" in text
    assert "The threshold is 250 ms" in text
    assert "1 Mar 11:20: version v2 begins to serve (5m)" in text
    assert 'class="mark version"' in page
    found = web.get(f"/api/v1{CHECKOUT}").json()
    assert found["latency"]["windows"][0]["p95_ms"] == 180 and found["marks"][-1]["what"] == "version"
    assert "Latency" not in Document(web.get("/slo/-/billing/late").text).text
    assert web.get("/api/v1/slo/-/billing/late").json()["latency"] is None


def test_a_latency_of_a_partial_answer_is_shown_in_doubt(
    site: Site, web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "observed", lambda *_: replace(OBSERVED, doubts=("a store is away",)))
    said = Document(web.get(CHECKOUT).text).text
    assert "a store is away" in said and "180" in said
    assert web.get(f"/api/v1{CHECKOUT}").json()["latency_failure"] == "a store is away"


def test_a_latency_that_cannot_be_read_is_said(site: Site, web: TestClient) -> None:
    def fails(*_: object) -> None:
        raise DOWN

    site.observed = fails  # type: ignore[method-assign,assignment]
    assert "Latency Not known: Prometheus at" in " ".join(Document(web.get(CHECKOUT).text).text.split())
    assert "refused" in web.get(f"/api/v1{CHECKOUT}").json()["latency_failure"]


def test_many_budgets_come_page_by_page(slos: SloSet) -> None:
    site = Site(slos, lambda: report(*(drawn(service=f"s{number:03d}") for number in range(250))))
    site.refresher.refresh()
    web = client(site)
    pages = [services(web.get(f"/?sort=service&page={number}").text) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [100, 100, 50, 50]
    assert len({name for page in pages for name in page}) == 250


def test_an_slo_has_its_state_policy_promql_and_command(web: TestClient) -> None:
    text = " ".join(Document(web.get(CHECKOUT).text).text.split())
    assert "AvailabilityBudgetBurnPage1h fires since about 2026-03-01 11:35 UTC (25m)." in text
    assert "It burns now: at least 15 × what lasts, over 5m and 1h both." in text
    assert "503, from shop/frontend" in text
    assert re.search("page ?14 × ?15 over 1h ?22 over 5m ?above, both", text)
    assert "sloctl silence -f slo.yaml --namespace shop --service checkout --slo availability" in text
    assert (
        'slo:burn_rate:1h{slo_id="shop:shop/checkout/availability",namespace="shop",service="checkout"}'
        in text
    )
    assert "asked: shop/checkout 3600" in text
    assert "a store is away" not in text


def test_where_failures_begin_is_said_with_its_time(site: Site, web: TestClient) -> None:
    found = Document(web.get("/explain?service=checkout&namespace=shop&last=3h").text).text
    assert "asked: shop/checkout 10800" in found and "Looked at 2026-03-01T12:00:00Z" in found

    def fails(namespace: str, service: str, seconds: int, at: datetime | None = None) -> Explained:
        raise DOWN

    other = Site(site.slo_set)
    other.explain = fails  # type: ignore[method-assign]
    assert (
        "Not known: Prometheus at http://prometheus:9090 refused"
        in Document(client(other).get("/explain").text).text
    )


def test_from_an_alert_one_comes_to_its_explanation_at_its_time(site: Site, web: TestClient) -> None:
    where = "/explain?namespace=shop&service=checkout&last=1h"
    page = Document(web.get(f"{where}&at={AT.timestamp() - 1799:.0f}").text).text
    assert "As of 2026-03-01T11:31:00Z · look now" in page
    assert "As of 2026-03-01T12:00:00Z" in Document(web.get(f"{where}&at={AT.timestamp() + 9:.0f}").text).text
    asked = site.asked
    assert web.get(f"/api/v1{where}&at={AT.timestamp() - 1770:.0f}").json()["time"] == "2026-03-01T11:31:00Z"
    assert site.asked == asked  # another second of the same minute
    for wrong in ("x", "-1", "12345678901", "\u0663"):
        assert web.get(f"{where}&at={wrong}").status_code == 400


def test_doubt_is_said(web: TestClient) -> None:
    text = Document(web.get("/slo/shop/search/availability").text).text
    assert "These numbers may be wrong (partial-answer)" in text
    assert "a store is away" in text
    assert "not known" in Document(web.get("/slo/shop/quiet/availability").text).text


def test_a_service_without_a_namespace_has_a_page(web: TestClient) -> None:
    assert "billing" in web.get("/slo/-/billing/late").text
    assert web.get("/slo/billing/late").status_code == 404


def test_a_part_of_the_window_is_read_once_for_all_readers(site: Site, web: TestClient) -> None:
    before = site.asked
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda _: web.get("/slo/shop/search/availability?range=6h").status_code, range(16))
        )
    assert set(found) == {200} and site.asked == before + 1
    assert web.get("/slo/shop/search/availability?range=5y").status_code == 200
    assert site.asked == before + 1
    assert web.get("/api/v1/slo/shop/search/availability?range=5y").status_code == 400


def test_while_an_alert_fires_its_hours_are_drawn_until_more_is_asked_for(
    site: Site, web: TestClient
) -> None:
    def drawn_range(path: str) -> str:
        (found,) = re.findall(r'<a href="[^"]*" aria-current="true">([^<]*)</a>', web.get(path).text)
        return str(found)

    assert drawn_range(CHECKOUT) == drawn_range(f"{CHECKOUT}?range=5y") == "6h"
    assert drawn_range(f"{CHECKOUT}?range=window") == "window (30d)"
    assert drawn_range(f"{CHECKOUT}?range=1h") == "1h"
    assert drawn_range("/slo/shop/cart/availability") == "window (30d)"
    ticket = drawn(alerts=("AvailabilityBudgetBurnTicket3d",))
    assert live.range_of(ticket, site.slo_set.slos[0], "") == "3d"


def test_a_part_that_cannot_be_read_is_said(site: Site, web: TestClient) -> None:
    def fails(*_: object) -> None:
        raise DOWN

    site.part = fails
    text = Document(web.get(f"{CHECKOUT}?range=6h").text).text
    assert "This range could not be read: Prometheus at http://prometheus:9090 refused" in text
    site.part = lambda *_: None
    assert "no record of it" in Document(web.get(f"{CHECKOUT}?range=1h").text).text


def calls(text: str) -> list[tuple[str, str]]:
    found = re.findall(
        r'data-label="caller"><a href="[^"]*">(.*?)</a></td><th scope="row"><a href="[^"]*">(.*?)</a>', text
    )
    return [(caller.replace("<wbr>", ""), called.replace("<wbr>", "")) for caller, called in found]


def test_of_the_mesh_what_deviates_is_shown_until_more_is_asked_for(web: TestClient) -> None:
    cascade = [("shop/checkout", "shop/inventory"), ("shop/frontend", "shop/checkout")]
    plaintext = ("shop/cart", "data/store")
    page = web.get("/mesh").text
    assert calls(page) == [*cascade, plaintext]
    text = " ".join(Document(page).text.split())
    assert "2 of 5 edges between 5 services fail; odd otherwise: 1." in text
    assert (
        "shop/checkout calls shop/inventory: 1,000 requests, 28.00 % fail, 2.10 attempts per request" in text
    )
    assert len(calls(web.get("/mesh?show=all").text)) == 5
    assert calls(web.get("/mesh?q=inventory").text) == cascade[:1]
    assert calls(web.get("/mesh?namespace=data").text) == [plaintext]
    assert web.get("/api/v1/mesh?ago=1h").json()["at"] == "2026-03-01T11:00:00Z"
    assert [edge["odd"] for edge in web.get("/api/v1/mesh").json()["edges"]] == [
        ["retries"],
        [],
        ["plaintext"],
    ]


def test_a_mesh_that_cannot_be_read_is_said(site: Site, web: TestClient) -> None:
    def fails(_: int) -> MeshCalls:
        raise DOWN

    site.mesh = fails
    assert "Not known: Prometheus at http://prometheus:9090 refused" in Document(web.get("/mesh").text).text
    assert web.get("/api/v1/mesh").status_code == 502
    site.mesh = lambda _: MeshCalls(AT, 900, ())
    assert "No requests were seen" in Document(web.get("/mesh?ago=3h").text).text


# --- how old it is


def test_before_the_first_answer_nothing_is_shown(slos: SloSet) -> None:
    site = Site(slos)
    web = client(site)
    for path in ("/", CHECKOUT, "/api/v1/overview", "/incidents.atom", "/readyz"):
        found = web.get(path)
        assert found.status_code == 503
        assert path == "/readyz" or found.headers["retry-after"] == "5"
    assert web.get("/healthz").status_code == 200
    badge = web.get(f"/badge{CHECKOUT[4:]}.svg")
    assert badge.status_code == 200 and "unknown" in badge.text
    site.refresher.refresh()
    assert web.get("/").status_code == web.get("/readyz").status_code == 200


def test_a_failed_refresh_keeps_the_last_answer_and_says_that_it_is_old(slos: SloSet) -> None:
    answers: list[Callable[[], Report]] = [shop]
    site = Site(slos, lambda: answers[0]())
    web = client(site)
    site.refresher.refresh()
    assert "OLD" not in web.get("/").text and web.get("/api/v1/overview").json()["stale"] is False

    def down() -> Report:
        raise DOWN

    answers[0] = down
    site.now = later(65)
    site.refresher.refresh()
    for path in ("/", CHECKOUT):
        page = web.get(path)
        assert page.status_code == 200 and "<title>OLD: " in page.text and '<body class="stale">' in page.text
        text = " ".join(Document(page.text).text.split())
        assert "The last refresh failed: Prometheus at http://prometheus:9090 refused." in text
        assert "1m5s ago" in text and "At 2026-03-01 12:00:00 UTC" in text
    data = web.get("/api/v1/overview").json()
    assert (data["stale"], data["age_seconds"]) == (True, 65.0) and "refused" in data["failure"]
    assert "old" in web.get(f"/badge{CHECKOUT[4:]}.svg").text
    answers[0] = shop
    site.refresher.refresh()
    assert "<title>OLD: " not in web.get("/").text


def test_what_hangs_makes_pages_old_too(site: Site, web: TestClient) -> None:
    site.now = later(179)
    assert '<body class="stale">' not in web.get("/").text
    site.now = later(190)
    text = web.get("/").text
    assert '<body class="stale">' in text and "There was no refresh for too long" in text
    assert web.get("/api/v1/overview.csv").headers["x-sloctl-stale"] == "true"


def test_an_answer_is_of_one_report_though_another_comes_meanwhile(slos: SloSet) -> None:
    reports = iter([shop(), replace(shop(), at=later(600)), replace(shop(), at=later(1200))])
    site = Site(slos, lambda: next(reports))
    site.refresher.refresh()
    known = site.definitions

    def meanwhile(found: Report) -> Mapping[int, Slo]:
        site.refresher.refresh()
        return known(found)

    site.definitions = meanwhile  # type: ignore[method-assign]
    web = client(site)
    assert web.get(f"/api/v1{CHECKOUT}").json()["at"] == "2026-03-01T12:00:00Z"
    assert "2026-03-01T12:10:00Z" in web.get(CHECKOUT).text


def test_a_clock_that_is_set_back_makes_nothing_young(slos: SloSet) -> None:
    now, ticks = [AT], [1000.0]
    refresher = Refresher(Site(slos), lambda: now[0], 60.0, ticks=lambda: ticks[0])
    refresher.refresh()
    assert not refresher.state.stale(AT)
    now[0], ticks[0] = later(-3600), 1200.0
    assert refresher.state.stale(now[0]) and refresher.state.age(now[0]) == 200


def test_a_changed_file_is_shown_all_of_it_once_its_budgets_are_known(
    site: Site, web: TestClient, tmp_path: Path
) -> None:
    text = SLO_FILE.replace("99.9", "99.99").replace("name: late", "name: later")
    new = Site(slo_set(tmp_path, text), lambda: replace(report(drawn(objective=99.99)), at=later(30)))
    new.mesh = lambda ago: MeshCalls(AT, 900, ())
    assert "2 of 5 edges" in web.get("/mesh").text  # known, and not the new file's
    site.refresher.replace(new)
    assert services(web.get("/").text)[0] == "shop/checkout/availability" and "billing" in web.get("/").text
    site.refresher.refresh()
    assert services(web.get("/").text) == ["shop/checkout/availability"]
    assert web.get("/slo/-/billing/late").status_code == 404
    assert web.get(f"/api/v1{CHECKOUT}").json()["at"] == "2026-03-01T12:00:30Z"
    assert "No requests were seen" in web.get("/mesh").text
    new.answers.close()


def test_while_a_changed_file_cannot_be_read_the_old_one_is_shown_as_old(site: Site, web: TestClient) -> None:
    def down() -> Report:
        raise DOWN

    site.refresher.replace(Site(site.slo_set, down))
    site.refresher.refresh()
    found = web.get("/").text
    assert "billing" in found and "The last refresh failed: Prometheus" in found


def test_a_changed_file_that_is_not_used_is_said(site: Site, web: TestClient) -> None:
    why = "slo.yaml:7:3: <b>objective</b>"
    site.refresher.refuse(why)
    site.refresher.refresh()
    for path in ("/", CHECKOUT):
        page = web.get(path).text
        assert f"The changed SLO file is not used: {why}. What is shown" in Document(page).text
        assert '<body class="stale">' not in page
    assert web.get("/api/v1/overview").json()["file_refused"] == why
    site.refresher.replace(site)
    assert "is not used" not in web.get("/").text


def test_a_file_that_stays_away_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(SLO_FILE)
    files = Files([str(path)], spec.read([path]), "shop", lambda _: None)
    path.unlink()
    for asked in (False, True):
        with pytest.raises(UsageError, match="cannot read"):
            files.changed(asked=asked)
        assert files.changed() is None
    path.write_text(SLO_FILE)
    assert files.changed() is None
    assert files.changed() is not None


def test_files_that_change_while_they_are_looked_at_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap's files change all at once: a link to their folder is replaced, maybe between two of them."""
    for folder, objective in (("old", "99"), ("new", "98"), ("broken", "980")):
        path = tmp_path / folder
        path.mkdir()
        (path / "slo.yaml").write_text(SLO_FILE.replace("99.9", objective))
        (path / "z.yaml").write_text("apiVersion: sloctl/v1\nkind: MeshSLOs\n")

    def link(folder: str) -> None:
        (tmp_path / "next").symlink_to(tmp_path / folder)
        (tmp_path / "next").rename(tmp_path / "data")

    link("old")
    sources = spec.read([tmp_path / "data"])
    refusing: list[str] = []

    def check(slo_set: SloSet) -> None:
        if refusing:
            raise UsageError(refusing[0])

    files = Files([str(tmp_path / "data")], sources, "shop", check)
    assert files.changed() is None
    half = [
        Source(new.name, new.content if old.name.endswith("slo.yaml") else old.content)
        for new, old in zip(spec.read([tmp_path / "new"]), sources, strict=True)
    ]
    answers = iter([tuple(half)])
    link("new")
    read = spec.read
    monkeypatch.setattr(spec, "read", lambda paths: next(answers, None) or read(paths))
    assert files.changed() is None  # half of it, as somebody writes it
    assert files.changed() is None  # all of it, which may be a half as well
    found = files.changed()
    assert found is not None and found.slos[0].objective == 98
    assert files.changed() is None and files.changed(asked=True) is None
    link("broken")
    with pytest.raises(InvalidFile) as error:
        files.changed(asked=True)
    assert "data/slo.yaml:7" in told(error.value)
    assert files.changed() is None  # said once
    with pytest.raises(InvalidFile):
        files.changed(asked=True)  # who asks is told again
    refusing.append("no token")
    link("new")
    with pytest.raises(UsageError):
        files.changed(asked=True)
    assert files.changed() is None
    refusing.clear()
    assert files.changed(asked=True) is not None  # what was in the way is not any more
    (tmp_path / "data").unlink()
    with pytest.raises(UsageError):
        files.changed()
    link("new")
    assert files.changed() is None
    assert files.changed() is not None  # what was said is taken back


def test_what_nobody_foresaw_is_told_without_its_words(slos: SloSet) -> None:
    def broken() -> Report:
        raise ValueError("http://user:hunter2@prometheus")

    site = Site(slos, broken)
    site.refresher.refresh()
    found = client(site).get("/")
    assert (
        found.status_code == 503
        and "internal error (ValueError)" in found.text
        and "hunter2" not in found.text
    )


def test_without_an_explanation_the_report_is_shown(slos: SloSet) -> None:
    site = Site(slos)

    def fails(namespace: str, service: str, seconds: int, at: datetime | None = None) -> Explained:
        raise DOWN

    site.explain = fails  # type: ignore[method-assign]
    site.refresher.refresh()
    text = Document(client(site).get("/").text).text
    assert "Where failures begin is not known: Prometheus" in text


def test_questions_are_few_at_a_time() -> None:
    import asyncio

    go = threading.Event()
    asked = Asked(workers=1, waiting=1)

    async def ask() -> list[object]:
        found = [asyncio.create_task(asked.get(number, go.wait, 5)) for number in range(4)]
        while sum(task.done() for task in found) < 2:
            await asyncio.sleep(0)
        go.set()
        return list(await asyncio.gather(*found, return_exceptions=True))

    results = asyncio.run(ask())
    assert results[:2] == [True, True] and all(isinstance(each, Busy) for each in results[2:])
    asked.close()


# --- who may read


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("10.1.2.3", 200),
        ("slo.example.org", 200),
        ("SLO.example.org.:443", 200),
        ("evil.example.org", 421),
        ("localhost.evil.example.org", 421),
        ("127.0.0.1.nip.io", 421),
        ("localhost:8080@evil.example.org", 421),
        ("[::1]evil", 421),
        ("", 421),
    ],
)
def test_only_known_hosts_are_answered(site: Site, host: str, status: int) -> None:
    web = client(site, Access(hosts=frozenset({"slo.example.org"})))
    assert web.get("/", headers={"host": host}).status_code == status
    assert host_of("[::1]:80") == "::1"


def test_pages_of_other_sites_may_not_ask(web: TestClient) -> None:
    for origin, status in (
        ("http://localhost", 200),
        ("https://evil.example.org", 403),
        ("null", 403),
        ("http://localhost:81", 403),
    ):
        assert web.get("/api/v1/overview", headers={"origin": origin}).status_code == status
    assert web.post("/").status_code == 405
    assert web.request("OPTIONS", "/").status_code == 405
    assert web.head("/").status_code == 200


FLAGGER = {"name": "cart", "namespace": "shop", "phase": "Progressing", "checksum": "85d557f47b"}


def test_the_verdict_on_a_canary(site: Site, web: TestClient) -> None:
    asked = {"service": "shop/cart", "baseline": "v1", "canary": "v2"}
    since = int(site.now.timestamp()) - 600
    found = web.get("/api/v1/canary", params=asked | {"since": str(since)}).json()
    assert found["verdict"] == "wait" and found["asked"] == asked | {"by": "version"}
    assert datetime.fromisoformat(found["from"]).timestamp() == since
    for wrong, why in (
        (asked | {"canary": ""}, "canary is missing"),
        ({"service": "shop/cart"}, "baseline is missing"),
        (asked | {"since": "soon"}, "since is a time"),
        (asked | {"since": str(since + 3600)}, "within the last day"),
        (asked | {"since": str(since - 90000)}, "within the last day"),
        (asked | {"baseline": "v" * 254}, "no name"),
        (asked | {"service": "shop/none"}, "there is no SLO of shop/none"),
    ):
        answer = web.get("/api/v1/canary", params=wrong)
        assert (answer.status_code, why in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("verdict", "yes"),
    [
        ("promote", {"promote", "continue"}),
        ("wait", {"continue"}),
        ("rollback", {"rollback"}),
        ("inconclusive", set()),
    ],
)
def test_a_webhook_is_told_yes_or_no(site: Site, web: TestClient, verdict: str, yes: set[str]) -> None:
    site.verdict = verdict
    for name in ("promote", "rollback", "continue"):
        answer = web.post(f"/api/v1/canary/{name}", json=FLAGGER)
        assert answer.status_code == (200 if name in yes else 412)
        assert answer.json() == {"verdict": verdict, "reasons": ["the reason"]}


def test_what_a_webhook_asks_about(site: Site) -> None:
    web = client(site)
    web.post("/api/v1/canary/continue", json=FLAGGER)
    more = {"service": "shop/till", "baseline": "v1", "canary": "v2", "by": "version", "cmd": "rm"}
    web.post("/api/v1/canary/continue", json=FLAGGER | {"metadata": more})
    assert site.canaries == [
        ("shop/cart", "cart-primary", "cart", "workload"),
        ("shop/till", "v1", "v2", "version"),
    ]
    for content, status in (
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b'{"name": 1, "namespace": "shop"}', 400),
        (b'{"name": "cart", "namespace": "shop", "metadata": "x"}', 400),
        (b"[" * 60_000, 400),
        (b" " * 70_000, 413),
    ):
        assert web.post("/api/v1/canary/continue", content=content).status_code == status, content[:50]
    assert web.get("/api/v1/canary/continue").status_code == 405
    foreign = web.post(
        "/api/v1/canary/continue", json=FLAGGER, headers={"origin": "https://evil.example.org"}
    )
    assert foreign.status_code == 403
    assert (
        client(site, Access(token=Secret("s3cret"))).post("/api/v1/canary/continue", json=FLAGGER).status_code
        == 401
    )
    assert len(site.canaries) == 2


def test_a_token_is_needed_where_there_is_one(site: Site) -> None:
    web = client(site, Access(token=Secret("s3cret")))
    basic = base64.b64encode(b"anybody:s3cret").decode()
    for value, status in (
        (None, 401),
        ("Bearer s3cret", 200),
        (f"Basic {basic}", 200),
        ("Bearer s3cre", 401),
        ("Bearer ", 401),
        ("Basic !!", 401),
        (f"Basic {base64.b64encode(b's3cret').decode()}", 401),
        ("Digest s3cret", 401),
        ("Basic \xff", 401),
    ):
        found = web.get("/", headers={b"authorization": value.encode("latin-1")} if value else {})
        assert found.status_code == status, value
        assert status == 200 or "Basic" in found.headers["www-authenticate"]
    for path in (
        "/slo/a/b/c",
        "/static/live.js",
        "/badge/a/b/c.svg",
        "/incidents.atom",
        "/api/v1/openapi.json",
        "/mesh",
    ):
        assert web.get(path).status_code == 401
    assert web.get("/healthz").status_code == web.get("/readyz").status_code == 200


def test_behind_a_proxy_its_user_is_needed(site: Site) -> None:
    web = client(site, Access(user="X-Forwarded-User"))
    assert web.get("/").status_code == 401
    assert web.get("/", headers={"x-forwarded-user": " "}).status_code == 401
    assert web.get("/", headers={"x-forwarded-user": "ana"}).status_code == 200


def test_who_asks_too_often_waits(site: Site) -> None:
    web = client(site, Access(user="user", rate=0.001, burst=3))
    found = [web.get("/", headers={"user": "ana"}) for _ in range(5)]
    assert [each.status_code for each in found] == [200, 200, 200, 429, 429]
    assert int(found[-1].headers["retry-after"]) > 900
    assert web.get("/", headers={"user": "bo"}).status_code == 200


def test_a_token_may_have_any_letters(site: Site) -> None:
    web = client(site, Access(token=Secret("schlüssel")))
    basic = base64.b64encode("anybody:schlüssel".encode())
    for value in ("Bearer schlüssel".encode(), b"Basic " + basic):
        assert web.get("/", headers={b"authorization": value}).status_code == 200


def test_a_wrong_token_does_not_use_up_what_the_right_one_may_ask(site: Site) -> None:
    web = client(site, Access(token=Secret("s3cret"), rate=0.001, burst=2))
    wrong = [web.get("/", headers={"authorization": "Bearer guess"}).status_code for _ in range(4)]
    assert wrong == [401, 401, 429, 429]
    assert web.get("/", headers={"authorization": "Bearer s3cret"}).status_code == 200


@pytest.mark.parametrize(
    "access",
    [
        *(
            Access(hosts=frozenset({host}))
            for host in ("slo.example.org:8080", "slo.example.org.", "http://slo", "", "*", "a b", "slö.example", "-a")
        ),
        *(
            Access(user=header)
            for header in ("Host", "user-agent", "Accept", "X User", "X-User:", "ä", "X-Forwarded-For", "Cookie")
        ),
    ],
)  # fmt: skip
def test_names_that_would_let_nobody_or_everybody_in_are_refused(access: Access) -> None:
    with pytest.raises(UsageError, match=r"--host|--behind-proxy") as caught:
        check_names(access)
    assert caught.value.hint


def test_names_of_hosts_and_of_users() -> None:
    hosts = frozenset({"slo", "slo.example.org", "10.0.0.1", "my_pages.svc"})
    for user in (
        "X-Forwarded-User",
        "X-Auth-Request-Email",
        "Remote-User",
        "x-goog-authenticated-user-email",
    ):
        check_names(Access(user=user, hosts=hosts))


def test_nobody_else_is_listened_to_without_a_token() -> None:
    for host in ("0.0.0.0", "10.0.0.1", "::", "slo.example.org"):
        with pytest.raises(UsageError, match="could read the pages"):
            check_bind(host, Access())
        check_bind(host, Access(token=Secret("x")))
        check_bind(host, Access(user="X-Forwarded-User"))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_bind(host, Access())


def test_every_answer_has_its_headers(web: TestClient) -> None:
    for path in ("/", CHECKOUT, "/nothing", "/static/live.js", "/api/v1/overview", "/incidents.atom"):
        headers = web.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert web.get(f"/badge{CHECKOUT[4:]}.svg").headers["cross-origin-resource-policy"] == "cross-origin"


# --- nothing in a name can act


def without_namespace(tag: str) -> str:
    return tag.rpartition("}")[2]


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_cannot_act(slos: SloSet, attack: str) -> None:
    hostile = attacked(attack)
    site = Site(slos, lambda: hostile)
    slo = slos.slos[0]
    site.definitions = lambda found: {id(found.slos[0]): slo}  # type: ignore[method-assign]
    site.lines = (attack,)
    node, other = Node(attack, attack), Node("x", attack)
    site.mesh = lambda _: MeshCalls(
        AT, 900, (Edge(node, other, 9.0, 9.0), Edge(other, node, 9.0, 9.0)), (attack,)
    )
    site.refresher.refresh()
    web = client(site)
    address = "/".join(quote(part, safe="") for part in (attack, attack, attack))
    asked = quote(attack, safe="")
    pages = [
        f"/?q={asked}&owner={asked}&sort={asked}",
        f"/slo/{address}",
        f"/explain?service=x&q={asked}",
        "/",
    ]
    for path in pages:
        found = web.get(path)
        assert found.status_code == 200, path
        document = Document(found.text)
        assert {tag for tag, _ in document.tags} <= TAGS
        scripts = document.all("script")
        assert [set(script) for script in scripts] == [{"src", "defer"}]
        for tag, attributes in document.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
            link = attributes.get("href")
            assert link is None or re.match(r"/(?!/)|https?://|#|data:image/svg", link), link
        assert plain(attack) in document.text
    badge = ET.fromstring(web.get(f"/badge/{address}.svg").text)
    assert {without_namespace(each.tag) for each in badge.iter()} == {"svg", "title", "rect", "text"}
    feed = ET.fromstring(web.get("/incidents.atom").content)
    assert {without_namespace(each.tag) for each in feed.iter()} <= ATOM_TAGS
    json.loads(web.get("/api/v1/overview").text)


TAGS = set(
    "html head meta title link script body a header div h1 h2 h3 p span time nav button main section ul li strong form "
    "label input select option table thead tbody tr th td wbr svg path dl dt dd pre footer code caption figure "
    "figcaption desc g text circle details summary".split()
)
ATOM_TAGS = set("feed id title updated link author name entry published summary".split())


# --- for programs


def test_the_api_is_what_its_document_says(web: TestClient) -> None:
    document = web.get("/api/v1/openapi.json").json()
    calls = {
        "/api/v1/overview": "/api/v1/overview",
        "/api/v1/slo/{namespace}/{service}/{slo}": "/api/v1/slo/shop/checkout/availability?range=6h",
        "/api/v1/explain": "/api/v1/explain?service=checkout",
        "/api/v1/mesh": "/api/v1/mesh?ago=1h",
    }
    assert set(calls) | {"/api/v1/overview.csv"} <= set(document["paths"])
    for path, address in calls.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        found = web.get(address)
        assert found.status_code == 200
        jsonschema.Draft202012Validator(schema).validate(found.json())
    one = web.get(f"/api/v1{CHECKOUT}").json()
    assert one["firing_since"] == "2026-03-01T11:35:00Z" and one["history"]["buckets"]
    assert web.get("/api/v1/slo/shop/nobody/x").json() == {
        "error": "There is no such SLO, or its service was not seen"
    }
    for wrong in ("last=5y", f"service={'x' * 300}", "service=%00"):
        assert web.get(f"/api/v1/explain?{wrong}").status_code == 400


def test_every_route_of_the_api_is_documented(site: Site, web: TestClient) -> None:
    paths = set(web.get("/api/v1/openapi.json").json()["paths"])
    for route in web.app._application.routes:  # type: ignore[attr-defined]
        if route.path.startswith("/api/") and not route.path.endswith("openapi.json"):
            assert route.path.replace("{path:rest}", "{namespace}/{service}/{slo}") in paths


def test_badges_are_green_only_where_all_is_known_and_well() -> None:
    green = feeds.COLOURS["ok"]
    found = {each.service: each for each in shop().slos}
    assert green in feeds.badge("x", found["cart"], stale=False)
    for each, stale in (
        (None, False),
        (found["cart"], True),
        (found["quiet"], False),
        (found["search"], False),
    ):
        badge = feeds.badge("x", each, stale=stale)
        assert green not in badge and feeds.GREY in badge
    assert feeds.COLOURS["exhausted"] in feeds.badge("x", found["checkout"], stale=False)
    burning = feeds.badge("x", drawn(0.1, status="ok", alerts=("A",)), stale=False)
    assert green not in burning and feeds.COLOURS["at_risk"] in burning


def test_the_feed_has_the_alerts_the_newest_first(web: TestClient) -> None:
    feed = ET.fromstring(web.get("/incidents.atom").content)
    entries = feed.findall(f"{{{feeds.ATOM}}}entry")
    assert [entry.findtext(f"{{{feeds.ATOM}}}title") for entry in entries] == [
        "AvailabilityBudgetBurnPage1h fires: shop/checkout availability"
    ]
    assert entries[0].findtext(f"{{{feeds.ATOM}}}published") == "2026-03-01T11:35:00Z"
    link = entries[0].find(f"{{{feeds.ATOM}}}link")
    assert link is not None and link.get("href") == f"http://localhost{CHECKOUT}"


def test_an_alert_since_when_is_not_known_is_one_entry_of_the_feed() -> None:
    def entries(at: datetime) -> list[str]:
        found = replace(report(drawn(alerts=("XBudgetBurnPage1h",))), at=at)
        feed = ET.fromstring(feeds.atom(found, "http://localhost", stale=False))
        return [each.findtext(f"{{{feeds.ATOM}}}id", "") for each in feed.iter(f"{{{feeds.ATOM}}}entry")]

    assert entries(AT) == entries(later(60)) and len(entries(AT)) == 1


def test_what_pages_load_is_kept_by_browsers_for_as_long_as_it_is_the_same(web: TestClient) -> None:
    for _, _, address in live.files().values():
        assert "immutable" in web.get(address).headers["cache-control"]
        assert web.get(address.partition("?")[0]).headers["cache-control"] == "no-cache"
    assert web.get("/static/..%2fview.py").status_code == 404


def test_all_that_pages_name_is_there(slos: SloSet, web: TestClient, tmp_path: Path) -> None:
    for path in ("/", CHECKOUT, "/explain", "/mesh", "/nothing"):
        for tag, attributes in Document(web.get(path).text).tags:
            address = attributes.get("href") or attributes.get("src") or ""
            if tag in ("a", "link", "script") and address.startswith("/"):
                assert web.get(address).status_code == 200, (path, address)
