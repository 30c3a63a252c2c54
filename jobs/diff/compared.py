"""What comes, goes and changes between two sets of SLOs, and of which budgets the record goes on. Asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from decimal import Context, Decimal
from typing import Literal

from jobs.budgets.lineage import Lineage
from sloctl import naming
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.kinds import HealthAlert
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model import CounterSli, ExprSli, Guardrail, Matcher, SampleSli, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration, number, rfc3339
from sloctl.model.policies import EventGate

Action = Literal["added", "removed", "changed"]
Kind = Literal["set", "slo", "guardrail", "exclusion", "setting", "object"]
Identity = Literal["kept", "recounted", "moved", "renamed", "new", "lost"]
"""What becomes of a budget's record: it goes on; it goes on, and counts other events; another SLO of the same name
takes it over; the SLO is called otherwise and begins from nothing; there is none yet; it ends."""
SETTINGS = (
    *("labels", "objects", "mesh", "sources", "jobs", "notifications", "dashboards", "kubernetes", "ledger"),
    *("release", "longest_silence", "slack_channel", "slack_owners", "variables"),
)
"""Attributes of a set that are compared as they are."""
NOT_SHOWN = frozenset({"variables", "env"})
"""Attributes that hold values of the environment: their names alone are told."""
COUNTING = ("mode", "matchers", "histograms")
"""What of the section ``mesh`` decides which events count."""
HIDDEN = "…"
JOINED = "reports and the ledger join both; recorded series, and so dashboards and alert windows, begin anew"
"""What becomes of the record of a service that another SLO of the same name counts from now on."""


@dataclass(frozen=True, slots=True)
class Detail:
    """A field, before and after, as people read it; "" is not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert that comes, goes or changes; ``before`` and ``after`` say when it fires ("" is not at all)."""

    alert: str
    before: str
    after: str

    @property
    def action(self) -> Action:
        """What becomes of it."""
        return "changed" if self.before and self.after else "added" if self.after else "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that comes, goes or changes. ``note`` says what becomes of the budget's record."""

    kind: Kind
    action: Action
    what: str
    owner: str = ""
    details: tuple[Detail, ...] = ()
    alerts: tuple[AlertChange, ...] = ()
    identity: Identity | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """All changes between two sets, and how many SLOs, guardrails, alerts and objects do not change.

    ``recounted`` are the series whose record counted other events than their SLO does now; with an empty service, all
    of an SLO.
    """

    old: SloSet
    new: SloSet
    changes: tuple[Change, ...]
    same: Mapping[str, int]
    recounted: frozenset[SeriesKey] = frozenset()
    doubts: tuple[str, ...] = field(default=())

    def of(self, kind: Kind) -> list[Change]:
        """The changes of a kind."""
        return [change for change in self.changes if change.kind == kind]


def compare(
    old: SloSet,
    new: SloSet,
    objects: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    doubts: Sequence[str] = (),
) -> Comparison:
    """Compare two sets, and what is generated from each: texts by path. ``doubts`` are what could not be compared."""
    same: Counter[str] = Counter({"SLOs": 0, "guardrails": 0, "alerts": 0, "objects": 0})
    slos = list(_slos(old, new, same))
    changes = [
        *_set(old, new),
        *slos,
        *_guardrails(old, new, same),
        *_exclusions(old, new),
        *_settings(old, new),
        *_objects(*objects, same),
    ]
    return Comparison(old, new, tuple(changes), dict(same), frozenset(_recounted(old, new)), tuple(doubts))


def title(slo: Slo) -> str:
    """An SLO as people write it: ``shop/checkout availability``."""
    return f"{naming.place(slo.namespace, slo.service)} {slo.name}"


def events(of: SloSet, slo: Slo) -> object:
    """What an SLO counts: where this is equal, what is recorded of one is what is recorded of the other."""
    sli = slo.sli
    if not isinstance(sli, CounterSli):
        return sli, slo.per
    counted = replace(sli, preset="", example=(), example_bad=(), other_side=None, threshold=None)
    return counted, tuple(getattr(of.mesh, name) for name in COUNTING)


