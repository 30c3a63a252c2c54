"""What a change of SLO files means: what is compared, what becomes of budgets, and what both would have paged for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import get_args

import pytest

from alert_rules.manifest import rule_files
from jobs import backtest
from jobs.backtest.judged import Incident
from jobs.backtest.told import as_object
from jobs.diff import Change, Comparison, comment, compare, replay, told
from jobs.diff.compared import SETTINGS, Action, Identity, Kind
from jobs.preflight import cost
from sloctl import spec
from sloctl.errors import InvalidFile
from sloctl.model import CounterSli, Guardrail, RollingWindow, SeriesKey, Slo, SloSet
from sloctl.model.durations import rfc3339
from tests.support.doc_pages import table
from tests.support.histories import START, Made

DAY = 86400
GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted([*GOLDEN.glob("valid/*.yaml"), *GOLDEN.glob("rules/*/slo.yaml")])
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {runbook: "https://runbooks.example.org/{slo}", objective: 99.9, owner: web}
slos:
  - {name: availability, service: checkout, namespace: shop, owner: pay, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: shop, sli: {preset: availability}}
  - {name: latency, service: checkout, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
guardrails: [{preset: sidecar-restarts, max: 0.01}, {preset: watchdog}]
notifications:
  receivers:
    calls: {pagerduty: {secret: a/b}}
    team-pay: {slack: {channel: "#pay", secret: a/c}}
  default: {page: calls, ticket: team-pay}
  owners: {pay: {page: team-pay}}
"""


def load(text: str) -> SloSet:
    return spec.load([Path("-")], stdin=BytesIO(text.encode()))


def changed(*pairs: tuple[str, str]) -> Comparison:
    """The comparison of the file with one in which some texts are replaced."""
    text = SLO_FILE
    for one, other in pairs:
        assert one in text
        text = text.replace(one, other)
    return compare(load(SLO_FILE), load(text))


def one(found: Comparison, what: str) -> Change:
    (change,) = (item for item in found.changes if item.what == what)
    return change


def said(change: Change) -> dict[str, tuple[str, str]]:
    return {item.name: (item.before, item.after) for item in change.details}


def every_set() -> list[SloSet]:
    out = []
    for file in FILES:
        try:
            out.append(spec.load([file], environment={"CLUSTER": "eu1", "PROMETHEUS": "http://p:9090"}))
        except InvalidFile:  # a file of which a variable is not set
            continue
    return out


def test_nothing_changes_from_a_file_to_itself() -> None:
    sets = every_set()
    assert len(sets) > 20
    again = every_set()
    for slo_set, same in zip(sets, again, strict=True):
        found = compare(slo_set, same, ({"a": "b"}, {"a": "b"}))
        assert found.changes == () and found.recounted == frozenset(), slo_set.name
        assert (found.same["SLOs"], found.same["objects"]) == (len(slo_set.slos), 1)
        assert "nothing changes" in told.headline(found)
    for before, after in itertools.pairwise(sets):
        there, back = compare(before, after), compare(after, before)
        mirrored = {"added": "removed", "removed": "added", "changed": "changed"}
        assert {
            (item.kind, item.what, mirrored[item.action]) for item in there.changes if item.kind != "set"
        } == {(item.kind, item.what, item.action) for item in back.changes if item.kind != "set"}


def test_everything_that_a_file_says_is_compared() -> None:
    apart = {"name", "slos", "guardrails", "maintenance", "warnings"}
    assert {item.name for item in fields(SloSet)} == {*SETTINGS, *apart}
    slo_set = load(SLO_FILE)
    slo = slo_set.slos[2]
    assert isinstance(slo.sli, CounterSli)
    others: dict[str, object] = {
        "objective": slo.objective - 1,
        "window": RollingWindow(7 * DAY, "7d"),
        "sli": replace(slo.sli, good=slo.sli.total),
        "policy": None,
        "labels": (("tier", "1"),),
        "overridden": ("cart",),
    } | dict.fromkeys(("owner", "description", "runbook", "dashboard", "per"), "other")
    identity = {"set_name", "name", "service", "namespace", "position"}
    assert {item.name for item in fields(Slo)} == {*others, *identity}
    for name, value in others.items():
        other = replace(slo_set, slos=(*slo_set.slos[:2], replace(slo, **{name: value})))  # type: ignore[arg-type]
        assert [item.what for item in compare(slo_set, other).of("slo")] == ["shop/checkout latency"], name
    guardrail = slo_set.guardrails[0]
    more: dict[str, object] = dict.fromkeys(("owner", "runbook", "dashboard"), "other") | {
        "limit": Decimal(1), "critical": Decimal(5), "namespaces": ("a",), "gateways": ("g",), "min_events": 1,
        "versions": (("a", ("v1",)),), "preset": "jobs",
    }  # fmt: skip
    assert {item.name for item in fields(Guardrail)} == {*more, "position"}
    for name, value in more.items():
        other = replace(slo_set, guardrails=(replace(guardrail, **{name: value}), *slo_set.guardrails[1:]))  # type: ignore[arg-type]
        assert compare(slo_set, other).of("guardrail"), name


