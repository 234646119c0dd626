"""Speaking with the terminal: errors in a line, streams, the event loop."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Coroutine
from typing import Any, TextIO, TypeVar

from gateway.observability.printable import printable

T = TypeVar("T")

EXIT_USAGE = 2
"""Exit code of a command that was called or set up wrongly."""
EXIT_FAILURE = 1
"""Exit code of a command that could not do what it was asked."""


class CommandError(Exception):
    """The command cannot go on; the message is for its user, a line for each thing wrong."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def prepare_streams() -> None:
    """Make the three standard streams safe to use.

    A closed one becomes /dev/null, since a socket in its place breaks the event loop. What an
    encoding lacks is written as an escape rather than as a traceback.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send what is not written yet nowhere, so that leaving does not try, and fail, again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def print_error(message: str) -> None:
    """Say on standard error what is wrong."""
    for line in message.splitlines():
        sys.stderr.write(f"veriplex: {printable(line)}\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody is watching."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # closed, or none at all
        return False


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run on the fast event loop where there is one. Ctrl-C cancels `main` first."""
    import asyncio  # not at the top: `--version` and `--help` run nothing

    try:
        from uvloop import new_event_loop
    except ImportError:  # Windows has none
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