def _set(old: SloSet, new: SloSet) -> Iterator[Change]:
    if old.name != new.name:
        note = (
            f"every recorded series and every bucket of the ledger is of the set {old.name}: each budget of {new.name} "
            "begins from nothing"
        )
        name = Detail("metadata.name", old.name, new.name)
        yield Change("set", "changed", new.name, details=(name,), identity="renamed", note=note)


def _slos(old: SloSet, new: SloSet, same: Counter[str]) -> Iterator[Change]:
    before, after = ({(slo.namespace, slo.service, slo.name): slo for slo in of.slos} for of in (old, new))
    renamed = _renamed(old, new)
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        lines = _alerts(_lines(one) if one else {}, _lines(other) if other else {}, same)
        if one is not None and other is not None:
            details = _told(_details(_fields(old, one), _fields(new, other)))
            counted = events(old, one) == events(new, other)
            if one.id == other.id and counted and not details and not lines:
                same["SLOs"] += 1
                continue
            identity: Identity = "renamed" if one.id != other.id else "kept" if counted else "recounted"
            note = {
                "renamed": "the set is called otherwise: a new budget begins from nothing",
                "kept": "the same ledger and recorded series: the budget goes on",
                "recounted": "the same ledger and recorded series, but other events: until a whole window has passed, "
                "the budget mixes what was counted before with what is counted from now on",
            }[identity]
            if identity == "recounted" and one.per != other.per:
                note = (
                    "its services are told apart otherwise: the budgets of those now begin from nothing, but for names "
                    "that were there before, and what is recorded of the former stays in the ledger under their names"
                )
            yield Change("slo", "changed", title(other), other.owner, details, lines, identity, note)
        elif other is not None:
            details = tuple(item for item in _details({}, _fields(new, other)) if not _raw(item))
            yield Change(
                "slo", "added", title(other), other.owner, details, lines, *_begins(old, new, other, renamed)
            )
        elif one is not None:
            yield Change("slo", "removed", title(one), one.owner, (), lines, *_ends(new, one, renamed))


def _raw(item: Detail) -> bool:
    """Whether a field is what the mesh's metrics are asked for, which other fields say in fewer words."""
    return item.name.startswith(("events.", "mesh."))


def _told(details: Iterator[Detail]) -> tuple[Detail, ...]:
    """The fields that differ; what metrics are asked for only where no other field says why."""
    found = tuple(details)
    if any(item.name in ("preset", "side", "threshold", "where", "histogram") for item in found):
        return tuple(item for item in found if not _raw(item))
    return found


def _renamed(old: SloSet, new: SloSet) -> dict[str, Slo]:
    """SLOs that are called otherwise and count the same events of the same service, by the id of either."""
    found: dict[str, Slo] = {}
    known, now = {title(slo) for slo in old.slos}, {title(slo) for slo in new.slos}
    gone = [slo for slo in old.slos if title(slo) not in now]
    for slo in new.slos:
        if title(slo) in known:
            continue
        alike = [
            one
            for one in gone
            if (one.namespace, one.service) == (slo.namespace, slo.service)
            and events(old, one) == events(new, slo)
            and one.id not in found
        ]
        if len(alike) == 1:
            found[alike[0].id], found[slo.id] = slo, alike[0]
    return found


def _recounted(old: SloSet, new: SloSet) -> Iterator[SeriesKey]:
    now = {slo.id: slo for slo in new.slos}
    lineage = Lineage(new)
    for one in old.slos:
        other = now.get(one.id)
        if other is not None and events(old, one) != events(new, other):
            yield one.id, "", ""
        services = {slo.service for slo in new.slos} if one.wildcard else {one.service}
        for service in sorted(services - {"*", *one.overridden}):
            heir = lineage.current((one.id, one.namespace, service)) if old.name == new.name else None
            if heir is not None and heir[0] != one.id and events(old, one) != events(new, now[heir[0]]):
                yield heir