def test_an_objective_is_told_with_what_it_lets_fail_and_its_alerts_with_their_threshold() -> None:
    found = changed(("owner: pay, sli", "owner: pay, objective: 99.5, sli"))
    change = one(found, "shop/checkout availability")
    assert said(change) == {
        "objective": ("99.9 % (43m12s of full outage in 30d)", "99.5 % (3h36m of full outage in 30d)")
    }
    assert [(item.alert, item.action) for item in change.alerts] == [
        (f"AvailabilityBudgetBurn{line}", "changed") for line in ("Page1h", "Page6h", "Ticket3d")
    ]
    assert "more than 1.4 % are bad" in change.alerts[0].before and "more than 7 %" in change.alerts[0].after
    assert change.identity == "kept" and found.recounted == frozenset()
    assert found.same == {"SLOs": 2, "guardrails": 2, "alerts": found.same["alerts"], "objects": 0}
    assert told.unchanged(found).startswith("unchanged: 2 SLOs, 2 guardrails, ")


def test_an_alert_comes_goes_or_changes_by_window() -> None:
    hour, two = "factor: 14, long: 1h, short: 5m", "factor: 4, long: 2h, short: 15m"
    policy = f"{{windows: [{{severity: page, {hour}}}, {{severity: page, {two}}}]}}"
    change = one(
        changed(("owner: pay, sli", f"owner: pay, alerting: {policy}, sli")), "shop/checkout availability"
    )
    assert {item.alert.removeprefix("AvailabilityBudgetBurn"): item.action for item in change.alerts} == {
        "Page6h": "removed", "Ticket3d": "removed", "Page2h": "added",
    }  # fmt: skip
    none = one(changed(("owner: pay, sli", "owner: pay, alerting: none, sli")), "shop/checkout availability")
    assert {item.action for item in none.alerts} == {"removed"} and len(none.alerts) == 3


def test_owner_and_route_move_together() -> None:
    change = one(changed(("owner: pay, sli", "owner: web, sli")), "shop/checkout availability")
    assert said(change) == {"owner": ("pay", "web"), "pages go to": ("team-pay", "calls")}
    routed = changed(("{pay: {page: team-pay}}", "{pay: {page: team-pay}, web: {ticket: calls}}"))
    assert said(one(routed, "shop/* availability")) == {"tickets go to": ("team-pay", "calls")}
    assert said(one(routed, "notifications")) == {"notifications.owners[web].ticket": ("", "calls")}


@pytest.mark.parametrize(
    ("pairs", "what", "identity", "recounted"),
    [
        ((("250ms", "500ms"),), "shop/checkout latency", "recounted", {"shop:shop/checkout/latency"}),
        ((("name: latency", "name: speed"),), "shop/checkout latency", "renamed", set()),
        ((("name: latency", "name: speed"),), "shop/checkout speed", "renamed", set()),
        ((("service: checkout, namespace: shop, owner", "service: cart, namespace: shop, owner"),),
         "shop/cart availability", "moved", set()),
        ((("service: checkout, namespace: shop, owner", "service: cart, namespace: shop, owner"),),
         "shop/checkout availability", "moved", set()),
        ((("service: checkout, namespace: shop, obj", "service: cart, namespace: shop, obj"),),
         "shop/cart latency", "new", set()),
        ((("service: checkout, namespace: shop, obj", "service: cart, namespace: shop, obj"),),
         "shop/checkout latency", "lost", set()),
        ((("name: availability, service: checkout", "name: success, service: checkout"),),
         "shop/checkout availability", "moved", set()),
        ((("name: shop}", "name: store}"),), "shop/checkout latency", "renamed", set()),
    ],
)  # fmt: skip
def test_what_becomes_of_a_budget(
    pairs: Sequence[tuple[str, str]], what: str, identity: str, recounted: set[str]
) -> None:
    found = changed(*pairs)
    change = one(found, what)
    assert change.identity == identity
    assert ("begins from nothing" in change.note) == (identity in ("renamed", "new"))
    assert ("goes on in" in change.note) == (identity == "moved")
    assert {key[0] for key in found.recounted} == recounted


