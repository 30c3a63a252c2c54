"""Telemetry: metrics and labels that SLOs read and that are switched off, and traces too few to see retries in."""

from __future__ import annotations

from collections.abc import Iterator

from sloctl.mesh.objects import Object, at, items, real, text
from sloctl.mesh.world import Mesh
from sloctl.model.durations import number
from sloctl.promql.catalogue import METRICS
from sloctl.spec.yaml.tree import Node
from sloctl.spec.yaml.wording import shown

READ = {
    "REQUEST_COUNT": "istio_requests_total",
    "REQUEST_DURATION": "istio_request_duration_milliseconds_bucket",
    "TCP_OPENED_CONNECTIONS": "istio_tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "istio_tcp_connections_closed_total",
}
"""Metrics of the Telemetry API that SLOs and guardrails read, by what Prometheus calls them."""
_SLOS = ("REQUEST_COUNT", "REQUEST_DURATION")
FEW = 1.0
"""Percent of the requests: so few traces, or fewer, seldom have a retry in them."""


def check(mesh: Mesh) -> None:
    """Find what SLOs would not see."""
    for item in mesh.kind("Telemetry"):
        for entry in items(item.spec, "metrics"):
            providers = [text(provider, "name") for provider in items(entry, "providers")]
            if not providers or "prometheus" in providers:
                _metrics(mesh, item, entry)
                _labels(mesh, item, entry)
            else:
                mesh.doubt("what Telemetry changes in providers other than prometheus")
        for entry in items(item.spec, "tracing"):
            _sampling(mesh, item, at(entry, "randomSamplingPercentage"))
            if text(entry, "disableSpanReporting") == "true":
                said = "no spans are reported: retries cannot be counted in traces"
                node = entry.entries["disableSpanReporting"]
                mesh.find(
                    item, node, "sampling-hides-retries", "warning", said, "remove it where retries matter"
                )
    for item in mesh.kind("MeshConfig"):
        _sampling(mesh, item, at(item.node, "defaultConfig", "tracing", "sampling"))


def _overrides(entry: Node) -> Iterator[tuple[Node, str, str]]:
    """Overrides of an entry, with the metric and the side that each is for."""
    for override in items(entry, "overrides"):
        metric = text(override, "match", "metric") or "ALL_METRICS"
        yield override, metric, text(override, "match", "mode") or "CLIENT_AND_SERVER"


def _metrics(mesh: Mesh, item: Object, entry: Node) -> None:
    off: dict[tuple[str, str], Node] = {}
    for override, metric, mode in _overrides(entry):
        disabled = at(override, "disabled")
        for name in READ if metric == "ALL_METRICS" else (metric,):
            for side in ("CLIENT", "SERVER") if mode == "CLIENT_AND_SERVER" else (mode,):
                if disabled is not None and disabled.text == "true":
                    off[name, side] = disabled
                elif disabled is not None:
                    off.pop((name, side), None)
    told: dict[int, tuple[Node, dict[str, set[str]]]] = {}
    for (name, side), node in off.items():
        if name in READ:
            told.setdefault(id(node), (node, {}))[1].setdefault(name, set()).add(side)
    for node, names in told.values():
        slos = [name for name in names if name in _SLOS]
        sides = set().union(*names.values())
        where = "" if len(sides) == 2 else f" of the {'caller' if sides == {'CLIENT'} else 'service'}'s side"
        metrics = ", ".join(READ[name] for name in (slos or names))
        said = (
            f"{metrics}{where} {'is' if len(slos or names) == 1 else 'are'} switched off: "
            f"{'SLOs have' if slos else 'guardrails have'} no data"
        )
        hint = "write an override after it with  disabled: false, for what is read"
        mesh.find(item, node, "telemetry-metric-off", "error" if slos else "note", said, hint)


def _labels(mesh: Mesh, item: Object, entry: Node) -> None:
    for override, metric, _ in _overrides(entry):
        overrides = at(override, "tagOverrides")
        read = {
            label
            for name, series in READ.items()
            if metric in ("ALL_METRICS", name)
            for label in METRICS[series].labels
        }
        for label, change in (overrides.entries if overrides else {}).items():
            if label not in read:
                continue
            removed = text(change, "operation") == "REMOVE"
            if not removed and not text(change, "value"):
                continue
            what = "is removed" if removed else "gets another value"
            said = f"the label {shown(label)} {what}: SLOs read it, and count wrongly or not at all"
            hint = "keep it as it is, and add a label of another name" if not removed else "keep it"
            assert overrides is not None
            mesh.find(item, overrides.keys[label], "telemetry-label-changed", "error", said, hint)


def _sampling(mesh: Mesh, item: Object, node: Node | None) -> None:
    share = real(node) if node is not None else None
    if node is None or share is None or share > FEW:
        return
    if share == 0:
        said, severity = "no request is traced: retries cannot be counted in traces", "warning"
    else:
        said = (
            f"{number(share)} % of the requests are traced: the retries of a service with few requests "
            "are seldom among them"
        )
        severity = "note" if share == FEW else "warning"
    hint = "count retries by metrics (guardrail retry-amplification), or trace 5 % or more"
    mesh.find(
        item, node, "sampling-hides-retries", "warning" if severity == "warning" else "note", said, hint
    )
