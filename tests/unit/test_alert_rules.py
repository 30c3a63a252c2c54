"""Rule files as data: names, labels, texts and what belongs together."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_rules import burn_alerts, health, incident_texts, manifest
from alert_rules.proofs import simulate, slo_proofs
from sloctl import naming
from sloctl.artefacts.objects import Format
from sloctl.model import AlertPolicy, BurnWindow, CalendarWindow, ExprSli, Guardrail, Slo, SloSet, Sources
from sloctl.model.policies import POLICIES, EventGate
from sloctl.promql import incident
from tests.support.promtool import days, slo
from tests.support.yaml_text import read_yaml


def documents(slo_set: SloSet, form: Format = "prometheus") -> dict[str, Any]:
    return {path: read_yaml(text) for path, text in manifest.generate(slo_set, form)}


def rules(slo_set: SloSet) -> list[dict[str, Any]]:
    return [
        rule
        for path, document in documents(slo_set).items()
        if "/tests/" not in path
        for group in document["groups"]
        for rule in group["rules"]
    ]


def one(*slos: Slo, **more: Any) -> SloSet:
    return SloSet("shop", slos, **more)


class TestFiles:
    def test_one_file_and_its_tests_per_scope(self) -> None:
        found = documents(one(slo(), slo("latency"), slo(service="*"), slo(namespace="other")))
        assert len(found) == 15
        assert all(path.startswith("alert_rules/") for path in found)

    def test_without_proofs_there_are_rules_alone(self) -> None:
        slo_set = one(slo(), guardrails=(Guardrail("service-errors", Decimal(1)),))
        every = dict(manifest.generate(slo_set, "operator"))
        assert dict(manifest.generate(slo_set, "operator", proofs=False)) == {
            path: text for path, text in every.items() if "/tests/" not in path
        }

    def test_a_test_has_what_its_alerts_read_and_no_more(self) -> None:
        slo_set = one(slo(), slo("latency", policy=None))
        found = documents(slo_set)
        read = {
            path.rpartition("-")[2]: [
                (group["name"].rpartition(":")[2], rule.get("record") or rule["alert"])
                for group in found[path]["groups"]
                for rule in group["rules"]
            ]
            for path in found
            if "/tests/" in path and not path.endswith("_test.yaml")
        }
        base = ["service:requests:increase1m"] * 3
        tiles = [*base, naming.TOTAL_TILE, naming.BAD_TILE]
        pages = ["AvailabilityBudgetBurnPage1h", "AvailabilityBudgetBurnPage6h"]
        rates = [naming.burn_rate(seconds) for seconds in (300, 1800, 3600, 21600)]
        assert [name for kind, name in read["tiles.yaml"] if kind == "tiles"] == [*tiles, *rates, *pages]
        assert [name for kind, name in read["grid.yaml"] if kind == "tiles"] == [*tiles, rates[-1]]
        grid = [name for kind, name in read["grid.yaml"] if kind == "grid"]
        assert grid[-2:] == [naming.burn_rate(3 * 86400), "AvailabilityBudgetBurnTicket3d"]
        assert not {naming.GAP_GRID, naming.PERIOD_BAD, naming.REMAINING} & set(grid)

    def test_the_order_of_slos_in_the_file_does_not_matter(self) -> None:
        slos = (slo(), slo("latency"), slo(service="*"), slo(service="cart"))
        assert list(manifest.generate(one(*slos), "operator")) == list(
            manifest.generate(one(*slos[::-1]), "operator")
        )

    def test_groups_for_a_ruler_that_writes_remotely_have_no_more_rules_than_mimir_takes(self) -> None:
        """Their order means nothing there; each rule stays in its file, and tests name every group."""
        names = ("errors", "availability", "grpc", "latency")
        slos = tuple(slo("availability", name=name, service="*") for name in names)
        whole = one(*slos, sources=Sources(engine="prometheus"))
        assert max(len(group.rules) for file in manifest.rule_files(whole) for group in file.groups) > 20
        remote = replace(whole, sources=Sources(engine="remote"))
        [file] = manifest.rule_files(remote)
        assert all(0 < len(group.rules) <= 20 for group in file.groups)
        assert {group.interval for group in file.groups} == {60, 300}
        found = documents(remote)
        [loaded] = [document["groups"] for path, document in found.items() if "/tests/" not in path]
        for path in (path for path in found if path.endswith("_test.yaml")):
            copied = [group["name"] for group in found[path.replace("_test", "")]["groups"]]
            assert copied == found[path]["group_eval_order"]
            assert set(copied) <= {group["name"] for group in loaded}
        every = [rule.get("record") or rule["alert"] for group in loaded for rule in group["rules"]]
        assert {naming.TOTAL_GRID, naming.BAD_GRID, naming.TOTAL_TILE, naming.BAD_TILE} <= set(every)
        assert len(every) == sum(len(group.rules) for group in file.groups)

    def test_services_that_look_alike_have_files_of_their_own(self) -> None:
        names = ("a.b", "a-b", "A-b", "a_b", "all-services", "*", "ü", "x" * 80, "x" * 81)
        paths = list(documents(one(*(slo(service=name) for name in names))))
        assert len({path.lower() for path in paths}) == 5 * len(names)

    def test_scopes_whose_names_run_together_have_files_of_their_own(self) -> None:
        """Service c-d of namespace b, and service d of namespace b-c."""
        alike = (slo(namespace="b", service="c-d"), slo(namespace="b-c", service="d"))
        both, alone = one(*alike, slo(namespace="b", service="e")), one(alike[0])
        assert list(documents(alone)) == [
            "alert_rules/shop-b-c-d.yaml",
            *(
                f"alert_rules/tests/shop-b-c-d-{part}.yaml"
                for part in ("tiles", "tiles_test", "grid", "grid_test")
            ),
        ]
        for form in ("prometheus", "operator"):
            paths = [path for path, _ in manifest.generate(both, form)]
            assert len(set(paths)) == len(paths)
        files = {file.stem: {item.scope for item in file.slos} for file in manifest.rule_files(both)}
        assert list(files.values()) == [{"shop:b/c-d"}, {"shop:b/e"}, {"shop:b-c/d"}]
        assert "shop-b-e" in files and "shop-b-c-d" not in files
        names = [
            document["metadata"]["name"]
            for document in documents(both, "operator").values()
            if document.get("kind") == "PrometheusRule"
        ]
        assert names == list(files)

    def test_groups_run_on_their_grids(self) -> None:
        [document] = (d for p, d in documents(one(slo())).items() if "/tests/" not in p)
        assert [group["interval"] for group in document["groups"]] == ["1m", "5m"]

    def test_no_rule_reads_what_is_recorded_after_it(self) -> None:
        """Within a group, rules run in order: total before bad, burn rates before the alerts on them."""
        slos = one(slo(), slo("latency"), slo("grpc"))
        for path, document in documents(slos).items():
            if path.endswith("_test.yaml"):
                continue
            for group in document["groups"]:
                own = [rule["record"] for rule in group["rules"] if "record" in rule]
                ids = [(r.get("record"), r["labels"].get("slo_id")) for r in group["rules"]]
                for index, rule in enumerate(group["rules"]):
                    for name in {name for name in own if re.search(rf"{re.escape(name)}\b", rule["expr"])}:
                        key = (name, rule["labels"].get("slo_id") if name.startswith("slo:") else None)
                        if key in ids:
                            assert ids.index(key) < index, (name, rule)


class TestLabels:
    def test_who_and_what_on_every_alert(self) -> None:
        checkout = replace(slo(), owner="team-payments", labels=(("tier", "1"), ("team", "b")))
        found = [
            rule for rule in rules(one(checkout, labels=(("team", "a"), ("stage", "p")))) if "alert" in rule
        ]
        assert len(found) == 3
        for rule in found:
            assert rule["labels"]["owner"] == "team-payments"
            assert rule["labels"] | {"team": "b", "tier": "1", "stage": "p"} == rule["labels"]
            assert rule["labels"]["severity"] in ("page", "ticket")

    def test_labels_of_the_set_are_on_every_series(self) -> None:
        for rule in rules(one(slo(), labels=(("team", "a"),))):
            assert rule["labels"]["team"] == "a"

    def test_a_named_service_has_its_name_and_every_service_its_own(self) -> None:
        for rule in rules(one(slo(policy=None))):
            assert (rule["labels"]["namespace"], rule["labels"]["service"]) == ("shop", "checkout")
        for rule in rules(one(slo(service="*", policy=None))):
            constant = rule["record"] in (naming.OBJECTIVE, naming.BUDGET)
            assert ("service" in rule["labels"]) is constant

    def test_objective_and_budget_are_exact(self) -> None:
        found = {
            rule["record"]: rule["expr"] for rule in rules(one(slo(objective="99.95"))) if "record" in rule
        }
        assert found[naming.OBJECTIVE] == "vector(0.9995)"
        assert found[naming.BUDGET] == "vector(0.0005)"


def read(template: str, namespace: str, service: str) -> str:
    """What Prometheus makes of the template of an owner, for the labels of an alert."""
    branches = re.split(r"\{\{ (else if|if|else|end)\b ?(.*?) ?\}\}", template.partition(" }}")[2])
    if len(branches) == 1:
        return template
    says = {"$service": f"{namespace}/{service}", "$labels.namespace": namespace}
    assert branches[0] == "" and branches[-3:] == ["end", "", ""]
    assert branches[1::3] == ["if", *["else if"] * (len(branches) // 3 - 3), "else", "end"]
    for word, condition, text in zip(branches[1:-3:3], branches[2:-3:3], branches[3:-3:3], strict=True):
        what = re.fullmatch(r'eq (\S+)((?: "[^"]*")+)', condition)
        if word == "else" or (what and says[what[1]] in re.findall(r'"([^"]*)"', what[2])):
            return text
    raise AssertionError(template)


JOBS = ExprSli("rate(jobs[$window])", bad="rate(late[$window])")


class TestOwners:
    OWNED = one(
        replace(slo(), owner="team-payments"),
        replace(slo("latency"), owner="team-speed"),
        replace(slo(service="*"), owner="team-shop"),
        slo(service="search"),
        replace(slo(service="gate"), owner="team-platform"),
        replace(slo(service="api", namespace="bare"), owner="team-api"),
        replace(slo(service="billing", namespace=""), owner="team-off-the-mesh"),
        replace(slo(service="*", namespace="other"), owner="team-mail", per="queue", sli=JOBS),
        guardrails=(
            Guardrail("service-errors", Decimal(5), critical=Decimal(20), owner="team-platform"),
            Guardrail("control-plane", Decimal(10), owner="team-platform"),
        ),
    )

    @pytest.mark.parametrize(
        ("namespace", "service", "owner"),
        [
            pytest.param("shop", "checkout", "team-payments", id="the service's first one"),
            pytest.param("shop", "cart", "team-shop", id="the namespace's"),
            pytest.param("shop", "search", "team-shop", id="a service of nobody's: the namespace's"),
            pytest.param("shop", "gate", "team-platform", id="a service of the guardrail's own"),
            pytest.param("bare", "api", "team-api", id="a service of a namespace of nobody's"),
            pytest.param("bare", "checkout", "team-platform", id="the guardrail's"),
            pytest.param("other", "checkout", "team-platform", id="not of a label's values"),
            pytest.param("", "billing", "team-platform", id="not of an SLO off the mesh"),
        ],
    )
    def test_a_service_its_namespace_or_the_guardrail(self, namespace: str, service: str, owner: str) -> None:
        guardrail = self.OWNED.guardrails[0]
        assert health.owner_of(self.OWNED, guardrail, namespace, service) == owner
        found = {
            read(rule["labels"]["owner"], namespace, service)
            for rule in rules(self.OWNED)
            if rule.get("labels", {}).get("guardrail") == "service-errors"
        }
        assert found == {owner}

    def test_what_is_of_no_service_is_the_guardrails(self) -> None:
        found = {
            rule["labels"]["owner"]
            for rule in rules(self.OWNED)
            if rule.get("labels", {}).get("guardrail") == "control-plane"
        }
        assert found == {"team-platform"}

    def test_where_one_answers_for_all_the_label_is_a_plain_text(self) -> None:
        slos = (slo(), slo(service="*"), slo(service="api", namespace="bare"), slo(service="a", namespace=""))
        alone = replace(self.OWNED, slos=tuple(replace(item, owner="team-platform") for item in slos))
        owners = {rule["labels"]["owner"] for rule in rules(alone) if "alert" in rule}
        assert owners == {"team-platform"}

    def test_without_an_owner_of_its_own_a_guardrail_has_those_of_services_alone(self) -> None:
        nobodys = replace(self.OWNED, guardrails=(Guardrail("service-errors", Decimal(5)),))
        (template,) = {
            rule["labels"]["owner"]
            for rule in rules(nobodys)
            if rule.get("labels", {}).get("guardrail") == "service-errors"
        }
        assert read(template, "shop", "gate") == "team-platform"
        assert (
            read(template, "other", "checkout")
            == health.owner_of(nobodys, nobodys.guardrails[0], "other", "a")
            == ""
        )


class TestPeriods:
    def test_a_calendar_window_has_burn_rates_and_no_period(self) -> None:
        month = slo(window=CalendarWindow("month", "Europe/Paris"))
        records = {rule["record"] for rule in rules(one(month)) if "record" in rule}
        assert records.isdisjoint({naming.PERIOD_BAD, naming.PERIOD_TOTAL, naming.REMAINING})
        assert {"slo:burn_rate:1h", naming.OBJECTIVE} <= records

    @pytest.mark.parametrize(("period", "factor"), [(30, "14"), (90, "42"), (28, "13.0666"), (7, "3.2666")])
    def test_factors_keep_the_share_of_the_budget(self, period: int, factor: str) -> None:
        page = next(rule for rule in rules(one(slo(window=days(period)))) if "alert" in rule)
        written = re.search(r"> (\S+)\n", page["expr"])
        assert written
        assert written[1].startswith(factor)
        spent = Decimal(written[1]) * 3600 / (period * 86400)
        assert abs(spent - Decimal(14) / 720) < Decimal("1e-6")

    def test_no_policy_is_no_alert_and_the_budget_stays(self) -> None:
        found = rules(one(slo(policy=None)))
        assert not [rule for rule in found if "alert" in rule]
        assert naming.REMAINING in {rule["record"] for rule in found}

    @pytest.mark.parametrize("policy", POLICIES)
    def test_each_line_of_a_policy_is_an_alert(self, policy: str) -> None:
        found = [rule["alert"] for rule in rules(one(slo(policy=POLICIES[policy]))) if "alert" in rule]
        assert len(found) == len(set(found)) == len(POLICIES[policy].windows)


def filled(text: str) -> str:
    """What Prometheus makes of a text without template code but for :func:`burn_alerts.literal`'s."""
    return text.replace('{{ "{{" }}', "{{").replace('{{ "{" }}', "{")


