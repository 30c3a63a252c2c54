"""How expressions are built: names, scopes and quoting. What they record is shown by promtool (integration tests)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl import naming, promql
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.queries import SERVICES as SERVICES_OF_GUARDRAILS
from sloctl.model import GRID, TILE, CounterSli, ExprSli, Guardrail, Matcher, Mesh, Selector, Slo, SloSet
from sloctl.model.policies import EventGate, Evidence, Gate
from sloctl.promql import flags, parsing
from sloctl.promql.presets import PRESETS, bucket_pattern
from tests.support.promtool import days, slo

MESHES = {
    "sidecar": Mesh(),
    "ambient": Mesh(mode="ambient"),
    "matchers": Mesh(matchers=(Matcher("cluster", "=", 'e"u\\1'), Matcher("zone", "!~", "a.b|c"))),
    "targets": Mesh(target_labels=("cluster", "job", "instance")),
    "native": Mesh(histograms="native"),
}
SERVICES = {
    "named": ("check.out", ()),
    "every": ("*", ()),
    "every-but": ("*", ("a.b", "c")),
    "every-but-one": ("*", ("a",)),
}
EXPRS = {
    "bad": ExprSli(bad="rate(late_total[$window])", total="rate(jobs_total[$window])"),
    "good": ExprSli(
        good='sum(increase({__name__="a:b",x=~"}[$window]"}[ $window ]))', total="rate ( all[$window] )"
    ),
}


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every vector selector of an expression, those inside ranges included."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        if isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    assert found
    return found


def matchers(selector: promql_parser.VectorSelector) -> set[tuple[str, str, str]]:
    ops = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    return {(m.name, ops[str(m.op).rsplit(".", 1)[-1]], m.value) for m in selector.matchers.matchers}


def _alerts(one: Slo) -> dict[str, str]:
    gates: dict[str, Gate] = {
        "counted": EventGate(20, 3),
        "sure": Evidence(Decimal("9.2103"), Decimal("0.25")),
    }
    windows = one.policy.windows[:1] if one.policy else ()
    return {
        f"alert-{name}": promql.alert_rule(one, window, Decimal("14.4"), gate)
        for name, gate in gates.items()
        for window in windows
    }


def expressions(one: Slo, mesh: Mesh) -> dict[str, str]:
    """Everything that the module writes for an SLO."""
    out = {
        "gap": promql.gap_rule(one, mesh),
        "carried": promql.carried_rule(one, mesh),
        "steady": promql.steady_peaks("shop", ["a.b", "c"], 30 * 86400),
        "period": promql.period_rule(naming.TOTAL_GRID, one, 30 * 86400),
        "remaining": promql.remaining_rule(one),
        "unchained-remaining": promql.remaining_rule(one, chained=False),
        **_alerts(one),
        "burn": promql.burn_rate_rule(one, 3600),
        "burn-long": promql.burn_rate_rule(one, 3 * 86400),
    }
    for step in (TILE, GRID):
        out |= {
            f"total-{step}": promql.total_rule(one, mesh, step),
            f"bad-{step}": promql.bad_rule(one, mesh, step),
            f"unchained-total-{step}": promql.total_rule(one, mesh, step, chained=False),
            f"unchained-bad-{step}": promql.bad_rule(one, mesh, step, chained=False),
        }
        out |= {f"raw-{kind}-{step}": text for kind, text in promql.events(one, mesh, step).items()}
        if isinstance(one.sli, CounterSli):
            for own, text in promql.base_rules([one], mesh, step):
                out[f"base-{step}-{'-'.join(reversed(own.values()))}"] = text
            if one.sli.other_side:
                out |= {f"other-{k}": t for k, t in promql.events(one, mesh, step, other_side=True).items()}
    return out


def make(preset: str, mesh: Mesh, service: str = "named") -> Slo:
    name, overridden = SERVICES[service]
    if preset in EXPRS:
        return replace(slo(service=name), sli=EXPRS[preset])
    params = {"threshold": "0.5ms"} if preset == "latency" else {}
    return slo(preset, params, service=name, mesh=mesh, overridden=overridden)


def base_rule(family: Sequence[Slo], step: int, part: str) -> str:
    [text] = [text for own, text in promql.base_rules(family, Mesh(), step) if own[naming.COUNTED] == part]
    return text


class TestEveryExpression:
    @pytest.mark.parametrize("mesh", MESHES)
    @pytest.mark.parametrize(
        ("preset", "service"),
        [(preset, service) for preset in PRESETS for service in SERVICES]
        + [(name, "named") for name in EXPRS],
    )
    def test_parses(self, preset: str, mesh: str, service: str) -> None:
        for text in expressions(make(preset, MESHES[mesh], service), MESHES[mesh]).values():
            promql_parser.parse(text)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_raw_series_have_the_meshes_matchers_and_up_too(self, preset: str) -> None:
        mesh = MESHES["matchers"]
        raw = {"up", "istio_agent_process_start_time_seconds"}
        raw |= {"istio_requests_total", "istio_request_duration_milliseconds_bucket"}
        wanted = {(m.label, m.op, m.value) for m in mesh.matchers}
        seen = set()
        for text in expressions(make(preset, mesh), mesh).values():
            for selector in selectors(text):
                if selector.name in raw:
                    seen.add(selector.name)
                    assert wanted <= matchers(selector)
                else:
                    assert selector.name is not None
                    # kube-state-metrics is not a part of the mesh: its series have none of the mesh's labels.
                    assert selector.name == "kube_pod_start_time" or selector.name.startswith(
                        ("slo:", "service:")
                    )
        assert {"up", "istio_agent_process_start_time_seconds"} < seen
        assert len(seen) == 3

    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_named_service_reads_its_own_series_only(self, preset: str) -> None:
        one = make(preset, Mesh())
        assert isinstance(one.sli, CounterSli)
        for name in ("base-60-continued", "base-60-restarted", "base-60-new", "raw-total-300"):
            for selector in selectors(expressions(one, Mesh())[name]):
                if (selector.name or "").startswith("istio_request"):
                    assert (one.sli.service_label, "=", "check.out") in matchers(selector)
                    assert (one.sli.namespace_label, "=", "shop") in matchers(selector)

    def test_rules_read_raw_series_in_the_base_rule_alone(self) -> None:
        one = make("availability", Mesh())
        for step in (TILE, GRID):
            for text in (promql.total_rule(one, Mesh(), step), promql.bad_rule(one, Mesh(), step)):
                assert all(
                    (selector.name or "").startswith(("service:", "slo:")) for selector in selectors(text)
                )

    @pytest.mark.parametrize("preset", ["availability", "errors", "grpc", "gateway"])
    @pytest.mark.parametrize("hang_ups", ["counted", "excluded"])
    def test_raw_counters_and_base_events_prove_by_the_same_siblings(
        self, preset: str, hang_ups: str
    ) -> None:
        """What shows that a counter is new: raw counters by an hour of siblings, rules by one of all they count."""
        one = slo(preset, {"hang_ups": hang_ups}, service="*")
        assert isinstance(one.sli, CounterSli)

        def siblings(text: str) -> set[str]:
            found = re.findall(
                r"unless on \([^)]*\) last_over_time\((istio_requests_total\{[^}]*\})\[1h\] offset 1m\)", text
            )
            assert found
            return set(found)

        of_rules = siblings(base_rule([replace(one, sli=replace(one.sli, other_side=None))], TILE, "new"))
        for text in promql.events(one, Mesh(), TILE).values():
            assert siblings(text) == of_rules

    def test_what_rules_record_is_read_at_its_own_instant(self) -> None:
        """An instant selector would look back past a restart of Prometheus."""
        one = make("availability", Mesh())
        for text in (promql.total_rule(one, Mesh(), TILE), promql.bad_rule(one, Mesh(), TILE)):
            assert len(re.findall(r"(?:service|slo):", text)) == len(re.findall(r"\}\[1s\]", text))


class TestScope:
    def test_named(self) -> None:
        one = slo(service="a|b", namespace="n")
        assert isinstance(one.sli, CounterSli)
        assert promql.scope(one, one.sli) == (
            Matcher("destination_service_namespace", "=", "n"),
            Matcher("destination_service_name", "=", "a|b"),
        )

    def test_a_wildcard_host_is_a_name_like_others(self) -> None:
        one = slo(service="*.example.org")
        assert isinstance(one.sli, CounterSli) and not one.wildcard
        assert promql.scope(one, one.sli)[1:] == (Matcher("destination_service_name", "=", "*.example.org"),)

    @pytest.mark.parametrize("preset", PRESETS)
    @pytest.mark.parametrize("overridden", [(), ("a",), ("a.b", "c+d"), ("a", "*.example.org", "d")])
    def test_every_service_but_the_overridden(self, preset: str, overridden: tuple[str, ...]) -> None:
        one = slo(preset, service="*", overridden=overridden)
        assert isinstance(one.sli, CounterSli)
        where, [name] = promql.scope(one, one.sli)[0], promql.scope(one, one.sli)[1:]
        assert where == Matcher(one.sli.namespace_label, "=", "shop")
        found = {(name.label, name.op, name.value)}
        for service in ("b", "a-b", "axb", "c", "unknown-host", "x.example.org", "*.example.com"):
            assert takes(found, {one.sli.service_label: service}), service
        nobody = ("", "unknown", "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster")
        for service in (*nobody, "InboundPassthroughClusterIpv4", *overridden):
            assert not takes(found, {one.sli.service_label: service}), service
            assert promql.is_service(service) is (service in overridden)

    def test_guardrails_know_the_same_services(self) -> None:
        one = slo(service="*")
        assert isinstance(one.sli, CounterSli)
        [name] = promql.scope(one, one.sli)[1:]
        assert name.value == SERVICES_OF_GUARDRAILS.value

    def test_base_events_know_no_overrides(self) -> None:
        """They are shared with other SLOs of the scope, which may have other overrides."""
        few, many = (
            promql.base_rules([slo(service="*", overridden=names)], Mesh(), GRID)
            for names in ((), ("a", "b"))
        )
        assert few == many

    def test_one_base_rule_serves_all_slos_of_a_family(self) -> None:
        slos = [
            slo(),
            slo("grpc"),
            slo("errors"),
            slo("latency"),
            slo("latency", {"threshold": "500ms"}, name="slow"),
        ]
        requests, durations = promql.base_families(slos)
        assert (len(requests), len(durations)) == (3, 2)
        text = base_rule(durations, GRID, "continued")
        [pattern] = {
            value for s in selectors(text) for name, op, value in matchers(s) if name == "le" and op == "=~"
        }
        for le in ("100", "100.0", "500", "500.0", "+Inf"):
            assert re.fullmatch(pattern, le)
        for le in ("1000", "50", "10", "5000", "Inf", "100x0"):
            assert not re.fullmatch(pattern, le)


def takes(found: Iterable[tuple[str, str, str]], labels: Mapping[str, str]) -> bool:
    """Whether a series with some labels is selected; a label that it lacks is ""."""

    def one(label: str, op: str, value: str) -> bool:
        text = labels.get(label, "")
        same = re.fullmatch(value, text) is not None if "~" in op else text == value
        return same is (op[0] == "=")

    return all(one(*matcher) for matcher in found)


CASES = [
    {
        "reporter": "source",
        "request_protocol": protocol,
        "response_code": code,
        "grpc_response_status": status,
        "response_flags": seen,
    }
    for protocol, statuses in (("http", [""]), ("grpc", ["", "0", "1", "5", "14"]))
    for code in ("0", "101", "200", "206", "404", "408", "499", "500", "503")
    for status in statuses
    for seen in (
        *(
            "-",
            "",
            "UC",
            "UR",
            "LR",
            "UT",
            "UPE",
            "UMSDR",
            "OM",
            "URX,UC",
            "UT,URX",
            "UC,DC",
            "DC,UC",
            "UC,UT",
        ),
        *("DC", "DR", "DI,DC", "UF", "UF,URX", "UO", "UH", "NR", "NC", "SI", "DT", "DPE", "FI", "UCX", "XUC"),
    )
]
"""Requests of all kinds, as a client's proxy reports them."""


