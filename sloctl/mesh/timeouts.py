"""Timeouts along a path: who gives up first."""

from __future__ import annotations

from sloctl.mesh.world import Mesh, short
from sloctl.model.durations import duration


def check(mesh: Mesh) -> None:
    """Find callers that give up before the service that they call does."""
    after: dict[str, list[str]] = {}
    for client, server in mesh.calls:
        after.setdefault(client, []).append(server)
    for (client, server), how in mesh.calls.items():
        retries, outer = mesh.hop(client, server)
        if outer is None or outer.timeout is None or outer.timeout_node is None:
            continue
        patience = min(outer.timeout, retries.per_try or outer.timeout) or outer.timeout
        longer: list[tuple[float, str]] = []
        for behind in dict.fromkeys(after.get(server, ())):
            _, inner = mesh.hop(server, behind)
            if inner is None or inner.timeout is None or inner.timeout_node is None or inner is outer:
                continue
            if inner.timeout > patience:
                at = f"{inner.timeout_node.file}:{inner.timeout_node.line}"
                longer.append((inner.timeout, f"{short(behind)} ({at})"))
        if not longer:
            continue
        longer.sort(key=lambda each: -each[0])
        more = f" and {len(longer) - 1} more" if len(longer) > 1 else ""
        what = "tries" if patience < outer.timeout else "waits"
        text = (
            f"{short(client)} {what} for {duration(patience)}, but {short(server)} waits {duration(longer[0][0])} for "
            f"{longer[0][1]}{more}: the work goes on after its caller gave up (calls known from {how})"
        )
        hint = "let timeouts shrink from the edge inwards: the inner one shorter than the outer one"
        mesh.find(outer.owner, outer.timeout_node, "timeout-inverted", "warning", text, hint)
