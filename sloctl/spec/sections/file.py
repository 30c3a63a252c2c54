"""The whole SLO file: its sections, how several documents are one, and how they become a :class:`~sloctl.model.SloSet`.

Of several documents lists add up, and a file may have defaults for what is in it; everything else may be said in one
place (or twice the same). The JSON Schema (draft 2020-12) for editors is made from the same tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sloctl.model import LONGEST_SILENCE, Mesh, SloSet
from sloctl.promql.presets import PRESETS
from sloctl.spec.fields.shapes import PLACES, Block, Field, Items, Object, Section
from sloctl.spec.fields.values import Choice, Reader, WrittenDuration
from sloctl.spec.sections import overlay
from sloctl.spec.sections.common import Defaults
from sloctl.spec.sections.dashboards import COSTS, DASHBOARDS
from sloctl.spec.sections.env import ENV
from sloctl.spec.sections.guardrails import GUARDRAIL, guardrails
from sloctl.spec.sections.guardrails import warn_of_nobody as guardrails_without_owner
from sloctl.spec.sections.jobs import JOB, jobs
from sloctl.spec.sections.kubernetes import KUBERNETES, RESOURCES
from sloctl.spec.sections.ledger import KEEP, LEDGER, ledger, warn_of_silences
from sloctl.spec.sections.maintenance import MAINTENANCE
from sloctl.spec.sections.mesh import MESH, mesh
from sloctl.spec.sections.metadata import METADATA
from sloctl.spec.sections.notifications import NOTIFICATIONS, notifications, warn_of_owners
from sloctl.spec.sections.overlay import holds_for_all
from sloctl.spec.sections.owners import OWNER, Owners
from sloctl.spec.sections.release import CANARY, RELEASE
from sloctl.spec.sections.reports import REPORTS, warn_of_channels
from sloctl.spec.sections.slis import EVENTS, SAMPLES, preset_fields
from sloctl.spec.sections.slos import BURN_WINDOW, DEFAULTS, POLICY, SLO, slos
from sloctl.spec.sections.slos import warn_of_nobody as slos_without_owner
from sloctl.spec.sections.sources import SOURCES
from sloctl.spec.yaml.tree import MAPPING, SCALAR, Node


def merge(file: Object, documents: Sequence[Block], reader: Reader) -> Block:
    """The block that the documents of a file are together; it stands where the first of them starts.

    The items of lists keep their nodes. Mappings that are given twice must be the same.
    """
    start = documents[0].node
    whole = Block(Node(MAPPING, start.file, start.line, start.column), "")
    for document in documents:
        for key, node in document.node.entries.items():
            whole.node.entries.setdefault(key, node)
            whole.node.keys.setdefault(key, document.node.keys[key])
    for document in documents:  # what an overlay removed, it did there
        for key, node in document.node.keys.items():
            whole.node.keys.setdefault(key, node)
    for item in file.fields:
        given = [document for document in documents if document.has(item.key)]
        if isinstance(item.type, Items):
            whole.values[item.key] = [one for document in given for one in document.items(item.key)]
        elif given:
            whole.values[item.key] = given[0].get(item.key)
            if isinstance(item.type, Object) and item.key != "defaults":
                _same(item.key, given, reader)
    return whole


def _same(
    key: str, given: Sequence[Block], reader: Reader, hint: str = "give it in one place, or the same in each"
) -> None:
    first = given[0].at(key)
    for document in given[1:]:
        if not first.same(document.at(key)):
            message = f"'{key}' is also given in {first.file}:{first.line}, and says something else there"
            reader.add(document.node.keys[key], key, "conflict", message, hint)


def _defaults(documents: Sequence[Block], reader: Reader) -> Defaults:
    """The defaults of the set, and those of files for what is in them.

    Those of a file with ``metadata``, or without anything that they could be for, are the set's.
    """
    files: dict[tuple[str, bool], list[Block]] = {}
    for document in documents:
        files.setdefault(overlay.place(document.node), []).append(document)
    of_set: list[Block] = []
    of_files: dict[str, Block] = {}
    lacking: list[Node] = []
    for (name, _), blocks in files.items():
        given = [block for block in blocks if block.has("defaults")]
        uses = [block.at(key) for block in blocks for key in ("slos", "guardrails") if block.has(key)]
        if given and holds_for_all([block.node for block in blocks]):
            of_set += given
        elif given:
            _same("defaults", given, reader)
            if (own := given[0].get("defaults")) is not None:
                of_files[name] = own
        else:
            lacking += uses[:1]
    if of_set:
        hint = "defaults of one file's SLOs stand in a file without 'metadata'; those of the set in one place"
        _same("defaults", of_set, reader, hint)
    elif of_files and lacking:
        first = next(iter(of_files.values()))
        message = f"these defaults hold for the SLOs of this file alone, and {lacking[0].file} has none"
        hint = "what is to hold for all files belongs beside 'metadata', or in a file without SLOs"
        reader.add(first.node, "defaults", "own-defaults", message, hint, severity="warning")
    return Defaults(of_set[0].get("defaults") if of_set else None, of_files)


API_VERSION = "sloctl/v1"
KIND = "MeshSLOs"

FILE = Section(
    "file",
    model=SloSet,
    doc="An SLO file: everything about the SLOs of a mesh.",
    fields=(
        Field("apiVersion", Choice((API_VERSION,)), "Version of the format.", required=True),
        Field("kind", Choice((KIND,)), "Kind of the document.", required=True),
        Field("env", ENV, "Variables of the environment that are filled in here.", examples=(["CLUSTER"],)),
        Field("metadata", METADATA, "Names the set. Needed once."),
        Field("mesh", MESH, "How the mesh exposes its metrics."),
        Field("sources", SOURCES, "Addresses of the servers."),
        Field("defaults", DEFAULTS, "What holds for SLOs that do not say otherwise."),
        Field("owners", Items(OWNER, minimum=0), "Who answers for SLOs that name no owner."),
        Field("slos", Items(SLO), "The SLOs."),
        Field("guardrails", Items(GUARDRAIL, minimum=0), "Thresholds rather than budgets."),
        Field("jobs", Items(JOB, minimum=0), "Jobs and their schedules."),
        Field("ledger", LEDGER, "How the ledger is kept."),
        Field("maintenance", Items(MAINTENANCE, minimum=0), "Time that counts in no budget."),
        Field("release", RELEASE, "When a service may be released."),
        Field("notifications", NOTIFICATIONS, "Who is told of which alerts."),
        Field("dashboards", DASHBOARDS, "Where Grafana's dashboards go."),
        Field("reports", REPORTS, "Where reports are posted."),
        Field("kubernetes", KUBERNETES, "How jobs run on Kubernetes."),
    ),
    apart={
        "apiVersion": "tells what the file is",
        "kind": "tells what the file is",
        "env": "filled in before anything else is read",
        "variables": "what `env` names",
        "defaults": "what the SLOs and guardrails do not say themselves",
        "owners": "SLOs that name nobody take theirs from it",
        "mesh": "the SLIs depend on it",
        "slos": "they depend on the mesh and the defaults",
        "guardrails": "they depend on the defaults",
        "jobs": "no two are the same",
        "ledger": "what is kept depends on the windows of the SLOs",
        "notifications": "whom they name must be there",
        "longest_silence": "a key of `notifications`",
        "warnings": "what loading adds",
    },
)
"""Its sections. Of several documents, a list has the items of all, and a mapping stands in one."""

for _place, _object in (
    ("the document itself", FILE),
    ("metadata", METADATA),
    ("mesh", MESH),
    ("sources", SOURCES),
    ("an item of slos", SLO),
    ("sli.events", EVENTS),
    ("alerting.windows", BURN_WINDOW),
    ("alerting", POLICY),
    ("an item of jobs", JOB),
    ("an item of guardrails", GUARDRAIL),
    ("notifications", NOTIFICATIONS),
    ("dashboards", DASHBOARDS),
    ("dashboards.costs", COSTS),
    ("kubernetes", KUBERNETES),
    ("kubernetes.resources", RESOURCES),
    ("ledger", LEDGER),
    ("ledger.keep", KEEP),
    ("an item of maintenance", MAINTENANCE),
    ("release", RELEASE),
    ("release.canary", CANARY),
    ("sli.samples", SAMPLES),
):
    for _field in _object.fields:
        PLACES.setdefault(_field.key, _place)
PLACES["preset"] = PLACES["events"] = PLACES["samples"] = "sli"
for _preset in PRESETS.values():
    for _field in preset_fields(_preset):
        PLACES[_field.key] = "sli"


def build(documents: Sequence[Block], reader: Reader, *, complete: bool) -> SloSet | None:
    """The set that the documents describe; None if it has errors (all of which the reader then holds).

    ``complete`` is False if a file could not be read: then nothing is said about what is missing.
    """
    whole = merge(FILE, documents, reader)
    metadata, told = whole.get("metadata"), whole.get("notifications")
    defaults = _defaults(documents, reader)
    name = metadata.get("name") if metadata is not None else None
    silence: WrittenDuration | None = told.get("longest_silence") if told is not None else None
    istio = mesh(whole.get("mesh"), reader)
    owners = Owners([block for _, block in whole.items("owners")], reader)
    promised = slos(whole, defaults, owners, name or "", istio, reader)
    watched = guardrails(whole, defaults, reader)
    receivers = notifications(told, reader)
    _histograms_are_kept(whole, istio, reader)
    found = FILE.build(
        whole,
        reader,
        mesh=istio,
        slos=promised,
        guardrails=watched,
        jobs=jobs(whole, reader),
        ledger=ledger(whole.get("ledger"), promised, reader),
        notifications=receivers,
        longest_silence=LONGEST_SILENCE if silence is None else silence.seconds,
    )
    if complete:
        _missing(whole, reader)
    if reader.failed:
        return None
    slos_without_owner(promised, whole, reader)
    guardrails_without_owner(watched, whole, reader)
    warn_of_owners(told, receivers, promised, watched, reader)
    owners.warn_of_unused(promised)
    warn_of_channels(whole.get("reports"), promised, reader)
    if found is not None:
        warn_of_silences(whole.get("ledger"), found.ledger, found.sources, reader)
    return found


def _histograms_are_kept(whole: Block, istio: Mesh, reader: Reader) -> None:
    """Not every engine has native histograms."""
    sources, block = whole.get("sources"), whole.get("mesh")
    prometheus = sources.get("prometheus") if sources is not None else None
    engine = prometheus.get("engine") if prometheus is not None else None
    if engine == "victoriametrics" and istio.histograms == "native":
        message = "VictoriaMetrics has no native histograms of Prometheus"
        hint = "remove 'histograms: native', and let vmagent scrape the classic ones"
        reader.add(block.at("histograms"), block.child("histograms"), "other-engine", message, hint)


def _missing(whole: Block, reader: Reader) -> None:
    if not whole.has("metadata"):
        message = "no document has 'metadata'"
        reader.add(
            whole.node.keys.get("metadata", whole.node),
            "metadata",
            "no-metadata",
            message,
            "add 'metadata: {name: …}' to one of them",
        )
    if not whole.has("slos"):
        dropped = whole.node.keys.get("slos")
        message = "the overlay drops the last SLO" if dropped else "no document has SLOs ('slos')"
        hint = "leave one" if dropped else "'sloctl init' writes a first one"
        reader.add(dropped or whole.node, "slos", "no-slos", message, hint)


def is_empty(node: Node) -> bool:
    """Whether a document has no content at all."""
    return node.kind == SCALAR and node.empty


DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one document. What a schema cannot say (bounds of histograms, PromQL, …) only the loader checks."""
    defs: dict[str, Any] = {}
    root = FILE.schema(defs)
    return {
        "$schema": DRAFT,
        "title": "SLO file of sloctl",
        **root,
        "$defs": dict(sorted(defs.items())),
    }


def overlay_schema() -> dict[str, Any]:
    """The schema of an overlay."""
    return overlay.schema(json_schema())
