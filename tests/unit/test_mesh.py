"""What is found in the mesh's configuration, and what is not: every code with a case, and with one that is clean.

``tests/golden/mesh/`` holds the cases, parted by ``# case:`` lines. ``# ! code severity at TEXT: words`` in a line
says what is found there, where TEXT begins (``above`` and ``next``: a line before, or after), with ``words`` in its
message or hint. Nothing else may be found.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sloctl import spec
from sloctl.mesh import CODES, Finding, Result, Traffic, lint, objects, rendering
from sloctl.mesh.traffic import Call
from sloctl.mesh.world import Mesh
from tests.support.doc_pages import text_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/golden/mesh"
CASE = re.compile(r"^# case: (.+)\n", re.MULTILINE)
MARK = re.compile(r"# ! ([a-z0-9-]+) (error|warning|note) (?:(above|next) )?at (\S+): (.*)$")
TRAFFIC = {"versions-differ", "amplification-measured"}
"""Codes that need traffic: cases of their own."""

GATEWAY = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: own, namespace: shop}\n"


def cases() -> list[tuple[str, str]]:
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        parts = CASE.split(file.read_text(encoding="utf-8"))[1:]
        found += list(zip(parts[::2], parts[1::2], strict=True))
    return found


def linted(text: str, **options: Any) -> Result:
    return lint([spec.Source("mesh.yaml", text.encode())], **options)


def wanted(text: str) -> dict[tuple[int, int, str, str], str]:
    lines = text.split("\n")
    found = {}
    for number, line in enumerate(lines, 1):
        if (mark := MARK.search(line)) is not None:
            code, severity, where, at, words = mark.groups()
            place = number + {"above": -1, "next": 1}.get(where, 0)
            column = lines[place - 1].partition(" # ! ")[0].index(at) + 1
            found[place, column, code, severity] = words
    return found


@pytest.mark.parametrize("gateway", ["[]", "{a: b}", "[[]]"])
def test_what_is_no_name_among_gateways_is_not_taken_for_one(gateway: str) -> None:
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: shop}\n"
    result = linted(head + f"spec: {{hosts: [a], gateways: [{gateway}, shop/gone]}}\n---\n{GATEWAY}")
    assert [item.code for item in result.findings if item.code == "gateway-unknown"] == ["gateway-unknown"]
    assert "shop/gone" in next(i.message for i in result.findings if i.code == "gateway-unknown")


OVERLAYS = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-1-28, namespace: istio-system}
data: {mesh: 'defaultDestinationRuleExportTo: ["."]'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-1-29, namespace: istio-system}
data: {mesh: 'defaultDestinationRuleExportTo: ["*"]'}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: web}
spec:
  hosts: [a.shop.svc.cluster.local]
  http: [{route: [{destination: {host: a.shop.svc.cluster.local, subset: v1, port: {number: 80}}}]}]
"""


def test_of_overlays_and_revisions_all_services_and_mesh_configs_count() -> None:
    found = linted(OVERLAYS)
    assert not [item for item in found.findings if item.severity == "error"]
    assert any("which MeshConfig holds: mesh.yaml" in text for text in found.unknown)
    wrong = linted(OVERLAYS.replace('["*"]', '["."]').replace("number: 80", "number: 81"))
    assert {item.code for item in wrong.findings} >= {"subset-unknown", "port-unknown"}
    assert not any("MeshConfig" in text for text in wrong.unknown)


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: ["{host}"], ports: [{{number: {port}, name: http, protocol: HTTP}}]}}
---"""
OUT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out, namespace: shop}
spec: {hosts: [api.example.com], http: [{route: [{destination: {host: api.example.com, port: {number: 80}}}]}]}
"""


def test_the_ports_of_a_wildcard_are_not_those_of_a_host_that_is_defined_by_itself() -> None:
    wide = ENTRY.format(name="wide", host="*.example.com", port=80)
    exact = ENTRY.format(name="exact", host="api.example.com", port=8443)
    assert linted(wide + OUT).findings == ()
    assert [item.code for item in linted(wide + exact + OUT).findings] == ["port-unknown"]


