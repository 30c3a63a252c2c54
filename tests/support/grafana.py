"""What Grafana asks a Prometheus when somebody opens a dashboard, and what it gets.

Variables, intervals and time ranges are filled in as Grafana 11 does it for its Prometheus data source. Every panel is
asked, those of collapsed rows too; queries to other data sources (traces) are counted and left out.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Mapping[str, Any]
TIMEOUT = 300.0
POINTS = 11_000
"""The most points that Prometheus gives of a series."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
# Up to how many milliseconds an interval is rounded to which (rangeutil.roundInterval).
_ROUNDED = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000),
    (1_814_400_000, 604_800_000), (3_628_800_000, 2_592_000_000),
)  # fmt: skip
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
_LABEL_VALUES = re.compile(r"label_values\((?:(.*),)?\s*(\w+)\s*\)", re.DOTALL)
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")
ALL = "$__all"


def seconds(text: str) -> float:
    """A duration as Grafana and Prometheus write it: ``90s``, ``1h30m``."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise ValueError(f"{text!r} is not a duration")
    return float(sum(int(count) * _UNITS[unit] for count, unit in parts))


def rounded(interval: float) -> float:
    """An interval (seconds) as Grafana rounds it, so that graphs of about one width have the same step."""
    milliseconds = interval * 1000
    return next((step for below, step in _ROUNDED if milliseconds < below), 31_536_000_000) / 1000


def _text(duration: float) -> str:
    return f"{duration:.0f}s" if duration == int(duration) else f"{duration * 1000:.0f}ms"


@dataclass(frozen=True)
class View:
    """The time that is shown (Unix seconds), the points that a panel is wide, the data source's scrape interval."""

    start: float
    end: float
    width: int = 1200
    scrape: float = 60.0

    @classmethod
    def of(cls, board: Json, now: float, **more: Any) -> View:
        """What a dashboard shows when it is opened at ``now``."""
        start, end = (
            now - seconds(text[4:]) if text != "now" else now
            for text in (board["time"]["from"], board["time"]["to"])
        )
        return cls(start, end, **more)

    def last(self, duration: str) -> View:
        """The last part of the time, as a panel with a time of its own shows it."""
        return View(self.end - seconds(duration), self.end, self.width, self.scrape)

    def step(self, *least: str) -> float:
        """Seconds between two points; ``least`` are the least ones that a panel and its query ask for."""
        asked = max((seconds(text) for text in least if text), default=self.scrape)
        span = self.end - self.start
        fits = max(rounded(span / self.width), asked)
        return fits if span / fits <= POINTS else rounded(span / POINTS)


@dataclass(frozen=True)
class Choice:
    """What a variable is set to; one that may have ``many`` values stands in regular expressions."""

    values: tuple[str, ...]
    many: bool = False
    every: str | None = None
    """What stands for all values, where all are chosen."""
    text: str = ""
    """What the value is called, in the form ``text``."""

    def written(self, form: str | None) -> str:
        """The text that takes the variable's place."""
        if form == "text":
            return self.text
        if self.every is not None and form in (None, "regex", "pipe", "csv", "raw"):
            return self.every
        if form is None and not self.many:
            return self.values[0].replace("\\", "\\\\").replace('"', '\\"') if self.values else ""
        if form is None:
            texts = [_SPECIAL.sub(r"\\\\\g<0>", _doubled(value)) for value in self.values]
            return texts[0] if len(texts) == 1 else f"({'|'.join(texts)})"
        if form == "regex":
            texts = [re.sub(r"[\\^$*+?.()|[\]{}/]", r"\\\g<0>", value) for value in self.values]
            return texts[0] if len(texts) == 1 else f"({'|'.join(texts)})"
        separators = {"pipe": "|", "csv": ",", "raw": ","}
        if form not in separators:
            raise ValueError(f"variables are not written in the form {form!r} in queries")
        return separators[form].join(self.values)


def _doubled(value: str) -> str:
    return value.replace("\\", "\\\\\\\\").replace('"', '\\\\\\"')


Choices = Mapping[str, Choice]


@dataclass(frozen=True)
class Query:
    """One request: a panel's target, an annotation or a variable (``ref`` is its name)."""

    kind: Literal["panel", "annotation", "variable"]
    title: str
    ref: str
    expr: str
    instant: bool
    start: float
    end: float
    step: float
    exemplars: bool = False


@dataclass(frozen=True)
class Answer:
    """What Prometheus said: an error's text or series, the samples it read, the seconds it took."""

    query: Query
    error: str = ""
    series: Sequence[Any] = ()
    samples: int = 0
    seconds: float = 0.0

    @property
    def values(self) -> list[float]:
        """All values of all series."""
        if self.query.kind == "variable":
            return []
        return [float(v) for one in self.series for _, v in one.get("values", [one.get("value")])]


@dataclass
class Load:
    """All answers of a dashboard, the variables' choices, and how many queries went to other data sources."""

    answers: list[Answer] = field(default_factory=list)
    choices: dict[str, Choice] = field(default_factory=dict)
    elsewhere: int = 0

    def of(self, title: str, ref: str = "A") -> Answer:
        """The answer to a panel's query."""
        (found,) = (
            a for a in self.answers if (a.query.kind, a.query.title, a.query.ref) == ("panel", title, ref)
        )
        return found


