"""Generator: from the model to recording rules, alerts and their promtool unit tests.

It must not talk to the network, and it builds no SLI expression of its own: those come from
``sloctl.promql``, so that rules, dashboards and jobs can never disagree.
"""
