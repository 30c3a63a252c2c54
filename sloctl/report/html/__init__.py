"""Writes a report as one page of HTML that needs nothing else: no network, no other file.

Names come from servers and files: the template escapes everything, and control characters are taken out as in
the other forms. Its numbers are those of :mod:`sloctl.report.markdown`. Style and script are allowed by their hashes
only. This module must not know where the numbers come from.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from sloctl import __version__
from sloctl.report.data import Report
from sloctl.report.html import charts, view
from sloctl.report.spreadsheet import csv_text

FOLDER = Path(__file__).parent


def breakable(text: str) -> list[str]:
    """The parts between which a text may be broken: before a capital inside a word, and after a slash."""
    return re.split(r"(?<=[a-z])(?=[A-Z])|(?<=/)(?=\w)", text)


@cache
def environment() -> jinja2.Environment:
    """Where templates are; they escape what they are given."""
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


PACK = 25
"""SLOs that are packed together: as many are unpacked when one of them is looked at."""


def packed(text: str) -> str:
    """A text that the page's script unpacks when it is wanted, as letters that mean nothing to HTML."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def page(report: Report) -> str:
    """The report as HTML. The same report gives the same bytes."""
    style, style_hash = asset("style.css")
    script, script_hash = asset("script.js")
    templates = environment()
    shown = view.page_view(report)
    each: Any = templates.get_template("slo.html.j2").make_module({"charts": charts, "signs": view.SIGNS})
    rest = [
        str(each.section(section, number))
        for number, section in enumerate(shown.sections[shown.plain :], shown.plain + 1)
    ]
    more = "".join(str(each.row(shown.columns, section)) for section in shown.sections[view.PLAIN :])
    return templates.get_template("page.html.j2").render(
        view=shown,
        charts=charts,
        signs=view.SIGNS,
        rows=min(view.PLAIN, len(shown.sections)),
        more=packed(more) if more else "",
        csv=packed(csv_text(report)),
        packed=[packed("".join(rest[first : first + PACK])) for first in range(0, len(rest), PACK)],
        version=__version__,
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; style-src '{style_hash}'; script-src '{script_hash}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
    )
