"""The reference page of the SLO file (docs/slo-file.md), made from the loader's own tables, and the codes of
problems."""

from __future__ import annotations

import json

from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model.durations import duration, number
from sloctl.spec.fields.shapes import Field, Object
from sloctl.spec.reference.prose import END, INTRODUCTION, SECTIONS
from sloctl.spec.sections import (
    dashboards,
    env,
    file,
    guardrails,
    jobs,
    kubernetes,
    ledger,
    maintenance,
    mesh,
    metadata,
    notifications,
    owners,
    release,
    reports,
    slis,
    slos,
    sources,
)

CODES: dict[str, str] = {
    # the text of the file
    "encoding": "The file is not UTF-8.",
    "control-character": "A control character, in the file or in a value.",
    "empty-file": "The file has no content.",
    "too-large": "The file has more than 10 MiB, or more than 500000 values.",
    "depth": "Values are nested too deep.",
    "yaml-syntax": "The text is not YAML.",
    "yaml-tag": "A YAML tag (`!…`); they are not supported.",
    "yaml-alias": "An alias without anchor, one that contains itself, or aliases that expand to too much.",
    "yaml-merge": "A merge key (`<<`) whose value is no mapping.",
    "yaml-key": "A key that is not plain text.",
    "yaml-value": "YAML makes something else of a plain value: `yes` is true, `1:30` is 90.",
    "duplicate-key": "The same key twice in a mapping.",
    "not-rendered": "A template (`{{ … }}`) or a variable (`${NAME}`) that was not filled in.",
    "other-format": "A file of another tool: Sloth, Pyrra, OpenSLO, …; [`sloctl import` converts these](migrate.md).",
    # keys and values
    "unknown-key": "A key that does not exist here.",
    "missing-key": "A key that must be there is not.",
    "no-value": "A key without a value.",
    "key-conflict": "Keys that exclude each other.",
    "bad-key": "A name that is not allowed, such as a label with a dash.",
    "wrong-type": "A list where text is needed, text where a number is needed, …",
    "bad-value": "A value of a form or size that is not allowed.",
    "too-precise": "More decimals than six.",
    "duration-range": "A duration that is too short or too long.",
    "duration-step": "A duration that is not a multiple of the step it needs.",
    "bad-url": "An address that is not one, or has parts it may not have.",
    "inline-secret": "A password or token; credentials come from the environment.",
    "placeholder": "An unknown placeholder in an address.",
    "template": "A Prometheus template (`{{ … }}`) in plain text.",
    "unknown-timezone": "A name that is not in the time zone database.",
    "reserved-label": "A label that sloctl sets itself.",
    "matcher-label": "A mesh matcher on a label that not all series of a target have.",
    "bad-regex": "A regular expression that Prometheus cannot use.",
    "bucket-order": "Histogram bounds that do not ascend.",
    "other-engine": "What the engine (`sources.prometheus.engine`) does not have.",
    "target-label": "A target label that is repeated or tells no targets apart.",
    # variables and overlays
    "unset-variable": "A variable of `env` that is not set and has no default.",
    "unknown-variable": "A variable that `env` does not name.",
    "duplicate-variable": "A variable twice.",
    "variable-place": "A variable in an expression or a regular expression, where none is filled in.",
    "overlay-unknown": "An overlay of something that is not there, or that several items are.",
    "overlay-nothing": "An overlay that removes a key that is not there.",
    "overlay-replaces": "An overlay's list that loses what the list had which it replaces.",
    "overlay-item": "Something that an overlay cannot say.",
    # SLOs
    "no-metadata": "No document names the set.",
    "no-slos": "No document has SLOs.",
    "conflict": "Two documents say different things of the set.",
    "duplicate-slo": "Two SLOs of the same service and name.",
    "no-namespace": "An SLO of the mesh without namespace, or with one twice.",
    "no-objective": "An SLO without objective, and no default for it.",
    "preset-parameter": "A parameter that the preset cannot use, such as a threshold that is no bound.",
    "events-wildcard": 'An `events` or `samples` SLI for `service: "*"` without `per`, or `per` elsewhere.',
    "promql-syntax": "An expression that is not PromQL.",
    "promql-comment": "A comment in an expression.",
    "promql-events": "An expression whose value is no number of events.",
    "promql-type": "An expression that is no vector.",
    "promql-window": "A range other than `[$window]` in `rate()` or `increase()` of a selector.",
    "promql-gauge": "Something else than a selector with a metric, where samples of a gauge are counted.",
    "samples-counter": "Warning: samples of a metric that is called as counters are.",
    "promql-per": "An expression whose value has no longer the label that `per` names.",
    "promql-mixed": "`rate()` and `increase()` in one SLI.",
    "window-starts": "`starts` beside another unit of the calendar than a week.",
    "window-step": "A window over 6h that is not a multiple of 5m.",
    "window-order": "A short window that is not shorter than the long one.",
    "duplicate-alert": "Two lines of a policy that make the same alert.",
    "alert-window": "An alert that looks back further than the SLO's period.",
    "alert-never-fires": "An alert that needs more than all events to be bad.",
    # the rest
    "duplicate-guardrail": "A guardrail twice.",
    "source-parameter": "A key of `sources` that does not go with the others.",
    "guardrail-parameter": "A parameter that the guardrail does not take, or a limit in another unit.",
    "unknown-receiver": "A receiver that is not defined.",
    "dashboard-parameter": "A key of `dashboards` that does not go with the others, or a dashboard twice.",
    "kubernetes-parameter": "A key of `kubernetes` that does not go with the others, or an item twice.",
    "bad-cron": "A cron line that is malformed, never due, or read in different ways.",
    "uneven-interval": "An interval that no cron line can say.",
    "ledger-keep": "The ledger would keep less than a window needs.",
    "release-order": "Fixes would be frozen earlier than other releases.",
    "maintenance-order": "Maintenance that ends before it begins.",
    "duplicate-job": "A job twice with the same schedule.",
    "job-without-routine": "`routine` on a job that is no report.",
    # warnings
    "own-defaults": "Warning: defaults that hold for one file's SLOs, while another file's have none.",
    "no-owner": "Warning: an SLO or a guardrail without owner.",
    "shared-volume": "Warning: a ledger on a volume that several nodes mount.",
    "no-alertmanager": "Warning: silences are to excuse, and the file has no address of Alertmanager.",
    "unknown-owner": "Warning: a route or a channel for an owner whom nothing belongs to, or an owner of nothing.",
}


