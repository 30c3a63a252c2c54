"""Benchmarks: each ``bench_*.py`` measures one thing and prints Markdown tables, as ``docs/benchmarks.md`` has them.

Figures are medians, and ratios to something measured in the same run; nothing here fails because a machine is slow.
"""
