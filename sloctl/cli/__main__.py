"""``python -m sloctl.cli``."""

from sloctl.cli.main import main

main()
