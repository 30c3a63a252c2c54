"""Writes a report as one page of HTML that needs nothing else: no network, no other file.

Names come from servers and files: the template escapes everything, and control characters are taken out as in
the other forms. Its numbers are those of :mod:`sloctl.report.markdown`. Style and script are allowed by their hashes
only. This module must not know where the numbers come from.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import jinja2

from sloctl import __version__
from sloctl.report.data import Report
from sloctl.report.html import charts, view

FOLDER = Path(__file__).parent


def breakable(text: str) -> list[str]:
    """The parts between which a text may be broken: before a capital inside a word, and after a slash."""
    return re.split(r"(?<=[a-z])(?=[A-Z])|(?<=/)(?=\w)", text)


@cache
def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["breakable"] = breakable
    found.filters["coordinate"] = charts.coordinate
    return found


@cache
def asset(name: str) -> tuple[str, str]:
    """A file that the page holds, and the hash by which the page's policy allows it."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return text, f"sha256-{base64.b64encode(digest).decode()}"


def page(report: Report) -> str:
    """The report as HTML. The same report gives the same bytes."""
    style, style_hash = asset("style.css")
    script, script_hash = asset("script.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            view=view.page_view(report),
            charts=charts,
            signs=view.SIGNS,
            version=__version__,
            style=style,
            script=script,
            policy=(
                f"default-src 'none'; style-src '{style_hash}'; script-src '{script_hash}'; img-src data:; "
                "base-uri 'none'; form-action 'none'"
            ),
        )
    )
