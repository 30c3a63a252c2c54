"""Definitions that differ in their scope alone, asked about together.

Whether a counter is new shows by the targets of the whole mesh: that is most of what a query of raw counters costs, and
costs the same for one service and for a thousand. An :class:`Alike` is read as a definition is, and counts what each of
its members counts by itself: what its expressions take together, they keep apart by the labels that tell members apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from sloctl.model import CounterSli, Slo

Place = tuple[str, str]
"""Namespace and service; the service of all is ``*``."""


@dataclass(frozen=True, slots=True)
class Alike(Slo):
    """Several definitions of one shape and of scopes that have nothing in common; otherwise it is as the first."""

    members: tuple[Slo, ...] = ()


def shape(slo: Slo) -> object | None:
    """What definitions have in common that can be asked about together; None if this one can with no other."""
    if not isinstance(slo.sli, CounterSli) or not (slo.namespace + slo.service).isprintable():
        return None
    if slo.wildcard and not slo.namespace:
        return None
    return slo.sli, slo.wildcard, bool(slo.namespace), slo.overridden


def place(slo: Slo) -> Place:
    """Whose events a definition counts."""
    return slo.namespace, slo.service


def as_one(slos: Sequence[Slo]) -> Slo:
    """Definitions of one shape and of different places as one: by itself, each is as it is."""
    if len(slos) == 1:
        return slos[0]
    first = {item.name: getattr(slos[0], item.name) for item in fields(Slo)}
    return Alike(**first, members=tuple(slos))


def members(slo: Slo) -> tuple[Slo, ...]:
    """The definitions that one stands for."""
    return slo.members if isinstance(slo, Alike) else (slo,)


def told_apart(slo: Slo) -> tuple[str, ...]:
    """The labels of raw series by which members of an :class:`Alike` are told apart."""
    if not isinstance(slo, Alike):
        return ()
    assert isinstance(slo.sli, CounterSli)
    namespace = (slo.sli.namespace_label,) if slo.namespace else ()
    return namespace if slo.wildcard else (*namespace, slo.sli.service_label)


def by_shape(slos: Iterable[Slo]) -> list[tuple[Slo, ...]]:
    """Definitions that can be asked about together, in the order of the first of them; none of one place twice."""
    found: dict[object, dict[Place, Slo]] = {}
    alone: list[tuple[Slo, ...]] = []
    for slo in slos:
        key = shape(slo)
        if key is None:
            alone.append((slo,))
        else:
            found.setdefault(key, {}).setdefault(place(slo), slo)
    return [*(tuple(group.values()) for group in found.values()), *alone]
