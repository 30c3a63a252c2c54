"""The command line: reads arguments, calls the layers below, and turns errors into messages and exit codes.

Commands are imported when they run, so that ``sloctl --help`` costs little more than the interpreter.
"""

from sloctl.cli.main import main

__all__ = ["main"]
