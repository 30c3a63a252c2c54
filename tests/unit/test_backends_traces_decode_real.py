"""Real traces, and those that tracers test their own tools with. They are not part of this repository."""

from __future__ import annotations

import gzip
import io

import pandas as pd
import pytest

from sloctl.backends.spans import COLUMNS, problems
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin, files
from sloctl.backends.traces.columns import Columns, Said, concat, deduplicate
from tests.support.spans_documents import real


def zipkin(name: str) -> pd.DataFrame:
    found = decode_zipkin.decode((real("zipkin") / f"{name}.json").read_bytes())
    assert (problems(found.frame), found.rejected) == ([], {})
    return found.frame


def test_bookinfo_on_istio_from_tempo() -> None:
    found = decode_otlp.decode((real("tempo-istio-bookinfo") / "responseTrace.json").read_bytes())
    frame = found.frame

    assert (len(frame), found.rejected, problems(frame)) == (8, {}, [])
    assert frame["kind"].value_counts()[["client", "server"]].tolist() == [4, 4]
    pairs = frame[frame["kind"] == "client"].merge(
        frame[frame["kind"] == "server"], left_on="span", right_on="parent"
    )
    assert {
        (left.split(".")[0], right.split(".")[0])
        for left, right in zip(pairs.service_x, pairs.service_y, strict=True)
    } == {
        ("istio-ingressgateway", "productpage"),
        ("productpage", "reviews"),
        ("productpage", "details"),
        ("reviews", "ratings"),
    }
    assert set(pairs["code_x"]) == {"200"}
    assert set(pairs["flags_x"]) == {""}
    assert "outbound|9080||reviews.bookinfo.svc.cluster.local" in set(pairs["remote_x"])
    assert not frame[["error", "overflow", "shared", "router"]].any(axis=None)
    assert set(frame["retry"]) == set(frame["attempts"]) == {-1}
    assert deduplicate(frame)[1] == 0


def test_zipkin_with_a_skewed_clock() -> None:
    frame = zipkin("skew")

    both = frame[frame["span"] == 0x74280AE0C10D8062].set_index("kind")
    assert list(both["shared"][["client", "server"]]) == [False, True]
    assert both["start"]["server"] < both["start"]["client"]
    assert deduplicate(frame)[1] == 0


@pytest.mark.parametrize(
    ("name", "spans", "shared", "services"),
    [
        ("ascend", 8, 2, 3),
        ("envoy", 1, 1, 1),
        ("messaging", 4, 0, 2),
        ("messaging-kafka", 28, 0, 2),
        ("messaging2", 11, 1, 4),
        ("simple-db-p6", 5, 0, 1),
        ("yelp", 16, 4, 6),
    ],
)
def test_zipkins_own_traces(name: str, spans: int, shared: int, services: int) -> None:
    frame = zipkin(name)

    assert (len(frame), int(frame["shared"].sum()), deduplicate(frame)[1]) == (spans, shared, 0)
    assert frame["service"].nunique() == services


def test_an_envoy_span() -> None:
    [row] = zipkin("envoy").to_dict("records")

    assert (row["kind"], row["service"], row["remote"]) == ("server", "", "service_google")
    assert (row["code"], row["flags"], row["trace_high"], row["trace_low"]) == (
        "200",
        "",
        0,
        0x978883983D506FA5,
    )


@pytest.mark.parametrize(
    ("name", "spans"), [("domain_01", 5), ("ui_01", 5), ("es_01", 1), ("domain_es_01", 1)]
)
def test_jaegers_models_are_the_same_spans(name: str, spans: int) -> None:
    folder = real("jaeger") / "uimodel/converter/v1/json/fixtures"
    found = decode_jaeger.decode((folder / f"{name}.json").read_bytes())
    other = decode_jaeger.decode((folder / ("ui_01.json" if spans == 5 else "es_01.json")).read_bytes())

    assert (len(found.frame), found.rejected, problems(found.frame)) == (spans, {}, [])
    for column in COLUMNS:
        if column != "start":
            assert list(found.frame[column]) == list(other.frame[column]), column
    # The same wall clock time is written with two offsets in these files.
    assert set(found.frame["start"] - other.frame["start"]) <= {pd.Timedelta(0), pd.Timedelta(hours=5)}


def test_jaegers_otlp_is_what_jaeger_makes_of_it() -> None:
    folder = real("jaeger") / "cmd/jaeger/internal/extension/jaegerquery/internal/fixture"
    left = decode_otlp.decode((folder / "otlp2jaeger-in.json").read_bytes()).frame
    right = decode_jaeger.decode((folder / "otlp2jaeger-out.json").read_bytes()).frame

    for column in COLUMNS:
        assert sorted(left[column]) == sorted(right[column]), column


def test_a_folder_of_jaegers_files() -> None:
    found = files.read([real("jaeger")])

    assert (len(found.frame), problems(found.frame)) == (215, [])
    assert found.rejected == {"trace id is not valid": 11}
    assert all("is not what it should be" in one or "holds no spans" in one for one in found.incomplete)


def test_online_boutique_has_no_retries_and_no_duplicates() -> None:
    folder = real("onlineboutique-istio") / "trace"
    frames = []
    for path in sorted(folder.glob("*.csv.gz")):
        table = pd.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())), dtype=str)
        columns = Columns(unit=1, ends=True)
        for row in table.to_dict("records"):
            columns.trace.append(row["TraceID"])
            columns.span.append(row["SpanID"])
            columns.parent.append(None if row["ParentID"] == "root" else row["ParentID"])
            names = row["PodName"].rsplit("-", 2)[0], row["OperationName"]
            columns.said.append(columns.number(Said("", *names, *[None] * (len(Said._fields) - 3))))
            columns.start.append(row["StartTimeUnixNano"])
            columns.length.append(row["EndTimeUnixNano"])
            columns.added()
        found = columns.spans()
        assert (len(found.frame), found.rejected) == (len(table), {})
        frames.append(found.frame)
    frame, count = deduplicate(concat(frames))

    assert (problems(frame), count) == ([], 0)
    assert len(frame) > 10_000
    assert {"frontend", "cartservice"} <= set(frame["service"])
    assert (frame["parent"] == 0).any()
    assert not (frame["shared"] | frame["router"]).any()