_TABLES: dict[str, tuple[Object, ...]] = {
    "The document": (file.FILE,),
    "env": (env.VARIABLE,),
    "metadata": (metadata.METADATA, metadata.OBJECTS),
    "mesh": (mesh.MESH, mesh.MATCHER_FORMS),
    "sources": (sources.SOURCES, sources.PROMETHEUS, sources.ADDRESS, sources.TRACES),
    "defaults": (slos.DEFAULTS,),
    "owners": (owners.OWNER,),
    "slos": (slos.SLO,),
    "Windows": (slos.CALENDAR,),
    "Presets": (*slis.SLI.objects.values(), slis.WHERE_FORMS),
    "Events of your own": (slis.SLI.others["events"], slis.EVENTS),
    "Gauges and probes": (slis.SLI.others["samples"], slis.SAMPLES),
    "Alerting": (slos.POLICY, slos.BURN_WINDOW),
    "guardrails": (guardrails.GUARDRAIL,),
    "notifications": (
        notifications.NOTIFICATIONS,
        notifications.RECEIVER,
        notifications.RECEIVER_SLACK,
        notifications.RECEIVER_PAGERDUTY,
        notifications.RECEIVER_EMAIL,
        notifications.RECEIVER_OPSGENIE,
        notifications.RECEIVER_TEAMS,
        notifications.RECEIVER_WEBHOOK,
        notifications.ROUTING_DEFAULT,
        notifications.ROUTING,
    ),
    "dashboards": (dashboards.DASHBOARDS, dashboards.COSTS),
    "jobs": (jobs.JOB,),
    "ledger": (ledger.LEDGER, ledger.KEEP),
    "maintenance": (maintenance.MAINTENANCE,),
    "release": (release.RELEASE, release.CANARY),
    "reports": (reports.REPORTS, reports.SLACK),
    "kubernetes": (
        kubernetes.KUBERNETES,
        kubernetes.LEDGER,
        kubernetes.PROMETHEUS_LOGIN,
        kubernetes.TRACES_LOGIN,
        kubernetes.ALERTMANAGER_LOGIN,
        kubernetes.CERTIFICATES,
        kubernetes.SLACK_LOGIN,
        kubernetes.OTLP,
        kubernetes.RESOURCES,
        kubernetes.SCRAPER,
        kubernetes.TOLERATION,
        kubernetes.PAGES,
        kubernetes.READER,
        kubernetes.INGRESS,
        kubernetes.ROUTE,
    ),
}
"""The objects that each section of the page describes; a test holds that none is left out."""


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION.strip()]
    for title, (text, example) in SECTIONS.items():
        parts += [f"## {title}", text.strip()]
        if example:
            parts.append(f"```yaml\n{example.strip()}\n```")
        if title == "guardrails":
            parts.append(_guardrails())
        shapes = _TABLES.get(title, ())
        for shape in shapes:
            if len(shapes) > 1 and shape.doc:
                parts.append(shape.doc)
            parts += _table(shape)
    parts.append(END.strip())
    parts.append("| code | what it stands for |\n|---|---|\n" + _rows(CODES))
    return "\n\n".join(parts) + "\n"


