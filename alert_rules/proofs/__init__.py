"""Proofs of rules, as promtool's unit tests: simulated traffic, and when each alert must fire and be silent."""
