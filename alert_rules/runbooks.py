"""The runbooks of sloctl's own alerts: pages of Markdown that come with the program.

They name a service ``checkout`` of a namespace ``shop`` where an alert has its own names, which :func:`page` fills in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from alert_rules.health import DASHBOARDS
from sloctl import naming
from sloctl.guardrails.plans import plans
from sloctl.model import SloSet

_INSTALLED = Path(__file__).parent / "runbook_pages"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "docs" / "runbooks"
"""Where the pages are: in an installed sloctl beside this module, in a clone among its docs."""
NAME = r"[a-zA-Z0-9](?:[-._a-zA-Z0-9]*[a-zA-Z0-9])?"
"""What may be filled in as a name: it goes into commands that people paste."""
_EXAMPLES = {"namespace": "shop", "service": "checkout"}
_GATEWAY = {"namespace": "istio-system", "service": "istio-ingressgateway"}


def names() -> tuple[str, ...]:
    """The files of all pages."""
    return tuple(sorted(path.name for path in FOLDER.glob("*.md")))


def alerts() -> tuple[str, ...]:
    """The alerts that have a page, by name."""
    titles = ((FOLDER / file).read_text(encoding="utf-8").partition("\n")[0] for file in names())
    return tuple(sorted(title.removeprefix("# ") for title in titles))


def meanings() -> dict[str, str]:
    """What each alert that has a page means, in a sentence of its page."""
    found = {}
    for alert in alerts():
        text = (FOLDER / naming.runbook_page(alert)).read_text(encoding="utf-8").partition("## Meaning")[2]
        words = re.sub(r"\[([^\]]+)\]\([^)]+\)|`", r"\1", text.partition("\n## ")[0])
        found[alert] = " ".join(re.split(r"(?<=\.)\s", words.strip(), maxsplit=1)[0].split())
    return found


def file_of(alert: str) -> str:
    """The file of an alert's page: SLOs name their alerts, whose pages they share. "" for no alert of sloctl's."""
    for shared in (naming.LATENCY_BURN, naming.BUDGET_BURN, naming.TRAFFIC_STOPPED):
        if shared in alert:
            alert = shared
            break
    found = naming.runbook_page(alert)
    return found if found in names() else ""


def page(file: str, filled: Mapping[str, str] | None = None, slo_set: SloSet | None = None) -> str:
    """A page as it stands alone: without links to docs that are elsewhere.

    ``filled`` has the ``namespace`` and the ``service`` of an alert. With an SLO set whose Grafana is known, the page
    begins with a link to its dashboard.
    """
    text = (FOLDER / file).read_text(encoding="utf-8")
    text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", text)
    examples = _GATEWAY if file.startswith("gateway-") else _EXAMPLES
    values = {key: value for key, value in (filled or {}).items() if value}
    made_up = [name for key, name in examples.items() if key not in values and name in text]
    if filled is not None and made_up:
        head, _, rest = text.partition("\n")
        names = " and ".join(made_up)
        text = f"{head}\n\nNames in commands and queries ({names}) are examples: say --service and --namespace.\n{rest}"
    for key, value in values.items():
        text = re.sub(rf"\b{re.escape(examples[key])}\b(?!\.example|-)", value, text)
    if slo_set is not None and (
        link := dashboard(slo_set, text.partition("\n")[0].removeprefix("# "), values)
    ):
        head, _, rest = text.partition("\n")
        text = f"{head}\n\n[Dashboard]({link})\n{rest}"
    return text


def dashboard(slo_set: SloSet, alert: str, names: Mapping[str, str]) -> str:
    """The dashboard that shows more of an alert; "" where the SLO file has no such alert or no such dashboard."""
    kind = "budget"
    if alert not in (naming.BUDGET_BURN, naming.LATENCY_BURN, naming.TRAFFIC_STOPPED):
        presets = {item.name: plan.preset for plan in plans(slo_set) for item in plan.alerts}
        kind = DASHBOARDS.get(presets.get(alert, ""), "")
    if not slo_set.sources.grafana or kind not in slo_set.dashboards.kinds:
        return ""
    chosen = "" if kind == "oncall" else "".join(f"&var-{key}={value}" for key, value in names.items())
    return (
        f"{slo_set.sources.grafana}/d/{naming.dashboard_uid(slo_set.name, kind)}?from=now-3h&to=now{chosen}"
    )
