"""The adapter against a real Prometheus over a TSDB of known samples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from sloctl.backends.frames import matrix_frame
from sloctl.backends.prometheus.client import Prometheus
from sloctl.backends.protocols import MetricSource
from sloctl.errors import BackendLimit, QueryRejected
from sloctl.settings.backends import PrometheusSettings
from tests.support.prometheus_fixture import MISSING, running_prometheus

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

START = datetime(2024, 3, 1, tzinfo=UTC)
HOURS = 6
END = START + timedelta(hours=HOURS)
SERVICES = ("cart", "checkout", "search")
RULES = """
groups:
  - name: shop
    rules:
      - {record: "job:requests:rate5m", expr: "rate(requests_total[5m])"}
"""


def openmetrics() -> str:
    """Counters scraped every 15 s; ``search`` lives for the first half of the time only."""
    lines = ["# TYPE requests counter"]
    for number, service in enumerate(SERVICES, start=1):
        for index in range(HOURS * 240 + 1):
            if service == "search" and index > HOURS * 120:
                break
            at = START.timestamp() + 15 * index
            lines.append(f'requests_total{{service="{service}"}} {index * number} {at}')
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(RULES)
    config = f"global: {{}}\nrule_files: ['{folder}/rules.yml']\n"
    with running_prometheus(folder, openmetrics(), "--query.max-samples=30000", config=config) as address:
        yield address


@pytest.fixture
def prometheus(url: str) -> Iterator[Prometheus]:
    with Prometheus(PrometheusSettings(url)) as source:
        yield source


def test_it_is_a_metric_source(prometheus: Prometheus) -> None:
    source: MetricSource = prometheus
    assert source.queries == 0
    assert source.warnings == ()


def test_an_instant_query(prometheus: Prometheus) -> None:
    at = START + timedelta(hours=1)
    answer = prometheus.query("requests_total", at)
    found = sorted((one["metric"]["service"], one["value"]) for one in answer)
    values = {"cart": "240", "checkout": "480", "search": "720"}
    assert found == [(service, (at.timestamp(), value)) for service, value in values.items()]


def test_an_instant_is_not_rounded_to_a_second(prometheus: Prometheus) -> None:
    at = START + timedelta(seconds=14, milliseconds=999)
    assert [s["value"][1] for s in prometheus.query('requests_total{service="cart"}', at)] == ["0"]
    at = START + timedelta(seconds=15)
    assert [s["value"][1] for s in prometheus.query('requests_total{service="cart"}', at)] == ["1"]


def test_no_data_is_an_empty_frame(prometheus: Prometheus) -> None:
    assert not prometheus.query("nothing_total", END)
    assert matrix_frame(prometheus.query_range("nothing_total", START, END, timedelta(minutes=1)), []).empty


def test_a_scalar_and_raw_samples(prometheus: Prometheus) -> None:
    assert [s["value"][1] for s in prometheus.query("scalar(vector(7))", END)] == ["7"]
    (series,) = prometheus.query('requests_total{service="cart"}[1m]', START + timedelta(seconds=50))
    assert [value for _, value in series["values"]] == ["0", "1", "2", "3"]


def test_many_queries(prometheus: Prometheus) -> None:
    queries = {f"hour {n}": f"sum(requests_total @ {START.timestamp() + n * 3600})" for n in range(4)}
    answers = prometheus.query_many(queries, START + timedelta(hours=4))
    assert {name: answer[0]["value"][1] for name, answer in answers.items()} == {
        "hour 0": "0",
        "hour 1": str(6 * 240),
        "hour 2": str(6 * 480),
        "hour 3": str(6 * 720),
    }
    assert prometheus.queries == 4


@pytest.mark.parametrize("max_points", [1, 7, 100, 361, 11_000])
@pytest.mark.parametrize("offset", [timedelta(0), timedelta(seconds=7, milliseconds=123)])
def test_a_divided_range_equals_the_undivided_one(url: str, max_points: int, offset: timedelta) -> None:
    start, step = START + offset, timedelta(seconds=60)
    end = END if max_points > 1 else START + timedelta(minutes=20)
    expr = "rate(requests_total[5m])"
    with (
        Prometheus(PrometheusSettings(url)) as whole,
        Prometheus(PrometheusSettings(url), max_points=max_points) as cut,
    ):
        expected = whole.query_range(expr, start, end, step)
        assert cut.query_range(expr, start, end, step) == expected
        assert whole.queries == 1
        assert cut.queries == -(-((end - start) // step + 1) // max_points)
    assert [series["metric"]["service"] for series in expected] == list(SERVICES)


def test_a_range_beyond_the_servers_limit_of_points(prometheus: Prometheus) -> None:
    step = timedelta(milliseconds=500)
    (series,) = prometheus.query_range("vector(1)", START, END, step)
    times = [time for time, _ in series["values"]]
    assert len(times) == HOURS * 7200 + 1
    assert {round(b - a, 3) for a, b in pairwise(times)} == {0.5}
    assert prometheus.queries == 4


def test_a_range_beyond_the_servers_limit_of_samples_is_halved(prometheus: Prometheus) -> None:
    step = timedelta(seconds=1)
    start = END - timedelta(hours=2)
    # Three series of 10,801 points are over the server's limit of 30,000 samples; two of 7,201 are not.
    prometheus.query_range("requests_total", start, END, step)
    assert prometheus.queries == 1
    end = START + timedelta(hours=3)
    frame = matrix_frame(prometheus.query_range("requests_total", START, end, step), ["service"])
    assert prometheus.queries == 1 + 3
    assert len(frame) == 3 * (3 * 3600 + 1)
    assert not frame.duplicated(["service", "time"]).any()


def test_a_query_that_always_reads_too_much_is_a_limit(prometheus: Prometheus) -> None:
    expr = " + ".join(["sum(sum_over_time(requests_total[6h:1s]))"] * 2)
    with pytest.raises(BackendLimit, match="too many samples") as caught:
        prometheus.query(expr, END)
    assert "shorter range" in caught.value.hint
    assert prometheus.queries == 1


@pytest.mark.parametrize(
    ("expr", "part"),
    [
        ("sum(", "parse error"),
        ("requests_total + on () requests_total", "many-to-many"),
        ("", "no expression"),
    ],
)
def test_a_bad_query_is_rejected_and_not_repeated(prometheus: Prometheus, expr: str, part: str) -> None:
    with pytest.raises(QueryRejected, match=part) as caught:
        prometheus.query(expr, START)
    assert caught.value.hint == f"the query was: {expr}"
    assert prometheus.queries == 1


def test_a_query_longer_than_a_url_may_be(prometheus: Prometheus) -> None:
    services = "|".join(["cart"] + [f"service-{n}" for n in range(20_000)])
    assert len(prometheus.query(f'requests_total{{service=~"{services}"}}', START)) == 1


def test_samples_read(prometheus: Prometheus) -> None:
    at = START + timedelta(hours=1)
    assert prometheus.samples_read("requests_total", at) == 3
    assert prometheus.samples_read('sum_over_time(requests_total{service="cart"}[30m])', at) in (120, 121)
    assert prometheus.samples_read("nothing_total", at) == 0


def test_names_labels_and_series(prometheus: Prometheus) -> None:
    assert prometheus.metric_names(start=START, end=END) == ["requests_total"]
    assert prometheus.metric_names('{service="cart"}', START, END) == ["requests_total"]
    assert prometheus.metric_names("nothing_total", START, END) == []
    assert prometheus.label_values("service", start=START, end=END) == list(SERVICES)
    matches = ['{service="cart"}', '{service="search"}']
    assert prometheus.label_values("service", matches, START, END) == ["cart", "search"]
    assert prometheus.series(matches, START, END) == [
        {"__name__": "requests_total", "service": "cart"},
        {"__name__": "requests_total", "service": "search"},
    ]


def test_rules_build_and_readiness(prometheus: Prometheus) -> None:
    (group,) = prometheus.rules()
    assert [rule["name"] for rule in group["rules"]] == ["job:requests:rate5m"]
    assert prometheus.build_info()["version"]
    assert prometheus.alertmanagers() == []
    assert prometheus.ready()


def test_a_range_needs_a_start_before_its_end_and_a_step(prometheus: Prometheus) -> None:
    for start, end, step in (
        (END, START, timedelta(minutes=1)),
        (START, END, timedelta(0)),
        (START, END, -timedelta(minutes=1)),
        (START, END, timedelta(microseconds=1500)),
    ):
        with pytest.raises(ValueError, match=r"range|step"):
            prometheus.query_range("up", start, end, step)
    assert prometheus.queries == 0
