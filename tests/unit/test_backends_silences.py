"""Deploy windows without a server: what may be asked for, whose a silence is, and that a deploy has one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl import spec
from sloctl.backends.alertmanager import request
from sloctl.backends.alertmanager.request import Scope
from sloctl.backends.silences import Silence, ensure, expire, valid_id, wanted
from sloctl.errors import UsageError
from sloctl.model import Matcher, SloSet
from sloctl.settings.backends import AlertmanagerSettings
from tests.support.promtool import slo

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHECKOUT = [Matcher("service", "=", "checkout"), Matcher("slo_set", "=", "shop")]
FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: errors, service: checkout, namespace: eu, objective: 99.9, sli: {preset: errors}}
  - {name: availability, service: cart, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: open, objective: 99.9, sli: {preset: availability}}
"""
NAMED_ONLY = "".join(line for line in FILE.splitlines(keepends=True) if '"*"' not in line)


def load(text: str) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO(text.encode()))


def hint(error: pytest.ExceptionInfo[UsageError]) -> str:
    return f"{error.value} | {error.value.hint}"


# --- what may be asked for


def test_matchers_are_exact_and_within_the_set() -> None:
    scope = Scope(service="checkout", namespace="shop", slo="availability", alert="SomeAlert")
    assert request.matchers(scope, load(FILE)) == [
        Matcher("slo_set", "=", "shop"),
        Matcher("service", "=", "checkout"),
        Matcher("namespace", "=", "shop"),
        Matcher("alertname", "=", "SomeAlert"),
        Matcher("slo", "=", "availability"),
    ]
    assert request.matchers(Scope(service="x"), None) == [Matcher("service", "=", "x")]


@pytest.mark.parametrize("slo_set", [None, SloSet("shop", ())])
def test_a_silence_of_everything_is_refused(slo_set: SloSet | None) -> None:
    with pytest.raises(UsageError, match="would mute everything"):
        request.matchers(Scope(), slo_set)


@pytest.mark.parametrize("name", ["service", "namespace", "alert", "slo"])
@pytest.mark.parametrize(
    "value",
    [
        "*",
        ".*",
        ".+",
        "check.*",
        "a|b",
        "[a-z]",
        "^a",
        "a$",
        "(a)",
        "a?",
        "\\w",
        " ",
        "\t",
        " a",
        "a\n",
        "\x1b",
    ],
)
def test_patterns_and_blanks_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError) as error:
        request.matchers(Scope(**{name: value}), None)
    assert f"--{name}: " in str(error.value)
    assert str(error.value).isprintable()


def test_a_wildcard_host_is_the_exact_name_of_a_service() -> None:
    hosts = (slo(service="*.example.org"), slo(service="api.example.org"))
    for slo_set in (None, SloSet("shop", hosts)):
        found = request.matchers(Scope(service="*.example.org"), slo_set)
        assert found[-1] == Matcher("service", "=", "*.example.org")
    with pytest.raises(UsageError, match="no service"):
        request.matchers(Scope(service="*.example.com"), SloSet("shop", hosts))
    for value in ("*.*", "*.", "*.example.*", "*.a|b", "api.*.org", "x*.example.org"):
        with pytest.raises(UsageError, match="is a pattern"):
            request.matchers(Scope(service=value), None)
    with pytest.raises(UsageError, match="is a pattern"):
        request.matchers(Scope(namespace="*.example.org"), None)


@pytest.mark.parametrize("name", ["Watchdog", "watchdog", "WATCHDOG"])
def test_the_watchdog_is_not_silenced(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be silenced"):
        request.matchers(Scope(alert=name), None)


@pytest.mark.parametrize(
    ("scope", "part"),
    [
        (Scope(service="chekout"), "no service 'chekout' | did you mean checkout?"),
        (Scope(service="zzz"), "no service 'zzz' | it has cart, checkout"),
        (Scope(namespace="shopp"), "no namespace 'shopp' | did you mean shop?"),
        (Scope(service="cart", namespace="eu"), "no service 'cart' in eu | it has checkout"),
        (Scope(slo="availabilty"), "no SLO 'availabilty' | did you mean availability?"),
        (Scope(service="cart", slo="errors"), "no SLO 'errors' of cart | it has availability"),
    ],
)
def test_names_that_the_file_does_not_know(scope: Scope, part: str) -> None:
    with pytest.raises(UsageError) as error:
        request.matchers(scope, load(NAMED_ONLY))
    assert part in hint(error)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(service="new-service", namespace="open"),
        Scope(service="new-service"),
        Scope(service="new-service", slo="availability"),
        Scope(namespace="open"),
        Scope(slo="errors"),
        Scope(alert="Anything"),
    ],
)
def test_a_wildcard_knows_every_service_of_its_namespace(scope: Scope) -> None:
    assert request.matchers(scope, load(FILE))


def test_a_wildcard_of_another_namespace_knows_nothing() -> None:
    with pytest.raises(UsageError, match="no service 'new-service' in shop"):
        request.matchers(Scope(service="new-service", namespace="shop"), load(FILE))


