"""``sloctl`` in processes that start at once: forked from one that has imported everything, and killed for real."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite

# What `sloctl run slis` and `sloctl run report` import by and by.
import jobs.recording.record
import jobs.reports.routines
import jobs.schedule.runner
import sloctl.backends.alertmanager.client
import sloctl.backends.prometheus.client
import sloctl.cli.run
import sloctl.ledger.database
import sloctl.ledger.store
import sloctl.posting.slack
import sloctl.settings.backends
import sloctl.spec
from sloctl.cli.main import cli, run

__all__ = ["Run", "jobs", "psycopg", "sloctl", "sqlalchemy", "start"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@dataclass
class Run:
    """One process; ``begun`` is when it began to work (``time.monotonic``)."""

    process: BaseProcess
    output: Path
    begun: float

    def kill(self) -> None:
        if self.process.pid is not None and self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGKILL)

    def wait(self, seconds: float = 600) -> int:
        """Its exit code; -9 where it died of SIGKILL."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.said}")
        return code

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")


def start(
    arguments: list[str], folder: Path, output: Path, *, env: dict[str, str], file_size: int = 0
) -> Run:
    """Start ``sloctl``; returns once it begins to work. No file may grow beyond ``file_size`` bytes, if given."""
    told, tell = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_work, args=(tell, arguments, folder, output, env, file_size))
    process.start()
    tell.close()
    told.recv_bytes()
    return Run(process, output, time.monotonic())


def _work(
    tell: Connection, arguments: list[str], folder: Path, output: Path, env: dict[str, str], file_size: int
) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if file_size:
        sys.dont_write_bytecode = True  # half a file would stay in this tree
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    tell.send_bytes(b"!")
    code = run(lambda: cli.main(arguments, prog_name="sloctl", standalone_mode=False))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