def counted(preset: str, labels: Mapping[str, str], hang_ups: str) -> tuple[bool, bool]:
    """Whether a request is an event of a preset, and a bad one."""
    code, status, seen = (labels[n] for n in ("response_code", "grpc_response_status", "response_flags"))
    grpc = labels["request_protocol"] == "grpc"
    hung_up = seen in ("DC", "DR") and (code == "0" or (code == "200" and grpc and status in ("", "1")))
    if (preset == "grpc" and not grpc) or (hang_ups == "excluded" and hung_up):
        return False, False
    failed = code == "0" or code.startswith("5")
    cut = bool(set(seen.split(",")) & {"UC", "UR", "LR", "UT", "UPE", "UMSDR", "OM"})
    bad = {
        "errors": failed,
        "grpc": cut or status == "14" or (status == "" and code != "200"),
    }
    return True, bad.get(preset, failed or cut or (grpc and status == "14"))


class TestWhatIsBad:
    """No response is a failure (code 0), and a gRPC failure travels with code 200; each counts once."""

    @pytest.mark.parametrize(
        ("code", "grpc", "bad"),
        [
            ("0", "", {"availability", "errors", "gateway", "grpc"}),
            ("503", "", {"availability", "errors", "gateway", "grpc"}),
            ("503", "14", {"availability", "errors", "gateway", "grpc"}),
            ("200", "14", {"availability", "gateway", "grpc"}),
            ("200", "2", {"availability", "gateway", "grpc"}),
            ("200", "5", set()),
            ("200", "0", set()),
            ("200", "", set()),
            ("404", "", {"grpc"}),
            ("50", "0", set()),
            ("10", "0", set()),
        ],
    )
    def test_each_bad_event_is_in_one_selector(self, code: str, grpc: str, bad: set[str]) -> None:
        labels = {"reporter": "source", "request_protocol": "grpc", "response_code": code}
        labels |= {"grpc_response_status": grpc, "response_flags": "-"}
        found = {}
        for name, preset in PRESETS.items():
            sli = preset.build({}, Mesh())
            if sli.bad:
                selected = [
                    {(m.label, m.op, m.value) for m in part.matchers} for part in (*sli.total, *sli.bad)
                ]
                total, *parts = (takes(matchers, labels) for matchers in selected)
                assert total
                found[name] = sum(parts)
        assert found == {name: int(name in bad) for name in found}
        assert bad <= found.keys()

    @pytest.mark.parametrize("hang_ups", ["counted", "excluded"])
    @pytest.mark.parametrize("preset", ["availability", "gateway", "grpc", "errors"])
    def test_flags_decide_where_codes_do_not(self, preset: str, hang_ups: str) -> None:
        """Every request is in one selector of all events or in none, and in one of the bad ones or in none."""
        sli = PRESETS[preset].build({"hang_ups": hang_ups}, Mesh())
        assert {m.label for part in (*sli.total, *sli.bad) for m in part.matchers} <= set(CASES[0]) | {
            "reporter"
        }
        for labels in CASES:
            total, bad = counted(preset, labels, hang_ups)
            assert self._in(sli.total, labels) == total, labels
            assert self._in(sli.bad, labels) == bad, labels

    @pytest.mark.parametrize("hang_ups", ["counted", "excluded"])
    @pytest.mark.parametrize("preset", ["availability", "gateway", "grpc", "errors"])
    def test_base_events_keep_what_flags_decide(self, preset: str, hang_ups: str) -> None:
        """One flag of each request is kept at most, and selects what all of them select."""
        sli = PRESETS[preset].build({"hang_ups": hang_ups}, Mesh())
        parts = (*sli.total, *sli.bad)
        pattern = flags.kept(parts)
        assert bool(pattern) is ((preset, hang_ups) != ("errors", "counted"))
        kept = set()
        for labels in CASES:
            found = re.fullmatch(pattern, labels["response_flags"])
            flag = "".join(group or "" for group in found.groups()) if found else ""
            kept.add(flag)
            base = {name: value for name, value in labels.items() if name != "response_flags"}
            for part in parts:
                recorded = flags.recorded(part)
                assert self._in((recorded,), base | {"response_flag": flag}) == self._in((part,), labels), (
                    labels
                )
        assert kept <= {"", *flags.CUT, *flags.HANG_UP}

    def test_presets_agree_on_who_hung_up(self) -> None:
        calls = [case for case in CASES if case["request_protocol"] == "grpc"]
        left = [
            [
                case
                for case in calls
                if self._in(PRESETS[name].build({"hang_ups": "excluded"}, Mesh()).total, case)
            ]
            for name in ("grpc", "availability", "errors", "gateway")
        ]
        assert 0 < len(left[0]) < len(calls)
        assert all(found == left[0] for found in left)

    def _in(self, parts: Iterable[Selector], labels: Mapping[str, str]) -> int:
        return sum(takes({(m.label, m.op, m.value) for m in part.matchers}, labels) for part in parts)

    @pytest.mark.parametrize(
        ("service", "seen", "lost"),
        [
            ("checkout", "NC", True),
            ("checkout", "NR", True),
            ("checkout", "DC,NC", True),
            ("checkout", "NC,URX", True),
            ("checkout", "NCX", False),
            ("checkout", "UH", False),
            ("checkout", "-", False),
            ("BlackHoleCluster", "-", True),
            ("BlackHoleCluster", "NC", True),
        ],
    )
    def test_what_has_no_route_or_no_cluster_is_misrouted_once(
        self, service: str, seen: str, lost: bool
    ) -> None:
        guardrail = Guardrail("misroutes", Decimal(1))
        [plan] = plans(SloSet("shop", (), guardrails=(guardrail,)))
        [ratio] = [signal for signal in plan.signals if signal.record.endswith("misroutes:ratio5m")]
        labels = {"reporter": "source", "destination_service_name": service, "service": service}
        labels |= {"slo_set": "shop", "response_flags": seen}
        read = {frozenset(matchers(selector)) for selector in selectors(ratio.expr)}
        counting = [found for found in read if {"service", "response_flags"} & {label for label, *_ in found}]
        assert len(counting) == 2
        assert sum(takes(found, labels) for found in counting) == lost


