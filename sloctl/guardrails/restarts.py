"""M7 and F3: restarts of proxies, by workload and reason, as kube-state-metrics 1.x and 2.x count them.

Rules count them by the minute, jobs and reports over a whole window, by one definition: the restarts of a window are
what a pod's count gained since it was last told before the window, up to :data:`MEMORY` earlier. So the restarts of
adjoining windows add up, and what a count gained in a gap counts when it is told again. The pieces:

- Who tells a count does not matter: of replicas of kube-state-metrics the highest count holds, shards tell different
  pods, and an upgrade changes their addresses and labels.
- A pod is known by its namespace and name, and by the labels with which ``mesh.matchers`` lets in several clusters. Its
  ``uid`` tells pods of one name apart that follow each other (of a StatefulSet): each begins at zero. A uid that an
  upgrade adds or takes away makes no new pod: then the count goes on.
- A count below what was told before is another pod of that name, which begins at zero.
- A pod that was not known counts from zero if kube-state-metrics told of proxies before, and the pod's start
  (``kube_pod_start_time``) is within memory; where nobody tells its start, if it was the same target that told of
  proxies before, for it would have told of this one.
- Else it counts from the least that was told in the window, for nobody can say how many restarts are new:
  kube-state-metrics is. (When it starts it may answer at first without some pods.)

All of this is a lower bound. It is exact unless pods of one name follow each other without a uid more than once in a
window, or take over a count that is no higher than their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import RecordedQueries, in_set, raw_signal, selected, signal
from sloctl.guardrails.shared.workloads import (
    BY_WORKLOAD,
    CONTAINER,
    FAMILIES,
    POD,
    WORKLOAD,
    named,
    pod_labels,
    series,
)
from sloctl.model import GRID, LOOKBACK, TILE, Guardrail, Matcher, SloSet
from sloctl.model.durations import duration, number
from sloctl.promql.counting import POD_START

RESTARTS = "status_restarts_total"
REASON = "status_last_terminated_reason"
OUT_OF_MEMORY = "OOMKilled"
UNKNOWN = "unknown"
DAY = 86400
MEMORY = 6 * 3600
"""Seconds before a window within which a pod's count is remembered."""
FEWEST = 3
"""Restarts that make a rate, or a crash loop: one restarted pod calls nobody."""
CRASH_WINDOW = 900


def _each(function: str, selectors: Sequence[str], past: str) -> str:
    return " or ".join(f"{function}({selector}{past})" for selector in selectors)


def _past(seconds: int, offset: int = 0) -> str:
    return f"[{duration(seconds)}]" + (f" offset {duration(offset)}" if offset else "")


def known(slo_set: SloSet, guardrail: Guardrail, window: int) -> str:
    """What was last told before the last ``window`` seconds, by pod and ``uid``: at best within the last minutes.

    A replica that is gone for longer may have told of a pod whose name another one has by now.
    """
    by, found = promql.names((*pod_labels(slo_set), "uid")), series(slo_set, guardrail, RESTARTS)
    lately, once = (_each("last_over_time", found, _past(reach, window)) for reach in (LOOKBACK, MEMORY))
    return f"max by ({by}) ({lately})\nor\nmax by ({by}) ({once})"


