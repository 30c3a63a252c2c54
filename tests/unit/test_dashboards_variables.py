"""Variables that a file may have a use for: the cluster, whose SLOs are shown."""

from __future__ import annotations

import re
from dataclasses import replace

from dashboards.lint.checks import lint, panels
from dashboards.manifest import boards
from tests.support.boards import loaded


def test_a_cluster_is_chosen_where_series_say_theirs() -> None:
    plain = loaded("guardrails")
    labelled = replace(plain, labels=(*plain.labels, ("cluster", "eu1")))
    for kind, board in boards(plain):
        assert "cluster" not in {variable["name"] for variable in board["templating"]["list"]}, kind
    for kind, board in boards(labelled):
        assert "cluster" in {variable["name"] for variable in board["templating"]["list"]}, kind
        assert lint(board) == [], kind
        for panel in panels(board):
            for target in panel.get("targets", ()):
                for read_ in re.findall(r"slo_set=[^}]*", target.get("expr", "")):
                    assert 'cluster=~"$cluster"' in read_, (kind, panel["title"])


def test_an_owner_is_chosen_where_there_are_several() -> None:
    one = loaded("guardrails").slos[0]
    other = replace(one, name="x.y", owner="team, b")
    few = replace(loaded("guardrails"), slos=(replace(one, owner="team-a"),), guardrails=())
    found = dict(boards(replace(few, slos=(*few.slos, other))))
    for kind in ("executive", "oncall"):
        assert "owner" not in {v["name"] for v in dict(boards(few))[kind]["templating"]["list"]}
        (owner,) = (v for v in found[kind]["templating"]["list"] if v["name"] == "owner")
        assert [option["text"] for option in owner["options"]] == ["All", "team, b", "team-a"]
        chosen = {option["text"]: option["value"] for option in owner["options"]}
        ids = {slo.owner: slo.id for slo in (few.slos[0], other)}
        for name, pattern in chosen.items():
            assert {o for o, slo_id in ids.items() if re.fullmatch(pattern, slo_id)} == (
                {name} if name in ids else ids.keys()
            )
        # As Grafana takes the list apart.
        listed = [part.replace("\\,", ",") for part in re.findall(r"(?:\\,|[^,])+", owner["query"])]
        pairs = [re.fullmatch(r"\s*(.+)\s:\s(.+)", part) for part in listed]
        assert {match[1]: match[2] for match in pairs if match} == chosen
        exprs = [target["expr"] for panel in panels(found[kind]) for target in panel.get("targets", ())]
        alerts = [expr for expr in exprs if "ALERTS{" in expr]
        assert alerts and all('owner="${owner:text}"' in expr for expr in alerts)
        assert all('slo_id=~"$owner"' in expr for expr in exprs if "slo:" in expr and "objective" not in expr)
