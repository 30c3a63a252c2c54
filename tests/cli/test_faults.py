"""Every way in which a Prometheus fails: exit code and message, never a traceback, never NaN, never a secret."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sloctl import spec
from sloctl.cli.main import run as exit_code_of
from sloctl.report.data import json_schema
from tests.support import shop_slos
from tests.support.command_line import Outcome, in_process, sloctl
from tests.support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    answer,
    as_json,
    cut_off,
    dripping,
    error,
    hang_up,
    page,
    refused_url,
    slow,
    status,
    vector,
)
from tests.support.simulated import Flow, Simulated, serve

AT = datetime(2026, 3, 1, 12, 2, 12, tzinfo=UTC)
TOKEN = "s3cr3t-t0ken-of-the-test"
SLO_FILE = shop_slos.text(shop_slos.CHECKOUT, shop_slos.EVERY)
COMMANDS = {"report": ("report",), "run": ("run", "slis", "burn_rate")}
HINT_ADDRESS = "is it running, and is the address right? --prometheus URL"
HINT_LOGIN = (
    "set SLOCTL_PROMETHEUS_TOKEN_FILE, or SLOCTL_PROMETHEUS_USERNAME and SLOCTL_PROMETHEUS_PASSWORD_FILE; "
    "a tenant goes into SLOCTL_PROMETHEUS_HEADERS"
)
HINT_SIZE = "ask for a shorter range, a longer step or fewer series, or raise the server's limit"
HINT_TIME = "raise the time-out (SLOCTL_PROMETHEUS_TIMEOUT), or ask for less"
HINT_WAIT = "ask again later, or with fewer requests at once (SLOCTL_PROMETHEUS_CONCURRENCY)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


def run(
    folder: Path,
    url: str,
    *command: str,
    retries: int = 0,
    timeout: float = 20,
    start: Callable[..., Outcome] = in_process,
    **env: str,
) -> Outcome:
    settings = {"SLOCTL_PROMETHEUS_RETRIES": str(retries), "SLOCTL_PROMETHEUS_TOKEN": TOKEN} | env
    arguments = (*command, "-f", "slo.yaml", "--prometheus", url, "--timeout", str(timeout))
    outcome = start(*arguments, folder=folder, env=settings)
    assert TOKEN not in outcome.stdout + outcome.stderr
    return outcome


@dataclass(frozen=True)
class Fault:
    name: str
    behaviour: Behaviour
    message: str
    hint: str = ""
    code: int = 3
    timeout: float = 20


def echo_token(handler: Handler) -> None:
    """A proxy that repeats what it was sent."""
    error(401, "", f"bad header {handler.received.headers.get('Authorization')}")(handler)


TRUNCATED = b'{"status":"success","data":{"resultType":"vector","result":[{"met'
FAULTS = [
    Fault("slow", slow(60, answer(vector(1))), "no whole answer within 0.5 s", HINT_TIME, timeout=0.5),
    Fault("dripping", dripping(TRUNCATED), "no whole answer within 0.5 s", HINT_TIME, timeout=0.5),
    Fault("hang-up", hang_up, "no connection: the server hung up without an answer", HINT_ADDRESS),
    Fault("broken-off", cut_off(TRUNCATED, 1000), "the connection broke within the answer"),
    Fault("500", status(500, "boom"), "HTTP status 500: boom", "the server's own log says more"),
    Fault("503", status(503), "HTTP status 503", HINT_ADDRESS),
    Fault("html", page(200), 'an HTML page instead of JSON (an HTML page "Sign in")', HINT_ADDRESS),
    Fault("html-502", page(502, "Bad Gateway"), 'HTTP status 502: an HTML page "Bad Gateway"', HINT_ADDRESS),
    Fault("empty", status(200), "an empty answer", HINT_ADDRESS),
    Fault(
        "truncated",
        status(200, TRUNCATED),
        f"JSON that ends in the middle ({TRUNCATED.decode()})",
        HINT_ADDRESS,
    ),
    Fault("no-prometheus", as_json({"ok": True}), "JSON that is no Prometheus answer", HINT_ADDRESS),
    Fault(
        "wrong-type",
        answer({"resultType": "vector", "result": [{"metric": {}, "value": [1, 2]}]}),
        "an answer to /api/v1/query of an unknown form",
        HINT_ADDRESS,
    ),
    Fault(
        "wrong-labels",
        answer({"resultType": "vector", "result": [{"metric": {"slo_id": 5}, "value": [1, "2"]}]}),
        "an answer to /api/v1/query of an unknown form",
        HINT_ADDRESS,
    ),
    Fault("string", answer({"resultType": "string", "result": [1, "x"]}),
          "an answer to /api/v1/query of an unknown form", HINT_ADDRESS),
    Fault("401", echo_token, "access denied (401): bad header Bearer ***", HINT_LOGIN),
    Fault("403", status(403, "tenant unknown"), "access denied (403): tenant unknown", HINT_LOGIN),
    Fault(
        "429",
        status(429, "slow down", {"Retry-After": "86400"}),
        "too many requests (429): slow down (it asks to wait 86400 s)",
        HINT_WAIT,
    ),
    Fault(
        "redirect",
        status(302, "", {"Location": "https://login.example.org/?token=abc"}),
        "it redirects to https://login.example.org/, and credentials are not carried elsewhere",
        "give the final address with --prometheus; a login page there means that credentials are missing",
    ),
    Fault("404", status(404, "404 page not found"), "not found (404): 404 page not found",
          "is the address right? it may lack a prefix"),
    Fault("query-timeout", error(503, "timeout", "query timed out in expression evaluation"),
          "the query took too long: query timed out in expression evaluation", HINT_SIZE),
    Fault("too-many-samples", error(422, "execution", "query processing would load too many samples into memory"),
          "query processing would load too many samples into memory", HINT_SIZE),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.slow
def test_fault(fault: Fault, command: str, folder: Path) -> None:
    with FaultyServer(fault.behaviour) as server:
        outcome = run(folder, server.url, *COMMANDS[command], timeout=fault.timeout)
    message = fault.message
    if command == "run":  # which begins with a range
        message = message.replace("/api/v1/query of", "/api/v1/query_range of")
    expected = f"sloctl: error: Prometheus at {server.url}: {message}\n"
    expected += f"  hint: {fault.hint}\n" if fault.hint else ""
    warnings = [line for line in outcome.stderr.splitlines() if line.startswith("sloctl: warning:")]
    assert outcome.stderr.removeprefix("".join(f"{line}\n" for line in warnings)) == expected
    assert (outcome.code, outcome.stdout) == (fault.code, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_listens(command: str, folder: Path) -> None:
    url = refused_url()
    outcome = run(folder, url, *COMMANDS[command], retries=1, start=sloctl)
    message = f"Prometheus at {url}: no connection: connection refused (tried 2 times)"
    assert outcome.stderr == f"sloctl: error: {message}\n  hint: {HINT_ADDRESS}\n"
    assert (outcome.code, outcome.stdout) == (3, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_rejected_query_is_wrong_usage_and_is_shown(command: str, folder: Path) -> None:
    with FaultyServer(error(400, "bad_data", "1:1: parse error: unexpected character")) as server:
        outcome = run(folder, server.url, *COMMANDS[command])
    assert outcome.code == 2
    message, hint = outcome.stderr.splitlines()
    assert message.endswith(": the query is rejected: 1:1: parse error: unexpected character")
    first = {"run": "group(last_over_time(up[299999ms]))", "report": "max by (slo_id) (timestamp("}
    assert hint.startswith(f"  hint: the query was: {first[command]}")


# --- a backend that answers, but with little or nonsense


def slo_set_flows(folder: Path) -> tuple[Any, list[Flow]]:
    slo_set = spec.load([folder / "slo.yaml"])
    named, every = slo_set.slos
    long_ago, for_ever = AT.timestamp() - 1e7, AT.timestamp() + 1e7
    return slo_set, [
        Flow(named.id, "shop", "checkout", long_ago, for_ever, 100, 0.05),
        Flow(every.id, "shop", "cart", long_ago, for_ever, 10, 1),
    ]


def strict(text: str) -> Any:
    """JSON without the numbers that JSON does not have."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


