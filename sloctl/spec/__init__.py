"""The SLO file: reads it, says everything that is wrong with it, and turns it into the model.

Must not know what is generated from the model, nor talk to any server.
"""

from sloctl.spec.load import check, load
from sloctl.spec.problems import as_objects, render_json, render_text, source_lines
from sloctl.spec.schema import json_schema
from sloctl.spec.starter import starter

__all__ = [
    "as_objects",
    "check",
    "json_schema",
    "load",
    "render_json",
    "render_text",
    "source_lines",
    "starter",
]