class TestBucketBounds:
    @pytest.mark.parametrize(
        ("bound", "yes", "no"),
        [
            ("250", ("250", "250.0"), ("2500", "25", "250x0", "1250", "250.00")),
            ("0.5", ("0.5",), ("005", "0x5", "0.50")),
            ("1E+3", ("1000", "1000.0"), ("1E+3", "100")),
        ],
    )
    def test_as_prometheus_2_and_3_write_them(
        self, bound: str, yes: tuple[str, ...], no: tuple[str, ...]
    ) -> None:
        pattern = bucket_pattern(Decimal(bound))
        assert all(re.fullmatch(pattern, le) for le in yes)
        assert not any(re.fullmatch(pattern, le) for le in no)


def the_matcher(selector: str) -> tuple[str, str, str]:
    parsed = promql_parser.parse(selector)
    assert isinstance(parsed, promql_parser.VectorSelector)
    [only] = matchers(parsed)
    return only


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class TestQuoting:
    @given(TEXT)
    def test_any_text_comes_back_as_it_was(self, text: str) -> None:
        assert the_matcher(promql.selector("x", [Matcher("a", "=", text)])) == ("a", "=", text)

    @given(TEXT)
    def test_a_quoted_text_is_one_line(self, text: str) -> None:
        quoted = promql.quote(text)
        assert len(quoted.splitlines()) == 1
        assert quoted.isprintable()

    @given(TEXT)
    def test_a_regular_expression_matches_its_text_alone(self, text: str) -> None:
        pattern = promql.regex_quote(text)
        assert re.fullmatch(pattern, text)
        assert not re.fullmatch(pattern, text + "x")
        assert the_matcher(promql.selector("x", [Matcher("a", "=~", pattern)])) == ("a", "=~", pattern)

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        assert promql.quote("\ud800") == '"\\ufffd"'

    @pytest.mark.parametrize("name", ["a-b", "1a", "a b", 'a{b="c"}', "ä", 'a"} or {"b', "a.b", "\\"])
    def test_no_name_smuggles_anything_in(self, name: str) -> None:
        [found] = selectors(promql.selector(name, [Matcher(name, "=", "x")]))
        assert matchers(found) == {("__name__", "=", name), (name, "=", "x")}
        tree = parsing.parse(f"sum by ({promql.names(['plain', name])}) (up)")
        assert isinstance(tree, parsing.Aggregate) and tree.labels == ("plain", name)

    @pytest.mark.parametrize("matcher", [Matcher("a", "==", ""), Matcher("", "=", "")])
    def test_no_matcher_is_made_of_what_is_none(self, matcher: Matcher) -> None:
        with pytest.raises(ValueError, match="not a label matcher"):
            promql.selector("x", [matcher])
        with pytest.raises(ValueError, match="not a metric name"):
            promql.selector("", [])

    @given(TEXT, TEXT)
    def test_service_and_namespace_may_be_any_text(self, service: str, namespace: str) -> None:
        one = slo(service=service, namespace=namespace)
        for _, text in promql.base_rules([one], Mesh(), TILE):
            promql_parser.parse(text)
        promql_parser.parse(promql.bad_rule(one, Mesh(), TILE))


