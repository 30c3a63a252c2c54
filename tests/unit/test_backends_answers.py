"""Which words of a server leave an answer in doubt."""

from __future__ import annotations

import pytest

from sloctl.backends.answers import PARTIAL, Answer, Heard, doubts, judged, remarks
from sloctl.errors import PartialAnswer
from tests.support.shop_slos import AT, CHECKOUT, flow, slos
from tests.support.simulated import Simulated


@pytest.mark.parametrize(
    "text",
    [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x" (1:6)',
        'PromQL warning: bucket label "le" is missing or has a malformed value of ""',
        "PromQL warning: quantile value should be between 0 and 1, got 2",
    ],
)
def test_remarks_on_the_expression_are_no_doubt(text: str) -> None:
    found = judged([], [text])
    assert (doubts(found), remarks(found)) == ((), (text,))


@pytest.mark.parametrize(
    "text",
    [
        "No StoreAPIs matched for this query",
        "receive series from Addr: 10.0.0.7:10901 LabelSets: {} MinTime: 0: rpc error: code = Unavailable",
        "partial response: store eu2 is away",
        "remote_read: remote server http://x returned http status 503",
        'PromQL warning: encountered a mix of histograms and floats for metric name "x" (1:5)',
        "something that nobody here has ever seen",
        "",
    ],
)
def test_any_other_warning_is_doubt(text: str) -> None:
    found = judged([], [text])
    assert (doubts(found), remarks(found)) == ((text,), ())


def test_infos_are_none_and_partial_is() -> None:
    found = judged([], infos=["anything"], partial=True)
    assert (doubts(found), remarks(found)) == ((PARTIAL,), ("anything",))
    assert doubts([]) == doubts(Answer()) == ()


def test_who_listens_hears_of_each_answer_and_may_refuse_it() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], warnings=["gone"])
    known = "max by (slo_id)"
    query = next(text for text in _asked(source) if text.startswith(known))
    source.warnings = ["gone", "PromQL info: x"]
    first, second = Heard(source), Heard(source)
    assert first.query(query, AT) and first.query_many({"a": query}, AT)["a"]
    assert (first.doubts, first.remarks, second.doubts) == (("gone",), ("PromQL info: x",), ())
    with pytest.raises(PartialAnswer, match="gone"):
        Heard(source, strict=True).query(query, AT)


def _asked(source: Simulated) -> list[str]:
    from jobs.budgets import from_rules

    from_rules.last_instants(source, source.slo_set, AT)
    return source.asked
