"""When a service may be released: the error budget policy of an SLO file, plain immutable data, a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Unknown = Literal["refuse", "allow"]
Pages = Literal["refuse", "allow"]


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """What is left of an error budget, in percent of it, below which nothing, or nothing but a fix, is released.

    ``pages`` says whether a release is allowed while an alert of severity ``page`` fires, ``unknown`` whether it is
    where nobody can say.
    """

    freeze_below: Decimal = Decimal(0)
    fixes_below: Decimal = Decimal(0)
    pages: Pages = "refuse"
    unknown: Unknown = "refuse"
