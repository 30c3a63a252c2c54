"""What is a retry and what is not, case by case, from what tracers really write: exact numbers.

Each case is a document of OTLP, which goes through the decoder and all of the analysis.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sloctl import retries
from tests.support.retry_cases import (
    CASES,
    MS,
    Row,
    below,
    counted,
    grpc,
    http,
    resent,
    span,
    table_of,
)


@pytest.mark.parametrize("name", CASES)
def test_what_is_a_retry(name: str, tmp_path: Path) -> None:
    rows, expected = CASES[name]
    table = table_of(rows, tmp_path)
    edges = retries.edges(table)
    assert counted(edges) == expected
    unsure = {key for key, (_, _, undecided) in expected.items() if undecided}
    found = [item for item in retries.findings(table, edges) if item.code == "retry-undecided"]
    assert {(item.scope["client"], item.scope["server"]) for item in found} == unsure


CODES: dict[str, tuple[Row, str, bool]] = {
    "HTTP": ({"http.status_code": 503}, "503", True),
    "HTTP, as it is called now": ({"http.response.status_code": 404}, "404", False),
    "HTTP without a response": ({"http.status_code": 0}, "0", True),
    "gRPC, fine": ({"rpc.grpc.status_code": 0}, "OK", False),
    "gRPC, unavailable": ({"rpc.grpc.status_code": 14}, "UNAVAILABLE", True),
    "gRPC, the caller's fault": ({"rpc.grpc.status_code": 5}, "NOT_FOUND", False),
    "gRPC, as it is called now": ({"rpc.response.status_code": "UNAVAILABLE"}, "UNAVAILABLE", True),
    "Connect's": ({"rpc.response.status_code": "data_loss"}, "DATA_LOSS", True),
    "another protocol's": ({"rpc.response.status_code": "-32602"}, "-32602", False),
    "Envoy's, fine": ({"http.status_code": "200", "grpc.status_code": "0"}, "200", False),
    "Envoy's, a failure in HTTP's 200": (
        {"http.status_code": "200", "grpc.status_code": "14"},
        "UNAVAILABLE",
        True,
    ),
    "Envoy's, HTTP says more": ({"http.status_code": "503", "grpc.status_code": "14"}, "503", True),
}


@pytest.mark.parametrize("name", CODES)
def test_codes_of_http_and_grpc_are_told_apart(name: str, tmp_path: Path) -> None:
    tags, code, failed = CODES[name]
    rows = [span("web", "client", 1), span("shop", "server", 2, 1, tags=tags)]
    table = table_of(rows, tmp_path)
    assert (table.attempts["code"].tolist(), table.attempts["failed"].tolist()) == ([code], [failed])
    assert retries.edges(table)["attempt_errors"].tolist() == [float(failed)]


def test_a_spans_status_says_that_it_failed(tmp_path: Path) -> None:
    rows = [span("web", "client", 1), span("shop", "server", 2, 1, error=True, **grpc(0))]
    assert table_of(rows, tmp_path).attempts["failed"].tolist() == [True]


def test_an_application_that_tried_again_waited_from_the_first_try_to_the_end_of_the_last(
    tmp_path: Path,
) -> None:
    rows = resent("http.request.resend_count", [http(503) | {"error": True}, http(503), http(200)])
    table = table_of(rows, tmp_path)
    [call] = table.calls[~table.calls["root"]].to_dict("records")
    assert (call["attempts"], call["failed"], call["code"], call["method"]) == (
        3,
        False,
        "200",
        "attempt-count",
    )
    assert call["duration"] == 25 * MS
    assert table.attempts.query("call == call.mode()[0]")["index"].tolist() == [0, 1, 2]


def test_what_is_undecided_is_a_request_of_its_own_along_paths(tmp_path: Path) -> None:
    table = table_of(below([http(404), http(200)]), tmp_path)
    [path] = retries.paths(table).to_dict("records")
    assert (path["attempts"], path["retries"]) == (2, 1.0)
    assert len(retries.worst_traces(table)) == 0