def test_what_every_slo_counts_is_recounted_by_the_mesh() -> None:
    found = changed(("defaults:", "mesh: {matchers: {cluster: eu1}}\ndefaults:"))
    assert {change.identity for change in found.of("slo")} == {"recounted"}
    assert len(found.recounted) == 3
    assert said(one(found, "mesh")) == {"mesh.matchers": ("", 'cluster="eu1"')}


def test_guardrails_and_exclusions() -> None:
    found = changed(
        ("max: 0.01", "max: 0.02"),
        (", {preset: watchdog}", ", {preset: telemetry-gap, max: 10m}"),
        (
            "notifications:",
            "maintenance: [{name: night, cron: '0 2 * * *', for: 1h, namespace: shop}]\nnotifications:",
        ),
    )
    limit = one(found, "sidecar-restarts")
    assert said(limit) == {"max": ("0.01", "0.02")} and [item.action for item in limit.alerts] == ["changed"]
    assert one(found, "watchdog").action == "removed"
    assert said(one(found, "telemetry-gap"))["max"] == ("", "10m")
    night = one(found, "night")
    assert (night.kind, night.action) == ("exclusion", "added")
    assert said(night)["cron"] == ("", "0 2 * * *")


def test_values_of_the_environment_are_not_told() -> None:
    slo_set = load(SLO_FILE)
    other = replace(
        slo_set,
        variables=(("TOKEN", "s3cret"),),
        kubernetes=replace(slo_set.kubernetes, env=(("PASSWORD", "s3cret"),)),
    )
    text = repr(compare(slo_set, other).changes)
    assert "s3cret" not in text and "TOKEN" in text and "PASSWORD" in text


CHECKOUT: SeriesKey = ("shop:shop/checkout/availability", "shop", "checkout")
CART: SeriesKey = ("shop:shop/*/availability", "shop", "cart")
LATENCY: SeriesKey = ("shop:shop/checkout/latency", "shop", "checkout")
END = START + 7 * DAY
LOOSE = ("owner: pay, sli", "owner: pay, objective: 99, sli")


def replayed(found: Comparison, made: Made, **more: object) -> told.Found:
    of = replay(lambda _: made, found, START, END, **more)  # type: ignore[arg-type]
    return told.Found(found, (cost.size(found.old), cost.size(found.new)), replay=of)


def test_each_side_is_its_backtest_and_a_page_is_lost() -> None:
    made = Made({CHECKOUT: [(3000, 3060, 0.05)], CART: [(5000, 5060, 0.5)], LATENCY: []})
    found = changed(LOOSE)
    known = [Incident(START + 3000 * 60, START + 3060 * 60, "shop", "checkout", "database")]
    all_ = replayed(found, made, incidents=known)
    of = all_.replay
    assert of is not None and of.before and of.after
    for side, slo_set in ((of.before, found.old), (of.after, found.new)):
        alone = backtest.run(made, slo_set, START, END, incidents=known)
        assert as_object(side.backtest) == as_object(alone)
    assert [(page.where, page.owner) for page in of.lost] == [("shop/checkout", "pay")]
    assert (of.gained, of.undecided, of.doubts) == ((), (), ())
    assert told.rates(of) == [("all", "2.0", "1.0"), ("pay", "1.0", "0.0"), ("web", "1.0", "1.0")]
    text = "\n".join(told.lines(all_))
    assert "pages: 1 lost, 0 gained" in text and "shop/checkout database: after 17m → no page" in text
    assert "pay: 1.0 → 0.0" in text
    # 300 of 1,440,000 requests of ten days, of which one in a thousand may fail, and then one in a hundred.
    assert (
        "shop/checkout availability: 20.9 % of 99.9 % over 30d (of the 33 % of it that were read) → 2.1 %"
        in text
    )
    back = replayed(compare(found.new, found.old), made).replay
    assert back is not None and (back.lost, back.gained) == ((), of.lost)