def _begins(old: SloSet, new: SloSet, slo: Slo, renamed: Mapping[str, Slo]) -> tuple[Identity, str]:
    if slo.id in renamed:
        was = renamed[slo.id].name
        return "renamed", (
            f"it counts what {was} counted, under another name: what is recorded stays with {was}, and a new budget "
            "begins from nothing"
        )
    if slo.wildcard:
        return "new", (
            "its budgets begin from nothing, but for services that had an SLO of this name of their own, which is gone"
        )
    wild = next(
        (one for one in old.slos if one.wildcard and (one.namespace, one.name) == (slo.namespace, slo.name)),
        None,
    )
    if wild is not None and old.name == new.name:
        return (
            "moved",
            f"the service's budget in {title(wild)} goes on in it: {JOINED}",
        )
    return "new", "its budget begins from nothing: 'sloctl backfill' and the job slis read the past"


def _ends(new: SloSet, slo: Slo, renamed: Mapping[str, Slo]) -> tuple[Identity, str]:
    key = (slo.id, slo.namespace, slo.service)
    now = Lineage(new).current(key) if new.name == slo.set_name and not slo.wildcard else None
    if now is not None:
        heir = next(one for one in new.slos if one.id == now[0])
        return "moved", f"its budget goes on in {title(heir)}: {JOINED}"
    if slo.id in renamed:
        return "renamed", f"{renamed[slo.id].name} counts the same from now on, and begins from nothing"
    return (
        "lost",
        "nobody counts its budget any more; what is recorded stays in the ledger as long as it is kept",
    )


def _fields(of: SloSet, slo: Slo) -> dict[str, str]:
    """What there is to say of an SLO, but for its alerts."""
    out = {"objective": _objective(slo), "window": slo.window.text, "owner": slo.owner, "per": slo.per}
    out |= {"pages go to": "", "tickets go to": ""}
    if of.notifications is not None:
        told, default = dict(of.notifications.owners).get(slo.owner), of.notifications.default
        for severity in ("page", "ticket"):
            out[f"{severity}s go to"] = getattr(told, severity, "") or getattr(default, severity)
    out |= _sli(slo)
    if isinstance(slo.sli, CounterSli):
        out |= {
            f"mesh.{name}": text for name, text in flat(of.mesh).items() if name.split("[")[0] in COUNTING
        }
    out |= {"services with an SLO of their own": ", ".join(slo.overridden)}
    out |= {name: getattr(slo, name) for name in ("description", "runbook", "dashboard")}
    out |= {f"label {name}": value for name, value in slo.labels}
    return {name: text for name, text in out.items() if text}


def _objective(slo: Slo) -> str:
    """The objective, and how long all may fail at even traffic."""
    seconds = slo.window.seconds * slo.budget
    return f"{number(slo.objective)} % ({_about(seconds)} of full outage in {slo.window.text})"


def _about(seconds: Decimal) -> str:
    whole = int(seconds)
    if whole >= 86400:
        whole = whole // 3600 * 3600
    elif whole >= 3600:
        whole = whole // 60 * 60
    return duration(whole) if whole else f"{number(seconds.quantize(Decimal('0.001')))}s"


def _sli(slo: Slo) -> dict[str, str]:
    sli = slo.sli
    if isinstance(sli, ExprSli):
        return {name: getattr(sli, name) for name in ("total", "bad", "good")}
    if isinstance(sli, SampleSli):
        return {
            "gauge": sli.gauge,
            "good": sli.good,
            "bad": sli.bad,
            "every": duration(sli.every),
        }
    out = {"preset": sli.preset, "side": sli.side, "histogram": "native" if sli.native else ""}
    if sli.threshold is not None:
        out["threshold"] = f"{number(sli.threshold)} ms"
    out["where"] = ", ".join(map(_matcher, sli.where))
    for name in ("total", "bad", "good"):
        out[f"events.{name}"] = " + ".join(
            f"{one.metric}{{{', '.join(map(_matcher, one.matchers))}}}" for one in getattr(sli, name)
        )
    return out


