"""How counters are scraped: pods that two targets expose, whose events count twice, and targets without ``up``.

It must not know how events are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sloctl.model import CounterSli, ExprSli, Mesh, SloSet
from sloctl.promql.catalogue import METRICS
from sloctl.promql.counting import range_calls
from sloctl.promql.presets import REQUESTS
from sloctl.promql.syntax import indent, names, quote, selector, together

POD = "sloctl_scraped"
"""What is scraped: the address of its target without the port or, where that is a name, the pod."""
PORT = "sloctl_port"
TELLING = (PORT, "job")
"""What may tell the targets of one pod apart."""
_ADDRESS = r"([0-9]+(?:[.][0-9]+){3}|\[[0-9a-fA-F:.]+\]):[0-9]+"


def counted_by(slo_set: SloSet) -> dict[str, Sequence[str]]:
    """Selectors of what a set's SLOs and guardrails count events by, each with the labels that are the metric's own.

    None are known of a user's metric. One of Istio's stands for all, for a target that has one has all.
    """
    found: dict[str, Sequence[str]] = {}
    parts = [slo.sli.total[0] for slo in slo_set.slos if isinstance(slo.sli, CounterSli)]
    metrics = {part.metric for part in parts} or ({REQUESTS} if slo_set.guardrails else set())
    if metrics:
        metric = REQUESTS if REQUESTS in metrics else min(metrics)
        bounds = [m for part in parts for m in part.matchers if part.metric == metric and m.label == "le"]
        own = [label for label in METRICS[metric].labels if label != "le"]
        found[selector(metric, (*bounds[:1], *slo_set.mesh.matchers))] = own
    for slo in slo_set.slos:
        if isinstance(slo.sli, ExprSli):
            found |= {series: () for _, series in range_calls(slo.sli.total)[0]}
    return found


def _by(labels: Iterable[str], *, own: Sequence[str]) -> str:
    """``by`` the labels, or ``without`` them where a metric's own are not known."""
    return f"{'by' if own else 'without'} ({names(dict.fromkeys(labels))})"


def _targets(series: str, own: Sequence[str], mesh: Mesh) -> tuple[str, list[str]]:
    """Each counter of each target, and what makes two of them one: their own labels, and what is scraped.

    Without own labels these are the labels that do not.
    """
    text = f'label_replace({series}, "{POD}", "$1", "pod", "(.+)")'
    text = f'label_replace({text}, "{POD}", "$1", "instance", {quote(_ADDRESS)})'
    if not own:
        return text, ["job", "instance", "pod", *mesh.target_labels]
    several = (m.label for m in mesh.matchers if m.op != "=" and m.label not in ("job", "instance", "pod"))
    same = [*own, *several, POD]
    return f"group {_by((*same, 'job', 'instance', 'pod'), own=own)} ({text})", same


def _twice(series: str, own: Sequence[str], mesh: Mesh) -> str:
    """The counters that two targets of a pod expose, once. At one address there may be pods of several names."""
    targets, same = _targets(series, own, mesh)
    labels = [*same, "pod"] if own else [label for label in same if label != "pod"]
    pods = f"group {_by(labels, own=own)} ({targets}) unless on (pod) vector(1)"
    by = _by(same, own=own)
    return f"(count {by} ({targets}) > 1) unless (count {by} ({pods}) > 1) unless on ({POD}) vector(1)"


def scraping(slo_set: SloSet) -> str:
    """Of each of :func:`counted_by`, by its number: ``twice``, pods that two targets expose; ``targets``; ``no up``,
    the targets of these that have no ``up``. Missing where there are none."""
    mesh = slo_set.mesh
    parts: dict[str, str] = {}
    on, up = names(mesh.target_labels), selector("up", mesh.matchers)
    for number, (series, own) in enumerate(counted_by(slo_set).items()):
        targets = f"group by ({on}) ({series})"
        parts |= {
            f"twice {number}": f"count(group by ({POD}) ({_twice(series, own, mesh)}))",
            f"targets {number}": f"count({targets})",
            f"no up {number}": f"count({targets} unless on ({on}) {up})",
        }
    return together(parts)


def scraped_twice(series: str, own: Sequence[str], mesh: Mesh) -> str:
    """What tells the targets of pods apart that are scraped twice, as numbers of pods.

    ``pods`` is all that expose the counter, ``examples`` the names of some that are scraped twice; for each of
    :data:`TELLING`, ``all …`` and ``twice …`` are pods by its values, and ``up …`` all targets.
    """
    targets, same = _targets(series, own, mesh)
    on = f"{'on' if own else 'ignoring'} ({names(dict.fromkeys(same))})"
    twice = f"{targets}\nand {on}\n  ({_twice(series, own, mesh)})"
    everything = f"{targets}\nunless on ({POD}) vector(1)"

    def ported(text: str) -> str:
        return f'label_replace(\n{indent(text)},\n  "{PORT}", "$1", "instance", ".*:([0-9]+)"\n)'

    def number(text: str, label: str) -> str:
        return f"count by ({label}) (\n{indent(text)}\n)"

    examples = f"group by (pod, {POD}) (\n{indent(twice)}\n)"
    parts = {
        "pods": f"count(group by ({POD}) (\n{indent(everything)}\n))",
        "examples": f"topk(3,\n{examples}\nunless on (pod) vector(1)\nor on ({POD})\n{examples})",
    }
    for label in TELLING:
        for name, text in (("all", everything), ("twice", twice)):
            pods = f"group by ({POD}, {label}) (\n{indent(ported(text))}\n)"
            parts[f"{name} {label}"] = number(pods, label)
        parts[f"up {label}"] = number(ported(selector("up", mesh.matchers)), label)
    return together(parts)
