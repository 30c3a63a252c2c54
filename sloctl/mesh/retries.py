"""Retries: how they multiply along a path, what bounds them, and which requests are not to be repeated.

Envoy repeats a try that timed out if it retries ``5xx``, ``gateway-error`` or ``reset``. Unless a back-off is given, it
waits up to 25 ms before the first retry and up to 250 ms before any, at random.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sloctl.mesh.findings import Severity
from sloctl.mesh.objects import Object, at, integer, items, text
from sloctl.mesh.world import Mesh, Retries, Route, short
from sloctl.model.durations import duration
from sloctl.spec.fields.values import closest
from sloctl.spec.yaml.tree import MAPPING, Node
from sloctl.spec.yaml.wording import shown

CONDITIONS = frozenset(
    (
        "5xx gateway-error reset reset-before-request connect-failure retriable-4xx refused-stream "
        "retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure cancelled "
        "deadline-exceeded internal resource-exhausted unavailable"
    ).split()
)
_SLOW = frozenset(("5xx", "gateway-error", "reset"))
"""Conditions that a try that timed out meets."""
_DONE = _SLOW | {"500", "502", "503", "504"}
"""Conditions after which the service may have done its work."""
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_NOT_REPEATABLE = ("POST", "PATCH")
MANY = 9
"""Tries of one request, along a path, that are a warning; half as many are a note."""
_DEEP = 8
_ROOM = 1.05
"""How far above its worst case an amplification may be that is read from two targets."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Calls of one service to another: how often a request may be tried, in this hop and along the worst path.

    With traffic: requests a second, attempts per request, and requests a second that reach ``server`` when it fails.
    """

    client: str
    server: str
    tries: int
    path: tuple[str, ...]
    worst: int
    rate: float | None = None
    measured: float | None = None
    failing: float | None = None


def check(mesh: Mesh) -> None:
    """Find what is wrong with retries."""
    if mesh.default_retries.node is not None and mesh.config is not None:
        _written(mesh, mesh.config, mesh.default_retries)
    taken: dict[Object, set[str]] = {}
    for route in mesh.routes:
        if route.protocol == "http" and route.destinations:
            if route.retries.node is not None and route.retries.owner is route.owner:
                _written(mesh, route.owner, route.retries)
                _bounded(mesh, route)
                _idempotent(mesh, route, taken.setdefault(route.owner, set()))
            _in_time(mesh, route)
        if route.protocol == "http":
            taken.setdefault(route.owner, set()).update(_takes_all_of(route))
    _along_paths(mesh)


def _backoff(retries: Retries) -> float:
    """The seconds that Envoy may wait in all between tries: up to 25, 75, 175, then 250 ms; 0 where it is written."""
    if retries.backoff:
        return 0.0
    return sum(min(0.25, 0.025 * (2.0**number - 1)) for number in range(1, min(retries.attempts, 40) + 1))


def _place(retries: Retries, key: str) -> Node:
    assert retries.node is not None
    return at(retries.node, key) or retries.node


def _written(mesh: Mesh, owner: Object, retries: Retries) -> None:
    """Judge retries by themselves."""
    assert retries.node is not None
    if owner.kind in ("VirtualService", "MeshConfig"):
        attempts = integer(retries.node, "attempts")
        if attempts is None or (attempts == 0 and len(retries.node.entries) > 1):
            why = "without attempts" if attempts is None else "with attempts: 0"
            text = f"retries {why} are switched off, and nothing else here has an effect"
            hint = "write  attempts: 2, for example; or nothing but  attempts: 0"
            mesh.find(owner, _place(retries, "attempts"), "retries-off", "warning", text, hint)
    for word in sorted(retries.conditions - CONDITIONS):
        if word.isdigit() and 100 <= int(word) <= 599:
            continue
        near = closest(word, CONDITIONS)
        hint = f"did you mean {near}?" if near else f"one of {', '.join(sorted(CONDITIONS))}, or status codes"
        text = f"'retryOn' cannot be {shown(word)}"
        mesh.find(owner, _place(retries, "retryOn"), "unknown-value", "error", text, hint)
    refused = sorted(
        word
        for word in retries.conditions
        if word == "retriable-4xx" or (word.isdigit() and word[0] == "4" and word not in ("408", "425"))
    )
    if retries.attempts and refused:
        what = {
            "retriable-4xx": "409, a conflict that repeating does not solve",
            "429": "429, by which the service asks for less",
        }
        text = (
            f"{refused[0]} asks again after "
            f"{what.get(refused[0], f'{refused[0]}, which a service answers to a wrong request')}"
        )
        node = _place(retries, "retryOn")
        if node is retries.node:
            node = _place(retries, "codes")
        mesh.find(owner, node, "retries-client-errors", "warning", text, f"remove {refused[0]}")
    if retries.attempts >= 3 and not retries.backoff:
        text = (
            f"all {retries.attempts} retries may follow within "
            f"{duration(round(_backoff(retries), 3))}: Envoy's own back-off is at "
            "most 25 ms before the first, 250 ms before any"
        )
        hint = "write  backoff: 100ms  or more (where Istio has it), or fewer attempts"
        mesh.find(owner, _place(retries, "attempts"), "retries-without-backoff", "note", text, hint)


def _in_time(mesh: Mesh, route: Route) -> None:
    retries = route.retries
    if not retries.attempts or not route.timeout or not (retries.conditions & _DONE):
        return
    node = retries.node if retries.owner is route.owner and retries.node is not None else route.timeout_node
    assert node is not None
    if retries.per_try is None:
        if retries.node is not None and retries.owner is route.owner and retries.conditions & _SLOW:
            text = (
                f"a slow try takes the whole timeout of {duration(route.timeout)}, so that there is "
                "none after it: retries "
                "help against answers only"
            )
            hint = f"write  perTryTimeout: {duration(round(route.timeout / retries.tries, 3))}  at most"
            mesh.find(route.owner, node, "retries-without-try-timeout", "note", text, hint)
        return
    node = at(node, "perTryTimeout") or node
    longest = retries.tries * retries.per_try
    most = longest + _backoff(retries)
    sums = f"{retries.tries} tries of {duration(retries.per_try)} take {duration(round(longest, 3))}"
    hint = (
        f"a timeout of {duration(round(most, 3))} or more, a perTryTimeout of "
        f"{duration(round(max(0.001, (route.timeout - most + longest) / retries.tries), 3))} or less, or fewer attempts"
    )
    if longest > route.timeout * 1.000001:
        if route.owner.kind != "VirtualService" and retries.per_try > route.timeout:
            return  # refused: see timeouts-contradict
        possible = int(route.timeout / retries.per_try + 1e-9)
        text = (
            f"{sums}, longer than the timeout of {duration(route.timeout)}: "
            f"{'none' if not possible else f'only {possible}'} of them can be waited for"
        )
        mesh.find(route.owner, node, "retries-exceed-timeout", "warning", text, hint)
    elif most > route.timeout * 1.000001:
        text = (
            f"{sums}, and with Envoy's back-off of up to {duration(round(most - longest, 3))} more than "
            f"the timeout of {duration(route.timeout)}"
        )
        mesh.find(route.owner, node, "retries-exceed-timeout", "note", text, hint)


def _bounded(mesh: Mesh, route: Route) -> None:
    if not route.retries.attempts:
        return
    for host in dict.fromkeys(item.host for item in route.destinations):
        counting = [mesh.rules(host, client) for client in mesh.clients(route, host)]
        unbounded = [rules for rules in counting if not any(_budget(rule) for rule in rules)]
        if not unbounded:
            continue
        rules = next(filter(None, unbounded), [])
        if not rules and (mesh.all_rules(host) or route.owner.namespace not in mesh.with_rules):
            mesh.doubt("whether retries have a budget: no DestinationRule of their hosts was read")
            continue
        what = f"{rules[0]} sets neither maxRetries nor retryBudget" if rules else "it has no DestinationRule"
        text = (
            f"nothing bounds how many retries to {short(host)} run at once ({what}; Istio's default is no "
            "bound)"
        )
        hint = (
            "write  trafficPolicy: {connectionPool: {http: {maxRetries: 10}}}  or  retryBudget: "
            "{percent: 20}  in its DestinationRule"
        )
        mesh.find(
            route.owner,
            _place(route.retries, "attempts"),
            "retries-without-budget",
            "warning" if rules else "note",
            text,
            hint,
        )


def _budget(rule: Object) -> bool:
    """Whether a DestinationRule bounds retries, anywhere in it."""
    policies = [
        at(rule.spec, "trafficPolicy"),
        *(at(item, "trafficPolicy") for item in items(rule.spec, "subsets")),
    ]
    policies += [item for policy in policies for item in items(policy, "portLevelSettings")]
    return any(
        at(policy, "connectionPool", "http", "maxRetries") or at(policy, "retryBudget") for policy in policies
    )


# Methods


def _methods(match: Node) -> frozenset[str] | None:
    """The methods that a match takes; None: any, or not known."""
    node = at(match, "method")
    if node is None:
        return None
    if node.kind != MAPPING:
        return frozenset((node.text.upper(),))
    if exact := text(node, "exact"):
        return frozenset((exact.upper(),))
    words = text(node, "regex").strip("^$()").split("|")
    return frozenset(words) if all(re.fullmatch("[A-Z]+", word) for word in words) else None


def _takes_all_of(route: Route) -> Iterator[str]:
    """The methods of which a route takes all requests."""
    for match in route.matches:
        if match.kind == MAPPING and not set(match.entries) - {"method", "name"}:
            yield from _methods(match) or ()


def _idempotent(mesh: Mesh, route: Route, taken: set[str]) -> None:
    risky = sorted(route.retries.conditions & _DONE)
    if not risky or not route.retries.attempts or route.owner.kind == "GRPCRoute":
        return
    sets = [_methods(match) for match in route.matches] or [None]
    methods = [
        name
        for name in _NOT_REPEATABLE
        if name not in taken and any(mine is None or name in mine for mine in sets)
    ]
    if not methods:
        return
    named = all(mine is not None for mine in sets)
    node = _place(route.retries, "retryOn")
    if node is route.retries.node:
        node = _place(route.retries, "codes")
    how = "this route is for" if named else "this route also takes"
    text_ = (
        f"{how} {' and '.join(methods)}, repeated after {', '.join(risky[:3])}: the service may have done "
        "its work already"
    )
    hint = (
        "retry  connect-failure,refused-stream,reset-before-request  alone, or give these methods a "
        "route of their own "
        "with  retries: {attempts: 0}"
    )
    mesh.find(
        route.owner,
        node,
        "retries-not-idempotent",
        "note" if methods == ["PATCH"] else "warning",
        text_,
        hint,
    )


# Paths


def edges(mesh: Mesh) -> list[Edge]:
    """All calls that are known, with what the configuration allows along the worst path, and what traffic shows."""
    hops = {pair: mesh.hop(*pair)[0] for pair in mesh.calls}
    above = _above(hops)
    rates, measured = _measured(mesh)
    failing = _failing(hops, rates)
    found = []
    for (client, server), retries in sorted(hops.items(), key=lambda item: item[0]):
        times, path = above[client]
        if server in path:
            times, path = 1, (client,)
        pair = client, server
        found.append(
            Edge(
                client=client,
                server=server,
                tries=retries.tries,
                path=(*path, server),
                worst=times * retries.tries,
                rate=rates.get(pair),
                measured=measured.get(pair),
                failing=failing.get(server) if pair in rates and not mesh.partial else None,
            )
        )
    return found


def _measured(mesh: Mesh) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    rates: dict[tuple[str, str], float] = {}
    measured: dict[tuple[str, str], float] = {}
    for call in mesh.traffic.calls if mesh.traffic else ():
        pair = mesh.host(call.client), mesh.host(call.server)
        rates[pair] = rates.get(pair, 0.0) + call.rate
        if call.amplification is not None:
            measured[pair] = call.amplification
    return rates, measured


def _above(hops: Mapping[tuple[str, str], Retries]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """For each client: how often the hops before it repeat a request that it answers with 503, and the path."""
    best: dict[str, tuple[int, tuple[str, ...]]] = {name: (1, (name,)) for pair in hops for name in pair}
    for _ in range(_DEEP):
        changed = False
        for (client, server), retries in hops.items():
            times, path = best[client]
            times *= retries.tries if retries.answers else 1
            if times > best[server][0] and server not in path:
                best[server] = times, (*path, server)
                changed = True
        if not changed:
            break
    return best


def _failing(
    hops: Mapping[tuple[str, str], Retries], rates: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    """For each service the requests a second that reach it when it fails: what is asked for, times what is repeated."""
    into: dict[str, list[tuple[str, float]]] = {}
    for (client, server), rate in rates.items():
        if (client, server) in hops:
            into.setdefault(server, []).append((client, rate))
    repeated = {name: 1.0 for pair in hops for name in pair}
    for _ in range(_DEEP):
        repeated = {
            name: _mean(
                [
                    (rate, repeated[client] * (hops[client, name].tries if hops[client, name].answers else 1))
                    for client, rate in into.get(name, ())
                ]
            )
            for name in repeated
        }
    return {
        server: sum(rate * hops[client, server].tries * repeated[client] for client, rate in those)
        for server, those in into.items()
    }


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """The mean of some numbers by their weights; 1 of none."""
    total = sum(weight for weight, _ in weighted)
    return sum(weight * value for weight, value in weighted) / total if total else 1.0


def _along_paths(mesh: Mesh) -> None:
    known = edges(mesh)
    worst: dict[str, Edge] = {}
    for edge in known:
        if edge.server not in worst or edge.worst > worst[edge.server].worst:
            worst[edge.server] = edge
    further = {edge.path[:-1]: edge.worst for edge in worst.values()}
    told: dict[int, list[tuple[Edge, Retries, str]]] = {}
    for edge in sorted(worst.values(), key=lambda edge: -edge.worst):
        if edge.worst * 2 >= MANY and further.get(edge.path, 0) <= edge.worst:
            now = sum(other.rate or 0 for other in known if other.server == edge.server)
            if (found := _path(mesh, edge, now)) is not None:
                told.setdefault(id(found[0].node), []).append((edge, *found))
    for (edge, most, said), *others in told.values():
        assert most.owner is not None
        if others:
            more = f"{len(others)} more path{'s' if len(others) > 1 else ''}"
            said += f"; {more} through here multiply, up to {others[0][0].worst}"
        hint = "retry in one place of the path, nearest to what fails:  retries: {attempts: 0}  in the others"
        severity: Severity = "warning" if edge.worst >= MANY else "note"
        mesh.find(most.owner, _place(most, "attempts"), "retries-multiply", severity, said, hint)
    for edge in known:
        retries, route = mesh.hop(edge.client, edge.server)
        if edge.measured is None or route is None or edge.measured <= edge.tries * _ROOM:
            continue
        said = (
            f"{short(edge.client)} → {short(edge.server)}: {edge.measured:.3g} attempts per request, where "
            f"this route allows {edge.tries}"
        )
        hint = "another route, an EnvoyFilter, or a client that retries by itself"
        node = retries.node if retries.node is not None and retries.owner is route.owner else route.node
        mesh.find(route.owner, node, "amplification-measured", "warning", said, hint)


def _path(mesh: Mesh, edge: Edge, now: float) -> tuple[Retries, str] | None:
    """The retries to change, and what becomes of a request along the worst path to a service; None: nothing.

    ``now`` is how many requests the service gets in a second.
    """
    hops = [mesh.hop(client, server)[0] for client, server in pairwise(edge.path)]
    repeating = [retries for retries in hops[:-1] if retries.answers] + [hops[-1]] * bool(hops[-1].attempts)
    written = [retries for retries in repeating if retries.node is not None and retries.owner is not None]
    if len(repeating) < 2 or not written:
        return None
    most = max(written, key=lambda retries: retries.tries)
    steps = " → ".join(short(name) for name in edge.path)
    times = " × ".join(f"{item.tries}{'' if item.node else ' (default)'}" for item in repeating)
    said = f"{steps}: when {short(edge.server)} fails, one request becomes up to {times} = {edge.worst}"
    if edge.failing is not None:
        said += f"; today's {now:.3g} requests a second become up to {edge.failing:.3g}"
    return most, said
