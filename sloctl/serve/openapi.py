"""What the API answers, as an OpenAPI document."""

from __future__ import annotations

from typing import Any, get_args

from sloctl import __version__
from sloctl.budget import Status
from sloctl.report.data import MarkKind, json_schema
from sloctl.report.html.live import AGOS, RANGES
from sloctl.serve.access import CANARY, WEBHOOKS

LASTS = ("10m", "1h", "3h", "6h")
TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _parameter(name: str, text: str, schema: dict[str, Any], where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "description": text, "schema": schema} | (
        {"required": True} if where == "path" else {}
    )


def _filters() -> list[dict[str, Any]]:
    return [
        _parameter("q", "Words of a service, SLO, owner or alert; all have to be there.", TEXT),
        _parameter("status", "Only budgets in this state, or those whose alerts fire.", _states()),
        _parameter("owner", "Only budgets of this owner.", TEXT),
        _parameter("namespace", "Only budgets of this namespace.", TEXT),
        _parameter("cluster", "Only budgets of SLOs that carry this label `cluster`.", TEXT),
    ]


def _states() -> dict[str, Any]:
    return {"enum": [*get_args(Status), "firing"]}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


def _answer(text: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}


def document() -> dict[str, Any]:
    """The document, version 3.1 of OpenAPI."""
    report = json_schema()
    del report["$schema"]
    slo = report["properties"]["slos"]["items"]
    fresh = {
        "at": TIME | {"description": "the time that the numbers are of"},
        "age_seconds": NUMBER,
        "stale": {"type": "boolean", "description": "whether the numbers may not hold any more"},
        "failure": _nullable(TEXT) | {"description": "why the last refresh failed"},
        "file_refused": _nullable(TEXT) | {"description": "why the SLO file, which has changed, is not used"},
    }
    bucket = {
        "start": TIME,
        "end": TIME,
        "bad": _nullable(NUMBER),
        "total": _nullable(NUMBER),
        "left": _nullable(NUMBER),
    }
    quantiles = {f"p{percent}_ms": _nullable(NUMBER) for percent in (50, 95, 99)}
    one = _object(
        **fresh,
        slo=slo,
        firing_since=_nullable(TIME),
        policy=_list(severity=TEXT, factor=NUMBER, long=NUMBER, short=NUMBER),
        causes=_list(cause=TEXT, bad=NUMBER),
        marks=_list(
            what={"enum": list(get_args(MarkKind))},
            name=TEXT,
            start=TIME,
            end=TIME,
        ),
        links=_list(title=TEXT, url=TEXT),
        promql=_list(what=TEXT, expr=TEXT),
        history=_nullable(_object(width_seconds=NUMBER, buckets=_list(**bucket))),
        history_failure=_nullable(TEXT),
        latency=_nullable(
            _object(
                threshold_ms=_nullable(NUMBER),
                longest_ms=_nullable(NUMBER),
                windows=_list(window=TEXT, **quantiles),
                slow=_list(
                    what={"enum": ["caller", "version", "operation"]}, name=TEXT, requests=NUMBER, **quantiles
                ),
            )
        ),
        latency_failure=_nullable(TEXT),
    )
    error = {"$ref": "#/components/responses/error"}
    path = [
        _parameter("namespace", "Its namespace; - where it has none.", TEXT, "path"),
        _parameter("service", "Its service.", TEXT, "path"),
        _parameter("slo", "Its name.", TEXT, "path"),
    ]
    explain = [
        _parameter("service", "Of this service; without it, of all that fail.", TEXT),
        _parameter("namespace", "Of this namespace.", TEXT),
        _parameter("last", "What fails within this time.", {"enum": list(LASTS), "default": "1h"}),
        _parameter(
            "at", "As of this minute, in seconds since 1970; without it, as of now.", {"type": "integer"}
        ),
    ]
    calls = [
        _parameter("q", "Words of a service's namespace and name.", TEXT),
        _parameter("namespace", "Only calls from or to this namespace.", TEXT),
        _parameter("ago", "How long ago.", {"enum": list(AGOS), "default": "now"}),
        _parameter("show", "all: also what is as it should be.", {"enum": ["all"]}),
    ]
    place = _object(namespace=TEXT, name=TEXT)
    edge = dict.fromkeys(("requests", "failed", "unreached"), NUMBER) | {
        name: _nullable(NUMBER) for name in ("attempts", "mean_latency_ms", "mtls")
    }
    edges = _object(
        at=TIME,
        seconds=NUMBER,
        edges=_list(
            source=place,
            destination=place,
            **edge,
            failing={"type": "boolean"},
            odd={"type": "array", "items": {"enum": ["retries", "plaintext"]}},
        ),
        doubts={"type": "array", "items": TEXT},
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sloctl",
            "version": __version__,
            "description": "Error budgets as sloctl serve shows them; read only. All numbers say how old they are.",
        },
        "paths": {
            "/api/v1/overview": _get(
                "overview",
                "The budgets that are asked for, as sloctl report --format json has them.",
                _filters(),
                _answer("The budgets.", "application/json", _object(**fresh, report=report)),
                {"503": error},
            ),
            "/api/v1/overview.csv": _get(
                "overviewCsv",
                "The same for spreadsheets; the headers x-sloctl-at and x-sloctl-stale say how old they are.",
                _filters(),
                _answer("A row for each budget.", "text/csv", TEXT),
                {"503": error},
            ),
            "/api/v1/slo/{namespace}/{service}/{slo}": _get(
                "slo",
                "One SLO: its numbers, policy, causes, what happened meanwhile, links, PromQL, history.",
                [*path, _parameter("range", "A part of its window, in finer steps.", {"enum": list(RANGES)})],
                _answer("The SLO.", "application/json", one),
                {"400": error, "404": error, "503": error},
            ),
            "/api/v1/mesh": _get(
                "mesh",
                "Calls of fifteen minutes: those that deviate, or all, or those of services that are sought.",
                calls,
                _answer("The calls, those that fail most first.", "application/json", edges),
                {"502": error, "503": error},
            ),
            "/api/v1/explain": _get(
                "explain",
                "Where failures begin, as sloctl explain --format json has it.",
                explain,
                _answer("What was found.", "application/json", {"type": "object"}),
                {"400": error, "502": error, "503": error},
            ),
            "/api/v1/canary": _get(
                "canary",
                "The verdict on a canary, as sloctl canary --format json has it.",
                [
                    _parameter("service", "The service, cart or shop/cart.", TEXT) | {"required": True},
                    _parameter("baseline", "The version that is to be replaced.", TEXT) | {"required": True},
                    _parameter("canary", "The version that is to replace it.", TEXT) | {"required": True},
                    _parameter("by", "What tells them apart.", TEXT | {"default": "version"}),
                    _parameter(
                        "since", "When it began to serve, in seconds since 1970.", {"type": "integer"}
                    ),
                ],
                _answer("The verdict.", "application/json", {"type": "object"}),
                {"400": error, "502": error, "503": error},
            ),
            **{path: _webhook(path, verdicts, error) for path, verdicts in WEBHOOKS.items()},
        },
        "components": {
            "responses": {
                "error": _answer("Why there is no answer.", "application/json", _object(error=TEXT))
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    }


def _webhook(path: str, verdicts: tuple[str, ...], error: dict[str, Any]) -> dict[str, Any]:
    """A webhook of Flagger."""
    name = path.rpartition("/")[2]
    said = _object(
        verdict={"enum": ["promote", "wait", "rollback", "inconclusive"]},
        reasons={"type": "array", "items": TEXT},
    )
    metadata = {"type": "object", "properties": dict.fromkeys(CANARY, TEXT)}
    body = _object(name=TEXT, namespace=TEXT)
    body["properties"]["metadata"] = metadata
    return {
        "post": {
            "operationId": f"canary{name.capitalize()}",
            "summary": f"Whether the verdict on a canary is {' or '.join(verdicts)}: a webhook of Flagger.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": _answer("It is.", "application/json", said),
                "412": _answer("It is not.", "application/json", said),
                **dict.fromkeys(("400", "413", "502", "503"), error),
            },
        }
    }


def _get(
    name: str,
    text: str,
    parameters: list[dict[str, Any]],
    answer: dict[str, Any],
    errors: dict[str, Any],
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": name,
            "summary": text,
            "parameters": parameters,
            "responses": {"200": answer, **errors},
        }
    }
