"""The live exporter goes on where the history ended, series by series."""

import re
from collections.abc import Iterator

import pytest

from sloctl.demo.history import History, build_history
from sloctl.demo.live import LiveShop, LiveWorld
from sloctl.demo.shop import corner_shop
from sloctl.demo.world import OUTSIDE

END = 1_700_000_100


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    yield build_history(corner_shop(0.5), END, tmp_path_factory.mktemp("live"))


def _samples(live: LiveWorld, at: float) -> dict[tuple[tuple[str, str], ...], int]:
    """Every exposed sample with the labels that a scrape gives it."""
    found = {}
    for target in live.targets:
        text = live.page(target.page, at)
        assert text is not None
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = re.fullmatch(r"(\w+)\{(.*)\} (\d+)", line) or re.fullmatch(r"(\w+)() (\d+)", line)
            assert match, line
            labels = {
                **dict(target.labels),
                **dict(re.findall(r'(\w+)="([^"]*)"', match[2])),
                "__name__": match[1],
            }
            found[tuple(sorted(labels.items()))] = int(match[3])
    return found


def test_it_starts_with_the_last_values(history: History) -> None:
    assert _samples(LiveWorld(history), END - 53) == dict(history.state.items())


def test_counters_go_on_and_only_rise(history: History) -> None:
    live = LiveWorld(history)
    before = _samples(live, END - 53)
    for minutes in (1, 5, 55, 70, 180):
        after = _samples(live, END + 60 * minutes)
        assert before.keys() <= after.keys()
        assert all(after[key] >= value for key, value in before.items())
        assert sum(after.values()) > sum(before.values())
        before = after


def test_a_late_start_counts_what_nobody_scraped(history: History) -> None:
    early, late = LiveWorld(history), LiveWorld(history)
    for minutes in range(0, 600, 30):
        early.page("", END + minutes * 60)
    sums = [sum(_samples(live, END + 36_000).values()) for live in (early, late)]
    base = sum(history.state.values())
    assert sums[0] - base == pytest.approx(sums[1] - base, rel=0.02)


def test_the_outage_of_the_end_still_goes_on(history: History) -> None:
    live = LiveWorld(history)
    first, last = (
        {
            code: sum(
                value
                for key, value in _samples(live, at).items()
                if {
                    ("destination_service_name", "flaky"),
                    ("reporter", "destination"),
                    ("response_code", code),
                }
                < set(key)
            )
            for code in ("200", "503")
        }
        for at in (END, END + 600)
    )
    failed = last["503"] - first["503"]
    assert failed / (failed + last["200"] - first["200"]) == pytest.approx(0.5, abs=0.1)


def test_scrape_configs_give_the_labels_of_the_history(history: History) -> None:
    with LiveShop(history, clock=lambda: END + 5.0) as shop:
        configs = shop.scrape_configs(15)
        targets = {
            tuple(sorted({"job": config["job_name"], **static["labels"]}.items()))
            for config in configs
            for static in config["static_configs"]
        }
    alive = {key for key, _ in history.state.items()}
    assert {config["job_name"] for config in configs} == {"envoy-stats", "store-jobs", "kube-state-metrics"}
    pods = {dict(target)["pod"] for target in targets if "pod" in dict(target)}
    assert {dict(key)["pod"] for key in alive} <= pods
    assert not any(OUTSIDE in pod for pod in pods)
    assert all(config["scrape_timeout"] == "10s" for config in configs)