def test_what_is_not_recorded_is_no_number() -> None:
    made = Made({CHECKOUT: [(3000, 3060, 0.5)], CART: [], LATENCY: []})
    renamed = replayed(
        changed(("name: availability, service: checkout", "name: success, service: checkout")), made
    )
    of = renamed.replay
    assert of is not None and of.after is not None
    # The service falls to the SLO of "*", which has another owner; its own new one has no record.
    assert ("pay", "1.0", told.UNKNOWN) in told.rates(of)
    assert any("shop/checkout/success: nothing is recorded of it" in text for text in of.doubts)
    recounted = replayed(
        changed(("250ms", "500ms")), Made({LATENCY: [(3000, 3060, 0.9)], CHECKOUT: [], CART: []})
    )
    of = recounted.replay
    assert of is not None
    assert (len(of.lost), len(of.undecided)) == (0, 1), "nobody can say that it is lost"
    assert any("other events than it counts are recorded of it" in text for text in of.doubts)
    assert told.rates(of)[0] == ("all", "1.0", "0.0 (incomplete)")
    made.doubts = ["an answer is partial"]
    partial = replayed(changed(LOOSE), made).replay
    assert partial is not None and told.rates(partial)[0] == ("all", "1.0 (incomplete)", "1.0 (incomplete)")
    nothing = replayed(changed(LOOSE), Made({})).replay
    assert nothing is not None
    assert told.rates(nothing)[0] == ("all", told.UNKNOWN, told.UNKNOWN)
    assert told.pages_line(nothing) == told.UNKNOWN
    text = "\n".join(told.lines(replayed(changed(LOOSE), Made({}))))
    assert "budgets that change, of what is spent: not known" in text
    assert text.count("shop/checkout/latency: nothing is recorded of it") == 1
    assert "doubt: before and after: shop/checkout/latency: nothing is recorded of it" in text
    some = replayed(changed(("max: 0.01", "max: 0.02")), Made({CHECKOUT: []}))
    assert "of what is spent: none that is known" in "\n".join(told.lines(some))


def test_a_budget_leaves_out_maintenance_and_says_what_of_its_window_is_recorded() -> None:
    made = Made({CHECKOUT: [(3000, 3060, 0.5)], CART: [], LATENCY: []})
    start, end = START + 3000 * 60, START + 3060 * 60
    when = f"start: {rfc3339(start)}, end: {rfc3339(end)}"
    found = changed(("notifications:", f"maintenance: [{{name: night, {when}}}]\nnotifications:"))
    of = replayed(found, made).replay
    assert of is not None
    ((_, before, after),) = [row for row in told.budgets(of) if row[0] == "shop/checkout availability"]
    assert before and after
    assert before.spent == pytest.approx(3000 / (10 * 1440 * 100 * 0.001)) and after.spent == 0
    assert before.recorded == pytest.approx((7 + 3) / 30, abs=0.01), "three days are read before the week"
    assert "of the 33 % of it that were read" in told.budget(before)


def test_a_comment_is_short_and_says_that_it_is_cut() -> None:
    slo_set = load(SLO_FILE)
    many = replace(
        slo_set,
        slos=tuple(
            replace(slo_set.slos[0], service=f"s{number}", description="<img src=x> @all | `x` " * 10)
            for number in range(500)
        ),
    )
    doubts = ["@team #1 \x1b[31m </details>", *(f"doubt {number}" for number in range(9000))]
    found = told.Found(compare(slo_set, many, doubts=doubts), (cost.size(slo_set),) * 2)
    text = comment.comment(found)
    assert 50_000 < len(text.encode()) <= 65_536
    assert text.count("more lines, which are left out") == 2, "of doubts and of changes"
    assert "What the rules cost" in text and "What changes (" in text and "unchanged: " in text
    assert text.count("<details>") == text.count("</details>") > 0
    assert not re.search(
        r"(?<!\\)[<`]",
        text.replace("<details><summary>", "")
        .replace("</details>", "")
        .replace("</summary>", "")
        .replace(comment.CUT, ""),
    )
    assert "@all" not in text and "@team" not in text and "\x1b" not in text
    small = comment.comment(told.Found(changed(LOOSE), (cost.size(slo_set),) * 2))
    assert "left out" not in small and comment.comment(found, 1500).endswith("has all of it\n")
    for limit in (1500, 4000, 20_000):
        assert len(comment.comment(found, limit).encode()) <= limit
    head = small.partition("<details>")[0]
    assert len(head.splitlines()) < 15 and "43m12s of full outage" in head


