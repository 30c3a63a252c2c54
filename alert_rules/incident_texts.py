"""What an alert says of the incident while it fires: Go templates that ask Prometheus (or vmalert) at each evaluation.

They use only what text/template, Prometheus's templates and vmalert's have in common: ``query``, ``first``, ``value``,
``label``, ``humanize…``, ``reReplaceAll``, ``printf``, ``urlquery``. Each is an annotation of its own, so that a query
that fails leaves the summary and the description readable. :class:`Said` and :func:`now_as_filled` say the same with
numbers, for the proofs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

from sloctl import naming
from sloctl.model import BurnWindow, CounterSli, RollingWindow, Slo, SloSet, Sources, links
from sloctl.model.durations import duration, number
from sloctl.promql import incident

NO_CAUSE = "No cause is recorded yet."
_SERVICE = "the service of the alert"
"""What stands for the service in an expression until :func:`asked` has it filled in."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the queries of :func:`now` give: shares, events a second, Unix seconds, seconds; None for nothing."""

    share: float | None
    per_second: float
    since: float | None
    left: float | None
    lasts: float | None


def asked(expr: str, slo: Slo) -> str:
    """The call of a template that asks for an expression; a hostile service's name stays one string in it."""
    if not slo.wildcard:
        return f"query {json.dumps(expr, ensure_ascii=False)}"
    text = expr.replace("%", "%%").replace(f'"{_SERVICE}"', "%[1]q")
    return f"query (printf {json.dumps(text, ensure_ascii=False)} $labels.service)"


def _events(slo: Slo) -> tuple[str, str]:
    """What bad events are called, and what is wrong with them."""
    if not isinstance(slo.sli, CounterSli):
        return "events", "were bad"
    if slo.sli.threshold is not None:
        return "requests", f"took longer than {number(slo.sli.threshold)} ms"
    return "requests", "failed"


def _never(window: BurnWindow) -> str:
    return f"throughout the last {duration(window.long)}, as far as it is recorded"


def now(slo: Slo, window: BurnWindow, factor: Decimal) -> str:
    """How much fails now, since when, what is left of the budget, and how long it lasts."""

    def shown(expr: str, function: str, before: str, after: str = "", otherwise: str = "") -> str:
        value = f"{{{{ . | first | value | {function} }}}}"
        rest = f"{{{{ else }}}}{otherwise}" if otherwise else ""
        return f"{{{{ with {asked(expr, slo)} }}}}{before}{value}{after}{rest}{{{{ end }}}}"

    events, bad = _events(slo)
    recent = f"in the last {duration(incident.NOW)}"
    second = shown(incident.per_second(slo, _SERVICE), "humanize", ", ", " per second")
    text = shown(
        incident.share(slo, _SERVICE),
        "humanizePercentage",
        "",
        f" of {events} {bad} {recent}{second}",
        f"No {events} {recent}",
    )
    since = incident.since(slo, _SERVICE, window, factor)
    text += f". Burning this fast {shown(since, 'humanizeTimestamp', 'since ', '', _never(window))}."
    if isinstance(slo.window, RollingWindow):
        lasts = shown(
            incident.lasts(slo, _SERVICE, window), "humanizeDuration", ", gone in ", " at this rate"
        )
        left = incident.left(slo, _SERVICE)
        text += shown(left, "humanizePercentage", " Error budget left: ", f"{lasts}.")
    return text


def now_as_filled(slo: Slo, window: BurnWindow, said: Said) -> str:
    """The text of :func:`now` with its numbers."""
    events, bad = _events(slo)
    recent = f"in the last {duration(incident.NOW)}"
    if said.share is None:
        text = f"No {events} {recent}"
    else:
        failing = f"{_percentage(said.share)} of {events} {bad} {recent}"
        text = f"{failing}, {_humanized(said.per_second)} per second"
    since = _never(window) if said.since is None else f"since {_timestamp(said.since)}"
    text += f". Burning this fast {since}."
    if said.left is not None:
        gone = "" if said.lasts is None else f", gone in {_lasting(said.lasts)} at this rate"
        text += f" Error budget left: {_percentage(said.left)}{gone}."
    return text


_CAUSES = (
    ("response_code", "response code "),
    ("response_flags", "flags "),
    ("grpc_response_status", "gRPC status "),
    ("destination_version", "version "),
)


