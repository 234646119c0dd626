"""Log lines on standard error: text, or JSON with `log.format = "json"`.

All code logs through the standard library, and structlog renders the records. The `extra` of a
record becomes fields of its line, and so do the members of `extra={"fields": {…}}`, which may have
names that `extra` itself reserves.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import orjson
from structlog.processors import format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from gateway.observability.access_line import DIM, RED, RESET, YELLOW, access_line
from gateway.observability.levels import OWN_LOGGERS, set_levels
from gateway.observability.printable import printable, printable_json
from gateway.settings.server import LogSettings


def set_up_logs(
    log: LogSettings,
    stream: TextIO | None = None,
    *,
    redact: Callable[[str], str] = str,
    worker: int | None = None,
) -> None:
    """Write all log lines of the process to `stream`, by default standard error.

    Of several processes on one port each line has the number of its `worker`.

    `redact` removes secrets from a line. No code logs a secret on purpose; this is the last
    defence, for example against one in the text of an exception.
    """
    stream = stream or sys.stderr
    write_line = _json_line if log.format == "json" else TextLines(stream)
    handler = logging.StreamHandler(stream)
    fields = {} if worker is None else {"worker": worker}

    def write(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return redact(write_line(logger, name, {**event, **fields}))

    handler.setFormatter(_LineFormatter(write))
    logging.getLogger().handlers[:] = [handler]
    set_levels(log)


class _LineFormatter(ProcessorFormatter):
    """Formats records by structlog, but for those of the access log: it takes half the time."""

    def __init__(self, write: Callable[[WrappedLogger, str, EventDict], str]) -> None:
        super().__init__(
            foreign_pre_chain=[ExtraAdder(), format_exc_info],
            processors=[_head_and_fields, write],
        )
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        if record.msg != "request" or not isinstance(fields, dict):
            return super().format(record)
        head = {
            "time": _timestamp(getattr(record, "at", record.created)),
            "level": record.levelname.lower(),
            "event": "request",
            "logger": record.name,
        }
        return self._write(None, "", {**head, **fields})


def _head_and_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    fields = event.pop("fields", None)
    head = {
        # a request began before its line is written
        "time": _timestamp(event.pop("at", record.created)),
        "level": record.levelname.lower(),
        "event": event.pop("event"),
        "logger": record.name,
    }
    return {**head, **event, **(fields if isinstance(fields, dict) else {})}


def _timestamp(unix_s: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))
    return f"{whole}.{int(unix_s % 1 * 1000):03}Z"


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return printable_json(orjson.dumps(event, default=str)).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, which only the escapes of `json` can carry
        return json.dumps(event, default=str)


def json_line(event: str, logger: str, fields: Mapping[str, Any], *, level: str = "info") -> str:
    """A line as the log has it, for what is printed elsewhere."""
    head = {"time": _timestamp(time.time()), "level": level, "event": event, "logger": logger}
    return _json_line(None, "", {**head, **fields})


class TextLines:
    """Writes lines for people: on a terminal with the time alone, and within its width."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = _terminal_of(stream)
        self._colour = self._fd is not None and not os.environ.get("NO_COLOR")

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        traceback = event.pop("exception", "")
        name, level = event.pop("logger"), event.pop("level")
        time_ = event.pop("time").removesuffix("Z").replace("T", " ")
        if self._fd is not None:
            time_ = time_[-TIME_CHARACTERS:]
        what = event.pop("event")
        if what == "request":
            return access_line(time_, event, width=self._width(), colour=self._colour)
        words = [time_, level, printable(str(what))]
        words += [f"{key}={_format_value(value)}" for key, value in event.items()]
        if not name.startswith(OWN_LOGGERS):
            words.append(f"logger={name}")
        if self._colour:
            words[0] = f"{DIM}{words[0]}{RESET}"
            words[1] = f"{LEVEL_COLOURS.get(level, '')}{words[1]}{RESET}"
        indented = "".join(f"\n    {printable(line)}" for line in str(traceback).splitlines())
        return "  ".join(words[:3]) + "".join(f"  {word}" for word in words[3:]) + indented

    def _width(self) -> int | None:
        if self._fd is None:
            return None
        try:
            return os.get_terminal_size(self._fd).columns or None
        except OSError:  # it was closed
            return None


TIME_CHARACTERS = len("15:40:30.289")
LEVEL_COLOURS = {"debug": DIM, "warning": YELLOW, "error": RED, "critical": RED}


def _terminal_of(stream: TextIO) -> int | None:
    """The descriptor of a terminal; None for anything else."""
    try:
        return stream.fileno() if stream.isatty() else None
    except (AttributeError, OSError, ValueError):
        return None


_BARE = re.compile(r"[\w.,:;/@+…-]+")


def _format_value(value: Any) -> str:
    """The value as it is, if it cannot be misread; else its repr, so that it forges no field."""
    text = str(value)
    return text if _BARE.fullmatch(text) else repr(value)
