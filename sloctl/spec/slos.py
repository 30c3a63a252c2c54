"""From the tables' values to the model's SLOs: defaults, presets, expressions, and rules that span keys."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from typing import Any

from sloctl.model import AlertPolicy, CounterSli, ExprSli, Mesh, Sli, Slo, Window
from sloctl.presets import PRESETS, PresetProblem
from sloctl.spec import alerting, expressions
from sloctl.spec.reader import Reader, position
from sloctl.spec.shapes import Block
from sloctl.spec.tree import Node
from sloctl.windows import POLICIES

_BROKEN: Any = object()
"""Stands for a value that was complained about: nothing more is said of it."""


class Slos:
    """Builds the SLOs of a set that has this name, mesh and defaults."""

    def __init__(self, set_name: str, mesh: Mesh, defaults: Block | None, reader: Reader) -> None:
        self.set_name = set_name
        self.mesh = mesh
        self.defaults = defaults
        self.reader = reader
        self._presets: dict[Hashable, CounterSli | PresetProblem] = {}
        self._policies: dict[int, AlertPolicy | None] = {}
        self._expressions: dict[str, Any] = {}

    def check_defaults(self) -> None:
        """Note what is wrong with the defaults even if no SLO uses them."""
        if self.defaults is not None and self.defaults.get("alerting") is not None:
            self._policy(self.defaults)

    def build(self, block: Block) -> Slo | None:
        """One SLO; None, with the problems noted, if it is unusable."""
        before = len(self.reader.problems)
        sli, preset = self._sli(block)
        self._place(block, preset is not None)
        objective = self._objective(block, preset)
        window = self._window(block)
        policy = self._policy(block)
        name, service = block.get("name"), block.get("service")
        if sli is None or _BROKEN in (objective, window, policy) or not name or not service:
            return None
        if len(self.reader.problems) > before or block.broken("namespace"):
            return None
        slo = Slo(
            set_name=self.set_name,
            name=name,
            service=service,
            namespace=block.get("namespace") or "",
            objective=objective,
            window=window,
            sli=sli,
            policy=policy,
            owner=self._text(block, "owner"),
            description=(block.get("description") or "").strip(),
            runbook=self._text(block, "runbook"),
            dashboard=self._text(block, "dashboard"),
            labels=self._labels(block),
            position=position(block.node),
        )
        complaint = alerting.can_fire(slo)
        if complaint is not None:
            key = next((key for key in ("alerting", "objective", "window") if block.has(key)), "alerting")
            self.reader.complain(block.at(key), block.child(key), complaint)
            return None
        return slo

    def _value(self, block: Block, key: str) -> tuple[Any, Node]:
        """The SLO's own value or else the default (None: neither), and where it stands."""
        for place in (block, self.defaults):
            if place is not None and place.has(key):
                return (_BROKEN if place.broken(key) else place.get(key)), place.at(key)
        return None, block.node

    def _text(self, block: Block, key: str) -> str:
        value = self._value(block, key)[0]
        return "" if value is None or value is _BROKEN else str(value)

    def _labels(self, block: Block) -> tuple[tuple[str, str], ...]:
        merged: dict[str, str] = {}
        for place in (self.defaults, block):
            if place is not None:
                merged.update({key: value for key, _, value in place.get("labels") or ()})
        return tuple(sorted(merged.items()))

    def _objective(self, block: Block, preset: str | None) -> Decimal:
        value, _ = self._value(block, "objective")
        if value is None:
            if preset is None:
                sli = block.get("sli")
                if sli is not None and sli.get("events") is not None and "objective" not in block.meant:
                    message = "'objective' is missing"
                    hint = "only presets have a default objective"
                    self.reader.add(block.node, block.child("objective"), "no-objective", message, hint)
                return _BROKEN  # type: ignore[no-any-return]
            return PRESETS[preset].objective
        return value  # type: ignore[no-any-return]

    def _window(self, block: Block) -> Window:
        value, _ = self._value(block, "window")
        if value is None:
            return alerting.DEFAULT_WINDOW
        found = None if value is _BROKEN else alerting.window(value)
        return _BROKEN if found is None else found

    def _policy(self, block: Block) -> AlertPolicy | None:
        value, node = self._value(block, "alerting")
        if value is None:
            return POLICIES["mesh"]
        if value is _BROKEN or value == "none":
            return None if value == "none" else _BROKEN
        if id(node) not in self._policies:  # nodes outlive this object: the defaults' policy is read once
            self._policies[id(node)] = alerting.policy(value, self.reader)
        found = self._policies[id(node)]
        return _BROKEN if found is None else found

    def _place(self, block: Block, preset: bool) -> None:
        """Namespace and service must fit together and to the SLI."""
        if block.get("service") == "*" and not preset and block.get("sli") is not None:
            if block.get("sli").get("events") is not None:
                message = "an 'events' SLI needs a named service: its expressions do not say which service they are of"
                hint = "name the service, or use a preset"
                self.reader.add(block.at("service"), block.child("service"), "events-wildcard", message, hint)
            return
        known = block.has("namespace") or "namespace" in block.meant
        if not known and (preset or block.get("service") == "*"):
            message = "'namespace' is missing"
            hint = "an SLO of the mesh is of a service in a namespace"
            self.reader.add(block.node, block.child("namespace"), "no-namespace", message, hint)

    def _sli(self, block: Block) -> tuple[Sli | None, str | None]:
        """The SLI, and the name of the preset that it comes from."""
        sli: Block | None = block.get("sli")
        if sli is None:
            return None, None
        if sli.has("events"):
            events = sli.get("events")
            return (None if events is None else self._events(events)), None
        name = sli.get("preset")
        if name is None:
            return None, None
        if any(sli.broken(key) for key in sli.node.entries):
            return None, name
        params = {key: sli.get(key) for key in PRESETS[name].params if sli.has(key)}
        if "codes" in params:
            if not params["codes"]:
                return None, name  # all of them were complained about
            params["codes"] = tuple(dict.fromkeys(code for _, code in params["codes"]))
        built = self._preset(name, params)
        if isinstance(built, PresetProblem):
            at, path = sli.at(built.param), sli.child(built.param)
            self.reader.add(at, path, "preset-parameter", str(built), built.hint)
            return None, name
        return built, name

    def _preset(self, name: str, params: dict[str, Any]) -> CounterSli | PresetProblem:
        key = (name, *params.items())
        if key not in self._presets:
            try:
                self._presets[key] = PRESETS[name].build(params, self.mesh)
            except PresetProblem as problem:
                self._presets[key] = problem
        return self._presets[key]

    def _events(self, block: Block) -> ExprSli | None:
        texts = {key: (block.get(key) or "").strip() for key in ("total", "bad", "good")}
        fine = True
        for key, text in texts.items():
            if not text:
                if block.get(key) is not None:
                    self.reader.add(block.at(key), block.child(key), "promql-syntax", f"'{key}' is blank", "")
                    fine = False
                continue
            if text not in self._expressions:
                self._expressions[text] = expressions.check(text, self.mesh)
            if self._expressions[text] is not None:
                self.reader.complain(block.at(key), block.child(key), self._expressions[text])
                fine = False
        used = set().union(*(expressions.functions(text) for text in texts.values() if text))
        if fine and len(used) > 1:
            message = "rate() and increase() are mixed; both count the same events"
            self.reader.add(block.node, block.path, "promql-mixed", message, "use one of them throughout")
            fine = False
        if not fine or not texts["total"] or bool(texts["bad"]) == bool(texts["good"]):
            return None
        return ExprSli(**texts)
