"""What is exported for Argo Rollouts and Flagger has the form of their definitions, and says the file's margin."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from alert_rules import analysis
from sloctl import spec
from sloctl.model import SloSet
from tests.support.yaml_text import read_yaml_all

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop, objects: {namespace: monitoring}}
sources: {prometheus: {url: "http://prometheus.monitoring:9090"}}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: availability, service: checkout, namespace: shop, objective: 99.95, sli: {preset: availability}}
  - {name: latency, service: checkout, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
  - {name: passed, service: istio-ingressgateway, namespace: istio-system, sli: {preset: gateway}}
"""
TEXT = {"type": "string", "minLength": 1}


def mapping(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [*required],
        "properties": required | (optional or {}),
    }


SPECS = {
    # What their custom resource definitions say of the keys that are written, and of no others.
    ("argoproj.io/v1alpha1", "AnalysisTemplate"): mapping(
        {
            "args": {"type": "array", "items": mapping({"name": TEXT})},
            "metrics": {
                "type": "array",
                "minItems": 1,
                "items": mapping(
                    {
                        "name": TEXT,
                        "interval": TEXT,
                        "initialDelay": TEXT,
                        "count": {"type": "integer"},
                        "failureLimit": {"type": "integer"},
                        "inconclusiveLimit": {"type": "integer"},
                        "successCondition": TEXT,
                        "failureCondition": TEXT,
                        "provider": mapping({"prometheus": mapping({"address": TEXT, "query": TEXT})}),
                    }
                ),
            },
        }
    ),
    ("flagger.app/v1beta1", "MetricTemplate"): mapping(
        {"provider": mapping({"type": {"enum": ["prometheus"]}, "address": TEXT}), "query": TEXT}
    ),
}
FORMS = {"argo": analysis.argo_rollouts, "flagger": analysis.flagger}


def slo_set(more: str = "") -> SloSet:
    return spec.load([Path("-")], stdin=BytesIO((SLO_FILE + more).encode()))


@pytest.mark.parametrize("form", FORMS)
def test_objects_have_the_form_of_their_definitions(form: str) -> None:
    text, left_out, written = FORMS[form](slo_set())
    documents = read_yaml_all(text)
    for document in documents:
        jsonschema.validate(document["spec"], SPECS[document["apiVersion"], document["kind"]])
        assert document["metadata"]["namespace"] == "monitoring"
        assert "http://prometheus.monitoring:9090" in str(document["spec"])
    names = [document["metadata"]["name"] for document in documents]
    assert (len({*names}), written, max(map(len, names)) <= 63) == (3, 3, True)
    assert [problem.code for problem in left_out] == ["export-left-out"]
    assert "the SLO passed of istio-ingressgateway" in left_out[0].message


def test_the_margin_is_the_file_s_or_the_objective_s() -> None:
    for more, limits in (
        ("", ["0.0005", "0.001", "0.01"]),
        ("release: {canary: {margin: 0.25}}\n", ["0.0025"] * 3),
    ):
        metrics = [
            metric
            for document in read_yaml_all(analysis.argo_rollouts(slo_set(more))[0])
            for metric in document["spec"]["metrics"]
        ]
        assert sorted(metric["failureCondition"].rpartition(" > ")[2] for metric in metrics) == limits
        assert sorted(metric["successCondition"].rpartition(" <= ")[2] for metric in metrics) == limits
    assert "thresholdRange: {max: 0.05}" in analysis.flagger(slo_set())[0]
