"""Generator: from the model to Grafana dashboards.

Nothing is generated yet; the package holds the place of the layer, so that import contracts cover it.
"""
