"""What others embed: a badge of one SLO (SVG), and a feed of the alerts that fired (Atom).

What is old, in doubt or not known is grey, never green.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree as ET

from sloctl.model.durations import rfc3339
from sloctl.report import markdown
from sloctl.report.data import Mark, Report, SloStatus
from sloctl.report.html.live import RECENT, slo_address
from sloctl.report.numbers import budget_share, digits_for, percent, plain

GREY = "#5f6b78"
COLOURS = {"exhausted": "#ab1f14", "at_risk": "#8a5300", "ok": "#19663a"}
LETTER = 6.6
"""Units that a letter takes, at most, in the badge's font."""
MOST_ENTRIES = 100
ATOM = "http://www.w3.org/2005/Atom"


def badge(name: str, item: SloStatus | None, *, stale: bool) -> str:
    """The badge of an SLO; without ``item`` it is not known."""
    left = plain(name)[:60]
    if item is None:
        right, colour = "unknown", GREY
    elif stale:
        right, colour = "old", GREY
    else:
        sli = percent(item.sli, digits_for(item.objective))
        right = {
            "no_data": "no data",
            "partial": f"{sli}, little recorded",
        }.get(item.status, f"{sli}, {budget_share(item.remaining)} left")
        if item.alerts:
            right = f"{right}, burns"
        if item.doubts:
            right = f"{right}{markdown.IN_DOUBT}"
        state = "at_risk" if item.alerts and item.status == "ok" else item.status
        colour = GREY if item.doubts and state == "ok" else COLOURS.get(state, GREY)
    widths = [round(len(text) * LETTER) + 14 for text in (left, right)]
    total = sum(widths)
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(total),
            "height": "20",
            "role": "img",
            "aria-label": f"{left}: {right}",
        },
    )
    ET.SubElement(svg, "title").text = f"{left}: {right}"
    ET.SubElement(svg, "rect", {"width": str(total), "height": "20", "rx": "3", "fill": "#3a424c"})
    ET.SubElement(
        svg, "rect", {"x": str(widths[0]), "width": str(widths[1]), "height": "20", "rx": "3", "fill": colour}
    )
    style = {"fill": "#fff", "font-family": "Verdana,DejaVu Sans,sans-serif", "font-size": "11", "y": "14"}
    for x, width, text in ((0, widths[0], left), (widths[0], widths[1], right)):
        place = {"x": str(x + 7), "textLength": str(width - 14), "lengthAdjust": "spacingAndGlyphs"}
        ET.SubElement(svg, "text", style | place).text = text
    return ET.tostring(svg, encoding="unicode")


def _incidents(report: Report) -> Iterator[tuple[SloStatus, Mark, bool]]:
    """Alerts of the past that were read, and whether each still fires; those that fire of which no past was read."""
    for item in report.slos:
        known = set()
        for mark in item.detail.marks:
            if mark.what == "alert":
                fires = mark.name in item.alerts and mark.end >= report.at - RECENT
                known |= {mark.name} if fires else set()
                yield item, mark, fires
        for name in item.alerts:
            if name not in known:
                yield item, Mark(report.at, report.at, "alert", name), True


def atom(report: Report, base: str, *, stale: bool) -> bytes:
    """The feed of alerts, the newest first. ``base`` is the address of the pages, without a slash at its end."""
    feed = ET.Element("feed", {"xmlns": ATOM})
    name = plain(report.set_name)
    ET.SubElement(feed, "id").text = f"{base}/incidents.atom"
    ET.SubElement(feed, "title").text = f"Alerts of {name}" + (
        " (old: there was no refresh)" if stale else ""
    )
    ET.SubElement(feed, "updated").text = rfc3339(report.at)
    ET.SubElement(feed, "link", {"rel": "self", "href": f"{base}/incidents.atom"})
    ET.SubElement(ET.SubElement(feed, "author"), "name").text = "sloctl"
    found = sorted(
        _incidents(report), key=lambda each: (each[1].start, each[0].name, each[1].name), reverse=True
    )
    for item, mark, fires in found[:MOST_ENTRIES]:
        entry = ET.SubElement(feed, "entry")
        address = base + slo_address(item)
        alert = plain(mark.name)
        # Where since when is not known, it is one entry for as long as it fires.
        begun = f"-{rfc3339(mark.start)}" if mark.start < report.at else ""
        ET.SubElement(entry, "id").text = f"{address}#{quote(alert, safe='')}{begun}"
        verb = "fires" if fires else "fired"
        ET.SubElement(entry, "title").text = f"{alert} {verb}: {plain(item.name)}"
        ET.SubElement(entry, "link", {"rel": "alternate", "href": address})
        ET.SubElement(entry, "published").text = rfc3339(mark.start)
        ET.SubElement(entry, "updated").text = rfc3339(mark.start if fires else mark.end)
        ET.SubElement(entry, "summary").text = _summary(item, mark, fires, report.at)
    content: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return content


def _summary(item: SloStatus, mark: Mark, fires: bool, at: datetime) -> str:
    until = f"and still does at {rfc3339(at)}" if fires else f"to about {rfc3339(mark.end)}"
    return f"From about {rfc3339(mark.start)} {until}. {markdown.left(item)} of the budget is left now."
