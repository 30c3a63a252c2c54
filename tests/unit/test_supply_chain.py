"""``make audit`` says whether it could ask anybody; a server that has no word on any package is no clean bill."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "supply-chain"
FOUND = "Found 1 known vulnerability in 1 package\njinja2 3.1.0 PYSEC-0000 3.1.6"
NOT_THERE = (
    "ERROR:pip_audit._cli:alembic: Dependency not found on PyPI and could not be audited: alembic (1.20.1)"
)
NO_HOST = "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443)"


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "said"),
    [
        ((0, "No known vulnerabilities found"), (9, "not asked"), 0, "No known vulnerabilities found"),
        ((1, FOUND), (9, "not asked"), 1, "PYSEC-0000"),
        ((1, NOT_THERE), (0, "No known vulnerabilities found"), 0, "No known vulnerabilities found"),
        ((1, NOT_THERE), (1, FOUND), 1, "PYSEC-0000"),
        ((1, NOT_THERE), (1, NO_HOST), 3, "nothing was audited"),
    ],
)
def test_an_audit(tmp_path: Path, pypi: tuple[int, str], osv: tuple[int, str], code: int, said: str) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    for folder in (".venv/bin", ".venv-audit/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "pyproject.toml").write_text("audit = []\n")
    for service, (exit_code, text) in {"pypi": pypi, "osv": osv}.items():
        (tmp_path / f"{service}.text").write_text(text)
        (tmp_path / f"{service}.code").write_text(str(exit_code))
    program = tmp_path / ".venv-audit/bin/pip-audit"
    program.write_text('#!/bin/sh\nfor last; do :; done\ncat "$last.text"; exit $(cat "$last.code")\n')
    program.chmod(0o755)
    stamp = (
        'echo "$(.venv/bin/python -VV) $PWD $(grep "^audit = " pyproject.toml | cksum)" > .venv-audit/.stamp'
    )
    subprocess.run(["bash", "-c", stamp], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["bash", "scripts/supply-chain", "audit"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr and "not asked" not in done.stdout
