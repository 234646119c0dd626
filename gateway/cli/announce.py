"""What `serve` and `sandbox` print once they listen: their URL, and the first steps.

With `log.format = "json"` it is one JSON line of the form of the log.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.contract.dialect import Dialect
    from gateway.settings.server import LogSettings

DOCS_URL = "https://github.com/veriplex/veriplex/tree/main/docs"
LABEL_WIDTH = 10

Announce = Callable[[str], None]
"""Called with the URL once the server listens."""


def announce(
    log: LogSettings, first_steps: Iterable[tuple[str, str]] = (), **fields: object
) -> Announce:
    """Prints the URL, and below it the first steps, each under its label.

    JSON has `fields` instead of the steps.
    """
    steps = tuple(first_steps)

    def write(url: str) -> None:
        if log.format == "json":
            print_event(
                "server.listening", {"url": url, **fields, "message": f"listening on {url}"}
            )
            return
        sys.stdout.write(f"listening on {url}\n")
        if steps:
            sys.stdout.write("\n")
        for label, text in steps:
            sys.stdout.write(_step(label, text))
        sys.stdout.flush()

    return write


def _step(label: str, text: str) -> str:
    if text.startswith("curl "):  # alone on its line, so that it is quickly copied
        return f"{label}:\n  {text}\n"
    body = textwrap.indent(text, " " * LABEL_WIDTH)[LABEL_WIDTH:]
    return f"{label:<{LABEL_WIDTH}}{body}\n"


def print_event(event: str, fields: Mapping[str, Any]) -> None:
    """Print a JSON line of the form of the log to standard output."""
    from gateway.observability.logs import json_line

    sys.stdout.write(f"{json_line(event, 'veriplex.server', fields)}\n")
    sys.stdout.flush()


def first_curl(url: str, key: str, dialects: Iterable[Dialect]) -> str:
    """A first call to paste, in the first dialect that has one."""
    for dialect in dialects:
        if dialect.example is not None:
            return dialect.example.curl(url, key)
    return f"curl {url}/livez"
