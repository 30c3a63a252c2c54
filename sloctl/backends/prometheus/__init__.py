"""Prometheus, and whatever speaks its API: Thanos, Mimir, VictoriaMetrics."""
