"""A real browser without a window, that is asked to be silent and is watched for what it says and asks for."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from sloctl.errors import UsageError

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""


def find() -> str:
    """The browser's path. Raises UsageError where there is none, with which a test is skipped."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise UsageError("the program chromium is not on PATH", hint="install it: apt-get install chromium")


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """A browser while the context lasts; none is ever downloaded."""
    path = find()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS), headless=True)
        except Error as error:
            # Ubuntu's package is a stub that asks for a snap.
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"{path} does not start: {str(error).splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, what it said on its console, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def quiet(self) -> None:
        """Fails if the page complained, asked for anything but itself, or did what its policy forbids."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [self.page.url.partition("#")[0]]
        assert self.page.evaluate("window.violations") == []


@contextlib.contextmanager
def watched(browser: Browser, url: str, **context: Any) -> Iterator[Watched]:
    """The page at ``url``, in a browser context of its own with these settings (see Playwright's new_context)."""
    settings = {"reduced_motion": "reduce", "viewport": {"width": 1280, "height": 900}} | context
    inner = browser.new_context(**settings)
    try:
        inner.add_init_script(VIOLATIONS)
        found = Watched(inner.new_page())
        found.page.set_default_timeout(10_000)
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.goto(url)
        yield found
    finally:
        inner.close()