def test_a_mesh_config_that_is_no_mapping_is_not_left_out_in_silence() -> None:
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    (problem,) = linted(head + "data: {mesh: '[1]'}\n").problems
    assert (problem.position.line, problem.severity) == (4, "error") and "not read" in problem.message


@pytest.mark.parametrize(("name", "text"), cases(), ids=[name for name, _ in cases()])
def test_case(name: str, text: str) -> None:
    result = linted(text)
    assert result.problems == ()
    said: dict[tuple[int, int, str, str], Finding] = {
        (item.position.line, item.position.column, item.code, item.severity): item for item in result.findings
    }
    expected = wanted(text)
    assert {key: said[key].message for key in said} == {
        key: said[key].message if key in said else words for key, words in expected.items()
    }
    for key, words in expected.items():
        assert words in f"{said[key].message}\n{said[key].hint}"


def test_every_code_is_found_and_is_not_found() -> None:
    """A code without a case, or without a section in the docs, is not allowed; nor a case that shows nothing."""
    found = {key[2] for _, text in cases() for key in wanted(text)}
    clean = {
        code
        for name, text in cases()
        for code in re.findall(r"^(?:# also: )?clean ([a-z0-9-]+)", f"{name}\n{text}", re.MULTILINE)
    }
    assert found | TRAFFIC == set(CODES)
    assert clean | TRAFFIC == set(CODES)
    modules = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "sloctl/mesh").glob("*.py"))
    for code in CODES:
        assert modules.count(f'"{code}"') >= 2, f"{code} is found nowhere"
    page = text_of(ROOT / "docs/lint-mesh.md")
    assert re.findall(r"^### ([a-z0-9-]+)$", page, re.MULTILINE) == list(CODES)


# With traffic

