"""The process around a command: standard streams, error lines, the event loop."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Coroutine
from typing import Any, TextIO, TypeVar

from gateway.observability.printable import printable

T = TypeVar("T")

EXIT_USAGE = 2
"""Exit code for wrong usage or invalid settings."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C that left work undone."""
EXIT_FAILURE = 1
"""Exit code of a command that failed."""


class CommandError(Exception):
    """The command cannot continue. The message is for its user, with a line for each mistake."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def prepare_streams() -> None:
    """Make the three standard streams safe to use.

    A closed stream becomes /dev/null, since a socket with its number would break the event loop.
    Characters that the encoding lacks are escaped, instead of raising an error.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Discard unwritten output, so that the exit does not try to write it, and fail, again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def print_error(message: str) -> None:
    """Print each line of the message to standard error."""
    for line in message.splitlines():
        sys.stderr.write(f"veriplex: {printable(line)}\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # it is closed, or None
        return False


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop, or on asyncio's own loop without uvloop. Ctrl-C cancels it."""
    import asyncio  # imported here, since `--version` and `--help` run nothing
    import gc

    # A list allocates hundreds of objects an address and hardly any cycle: with the defaults the
    # collections take a tenth of its time. The server tunes them likewise.
    gc.set_threshold(20_000, 20, 20)
    try:
        from uvloop import new_event_loop
    except ImportError:  # not available on Windows
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
