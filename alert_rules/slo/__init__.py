"""Rules of SLOs: the events that are recorded, and alerts on the budget's burn."""
