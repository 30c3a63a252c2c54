"""Guardrails: thresholds of the mesh's health that have no budget, and what each is made of.

A guardrail compiles to a :class:`~sloctl.guardrails.shared.kinds.Plan`: recorded series, alerts with their proofs,
and the verdicts that reports show. Rules, dashboards and jobs take their PromQL from here. This package must not
know how a rule file looks, nor where data comes from.
"""