def test_what_the_rules_cost_on_a_server_is_told_before_and_after() -> None:
    slo_set = load(SLO_FILE)
    before, after = (
        cost.Cost((cost.GroupCost("f", "g", 60, 3, samples, 5),), ()) for samples in (600, 1200.0)
    )
    found = told.Found(changed(LOOSE), (cost.size(slo_set),) * 2, costs=(before, after))
    assert told.cost(found)[-1] == (
        "on this server: 600 → 1,200 samples read when every group is evaluated once, 10.0 → 20.0 a second; "
        "5 series recorded"
    )
    assert told.as_object(found)["cost"]["after"] == {"samples": 1200, "samples_per_second": 20, "series": 5}
    assert "--prometheus" in told.cost(replace(found, costs=None))[-1]


def test_the_size_of_rules_is_that_of_the_rule_files() -> None:
    slo_set = load(SLO_FILE)
    size = cost.size(slo_set)
    groups = [group for file in rule_files(slo_set) for group in file.groups]
    assert (size.rules, size.groups) == (sum(len(group.rules) for group in groups), len(groups))
    assert size.series[0] < size.series[1], "checkout has two SLOs"


def test_the_page_has_what_there_is() -> None:
    page = Path(__file__).parents[2] / "docs/diff.md"
    assert [row["`identity`"].strip("`") for row in table(page, "`identity`")] == list(get_args(Identity))
    holds = {
        name: row["holds"] for row in table(page, "key") for name in row["key"].replace("`", "").split(", ")
    }
    found = told.as_object(replayed(changed(LOOSE), Made({CHECKOUT: [(0, 9, 0.1)]})))
    assert ["schema", *holds] == list(found)
    history, change = found["history"], found["changes"][0]
    wanted = {
        "changes": {*get_args(Kind), *get_args(Action), *change, *change["fields"][0], *change["alerts"][0]},
        "rules": {*found["rules"], *found["rules"]["before"]},
        "cost": {"samples", "samples_per_second", "series"},
        "history": {*history, *history["pages_per_week"][0], *history["budgets"][0]["before"]},
    }
    for key, names in wanted.items():
        assert {name for name in names if f"`{name}`" not in holds[key]} == set(), key


def test_own_events_and_samples_are_told_and_recounted_by_another_label() -> None:
    own = """
  - {name: fresh, service: "*", namespace: ops, per: queue, sli: {samples: {gauge: age, bad: "> 300"}}}
  - name: done
    service: "*"
    namespace: ops
    per: queue
    window: {calendar: week}
    sli: {events: {bad: "rate(late[$window])", total: "rate(jobs[$window])"}}
guardrails:"""
    before = SLO_FILE.replace("\nguardrails:", own)
    after = before.replace("per: queue", "per: host").replace("> 300", "> 60")
    found = compare(load(before), load(after.replace("{calendar: week}", "{calendar: week, starts: sunday}")))
    fresh, done = one(found, "ops/* fresh"), one(found, "ops/* done")
    assert fresh.identity == done.identity == "recounted"
    assert said(fresh) == {"per": ("queue", "host"), "bad": ("> 300", "> 60")}
    assert "begin from nothing" in fresh.note and "begin from nothing" in done.note
    assert said(done)["per"] == ("queue", "host") and "week from Sunday (UTC)" in said(done)["window"]
    [line, *_] = compare(load(SLO_FILE), load(before)).of("slo")[0].alerts
    assert "3.2666667 × the budget" in line.after, "14 × 7/30 has no end"