def increase(slo_set: SloSet, guardrail: Guardrail, window: int, before: str = "") -> str:
    """Restarts in the last ``window`` seconds by pod (:func:`pod_labels`): 0 for a pod without any.

    ``before`` is what :func:`known` says, if that is recorded.
    """
    pod = promql.names(pod_labels(slo_set))
    by, past = f"by ({pod}, uid)", _past(window)
    found = series(slo_set, guardrail, RESTARTS)
    nameless = series(slo_set, guardrail, RESTARTS, Matcher("uid", "=", ""))
    before = before or f"(\n{promql.indent(known(slo_set, guardrail, window))}\n)"
    peak = f"max {by} ({_each('max_over_time', found, past)})"
    least = f"min {by} ({_each('min_over_time', found, past)})"
    now = f"max {by} ({_each('last_over_time', nameless, _past(min(window, LOOKBACK)))})"
    if window > LOOKBACK:
        now = f"({now}\n  or max {by} ({_each('last_over_time', nameless, past)}))"
    # Replicas may lag behind each other: a count has fallen if it is below the lowest that anybody told.
    lowest = f"min {by} ({_each('last_over_time', nameless, _past(LOOKBACK, window))})"
    fallen = (
        f"({now}\n  < ({lowest}\n    or {before}))\n"
        f"or\n({now}\n  and max {by} ({_each('resets', nameless, past)}) > 0)"
    )
    of_name = f"on ({pod}) group_left ()\n    max by ({pod}) ({before})"
    base = (
        f"{before}\n"
        f"or\n"
        f"({least}\n  >= bool {of_name})\n  * {of_name}\n"
        f"or\n"
        f"0 * {least}\n  and (\n{promql.indent(_new(slo_set, guardrail, window), 4)}\n  )\n"
        f"or\n"
        f"{least}"
    )
    gained = (
        f"(\n{promql.indent(fallen)}\n)\n"
        f"+ (\n"
        f"  clamp_min({peak}\n    - {before}, 0)\n"
        f"  * ({peak}\n    > bool {now})\n"
        f"  or\n  0 * {now}\n)\n"
        f"or\n"
        f"clamp_min({peak}\n  - (\n{promql.indent(base, 4)}\n  ), 0)"
    )
    # Where some tell a uid and others do not, both count the same restarts.
    told = f'label_replace(\n{promql.indent(gained)},\n  "told", "uid", "uid", ".+"\n)'
    return f"max by ({pod}) (sum by ({pod}, told) ({told}))"


def _new(slo_set: SloSet, guardrail: Guardrail, window: int) -> str:
    """The pods of the last ``window`` seconds, by pod and ``uid``, that began within memory if nobody knew them before.

    While kube-state-metrics itself is new, none is.
    """
    pod = pod_labels(slo_set)
    cluster = pod[: -len(POD)]
    target = dict.fromkeys((*cluster, *(x for x in slo_set.mesh.target_labels if x not in (*POD, "uid"))))
    by, on = f"by ({promql.names(pod)}, uid)", f"on ({promql.names(pod)})"
    anywhere = series(slo_set, Guardrail(guardrail.preset), RESTARTS)
    found = _each("last_over_time", series(slo_set, guardrail, RESTARTS), _past(window))
    memory = f"[{duration(MEMORY)}:{duration(GRID)}] offset {duration(window + LOOKBACK)}"
    told = _each("last_over_time", anywhere, memory)
    started = f"last_over_time({selected(slo_set, POD_START)}[{duration(window)}:{step(window, 144)}])"
    since = f"time() - {number(window + MEMORY)}"
    return (
        f"(group {by} (({found})\n  and on ({promql.names(target)}) ({told}))\n"
        f"  unless {on} {started} <= {since})\n"
        f"or (group {by} ({found})\n"
        f"  and {on} {started} > {since}\n"
        f"  and on ({promql.names(cluster)}) ({told}))"
    )


def by_reason(slo_set: SloSet, guardrail: Guardrail, window: int, before: str = "") -> str:
    """Restarts in the last ``window`` seconds by ``namespace``, ``workload``, ``pod`` and ``reason``, where there are
    any.

    All restarts of a container in the window have the reason of its last one. ``before``: see :func:`increase`.
    """
    counted = f"(\n{promql.indent(increase(slo_set, guardrail, window, before))}\n) > 0"
    reasons = _reasons(slo_set, guardrail, window)
    pod = promql.names(pod_labels(slo_set))
    text = f"(\n{promql.indent(counted)}\n)\n* on ({pod}) group_left (reason)\n{reasons}"
    return f"sum by (namespace, {WORKLOAD}, pod, reason) (\n{promql.indent(named(text))}\n)"


def _reasons(slo_set: SloSet, guardrail: Guardrail, window: int) -> str:
    """1 for each container with the reason of its last end, which is one even where replicas disagree: the freshest,
    and of two alike the lack of memory."""
    w, pod = duration(window), promql.names(pod_labels(slo_set))

    def latest(selector: str) -> str:
        text = f"timestamp({selector}) and {selector} == 1"
        return f"({text})" if window <= TILE else f"max_over_time(({text})[{w}:{step(window, 288)}])"

    memory = series(slo_set, guardrail, REASON, Matcher("reason", "=", OUT_OF_MEMORY))
    found = series(slo_set, guardrail, REASON)
    ranked = [f"0.5 + {latest(selector)}" for selector in memory]
    ranked += [latest(selector) for selector in found]
    ranked += [f"(last_over_time({selector}[{w}]) == 1)" for selector in found]  # of pods that are gone
    either = "\nor\n".join(ranked)
    containers = " or ".join(
        f"last_over_time({selector}[{w}])" for selector in series(slo_set, guardrail, RESTARTS)
    )
    nameless = f'label_replace(group by ({pod}) ({containers}), "reason", "{UNKNOWN}", "", "")'
    one = f"topk by ({pod}) (1, max by ({pod}, reason) (\n{promql.indent(either)}\n))"
    return f"group by ({pod}, reason) (\n{promql.indent(one)}\n  or on ({pod})\n  {nameless}\n)"


