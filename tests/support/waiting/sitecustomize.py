"""Another ``time.sleep``, for a process that sees the clock of libfaketime: there the real one fails with EINVAL.

Python imports this by itself where its folder is on ``PYTHONPATH``.
"""

from __future__ import annotations

import select
import time
from typing import Any


def sleep(seconds: Any) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        select.select([], [], [], left)


time.sleep = sleep