class TestUserExpressions:
    @pytest.mark.parametrize(
        ("expr", "calls"),
        [
            ("rate(a[$window])", [("rate", "a")]),
            ("increase ( a:b{x='y'} [ $window ] )", [("increase", "a:b{x='y'}")]),
            (
                'sum(rate(a{x=~"}[$window])"}[$window])) + rate({y="z"}[$window])',
                [("rate", 'a{x=~"}[$window])"}'), ("rate", '{y="z"}')],
            ),
            ('rate(a{x="\\""}[$window])', [("rate", 'a{x="\\""}')]),
        ],
    )  # fmt: skip
    def test_calls_are_found(self, expr: str, calls: list[tuple[str, str]]) -> None:
        found, rest = promql.range_calls(expr)
        assert found == calls
        assert "$window" not in rest
        promql_parser.parse(rest)

    @pytest.mark.parametrize(
        "expr", ["avg_over_time(a[$window])", "a", "rate(a[5m])", "irate(a[$window])", "xrate(a[$window])"]
    )
    def test_other_ranges_are_not(self, expr: str) -> None:
        assert promql.range_calls(expr) == ([], expr)

    def test_every_call_counts_as_presets_count(self) -> None:
        text = promql.user_expression("rate(a[$window]) / 2 + increase(b[$window])", 60, Mesh())
        for name in ("a", "b"):
            assert promql.increments(name, 60, Mesh()).replace("\n", "").replace(" ", "") in text.replace(
                "\n", ""
            ).replace(" ", "")
        assert {"rate", "increase"}.isdisjoint(re.findall(r"\w+", text))