def _lines(slo: Slo) -> dict[str, str]:
    """When each alert of an SLO fires, by its name."""
    if slo.policy is None:
        return {}
    out = {}
    for line in slo.policy.windows:
        factor = slo.policy.scaled(line, slo.window.seconds)
        gate = slo.policy.gate(line, slo.window.seconds)
        sure = (
            f"of {gate.events} events or more, {gate.bad} of them bad"
            if isinstance(gate, EventGate)
            else f"{number(slo.policy.confidence)} % sure"
        )
        lasting = f" for {duration(line.for_)}" if line.for_ else ""
        out[naming.alert_name(slo, line)] = (
            f"a {line.severity} when more than {_short(factor * slo.budget * 100)} % are bad "
            f"({_short(factor)} × the budget) over {duration(line.long)} and {duration(line.short)}{lasting}, {sure}"
        )
    if slo.policy.traffic_stopped != "none":
        out[naming.stopped_alert(slo)] = f"a {slo.policy.traffic_stopped} when its traffic stays away"
    return out


def _short(value: Decimal) -> str:
    """A number to eight digits: objectives that differ give thresholds that differ."""
    return number(Context(prec=8).plus(value))


def _alerts(
    before: Mapping[str, str], after: Mapping[str, str], same: Counter[str]
) -> tuple[AlertChange, ...]:
    names = list(dict.fromkeys((*before, *after)))
    changed = [name for name in names if before.get(name) != after.get(name)]
    same["alerts"] += len(names) - len(changed)
    return tuple(AlertChange(name, before.get(name, ""), after.get(name, "")) for name in changed)


def _guardrails(old: SloSet, new: SloSet, same: Counter[str]) -> Iterator[Change]:
    before, after = ({one.preset: one for one in of.guardrails} for of in (old, new))
    alerts = [{plan.preset: _named_alerts(plan.alerts) for plan in plans(of)} for of in (old, new)]
    for preset in sorted(before.keys() | after.keys()):
        one, other = before.get(preset), after.get(preset)
        lines = tuple(_guarding(alerts[0].get(preset, {}), alerts[1].get(preset, {}), same))
        details = tuple(_details(_guarded(one) if one else {}, _guarded(other) if other else {}))
        if one is not None and other is not None and not details and not lines:
            same["guardrails"] += 1
            continue
        action: Action = "changed" if one and other else "added" if other else "removed"
        kept = other or one
        assert kept is not None
        yield Change("guardrail", action, preset, kept.owner, details if action != "removed" else (), lines)


def _guarded(item: Guardrail) -> dict[str, str]:
    limit = GUARDRAIL_PRESETS[item.preset].limit
    out = flat(replace(item, limit=None, critical=None)) | {"preset": ""}
    for name in ("limit", "critical"):
        value = getattr(item, name)
        if value is not None and limit is not None:
            shown = duration(float(value)) if limit.unit == "duration" else number(value)
            key = limit.side if name == "limit" else name
            out[key] = f"{shown} %" if limit.unit == "percent" else shown
    return {name: text for name, text in out.items() if text}


def _named_alerts(alerts: Sequence[HealthAlert]) -> dict[str, HealthAlert]:
    """Alerts by name; those that share one are told apart by severity, and a number."""
    out: dict[str, HealthAlert] = {}
    names = Counter(one.name for one in alerts)
    for one in alerts:
        name = one.name if names[one.name] == 1 else f"{one.name} ({one.severity})"
        number_, key = 1, name
        while key in out:
            number_ += 1
            key = f"{name} #{number_}"
        out[key] = one
    return out