SUBSETS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stock, namespace: shop}
spec:
  hosts: [stock]
  http:
    - match: [{method: {exact: GET}}]
      retries: {attempts: 2, retryOn: 5xx}
      route:
        - {destination: {host: stock, subset: v1}, weight: 90}
        - {destination: {host: stock, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stock, namespace: shop}
spec:
  host: stock
  trafficPolicy: {connectionPool: {http: {maxRetries: 3}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
CALLS = (
    Call(("istio-system", "istio-ingressgateway"), ("shop", "cart"), 10.0, 1.0),
    Call(("shop", "cart"), ("shop", "stock"), 20.0, 1.2),
    Call(("shop", "batch"), ("shop", "stock"), 5.0, None),
)


def traffic(*calls: Call, **versions: float) -> Traffic:
    return Traffic(3600, calls, {("shop", "stock"): versions}, frozenset({"stock.shop.svc.cluster.local"}))


def told(result: Result) -> list[tuple[str, str, str]]:
    return [(item.code, item.severity, item.message) for item in result.findings]


def test_versions_that_are_routed_to_and_versions_that_serve() -> None:
    assert told(linted(SUBSETS, traffic=traffic(v1=9.0, v2=1.0))) == []
    assert told(linted(SUBSETS, traffic=traffic(v1=9.0, v0=0.5))) == [
        ("versions-differ", "warning", "shop/stock 'v0' has 0.5 requests a second, and no route leads to it"),
        (
            "versions-differ",
            "note",
            "a route leads to shop/stock 'v2', which has had no requests in 60 minutes",
        ),
    ]
    without = SUBSETS.replace("labels: {version: v2}", "labels: {track: canary}")
    assert told(linted(without, traffic=traffic(v1=9.0, v0=0.5))) == [], "which pods v2 has is not known"
    assert told(linted(SUBSETS, traffic=traffic())) == [], "no traffic says nothing of versions"


def test_amplification_beside_what_the_configuration_allows() -> None:
    """Of 25 requests a second, each tried three times, 75 reach a service that fails; the gateway repeats no answer."""
    result = linted(SUBSETS, traffic=traffic(*CALLS))
    by_client = {
        edge.client.partition(".")[0]: edge for edge in result.edges if edge.server.startswith("stock")
    }
    assert [
        (edge.tries, edge.worst, edge.rate, edge.measured, edge.failing) for edge in by_client.values()
    ] == [
        (3, 3, 5.0, None, 75.0),
        (3, 3, 20.0, 1.2, 75.0),
    ]
    assert told(result) == []
    more = (Call(("shop", "cart"), ("shop", "stock"), 20.0, 3.6),)
    assert told(linted(SUBSETS, traffic=traffic(*more))) == [
        (
            "amplification-measured",
            "warning",
            "shop/cart → shop/stock: 3.6 attempts per request, where this route allows 3",
        )
    ]


def test_extra_load_along_the_path_of_the_traffic() -> None:
    """The gateway repeats what cart answers: 20 of cart's requests a second become 40, tried three times: 120 + 15."""
    public = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: shop}
spec:
  hosts: [www.example.org]
  gateways: [shop/public]
  http:
    - match: [{method: {exact: GET}}]
      retries: {attempts: 1, retryOn: 5xx}
      route: [{destination: {host: cart}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart, trafficPolicy: {connectionPool: {http: {maxRetries: 3}}}}
"""
    assert told(linted(SUBSETS + public, traffic=traffic(*CALLS))) == [
        (
            "retries-multiply",
            "note",
            "istio-system/istio-ingressgateway → shop/cart → shop/stock: when shop/stock fails, one request becomes "
            "up to 2 × 3 = 6; today's 25 requests a second become up to 135",
        )
    ]


# Files as they are


def test_lists_of_kubectl_and_json() -> None:
    item = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"hosts": ["a"], "htttp": []},
    }
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [item, {"kind": "VirtualServiceList", "items": [item]}],
    }
    result = linted(json.dumps(listed, indent=2))
    assert [(item.position.line, item.code) for item in result.findings] == [
        (16, "unknown-field"),
        (33, "unknown-field"),
    ]
    assert result.objects == 2


@pytest.mark.parametrize(
    "text",
    [
        "{{- if .Values.mesh }}\napiVersion: networking.istio.io/v1\nkind: VirtualService\n{{- end }}\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: '{{ .Release.Name }}'}\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: {{ .Release.Name }}\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: {hosts: ['${HOST}']}\n",
    ],
    ids=["directive", "quoted", "unquoted", "variable"],
)
def test_templates_are_refused(text: str) -> None:
    result = linted(text)
    assert [problem.code for problem in result.problems] == ["not-rendered"]
    assert result.findings == ()


def test_what_is_not_the_meshs_may_be_as_it_likes() -> None:
    """Templates of Grafana, tags of CloudFormation, keys that stand twice: none of that is judged."""
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: board}\ndata: {legend: '{{pod}}', query: '${datasource}'}\n"
        "---\nResources: {a: !Ref b}\n---\nkind: Secret\nkind: Secret\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
        "spec: {hosts: [a], hosts: [b]}\n"
    )
    result = linted(text)
    assert [(problem.code, problem.position.line) for problem in result.problems] == [("duplicate-key", 14)]
    assert (result.objects, result.skipped) == (1, 3)


HOSTILE = "e\x1b[31mvil\n::error::owned\u202e%0A"


def hostile() -> Result:
    item = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": HOSTILE, "namespace": HOSTILE},
        "spec": {
            "hosts": [HOSTILE],
            HOSTILE: 1,
            "http": [{"route": [{"destination": {"host": HOSTILE}}] * 2}],
        },
    }
    return linted(json.dumps(item))


def test_names_get_no_command_to_a_terminal_or_a_workflow() -> None:
    result = hostile()
    assert {item.code for item in result.findings} == {"unknown-field", "weight-zero"}
    for form in ("text", "github", "json", "sarif"):
        text = rendering.text_of(result, form)
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    lines = rendering.text_of(result, "github").split("\n")
    assert [line.split(" ")[0] for line in lines] == ["::error"] * len(result.findings)
    assert all(line.count("::") == 2 or "::error::owned" not in line.split("::", 2)[1] for line in lines)


def bomb() -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(levels) + "\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (bomb(), "yaml-alias"),
        ("[" * 1000, "depth"),
        ("a: b: c", "yaml-syntax"),
        ("\x00", "control-character"),
    ],
    ids=["bomb", "deep", "syntax", "control"],
)
def test_what_cannot_be_read_is_a_problem(text: str, code: str) -> None:
    assert [problem.code for problem in linted(text).problems] == [code]


def test_objects_say_themselves_what_is_to_be_ignored() -> None:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        "metadata: {name: a, annotations: {sloctl/lint-ignore: 'fault-injection, weight-zero'}}\n"
        "spec: {hosts: [a], http: [{fault: {abort: {percentage: {value: 1}, httpStatus: 500}}, "
        "route: [{destination: {host: a}, weight: 7}]}]}\n"
    )
    result = linted(text)
    assert [item.code for item in result.findings] == ["weights-not-100"]
    assert result.ignored == 1
    assert linted(text, ignore=("weights-not-100",)).findings == ()
    assert linted(text.replace("fault-injection, weight-zero", "*")).ignored == 2


def test_delegates_have_the_hosts_and_retries_of_their_root() -> None:
    text = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: web}
spec:
  hosts: [www.example.org]
  gateways: [web/public]
  http:
    - match: [{uri: {prefix: /shop}}]
      timeout: 4s
      delegate: {name: shop, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  http:
    - match: [{method: {exact: GET}}]
      retries: {attempts: 2, perTryTimeout: 2s, retryOn: 5xx}
      route: [{destination: {host: shop}}]
"""
    assert [(item.code, item.position.line) for item in linted(text).findings] == [
        ("retries-exceed-timeout", 18)
    ]


def test_defaults_of_the_mesh_count_where_a_route_says_nothing() -> None:
    mesh = "---\nkind: ConfigMap\napiVersion: v1\nmetadata: {name: istio}\ndata: {mesh: '%s'}\n"
    off = mesh % "defaultHttpRetryPolicy: {attempts: 0}"
    calls = traffic(Call(("shop", "a"), ("shop", "b"), 1.0))
    some = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n"
    assert [edge.tries for edge in linted(some, traffic=calls).edges] == [3]
    assert [edge.tries for edge in linted(some + off, traffic=calls).edges] == [1]


def test_a_try_of_the_gateway_api_is_the_whole_request_where_nothing_is_retried() -> None:
    """Istio takes backendRequest for the route's timeout unless there is a retry, for which it is the time of a try."""
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a, namespace: shop}\n"
        "spec: {parentRefs: [{kind: Service, group: '', name: a}], rules: [{timeouts: {request: 9s, "
        "backendRequest: 2s}, backendRefs: [{name: a, port: 80}]}]}\n"
    )
    routes = []
    for given in (text, text.replace("timeouts:", "retry: {attempts: 1}, timeouts:")):
        read = objects.read([spec.Source("mesh.yaml", given.encode())], "default")
        routes += Mesh(read.objects, "istio-system").routes
    assert [(route.timeout, route.retries.per_try) for route in routes] == [(2.0, None), (9.0, 2.0)]


# Forms


def test_forms() -> None:
    text = next(text for name, text in cases() if name.startswith("weight-zero"))
    result = linted(text)
    as_json = json.loads(rendering.text_of(result, "json"))
    assert as_json["schema"] == "sloctl.lint-mesh/v1"
    assert as_json["findings"][0] == {
        "file": "mesh.yaml",
        "line": 8,
        "column": 48,
        "object": "VirtualService shop/reviews",
        "code": "weight-zero",
        "severity": "error",
        "message": "the weights are all 0: Istio refuses that",
        "hint": "give each destination its share of 100",
    }
    assert rendering.text_of(result, "github").split("\n")[0] == (
        "::error title=weight-zero,file=mesh.yaml,line=8,col=48::VirtualService shop/reviews: "
        "the weights are all 0: Istio refuses that%0Agive each destination its share of 100"
    )
    run = json.loads(rendering.text_of(result, "sarif"))["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[item["ruleIndex"]] for item in run["results"]] == [item.code for item in result.findings]
    assert {item["level"] for item in run["results"]} <= {"error", "warning", "note"}
