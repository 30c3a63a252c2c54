"""The objects that run the jobs: valid for Kubernetes, restricted, and what the SLO file says."""

from __future__ import annotations

import copy
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobs import manifests
from jobs.manifests import crontab, network, schedules
from sloctl import __version__, naming, spec
from sloctl.cli.main import cli
from sloctl.cli.schedule import command as schedule
from sloctl.errors import UsageError
from sloctl.model import Job, SloSet, job_names
from sloctl.model.cron import longest_pause, shortest_pause
from sloctl.model.kubernetes import KubernetesSettings, Scraper
from sloctl.settings import backends, ledger, slack
from sloctl.spec import Source
from tests.support.job_files import CASES, ROOT, generated
from tests.support.kubernetes import VERSIONS, Objekt, pod_of, problems, schema_problems, unrestricted
from tests.support.yaml_text import read_yaml, read_yaml_all

HEADER = """\
apiVersion: sloctl/v1
kind: MeshSLOs
"""
BASE = (
    HEADER
    + """\
metadata: {name: shop}
sources: {prometheus: {url: "http://prometheus:9090"}}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
)
JOBS = (
    BASE
    + """\
jobs:
  - {name: slis, every: 5m}
  - {name: report, cron: "0 9 * * 1", timezone: Europe/Paris, post: slack}
"""
)


def made(text: str | bytes, name: str = "slo.yaml") -> tuple[SloSet, tuple[Source, ...]]:
    sources = (Source(name, text.encode() if isinstance(text, str) else text),)
    return spec.load_sources(sources), sources


def objects(text: str | bytes, name: str = "slo.yaml") -> list[Objekt]:
    slo_set, sources = made(text, name)
    return [read_yaml(content) for _, content in manifests.generate(slo_set, "operator", sources)]


def one(items: list[Objekt], kind: str, name: str = "") -> Objekt:
    (found,) = (item for item in items if item["kind"] == kind and item["metadata"]["name"].endswith(name))
    return found


def stored(case: str) -> list[Objekt]:
    return [read_yaml(text) for path, text in generated(case).items() if path.endswith(".yaml")]


def pods(items: list[Objekt]) -> list[Objekt]:
    return [pod for item in items if (pod := pod_of(item)) is not None]


def environment(pod: Objekt) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


# Kubernetes takes them


@pytest.mark.parametrize("case", CASES)
def test_objects_are_valid(case: str) -> None:
    items = stored(case)
    assert items
    for item in items:
        for version in VERSIONS:
            assert schema_problems(item, version) == [], (item["kind"], version)
    assert problems(items) == []


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(case: str) -> None:
    for pod in pods(stored(case)):
        assert unrestricted(pod["spec"]) == []
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert (
            pod["spec"]["securityContext"]["runAsUser"] == pod["spec"]["securityContext"]["fsGroup"] == 65532
        )
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("case", CASES)
def test_a_folder_has_objects_only(case: str) -> None:
    """``kubectl apply -f jobs/`` reads every YAML file there, and one object in each."""
    for path, text in generated(case).items():
        if path.endswith(".yaml"):
            (document,) = read_yaml_all(text)
            assert {"apiVersion", "kind", "metadata"} <= document.keys()


def _at(item: Any, path: str) -> Any:
    for key in path.split("."):
        item = item[int(key)] if key.isdigit() else item[key]
    return item


POD = "spec.jobTemplate.spec.template.spec"


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("spec", "timezone", "UTC"),
        ("spec", "schedule", None),
        ("spec", "startingDeadlineSeconds", "150"),
        ("spec.jobTemplate.spec", "backoffLimit", "2"),
        (f"{POD}.containers.0", "name", None),
        (f"{POD}.containers.0", "arguments", []),
        (f"{POD}.containers.0.securityContext", "readOnlyRootFileSystem", True),
        (f"{POD}.securityContext", "runAsUser", "65532"),
        (f"{POD}.volumes.0", "configmap", {"name": "x"}),
        (f"{POD}.containers.0.env.0", "value", 60),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_refuses_slips(version: str, path: str, key: str, value: Any) -> None:
    item = one(stored("minimal"), "CronJob")
    assert schema_problems(item, version) == []
    if value is None:
        del _at(item, path)[key]
    else:
        _at(item, path)[key] = value
    assert schema_problems(item, version)


def test_the_schema_refuses_slips_in_a_service_monitor() -> None:
    monitor = one(stored("scheduler"), "ServiceMonitor")
    changes: tuple[Callable[[Objekt], object], ...] = (
        lambda item: item["spec"].pop("endpoints"),
        lambda item: item["spec"].pop("selector"),
        lambda item: item["spec"].update(namespaceselector={}),
        lambda item: item["spec"]["endpoints"][0].update(interval="often"),
        lambda item: item["spec"]["endpoints"][0].update(honourLabels=True),
        lambda item: item["spec"]["endpoints"][0].update(port=9464),
    )
    for change in changes:
        changed = copy.deepcopy(monitor)
        change(changed)
        assert schema_problems(changed, VERSIONS[0])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "sloctl-" + "x" * 46),
        ("metadata.name", "Sloctl"),
        ("metadata.labels.team", "a b"),
        ("spec.timeZone", "Europe/Pari"),
        ("spec.schedule", "0 9 * *"),
        ("spec.concurrencyPolicy", "Never"),
        (f"{POD}.restartPolicy", "Always"),
        (f"{POD}.restartPolicy", "OnFailure"),
        (f"{POD}.volumes.0.configMap.name", "another"),
        (f"{POD}.volumes.2.persistentVolumeClaim.claimName", "another"),
        (f"{POD}.containers.0.volumeMounts.1.name", "another"),
        (f"{POD}.containers.0.name", "another"),
        (f"{POD}.containers.0.env.1.name", "HOME"),
    ],
)
def test_the_api_server_refuses_slips(path: str, value: str) -> None:
    items = stored("minimal")
    assert problems(items) == []
    head, _, last = path.rpartition(".")
    _at(one(items, "CronJob"), head)[last] = value
    assert problems(items)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.pop("securityContext"),
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["securityContext"].update(runAsNonRoot=False),
        lambda spec: spec["securityContext"].update(runAsUser=0),
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda spec: spec["containers"][0].pop("securityContext"),
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda spec: spec["containers"][0]["securityContext"].update(privileged=True),
        lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(drop=["NET_RAW"]),
        lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        lambda spec: spec["containers"].append({"name": "other"}),
    ],
)
def test_what_is_not_restricted_is_noticed(change: Callable[[Objekt], Any]) -> None:
    (pod,) = pods(stored("minimal"))
    assert unrestricted(pod["spec"]) == []
    change(pod["spec"])
    assert unrestricted(pod["spec"])


# When


def minutes(line: str) -> set[int]:
    """Minutes of a day at which a line of numbers, stars, ranges and steps is due."""

    def values(field: str, count: int) -> set[int]:
        span, _, step = field.partition("/")
        first, last = (0, count - 1) if span == "*" else [int(end) for end in (span.split("-") * 2)[:2]]
        return set(range(first, last + 1, int(step or 1)))

    minute, hour, *rest = line.split()
    assert rest == ["*", "*", "*"]
    return {60 * h + m for h in values(hour, 24) for m in values(minute, 60)}


EVERY = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440)


@pytest.mark.parametrize("every", EVERY)
def test_an_interval_is_a_minute_late_all_day(every: int) -> None:
    offset = 0 if every == 1 else 1
    job = Job("slis", every=60 * every)
    assert minutes(schedules.cron_line(job)) == set(range(offset, 1440, every))
    assert schedules.timezone(job) == "UTC"


@pytest.mark.parametrize(
    ("job", "late", "long"),
    [
        (Job("slis", every=60), 60, 600),
        (Job("slis", every=300), 150, 600),
        (Job("slis", every=1800), 900, 3600),
        (Job("slis", every=86400), 21600, 3600),
        (Job("report", cron="0 9 * * 1"), 21600, 3600),
        (Job("report", cron="*/10 9 * * *"), 21600, 1200),
        (Job("report", cron="0 9,10 * * *"), 21600, 3600),
    ],
)
def test_deadlines(job: Job, late: int, long: int) -> None:
    assert (schedules.start_within(job), schedules.run_within(job)) == (late, long)


@pytest.mark.parametrize(
    "line",
    ["*/10 9 * * *", "0 9 * * 1", "0 0 1 * *", "0 0 29 2 *", "5,6 * * * *", "59 23 31 12 *", "0 0,23 * * *"],
)
def test_the_shortest_pause_of_a_cron_line(line: str) -> None:
    """By going through the minutes of a dozen years."""
    fields = [set() if field == "*" else _expanded(field) for field in line.split()]
    due, day = [], datetime(2096, 1, 1)  # noqa: DTZ001 - the wall clock
    while day.year < 2109:
        parts = (day.day, day.month, day.isoweekday() % 7)
        if all(not want or part in want for want, part in zip(fields[2:], parts, strict=True)):
            due += [
                day + timedelta(hours=hour, minutes=minute)
                for hour in sorted(fields[1] or range(24))
                for minute in sorted(fields[0] or range(60))
            ]
        day += timedelta(days=1)
    pauses = [round((later - sooner).total_seconds()) for sooner, later in pairwise(due)]
    assert shortest_pause(line) == min(pauses)
    assert longest_pause(line) == max(pauses)


def _expanded(field: str) -> set[int]:
    return (
        set(range(0, 60, int(field[2:])))
        if field.startswith("*/")
        else {int(item) for item in field.split(",")}
    )


def test_jobs_of_one_name_are_told_apart_whatever_their_order() -> None:
    reports = [
        '{name: report, cron: "0 9 * * 1"}',
        '{name: report, cron: "0 9 * * *", timezone: Asia/Tokyo, post: slack}',
        '{name: report, cron: "0 9 * * 1", routine: monthly}',
    ]
    names = []
    for order in (reports, reports[::-1]):
        items = objects(BASE + "jobs:\n" + "".join(f"  - {job}\n" for job in order))
        assert problems(items) == []
        schedule = {i["metadata"]["name"]: i["spec"]["schedule"] for i in items if i["kind"] == "CronJob"}
        names.append(schedule)
    assert names[0] == names[1]
    assert len(names[0]) == 3
    cron_jobs = [item for item in items if item["kind"] == "CronJob"]
    assert [item["spec"]["timeZone"] for item in cron_jobs] == ["UTC", "Asia/Tokyo", "UTC"]
    arguments = [pod["spec"]["containers"][0]["args"][-2:] for pod in pods(items)]
    assert arguments == [["--routine", routine] for routine in ("monthly", "daily", "weekly")]


def test_reports_that_a_run_could_not_tell_apart() -> None:
    text = JOBS + '  - {name: slo_report, cron: "0 9 * * 1", timezone: Asia/Tokyo}\n'
    slo_set, sources = made(text)
    for form in ("operator", "prometheus"):
        with pytest.raises(UsageError, match="2 jobs 'report' are weekly"):
            list(manifests.generate(slo_set, form, sources))
    assert one(objects(text + "kubernetes: {mode: scheduler}\n"), "Deployment")


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_takes_what_pods_are_told(case: str) -> None:
    for pod in pods(stored(case)):
        command_line(pod["spec"]["containers"][0]["args"])
    for line in generated(case)["jobs/crontab"].splitlines():
        if re.match(r"[0-9*]", line):
            words = shlex.split(line)
            assert words[5] == "sloctl"
            assert words[-1] == ">/dev/null"
            command_line(words[6:-1])


def command_line(words: list[str]) -> None:
    context = cli.make_context("sloctl", list(words))
    name, command, arguments = cli.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    values = command.make_context(str(name), arguments, parent=context).params
    assert set(values.get("jobs", ())) <= set(job_names.NAMES)


def test_the_alert_on_late_jobs_reads_these_cron_jobs() -> None:
    from alert_rules import manifest

    slo_set, sources = made(JOBS + "  - {name: report, every: 1h}\nguardrails: [{preset: jobs}]\n")
    rules = "".join(text for path, text in manifest.generate(slo_set, "prometheus") if "/tests/" not in path)
    read = set(re.findall(r'cronjob=\\?"([^"\\]*)', rules))
    written = [read_yaml(text) for _, text in manifests.generate(slo_set, "operator", sources)]
    assert read == {item["metadata"]["name"] for item in written if item["kind"] == "CronJob"}
    assert len(read) == 3


# What


def test_a_cron_job_runs_its_job_on_the_mounted_file() -> None:
    items = objects(JOBS)
    for name, job in (("slis", "slis"), ("report", "report")):
        (container,) = pod_of(one(items, "CronJob", name))["spec"]["containers"]  # type: ignore[index]
        assert container["args"] == ["run", job, "-f", "/etc/sloctl/slo"]
        assert container["image"] == f"sloctl:{__version__}"
        assert {"name": "slo-file", "mountPath": "/etc/sloctl/slo", "readOnly": True} in container[
            "volumeMounts"
        ]


def test_only_what_posts_gets_slacks_secret() -> None:
    items = objects(JOBS)
    silent, posting = (pod_of(one(items, "CronJob", name)) for name in ("slis", "report"))
    assert silent is not None
    assert posting is not None
    assert "sloctl-slack" not in str(silent)
    assert environment(posting)["SLOCTL_SLACK_TOKEN_FILE"] == "/etc/sloctl/secrets/slack-token"
    assert "sloctl-slack" in str(posting["spec"]["volumes"])


def test_every_variable_is_one_that_sloctl_knows() -> None:
    documented = backends.__doc__ or ""
    known = set(re.findall(r"``([A-Z_]+)``", documented))
    assert "TOKEN_FILE" in known
    for pod in pods(stored("everything")):
        for name in environment(pod):
            match = re.fullmatch("SLOCTL_(PROMETHEUS|TRACES|ALERTMANAGER)_(.*)", name)
            assert match is None or match[2] in known, name
            if name.startswith(("SLOCTL_LEDGER_", "SLOCTL_SLACK_")):
                assert f"``{name}``" in f"{ledger.__doc__}{slack.__doc__}", name


def test_secrets_are_references_to_what_the_file_names() -> None:
    pod = pod_of(one(stored("everything"), "CronJob", "report"))
    assert pod is not None
    (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "secrets")
    files = {
        entry["path"]: (kind, part["name"], entry["key"])
        for source in volume["projected"]["sources"]
        for kind, part in source.items()
        for entry in part["items"]
    }
    variables = environment(pod)
    read = {
        name: files[Path(value).name] for name, value in variables.items() if str(value).startswith("/etc")
    }
    assert read == {
        "SLOCTL_LEDGER_URL_FILE": ("secret", "sloctl-ledger", "url"),
        "SLOCTL_PROMETHEUS_TOKEN_FILE": ("secret", "prometheus", "token"),
        "SLOCTL_PROMETHEUS_CA_FILE": ("configMap", "trusted", "ca.crt"),
        "SLOCTL_PROMETHEUS_CERT_FILE": ("secret", "tls", "tls.crt"),
        "SLOCTL_PROMETHEUS_KEY_FILE": ("secret", "tls", "tls.key"),
        "SLOCTL_TRACES_PASSWORD_FILE": ("secret", "tempo", "password"),
        "SLOCTL_TRACES_CA_FILE": ("secret", "tempo", "ca.crt"),
        "SLOCTL_ALERTMANAGER_TOKEN_FILE": ("secret", "alertmanager", "token"),
        "SLOCTL_SLACK_WEBHOOK_FILE": ("secret", "slack", "webhook"),
    }
    assert len(files) == len(read)
    assert volume["projected"]["defaultMode"] == 0o440
    assert variables["SLOCTL_PROMETHEUS_HEADERS"] == {
        "secretKeyRef": {"name": "prometheus", "key": "headers"}
    }
    assert variables["SLOCTL_TRACES_USERNAME"] == {"secretKeyRef": {"name": "tempo", "key": "user"}}
    assert "SLOCTL_LEDGER_URL" not in variables
    assert variables["GREETING"].replace("$$", "$") == "$(HOME) $$ 'yes': #"


def test_a_volume_of_one_node_brings_pods_together() -> None:
    pod = pod_of(one(objects(JOBS), "CronJob", "slis"))
    assert pod is not None
    (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # The first pod may go anywhere only because it matches its own term.
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert environment(pod)["SLOCTL_LEDGER_URL"] == "sqlite:////var/lib/sloctl/ledger.db"
    for other in (
        "ledger: {secret: a/b}",
        "ledger: {storage: 5Gi, access_mode: ReadWriteMany}",
        "ledger: {storage: 5Gi, access_mode: ReadWriteOncePod}",
        "mode: scheduler",
    ):
        for pod in pods(objects(f"{JOBS}kubernetes: {{{other}}}\n")):
            assert "affinity" not in pod["spec"], other


def test_pruning_by_the_set_does_not_find_the_ledger() -> None:
    items = objects(JOBS)
    claim = one(items, "PersistentVolumeClaim")
    part_of = naming.OBJECT_LABELS[1]
    assert part_of not in claim["metadata"]["labels"]
    assert all(part_of in item["metadata"]["labels"] for item in items if item is not claim)


def test_the_scheduler() -> None:
    items = stored("scheduler")
    kinds = ("Deployment", "Service", "ServiceMonitor")
    deployment, service, monitor = (one(items, kind, "sloctl-shop") for kind in kinds)
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]
    drain = {option.name: option.default for option in schedule.params}["drain"]
    assert isinstance(drain, (int, float))
    assert pod["spec"]["terminationGracePeriodSeconds"] >= drain + 30
    (container,) = pod["spec"]["containers"]
    assert container["args"][:5] == ["schedule", "-f", "/etc/sloctl/slo", "--listen", "0.0.0.0:9464"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["ports"][0]["containerPort"] == 9464
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["honorLabels"] is True
    assert not [item for item in items if item["kind"] == "CronJob"]
    assert "SLOCTL_SLACK_TOKEN_FILE" in environment(pod)


def test_live_pages_are_for_readers_and_read_a_ledger_in_a_database() -> None:
    alone = (ROOT / "scheduler" / "slo.yaml").read_text().replace(", served_by: scheduler", "")
    for items, ledger_url in ((stored("everything"), None), (objects(alone), "none")):
        deployment, service = (one(items, kind, "sloctl-shop-pages") for kind in ("Deployment", "Service"))
        pod = deployment["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        (port,) = container["ports"]
        assert (port["name"], port["containerPort"]) == (service["spec"]["ports"][0]["targetPort"], 8080)
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert environment(pod)["SLOCTL_SERVE_TOKEN_FILE"] == "/etc/sloctl/secrets/serve-token"
        assert environment(pod).get("SLOCTL_LEDGER_URL") == ledger_url
        assert ("SLOCTL_LEDGER_URL_FILE" in environment(pod)) == (ledger_url is None)
        assert "ledger" not in {volume["name"] for volume in pod["spec"]["volumes"]}
        others = [other for item in items if item is not deployment and (other := pod_of(item))]
        assert others and all("SLOCTL_SERVE_TOKEN_FILE" not in environment(other) for other in others)
    ingress = one(stored("everything"), "NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in ingress] == [8080]


def test_the_scheduler_may_serve_live_pages() -> None:
    items = stored("scheduler")
    deployment, service = one(items, "Deployment"), one(items, "Service", "pages")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"][-3:] == ["--pages", "0.0.0.0:8080", "--host=slo.example.org"]
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [
        ("metrics", 9464),
        ("http", 8080),
    ]
    assert container["readinessProbe"]["httpGet"]["port"] == "metrics"
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert environment(pod)["SLOCTL_SERVE_TOKEN_FILE"] == "/etc/sloctl/secrets/serve-token"
    assert environment(pod)["SLOCTL_LEDGER_URL"].startswith("sqlite:")
    schedule.make_context("schedule", container["args"][1:])
    before, _, rest = (ROOT / "scheduler" / "slo.yaml").read_text().partition("jobs:")
    without_jobs = objects(f"{before}kubernetes:{rest.partition('kubernetes:')[2]}")
    assert one(without_jobs, "Deployment")["metadata"]["name"] == "sloctl-shop-pages"


def test_ways_lead_to_the_service_of_live_pages() -> None:
    items = stored("everything")
    service, ingress, route = (one(items, kind, "pages") for kind in ("Service", "Ingress", "HTTPRoute"))
    (port,) = service["spec"]["ports"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    name = service["metadata"]["name"]
    assert path["backend"]["service"] == {"name": name, "port": {"name": port["name"]}}
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert backend == {"name": name, "port": port["port"]}
    arguments = one(items, "Deployment", "pages")["spec"]["template"]["spec"]["containers"][0]["args"]
    hosts = [word.partition("=")[2] for word in arguments if word.startswith("--host=")]
    assert hosts == [rule["host"]] == ingress["spec"]["tls"][0]["hosts"] == route["spec"]["hostnames"]
    changes: list[Objekt] = [{"hostnames": ["10.0.0.1"]}, {"parentRefs": [{}]}, {"hosts": []}]
    for change in changes:
        assert schema_problems(route | {"spec": route["spec"] | change}, VERSIONS[0])


def test_live_pages_need_no_jobs() -> None:
    text = (ROOT / "scheduler" / "slo.yaml").read_text()
    text = text.partition("jobs:")[0] + "kubernetes: {pages: {token: a/b}}\n"
    kinds = {item["kind"] for item in objects(text)}
    assert {"Deployment", "Service", "ConfigMap", "NetworkPolicy"} <= kinds
    assert not kinds & {"CronJob", "PersistentVolumeClaim"}


def egress(items: list[Objekt]) -> set[int]:
    policy = one(items, "NetworkPolicy")
    return {
        p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"] if p["port"] not in (53, 5353)
    }


def test_ports_of_the_network_policy() -> None:
    assert egress(stored("minimal")) == {80}
    assert egress(stored("everything")) == {443, 3200, 9093, 6432, 4318, 3128}
    assert egress(stored("scheduler")) == {9090, 443}
    assert one(stored("minimal"), "NetworkPolicy")["spec"]["ingress"] == []
    scheduler = one(stored("scheduler"), "NetworkPolicy")["spec"]
    scrapes = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    assert scheduler["ingress"] == [{"from": [scrapes], "ports": [{"protocol": "TCP", "port": 9464}]}]
    selected = scheduler["podSelector"]["matchLabels"].items()
    assert all(selected <= pod["metadata"]["labels"].items() for pod in pods(stored("scheduler")))
    assert not [item for item in stored("repeated") if item["kind"] == "NetworkPolicy"]


def test_who_scrapes_may_be_named() -> None:
    settings = KubernetesSettings(
        "scheduler", scrapers=(Scraper("monitoring"), Scraper(labels=(("app", "vmagent"),)))
    )
    peers = network.policy(SloSet("shop", (), kubernetes=settings))["spec"]["ingress"][0]["from"]  # type: ignore[index,call-overload]
    assert peers == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        },
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "vmagent"}}},
    ]


def test_an_address_in_the_environment_will_do() -> None:
    text = JOBS.replace('sources: {prometheus: {url: "http://prometheus:9090"}}\n', "")
    with pytest.raises(UsageError, match=r"sources\.prometheus"):
        objects(text)
    url = "http://thanos:10902"
    items = objects(f'{text}kubernetes: {{env: {{SLOCTL_PROMETHEUS_URL: "{url}"}}}}\n')
    assert urlsplit(url).port in egress(items)


def test_pods_stay_out_of_the_mesh_unless_they_are_told_to_join() -> None:
    label = "sidecar.istio.io/inject"
    assert {pod["metadata"]["labels"][label] for pod in pods(objects(JOBS))} == {"false"}
    joined = objects(f'{JOBS}kubernetes: {{pod_labels: {{{label}: "true"}}}}\n')
    assert {pod["metadata"]["labels"][label] for pod in pods(joined)} == {"true"}


# The SLO file


@pytest.mark.parametrize(
    "text",
    [
        JOBS.encode(),
        b"---\n" + JOBS.encode() + b"...\n",
        JOBS.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + JOBS.encode(),
        ("# Größe \xa0 \u200b \U0001f680 'x' \"y\" {{ z }} ${HOME} \\n \t\n" + JOBS).encode(),
        JOBS.encode() + b"\n\n\n",
        JOBS.encode().rstrip(b"\n"),
        b"\n\n" + JOBS.encode(),
        JOBS.replace("\n", "   \n").encode(),
        ("# " + "x" * 5000 + "\n" + JOBS).encode(),
        (JOBS + "reports: {slack: {channel: '#größe|`x`'}}\n").encode(),
    ],
    ids=range(11),
)
def test_the_file_is_exact(text: bytes) -> None:
    ((key, value),) = one(objects(text), "ConfigMap")["data"].items()
    assert key == "slo.yaml"
    assert value.encode() == text
    assert made(value)[0] == made(text)[0]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("slo.yaml", "slo.yaml"),
        ("/etc/a/b.yml", "b.yaml"),
        ("<stdin>", "slo.yaml"),
        ("/dev/fd/63", "63.yaml"),
        ("ü/ä.yaml", "slo.yaml"),
        ("..yaml", "slo.yaml"),
        (".hidden.yaml", "hidden.yaml"),
        ("a b\u200b$(x).YAML", "a-b-x.yaml"),
        ("x" * 300 + ".yaml", "x" * 100 + ".yaml"),
    ],
)
def test_names_of_files(name: str, key: str) -> None:
    items = objects(JOBS, name)
    assert list(one(items, "ConfigMap")["data"]) == [key]
    assert problems(items) == []


def test_several_files_keep_their_order_and_mean_the_same_in_the_pod(tmp_path: Path) -> None:
    """Mounted as Kubernetes does it: links to a hidden folder."""
    given = Path(__file__).parents[1] / "golden" / "jobs" / "several-files" / "slo"
    sources = spec.read([given])
    (data,) = (item["data"] for item in stored("several-files") if item["kind"] == "ConfigMap")
    assert [value.encode() for value in data.values()] == [source.content for source in sources]
    hidden = tmp_path / "..2026_03_01"
    hidden.mkdir()
    (tmp_path / "..data").symlink_to(hidden.name)
    for key, value in data.items():
        (hidden / key).write_bytes(value.encode())
        (tmp_path / key).symlink_to(Path("..data") / key)
    read = spec.read([tmp_path])
    assert [source.content for source in read] == [source.content for source in sources]
    assert _plain(spec.load_sources(read)) == _plain(spec.load_sources(sources))


@pytest.mark.parametrize("count", [2, 9, 10, 100])
def test_files_of_one_name_have_keys_of_their_own_that_sort_as_they_were_given(count: int) -> None:
    names = ["shop/slo.yaml", "pay/slo.yml", "<stdin>", "ü.yaml", "slo.yaml"]
    sources = [Source(names[n % len(names)], f"# {n}\n".encode()) for n in range(count - 1)]
    sources.insert(1, Source("/etc/slo.yaml", BASE.encode()))
    items = [
        read_yaml(text)
        for _, text in manifests.generate(
            spec.load_sources([Source("x", JOBS.encode())]), "operator", sources
        )
    ]
    data = one(items, "ConfigMap")["data"]
    assert [data[key].encode() for key in sorted(data)] == [source.content for source in sources]
    assert {key.partition("-")[2] for key in data} == {"slo.yaml"}
    assert problems(items) == []


def _plain(slo_set: SloSet) -> str:
    return re.sub(r"Position\([^)]*\)", "", str(slo_set))


def test_a_changed_file_changes_the_pods() -> None:
    def annotations(text: str) -> set[str]:
        return {str(pod["metadata"]["annotations"]) for pod in pods(objects(text))}

    assert len(annotations(JOBS)) == 1
    assert annotations(JOBS) == annotations(JOBS)
    assert annotations(JOBS) != annotations(JOBS + "# a comment\n")


def test_the_largest_file() -> None:
    room = 1024 * 1024 - len(JOBS)
    assert problems(objects(JOBS + "#" * (room - 1) + "\n")) == []
    with pytest.raises(UsageError, match="1048577 bytes"):
        objects(JOBS + "#" * room + "\n")


# The crontab


def cron(text: str) -> str:
    slo_set, sources = made(text)
    ((path, content),) = manifests.generate(slo_set, "prometheus", sources)
    assert path == "jobs/crontab"
    return content


def test_lines_of_the_crontab_stand_below_their_time_zone() -> None:
    zone, found = "", []
    for line in cron(JOBS + "  - {name: burn_rate, every: 1h}\n").splitlines():
        if line.startswith("CRON_TZ="):
            zone = line.partition("=")[2]
        elif re.match(r"[0-9*]", line):
            found.append((zone, " ".join(line.split()[:5]), line.split()[8]))
    assert found == [
        ("Europe/Paris", "0 9 * * 1", "report"),
        ("UTC", "1 * * * *", "burn_rate"),
        ("UTC", "1-59/5 * * * *", "slis"),
    ]


def test_jobs_read_the_files_with_the_values_that_rules_were_generated_with() -> None:
    text = JOBS.replace("name: shop}\n", "name: shop}\nenv: [{name: TEAM, default: $100 a}]\n", 1)
    text = text.replace("owner: team-shop", 'owner: "${TEAM}"')
    assert "env 'TEAM=$100 a' sloctl" in cron(text)
    variables = [environment(pod) for pod in pods(objects(text))]
    assert variables and all(found["TEAM"] == "$$100 a" for found in variables)


def test_a_percent_sign_does_not_end_a_command() -> None:
    assert crontab.command(["run", "a b", "100%"]) == "run 'a b' 100\\% >/dev/null"


def test_runs_of_one_name_share_a_textfile() -> None:
    """node_exporter refuses all of its metrics if a series stands in two files."""
    text = cron(JOBS + "  - {name: report, every: 1h}\nguardrails: [{preset: jobs}]\n")
    files = re.findall(r"run (\S+) .*--textfile (\S+)", text)
    assert len(files) == 3
    assert len({file for _, file in files}) == len({name for name, _ in files}) == 2
    assert "--textfile" not in cron(JOBS)


# Around it


def test_without_jobs_there_is_nothing() -> None:
    slo_set, sources = made(BASE)
    assert list(manifests.generate(slo_set, "operator", sources)) == []
    assert list(manifests.generate(slo_set, "prometheus", sources)) == []


@pytest.mark.parametrize("name", ["x" * 40, "a", "shop-slis", "0-1", "slo-file"])
def test_names_of_sets(name: str) -> None:
    text = JOBS.replace("name: shop}", f"name: {name}}}") + "  - {name: report, every: 1h}\n"
    both = [objects(f"{text}kubernetes: {{mode: {mode}}}\n") for mode in ("cronjobs", "scheduler")]
    for items in both:
        assert problems(items) == []


def test_sets_share_no_objects() -> None:
    """One set's name begins another's, or ends as a kind of object does."""
    items = [
        item
        for name in (
            "shop",
            "shop-slis",
            "shop-report",
            "shop-slo-file",
            "shop-ledger",
            "shop-report-719e4c30",
        )
        for item in objects(
            JOBS.replace("name: shop}", f"name: {name}}}") + "  - {name: report, every: 24h}\n"
        )
    ]
    assert problems(items) == []


def test_generating_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(JOBS)
    script = (
        "import atexit, sys, sloctl.cli\n"
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}))\n"
        "sys.argv = ['sloctl', 'generate', '-f', 'slo.yaml', '-o', 'out', '--only', 'jobs']\n"
        "sloctl.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "6 files written" in done.stderr
    loaded = set(done.stdout.split())
    assert "jobs" in loaded
    assert loaded & {"pandas", "numpy", "apscheduler", "grafanalib", "requests", "sqlalchemy"} == set()


def test_standard_input_is_read_once() -> None:
    sources = spec.read([Path("-")], stdin=io.BytesIO(JOBS.encode()))
    assert sources == (Source("<stdin>", JOBS.encode()),)
    assert spec.load_sources(sources).name == "shop"
