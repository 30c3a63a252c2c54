"""The mesh's own configuration: finds in Istio's and the Gateway API's objects what burns error budgets.

One module per subject: ``fields``, ``routing``, ``retries``, ``timeouts``, ``outliers``, ``mtls``, ``telemetry``.
``objects`` reads, ``world`` knows how Istio joins objects, ``findings`` what is said, ``rendering`` how. What the files
cannot decide is said to be unknown. Must not ask any server: what traffic shows is given (``traffic``).
"""

from sloctl.mesh.findings import CODES, Finding, Severity
from sloctl.mesh.lint import Result, lint
from sloctl.mesh.traffic import Traffic

__all__ = ["CODES", "Finding", "Result", "Severity", "Traffic", "lint"]
