"""Settings: what the environment says, and that nobody can read a secret by accident."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sloctl.errors import UsageError
from sloctl.settings.backends import AlertmanagerSettings, PrometheusSettings
from sloctl.settings.ledger import LedgerAddress
from sloctl.settings.secret import Secret
from sloctl.settings.servers import redact

TOKEN = "s3cr3t-t0ken"
URL = {"SLOCTL_PROMETHEUS_URL": "https://prom.example.org"}


def load(**variables: str) -> PrometheusSettings:
    return PrometheusSettings.load({**URL, **{f"SLOCTL_PROMETHEUS_{k}": v for k, v in variables.items()}})


def message(error: pytest.ExceptionInfo[UsageError]) -> str:
    return f"{error.value} {error.value.hint}"


def test_defaults() -> None:
    settings = load()
    assert settings.url == "https://prom.example.org"
    assert (settings.timeout, settings.retries, settings.concurrency) == (30.0, 3, 4)
    assert settings.token is None
    assert settings.warnings == ()


def test_an_option_goes_before_the_variable_and_the_variable_before_the_file() -> None:
    file = "http://file:9090/"
    assert (
        PrometheusSettings.load(URL, url="http://option:9090", default_url=file).url == "http://option:9090"
    )
    assert PrometheusSettings.load(URL, default_url=file).url == "https://prom.example.org"
    assert PrometheusSettings.load({}, default_url=file).url == "http://file:9090"


@pytest.mark.parametrize(
    "text",
    [
        *("host=db password=s3cr3t-t0ken", "password = s3cr3t-t0ken", "user:s3cr3t-t0ken@db/ledger"),
        *("postgresql:user:s3cr3t-t0ken@db/ledger", "file:ledger.db?mode=ro"),
    ],
)
def test_a_ledgers_address_in_another_form_is_no_file_of_that_name(text: str) -> None:
    for options in ({"option": text}, {"environ": {"SLOCTL_LEDGER_URL": text}}):
        with pytest.raises(UsageError, match="neither a URL nor the path") as error:
            LedgerAddress.load(**options)
        assert TOKEN not in message(error)
    found = LedgerAddress.load(option="./a=b:c.db").url
    assert found is not None and found.reveal() == f"sqlite:///{Path.cwd()}/a=b:c.db"


def test_without_an_address_the_error_says_where_to_give_one() -> None:
    with pytest.raises(UsageError) as error:
        PrometheusSettings.load({})
    assert "--prometheus" in error.value.hint
    assert "SLOCTL_PROMETHEUS_URL" in error.value.hint


def test_numbers_come_from_options_or_variables() -> None:
    settings = load(TIMEOUT="2.5", RETRIES="0", CONCURRENCY="8")
    assert (settings.timeout, settings.retries, settings.concurrency) == (2.5, 0, 8)
    settings = PrometheusSettings.load({**URL, "SLOCTL_PROMETHEUS_RETRIES": "5"}, retries=0, timeout=1)
    assert (settings.timeout, settings.retries) == (1, 0)
    with pytest.raises(UsageError, match="concurrency"):
        PrometheusSettings.load(URL, concurrency=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "nan"),
        ("RETRIES", "-1"),
        ("RETRIES", "1.5"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "1000"),
        ("INSECURE", "maybe"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError):
        load(**{name: value})


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(TOKEN)
    settings = PrometheusSettings("https://p", token=secret, headers={"X-Api-Key": Secret(TOKEN)})
    record = logging.LogRecord("x", 20, "x", 1, "%s %r %s", (secret, secret, settings), None)
    shown = [repr(secret), str(secret), f"{secret}", repr(settings), record.getMessage()]
    assert all(TOKEN not in text for text in shown)
    assert secret.reveal() == TOKEN
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            leak(secret)


def test_a_token_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for settings in (load(TOKEN=TOKEN), load(TOKEN_FILE=str(file))):
        assert settings.token is not None
        assert settings.token.reveal() == TOKEN


def test_a_replaced_token_file_is_read_anew_and_a_missing_one_is_survived(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token = load(TOKEN_FILE=str(file)).token
    assert token is not None
    file.write_text("new")
    assert token.reveal() == "new"
    file.unlink()
    assert token.reveal() == "new"
    file.write_text("")
    assert token.reveal() == "new"


def test_an_unreadable_secret_file_names_the_variable_and_the_file(tmp_path: Path) -> None:
    missing, empty, binary, lines = (tmp_path / name for name in ("missing", "empty", "binary", "lines"))
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe\x00")
    lines.write_text(f"{TOKEN}\n{TOKEN}")
    for file in (missing, empty, binary, lines, tmp_path):
        for name in ("TOKEN_FILE", "PASSWORD_FILE"):
            with pytest.raises(UsageError) as error:
                load(**{name: str(file), "USERNAME": "me" if name == "PASSWORD_FILE" else ""})
            assert f"SLOCTL_PROMETHEUS_{name}" in str(error.value)
            assert str(file) in str(error.value)
            assert TOKEN not in message(error)


@pytest.mark.parametrize(
    "variables",
    [
        {"TOKEN": TOKEN, "TOKEN_FILE": "/dev/null"},
        {"TOKEN": TOKEN, "USERNAME": "me", "PASSWORD": TOKEN},
        {"TOKEN": TOKEN, "HEADERS": "authorization=Bearer x"},
        {"USERNAME": "me"},
        {"PASSWORD": TOKEN},
        {"TOKEN": f"{TOKEN}\n{TOKEN}"},
        {"TOKEN": f"{TOKEN}é"},
    ],
)
def test_contradictory_credentials_are_refused_without_being_shown(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError) as error:
        load(**variables)
    assert "SLOCTL_PROMETHEUS_" in str(error.value)
    assert TOKEN not in message(error)


def test_headers() -> None:
    settings = load(HEADERS="X-Scope-OrgID=shop|cart, X-Empty-After=a=b,")
    assert {k: v.reveal() for k, v in settings.headers.items()} == {
        "X-Scope-OrgID": "shop|cart",
        "X-Empty-After": "a=b",
    }
    for bad in (TOKEN, f"X Y={TOKEN}", f"={TOKEN}", "X-Empty=", f"X-Line={TOKEN}\r\nY: z"):
        with pytest.raises(UsageError, match="SLOCTL_PROMETHEUS_HEADERS") as error:
            load(HEADERS=bad)
        assert TOKEN not in message(error)


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{TOKEN}@prom:9090",
        f"https://{TOKEN}@prom:9090/path",
        f"http://me:pa/{TOKEN}@prom:9090",
        f"http://me:80/{TOKEN}@prom:9090",
        f"http://me:pa?{TOKEN}@prom",
        f"http://me:pa#{TOKEN}@prom",
        f"me:{TOKEN}@prom:9090",
        f"http://prom:9090/?token={TOKEN}",
        f"http://prom:9090/#{TOKEN}",
    ],
)
def test_credentials_in_an_address_are_refused_and_never_shown(url: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: PrometheusSettings.load({}, url=url),
        lambda: PrometheusSettings.load({}, default_url=url),
        lambda: load(URL=url),
        lambda: PrometheusSettings(url),
    ]
    for call in calls:
        with pytest.raises(UsageError) as error:
            call()
        assert TOKEN not in message(error)
        assert "me:" not in message(error)
    assert TOKEN not in redact(url)


@pytest.mark.parametrize(
    "url",
    ["prom:9090", "ftp://prom", "http://", "http://prom:port", "http://prom:99999", "http://a b", "//x", "-"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address"):
        PrometheusSettings.load({}, url=url)


def test_a_bad_address_in_a_variable_names_the_variable() -> None:
    with pytest.raises(UsageError, match="SLOCTL_PROMETHEUS_URL"):
        load(URL="prom:9090")


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://prom.example.org", True),
        ("http://10.0.0.1:9090", True),
        ("http://localhost.example.org", True),
        ("https://prom.example.org", False),
        ("http://localhost:9090", False),
        ("http://127.1.2.3:9090", False),
        ("http://[::1]:9090", False),
    ],
)
def test_a_token_on_plain_http_is_warned_of(url: str, warned: bool) -> None:
    settings = PrometheusSettings(url, token=Secret(TOKEN))
    assert bool(settings.warnings) is warned
    assert TOKEN not in " ".join(settings.warnings)
    assert not PrometheusSettings(url).warnings


def test_an_unverified_certificate_is_warned_of() -> None:
    assert "not verified" in load(INSECURE="true").warnings[0]


def test_unusable_tls_files_name_the_variable(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    for variables in (
        {"CA_FILE": str(garbage)},
        {"CA_FILE": str(tmp_path / "missing.pem")},
        {"CERT_FILE": str(garbage)},
        {"CERT_FILE": str(tmp_path / "missing.pem"), "KEY_FILE": str(garbage)},
        {"KEY_FILE": str(garbage)},
    ):
        with pytest.raises(UsageError) as error:
            load(**variables)
        assert f"SLOCTL_PROMETHEUS_{next(iter(variables))}" in str(error.value)


def test_the_module_is_cheap_to_import() -> None:
    heavy = "pandas requests prometheus_api_client ssl"
    code = f"import sys, sloctl.settings; print([m for m in {heavy.split()!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        == "[]\n"
    )


def test_an_alertmanager_answers_soon_or_not_at_all() -> None:
    of_alertmanager = AlertmanagerSettings.load({}, url="http://alertmanager:9093")
    assert (of_alertmanager.timeout, load().timeout) == (10, 30)
    assert AlertmanagerSettings.load({"SLOCTL_ALERTMANAGER_TIMEOUT": "60"}, url="http://a:9093").timeout == 60
