"""What the reference page says around its tables. Every example is loaded by a test."""

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
sources:
  alertmanager: {url: "http://alertmanager:9093"}     # where silences are
""",
    ),
    "maintenance": (
        """
Time that counts in no budget, by agreement: once, or again and again. A bucket of five minutes that such a time
touches is left out, its good and its bad events alike; reports say how much time that was. It counts for what is
recorded in the ledger, also for times that have passed; alerts do not know of it (silence them). With neither
`namespace`, `services` nor `slos` it is for all SLOs of the set.

When clocks change, `cron` means what it means for [jobs](scheduler.md#when-jobs-run): a time that is skipped begins at
the first instant after the change, one that is repeated at the first of the two, and a line for every hour of the day
(`30 * * * *`) whenever clocks show it, in both of the hours that are repeated.
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
    "release": (
        """
The error budget policy: what may be released with how much of a budget left. [`sloctl gate`](release-gate.md) judges by
it, and [`sloctl canary`](canary.md) where two versions serve, with defaults also where the file has no such section.
""",
        """
release:
  freeze_below: 0
  fixes_below: 25
  pages: refuse
  unknown: refuse
""",
    ),
    "reports": (
        """
Where reports are posted. The channel only: the webhook or token comes from the environment. Put the channel in quotes:
`#` starts a comment.
""",
        """
reports:
  slack:
    channel: "#slo-reviews"                  # everything
    owners: {team-shop: "#shop-slo"}         # and what an owner answers for
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

INTRODUCTION = """
# The SLO file

One YAML file says what a mesh promises: which services have which objectives, how failures are counted, and when
somebody is woken. `sloctl init` writes a first one, `sloctl validate -f slo.yaml` reports everything that is wrong
with it at once, each problem with its line and column. Keys that sloctl does not know are errors, so a typing mistake
never goes unnoticed.

Editors can check the file as you type: [slo-file.schema.json](slo-file.schema.json) is its JSON Schema. With the YAML
language server, put this in the first line:

    # yaml-language-server: $schema=slo-file.schema.json

This page is made from the same tables as the checks themselves.
"""

SECTIONS: dict[str, tuple[str, str]] = {
    "The document": (
        """
Every document starts with `apiVersion` and `kind`. The rest may be spread over several documents and files (see
[Several files](#several-files)); together they need `metadata` and at least one SLO.
""",
        """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - name: availability
    service: checkout
    namespace: shop
    objective: 99.9
    sli: {preset: availability}
""",
    ),
    "metadata": (
        """
The name of the set is part of every name that sloctl gives, so changing it later starts new series. Its labels go on
every rule and alert, where Alertmanager's routes can use them. `objects` is for the Kubernetes objects that `generate`
writes: many operators take only objects of a namespace, or with a label such as `release`.
""",
        """
metadata:
  name: shop
  labels: {team: platform}
  objects: {namespace: monitoring, labels: {release: monitoring}}
""",
    ),
    "env": (
        """
Variables of the environment that may be filled in, in this document alone: `${NAME}` in a value becomes the variable's
value, which is then judged as if it were written there, and `$${` is the text `${`. It works in values, not in keys; in
expressions (`sli.events`) and regular expressions it is refused, because a value could change their meaning. One that
is not set, or empty, is an error unless it has a default; so is one that `env` does not name. Credentials never stand
in an SLO file, filled in or not: names such as `…_TOKEN` are refused. So are those that the system sets itself (`HOME`,
`PATH`, `HOSTNAME`, `HTTPS_PROXY`, `KUBERNETES_…`): a job would find another value. Messages do not show values.
Generated jobs, CronJobs and crontabs, are given the values that were filled in when they were generated, defaults too;
so files that name the same variable give it the same default.

To change numbers, or whatever an editor checks by the JSON Schema, use an [overlay](#overlays).
""",
        """
env: [PROMETHEUS_URL, {name: CLUSTER, default: eu1}]
mesh: {matchers: {cluster: "${CLUSTER}"}}
sources: {prometheus: {url: "${PROMETHEUS_URL}"}}
""",
    ),
    "mesh": (
        """
The defaults fit an Istio mesh with sidecars and Envoy's own histogram bounds. The matchers are added to every selector,
the one of `up` included: use labels that all series of a scrape target have, such as `cluster`, and not labels of
Istio's metrics such as `reporter`.
""",
        """
mesh:
  mode: sidecar
  matchers:
    cluster: eu1                 # equal
    tenant: {regex: "shop|pay"}  # or {not: …}, {not_regex: …}
  latency_buckets: [5, 25, 100, 250, 1000]
  target_labels: [job, instance, pod]
""",
    ),
    "sources": (
        """
Addresses and nothing else. Passwords, tokens and headers in the file are errors; they come from the environment:
`SLOCTL_PROMETHEUS_TOKEN`, or better `SLOCTL_PROMETHEUS_TOKEN_FILE`, and `SLOCTL_PROMETHEUS_HEADERS` for tenants;
`SLOCTL_TRACES_TOKEN` and so on for traces.
""",
        """
sources:
  prometheus: {url: "http://prometheus:9090"}
  traces:
    backend: zipkin
    url: "http://zipkin:9411"
    ui: "https://zipkin.example.org"
    attempt_tag: x-envoy-attempt-count
    sampling: 1
  alertmanager: {url: "http://alertmanager:9093"}
  grafana: {url: "http://grafana:3000"}
""",
    ),
    "defaults": (
        """
What an SLO does not say itself, it takes from here, and a guardrail its owner. Labels add up; an SLO's own label wins
over a default of the same name. [In several files](#several-files), each may have defaults for its own SLOs.
""",
        """
defaults:
  window: 30d
  alerting: mesh
  owner: team-shop
  runbook: "https://runbooks.example.org/{namespace}/{slo}"
  labels: {tier: backend}
""",
    ),
    "owners": (
        """
Who answers for services, in one place, as a CODEOWNERS file says it: of the items that match, the last counts. Several
files may have `owners`, but not say different things of one service: no file is the last one. An owner is the first of
these that is there: that of the SLO itself, of the `defaults` of its file, of `owners`, of the `defaults` of the set.
It is a label of the alerts, so an SLO of `service: "*"` has one owner for all services: an item that names a service
does not match it. Reports go to owners by `reports.slack.owners`, alerts by `notifications.owners`.
""",
        """
owners:
  - {namespace: "*", owner: team-shop}
  - {namespace: base, service: pay-*, owner: team-payments}
""",
    ),
    "slos": (
        """
An SLO is of one service, or with `service: "*"` (in quotes: a bare star is YAML syntax) of every service of its
namespace, also those that are deployed tomorrow. A named service overrides the `"*"` SLO of the same name, so that no
service counts in both. Name, service and namespace together must be unique. What Istio calls a service and is none,
such as `PassthroughCluster`, [never becomes one](presets.md#what-is-no-service). A wildcard host of a ServiceEntry is a
service like others: `service: "*.example.org"` is its exact name in the metrics, and matches nothing else.

With `namespaces`, one item is an SLO in each of some namespaces, each with its own budget, alerts and objective series,
as if it were written there as often: two items are the availability and latency of a dozen namespaces.

The objective is read exactly as it is written: 99.9 leaves a budget of 0.001, not of 0.0009999999999998899.
""",
        """
slos:
  - name: availability
    service: "*"
    namespace: shop
    objective: 99.5
    sli: {preset: availability}
  - name: availability             # checkout has a stricter one
    service: checkout
    namespace: shop
    objective: 99.95
    owner: team-payments
    description: Customers can pay.
    runbook: "https://runbooks.example.org/checkout/{alert}"
    dashboard: "https://grafana.example.org/d/checkout?var-service={service}"
    labels: {tier: critical}
    alerting: sre-workbook
    sli: {preset: availability}
""",
    ),
    "Windows": (
        """
A rolling window is a duration: `30d`, `28d`, `90d`, `12h`. A calendar window is the current week, month or quarter in a
time zone; its budget is whole again when the next one begins. Burn-rate alerts of calendar windows look at rolling
windows, scaled to the length of the period.
""",
        """
slos:
  - name: availability
    service: checkout
    namespace: shop
    objective: 99.9
    window: {calendar: quarter, timezone: Europe/Paris}
    sli: {preset: availability}
""",
    ),
    "Presets": (
        """
A preset knows Istio's metrics. It counts at the client's proxy unless `side` says otherwise: there a request counts
once, whatever its retries; at the server's proxy every attempt counts. In an ambient mesh the waypoints count, and
there is no `side`.

A latency threshold must be a bound of the histogram, because only requests under a bound can be counted; anything else
is an error that names the nearest bounds. With `mesh.histograms: native` it is any latency; see
[native histograms](presets.md#native-histograms).
""",
        """
slos:
  - {name: availability, service: cart, namespace: shop, sli: {preset: availability, side: server}}
  - {name: not-rejected, service: cart, namespace: shop, sli: {preset: errors, codes: [5xx, 0, 429]}}
  - {name: calls, service: stock, namespace: shop, sli: {preset: grpc, codes: [UNAVAILABLE, DEADLINE_EXCEEDED]}}
  - {name: latency, service: cart, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
  - {name: entry, service: istio-ingressgateway, namespace: istio-system, sli: {preset: gateway}}
""",
    ),
    "Events of your own": (
        """
Where no preset fits, give two PromQL expressions over counters. Each range is written `[$window]`, directly behind a
selector, inside `rate()` or `increase()` (which of the two makes no difference: sloctl replaces both by an exact count
of the events in the window). The results are summed up. Comments, subqueries, `offset`, `irate()` and fixed ranges such
as `[5m]` are errors.

The value must be a number of events, in a window of a minute as in one of a day. What may stand around a counter:

| form | what it is |
|---|---|
| `sum(…)`, `max without (replica) (…)` | the sum over all series; the larger of replicas |
| `… + …` | both; a counter that has no series yet has counted nothing |
| `… - …` | the rest: `sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{le="250"}[$window]))` |
| `… * 2`, `… / 1000`, `… * on (pod) group_left () weight` | a multiple |
| `… or …`, `… or vector(0)` | one or the other |
| `… and …`, `… unless …` | some of the series: `rate(late[$window]) and on (pod) (up == 1)` |
| `clamp_min(…, 0)`, `label_replace(…)`, `label_join(…)` | no negative rest; other labels |

Refused, each with what to write instead: comparisons of what was counted (`rate(x[$window]) > 10` would take all events
of a window or none), `count`, `quantile`, `topk` and others that count series and not events, `-rate(…)`, a number or a
plain metric added to events, ratios, `histogram_count(rate(…))` and other functions, and `sum by (…)` where the sum of
all follows. One SLO has one budget; one for each queue has an SLO [with `per`](#one-slo-for-each-value-of-a-label).

A difference of which a side matches nothing, and a factor that does, are no data: not zero bad events. If a side may
rightly be missing, say so: `… - (sum(rate(expected[$window])) or vector(0))`. `le="250"` matches what Prometheus 3
calls `250.0`, and the other way round.
""",
        """
slos:
  - name: queue-age
    service: billing
    objective: 99
    sli:
      events:
        bad: rate(jobs_late_total{queue="mail"}[$window])
        total: rate(jobs_total{queue="mail"}[$window])
""",
    ),
    "Gauges and probes": (
        """
What a gauge shows is no event, but each of its samples is one: `probe_success` of the blackbox exporter, `up`, the age
of a queue, the lag of a replica. The SLO is the share of good samples, and all else is as with other events: budgets,
burn rates, the ledger, reports, the gate. The comparison needs quotes, for YAML reads `>` otherwise. All series that
the selector matches count in one budget: three probes, three samples a scrape.

Each sample counts once if `every` is at most the scrape interval of the gauge, also if it is less: take less where
scrapes are not even to the millisecond. Of samples that are closer, only the last one counts. So many there are of one
series, and so long an outage lasts until the policy `mesh` pages at 99.9 %:

| scrape interval | samples in 5m | in 30 days | of these may be bad | pages after |
|---|---|---|---|---|
| 15s | 20 | 172,800 | 172 | 2 minutes |
| 30s | 10 | 86,400 | 86 | 2 minutes |
| 1m | 5 | 43,200 | 43 | 4 minutes |

Half a minute comes on top (or `every`, if that is more): so much later samples are counted. A probe that times out is
stored when it ends, under the time at which it began; counted at once, a failure would be missed. A scrape that takes
longer than that may be.

No sample is neither good nor bad. It is a gap, which reports show: of scrapes that failed, and of those that brought no
such series, for up to an hour. A probe that is not there at all has no data; `traffic_stopped: ticket`
[tells of it](alerting.md#traffic-that-stops). A sample that is no number (`NaN`) is none, and a gap. For a gauge that
may be missing when things are bad, such as one that a service exposes itself, add an SLO of its `up`.
""",
        """
slos:
  - name: reachable
    service: homepage
    objective: 99.9
    sli:
      samples:
        gauge: probe_success{job="blackbox", instance="https://example.org/"}
        good: ">= 1"
  - name: queue-age
    service: mail
    objective: 99
    sli:
      samples:
        gauge: queue_oldest_age_seconds{queue="in"}
        bad: "> 300"
        every: 1m
""",
    ),
    "One SLO for each value of a label": (
        """
One budget over all queues, hosts or tenants hides the small ones: a host that fails altogether, with a thousandth of
the traffic, leaves 99.9 %. With `per`, each value of a label has an SLO: a budget, alerts, a row of reports and of the
ledger, also values that come tomorrow. The value takes the place of the service: `service="orders"` in recorded series
and alerts, `--service orders` (of a value with `/` or blanks: `--namespace`), `{service}` in links.

It goes with `service: "*"`, a namespace, and [events](#events-of-your-own) or [samples](#gauges-and-probes) of your
own: with `per: instance`, each probed address has an SLO. What a preset counts can be written so too, for example by
Istio's `request_host`, if your mesh has that label. The label must be one of the counters, and be kept:
`sum by (queue) (…)` or plain `rate(…)`; an expression that drops it is an error. What has no such label is in no
budget. A named service overrides its value, as with presets.

A value that is gone has no data from then on, and what it spent stays until the window has passed; a value without bad
events has spent nothing. Each value costs series as a service does: over 500 of them, reports say `many-values`.
""",
        """
slos:
  - name: delivered
    service: "*"
    namespace: ops
    per: queue
    objective: 99.9
    sli:
      events:
        bad: sum by (queue) (rate(mails_late_total[$window]))
        total: sum by (queue) (rate(mails_total[$window]))
  - name: delivered              # this queue's objective is its own
    service: bulk
    namespace: ops
    objective: 95
    sli:
      events:
        bad: rate(mails_late_total{queue="bulk"}[$window])
        total: rate(mails_total{queue="bulk"}[$window])
""",
    ),
    "Alerting": (
        """
`mesh` pages when the budget burns 14 times too fast over 1h and 5m, or 4 times over 6h and 30m, and opens a ticket at
once the allowed speed over 3d and 6h. `sre-workbook` has the lines of the SRE workbook's table 5-8. `none` is silent.
With a mapping you choose other gates for one of these, or write lines of your own.

An alert must be sure that its failures are more than chance, to the `confidence` given: one failed request at night
pages nobody, and three an hour that all fail do. With `min_events` or `min_bad_events` it needs numbers of events in
its long window instead. [How sure an alert is](alerting.md#how-sure-an-alert-is) has the formula. An alert that could
not fire even if every event were bad (factor × budget ≥ 1) is an error.
""",
        """
slos:
  - name: availability
    service: checkout
    namespace: shop
    objective: 99.9
    sli: {preset: availability}
    alerting:
      windows:
        - {severity: page, factor: 14.4, long: 1h, short: 5m, for: 2m}
        - {severity: ticket, factor: 1, long: 3d, short: 6h}
      confidence: 99.9
  - name: latency
    service: checkout
    namespace: shop
    sli: {preset: latency}
    alerting: {policy: mesh, min_events: 1000, min_bad_events: 10}
""",
    ),
    "guardrails": (
        """
Thresholds that have no budget: something is wrong as soon as they are crossed. Each makes recorded series, alerts with
a runbook, and verdicts in the report. Limits are numbers or durations. [The guardrails' page](guardrails.md) tells what
each looks at and which alerts it makes.
""",
        """
guardrails:
  - {preset: sidecar-restarts, max: 0.01}      # restarts per pod per day
  - {preset: retry-amplification, max: 1.1}    # attempts per request
  - {preset: telemetry-gap, max: 5m}
  - {preset: mtls, min: 100, namespaces: [shop], owner: team-platform}   # percent
  - {preset: service-errors, max: 5, critical: 20}
  - {preset: misroutes, versions: {checkout: [v1, v2]}}
  - {preset: watchdog}
""",
    ),
    "notifications": (
        """
Who is told of which alerts: `sloctl generate --only alertmanager` makes an Alertmanager configuration of it (see
[Alertmanager](alertmanager.md)). Pages and tickets of an owner go to that owner's receivers, or else to those of
`default`. Secrets never stand in the file: it names where Alertmanager finds them.
""",
        """
notifications:
  receivers:
    platform-pager: {pagerduty: {secret: alerting/pagerduty}}
    platform-slack: {slack: {channel: "#platform-alerts", secret: alerting/slack-webhook}}
    shop-slack: {slack: {channel: "#shop-alerts", secret: alerting/slack-webhook}}
    heartbeat: {webhook: {url: "https://heartbeat.example.org/ping"}}
  default: {page: platform-pager, ticket: platform-slack, watchdog: heartbeat}
  owners:
    team-shop: {ticket: shop-slack}
  repeat_page: 4h
""",
    ),
    "dashboards": (
        """
Where Grafana's dashboards go: `sloctl generate --only dashboards` writes them (see [Dashboards](dashboards.md)). All
of it has a default. `labels` goes with `objects: configmap` only, `instances` with `objects: grafana-operator`. The
default prices are about what a cloud asks for machines on demand: replace them by what you pay.
""",
        """
dashboards:
  folder: SLOs
  objects: configmap                # or grafana-operator, with instances: {dashboards: grafana}
  labels: {grafana_dashboard: "1"}
  leave_out: [debug]
  costs: {core_hour: 0.028, gib_hour: 0.0038, currency: EUR}
""",
    ),
    **JOBS,
    "Several files": (
        """
`-f` may be given several times and takes files, folders (every `*.yaml` and `*.yml` below, hidden ones left out) and
`-` for standard input; a file may hold several documents. `slos`, `guardrails`, `jobs` and `maintenance` of all
documents add up. `defaults` hold for the file that they stand in: a folder may have a file for each team, with its
owner, window and alerts. Those of a file with `metadata`, or without SLOs and guardrails, hold for the whole set, and a
file's own go before them, key by key (labels add up). Every other section belongs in one document, or must say the
same in each.

```text
slos/
  shop.yaml        metadata, mesh, sources, jobs; defaults of the set: {window: 28d, owner: team-platform}
  payments.yaml    defaults: {owner: team-payments, alerting: sre-workbook}; slos
  search.yaml      defaults: {owner: team-search, window: 7d}; slos
  kustomization.yaml
```

In a folder, files of other tools are left alone, and `sloctl validate -v` names them with the reason: what Kustomize,
Helm and Helmfile call their own (`kustomization.yaml`, `Chart.yaml`, `values.yaml`, `values-*.yaml`, `helmfile.yaml`, a
chart's `templates/`), files that hold nothing but objects of Kubernetes, and what `.sloctlignore` in that folder names,
a pattern in each line (`drafts/`, `*-generated.yaml`, `/team-a/old.yaml`). A file whose version, kind or sections are
ours, or nearly, is never left alone unless `.sloctlignore` says so, nor are SLOs of other tools, and a file that `-f`
names itself never is.
""",
        "",
    ),
    "Overlays": (
        """
An overlay is a small file that changes the others for one environment. It is a file like others, named beside them
(`-f base -f prod.yaml`), so every command and every generated job takes it:

```yaml
apiVersion: sloctl/v1
kind: MeshSLOsOverlay
overlay: prod                      # the environment
metadata: {labels: {env: prod}}    # sections merge key by key
mesh: {matchers: {cluster: eu1}}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.95, owner: team-payments}
  - {name: latency, service: checkout, namespace: shop, $patch: delete}
guardrails:
  - {preset: mtls, min: 99}
```

It merges as Kustomize's strategic merge patches do: mappings key by key, `key: null` (or a key without a value) removes
a key, which a variable that holds `null` does not, and everything else replaces what was there. A list replaces the
whole list: what is lost (a namespace of `namespaces` with its SLOs, a line of `owners`) is a warning,
`overlay-replaces`. Items of `slos` are found by namespace, service and name, those of `guardrails` by
`preset`, those of `jobs` by `name` (and `routine`, `cron` or `every` where several have it); `$patch: delete` drops
one. An `sli` with another `preset`, or with `events` in its place, replaces the old one as a whole. `defaults` change
those of the set, not a file's own. An item with `namespaces` is found by service and name alone, and changed in all of
them. An item that is not there is an error, so is a key to remove that is not, or an overlay without files that it
changes: new SLOs belong in a file of kind `MeshSLOs` beside it. An overlay may have several files, which may not
contradict each other; overlays of two environments at once are an error. Every problem names the file and line that
made it. [slo-overlay.schema.json](slo-overlay.schema.json) is its JSON Schema, and
[Environments](environments.md) shows dev, stage and prod, alone and with Kustomize and Helm.
""",
        "",
    ),
    "YAML": (
        """
Files are UTF-8, of up to 10 MiB. Anchors, aliases and merge keys (`<<`) work; tags (`!…`) do not, and a key that stands
twice in a mapping is an error. YAML takes some plain words for something else: `no` and `off` for false, `1.10` for a
number, `1:30` for ninety. Where text is needed, sloctl says so instead of guessing: put it in quotes.
""",
        """
slos:
  - &common
    name: availability
    service: checkout
    namespace: shop
    sli: {preset: availability}
  - <<: *common
    service: cart
""",
    ),
}

END = """
## Problems

`sloctl validate` prints a problem as `file:line:column: severity: message [code]`, with the line itself and a hint
below. Lines and columns count from 1. A line that may hold a secret is not shown. With `--format json` it prints a list
of objects with the keys `file`, `line`, `column`, `severity` (`error` or `warning`), `code`, `field` (the path of the
key, such as `slos[2].objective`), `message` and `hint` (which may be empty). Codes do not change between versions.
"""