def test_a_service_of_several_namespaces_is_noticed() -> None:
    assert request.places(Scope(service="checkout"), load(FILE)) == ["eu", "shop"]
    assert request.places(Scope(service="checkout", namespace="eu"), load(FILE)) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0m", "no length"),
        ("0s", "no length"),
        ("", "not a duration"),
        ("30", "not a duration"),
        ("-5m", "not a duration"),
        ("1.5h", "not a duration"),
        ("soon", "not a duration"),
        ("30m ", "not a duration"),
        ("4h1s", "longer than a silence may be, 4h"),
        ("99999w", "not a duration"),
    ],
)
def test_lengths_that_are_refused(text: str, part: str) -> None:
    with pytest.raises(UsageError, match="--for") as error:
        request.length(text, request.LONGEST)
    assert part in str(error.value)


def test_lengths() -> None:
    assert request.length("4h", request.LONGEST) == 14400
    assert request.length("1h30m", 5400) == 5400


def test_the_file_states_the_longest_silence() -> None:
    block = """
notifications:
  receivers:
    hook: {webhook: {url: "https://hook.example.org/x"}}
  default: {page: hook, ticket: hook}
  longest_silence: 20m
"""
    assert load(FILE + block).longest_silence == 1200
    assert load(FILE).longest_silence == request.LONGEST == 4 * 3600


def test_a_comment_is_one_short_line() -> None:
    assert request.line("--comment", " a\n\tb\x1b[2J ") == "a b [2J"
    assert len(request.line("--comment", "x" * 9000)) == 500
    for text in ("", " \n", "\x00\u202e"):
        with pytest.raises(UsageError, match="--comment is empty"):
            request.line("--comment", text)


