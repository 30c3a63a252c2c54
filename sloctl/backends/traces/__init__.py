"""Trace backends and span formats: everything that turns their answers into frames of ``sloctl.backends.spans``."""
