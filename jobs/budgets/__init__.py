"""Events of SLOs and services over windows and periods, from the three places that have them: rules, ledger, counters.

Numbers only: what they are shown as is for ``jobs.reports``.
"""