def _ends(sli: CounterSli) -> tuple[str, tuple[str, str]]:
    if naming.family(sli) == "gateway_requests":
        return "calling", naming.CALLED
    return "called by", naming.CALLERS


def cause(slo: Slo) -> str:
    """The most frequent cause; "" where none are recorded."""
    if not isinstance(slo.sli, CounterSli):
        return ""
    verb, (namespace, name) = _ends(slo.sli)
    told = "".join(
        f'{{{{ with label "{label}" . }}}}{{{{ if ne . "-" }}}}, {words}{{{{ . }}}}{{{{ end }}}}{{{{ end }}}}'
        for label, words in _CAUSES
    )
    ends = (
        f'{{{{ if label "{name}" . }}}}, {verb} {{{{ label "{namespace}" . }}}}/{{{{ label "{name}" . }}}}'
        "{{ end }}"
    )
    most = f"{{{{ . | value | humanize }}}} times in the last {duration(incident.RECENT)}"
    return (
        f"{{{{ with {asked(incident.cause(slo, _SERVICE), slo)} }}}}{{{{ with first . }}}}Most of it: {most}{told}"
        f"{ends}{{{{ end }}}}{{{{ else }}}}{NO_CAUSE}{{{{ end }}}}"
    )


def cause_as_filled(slo: Slo, labels: Mapping[str, str], events: float) -> str:
    """The text of :func:`cause` for events with some labels; none without events."""
    if not events:
        return NO_CAUSE
    assert isinstance(slo.sli, CounterSli)
    verb, (namespace, name) = _ends(slo.sli)
    told = "".join(f", {words}{labels[label]}" for label, words in _CAUSES if labels.get(label, "-") != "-")
    if labels.get(name):
        told += f", {verb} {labels.get(namespace, '')}/{labels[name]}"
    return f"Most of it: {_humanized(events)} times in the last {duration(incident.RECENT)}{told}"


def plain_label(label: str) -> str:
    """A label without what is odd in a name, for where nothing can be escaped: queries in links, commands to paste."""
    return f"{{{{ $labels.{label} | reReplaceAll `[^-._a-zA-Z0-9]` `` }}}}"


def escaped_label(label: str) -> str:
    """A label as a path and a query of a link have it, whatever it holds."""
    return f"{{{{ $labels.{label} | urlquery | reReplaceAll `[+]` `%20` }}}}"


def plain(service: str) -> str:
    """What :func:`plain_label` makes of a name."""
    return re.sub(r"[^-._a-zA-Z0-9]", "", service)


def moment(expr: str) -> str:
    """A number of a link, such as milliseconds of Unix time."""
    return f'{{{{ query "{expr}" | first | value | printf "%.0f" }}}}'


def traces_link(sources: Sources, slo: Slo, window: BurnWindow) -> str:
    """Where failing or slow traces of the service around the incident are; "" where the file does not say."""
    service = plain_label("service") if slo.wildcard else quote(slo.service, safe="")
    return links.traces(sources, slo, service, moment(incident.began(window.long)), moment("time() * 1000"))


def explain_link(slo_set: SloSet, slo: Slo, window: BurnWindow) -> str:
    """The live page that explains the alert, as of when it was last seen; "" where the file does not say."""
    service = escaped_label("service") if slo.wildcard else quote(slo.service, safe="")
    return links.explanation(slo_set, slo, service, moment("time()"), long=window.long > 3600)


def _percentage(value: float) -> str:
    return f"{value * 100:.4g}%"


def _humanized(value: float) -> str:
    """As the function ``humanize`` of Prometheus writes a number that is 0 or at least 1, or an SI fraction."""
    prefix = ""
    if abs(value) >= 1:
        for letter in "kMGTPEZY":
            if abs(value) < 1000:
                break
            prefix, value = letter, value / 1000
    elif value:
        for letter in "munpfazy":
            if abs(value) >= 1:
                break
            prefix, value = letter, value * 1000
    return f"{value:.4g}{prefix}"


def _timestamp(seconds: float) -> str:
    """As ``humanizeTimestamp`` writes whole seconds of the time since 1970 that proofs take."""
    days, rest = divmod(int(seconds), 86400)
    return f"1970-01-{days + 1:02} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02} +0000 UTC"


def _lasting(seconds: float) -> str:
    """As ``humanizeDuration`` writes a time of a second or more."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return f"{seconds:.4g}s" if len(parts) == 1 else " ".join(f"{count}{unit}" for count, unit in parts)
