"""Does ``pip install`` into a virtual environment, with uv where it can be had: that takes a fifth of pip's time.

    .venv/bin/python scripts/install.py ENVIRONMENT ARGUMENT…

Both give the same versions from the same indexes: uv is told what pip is configured with. Where that says something
that is not in ``_KNOWN``, and whenever uv fails, pip does it, and pip's word counts.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

_PIP = [sys.executable, "-m", "pip"]
_KNOWN = {  # what pip calls it, and uv
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
_NOTHING = {  # changes neither what is installed nor where it comes from
    "cache-dir",
    "disable-pip-version-check",
    "no-input",
    "no-warn-script-location",
    "progress-bar",
    "root-user-action",
}


def configured() -> dict[str, str]:
    """What pip is configured with, by the name of its option; the environment goes over files."""
    listed = subprocess.run([*_PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        found.setdefault(section, {})[option.replace("_", "-")] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def uv_environment() -> dict[str, str] | None:
    """The environment that uv needs to do as pip does, or None where it would not."""
    options = {name: value for name, value in configured().items() if name not in _NOTHING}
    if options.keys() - _KNOWN.keys():
        return None
    told = {
        _KNOWN[name]: ("," if name == "find-links" else " ").join(value.split())
        for name, value in options.items()
    }
    # Modules are compiled when they are first loaded, which few are; here and now where that would not be kept.
    compiled = "1" if sys.dont_write_bytecode else "0"
    fixed = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_CONFIG": "1", "UV_COMPILE_BYTECODE": compiled}
    return {**os.environ, **told, **fixed}


def main(environment: str, *arguments: str) -> int:
    python = f"{environment}/bin/python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *arguments]
    variables = uv_environment() if _has_uv() else None
    if variables is not None and subprocess.run(uv, env=variables, check=False).returncode == 0:
        return 0
    pip = [*_PIP, "--python", python, "install", "--quiet", "--prefer-binary", *arguments]
    return subprocess.run(pip, check=False).returncode


def _has_uv() -> bool:
    asked = [sys.executable, "-m", "uv", "--version"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