def _guarding(
    before: Mapping[str, HealthAlert], after: Mapping[str, HealthAlert], same: Counter[str]
) -> Iterator[AlertChange]:
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name), after.get(name)
        if one is not None and other is not None and _fires(one) == _fires(other):
            same["alerts"] += 1
            continue
        texts = [_when(item) if item else "" for item in (one, other)]
        if texts[0] == texts[1]:
            texts = [f"{texts[0]}, by its former expression", f"{texts[0]}, by another expression"]
        yield AlertChange(name, *texts)


def _fires(one: HealthAlert) -> tuple[object, ...]:
    return one.expr, one.for_, one.severity, one.keep_firing_for, dict(one.labels)


def _when(one: HealthAlert) -> str:
    return f"severity {one.severity}, after {duration(one.for_)}"


def _exclusions(old: SloSet, new: SloSet) -> Iterator[Change]:
    before, after = (_keyed(of.maintenance) for of in (old, new))
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        details = tuple(_details(_excluded(one), _excluded(other)))
        if one and other and not details:
            continue
        action: Action = "changed" if one and other else "added" if other else "removed"
        note = {
            "added": "its time counts in no budget, also what is recorded of it; alerts are not silenced by it",
            "removed": "its time counts again, also what is recorded of it",
            "changed": "what is recorded of its time is judged anew",
        }[action]
        yield Change("exclusion", action, name, "", details, note=note)


def _excluded(item: object) -> dict[str, str]:
    return {
        name: text for name, text in flat(item).items() if name != "name" and (name, text) != ("seconds", "0")
    }


def _settings(old: SloSet, new: SloSet) -> Iterator[Change]:
    for name in SETTINGS:
        before, after = (flat(getattr(of, name), name) for of in (old, new))
        details = tuple(_details(before, after))
        if details:
            yield Change("setting", "changed", name, "", details)


def _objects(before: Mapping[str, str], after: Mapping[str, str], same: Counter[str]) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        if path in before and path in after:
            if before[path] == after[path]:
                same["objects"] += 1
                continue
            yield Change("object", "changed", path)
        else:
            yield Change("object", "added" if path in after else "removed", path)


def _details(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Detail]:
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name, ""), after.get(name, "")
        if one != other:
            hidden = not NOT_SHOWN.isdisjoint(name.replace("[", ".").split("."))
            shown = (HIDDEN if hidden and text else text for text in (one, other))
            yield Detail(name, *shown)


def flat(value: object, path: str = "") -> dict[str, str]:
    """All that plain data says, by the path of each leaf; what is empty is left out."""
    if value is None or value == "":
        return {}
    if is_dataclass(value) and not isinstance(value, type) and _text(value) is None:
        out: dict[str, str] = {}
        for item in fields(value):
            if item.name != "position":
                out |= flat(getattr(value, item.name), f"{path}.{item.name}" if path else item.name)
        return out
    if isinstance(value, tuple):
        return _tuple(value, path)
    return {path: str(_text(value))}


def _tuple(value: tuple[object, ...], path: str) -> dict[str, str]:
    out: dict[str, str] = {}
    if value and all(isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in value):
        for key, item in value:  # type: ignore[misc]
            out |= flat(item, f"{path}[{key}]")  # type: ignore[has-type]
    elif value and all(is_dataclass(one) and _text(one) is None for one in value):
        for key, item in _keyed(value).items():
            out |= flat(item, f"{path}[{key}]")
    elif value:
        out[path] = ", ".join(str(_text(one)) for one in value)
    return out


def _keyed(items: Sequence[object]) -> dict[str, object]:
    """Items by their names, of which several may have the same, or by their number."""
    out: dict[str, object] = {}
    for position, item in enumerate(items, 1):
        name = str(getattr(item, "name", "") or position)
        key, repeated = name, 1
        while key in out:
            repeated += 1
            key = f"{name}#{repeated}"
        out[key] = item
    return out


def _matcher(one: Matcher) -> str:
    return f'{one.label}{one.op}"{one.value}"'


def _text(value: object) -> str | None:
    """A leaf as people read it; None for what has parts."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Matcher):
        return _matcher(value)
    if is_dataclass(value):
        return None
    return str(value)
