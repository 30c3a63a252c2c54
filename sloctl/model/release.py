"""When a service may be released: the error budget policy of an SLO file, plain immutable data, a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Unknown = Literal["refuse", "allow"]
Pages = Literal["refuse", "allow"]


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """What a new version may do worse than the one that it is to replace.

    ``margin`` is how much more of the requests may fail, in percent of them (None: as much as the SLO's objective lets
    fail), ``confidence`` how sure a verdict is, in percent, and ``budget`` how much of an SLO's error budget the
    version may cost before it is rolled back, in percent of the whole window's.
    """

    margin: Decimal | None = None
    confidence: Decimal = Decimal(95)
    budget: Decimal = Decimal(5)


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """What is left of an error budget, in percent of it, below which nothing, or nothing but a fix, is released.

    ``pages`` says whether a release is allowed while an alert of severity ``page`` fires, ``unknown`` whether it is
    where nobody can say, ``canary`` what a version may do that serves beside another one.
    """

    freeze_below: Decimal = Decimal(0)
    fixes_below: Decimal = Decimal(0)
    pages: Pages = "refuse"
    unknown: Unknown = "refuse"
    canary: CanaryPolicy = CanaryPolicy()
