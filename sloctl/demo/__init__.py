"""A simulated online shop on a real Prometheus: what ``sloctl demo`` and the integration tests run on.

The package owns the simulation (:mod:`.shop`), the history it leaves in a TSDB (:mod:`.history`), its
continuation in real time (:mod:`.live`), and the server processes (:mod:`.server`). It knows nothing about
SLOs, rules or reports: those see the shop as they see any other mesh, through Prometheus.
"""