def valid_report(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.stderr
    report: dict[str, Any] = strict(outcome.stdout)
    jsonschema.validate(report, json_schema())
    return report


def at() -> str:
    return AT.isoformat()


def everything(value: str) -> Behaviour:
    """Each query is answered with one series that has all labels, and this value."""

    def behave(handler: Handler) -> None:
        form = handler.received.form
        metric = {"slo_id": "shop:shop/checkout/availability", "namespace": "shop", "service": "checkout"}
        metric |= {"alertname": "\x1b[31mEvil\u202e", "slo_scope": "shop:shop/checkout"}
        if handler.received.path.endswith("query_range"):
            sample = {"metric": metric, "values": [[float(form["end"]), value]]}
            answer({"resultType": "matrix", "result": [sample]})(handler)
        else:
            answer({"resultType": "vector", "result": [{"metric": metric, "value": [1, value]}]})(handler)

    return behave


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e308", "-1", "0"])
@pytest.mark.parametrize("source", ["rules", "raw"])
@pytest.mark.slow
def test_nonsense_everywhere_is_no_traceback_and_no_nan(folder: Path, source: str, value: str) -> None:
    with FaultyServer(everything(value)) as server:
        outcome = run(folder, server.url, "report", "--format", "json", "--source", source, "--at", at())
        table = run(folder, server.url, "report", "--source", source, "--at", at())
    report = valid_report(outcome)
    assert table.code == 0
    assert "nan" not in table.stdout.lower() and "\x1b" not in table.stdout and "\u202e" not in table.stdout
    if value in ("NaN", "+Inf", "-Inf", "0") and source == "rules":
        assert {slo["status"] for slo in report["slos"]} == {"no_data"}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e308"])
@pytest.mark.slow
def test_nonsense_everywhere_in_the_jobs(folder: Path, value: str) -> None:
    with FaultyServer(everything(value)) as server:
        command = ("run", "slis", "burn_rate", "report", "--at", at())
        as_objects = run(folder, server.url, *command, "--format", "json")
        as_table = run(folder, server.url, *command)
    assert (as_objects.code, as_table.code) == (0, 0)
    assert set(strict(as_objects.stdout)) == {"slis", "burn_rate", "report"}
    assert "nan" not in as_table.stdout.lower()


@pytest.mark.slow
def test_empty_results_are_no_data(folder: Path) -> None:
    def nothing(handler: Handler) -> None:
        kind = "matrix" if handler.received.path.endswith("query_range") else "vector"
        answer({"resultType": kind, "result": []})(handler)

    with FaultyServer(nothing) as server:
        report = valid_report(run(folder, server.url, "report", "--format", "json"))
        table = run(folder, server.url, "report")
        gate = run(folder, server.url, "report", "--fail-on", "at_risk")
        rows = run(folder, server.url, "run", "slis", "--format", "json")
        nothing_to_show = run(folder, server.url, "run", "slis")
    assert [(slo["service"], slo["status"], slo["sli"]) for slo in report["slos"]] == [
        ("checkout", "no_data", None)
    ]
    assert {finding["code"] for finding in report["findings"]} == {"rules-not-loaded", "no-data"}
    assert "no data" in table.stdout
    assert gate.code == 0, "no data is neither met nor missed"
    assert (rows.code, strict(rows.stdout)) == (0, [])
    text = "Prometheus has no data of the time that is to be recorded [nothing-to-record]"
    assert nothing_to_show.stdout == ""
    assert nothing_to_show.stderr.splitlines() == [
        f"sloctl: warning: {text}",
        "slis: nothing new",
        "slis: no data",
    ]


def test_a_partial_answer_is_reported_with_its_warning(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    source = Simulated(slo_set, flows, warnings=["store-2: connection refused", f"echo {TOKEN} \x1b[31m"])
    with FaultyServer(serve(source)) as server:
        report = valid_report(run(folder, server.url, "report", "--format", "json", "--at", at()))
        table = run(folder, server.url, "report", "--at", at())
        job = run(folder, server.url, "run", "burn_rate", "--at", at())
        gate = run(folder, server.url, "report", "--fail-on", "exhausted", "--at", at())
    messages = [finding["message"] for finding in report["findings"] if finding["code"] == "partial-answer"]
    assert [message.partition(": events of 2 of 2 SLOs may be missing")[0] for message in messages] == [
        "Prometheus: store-2: connection refused",
        "Prometheus: echo *** [31m",
    ]
    assert {tuple(slo["doubts"]) for slo in report["slos"]} == {("partial-answer",)}
    assert "warning: Prometheus: store-2: connection refused: events of 2 of 2 SLOs" in table.stdout
    assert "ok (?)" in table.stdout and "exhausted (?)" in table.stdout
    assert gate.code == 3, "nobody can say"
    assert "2 of 2 budgets are in doubt" in gate.stderr
    assert "sloctl: warning: Prometheus: store-2: connection refused" in job.stderr
    assert "\x1b" not in table.stdout + job.stderr


def test_too_many_samples_are_asked_for_in_parts(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    whole, parts = Simulated(slo_set, flows), Simulated(slo_set, flows, largest_window=2 * 86400)
    command = ("report", "--format", "json", "--at", at())
    with FaultyServer(serve(whole)) as server:
        expected = valid_report(run(folder, server.url, *command))
    with FaultyServer(serve(parts)) as server:
        report = valid_report(run(folder, server.url, *command))
    assert parts.queries > whole.queries
    for slo, other in zip(report["slos"], expected["slos"], strict=True):
        assert slo["events"] == {kind: pytest.approx(count) for kind, count in other["events"].items()}
        assert slo["burn_rates"] == {name: pytest.approx(rate) for name, rate in other["burn_rates"].items()}


def test_too_many_samples_even_for_a_few_hours(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    with FaultyServer(serve(Simulated(slo_set, flows, largest_window=3600))) as server:
        outcome = run(folder, server.url, "report", "--at", at())
    assert outcome.code == 3
    assert "would load too many samples into memory" in outcome.stderr
    assert HINT_SIZE in outcome.stderr


def test_a_fault_in_the_middle_of_a_report_leaves_no_half_of_it(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    source = Simulated(slo_set, flows)

    def dying(query: str) -> Behaviour | None:
        return status(500, "crashed") if query.startswith("ALERTS") else None

    with FaultyServer(serve(source, dying)) as server:
        for form in ("json", "table", "markdown"):
            outcome = run(folder, server.url, "report", "--format", form, "--at", at(), start=sloctl)
            assert (outcome.code, outcome.stdout) == (3, "")
            assert "HTTP status 500: crashed" in outcome.stderr


def test_a_passing_fault_is_asked_again(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    with FaultyServer(status(503, "starting"), serve(Simulated(slo_set, flows))) as server:
        report = valid_report(run(folder, server.url, "report", "--format", "json", "--at", at(), retries=1))
    assert [slo["service"] for slo in report["slos"]] == ["cart", "checkout"]


def test_credentials_are_sent_and_never_shown(folder: Path) -> None:
    slo_set, flows = slo_set_flows(folder)
    with FaultyServer(serve(Simulated(slo_set, flows))) as server:
        outcome = run(folder, server.url, "-v", "report", "--at", at(), "-v")
    assert outcome.code == 0
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    assert f"{len(server.requests)} requests to Prometheus" in outcome.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("x.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_machine_lacks_is_no_bug_of_ours(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert exit_code_of(fail) == 2
    said = capsys.readouterr().err
    assert "sloctl: error: " in said
    assert "bug" not in said
