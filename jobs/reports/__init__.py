"""What reports are made of: budgets and burn rates now, verdicts of guardrails, the routines of a day, a week,
a month."""
