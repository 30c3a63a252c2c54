"""Where the project is: its repository, its documentation, its image. Nothing else in the code spells an address of it.

What cannot read this (``pyproject.toml``, the Dockerfile, examples) is held to it by a test.
"""

REPOSITORY = "https://github.com/sloctl/sloctl"
DOCUMENTATION = f"{REPOSITORY}/blob/main/docs"
"""The folder of its pages."""
IMAGE = "sloctl"
"""The image, whose tags are versions; whoever builds it says in which registry it is."""