@pytest.mark.parametrize("text", ["42", "shop/checkout#42", "a1b2c3", "feature/x-1.2:3@eu+b=c~d", "x" * 128])
def test_deploy_ids(text: str) -> None:
    assert request.deploy_id(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a]", "[a", "-x", "\n42", "42\n", "é", "x" * 129, "a\x1bb"])
def test_what_is_no_deploy_id(text: str) -> None:
    with pytest.raises(UsageError, match="--deploy-id"):
        request.deploy_id(text)


# --- whose a silence is


@given(comment=st.text(), deploy=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@#+=~-]{0,127}", fullmatch=True))
def test_the_deploy_id_is_recovered_whatever_the_comment_says(comment: str, deploy: str) -> None:
    silence = wanted(CHECKOUT, NOW, 60, "x", comment, deploy)
    assert silence.ours
    assert silence.deploy_id == deploy
    assert silence.said == comment.rstrip()
    without = wanted(CHECKOUT, NOW, 60, "x", comment)
    assert (without.ours, without.deploy_id) == (True, "")


@given(text=st.text(alphabet="[] =sloctdepy42\n\x00", max_size=60))
def test_no_id_can_pass_for_another(text: str) -> None:
    if valid_id(text):
        assert wanted(CHECKOUT, NOW, 60, "x", "y", text).deploy_id == text
    found = Silence((), NOW, NOW, "x", text)
    assert found.deploy_id == "" or text.rstrip().endswith(f"[sloctl deploy={found.deploy_id}]")


@pytest.mark.parametrize(
    "comment",
    ["", "deploy 42", "[sloctl deploy=42] by hand", "sloctl deploy=42", "[sloctl deploy=4 2]", "[Sloctl]"],
)
def test_what_sloctl_did_not_make(comment: str) -> None:
    silence = Silence((), NOW, NOW, "sloctl", comment)
    assert (silence.ours, silence.deploy_id, silence.said) == (False, "", comment)


# --- one silence per deploy


class Shelf:
    """A store in memory that changes silences as Alertmanager does; ``others`` act after each of our looks."""

    def __init__(self, *kept: Silence) -> None:
        self.kept = {silence.id: silence for silence in kept}
        self.expired: list[str] = []
        self.posts: list[Silence] = []

    def silences(self) -> Sequence[Silence]:
        return list(self.kept.values())

    def post(self, silence: Silence) -> str:
        self.posts.append(silence)
        new = silence.id or f"id-{len(self.posts)}"
        starts = self.kept[new].starts if silence.id else NOW
        self.kept[new] = replace(silence, id=new, state="active", starts=starts)
        return new

    def expire(self, silence_id: str) -> None:
        self.expired.append(silence_id)
        self.kept[silence_id] = replace(self.kept[silence_id], state="expired")


def kept(
    identity: str, minutes: float, *, started: float = 0, deploy: str = "42", state: str = "active"
) -> Silence:
    made = wanted(CHECKOUT, NOW, round(minutes * 60), "x", "y", deploy)
    return replace(made, id=identity, state=state, starts=NOW + timedelta(minutes=started))


def want(minutes: float, deploy: str = "42") -> Silence:
    return wanted(list(reversed(CHECKOUT)), NOW, round(minutes * 60), "x", "z", deploy)


def test_a_new_one() -> None:
    shelf = Shelf(kept("old", 30, state="expired"), kept("other", 30, deploy="43"))
    ensured = ensure(shelf, want(30), 14400)
    assert (ensured.change, ensured.silence.id) == ("created", "id-1")
    assert len(shelf.posts) == 1


@pytest.mark.parametrize("state", ["active", "pending"])
def test_one_that_is_there_is_extended_under_its_id(state: str) -> None:
    shelf = Shelf(kept("a", 10, started=-5, state=state))
    ensured = ensure(shelf, want(30), 14400)
    assert (ensured.change, ensured.silence.id, ensured.limited) == ("extended", "a", False)
    (post,) = shelf.posts
    assert (post.id, post.starts, post.ends) == ("a", NOW - timedelta(minutes=5), NOW + timedelta(minutes=30))


def test_none_is_shortened() -> None:
    shelf = Shelf(kept("a", 60))
    assert ensure(shelf, want(30), 14400).change == "unchanged"
    assert shelf.posts == []


def test_one_that_has_lasted_is_extended_to_the_maximum_only() -> None:
    shelf = Shelf(kept("a", 10, started=-50))
    ensured = ensure(shelf, want(60), 3600)
    assert ensured.change == "unchanged", "an hour is all it may have"
    assert ensured.limited
    shelf = Shelf(kept("a", 5, started=-50))
    ensured = ensure(shelf, want(60), 3600)
    assert (ensured.change, ensured.limited) == ("extended", True)
    assert ensured.silence.ends == NOW + timedelta(minutes=10)
    longer_by_hand = Shelf(kept("a", 300, started=-50))
    assert not ensure(longer_by_hand, want(60), 3600).limited


def test_of_two_the_oldest_stays_and_lasts_as_long_as_the_longest_asked_for() -> None:
    shelf = Shelf(kept("b", 10, started=-1), kept("a", 10, started=-2), kept("c", 10, started=-1))
    ensured = ensure(shelf, want(30), 14400)
    assert ensured.silence.id == "a"
    assert sorted(shelf.expired) == ["b", "c"]
    assert ensured.silence.ends == NOW + timedelta(minutes=30)


def test_the_younger_ends_after_the_elder_was_extended() -> None:
    """At no moment is there no silence."""
    order: list[str] = []

    class Ordered(Shelf):
        def post(self, silence: Silence) -> str:
            order.append("extend")
            return super().post(silence)

        def expire(self, silence_id: str) -> None:
            order.append("expire")
            super().expire(silence_id)

    ensure(Ordered(kept("a", 10, started=-2), kept("b", 30, started=-1)), want(30), 14400)
    assert order == ["extend", "expire"]


def test_a_store_that_never_settles_does_not_hold_a_job_for_ever() -> None:
    class Restless(Shelf):
        def silences(self) -> Sequence[Silence]:
            self.kept[f"x{len(self.kept)}"] = kept(f"x{len(self.kept)}", 60)
            return super().silences()

    assert ensure(Restless(), want(30), 14400).silence.id == "x0"


def test_expiring() -> None:
    shelf = Shelf(kept("a", 30), kept("b", 30, state="expired"), kept("c", 30, state="pending"))
    assert list(expire(shelf, ["a", "b", "a", "c", "d"])) == [
        ("a", "expired"),
        ("b", "already expired"),
        ("c", "expired"),
        ("d", "unknown"),
    ]
    assert shelf.expired == ["a", "c"]


# --- settings


def test_settings_name_their_own_variables() -> None:
    with pytest.raises(UsageError, match="no Alertmanager address") as error:
        AlertmanagerSettings.load({"SLOCTL_PROMETHEUS_URL": "http://prometheus:9090"})
    assert error.value.hint == (
        "give --alertmanager URL, set SLOCTL_ALERTMANAGER_URL, or write sources.alertmanager in the SLO file"
    )
    url = {"SLOCTL_ALERTMANAGER_URL": "https://a.example.org"}
    for name, value in {"TIMEOUT": "soon", "INSECURE": "maybe", "HEADERS": "x", "KEY_FILE": "/x"}.items():
        with pytest.raises(UsageError, match=f"SLOCTL_ALERTMANAGER_{name}"):
            AlertmanagerSettings.load({**url, f"SLOCTL_ALERTMANAGER_{name}": value})
    for address in ("http://me:secret@a", "a:9093", "http://a/?x=1"):
        with pytest.raises(UsageError, match="Alertmanager") as error:
            AlertmanagerSettings.load({}, url=address)
        assert "secret" not in hint(error)
        assert "PROMETHEUS" not in hint(error)
    with pytest.raises(UsageError, match="SLOCTL_ALERTMANAGER_URL"):
        AlertmanagerSettings.load({"SLOCTL_ALERTMANAGER_URL": "a:9093"})


def test_credentials_of_one_backend_are_not_sent_to_the_other() -> None:
    settings = AlertmanagerSettings.load({"SLOCTL_PROMETHEUS_TOKEN": "t0ken-of-prometheus"}, url="http://a")
    assert settings.token is None
