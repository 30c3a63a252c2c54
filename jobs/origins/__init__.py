"""Where failures begin: from a failing service along its calls to the services that fail by themselves.

The parts: :mod:`~jobs.origins.traffic` asks for the calls of the mesh, :mod:`~jobs.origins.onset` says since when
something fails, :mod:`~jobs.origins.walk` shares failures out among the services that are called,
:mod:`~jobs.origins.near` asks what is special about where they begin, and what changed by then. Nothing is recorded.
"""

from jobs.origins.run import Origins, run

__all__ = ["Origins", "run"]
