"""What the readers of other tools' files have in common: a document that remembers what was read of it, and the draft
of an SLO with what could not be said.

Knows no tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from sloctl import naming
from sloctl.errors import Problem
from sloctl.model import AlertPolicy, AlertSeverity, BurnWindow
from sloctl.model.durations import duration
from sloctl.model.policies import POLICIES
from sloctl.spec.fields import checks
from sloctl.spec.fields.values import position
from sloctl.spec.sections.common import LABEL_NAME
from sloctl.spec.sections.slos import can_fire
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node

MONTH = 30 * 86400
_LONGEST_TEXT, _LONGEST_LABEL, _LONGEST_LINE = 2000, 256, 128


class View:
    """A mapping of a file; whatever nobody asks for is a leftover. Values of a wrong kind go to ``broken``."""

    def __init__(self, node: Node, path: str, broken: list[Problem]) -> None:
        self.node = node
        self.path = path
        self.broken = broken
        self._read: set[str] = set()
        self._inner: dict[str, View] = {}

    def at(self, *names: str) -> tuple[Node, str]:
        """Node and path of the first of these keys that is there, or else those of the mapping."""
        for name in names:
            if name in self.node.entries:
                return self.node.entries[name], self._child(name)
        return self.node, self._child(names[0]) if names else self.path

    def has(self, *names: str) -> bool:
        """Whether one of these keys has a value."""
        found = (self.node.entries[name] for name in names if name in self.node.entries)
        return any(not _says_nothing(node) for node in found)

    def text(self, *names: str) -> str:
        """A scalar's text; empty where there is none."""
        node = self._take(names, SCALAR, "text")
        return "" if node is None else node.text.strip()

    def flag(self, *names: str, without: bool = False) -> bool:
        """A boolean."""
        text = self.text(*names).lower()
        return text in ("true", "yes", "on") if text else without

    def number(self, *names: str) -> Decimal | None:
        """An exact number; None where there is none, or no number."""
        text = self.text(*names)
        if not text:
            return None
        try:
            value = Decimal(text) if len(text) <= 40 else Decimal("nan")
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite() or abs(value.adjusted()) > 12:
            self.wrong(names, "is not a number", "write it like 99.9")
            return None
        return value

    def view(self, *names: str) -> View | None:
        """A mapping."""
        node = self._take(names, MAPPING, "a mapping")
        return None if node is None else self._opened(node, self.at(*names)[1])

    def views(self, *names: str) -> list[View]:
        """The mappings of a list."""
        node = self._take(names, LIST, "a list")
        found: list[View] = []
        for index, item in enumerate(node.items if node is not None else ()):
            path = f"{self.at(*names)[1]}[{index}]"
            if item.kind == MAPPING:
                found.append(self._opened(item, path))
            else:
                self._broken(item, path, "is not a mapping")
        return found

    def texts(self, *names: str) -> list[str]:
        """The scalars of a list."""
        node = self._take(names, LIST, "a list")
        items = node.items if node is not None else []
        for index, item in enumerate(items):
            if item.kind != SCALAR:
                self._broken(item, f"{self.at(*names)[1]}[{index}]", "is not text")
        return [item.text.strip() for item in items if item.kind == SCALAR]

    def mapping(self, *names: str) -> dict[str, str]:
        """A mapping of texts, such as labels; a list of texts is joined by commas."""
        node = self._take(names, MAPPING, "a mapping")
        found: dict[str, str] = {}
        for key, value in (node.entries if node is not None else {}).items():
            parts = value.items if value.kind == LIST else [value]
            if any(part.kind != SCALAR for part in parts):
                self._broken(value, f"{self.at(*names)[1]}.{key[:60]}", "is not text")
            else:
                found[key] = ",".join("" if part.empty else part.text.strip() for part in parts)
        return found

    def skip(self, *names: str) -> None:
        """Keys that say nothing of an SLO."""
        self._read |= {*names}

    def leftovers(self, *, inner: bool = True) -> Iterator[tuple[str, Node, str]]:
        """Key, node and path of everything with a value that nobody asked for; without ``inner``, of this level."""
        for key, node in self.node.entries.items():
            if key not in self._read and not _says_nothing(node):
                yield key, node, self._child(key)
        for view in self._inner.values() if inner else ():
            yield from view.leftovers()

    def wrong(self, names: Sequence[str], message: str, hint: str = "") -> None:
        """Note that a value is none that its tool takes."""
        node, path = self.at(*names)
        self._broken(node, path, message, hint)

    def _broken(self, node: Node, path: str, message: str, hint: str = "") -> None:
        text = f"'{path}' {message}"
        self.broken.append(Problem(position(node), "error", "import-form", path, text, hint))

    def _child(self, name: str) -> str:
        shown = name[:60]
        return f"{self.path}.{shown}" if self.path else shown

    def _take(self, names: Sequence[str], kind: str, what: str) -> Node | None:
        name = next((name for name in names if name in self.node.entries), None)
        if name is None:
            return None
        self._read.add(name)
        node = self.node.entries[name]
        if node.empty:
            return None
        if node.kind != kind:
            self._broken(node, self._child(name), f"is not {what}")
            return None
        return node

    def _opened(self, node: Node, path: str) -> View:
        return self._inner.setdefault(path, View(node, path, self.broken))


