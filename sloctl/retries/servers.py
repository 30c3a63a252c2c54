"""Which service a call was meant for, also where no attempt at it arrived.

Owns the reading of what clients call the other end; must not know of attempts or rates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sloctl.retries.keys import Array, pairs, text_codes
from sloctl.retries.links import ROUTER, Links


def name_servers(
    links: Links, number: Array, rows: Array, server_rows: Array, first: Array, logical: Array, client: Array
) -> tuple[Array, list[str]]:
    """For each call the service that it was meant for, as numbers and their texts.

    That is the service whose span answered. Where none did, it is the one that answers under the same name: what
    clients call the other end (Envoy's cluster), else the client's own name for the operation. Where that never
    happened, the name is read: ``outbound|8080||cart.shop.svc.cluster.local`` is ``cart.shop``, or ``cart`` if the
    mesh has such a service.
    """
    names = list(links.services)
    size = len(first)
    server = np.full(size, -1, dtype=np.int64)
    answered = server_rows >= 0
    server[number[answered][::-1]] = links.service[server_rows[answered][::-1]]
    if (server >= 0).all():
        return server, names

    remote, remotes = text_codes(links.spans["remote"])
    operation, operations = text_codes(links.spans["operation"])
    row = np.where((links.role[rows[first]] == ROUTER) | (logical < 0), rows[first], logical)
    router = links.role[row] == ROUTER
    texts = remotes + [_cluster(text) for text in operations]
    known_text = sorted(set(texts))
    place = {text: index for index, text in enumerate(known_text)}
    number_of_text = np.array([place[text] for text in texts], dtype=np.int64)
    end = number_of_text[remote[row]]
    routed = number_of_text[len(remotes) + operation[row]]
    end = np.where(router & (end == place[""]), routed, end)
    silent = end == place[""]
    name = np.where(silent, len(known_text) + pairs(client, operation[row]), end)
    known = np.flatnonzero(server >= 0)
    learned = _majority(name[known], server[known], int(name.max(initial=-1)) + 1)
    open_ = server < 0
    server[open_] = learned[name[open_]]

    number_of = {text: index for index, text in enumerate(names)}
    read = [_read(text, number_of) for text in known_text]
    for text in read:
        if text not in number_of:
            number_of[text] = len(names)
            names.append(text)
    meant = np.array([number_of[text] for text in read], dtype=np.int64)
    return np.where(server < 0, meant[end], server), names


def _majority(name: Array, server: Array, size: int) -> Array:
    """For each name the service that most often answers, the first of equals; -1 for none."""
    found = np.full(size, -1, dtype=np.int64)
    if len(name):
        wide = int(server.max()) + 1
        pair, count = np.unique(name * wide + server, return_counts=True)
        order = np.lexsort((-pair, count))
        found[pair[order] // wide] = pair[order] % wide
    return found


def _cluster(operation: str) -> str:
    """The cluster in the name of Envoy's router spans: ``router <cluster> egress``."""
    return (
        operation.removeprefix("router ").removesuffix(" egress") if operation.startswith("router ") else ""
    )


def _read(text: str, services: Mapping[str, int]) -> str:
    parts = text.split("|")
    if len(parts) != 4:
        return text
    labels = parts[3].split(".")
    if len(labels) >= 3 and labels[2] != "svc":
        return parts[3]
    full = ".".join(labels[:2])
    return labels[0] if full not in services and labels[0] in services else full
