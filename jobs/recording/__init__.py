"""What is kept of the past: buckets that the ledger misses, and series that the rules would have recorded.

Read from raw counters through protocols; which time counts in no budget is decided in ``jobs.budgets``.
"""
