"""Alertmanager's configuration: who is told of which alert, and what a bigger failure makes moot."""
