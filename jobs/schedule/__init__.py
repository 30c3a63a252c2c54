"""When jobs run, and one run of a job: triggers, the scheduler, locks and retries, and the body of each job by name.

What a job computes is in the other packages.
"""
