"""Alertmanager: its API, and what a silence may be asked for."""
