"""Preflight: does a server have what the rules of an SLO file need, and what will the rules cost it?

The parts: :mod:`~jobs.preflight.needs` says what the rules read, :mod:`~jobs.preflight.survey` asks the server once,
:mod:`~jobs.preflight.metrics`, :mod:`~jobs.preflight.services` and :mod:`~jobs.preflight.server` judge the answers,
:mod:`~jobs.preflight.cost` predicts, :mod:`~jobs.preflight.render` makes JSON of it. Nothing is written anywhere.
"""

from jobs.preflight.findings import CODES, PreflightFinding
from jobs.preflight.run import Preflight, run

__all__ = ["CODES", "Preflight", "PreflightFinding", "run"]