def pods(slo_set: SloSet, guardrail: Guardrail) -> str:
    """Pods with a proxy now, by ``namespace`` and ``workload``."""
    found = " or ".join(series(slo_set, guardrail, RESTARTS))
    text = named(f"group by ({promql.names(pod_labels(slo_set))}) ({found})")
    return f"count by ({', '.join(BY_WORKLOAD)}) (\n{promql.indent(text)}\n)"


def mean_pods(slo_set: SloSet, guardrail: Guardrail, window: int) -> str:
    """The mean number of pods in the last ``window`` seconds, while there were any, by namespace and workload."""
    past = f"[{duration(window)}:{step(window, 144)}]"
    return f"avg_over_time((\n{promql.indent(pods(slo_set, guardrail))}\n){past})"


def step(window: int, parts: int) -> str:
    """A subquery's step that cuts a window in at most some parts, of whole minutes."""
    return duration(max(TILE, -(-window // parts // TILE) * TILE))


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``sidecar-restarts``."""
    by, day = ", ".join(BY_WORKLOAD), promql.milliseconds(DAY)
    told_by = promql.names((*pod_labels(slo_set), "uid"))
    before = raw_signal("pod:sidecar_restarts:known", known(slo_set, guardrail, TILE))
    each = signal(
        slo_set,
        "pod:sidecar_restarts:increase1m",
        lambda q: by_reason(slo_set, guardrail, TILE, f"max by ({told_by}) ({q.read(before)})"),
    )
    workload = signal(
        slo_set,
        "workload:sidecar_restarts:increase1m",
        lambda q: f"sum by ({by}, reason) ({q.read(each)})",
    )
    count = raw_signal("workload:sidecar_pods:count", pods(slo_set, guardrail))
    all_pods = signal(slo_set, "mesh:sidecar_pods:count", lambda q: f"sum({q.read(count)})")
    mesh = signal(
        slo_set,
        "mesh:sidecar_restarts:increase1m",
        lambda q: f"sum({q.read(workload)}) or sum({q.read(all_pods)}) * 0",
    )

    def past(of: Signal, window: str, *matchers: Matcher) -> str:
        return f"{promql.selector(of.record, (*in_set(slo_set), *matchers))}[{window}]"

    counted = promql.indent(increase(slo_set, guardrail, DAY))
    mean = mean_pods(slo_set, guardrail, DAY)
    restarts = f"sum by ({by}) (sum_over_time({past(workload, day)}))"
    # Of a series per workload, not every minute of the day; for one that is younger than a step, its count now.
    steps = f"{duration(DAY)}:{step(DAY, 144)}"
    mean_count = (
        f"(\n  max by ({by}) (avg_over_time({past(count, steps)}))\n"
        f"  or max by ({by}) ({RecordedQueries(slo_set).read(count)})\n)"
    )
    per_workload = Signal(
        "workload:sidecar_restarts_per_pod_day:ratio1d",
        f"({restarts} or 0 * {mean_count})\n/\n{mean_count}",
        f"sum by ({by}) (\n{promql.indent(named(counted))}\n)\n/\n{mean}",
    )
    everywhere = f"sum(\n{promql.indent(pods(slo_set, guardrail))}\n)"
    per_mesh = Signal(
        "mesh:sidecar_restarts_per_pod_day:ratio1d",
        f"sum(sum_over_time({past(mesh, day)}))\n/\nmax(avg_over_time({past(all_pods, day)}))",
        f"sum(\n{counted}\n)\n/\navg_over_time(({everywhere})[{duration(DAY)}:{step(DAY, 144)}])",
    )

    assert guardrail.limit is not None
    verdict = Verdict("sidecar-restarts", per_mesh, float(guardrail.limit), "max", "restarts per pod and day")
    crash = promql.milliseconds(CRASH_WINDOW)
    repeated = f"sum by ({by}, pod) (sum_over_time({past(each, crash)})) >= 2"
    memory = past(workload, crash, Matcher("reason", "=", OUT_OF_MEMORY))
    limit = number(guardrail.limit)
    place = samples.namespace(guardrail)
    enough = max(FEWEST, floor(guardrail.limit) + 1)
    alerts = (
        HealthAlert(
            name="SidecarRestartRateHigh",
            expr=(
                f"{RecordedQueries(slo_set).read(per_mesh)} > {limit}\n"
                f"and on ()\n  sum(sum_over_time({past(mesh, day)})) >= {FEWEST}"
            ),
            for_=900,
            severity="ticket",
            summary="Proxies restart {value} times per pod and day",
            description=(
                f"At most {limit} restarts per pod and day are wanted of the mesh's proxies; "
                "these are those of the last day."
            ),
            telemetry="kubernetes",
            failure_mode="M7",
            proof=Proof(
                inputs=_sample(f"0 {samples.flat(enough, 30)}", place),
                fires=16,
                labels={},
                value=enough,
                calm=_sample(f"0 {samples.flat(FEWEST - 1, 30)}", place),
                silent=(16, 30),
            ),
        ),
        HealthAlert(
            name="SidecarCrashLooping",
            expr=(
                f"sum by ({by}) (sum_over_time({past(workload, crash)})) >= {FEWEST}\n"
                f"and on ({by})\n  {repeated}"
            ),
            for_=0,
            # The kubelet waits up to five minutes between two tries, so that a window may have too few of them.
            keep_firing_for=CRASH_WINDOW,
            severity="page",
            summary="{label:workload}: its proxies restarted {value} times in 15 minutes",
            description=(
                "Proxies of {label:workload} in {label:namespace} restart again and again. A pod without its proxy "
                "gets no traffic; without ztunnel, no pod of the node does."
            ),
            telemetry="kubernetes",
            failure_mode="F3",
            proof=Proof(
                inputs=_sample("0x2 1 2 3x50", place),
                fires=5,
                labels={naming.NAMESPACE: place, WORKLOAD: "checkout"},
                value=3,
                lasts=25,
                resolved=40,
                # A node restarts, and with it one proxy of each of its pods.
                calm={
                    name: "0x4 1x50"
                    for pod in "bcdfg"
                    for name in _sample("", place, f"checkout-5d8f7c9b6d-xx2x{pod}")
                },
                silent=(5, 19, 40),
            ),
        ),
        HealthAlert(
            name="SidecarOutOfMemory",
            expr=f"sum by ({by}) (sum_over_time({memory})) > 0",
            for_=0,
            keep_firing_for=3600,
            severity="ticket",
            summary="{label:workload}: a proxy ran out of memory",
            description=(
                "Proxies of {label:workload} in {label:namespace} were killed at their memory limit, {value} times in "
                "15 minutes. All requests in them failed."
            ),
            telemetry="kubernetes",
            failure_mode="F3",
            proof=Proof(
                inputs=_sample("0x4 1x95", place) | _sample("_x5 1x95", place, reason=OUT_OF_MEMORY),
                fires=5,
                labels={naming.NAMESPACE: place, WORKLOAD: "checkout"},
                value=1,
                lasts=60,
                resolved=85,
                calm=_sample("0x4 1x95", place) | _sample("_x5 1x95", place, reason="Error"),
                silent=(5, 20),
            ),
        ),
    )
    return Plan(
        "sidecar-restarts",
        (before, each, workload, count, all_pods, mesh, per_workload, per_mesh),
        (verdict,),
        alerts,
    )


def _sample(
    values: str, namespace: str, pod: str = "checkout-5d8f7c9b6d-xx2xb", reason: str = ""
) -> dict[str, str]:
    labels = {
        "namespace": namespace,
        "pod": pod,
        "container": CONTAINER,
        "uid": f"uid-of-{pod}",
    }
    suffix = REASON if reason else RESTARTS
    labels |= {"reason": reason} if reason else {}
    return {samples.series(f"{FAMILIES[0]}_{suffix}", **labels): values}
