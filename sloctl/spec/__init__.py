"""The SLO file: reads it, says everything that is wrong with it, and turns it into the model; files of other tools.

Must not know what is generated from the model, nor talk to any server.
"""

from sloctl.spec.load import check, check_sources, load, load_sources, read
from sloctl.spec.problems import as_objects, render_json, render_text, source_lines
from sloctl.spec.reference.starter import starter
from sloctl.spec.sections.file import json_schema, overlay_schema
from sloctl.spec.yaml.files import Source

__all__ = [
    "Source",
    "as_objects",
    "check",
    "check_sources",
    "json_schema",
    "load",
    "load_sources",
    "overlay_schema",
    "read",
    "render_json",
    "render_text",
    "source_lines",
    "starter",
]
