"""What the environment says of Slack: one of token and webhook, never shown, never unencrypted."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloctl.errors import UsageError
from sloctl.settings.slack import API, SlackSettings

SECRET = "xoxb-secret-of-the-test"
HOOK = "https://hooks.slack.com/services/T0/B0/secretofthetest"


def test_a_token() -> None:
    settings = SlackSettings.load({"SLOCTL_SLACK_TOKEN": f" {SECRET} "})
    assert settings.token is not None and settings.token.reveal() == SECRET
    assert (settings.webhook, settings.api_url, settings.timeout) == (None, API, 20)
    assert SECRET not in repr(settings)


def test_a_token_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    settings = SlackSettings.load({"SLOCTL_SLACK_TOKEN_FILE": str(path), "SLOCTL_SLACK_TIMEOUT": "5"})
    assert settings.token is not None and settings.token.reveal() == SECRET and settings.timeout == 5
    path.write_text("xoxb-another")
    assert settings.token.reveal() == "xoxb-another"


def test_a_webhook_and_another_address() -> None:
    settings = SlackSettings.load({"SLOCTL_SLACK_WEBHOOK": HOOK})
    assert settings.webhook is not None and settings.webhook.reveal() == HOOK
    assert "secretofthetest" not in repr(settings)
    settings = SlackSettings.load(
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_API_URL": "http://127.0.0.1:80/api"}
    )
    assert settings.api_url == "http://127.0.0.1:80/api/"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_WEBHOOK": HOOK},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_TOKEN_FILE": "x"},
        {"SLOCTL_SLACK_TOKEN": f"{SECRET}\nX: y"},
        {"SLOCTL_SLACK_WEBHOOK": "hooks.slack.com/services/secretofthetest"},
        {"SLOCTL_SLACK_WEBHOOK": "http://hooks.slack.com/services/secretofthetest"},
        {"SLOCTL_SLACK_WEBHOOK": "https://u:secretofthetest@hooks.slack.com/"},
        {"SLOCTL_SLACK_WEBHOOK": "https://hooks.slack.com:x/secretofthetest"},
        {"SLOCTL_SLACK_WEBHOOK": "file:///etc/secretofthetest"},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_API_URL": "http://slack.example.org/api"},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_API_URL": "https://slack.example.org/api?x=1"},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_TIMEOUT": "0"},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_TIMEOUT": "61"},
        {"SLOCTL_SLACK_TOKEN": SECRET, "SLOCTL_SLACK_TIMEOUT": "nan"},
    ],
)
def test_what_cannot_be_is_refused_without_being_shown(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError) as raised:
        SlackSettings.load(environ)
    said = f"{raised.value} {raised.value.hint}"
    assert "SLOCTL_SLACK_" in said
    assert SECRET not in said and "secretofthetest" not in said
