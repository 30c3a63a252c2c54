"""What a silence may be asked for: which alerts, for how long, and nothing that mutes more than was meant.

Pure checks of texts against the SLO file, as ``UsageError`` with what to write instead. This module must not
know where silences are stored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from sloctl import naming
from sloctl.backends.silences import valid_id
from sloctl.errors import UsageError
from sloctl.model import Matcher, Slo, SloSet
from sloctl.model.durations import duration, parse_duration
from sloctl.naming import WATCHDOG

LONGEST = SloSet("", ()).longest_silence
"""Seconds: the longest silence where no SLO file states one."""
_LABELS = {
    "service": naming.SERVICE,
    "namespace": naming.NAMESPACE,
    "alert": "alertname",
    "slo": naming.SLO,
}
_PATTERN = re.compile(r"[*+?|()\[\]{}^$\\]")
_WILDCARD_HOST = re.compile(r"^\*\.(?=[a-z0-9])")
"""How the name of a ServiceEntry's wildcard host begins: the service is called so, and matched as it is."""
_LENGTHS = {"--comment": 500, "--author": 100}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which alerts: what is empty does not matter, all that is given must hold."""

    service: str = ""
    namespace: str = ""
    alert: str = ""
    slo: str = ""


def matchers(scope: Scope, slo_set: SloSet | None) -> list[Matcher]:
    """The matchers of a scope, within a set if there is one.

    Raises ``UsageError`` for what would mute everything or the watchdog, for patterns, and for names that the
    set does not know.
    """
    given = {field.name: getattr(scope, field.name) for field in fields(scope)}
    given = {name: value for name, value in given.items() if value}
    if not given:
        raise UsageError(
            "a silence without a scope would mute everything",
            hint="give --service, --namespace, --slo or --alert",
        )
    for name, value in given.items():
        _check_value(f"--{name}", value)
    if scope.alert.lower() == WATCHDOG.lower():
        raise UsageError(
            f"--alert: {WATCHDOG} is the alert that shows that alerting works; it cannot be silenced",
            hint="stop who waits for it, if it must be silent",
        )
    if slo_set is not None:
        _check_known(scope, slo_set)
    found = [Matcher(_LABELS[name], "=", value) for name, value in given.items()]
    return [Matcher(naming.SLO_SET, "=", slo_set.name), *found] if slo_set else found


def places(scope: Scope, slo_set: SloSet) -> list[str]:
    """The namespaces of a service that is given without one."""
    if not scope.service or scope.namespace:
        return []
    return sorted({slo.namespace for slo in slo_set.slos if slo.service == scope.service and slo.namespace})


def length(text: str, longest: int) -> int:
    """Seconds of a duration; raises ``UsageError`` unless it is one, over zero and at most ``longest``."""
    seconds = parse_duration(text)
    if seconds is None:
        raise UsageError(f"--for: {text!r} is not a duration", hint="write it like 30m or 1h30m")
    if seconds == 0:
        raise UsageError("--for: a silence of no length", hint="write it like 30m or 1h30m")
    if seconds > longest:
        raise UsageError(
            f"--for: {text} is longer than a silence may be, {duration(longest)}",
            hint="notifications.longest_silence in the SLO file allows more",
        )
    return seconds


def line(option: str, text: str) -> str:
    """A text as one line, cut where it is too long; raises ``UsageError`` if nothing is left."""
    limit = _LENGTHS[option]
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if not words:
        raise UsageError(f"{option} is empty", hint="say who deploys what: others will read it")
    return words if len(words) <= limit else words[: limit - 1] + "…"


def deploy_id(text: str | None) -> str:
    """A deploy id, or an empty text for None; raises ``UsageError`` for what cannot be one."""
    if text is None or valid_id(text):
        return text or ""
    if not text.strip():
        raise UsageError("--deploy-id is empty", hint="a variable of the job may be empty")
    raise UsageError(
        f"--deploy-id: {text[:140]!r} is not a deploy id",
        hint="at most 128 letters, digits and . _ : / @ # + = ~ - , beginning with a letter or digit",
    )


def _check_value(option: str, value: str) -> None:
    if not value.strip() or value != value.strip():
        raise UsageError(f"{option}: {value!r} is not a name", hint="a variable of the job may be empty")
    if not value.isprintable() or len(value) > 253:
        raise UsageError(f"{option}: {value[:40]!r} is not a name")
    name = _WILDCARD_HOST.sub("", value, count=1) if option == "--service" else value
    if _PATTERN.search(name):
        raise UsageError(
            f"{option}: {value!r} is a pattern, and a silence matches exact names only",
            hint="for all services of a namespace give --namespace alone",
        )


def _check_known(scope: Scope, slo_set: SloSet) -> None:
    """Each name in turn, among the SLOs that the ones before have left."""
    left: Iterable[Slo] = slo_set.slos
    watched = {name for guardrail in slo_set.guardrails for name in guardrail.namespaces}
    targets = {name for guardrail in slo_set.guardrails for name in guardrail.gateways}
    targets |= {name for guardrail in slo_set.guardrails for name, _ in guardrail.versions}
    by_name: dict[str, Callable[[Slo, str], bool]] = {
        "namespace": lambda slo, name: slo.namespace == name,
        "service": lambda slo, name: slo.wildcard or slo.service == name,
        "slo": lambda slo, name: slo.name == name,
    }
    beside = {"namespace": watched, "service": targets, "slo": set[str]()}
    where = ""
    for name, fits in by_name.items():
        value: str = getattr(scope, name)
        if not value:
            continue
        before = list(left)
        left = [slo for slo in before if fits(slo, value)]
        if not left and value not in beside[name]:
            known = {getattr(slo, "name" if name == "slo" else name) for slo in before} | beside[name]
            raise UsageError(
                f"--{name}: the SLO file has no {'SLO' if name == 'slo' else name} {value!r}{where}",
                hint=_nearest(value, known - {"", "*"}),
            )
        if not left:
            return  # A guardrail's name: no SLO can tell more.
        where += f" {'in' if name == 'namespace' else 'of'} {value}"


def _nearest(value: str, known: set[str]) -> str:
    near = difflib.get_close_matches(value, sorted(known), n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    names = sorted(known)
    return f"it has {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else ""
