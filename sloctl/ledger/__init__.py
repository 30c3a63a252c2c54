"""The ledger: events per SLO, service and 5-minute bucket in SQLite or PostgreSQL, by SQLAlchemy.

Also what must outlive a process and be the same for all: locks of jobs, their runs, and reports that are to be
delivered. It must not know of PromQL, of Prometheus, or of what a budget is.
"""
