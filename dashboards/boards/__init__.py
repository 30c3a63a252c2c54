"""One module per dashboard: which panels it has, in which order.

A board is made of parts; Grafana's JSON is for ``dashboards.grafana``.
"""
