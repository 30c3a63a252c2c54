"""What guardrails share: kinds of plans, limits, the queries that they read together, workloads, samples of proofs."""