class TestWindows:
    @pytest.mark.parametrize("seconds", [60, 300, 3600, 30 * 86400, 366 * 86400])
    def test_a_range_holds_exactly_its_grid_instants(self, seconds: int) -> None:
        """With its left end (Prometheus 2) and without it (Prometheus 3)."""
        milliseconds = int(promql.milliseconds(seconds).removesuffix("ms"))
        for step in (60, 300):
            if seconds % step == 0:
                ages = range(0, seconds * 1000 + 1, step * 1000)
                assert len([age for age in ages if age <= milliseconds]) == seconds // step
                assert len([age for age in ages if age < milliseconds]) == seconds // step

    def test_long_windows_read_the_grid_and_short_ones_the_tiles(self) -> None:
        assert promql.tile_metrics(6 * 3600) == (naming.BAD_TILE, naming.TOTAL_TILE)
        assert promql.tile_metrics(6 * 3600 + 300) == (naming.BAD_GRID, naming.TOTAL_GRID)

    @pytest.mark.parametrize(
        ("objective", "budget"),
        [("99.9", "0.001"), ("99.95", "0.0005"), ("99.999999", "0.00000001"), ("90", "0.1")],
    )
    def test_budgets_are_written_as_a_person_would(self, objective: str, budget: str) -> None:
        assert promql.burn_rate_rule(slo(objective=objective), 3600).endswith(f"/ {budget}")
        assert promql.remaining_rule(slo(objective=objective, window=days(30))).endswith(f"/ {budget}")

    def test_gates_of_one_event_are_left_out(self) -> None:
        one = slo()
        assert one.policy
        window = one.policy.windows[0]
        assert ">= " not in promql.alert_rule(one, window, Decimal(14), EventGate(1, 1))
        assert promql.alert_rule(one, window, Decimal(14), EventGate(20, 1)).endswith(">= 20")
        assert promql.alert_rule(one, window, Decimal("14.40").normalize(), EventGate(1, 3)).endswith(">= 3")