class TestTexts:
    @given(st.text())
    def test_a_text_of_the_file_is_never_template_code(self, text: str) -> None:
        written = burn_alerts.literal(text)
        assert filled(written) == text
        after = f"{written}{{{{ end }}}}"  # as if template code of ours came next
        assert after.replace('{{ "{{" }}', "").replace('{{ "{" }}', "").count("{{") == 1
        assert not after.replace('{{ "{{" }}', "").replace('{{ "{" }}', "").endswith("{{{ end }}")

    def test_description_runbook_and_dashboard(self) -> None:
        checkout = replace(
            slo(), description="Pays {{ $value }}", runbook="https://r/{set}/{slo}/{alert}", dashboard="https://d/{service}"
        )  # fmt: skip
        notes = next(rule for rule in rules(one(checkout)) if "alert" in rule)["annotations"]
        assert notes["runbook_url"] == "https://r/shop/availability/AvailabilityBudgetBurnPage1h"
        assert notes["dashboard_url"] == "https://d/checkout"
        assert filled(notes["description"]).endswith("Pays {{ $value }}")
        assert "costs 1.9 % of the budget, and a whole budget lasts 2d3h25m" in notes["description"]

    def test_links_of_every_service_name_the_one_that_burns(self) -> None:
        notes = next(
            rule
            for rule in rules(one(replace(slo(service="*"), runbook="https://r/{service}")))
            if "alert" in rule
        )["annotations"]
        assert notes["runbook_url"] == "https://r/{{ $labels.service | urlquery }}"

    def test_without_a_runbook_of_its_own_an_alert_says_how_to_get_ours(self) -> None:
        [*_, last] = rules(one(slo()))
        assert set(last["annotations"]) == {"summary", "description", "now", "cause"}
        what = "sloctl runbooks BudgetBurn --service checkout --namespace shop"
        assert last["annotations"]["description"].endswith(f" What to do: {what}")
        [*_, last] = rules(one(slo(service="*")))
        plain = "--service {{ $labels.service | reReplaceAll `[^-._a-zA-Z0-9]` `` }} --namespace shop"
        assert last["annotations"]["description"].endswith(plain)
        [*_, last] = rules(one(slo(), sources=Sources(runbooks="https://wiki.example.org/rb")))
        assert last["annotations"]["runbook_url"] == "https://wiki.example.org/rb/budget-burn.md"

    def test_no_dashboard_without_a_place_to_link_to(self) -> None:
        [*_, last] = rules(one(slo(), sources=Sources(grafana="https://grafana.example.org/")))
        link = last["annotations"]["dashboard_url"]
        assert link.startswith("https://grafana.example.org/d/sloctl-shop-budget?")
        assert link.endswith(f"&from={incident_texts.moment(incident.began(3 * 86400))}&to=now")

    @pytest.mark.parametrize(
        ("backend", "failing", "slow"),
        [
            (
                "jaeger",
                "/search?service=checkout.shop&tags=%7B%22error%22%3A%22true%22%7D&",
                "minDuration=250ms&",
            ),
            ("zipkin", "/zipkin/?serviceName=checkout.shop&annotationQuery=error&", "minDuration=250000us&"),
            ("tempo", "status%20%3D%20error", "duration%20%3E%20250ms"),
        ],
    )
    def test_traces_of_what_fails_and_of_what_is_slow(self, backend: str, failing: str, slow: str) -> None:
        sources = Sources(traces_backend=backend, traces="http://traces:1", traces_ui="https://t.example.org")
        for made, sought in ((slo(), failing), (slo("latency", {"threshold": "250ms"}), slow)):
            [*_, last] = rules(one(made, sources=sources))
            link = last["annotations"]["traces_url"]
            assert link.startswith("https://t.example.org/") and sought in link
            assert "checkout.shop" in link and "time()" in link

    def test_the_live_page_that_explains_what_fails_and_that_of_what_is_slow(self) -> None:
        sources = Sources(pages="https://slo.example.org/")
        own = replace(slo(), sli=ExprSli("rate(a[$window])", bad="rate(b[$window])"), namespace="")
        base = "https://slo.example.org"
        at = incident_texts.moment("time()")
        for made, first, last in (
            (slo(), f"{base}/explain?namespace=shop&service=checkout&last=1h&at={at}", f"last=6h&at={at}"),
            (slo("latency", {"threshold": "250ms"}), f"{base}/slo/shop/checkout/latency", "/latency"),
            (own, f"{base}/slo/-/checkout/availability", "/availability"),
        ):
            texts = [rule.get("annotations", {}) for rule in rules(one(made, sources=sources))]
            found = [each["explain_url"] for each in texts if each]
            assert found[0] == first and found[-1].endswith(last)
        assert "explain_url" not in rules(one(slo()))[-1]["annotations"]

    def test_a_label_leads_to_the_live_page_of_its_own_value_whatever_it_holds(self) -> None:
        sources = Sources(pages="https://slo.example.org")
        queues = replace(slo(service="*", namespace="shop"), per="queue", sli=JOBS)
        for made, start in ((queues, "/slo/shop/"), (slo(service="*"), "/explain?namespace=shop&service=")):
            [*_, last] = rules(one(made, sources=sources))
            link = last["annotations"]["explain_url"]
            assert link.startswith(f"https://slo.example.org{start}{incident_texts.escaped_label('service')}")
            # As the page's own address is written.
            assert slo_proofs.filled(link, "eu/mail in", 1).startswith(
                f"https://slo.example.org{start}eu%2Fmail%20in"
            )

    def test_no_link_to_traces_that_nothing_shows(self) -> None:
        sources = Sources(traces_backend="clickhouse", traces="http://clickhouse:8123")
        [*_, last] = rules(one(slo(), sources=sources))
        assert "traces_url" not in last["annotations"]

    def test_an_sli_of_ones_own_has_events_and_neither_causes_nor_traces(self) -> None:
        own = replace(slo(), sli=ExprSli("rate(a[$window])", bad="rate(b[$window])"), namespace="")
        [*_, last] = rules(one(own, sources=Sources(traces_backend="jaeger", traces="http://t")))
        assert set(last["annotations"]) == {"summary", "description", "now"}
        assert " of events were bad in the last 5m" in last["annotations"]["now"]

    def test_a_calendar_budget_is_not_told_from_rules(self) -> None:
        [*_, last] = rules(one(slo(window=CalendarWindow("month"))))
        assert naming.REMAINING not in last["annotations"]["now"]


