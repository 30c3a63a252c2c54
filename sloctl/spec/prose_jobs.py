"""What the reference page says of jobs, the ledger, reports and Kubernetes. Every example is loaded by a test."""

from __future__ import annotations

JOBS: dict[str, tuple[str, str]] = {
    "jobs": (
        """
What is to run when: by `sloctl schedule`, or as CronJobs. An interval must divide an hour or a day evenly, so that
every scheduler has the same times. Cron lines have five fields; 0 is Sunday, and a day of the month together with a day
of the week is an error, because schedulers disagree on what it means.
""",
        """
jobs:
  - {name: slis, every: 5m}
  - {name: report, cron: "0 9 * * 1", timezone: Europe/Paris, post: slack}
""",
    ),
    "ledger": (
        """
The ledger keeps the events that Prometheus forgets (see [The ledger](ledger.md)). All of it has a default. Windows need
the sums of hours for their whole length; their edges are exact to five minutes as long as buckets are kept.
""",
        """
ledger:
  keep: {buckets: 60d, hours: 400d, days: 1830d}
  catch_up: 15d
  silences: deploys
""",
    ),
    "maintenance": (
        """
Time that counts in no budget, by agreement: once, or again and again. A bucket of five minutes that such a time
touches is left out, its good and its bad events alike; reports say how much time that was. It counts for what is
recorded in the ledger, also for times that have passed; alerts do not know of it (silence them). With neither
`namespace`, `services` nor `slos` it is for all SLOs of the set.
""",
        """
maintenance:
  - name: database upgrade
    start: "2026-03-01T02:00:00Z"
    end: "2026-03-01T04:00:00Z"
    namespace: shop
    services: [checkout, payments]
  - name: weekly restart
    cron: "0 3 * * 0"
    for: 1h
    timezone: Europe/Paris
""",
    ),
    "reports": (
        """
Where reports are posted. The channel only: the webhook or token comes from the environment. Put the channel in quotes:
`#` starts a comment.
""",
        """
reports:
  slack: {channel: "#slo-reviews"}
""",
    ),
    "kubernetes": (
        """
How the jobs run on Kubernetes: `sloctl generate --only jobs` writes the objects (see [Kubernetes](kubernetes.md)). All
of it has a default. Secrets never stand in the file: it names a key of a Secret as `name/key`.
""",
        """
kubernetes:
  mode: cronjobs                    # or scheduler: one Deployment for all jobs
  ledger: {secret: sloctl-ledger/url}
  prometheus: {token: prometheus/token, ca: {config_map: trusted/ca.crt}}
  slack: {token: sloctl-slack/token}
  resources: {memory: 512Mi, memory_limit: 2Gi}
""",
    ),
}
