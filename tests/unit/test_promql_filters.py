"""SLOs of some requests of a service: what they count, where nothing matches, and what others see of them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from sloctl import naming, promql, spec
from sloctl.model import GRID, CounterSli, Matcher, Mesh, Slo, SloSet
from sloctl.promql.counting import present
from tests.support.promtool import Inputs, evaluate, loaded_rules, of_group, series

FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
slos:
  - {name: all, service: checkout, namespace: shop, sli: {preset: availability}}
  - {name: frontend, service: checkout, namespace: shop, sli: {preset: availability, from: shop/frontend}}
  - {name: reads, service: checkout, namespace: shop, sli: {preset: availability, where: {method: {in: [GET, HEAD]}}}}
  - name: limited
    service: checkout
    namespace: shop
    sli: {preset: availability, where: {response_code: {not: ["503"]}, response_flags: {not: [UO]}}}
  - {name: nobody, service: checkout, namespace: shop, sli: {preset: availability, from: shop/nobody}}
"""


def loaded(text: str = FILE) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO(text.encode()))


def counter(caller: str, code: str, method: str, flags: str = "-") -> str:
    return series(
        "istio_requests_total",
        reporter="source",
        source_workload=caller,
        source_workload_namespace="shop",
        destination_service_name="checkout",
        destination_service_namespace="shop",
        request_protocol="http",
        response_code=code,
        response_flags=flags,
        method=method,
        job="envoy",
        instance=caller,
        pod=caller,
    )


def test_each_slo_counts_the_requests_that_it_chooses_and_none_is_no_data() -> None:
    slo_set = loaded()
    up = {series("up", job="envoy", instance=name, pod=name): "1x20" for name in ("frontend", "batch")}
    inputs = {
        counter("frontend", "200", "GET"): "0+60x20",
        counter("frontend", "200", "POST"): "0+30x20",
        # First seen with events in it: other counters of the same proxy show that it is new.
        counter("frontend", "500", "HEAD"): "_x9 7 7 7 7 7 7 7 7 7 7 7",
        counter("batch", "503", "POST"): "0+10x20",
        counter("batch", "503", "POST", "UO"): "0+5x20",
    }
    names = {slo.id: slo.name for slo in slo_set.slos}
    rules = of_group(loaded_rules(slo_set), "tiles")
    queries = [
        (f"sum by (slo_id) (sum_over_time({metric}[599999ms]))", "15m")
        for metric in (naming.TOTAL_TILE, naming.BAD_TILE)
    ]
    [(total, bad)] = evaluate(rules, [Inputs(inputs | up, queries)])
    counts = [{names[labels["slo_id"]]: round(value, 6) for labels, value in part} for part in (total, bad)]
    assert counts == [
        {"all": 900 + 7 + 150, "frontend": 907, "reads": 607, "limited": 907},
        {"all": 7 + 150, "frontend": 7, "reads": 7, "limited": 7},
    ]


def test_what_is_read_raw_is_chosen_too() -> None:
    slo_set = loaded()
    where = '{where}source_workload="frontend",source_workload_namespace="shop"'
    slo = next(slo for slo in slo_set.slos if slo.name == "frontend")
    texts = [
        *promql.events(slo, slo_set.mesh, GRID).values(),
        *promql.events(slo, slo_set.mesh, GRID, other_side=True).values(),
        promql.causes_rule(slo, slo_set.mesh, GRID),
        promql.gap_rule(slo, slo_set.mesh),
        promql.largest_step(slo, slo_set.mesh, GRID),
        present(slo, slo_set.mesh, GRID),
    ]
    for text in texts:
        assert where.format(where="") in text


def test_a_latency_slo_of_some_requests_compares_with_those() -> None:
    text = FILE.replace("preset: availability, from", "preset: latency, from").replace(
        "metadata: {name: shop}", "metadata: {name: shop}\nmesh: {histograms: native}"
    )
    slo_set = loaded(text)
    slo = next(slo for slo in slo_set.slos if slo.name == "frontend")
    assert isinstance(slo.sli, CounterSli) and slo.sli.native
    assert promql.unmeasured(slo, slo_set.mesh).count('source_workload="frontend"') == 2
    (rule, *_) = promql.base_rules([slo], slo_set.mesh, GRID)
    assert 'source_workload="frontend"' in rule[1]


def test_the_other_side_of_a_filtered_slo_is_that_of_its_own_requests() -> None:
    slo = next(slo for slo in loaded().slos if slo.name == "frontend")
    assert isinstance(slo.sli, CounterSli) and slo.sli.other_side is not None
    query = promql.base_of_set("shop", slo.sli.other_side, slo.sli.other_side.total, 3600)
    assert "service:requests_filtered:increase5m{" in query
    assert f'{naming.FILTER}="source_workload=\\"frontend\\"' in query


def test_siblings_are_counters_of_all_requests() -> None:
    slo_set = loaded()
    slo = next(slo for slo in slo_set.slos if slo.name == "reads")
    rules = promql.base_rules([slo], slo_set.mesh, GRID)
    texts = {labels[naming.COUNTED]: text for labels, text in rules}
    selectors = re.findall(r"istio_requests_total\{([^}]*)\}", texts["new"])
    assert {"method" in one for one in selectors} == {True, False}


def test_values_are_matched_exactly() -> None:
    text = FILE.replace("{in: [GET, HEAD]}", "{in: ['a|b', 'c.*']}").replace("method:", "'path':")
    slo = next(slo for slo in loaded(text).slos if slo.name == "reads")
    assert isinstance(slo.sli, CounterSli)
    (matcher,) = slo.sli.where
    assert [bool(re.fullmatch(matcher.value, value)) for value in ("a|b", "c.*", "a", "b", "cx")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert dict(slo.sli.example)["path"] == "a|b"


def test_slos_that_choose_alike_share_their_base_events() -> None:
    where = (Matcher("a", "=", "b"),)

    def slo(name: str, *matchers: Matcher) -> Slo:
        one = loaded().slos[0]
        assert isinstance(one.sli, CounterSli)
        return replace(one, name=name, objective=Decimal(99), sli=replace(one.sli, where=matchers))

    families = promql.base_families([slo("a"), slo("b", *where), slo("c", *where), slo("d")])
    assert [[slo.name for slo in members] for members in families] == [["a", "d"], ["b", "c"]]
    assert len(promql.base_rules(families[1], Mesh(), GRID)) == 3