def filled(text: str, choices: Choices, view: View, step: float, scrape: float) -> str:
    """``text`` with its variables and Grafana's own filled in. Raises ValueError for one that there is not."""
    span = view.end - view.start
    own = {
        "__interval": _text(step),
        "__interval_ms": f"{step * 1000:.0f}",
        "__range": _text(round(span)),
        "__range_s": f"{span:.0f}",
        "__range_ms": f"{span * 1000:.0f}",
        "__rate_interval": _text(max(step + scrape, 4 * scrape)),
        "__from": f"{view.start * 1000:.0f}",
        "__to": f"{view.end * 1000:.0f}",
    }

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in own:
            return own[name]
        if name in choices:
            return choices[name].written(match[3])
        if name.isdigit():
            return match[0]  # a group of a regular expression
        raise ValueError(f"there is no variable ${name}")

    return _VARIABLE.sub(put, text)


def panels(board: Json) -> Iterator[Json]:
    """Every panel, those of collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def _ours(*sources: Any) -> bool:
    source: Json = next((one for one in sources if one), {})
    return bool(source.get("type") == "prometheus")


def queries(board: Json, view: View, choices: Choices) -> tuple[list[Query], int]:
    """The queries of all panels and annotations; also how many go to other data sources."""
    found: list[Query] = []
    elsewhere = 0
    for panel in panels(board):
        if panel.get("repeat"):
            raise ValueError(f"{panel['title']}: repeated panels are not known here")
        shown = view.last(panel["timeFrom"]) if panel.get("timeFrom") else view
        for target in panel.get("targets", []):
            if not _ours(target.get("datasource"), panel.get("datasource")):
                elsewhere += 1
            elif not target.get("hide"):
                found.append(_target(panel, target, shown, choices))
    for one in board["annotations"]["list"]:
        if _ours(one.get("datasource")) and one["enable"]:
            step = view.step(one.get("step") or "60s")
            expr = filled(one["expr"], choices, view, step, view.scrape)
            found.append(Query("annotation", one["name"], "Anno", expr, False, *_aligned(view, step), step))
    return found, elsewhere


def _target(panel: Json, target: Json, view: View, choices: Choices) -> Query:
    least = target.get("interval") or ""
    step = view.step(panel.get("interval") or "", least)
    try:
        expr = filled(target["expr"], choices, view, step, seconds(least) if least else view.scrape)
    except ValueError as error:
        raise ValueError(f"{panel['title']} {target['refId']}: {error}") from None
    instant = bool(target.get("instant"))
    start, end = (view.start, view.end) if instant else _aligned(view, step)
    exemplars = bool(target.get("exemplar"))
    return Query("panel", panel["title"], target["refId"], expr, instant, start, end, step, exemplars)


def _aligned(view: View, step: float) -> tuple[float, float]:
    return view.start // step * step, view.end // step * step


@dataclass(frozen=True)
class Grafana:
    """Grafana in front of a Prometheus."""

    url: str

    def load(self, board: Json, view: View, chosen: Mapping[str, Sequence[str]] | None = None) -> Load:
        """Everything that opening a dashboard asks, one after the other; ``chosen`` are values of variables."""
        load = Load()
        for variable in board["templating"]["list"]:
            self._choose(variable, view, load, (chosen or {}).get(variable["name"]))
        found, load.elsewhere = queries(board, view, load.choices)
        load.answers += map(self.ask, found)
        return load

    def ask(self, query: Query) -> Answer:
        """Send one query; also for the exemplars, where it wants them."""
        where = {"time": query.end} if query.instant else _range(query)
        path = "query" if query.instant else "query_range"
        began = time.perf_counter()
        try:
            data = self._get(path, query=query.expr, stats="all", **where)
            if query.exemplars:
                self._get("query_exemplars", query=query.expr, start=query.start, end=query.end)
        except ValueError as error:
            return Answer(query, str(error))
        took = time.perf_counter() - began
        samples = data["stats"]["samples"]["totalQueryableSamples"]
        return Answer(query, "", data["result"], samples, took)

    def _choose(self, variable: Json, view: View, load: Load, chosen: Sequence[str] | None) -> None:
        many = bool(variable.get("multi") or variable.get("includeAll"))
        current = variable["current"].get("value") or ""
        values = [current] if isinstance(current, str) else list(current)
        if variable["type"] == "query":
            options = self._options(variable, view, load)
            if values == [ALL] and not chosen:
                every = variable.get("allValue") or None
                load.choices[variable["name"]] = Choice(tuple(options), many, every)
                return
            if values[0] not in options:
                values = options[:1]
        text = str(variable["current"].get("text") or "")
        load.choices[variable["name"]] = Choice(tuple(chosen or values), many, text=text)

    def _options(self, variable: Json, view: View, load: Load) -> list[str]:
        """The values that the variable's query finds; it is one of the dashboard's queries."""
        text = variable["query"]["query"]
        expr = filled(text, load.choices, view, view.step(), view.scrape)
        name = variable["name"]
        query = Query("variable", variable.get("label") or name, name, expr, True, view.start, view.end, 0)
        match = _LABEL_VALUES.fullmatch(expr)
        if match is None:
            raise ValueError(f"variable {name}: only label_values(…) is known here, not {expr}")
        selector = {"match[]": match[1].strip()} if match[1] else {}
        began = time.perf_counter()
        path = f"label/{match[2]}/values?" + urllib.parse.urlencode(
            {**selector, "start": int(view.start), "end": int(-(-view.end // 1))}
        )
        try:
            found = list(self._get(path))
        except ValueError as error:
            load.answers.append(Answer(query, str(error)))
            return []
        load.answers.append(Answer(query, "", found, 0, time.perf_counter() - began))
        if variable.get("regex"):
            kept = (re.search(variable["regex"].strip("/"), value) for value in found)
            found = [match[match.re.groups and 1] for match in kept if match]
        return found

    def _get(self, path: str, **parameters: Any) -> Any:
        """The data of an answer. Raises ValueError with an error's text."""
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", data=body, timeout=TIMEOUT) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None


def _range(query: Query) -> dict[str, Any]:
    return {"start": query.start, "end": query.end, "step": query.step}
