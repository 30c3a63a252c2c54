"""The routes: what each address answers, from what is known and from what is asked on a reader's behalf."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sloctl.errors import SloctlError, UsageError
from sloctl.model import Slo
from sloctl.model.durations import rfc3339
from sloctl.report.data import Report, SloStatus, to_json
from sloctl.report.history import BudgetHistory
from sloctl.report.html import live
from sloctl.report.html.live import Freshness, Wanted
from sloctl.report.latency import Observed
from sloctl.report.latency import to_json as latency_json
from sloctl.report.markdown import json_text
from sloctl.report.mesh import chosen
from sloctl.report.mesh import to_json as mesh_json
from sloctl.report.spreadsheet import csv_text
from sloctl.serve import feeds, openapi
from sloctl.serve.access import CANARY, WEBHOOKS, Access, Guard
from sloctl.serve.cache import (
    LATE,
    Asked,
    Busy,
    Clock,
    Explained,
    Pending,
    Questions,
    Refresher,
    Rendered,
    State,
    told,
)

LASTS = {"10m": 600, "1h": 3600, "3h": 3 * 3600, "6h": 6 * 3600}
"""How far back failures are looked for."""
AGE = 5
"""Seconds for which a page says the same age."""
HTML, JSON = "text/html; charset=utf-8", "application/json"
LONGEST_NAME = 253
LARGEST_WEBHOOK = 65_536
T = TypeVar("T")


class Rest(Convertor[str]):
    """All that is left of a path, whatever it holds: a label may hold anything."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """The text itself."""
        return value

    def to_string(self, value: str) -> str:
        """The text itself."""
        return value


register_url_convertor("rest", Rest())


class Body(NamedTuple):
    """An answer as it is sent."""

    content: bytes
    kind: str
    packed: bytes | None = None


def _body(text: str | bytes, kind: str) -> Body:
    content = text.encode() if isinstance(text, str) else text
    return Body(content, kind, gzip.compress(content, 5, mtime=0) if len(content) > 2000 else None)


def _response(
    request: Request, body: Body, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    more = {"vary": "accept-encoding", **(headers or {})}
    content = body.content
    if body.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, more["content-encoding"] = body.packed, "gzip"
    return Response(content, status, more, body.kind)


class Pages:
    """The pages of what is known."""

    def __init__(self, refresher: Refresher, asked: Asked, now: Clock) -> None:
        self._refresher, self._asked, self._now = refresher, asked, now
        self._rendered = Rendered()
        self._index: tuple[int, dict[str, tuple[Slo, SloStatus]]] = (-1, {})
        self._clusters: tuple[int, dict[int, str]] = (-1, {})

    def routes(self) -> list[Route]:
        """Every address."""
        return [
            Route("/", self.overview),
            Route("/slo/{path:rest}", self.one),
            Route("/explain", self.explain),
            Route("/mesh", self.mesh),
            Route("/badge/{path:rest}", self.badge),
            Route("/incidents.atom", self.incidents),
            Route("/static/{name}", self.static),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/api/v1/overview", self.api_overview),
            Route("/api/v1/overview.csv", self.api_csv),
            Route("/api/v1/slo/{path:rest}", self.api_slo),
            Route("/api/v1/mesh", self.api_mesh),
            Route("/api/v1/explain", self.api_explain),
            Route("/api/v1/canary", self.api_canary),
            *(Route(path, self.webhook, methods=["POST"]) for path in WEBHOOKS),
            Route("/api/v1/openapi.json", self.api_openapi),
        ]

    # --- what is known

    @property
    def _asks(self) -> Questions:
        return self._refresher.state.asks

    def _state(self) -> tuple[State, Report]:
        state = self._refresher.state
        if state.report is None:
            why = f": {state.failure}" if state.failure else ""
            raise HTTPException(503, f"There is no answer yet{why}", {"retry-after": "5"})
        return state, state.report

    def _fresh(self, state: State, report: Report) -> Freshness:
        """How old the report is; the same for some seconds, so that a page can be sent as it is for as long."""
        age = int(state.age(self._now())) // AGE * AGE
        stale = state.stale(report.at + timedelta(seconds=age))
        return Freshness(
            report.at, age, round(state.every), round(LATE * state.every), stale, state.failure, state.refused
        )

    def _cluster_of(self, state: State, report: Report) -> dict[int, str]:
        """The cluster of each budget that has one."""
        if self._clusters[0] != state.number:
            found = live.clusters(state.asks.slo_set, state.asks.definitions(report))
            self._clusters = (state.number, found)
            return found
        return self._clusters[1]

    def _named(self, path: str) -> tuple[Slo, SloStatus, State, Report]:
        """The SLO of a path, and what it is of: by now there may be another. Raises HTTPException."""
        state, report = self._state()
        if self._index[0] != state.number:
            definitions = state.asks.definitions(report)
            found: dict[str, tuple[Slo, SloStatus]] = {}
            for item in report.slos:
                if id(item) in definitions:
                    found.setdefault(live.slo_path(item), (definitions[id(item)], item))
            self._index = (state.number, found)
        try:
            return *self._index[1][path], state, report
        except KeyError:
            raise HTTPException(404, "There is no such SLO, or its service was not seen") from None

    async def _send(
        self, request: Request, key: tuple[object, ...], kind: str, make: Callable[[], str | bytes]
    ) -> Response:
        return _response(
            request, await run_in_threadpool(self._rendered.get, key, lambda: _body(make(), kind))
        )

    # --- pages

    async def overview(self, request: Request) -> Response:
        """All budgets."""
        state, report = self._state()
        wanted, fresh = Wanted.of(request.query_params), self._fresh(state, report)
        refresh = 60 if request.query_params.get("refresh") == "60" else 0
        clusters = self._cluster_of(state, report)
        lines = state.explained.lines if state.explained and state.explained.failing else ()
        found = await self._send(
            request,
            ("overview", state.number, fresh, wanted, refresh),
            HTML,
            lambda: live.overview(report, wanted, fresh, lines, refresh, clusters),
        )
        if refresh:
            found.headers["refresh"] = str(refresh)
        return found

    async def one(self, request: Request) -> Response:
        """One SLO."""
        slo, item, state, report = self._named(request.path_params["path"])
        fresh = self._fresh(state, report)
        chosen = live.range_of(item, slo, request.query_params.get("range", ""))
        burns = bool(item.alerts) or (live.burning(item) or 0) > 1
        (part, failed), (observed, not_observed), (explained, not_explained) = await asyncio.gather(
            self._part(slo, item, state, report, chosen),
            self._observed(slo, item, state, report, chosen),
            self._explained(state.asks, item.namespace, item.service, 3600, 3.0) if burns else _nothing(),
        )
        shown = (
            live.slo_path(item),
            chosen,
            part is None,
            failed,
            observed,
            not_observed,
            explained and explained.lines,
            not_explained,
        )
        return await self._send(
            request,
            ("slo", state.number, fresh, *shown),
            HTML,
            lambda: live.one(
                report,
                state.asks.slo_set,
                slo,
                item,
                fresh,
                part=part,
                chosen=chosen if part else "",
                part_failed=failed,
                observed=observed,
                observe_failed=not_observed,
                explained=explained.lines if explained else None,
                explain_failed=not_explained,
            ),
        )

    async def _part(
        self, slo: Slo, item: SloStatus, state: State, report: Report, chosen: str
    ) -> tuple[BudgetHistory | None, str]:
        """The part of a history that is asked for, or why there is none."""
        if not chosen:
            return None, ""
        seconds = live.RANGES[chosen]
        try:
            part = await self._asked.get(
                ("part", state.asks, report.at, live.slo_path(item), chosen),
                lambda: state.asks.part(slo, item, report, seconds),
            )
        except Exception as error:
            return None, told(error)
        return part, "" if part else "there is no record of it that adds up"

    async def _observed(
        self, slo: Slo, item: SloStatus, state: State, report: Report, chosen: str
    ) -> tuple[Observed | None, str]:
        """What is seen of an SLO's requests, and what changed in the range, or in the last day; what is in doubt."""
        seconds = live.RANGES[chosen or "1d"]
        try:
            found = await self._asked.get(
                ("observed", state.asks, report.at, live.slo_path(item), seconds),
                lambda: state.asks.observed(slo, item, report, seconds),
                3.0,
            )
        except Exception as error:
            return None, told(error)
        return found, "; ".join(found.doubts) if found else ""

    async def _explained(
        self,
        asks: Questions,
        namespace: str,
        service: str,
        seconds: int,
        wait: float,
        at: datetime | None = None,
    ) -> tuple[Explained | None, str]:
        try:
            return await self._asked.get(
                ("explain", asks, namespace, service, seconds, at),
                lambda: asks.explain(namespace, service, seconds, at),
                wait,
            ), ""
        except Exception as error:
            return None, told(error)

    def _at(self, asked: Mapping[str, str]) -> datetime | None:
        """The minute that is asked about; None for now, and for what is still to come."""
        if not asked["at"]:
            return None
        at = datetime.fromtimestamp(-(-int(asked["at"]) // 60) * 60, UTC)
        return at if at < self._now() else None

    async def explain(self, request: Request) -> Response:
        """Where failures begin."""
        asked, asks = _explain_asked(request), self._asks
        found, failed = await self._explained(
            asks, asked["namespace"], asked["service"], LASTS[asked["last"]], 10.0, self._at(asked)
        )
        lines, at = (found.lines, str(found.data.get("time", ""))) if found else ((), "")
        text = live.explanation(asks.slo_set.name, asked, lines, at, failed)
        return _response(request, _body(text, HTML))

    async def mesh(self, request: Request) -> Response:
        """The calls of the mesh."""
        asked, asks = _mesh_asked(request), self._asks
        ago = live.AGOS[asked["ago"]]
        calls, failed = None, ""
        try:
            calls = await self._asked.get(("mesh", asks, ago), lambda: asks.mesh(ago), 10.0)
        except Exception as error:
            failed = told(error)
        key = ("mesh", asks, tuple(asked.items()), calls and calls.at, failed)
        name = asks.slo_set.name
        return await self._send(request, key, HTML, lambda: live.mesh(name, asked, calls, failed))

    async def badge(self, request: Request) -> Response:
        """The badge of an SLO."""
        path = request.path_params["path"].removesuffix(".svg")
        try:
            _, item, state, _ = self._named(path)
            text, status = feeds.badge(item.slo, item, stale=state.stale(self._now())), 200
        except HTTPException as error:
            # Before the first answer too there is an image to show: proxies of images drop it beside an error.
            text, status = feeds.badge("SLO", None, stale=True), 404 if error.status_code == 404 else 200
        headers = {"cross-origin-resource-policy": "cross-origin", "cache-control": "no-cache"}
        return Response(text, status, headers, "image/svg+xml")

    async def incidents(self, request: Request) -> Response:
        """Alerts that fired, as a feed."""
        state, report = self._state()
        base = f"{request.url.scheme}://{request.url.netloc}"
        content = feeds.atom(report, base, stale=state.stale(self._now()))
        return Response(content, media_type="application/atom+xml")

    async def static(self, request: Request) -> Response:
        """What pages load."""
        found = live.files().get(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "There is no such file")
        content, kind, address = found
        whole = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        lasting = "public, max-age=31536000, immutable" if whole == address else "no-cache"
        return Response(content, headers={"cache-control": lasting}, media_type=kind)

    async def healthz(self, request: Request) -> Response:
        """Whether the process answers."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Whether there is an answer to show, however old."""
        ready = self._refresher.state.report is not None
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    # --- the same for programs

    @staticmethod
    def _told(fresh: Freshness) -> dict[str, Any]:
        return {
            "at": fresh.iso,
            "age_seconds": fresh.seconds,
            "stale": fresh.stale,
            "failure": fresh.why or None,
            "file_refused": fresh.refused or None,
        }

    def _chosen(self, state: State, report: Report, wanted: Wanted) -> Report:
        ids = {id(item) for item in wanted.select(report, self._cluster_of(state, report))}
        return report.of(lambda item: id(item) in ids)

    async def api_overview(self, request: Request) -> Response:
        """The budgets that are asked for, as the report's JSON has them."""
        state, report = self._state()
        wanted, fresh = Wanted.of(request.query_params), self._fresh(state, report)

        def make() -> str:
            return (
                json_text({**self._told(fresh), "report": to_json(self._chosen(state, report, wanted))})
                + "\n"
            )

        return await self._send(request, ("json", state.number, fresh, wanted), JSON, make)

    async def api_csv(self, request: Request) -> Response:
        """The budgets that are asked for, for spreadsheets."""
        state, report = self._state()
        wanted, fresh = Wanted.of(request.query_params), self._fresh(state, report)
        found = await self._send(
            request,
            ("csv", state.number, wanted),
            "text/csv; charset=utf-8",
            lambda: csv_text(self._chosen(state, report, wanted)),
        )
        found.headers["content-disposition"] = 'attachment; filename="budgets.csv"'
        found.headers["x-sloctl-at"] = fresh.iso
        found.headers["x-sloctl-stale"] = "true" if fresh.stale else "false"
        return found

    async def api_slo(self, request: Request) -> Response:
        """One SLO, and its history if a range is asked for."""
        slo, item, state, report = self._named(request.path_params["path"])
        asked = request.query_params.get("range", "")
        if asked and asked not in live.RANGES:
            raise HTTPException(400, f"range is one of {', '.join(live.RANGES)}")
        (part, failed), (observed, not_observed) = await asyncio.gather(
            self._part(slo, item, state, report, asked),
            self._observed(slo, item, state, report, asked),
        )
        shown = part or (item.history if not asked else None)
        began = live.since(item, report.at)
        data = {
            **self._told(self._fresh(state, report)),
            "slo": to_json(report.of(lambda other: other is item))["slos"][0],
            "firing_since": rfc3339(began) if began else None,
            "policy": [
                {
                    "severity": line.severity,
                    "factor": float(slo.policy.scaled(line, slo.window.seconds)),
                    "long": line.long,
                    "short": line.short,
                }
                for line in (slo.policy.windows if slo.policy else ())
                if slo.policy
            ],
            "causes": [{"cause": cause, "bad": bad} for cause, bad in item.detail.causes],
            "marks": [
                {"what": mark.what, "name": mark.name, "start": rfc3339(mark.start), "end": rfc3339(mark.end)}
                for mark in (*item.detail.marks, *(observed.changes if observed else ()))
            ],
            "links": [
                {"title": title, "url": url}
                for title, url in item.detail.links
                if url.startswith(("http://", "https://"))
            ],
            "promql": [
                {"what": what, "expr": expr} for what, expr in live.queries(state.asks.slo_set, slo, item)
            ],
            "history": _history(shown),
            "history_failure": failed or None,
            "latency": latency_json(observed) if observed else None,
            "latency_failure": not_observed or None,
        }
        return _response(request, _body(json_text(data) + "\n", JSON))

    async def api_explain(self, request: Request) -> Response:
        """Where failures begin, as ``sloctl explain --format json`` has it."""
        asked, asks = _explain_asked(request), self._asks
        place, at = (asked["namespace"], asked["service"], LASTS[asked["last"]]), self._at(asked)
        found = await self._answer(("explain", asks, *place, at), lambda: asks.explain(*place, at))
        return _response(request, _body(json_text(found.data) + "\n", JSON))

    async def api_mesh(self, request: Request) -> Response:
        """The calls of the mesh that are asked for."""
        asked, asks = _mesh_asked(request), self._asks
        ago = live.AGOS[asked["ago"]]
        calls = await self._answer(("mesh", asks, ago), lambda: asks.mesh(ago))
        edges = chosen(
            calls.edges, q=asked["q"], namespace=asked["namespace"], everything=asked["show"] == "all"
        )
        return _response(request, _body(json_text(mesh_json(calls, edges)) + "\n", JSON))

    async def api_canary(self, request: Request) -> Response:
        """The verdict on a canary, as ``sloctl canary --format json`` has it."""
        given = request.query_params
        found = await self._canary({name: given[name] for name in CANARY if name in given})
        return _response(request, _body(json_text(found) + "\n", JSON))

    async def webhook(self, request: Request) -> Response:
        """Whether the verdict on a canary is what a webhook of Flagger is about: 200, or 412 with the reasons."""
        found = await self._canary(await _flagger_asks(request))
        yes = found["verdict"] in WEBHOOKS[request.url.path]
        text = json_text({"verdict": found["verdict"], "reasons": [*found["reasons"], *found["doubts"]]})
        return _response(request, _body(text + "\n", JSON), 200 if yes else 412)

    async def _canary(self, given: Mapping[str, str]) -> Mapping[str, Any]:
        """Raises HTTPException."""
        if missing := [name for name in ("service", "baseline", "canary") if not given.get(name)]:
            raise HTTPException(400, f"{missing[0]} is missing: name service, baseline and canary")
        if any(len(text) > LONGEST_NAME or not text.isprintable() for text in given.values()):
            raise HTTPException(400, "that is no name of a service or version")
        since, asks = _seconds(given.get("since", ""), "since"), self._asks
        begun = datetime.fromtimestamp(since, UTC) if since is not None else None
        if begun is not None and not timedelta(0) <= self._now() - begun <= timedelta(days=1):
            raise HTTPException(400, "since is within the last day")
        asked = (given["service"], given["baseline"], given["canary"], given.get("by") or "version", begun)
        return await self._answer(("canary", asks, *asked), lambda: asks.canary(*asked))

    async def _answer(self, key: tuple[object, ...], ask: Callable[[], T]) -> T:
        """An answer for a program. Raises HTTPException."""
        try:
            return await self._asked.get(key, ask, 30.0)
        except (Busy, Pending) as error:
            raise HTTPException(503, str(error), {"retry-after": "5"}) from None
        except UsageError as error:
            raise HTTPException(400, str(error)) from None
        except SloctlError as error:
            raise HTTPException(502, str(error)) from None

    async def api_openapi(self, request: Request) -> Response:
        """What there is to ask, for programs."""
        return _response(request, _body(json_text(openapi.document()) + "\n", JSON))

    async def failed(self, request: Request, error: Exception) -> Response:
        """An address that has no answer."""
        assert isinstance(error, HTTPException)
        path = request.url.path
        if path.startswith("/api/"):
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        title = {503: "No answer yet", 404: "Not found"}.get(error.status_code, "Not possible")
        hint = (
            "The budgets are being read; reload the page in some seconds." if error.status_code == 503 else ""
        )
        text = live.message(self._asks.slo_set.name, title, error.detail, hint=hint)
        return Response(text, error.status_code, error.headers, HTML)


async def _nothing() -> tuple[None, str]:
    return None, ""


def _history(shown: BudgetHistory | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    return {
        "width_seconds": shown.width,
        "buckets": [
            {"start": rfc3339(start), "end": rfc3339(end)}
            | ({"bad": None, "total": None} if item is None else {"bad": item[0], "total": item[1]})
            | {"left": left}
            for (start, end), item, left in zip(shown.spans(), shown.buckets, shown.left(), strict=True)
        ],
    }


def _mesh_asked(request: Request) -> dict[str, str]:
    given = request.query_params
    ago, show = given.get("ago", "now"), given.get("show", "")
    return {
        "q": given.get("q", "")[: live.LONGEST_TEXT],
        "namespace": given.get("namespace", "")[: live.LONGEST_TEXT],
        "ago": ago if ago in live.AGOS else "now",
        "show": show if show == "all" else "",
    }


def _explain_asked(request: Request) -> dict[str, str]:
    given = request.query_params
    last = given.get("last", "1h")
    if last not in LASTS:
        raise HTTPException(400, f"last is one of {', '.join(LASTS)}")
    names = {name: given.get(name, "").strip() for name in ("service", "namespace")}
    if any(len(name) > LONGEST_NAME or not name.isprintable() for name in names.values()):
        raise HTTPException(400, "that is no name of a service or namespace")
    at = given.get("at", "")
    _seconds(at, "at")
    return names | {"last": last, "at": at}


def _seconds(text: str, name: str) -> int | None:
    """A time in seconds since 1970, or None for no text. Raises HTTPException."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise HTTPException(400, f"{name} is a time in seconds since 1970")
    return int(text)


async def _flagger_asks(request: Request) -> dict[str, str]:
    """What a webhook of Flagger asks about: its target, or what its metadata say. Raises HTTPException."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_WEBHOOK:
            raise HTTPException(413, f"a webhook has at most {LARGEST_WEBHOOK:,} bytes")
    try:
        document = json.loads(content)
        name, namespace = document["name"], document["namespace"]
        more = {key: text for key, text in dict(document.get("metadata") or {}).items() if key in CANARY}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise HTTPException(400, "that is no webhook of Flagger: JSON with name and namespace") from None
    asked = {
        "service": f"{namespace}/{name}",
        "baseline": f"{name}-primary",
        "canary": name,
        "by": "workload",
    }
    asked |= more
    if not all(isinstance(text, str) for text in (name, namespace, *asked.values())):
        raise HTTPException(400, "names and metadata of a webhook are texts")
    return asked


def application(pages: Pages, access: Access) -> Guard:
    """The whole application."""
    inner = Starlette(routes=pages.routes(), exception_handlers={HTTPException: pages.failed})
    return Guard(inner, access)
