"""Assembles the objects that run the jobs of a set, each in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.manifests import files, network, schedules
from jobs.manifests.crontab import crontab
from jobs.manifests.pods import SLO_FOLDER, Run, claim_name, labels_of, template
from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import HEADER, Format, object_metadata
from sloctl.errors import UsageError
from sloctl.model import Job, SloSet, job_names
from sloctl.model.kubernetes import Pages
from sloctl.spec import Source

DRAIN = 60
"""Seconds between SIGTERM and SIGKILL: the scheduler lets a running job end for 30 s."""
PAGES, SCHEDULER = "pages", "scheduler"
"""Components: live pages of their own, and what runs all jobs."""
RETRIES = 2
"""Further pods for a run that failed."""
KEPT = 86_400
"""Seconds that a finished Job is kept, with its logs; an alert on failed Jobs goes on for as long."""
USAGE_ERROR = 2
"""The exit code of sloctl that another attempt cannot change: the file or an option is wrong."""


def generate(slo_set: SloSet, form: Format, sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """Paths below the output folder and contents; nothing if the file has no jobs and no live pages.

    ``sources`` are the SLO files as they were read. Raises ``UsageError`` if they are too large, lack what the jobs
    cannot do without, or have reports that a run could not tell apart.
    """
    pages = slo_set.kubernetes.pages is not None and form == "operator"
    if not slo_set.jobs and not pages:
        return
    if form == "prometheus" or slo_set.kubernetes.mode == "cronjobs":
        schedules.require_distinct(slo_set)
    if form == "prometheus":
        yield "jobs/crontab", crontab(slo_set)
        return
    _require(slo_set)
    for item in _objects(slo_set, sources):
        metadata = item["metadata"]
        assert isinstance(metadata, dict)
        name = f"jobs/{str(item['kind']).lower()}-{metadata['name']}.yaml"
        yield name, yaml.yaml(item, comment=HEADER)


def _require(slo_set: SloSet) -> None:
    variables = dict(slo_set.kubernetes.env)
    names = {job.name for job in slo_set.jobs}
    rest = "to generate everything else:  --only rules,dashboards,alertmanager"
    if not slo_set.sources.prometheus and "SLOCTL_PROMETHEUS_URL" not in variables:
        raise UsageError(
            "the jobs would not know where Prometheus is: the SLO file has no 'sources.prometheus'",
            hint=f'write  sources: {{prometheus: {{url: "http://…:9090"}}}}  ({rest})',
        )
    if job_names.RETRY_AMPLIFICATION in names and not slo_set.sources.traces_backend:
        raise UsageError(
            "the job 'retry_amplification' would not know where traces are: the SLO file has no 'sources.traces'",
            hint=f'write  sources: {{traces: {{backend: zipkin, url: "http://…:9411"}}}}  ({rest})',
        )


def _objects(slo_set: SloSet, sources: Sequence[Source]) -> Iterator[yaml.YamlMapping]:
    settings = slo_set.kubernetes
    checksum = files.checksum(sources)
    yield files.config_map(slo_set, sources)
    if not settings.service_account:
        yield _service_account(slo_set)
    if not settings.ledger.secret and slo_set.jobs:
        yield _claim(slo_set)
    if settings.mode == "scheduler" and slo_set.jobs:
        yield _deployment(slo_set, checksum)
        yield network.service(slo_set)
        if "service-monitor" not in settings.leave_out:
            yield network.service_monitor(slo_set)
    else:
        for id_, job in zip(naming.job_ids(slo_set.jobs), slo_set.jobs, strict=True):
            yield _cron_job(slo_set, id_, job, checksum)
    if settings.pages:
        yield from _shown(slo_set, settings.pages, checksum)
    if "network-policy" not in settings.leave_out:
        yield network.policy(slo_set)


def _shown(slo_set: SloSet, pages: Pages, checksum: str) -> Iterator[yaml.YamlMapping]:
    """Live pages, and the ways to them."""
    shared = _shared(slo_set) is not None
    if not shared:
        yield _pages(slo_set, pages, checksum)
    yield network.pages_service(slo_set, PAGES, SCHEDULER if shared else PAGES)
    if pages.ingress:
        yield network.ingress(slo_set, PAGES, pages, pages.ingress)
    if pages.route:
        yield network.route(slo_set, PAGES, pages, pages.route)


def _service_account(slo_set: SloSet) -> yaml.YamlMapping:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name)),
        "automountServiceAccountToken": False,
    }


def _claim(slo_set: SloSet) -> yaml.YamlMapping:
    """The claim of the ledger's volume.

    It holds what cannot be made again: it has no label of the set that ``kubectl apply --prune`` would find it by, and
    Argo CD and Flux are told to leave it alone.
    """
    store = slo_set.kubernetes.ledger
    metadata = object_metadata(slo_set, claim_name(slo_set))
    labels = metadata["labels"]
    assert isinstance(labels, dict)
    labels.pop(naming.OBJECT_LABELS[1])
    metadata["labels"] = labels | network.selector(slo_set)
    metadata["annotations"] = {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    }
    spec: yaml.YamlMapping = {
        "accessModes": [store.access_mode],
        "resources": {"requests": {"storage": store.storage}},
    }
    if store.storage_class:
        spec["storageClassName"] = store.storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _cron_job(slo_set: SloSet, id_: str, job: Job, checksum: str) -> yaml.YamlMapping:
    run = Run(id_, schedules.arguments(slo_set, job, SLO_FOLDER), posts=job.post == "slack")
    pod = template(slo_set, run, checksum)
    spec = pod["spec"]
    assert isinstance(spec, dict)
    # Never: each attempt keeps its pod, and so its logs.
    pod["spec"] = {"restartPolicy": "Never"} | spec
    labels = tuple((key, str(value)) for key, value in labels_of(slo_set, run).items())
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": object_metadata(slo_set, naming.cron_job(slo_set.name, id_), labels),
        "spec": {
            "schedule": schedules.cron_line(job),
            "timeZone": schedules.timezone(job),
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": schedules.start_within(job),
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": labels_of(slo_set, run)},
                "spec": {
                    "activeDeadlineSeconds": schedules.run_within(job),
                    "backoffLimit": RETRIES,
                    "ttlSecondsAfterFinished": KEPT,
                    "podFailurePolicy": _failures(),
                    "template": pod,
                },
            },
        },
    }


def _failures() -> yaml.YamlMapping:
    """A wrong file fails at once; a pod that had to leave its node is no failure of the job."""
    return {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": "sloctl", "operator": "In", "values": [USAGE_ERROR]},
                "onPodConditions": [],  # the schemas of Kubernetes before 1.30 ask for it
            },
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }


def _deployment(slo_set: SloSet, checksum: str) -> yaml.YamlMapping:
    arguments = ["schedule", "-f", SLO_FOLDER, "--listen", f"0.0.0.0:{network.METRICS_PORT}"]
    ports = [("metrics", network.METRICS_PORT)]
    if pages := _shared(slo_set):
        arguments += ["--pages", f"0.0.0.0:{network.PAGES_PORT}", *_readers(pages)]
        ports.append(("http", network.PAGES_PORT))
    posts = network.posts(slo_set)
    run = Run(SCHEDULER, tuple(arguments), posts=posts, serves=tuple(ports), shows=pages is not None)
    pod = template(slo_set, run, checksum)
    spec = pod["spec"]
    assert isinstance(spec, dict)
    pod["spec"] = {"terminationGracePeriodSeconds": DRAIN} | spec
    labels = tuple((key, str(value)) for key, value in labels_of(slo_set, run).items())
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name), labels),
        "spec": {
            # One scheduler, never two at a time: it is what keeps jobs from running twice.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": network.selector(slo_set) | {naming.COMPONENT_LABEL: run.component}},
            "template": pod,
        },
    }


def _shared(slo_set: SloSet) -> Pages | None:
    """Live pages that the scheduler serves; without jobs there is no scheduler, and they have a Deployment."""
    pages = slo_set.kubernetes.pages
    return pages if pages and pages.served_by == "scheduler" and slo_set.jobs else None


def _readers(pages: Pages) -> list[str]:
    """The options that say who may read live pages."""
    user = [f"--behind-proxy={pages.behind_proxy}"] if pages.behind_proxy else []
    return [f"--host={host}" for host in pages.hosts] + user


def _pages(slo_set: SloSet, pages: Pages, checksum: str) -> yaml.YamlMapping:
    arguments = ("serve", "-f", SLO_FOLDER, "--listen", f"0.0.0.0:{network.PAGES_PORT}", *_readers(pages))
    run = Run(PAGES, arguments, serves=(("http", network.PAGES_PORT),), shows=True, reads=True)
    labels = tuple((key, str(value)) for key, value in labels_of(slo_set, run).items())
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name, PAGES), labels),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": network.selector(slo_set) | {naming.COMPONENT_LABEL: run.component}},
            "template": template(slo_set, run, checksum),
        },
    }
