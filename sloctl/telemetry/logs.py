"""Log lines of a process that runs for long: one JSON object or one line of text each, with the ids of its trace."""

from __future__ import annotations

import json
import logging
import re
import traceback
from typing import IO, Literal

from sloctl.model.durations import rfc3339
from sloctl.telemetry.observer import trace_ids
from sloctl.telemetry.protocol import LOG_FIELDS

Form = Literal["text", "json"]
_USERINFO = re.compile(r"//[^/@\s'\"]+@")


def configure(stream: IO[str], form: Form, level: int = logging.INFO) -> logging.Handler:
    """Send the log to a stream from now on: our own from ``level`` on, warnings of libraries. Undo with ``remove``."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("sloctl", "jobs"):
        logging.getLogger(name).setLevel(level)
    # A job that fails is told of by the scheduler around it.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.raiseExceptions = False
    return handler


def remove(handler: logging.Handler) -> None:
    """Undo :func:`configure`."""
    logging.getLogger().removeHandler(handler)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = dict(LOG_FIELDS.get({}))
    fields |= {str(name): str(value) for name, value in getattr(record, "fields", {}).items()}
    trace_id, span_id = trace_ids()
    if trace_id:
        fields |= {"trace_id": trace_id, "span_id": span_id}
    return fields


def _message(record: logging.LogRecord) -> str:
    return _USERINFO.sub("//***@", record.getMessage())


def _trace(record: logging.LogRecord) -> str:
    """Where a bug is, and what it said itself; not what lies below it, which may repeat an address."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    frames = "".join(traceback.format_tb(error.__traceback__))
    return _USERINFO.sub("//***@", f"{frames}{type(error).__name__}: {error}")


def _time(record: logging.LogRecord) -> str:
    return rfc3339(record.created, milliseconds=True)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, and what is known of the job."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        if found := _trace(record):
            line["traceback"] = found
        return json.dumps(line)


class TextLines(logging.Formatter):
    """For people: a terminal obeys control characters, so there are none."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; of a bug, several."""
        fields = _fields(record)
        job = f"{fields['sloctl_job']}: " if "sloctl_job" in fields else ""
        ids = f" [trace {fields['trace_id']}]" if "trace_id" in fields else ""
        text = f"{_time(record)} {record.levelname:<7} {job}{_message(record)}{ids}"
        lines = [text, *_trace(record).split("\n")] if record.exc_info else [text]
        return "\n".join("".join(char if char.isprintable() else "\ufffd" for char in line) for line in lines)
