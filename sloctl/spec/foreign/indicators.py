"""Two expressions as the ``sli`` of a draft: a preset where that counts the same, or else events of our own."""

from __future__ import annotations

from collections.abc import Sequence

from sloctl.spec.fields import expressions
from sloctl.spec.foreign.drafts import Draft
from sloctl.spec.foreign.queries import Recognised, every_bucket, istio, unlike_sums
from sloctl.spec.yaml.tree import Node

Place = tuple[Node, str]


def per_value(grouping: Sequence[str], found: str = "") -> tuple[str, str]:
    """Why an SLO for each value of some labels is refused, and what to write; ``found`` is what a preset would need."""
    return (
        f"it is an SLO for each value of {', '.join(grouping)}; over all of them there would be one budget",
        f"write one of service: \"*\" with 'per', or an SLO for each of them{f' ({found})' if found else ''}",
    )


def count(draft: Draft, events: dict[str, str], at: Place, grouping: Sequence[str] = ()) -> None:
    """Give the draft the SLI of these expressions: ``total`` and ``bad`` or ``good``, or refuse it.

    With ``grouping`` its tool makes an SLO for each value of these labels.
    """
    found = istio(events, grouping)
    if isinstance(found, Recognised):
        if draft.service and found.service not in ("*", draft.service):
            draft.rename(
                at, f"the service is '{found.service}', as Istio calls it, and not '{draft.service}'"
            )
        draft.sli, draft.service, draft.namespace = found.sli, found.service, found.namespace
        if grouping:
            draft.remarks.append(
                f"of every service of the namespace, as its grouping by {', '.join(grouping)}"
            )
        return
    if grouping:
        draft.refuse(at, *per_value(grouping, found))
        return
    if found:
        draft.remarks.append(f"no preset: {found}")
    for key, text in events.items():
        if (complaint := expressions.check(text)) is not None:
            draft.refuse(at, f"'{key}': {complaint.message}", complaint.hint)
            return
        if (name := every_bucket(text)) != "":
            why = f"'{key}': {name} without a bound (le) counts an event in each bucket that it is within"
            draft.refuse(
                at,
                why,
                'name the bound of the threshold, such as le="0.25", and take all of them from _count',
            )
            return
    tool = draft.origin.split("'s ")[0]
    for operator in sorted({name for text in events.values() for name in unlike_sums(text)}):
        draft.remarks.append(
            f"{operator}() is taken of each five minutes here, and these are added up; {tool} "
            "takes it of the whole window: both are the same only where it is one series all the time"
        )
    draft.sli = {"events": dict(events)}
