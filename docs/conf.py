"""The pages of this folder as a site (``make docs``): in which order, and where links lead that leave the folder.

Pages stay plain Markdown that reads well in the repository; all that only the site needs is here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sloctl import __version__, project as ours  # noqa: E402

GROUPS = {
    "How to": (
        "quick-start getting-started install lint-mesh alertmanager deploy-windows release-gate canary backtest diff "
        "slack ledger scheduler environments kubernetes serve operations preflight retries migrate troubleshooting"
    ),
    "Explanation": "exact-budgets how-rules-work alerting guardrails explain dashboards engines benchmarks",
    "Reference": "slo-file presets report cli metrics telemetry",
    "Runbooks": " ".join(sorted(f"runbooks/{page.stem}" for page in (ROOT / "docs/runbooks").glob("*.md"))),
    "The project": "releasing",
}
"""Every page once; the build fails otherwise."""

project = "sloctl"
author = "The sloctl maintainers"
version = release = __version__
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["examples", "images"]
myst_heading_anchors = 6
html_theme = "furo"
html_title = f"sloctl {__version__}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": ours.REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}
_LINK = re.compile(r"(\]\(|\]: )(\.\./[^)\s#]*)")


def _read(app: Any, name: str, source: list[str]) -> None:
    """Add the groups to the first page, and let links that leave the folder lead to the repository."""
    page = ROOT / "docs" / f"{name}.md"

    def absolute(match: re.Match[str]) -> str:
        target = (page.parent / match[2]).resolve()
        if not target.exists():
            logging.getLogger(__name__).warning("there is no %s", match[2], location=name)
            return match[0]
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        return f"{match[1]}{ours.REPOSITORY}/blob/main/{target.relative_to(ROOT)}"

    source[0] = _LINK.sub(absolute, source[0])
    if name == root_doc:
        for caption, pages in GROUPS.items():
            listed = "\n".join(pages.split())
            source[0] += f"\n```{{toctree}}\n:caption: {caption}\n:hidden:\n\n{listed}\n```\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.add_lexer("promql", TextLexer)  # Pygments does not know it
