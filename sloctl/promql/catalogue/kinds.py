"""What the catalogue says of a metric, of where it comes from, and of how to switch it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MetricType = Literal["counter", "gauge", "histogram"]
Exposed = Literal["always", "first event", "on request"]
"""From the start; from the first event it counts on (until then, missing is no events); or once it is switched on."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do where a metric is missing: a sentence or two, and a piece of configuration to apply."""

    text: str
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What exposes metrics. ``scraped`` says where, ``reference`` is the link to its own list of them."""

    key: str
    title: str
    scraped: str
    reference: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Metric:
    """A raw metric that some rule, job or report reads.

    ``labels`` are those that are matched, joined or grouped by, besides the labels of the scrape target; notable
    values are given where the expressions name them. ``evidence`` are files of real scrapes that hold it, ``source``
    says where else its name was looked up. ``versions`` tells since or until when it has this name. One of
    ``instead`` is as good: where it is there, this one is not missed.
    """

    name: str
    type: MetricType
    origin: str
    help: str
    labels: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)
    exposed: Exposed = "always"
    evidence: tuple[str, ...] = ()
    source: str = ""
    versions: str = ""
    instead: tuple[str, ...] = ()
    remedy: Remedy | None = None