WINDOWS = st.builds(
    BurnWindow,
    severity=st.just("page"),
    factor=st.sampled_from([Decimal("1.5"), Decimal(4), Decimal("14.4")]),
    long=st.sampled_from([3600, 6 * 3600, 86400]),
    short=st.sampled_from([300, 1800]),
    for_=st.sampled_from([0, 120, 300]),
)


SURE = POLICIES["mesh"].gate(POLICIES["mesh"].windows[0], 30 * 86400)


class TestSimulation:
    """The tests that are generated stand on this account of a policy, which knows nothing of PromQL."""

    @settings(deadline=None, max_examples=30)
    @given(WINDOWS, st.sampled_from([Decimal("0.001"), Decimal("0.01"), Decimal("0.05")]))
    def test_an_incident_fires_after_its_first_error_and_resolves(
        self, window: BurnWindow, budget: Decimal
    ) -> None:
        case = simulate.incident(window, window.factor, budget, SURE)
        assert case
        assert case.fires * 60 >= window.short
        assert case.traffic.clean < case.fires < case.resolved
        assert case.fires - case.traffic.clean >= window.for_ / 60
        assert case.value > window.factor

    def test_a_burn_rate_over_one_is_out_of_reach(self) -> None:
        window = BurnWindow("page", Decimal(14), 3600, 300)
        assert simulate.incident(window, Decimal(14), Decimal("0.1"), SURE) is None

    def test_gates_are_tried_one_at_a_time(self) -> None:
        window, budget = BurnWindow("page", Decimal(14), 3600, 300), Decimal("0.001")
        found = {
            what: traffic
            for what, traffic, _ in simulate.quiet(window, Decimal(14), budget, EventGate(20, 3))
        }
        assert found["too few events"].events == found["too few events"].bad == 19
        assert (found["too few bad events"].events, found["too few bad events"].bad) == (20, 2)
        assert not list(simulate.quiet(window, Decimal(14), budget, EventGate(1, 1)))
        for gate in (EventGate(20, 3), SURE):
            assert not list(simulate.quiet(replace(window, long=86400), Decimal(14), budget, gate))

    @pytest.mark.parametrize(("budget", "failures"), [("0.001", 2), ("0.01", 3), ("0.05", 5)])
    def test_evidence_is_tried_with_one_failure_less_and_just_enough(
        self, budget: str, failures: int
    ) -> None:
        window = BurnWindow("page", Decimal(14), 3600, 300)
        few, enough = simulate.quiet(window, Decimal(14), Decimal(budget), SURE)
        assert (few[1].bad, few[2]) == (failures - 1, None)
        assert enough[1].bad == failures
        assert enough[2] == pytest.approx(1 / float(budget))

    @pytest.mark.parametrize("budget", ["0.001", "0.005", "0.01", "0.05"])
    def test_one_test_of_a_long_short_window_proves_its_youth_and_its_factor(self, budget: str) -> None:
        for policy in POLICIES.values():
            for line in policy.windows:
                if line.short <= 3600:
                    continue
                case = simulate.diluted(line, line.factor, Decimal(budget), SURE)
                assert case is not None
                assert case.fires * 60 == line.short
                assert case.fires < case.resolved < case.fires + 20
                # At a factor of 1 and below, the evidence ends with the burn rate that it is held against.
                for times in ("0.96", "1.04") if line.factor > 1 else ("1.02", "1.04"):
                    factor = line.factor * Decimal(times)
                    fires, _, _ = simulate.active(case.traffic, line, factor, Decimal(budget), SURE)
                    assert not (fires[case.resolved - 1] and not fires[case.resolved]), (
                        "another factor would pass"
                    )

    def test_a_young_service_is_tried_at_the_length_of_its_short_window(self) -> None:
        for line in POLICIES["mesh"].windows:
            fresh = simulate.young(line, line.factor, Decimal("0.001"), SURE)
            assert fresh is not None
            assert fresh.fires * 60 == line.short + line.for_

    def test_an_alert_without_proof_is_named(self) -> None:
        policy = AlertPolicy("loose", (BurnWindow("page", Decimal(14), 3600, 300),))
        texts = [
            text
            for path, text in manifest.generate(one(slo(objective="90", policy=policy)), "prometheus")
            if "_test" in path
        ]
        assert "Not proved here" in texts[0]

    @pytest.mark.parametrize(
        ("bad", "total", "proved"),
        [
            ("rate(late[$window])", "rate(jobs[$window])", True),
            ('rate(late{queue="a"}[$window])', 'sum(increase(jobs{queue=~"a|b"}[$window]))', True),
            # One counter split by a label: a failed job is in both, and what is good would be in neither.
            ('rate(jobs{status="late"}[$window])', "rate(jobs[$window])", False),
            ('rate(jobs{status="late"}[$window])', 'rate(jobs{status!=""}[$window])', False),
        ],
    )
    def test_a_counter_against_a_part_of_itself_is_not_proved(
        self, bad: str, total: str, *, proved: bool
    ) -> None:
        late = replace(slo(), sli=ExprSli(bad=bad, total=total))
        texts = [text for path, text in manifest.generate(one(late), "prometheus") if "_test" in path]
        for text in texts:
            assert ("Not proved here" not in text) is proved
            inputs = {item["series"] for test in read_yaml(text)["tests"] for item in test["input_series"]}
            assert len(inputs) == (3 if proved else 0), "up, and each counter"
        assert len(texts) == 2
