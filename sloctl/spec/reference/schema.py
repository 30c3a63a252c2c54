"""The JSON Schema (draft 2020-12) of an SLO file, for editors; made from the loader's own tables."""

from __future__ import annotations

from typing import Any

from sloctl.spec.sections.file import FILE

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one document. What a schema cannot say (bounds of histograms, PromQL, …) only the loader checks."""
    defs: dict[str, Any] = {}
    root = FILE.schema(defs)
    return {
        "$schema": DRAFT,
        "title": "SLO file of sloctl",
        **root,
        "$defs": dict(sorted(defs.items())),
    }
