"""Runs a command and writes what it cost as JSON to a file: ``launch.py FILE COMMAND…``.

A process of its own, and a small one: Linux counts the memory of the parent, from before ``exec``, into the peak.
"""

import json
import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - began
with open(sys.argv[1], "w") as file:  # noqa: PTH123 (pathlib would double its size)
    json.dump(
        {
            "exit": os.waitstatus_to_exitcode(status),
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss * 1024,
        },
        file,
    )
