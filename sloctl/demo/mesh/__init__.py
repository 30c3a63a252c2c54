"""A small mesh of real Envoys on this machine: an ingress gateway and a chain of services with sidecars.

The package owns the proxies' configuration (:mod:`.proxy`), the applications behind them and their callers
(:mod:`.applications`), the servers that collect spans (:mod:`.collectors`) and the whole that starts and ends them
(:mod:`.testbed`). Its metrics have Istio's names and labels, its spans are Envoy's own. The applications count every
request exactly, so that what is read from metrics and spans can be held against the truth. It knows nothing about SLOs
or reports.
"""

from sloctl.demo.mesh.config import EdgeTruth, EdgeTruths, Load, MeshConfig, Spawn, Tracer, since
from sloctl.demo.mesh.testbed import Mesh

__all__ = ["EdgeTruth", "EdgeTruths", "Load", "Mesh", "MeshConfig", "Spawn", "Tracer", "since"]
