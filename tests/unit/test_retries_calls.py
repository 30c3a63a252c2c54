"""Calls and attempts, for each setting of the tracer, from spans written by hand: exact numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

from sloctl import retries
from tests.support.mesh_spans import BEGIN, METHOD, TRACERS, Tracer, chain, frame

MS = 1_000_000


def edge_counts(spans: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    found = retries.edges(retries.calls(spans))
    return {
        (client, server): (requests, attempts)
        for client, server, requests, attempts in zip(
            found["client"], found["server"], found["requests"], found["attempts"], strict=True
        )
    }


def span(
    service: str, kind: str, own: int, parent: int = 0, at: float = 0, took: float = 1, **more: Any
) -> dict[str, Any]:
    timed = {"start": BEGIN + int(at * MS), "duration": int(took * MS)}
    return {"service": service, "kind": kind, "span": own, "parent": parent, **timed, **more}


@pytest.mark.parametrize("name", TRACERS)
@pytest.mark.parametrize("failing", [0.0, 0.3, 1.0])
def test_a_chain_of_three_services_has_what_was_sent(name: str, failing: float) -> None:
    mesh = chain(TRACERS[name], tries=3, failing=failing, times=30, services="abcd")

    table = retries.calls(mesh.frame())
    edges = retries.edges(table)
    counted = {(row.client, row.server): (row.requests, row.attempts) for row in edges.itertuples()}
    assert counted == {edge: (mesh.requests[edge], mesh.attempts[edge]) for edge in mesh.requests}
    assert set(edges["method"]) == {METHOD[name]}
    assert set(edges["methods"]) == {1}
    assert table.counts["orphans"] == table.counts["unsent"] == table.counts["cycles"] == 0
    if failing == 0:
        assert set(edges["amplification"]) == {1.0}
        assert set(edges["retried"]) == {0.0}
        assert edges["recovered"].isna().all()
    if failing == 1:
        assert set(edges["amplification"]) == {3.0}
        assert set(edges["retried"]) == {1.0}
        assert set(edges["recovered"]) == {0.0}
        assert set(edges["attempt_errors"]) == set(edges["call_errors"]) == {1.0}


@pytest.mark.parametrize("name", TRACERS)
def test_three_tries_at_each_of_three_hops_are_27_at_the_leaf(name: str) -> None:
    table = retries.calls(chain(TRACERS[name], tries=3, failing=1.0, times=5).frame())

    [leaf] = retries.paths(table).query("leaf").to_dict("records")
    assert leaf["path"] == ("b", "c", "d")
    assert (leaf["entry_requests"], leaf["attempts"]) == (5, 5 * 27)
    assert leaf["retries"] == 27.0
    assert leaf["fan_out"] == 1.0
    assert leaf["hops"] == (("b", 1.0, 3.0), ("c", 1.0, 3.0), ("d", 1.0, 3.0))

    load = retries.loads(table).set_index("service")
    assert load.loc["d", "attempts"] == 5 * 27
    assert load.loc["d", "baseline"] == 5
    assert load.loc["d", "retry_share"] == pytest.approx(1 - 1 / 27)
    assert load.loc["b", "retry_share"] == pytest.approx(2 / 3)


def of_known_totals(shared: bool) -> list[dict[str, Any]]:
    """176 requests, 691 attempts: 515 of them retries."""
    rows, extra = [], 515
    for call in range(176):
        tries = 1 + min(extra, 3)
        extra -= tries - 1
        client = 1000 + call
        rows.append(span("a", "client", client, 1, at=call * 100, took=50))
        for attempt in range(tries):
            own = client if shared else 10_000 + call * 10 + attempt
            parent = 1 if shared else client
            at, code = call * 100 + attempt * 10 + 1, "200" if attempt == tries - 1 else "503"
            rows.append(span("b", "server", own, parent, at=at, shared=shared, code=code))
    rows.append(span("a", "server", 1, 0, took=20_000))
    assert extra == 0
    return rows


@pytest.mark.parametrize("shared", [False, True])
def test_known_totals(shared: bool) -> None:
    [edge] = retries.edges(retries.calls(frame(of_known_totals(shared)))).to_dict("records")
    assert (edge["requests"], edge["attempts"]) == (176, 691)
    assert edge["amplification"] == 691 / (691 - 515) == pytest.approx(3.926, abs=5e-4)


def test_neither_parents_nor_ids_alone_are_counted() -> None:
    """100 requests, 130 attempts; 18 of 82 callers make two calls, under one parent of their own."""
    rows: list[dict[str, Any]] = []
    for trace in range(82):
        here = {"trace_low": trace + 1}
        rows.append(span("a", "server", 1, **here))
        for call in range(2 if trace < 18 else 1):
            client = 10 + call
            rows.append(span("a", "client", client, 1, at=1 + call * 100, **here))
            tries = 2 if call == 0 and trace < 30 else 1
            for attempt in range(tries):
                at, code = 2 + call * 100 + attempt * 20, "200" if attempt == tries - 1 else "503"
                rows.append(span("b", "server", client, 1, at=at, shared=True, code=code, **here))
    spans = frame(rows)
    served, called = (spans[(spans["kind"] == kind) & (spans["span"] != 1)] for kind in ("server", "client"))
    by_parent = len(served) / len(served.drop_duplicates(["trace_low", "parent"]))
    by_id = len(served.drop_duplicates(["trace_low", "span"])) / len(called)
    assert (round(by_parent, 3), by_id) == (1.585, 1.0)
    assert edge_counts(spans) == {("a", "b"): (100, 130)}


@pytest.mark.parametrize("details", ["overflow", "sent"])
def test_what_overflowed_was_never_sent(details: str) -> None:
    over = details == "overflow"
    spans = frame(
        [
            span(
                "a",
                "client",
                10,
                1,
                remote="outbound|80||b.shop.svc.cluster.local",
                attempts=3,
                overflow=over,
            ),
            span(
                "a",
                "client",
                11,
                1,
                at=9,
                remote="outbound|80||b.shop.svc.cluster.local",
                attempts=1,
                overflow=over,
            ),
            span("b", "server", 20, 10),
        ]
    )
    [edge] = retries.edges(retries.calls(spans)).to_dict("records")
    expected = (1, 1, 2) if over else (2, 0, 4)
    assert (edge["requests"], edge["unsent"], edge["attempts"]) == expected
    assert edge["method"] == "attempt-count"


@pytest.mark.parametrize(("tag", "arrived", "sent"), [(-1, 0, 0), (1, 0, 0), (1, 1, 1), (2, 2, 2)])
def test_without_a_healthy_host_what_arrived_was_sent(tag: int, arrived: int, sent: int) -> None:
    """Envoy counts an attempt before it looks for a host, so that the tag says 1 for none and for one."""
    rows = [span("a", "client", 10, flags="UH", attempts=tag, remote="b", code="503")]
    rows += [span("b", "server", 20 + number, 10, at=number) for number in range(arrived)]
    [call] = retries.calls(frame(rows)).calls.query("not root").to_dict("records")
    assert call["attempts"] == sent


@pytest.mark.parametrize("flags", ["NC", "NR", "UH", "DC,NC", "NC,UH"])
def test_what_found_no_route_no_cluster_or_no_host_never_left(flags: str) -> None:
    [edge] = retries.edges(
        retries.calls(
            frame(
                [
                    span("a", "client", 10, flags=flags, remote="b", code="503"),
                    span("a", "client", 11, at=9, flags="UF", remote="b", code="503"),
                ]
            )
        )
    ).to_dict("records")
    assert (edge["requests"], edge["unsent"], edge["attempts"]) == (1, 1, 1)


@pytest.mark.parametrize("flags", ["", "NCX", "UF", "URX", "DC"])
def test_what_failed_in_another_way_was_sent(flags: str) -> None:
    assert edge_counts(frame([span("a", "client", 10, flags=flags, remote="b", code="0")])) == {
        ("a", "b"): (1, 1)
    }


def test_a_call_at_a_service_without_a_proxy_is_one_attempt_and_has_its_name() -> None:
    cluster = "outbound|443||api.example.org"
    spans = frame(
        [
            span("a", "server", 1),
            span("a", "client", 2, 1, remote=cluster),
            span("a", "client", 3, 1, remote=""),
        ]
    )
    assert edge_counts(spans) == {("a", ""): (1, 1), ("a", "api.example.org"): (1, 1)}


def test_a_call_that_never_arrived_is_named_like_those_that_did() -> None:
    rows = [span("a", "client", 10 + call, remote="10.0.0.1:80", at=call) for call in range(3)]
    rows += [span("b", "server", 20 + call, 10 + call, at=call) for call in range(2)]
    assert edge_counts(frame(rows)) == {("a", "b"): (3, 3)}


def test_an_applications_own_spans_are_the_same_hop() -> None:
    spans = frame(
        [
            span("a", "server", 1, took=90),
            span("a", "client", 2, 1, at=1, took=80, operation="GET"),
            span("a", "client", 3, 2, at=2, took=70),
            span("b", "server", 4, 3, at=3, took=10, error=True),
            span("b", "server", 5, 4, at=4, took=5, operation="GET /"),
            span("b", "server", 6, 3, at=23, took=10),
            span("b", "server", 7, 6, at=24, took=5, operation="GET /"),
        ]
    )
    assert edge_counts(spans) == {("a", "b"): (1, 2)}


def test_an_applications_span_that_joined_its_proxys_is_the_same_hop() -> None:
    """Brave joins a shared span, so that proxy and application report under one id."""
    rows = [span("a", "client", 2, took=90), span("b", "client", 3, 2, at=25, took=1, remote="c")]
    for at, code in ((1, "503"), (21, "200")):
        ended: dict[str, Any] = {"shared": True, "code": code}
        rows.append(span("b", "server", 2, at=at, took=10, operation="b:80/*", **ended))
        rows.append(span("b", "server", 2, at=at + 1, took=8, operation="get /", **ended))
    table = retries.calls(frame(rows))
    assert edge_counts(frame(rows)) == {("a", "b"): (1, 2), ("b", "c"): (1, 1)}
    inner = table.calls[table.calls["client"] == "b"].iloc[0]
    assert table.attempts["index"].iloc[inner["parent"]] == 1


def test_short_and_long_names_of_a_service_are_one() -> None:
    spans = frame(
        [
            span("a.shop", "client", 2, namespace="shop"),
            span("b.shop", "server", 3, 2, at=1),
            span("b", "server", 4, 3, at=2),
            span("b", "client", 5, 4, at=3),
            span("b.shop", "client", 6, 5, at=4),
            span("c.shop", "server", 7, 6, at=5),
        ]
    )
    assert edge_counts(spans) == {("a.shop", "b.shop"): (1, 1), ("b.shop", "c.shop"): (1, 1)}


def test_a_service_that_calls_itself() -> None:
    spans = frame(
        [
            span("a", "server", 1),
            span("a", "client", 2, 1),
            span("a", "server", 3, 2, at=1, code="503"),
            span("a", "server", 4, 2, at=5, code="200"),
        ]
    )
    assert edge_counts(spans) == {("a", "a"): (1, 2)}


def test_a_gateway_that_reports_clients_spans_only() -> None:
    spans = frame(
        [
            span("a", "client", 2, took=50),
            span("gate", "client", 3, 2, at=1, error=True),
            span("gate", "client", 4, 2, at=11),
            span("b", "server", 5, 3, at=2),
            span("b", "server", 6, 4, at=12),
        ]
    )
    assert edge_counts(spans) == {("a", "gate"): (1, 2), ("gate", "b"): (2, 2)}


def test_a_lost_servers_span_makes_no_retries_of_what_it_called() -> None:
    """With shared ids, the callee's own calls hang under its client's id."""
    rows = [
        span("a", "client", 2, took=50),
        span("b", "client", 3, 2, at=1, remote="c"),
        span("b", "client", 4, 2, at=5, remote="c"),
    ]
    rows += [
        span("a", "client", 12, trace_low=2, remote="b"),
        span("b", "server", 12, trace_low=2, shared=True),
    ]
    assert edge_counts(frame(rows))[("b", "c")] == (2, 2)
    assert all(attempts == requests for requests, attempts in edge_counts(frame(rows)).values())


def test_a_server_under_another_services_server_is_a_request_each() -> None:
    spans = frame([span("a", "server", 1), span("b", "server", 2, 1, at=1), span("b", "server", 3, 1, at=2)])
    [edge] = retries.edges(retries.calls(spans)).to_dict("records")
    assert (edge["requests"], edge["attempts"], edge["method"]) == (2, 2, "server-spans")
    assert "retry-attempts-unknown" in {found.code for found in retries.findings(retries.calls(spans))}


@pytest.mark.parametrize(("shared", "attempts", "undecided"), [(False, 1, 1), (True, 2, 0)])
def test_servers_whose_client_is_missing_are_calls_of_an_unknown_client(
    shared: bool, attempts: int, undecided: int
) -> None:
    """Servers' spans share the ids of clients' spans; a parent may be anything."""
    rows = [
        span("b", "server", 7 if shared else 20 + at, 3 if shared else 7, at=at, shared=shared, code=code)
        for at, code in ((0, "503"), (5, "200"))
    ]
    table = retries.calls(frame(rows))
    [edge] = retries.edges(table).to_dict("records")
    assert (edge["client"], edge["server"], edge["requests"]) == ("", "b", 1)
    assert (edge["attempts"], edge["undecided"], edge["orphans"]) == (attempts, undecided, 1)
    assert table.counts["orphans"] == 1 + undecided
    assert "span-parents-missing" in {found.code for found in retries.findings(table)}


def test_roots_are_no_edge() -> None:
    table = retries.calls(frame([span("a", "server", 1), span("a", "server", 1, trace_low=2)]))
    assert len(retries.edges(table)) == 0
    assert table.calls["root"].tolist() == [True, True]


def test_messages_are_no_calls() -> None:
    rows = [
        span("a", "producer", 1),
        span("b", "consumer", 2, 1),
        span("b", "client", 3, 2),
        span("c", "server", 4, 3),
    ]
    table = retries.calls(frame(rows))
    assert edge_counts(frame(rows)) == {("b", "c"): (1, 1)}
    assert table.counts["async"] == 2


def test_spans_without_kinds_are_calls_where_the_service_changes_and_never_retries() -> None:
    spans = frame(
        [
            span("a", "", 1),
            span("a", "", 2, 1, at=1),
            span("b", "", 3, 2, at=2),
            span("b", "", 4, 3, at=3),
            span("b", "", 5, 2, at=9),
        ]
    )
    assert edge_counts(spans) == {("a", "b"): (2, 2)}


def test_delivered_twice_is_no_retry() -> None:
    spans = chain(TRACERS["zipkin"], 3, 0.3, 20).frame()
    again = pd.concat([spans, spans.iloc[::2], spans.iloc[::3]], ignore_index=True)
    table = retries.calls(again)
    assert edge_counts(again) == edge_counts(spans)
    assert table.counts["duplicates"] == len(again) - len(spans)


def test_clocks_that_disagree_are_counted_and_change_nothing() -> None:
    spans = chain(TRACERS["opentelemetry"], 3, 0.3, 20).frame()
    late = spans["service"] == "c"
    moved = spans.assign(start=spans["start"].where(~late, spans["start"] - pd.Timedelta("1s")))
    assert edge_counts(moved) == edge_counts(spans)
    assert retries.calls(moved).counts["skewed"] > 0


def test_calls_that_share_one_id_are_told_apart_by_their_first_attempts() -> None:
    """Shared contexts with spawned spans: two calls of one request under one id; that of its connection managers."""
    rows = [span("b", "server", 2, 1, took=900, shared=True, operation="b:80/*")]
    for call, callee in enumerate(["c", "c", "d"]):
        cluster = f"outbound|80||{callee}.shop.svc.cluster.local"
        name: dict[str, Any] = {"operation": f"{callee}:80/*", "remote": cluster}
        rows.append(span("b", "server", 9, 2, at=1 + call * 100, took=90, shared=True, **name))
        for attempt in range(call + 1):
            own = 100 + call * 10 + attempt
            at = 2 + call * 100 + attempt * 10
            routed: dict[str, Any] = {
                "router": True,
                "retry": attempt or -1,
                "remote": cluster,
                "operation": f"router {cluster} egress",
            }
            rows.append(span("b", "client", own, 9, at=at, **routed))
            rows.append(span(callee, "server", own, 9, at=at + 0.5, shared=True))
    table = retries.calls(frame(rows))
    counted = edge_counts(frame(rows))
    assert (counted["b", "c"], counted["b", "d"]) == ((2, 3), (1, 3))
    codes = {found.code for found in retries.findings(table)}
    assert {"span-ids-shared-and-spawned", "span-ids-of-calls-shared"} <= codes


def test_a_router_under_its_managers_own_id_is_said_to_be_ambiguous() -> None:
    routed: dict[str, Any] = {"router": True, "operation": "router shop egress"}
    spans = frame(
        [
            span("front", "server", 5, shared=True, took=90),
            span("front", "client", 5, at=1, **routed),
            span("front", "client", 5, at=20, retry=1, **routed),
            span("shop", "server", 5, at=2, shared=True),
            span("shop", "server", 5, at=21, shared=True),
        ]
    )
    table = retries.calls(spans)
    assert edge_counts(spans) == {("front", "shop"): (1, 2)}
    assert "span-ids-ambiguous" in {found.code for found in retries.findings(table)}


def test_attempts_have_their_order_their_pauses_and_their_codes() -> None:
    codes = ["503", "0", "200"]
    rows = [span("a", "client", 2, took=100, code="200")]
    rows += [
        span("b", "server", 3 + number, 2, at=10 + 30 * number, took=10, code=code, error=code == "0")
        for number, code in enumerate(codes)
    ]
    table = retries.calls(frame(rows[::-1]))
    assert table.attempts["code"].tolist() == codes
    assert table.attempts["index"].tolist() == [0, 1, 2]
    assert table.attempts["failed"].tolist() == [True, True, False]
    gaps = table.attempts["gap"].tolist()
    assert math.isnan(gaps[0])
    assert gaps[1:] == [20 * MS, 20 * MS]
    assert all(before <= after for before, after in pairwise(table.attempts["start"]))


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        *((code, True) for code in ("0", "500", "503", "599")),
        *((code, False) for code in ("", "200", "404", "499", "600", "5", "50", "5000", "14")),
    ],
)
def test_no_response_and_servers_errors_are_failures_whatever_spans_say_of_errors(
    code: str, failed: bool
) -> None:
    table = retries.calls(frame([span("a", "client", 2, code=code), span("b", "server", 3, 2, code=code)]))
    assert table.attempts["failed"].tolist() == [failed]
    [edge] = retries.edges(table).to_dict("records")
    assert (edge["attempt_errors"], edge["call_errors"]) == (failed, failed)
    said = retries.calls(frame([span("a", "client", 2, code=code, error=True), span("b", "server", 3, 2)]))
    assert said.calls.query("not root")["failed"].tolist() == [True]


def test_what_is_no_frame_of_spans_is_refused() -> None:
    with pytest.raises(ValueError, match="trace_low"):
        retries.calls(frame([]).drop(columns="trace_low"))


@pytest.mark.parametrize("tracer", [Tracer(), Tracer(spawn=True)])
def test_no_spans_are_no_calls(tracer: Tracer) -> None:
    table = retries.calls(frame([]))
    assert len(table.calls) == len(table.attempts) == len(table.entries) == 0
    for result in (
        retries.edges(table),
        retries.paths(table),
        retries.loads(table),
        retries.worst_traces(table),
    ):
        assert len(result) == 0
    assert retries.findings(table) == []
    full = retries.calls(chain(tracer, 2, 0.5, 3).frame())
    assert table.calls.dtypes.astype(str).to_dict() == full.calls.dtypes.astype(str).to_dict()
    assert table.attempts.dtypes.astype(str).to_dict() == full.attempts.dtypes.astype(str).to_dict()
    assert list(retries.edges(table)) == list(retries.edges(full))
