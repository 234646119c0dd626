"""Log lines on standard error: text, or JSON with `log.format = "json"`.

All code logs through the standard library, and structlog renders the records. The `extra` of a
record becomes fields of its line, and so do the members of `extra={"fields": {…}}`, which may have
names that `extra` itself reserves.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import orjson
from structlog.processors import format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from gateway.observability.levels import set_levels
from gateway.observability.printable import printable, printable_json
from gateway.settings.model import LogSettings


def set_up_logs(
    log: LogSettings, stream: TextIO | None = None, *, redact: Callable[[str], str] = str
) -> None:
    """Write all log lines of the process to `stream`, by default standard error.

    `redact` removes secrets from a line. No code logs a secret on purpose; this is the last
    defence, for example against one in the text of an exception.
    """
    write_line = _json_line if log.format == "json" else _text_line
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(), format_exc_info],
            processors=[_head_and_fields, lambda *record: redact(write_line(*record))],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    set_levels(log)


def _head_and_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    head = {
        "time": _timestamp(record.created),
        "level": record.levelname.lower(),
        "event": event.pop("event"),
        "logger": record.name,
    }
    fields = event.pop("fields", None)
    return {**head, **event, **(fields if isinstance(fields, dict) else {})}


def _timestamp(unix_s: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))
    return f"{whole}.{int(unix_s % 1 * 1000):03}Z"


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return printable_json(orjson.dumps(event, default=str)).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, which only the escapes of `json` can carry
        return json.dumps(event, default=str)


def json_line(event: str, logger: str, fields: Mapping[str, Any]) -> str:
    """A line as the log has it, for what is printed elsewhere."""
    head = {"time": _timestamp(time.time()), "level": "info", "event": event, "logger": logger}
    return _json_line(None, "", {**head, **fields})


def _text_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    traceback = event.pop("exception", "")
    name = event.pop("logger")
    words = [event.pop("time"), f"{event.pop('level'):<7}", printable(str(event.pop("event")))]
    words += [f"{key}={_format_value(value)}" for key, value in event.items()]
    if name != "veriplex.request":  # the logger of nearly all lines
        words.append(f"logger={name}")
    indented = "".join(f"\n    {printable(line)}" for line in str(traceback).splitlines())
    return " ".join(words) + indented


_BARE = re.compile(r"[\w.,:;/@+…-]+")


def _format_value(value: Any) -> str:
    """The value as it is, if it cannot be misread; else its repr, so that it forges no field."""
    text = str(value)
    return text if _BARE.fullmatch(text) else repr(value)
