"""Generator: from the model to Grafana dashboards. :mod:`dashboards.extend` is for dashboards of your own."""
