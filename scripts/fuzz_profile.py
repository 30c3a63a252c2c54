"""A pytest plugin for ``make fuzz``: many examples, other ones each time."""

import os

from hypothesis import settings

settings.register_profile(
    "fuzz", max_examples=int(os.environ.get("EXAMPLES", "2000")), deadline=None, derandomize=False
)
settings.load_profile("fuzz")
