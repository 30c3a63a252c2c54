"""Retries in traces that real meshes left: there are none in them.

The telemetry is not part of this repository; it is looked for in ``../shared/data``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sloctl import retries
from sloctl.backends import spans
from sloctl.backends.traces import decode_otlp, decode_zipkin

DATA = Path(__file__).parents[3] / "shared" / "data"
ZIPKIN = ("ascend", "envoy", "messaging", "messaging-kafka", "messaging2", "simple-db-p6", "skew", "yelp")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real telemetry in ../shared/data")


def of_online_boutique(file: Path) -> pd.DataFrame:
    raw = pd.read_csv(file, dtype={"TraceID": str, "SpanID": str, "ParentID": str})
    made = spans.empty().reindex(raw.index)
    whole = raw["TraceID"].str.zfill(32)
    for name, text in {
        "trace_high": whole.str[:16], "trace_low": whole.str[16:],
        "span": raw["SpanID"], "parent": raw["ParentID"].replace("root", "0"),
    }.items():  # fmt: skip
        made[name] = np.array([int(value, 16) for value in text], dtype="uint64")
    made["service"] = raw["PodName"].str.rsplit("-", n=2).str[0].astype("category")
    made["operation"] = raw["OperationName"].astype("category")
    made["kind"] = pd.Categorical([""] * len(raw), categories=list(spans.KINDS))
    for name in ("remote", "namespace", "code", "flags"):
        made[name] = pd.Categorical([""] * len(raw))
    for name in ("error", "overflow", "shared", "router", "proxy", "messaging"):
        made[name] = np.zeros(len(raw), dtype=bool)
    for name in ("retry", "attempts"):
        made[name] = np.full(len(raw), -1, dtype="int16")
    made["start"] = pd.to_datetime(raw["StartTimeUnixNano"], unit="ns", utc=True)
    made["duration"] = (raw["EndTimeUnixNano"] - raw["StartTimeUnixNano"]).astype("int64")
    return made


def test_bookinfo_has_four_calls_and_no_retries() -> None:
    body = (DATA / "tempo-istio-bookinfo" / "responseTrace.json").read_bytes()
    table = retries.calls(decode_otlp.decode(body).frame)
    edges = retries.edges(table)
    gateway = "istio-ingressgateway.istio-system"
    assert list(zip(edges["client"], edges["server"], strict=True)) == [
        (gateway, "productpage.bookinfo"),
        ("productpage.bookinfo", "details.bookinfo"),
        ("productpage.bookinfo", "reviews.bookinfo"),
        ("reviews.bookinfo", "ratings.bookinfo"),
    ]
    assert edges[["requests", "attempts"]].eq(1).all(axis=None)
    assert set(edges["method"]) == {"child-of-client"}
    assert set(edges["call_errors"]) == {0.0}
    assert set(retries.paths(table).query("leaf")["path"]) == {
        ("productpage.bookinfo", "details.bookinfo"),
        ("productpage.bookinfo", "reviews.bookinfo", "ratings.bookinfo"),
    }
    assert retries.findings(table) == []


@pytest.mark.parametrize(
    "file", sorted(DATA.glob("onlineboutique-istio/trace/*.csv.gz")), ids=lambda file: file.name[:16]
)
def test_online_boutique_has_no_retries(file: Path) -> None:
    made = of_online_boutique(file)
    assert spans.problems(made) == []
    table = retries.calls(made)
    edges = retries.edges(table)
    named = edges[edges["client"] != ""]
    assert len(named) >= 10
    assert (named["attempts"] == named["requests"]).all()
    assert (edges["attempts"] == edges["requests"]).all()
    assert set(edges["method"]) == {"server-spans"}
    crossing = made.merge(
        made[["trace_high", "trace_low", "span", "service"]],
        left_on=["trace_high", "trace_low", "parent"],
        right_on=["trace_high", "trace_low", "span"],
        suffixes=("", "_above"),
    )
    expected = (crossing["service"].astype(str) != crossing["service_above"].astype(str)).sum()
    assert named["requests"].sum() == expected
    assert (retries.paths(table)["retries"] == 1).all()
    assert table.counts["missing_parents"] == 0


@pytest.mark.parametrize("name", ZIPKIN)
def test_zipkins_examples_have_no_retries(name: str) -> None:
    table = retries.calls(decode_zipkin.decode((DATA / "zipkin" / f"{name}.json").read_bytes()).frame)
    edges = retries.edges(table)
    assert (edges["attempts"] == edges["requests"]).all()
    assert table.counts["async"] == {"messaging": 2, "messaging2": 2, "messaging-kafka": 16}.get(name, 0)
    assert table.counts["skewed"] == {"skew": 1, "messaging-kafka": 3}.get(name, 0)


def test_a_servers_half_of_a_span_belongs_to_its_clients() -> None:
    table = retries.calls(decode_zipkin.decode((DATA / "zipkin" / "yelp.json").read_bytes()).frame)
    edges = retries.edges(table).set_index(["client", "server"])
    assert edges.loc[("mobile_api", "spectre"), "method"] == "shared-id"
    assert edges.loc[("unknown", "yelp_main/api_proxy"), "requests"] == 1