def _says_nothing(node: Node) -> bool:
    return node.empty or (node.kind != SCALAR and node.size == 1)


@dataclass(slots=True)
class Draft:
    """An SLO as it is to be written; ``window`` is a duration or (unit of the calendar, time zone, and
    the first day of a week that is no Monday).

    ``left`` is what could not be said of it, ``refused`` why it is not written at all, ``remarks`` what a reader of the
    file should know. ``seconds`` is the length of the window.
    """

    view: View
    origin: str
    name: str = ""
    service: str = ""
    namespace: str = ""
    objective: Decimal | None = None
    window: str | tuple[str, ...] = "30d"
    seconds: int = MONTH
    sli: dict[str, object] = field(default_factory=dict)
    owner: str = ""
    description: str = ""
    runbook: str = ""
    dashboard: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    alerting: str | dict[str, object] = "none"
    left: list[Problem] = field(default_factory=list)
    refused: Problem | None = None
    remarks: list[str] = field(default_factory=list)

    def leave(self, at: tuple[Node, str], message: str, hint: str = "") -> None:
        """Note what could not be said."""
        self.left.append(Problem(position(at[0]), "warning", "import-left-out", at[1], message, hint))

    def rename(self, at: tuple[Node, str], message: str) -> None:
        """Note that something has another name here."""
        self.left.append(Problem(position(at[0]), "warning", "import-renamed", at[1], message))

    def refuse(self, at: tuple[Node, str], message: str, hint: str = "") -> None:
        """Note why it cannot be written; the first reason is kept."""
        problem = Problem(position(at[0]), "error", "import-refused", at[1], message, hint)
        self.refused = self.refused or problem

    def call(self, name: str, at: tuple[Node, str]) -> None:
        """Give it a name, as much of it as a name here may have."""
        self.name = naming.slug(name[:200])[:63].strip("-")
        if self.name != name:
            self.rename(at, f"the name '{shown(name)}' is '{self.name}' here: names are DNS labels")

    def serve(self, service: str, at: tuple[Node, str]) -> None:
        """Name its service, as much of the name as it may have here."""
        self.service = re.sub(r"[^a-z0-9.-]+", "-", service.lower()).strip("-.")[:63].strip("-.") or "x"
        if self.service != service:
            self.rename(at, f"the service '{shown(service)}' is '{self.service}' here")

    def describe(self, text: str, at: tuple[Node, str]) -> None:
        """Say what it promises."""
        if checks.no_template(text) is not None or len(text) > _LONGEST_TEXT:
            self.leave(at, "the description has a template, or is longer than 2,000 characters")
        else:
            self.description = text

    def label(self, labels: dict[str, str], at: tuple[Node, str]) -> None:
        """Take over labels; those that sloctl sets itself have keys of their own, or none."""
        for key, value in labels.items():
            text = f"the label '{shown(key)}'"
            if key == "owner" and value and len(value) <= _LONGEST_LINE and "{{" not in value:
                self.owner = value
            elif not re.fullmatch(LABEL_NAME, key):
                self.leave(at, f"{text} is no name of a label in Prometheus")
            elif (complaint := checks.label_name(key)) is not None:
                self.leave(at, f"{text} is one that sloctl sets itself", complaint.hint)
            elif "{{" in value or len(value) > _LONGEST_LABEL or "\n" in value:
                self.leave(at, f"{text} has a template, or a value that is too long for a label")
            else:
                self.labels[key] = value
        if not self.owner and len(self.labels.get("team", "")) in range(1, _LONGEST_LINE):
            self.owner = self.labels["team"]
            self.remarks.append("owner: from the label team")

    def annotate(self, annotations: dict[str, str], at: tuple[Node, str]) -> None:
        """Take over what annotations of alerts have a place for: links to a runbook and to a dashboard."""
        places = {"runbook": "runbook", "runbook_url": "runbook", "dashboard": "dashboard"}
        places["dashboard_url"] = "dashboard"
        for key, value in annotations.items():
            place = places.get(key)
            if place is not None and checks.link(value) is None and not getattr(self, place):
                setattr(self, place, value)
            elif place is None:
                text = f"the annotation '{shown(key)}': sloctl writes the texts of alerts itself"
                self.leave(at, text, "what it says to people may go into 'description'")
            elif getattr(self, place) != value:
                text = f"the annotation '{shown(key)}' is no address that an SLO can have as '{place}'"
                self.leave(at, text, "an address with {slo}, {service}, {namespace}, {alert} or {set}")

    def alert(self, lines: Sequence[BurnWindow], at: tuple[Node, str]) -> None:
        """Alert as these lines say, but for those that can never fire here."""
        kept: list[BurnWindow] = []
        for line in lines:
            name = f"{line.severity} over {duration(line.long)}"
            one = AlertPolicy("", (line,))
            if self.objective is not None and can_fire(self.objective, self.seconds, one) is not None:
                self.leave(at, f"the alert {name} can never fire with this objective and window")
            elif any((other.severity, other.long) == (line.severity, line.long) for other in kept):
                self.leave(at, f"a second alert {name} has no name of its own here")
            else:
                kept.append(line)
        known = (name for name, policy in POLICIES.items() if policy.windows == tuple(kept))
        own: dict[str, object] = {"windows": [_line(line) for line in kept]}
        self.alerting = next(known, own if kept else "none")

    def leave_the_rest(self, view: View, reasons: dict[str, str]) -> None:
        """Note everything of a document that nobody asked for."""
        for key, node, path in view.leftovers():
            self.leave_out(key, node, path, reasons)

    def leave_out(self, key: str, node: Node, path: str, reasons: dict[str, str]) -> None:
        """Note one key that nobody asked for."""
        reason = reasons.get(key, "nothing in an SLO file of sloctl says this")
        self.leave((node, path), f"'{path}': {reason}")


def _line(line: BurnWindow) -> dict[str, object]:
    found: dict[str, object] = {"severity": line.severity, "factor": line.factor}
    found |= {"long": duration(line.long), "short": duration(line.short)}
    return found | ({"for": duration(line.for_)} if line.for_ else {})


def burn_window(
    severity: AlertSeverity, factor: Decimal, long: int, short: int, for_: int, period: int
) -> BurnWindow:
    """A line of an alert policy from a factor that is meant for the SLO's own period, in seconds.

    Ours are stated for 30 days, and scaled to the period.
    """
    stated = (factor * MONTH / period).quantize(Decimal("0.000001")).normalize()
    return BurnWindow(severity, stated, long, short, for_)


def shown(text: str) -> str:
    """A text from a file as messages show it."""
    short = text if len(text) <= 80 else f"{text[:79]}…"
    return "".join(char if char.isprintable() else " " for char in short)