def _rows(codes: dict[str, str]) -> str:
    return "\n".join(f"| `{code}` | {_cell(text)} |" for code, text in codes.items())


def _table(shape: Object) -> list[str]:
    rows = ["| key | value | without it | meaning |", "|---|---|---|---|"]
    for field in shape.fields:
        rows.append(
            f"| `{field.key}` | {_cell(field.type.words)} | {_without(shape, field)} | {_meaning(field)} |"
        )
    return ["\n".join(rows), *(f"Exactly one of {_listed(group)} must be given." for group in shape.one_of)]


def _guardrails() -> str:
    """The guardrails with their default limits and parameters."""
    rows = ["| preset | what is watched | limit | further keys |", "|---|---|---|---|"]
    for kind in GUARDRAIL_PRESETS.values():
        limit = "–"
        if kind.limit:
            unit = {"percent": " %", "duration": "", "number": ""}[kind.limit.unit]
            value = kind.limit.default
            shown = duration(float(value)) if kind.limit.unit == "duration" else number(value)
            limit = f"`{kind.limit.side}`: {shown}{unit}"
        keys = ", ".join(f"`{name}`" for name in sorted(kind.params)) or "–"
        rows.append(f"| `{kind.name}` | {_cell(kind.summary)} | {limit} | {keys} |")
    return "\n".join(rows)


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(f"`{key}`" for key in keys[:-1]) + f" and `{keys[-1]}`"


def _without(shape: Object, field: Field) -> str:
    if field.required:
        return "required"
    if any(field.key in group for group in shape.one_of):
        return "one is required"
    return _cell(shape.without(field)) or "–"


def _meaning(field: Field) -> str:
    if not field.examples:
        return _cell(field.doc)
    examples = ", ".join(f"`{json.dumps(example, ensure_ascii=False)}`" for example in field.examples)
    return f"{_cell(field.doc)} Example{'s' * (len(field.examples) > 1)}: {_cell(examples)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
