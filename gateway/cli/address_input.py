"""The addresses of `veriplex verify`: its arguments, and a list on standard input."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import NamedTuple

from adapters.contract.jobs import BatchEntry
from adapters.kit.csv_rows import Remarks
from adapters.kit.marks import split_addresses
from gateway.cli.lists import CHUNK_BYTES, STANDARD_INPUT, column_words, print_remarks, read_list
from gateway.cli.progress import ProgressDisplay
from gateway.cli.terminal import CommandError, is_terminal, print_error

PAUSE_S = 0.1
"""With nothing new for so long, standard input is judged by the lines that have come."""
MAX_ENTRIES_AHEAD = 1_000
"""Entries that are handed over in one go."""


class Asked(NamedTuple):
    """An address to verify."""

    text: str
    written: str
    """The text with the marks around the address."""


@dataclass(frozen=True, slots=True)
class ListChoice:
    """What the options say of the list on standard input."""

    column: str | None = None
    encoding: str | None = None


class AddressInput:
    """Reads the addresses of a command, and says at its end what became of the list."""

    def __init__(self, given: Iterable[str], choice: ListChoice | None = None) -> None:
        """`given` are addresses, or `-` for standard input."""
        self._given = tuple(given)
        self._choice = choice or ListChoice()
        self._remarks = Remarks()
        self._from = ""
        self._email_at = 0
        self._without_address = self._read = 0
        self.is_read = False
        """Whether all addresses have been read."""

    @property
    def total(self) -> int | None:
        """The number of addresses; None for standard input."""
        if "-" in self._given:
            return None
        return sum(len(split_addresses(text)) for text in self._given)

    @property
    def several(self) -> bool:
        """Whether there may be more than one address."""
        return self.total != 1

    def progress(self) -> ProgressDisplay:
        """Of verifying them; nothing is shown to somebody who is typing."""
        is_typed = "-" in self._given and is_terminal(sys.stdin)
        return ProgressDisplay(StringIO() if is_typed else sys.stderr, total=self.total)

    async def addresses(self) -> AsyncIterator[Asked]:
        """Raises CommandError."""
        for text in self._given:
            if text != "-":
                for address in split_addresses(text):
                    yield Asked(address, text.strip())
                continue
            async for entries in self._standard_input():
                for entry in entries:
                    self._read += 1
                    if entry.email:
                        written = entry.cells[self._email_at] if entry.cells else entry.email
                        yield Asked(entry.email, written)
                    else:
                        self._without_address += 1
        self.is_read = True

    def report(self) -> None:
        """Print what has to be said of the arguments and of standard input."""
        for text in self._given:
            if "@" not in text and os.path.isfile(text):
                print_error(f"{text} is a file: `veriplex bulk {text}` verifies its addresses")
        if "-" not in self._given:
            return
        print_remarks("-", self._remarks)
        if not self._read:
            print_error(f"no addresses in {STANDARD_INPUT}")
        if count := self._without_address:
            rows = "1 row has" if count == 1 else f"{count:,} rows have"
            print_error(f"{STANDARD_INPUT}: {rows} no address")
        if self._from:
            print_error(self._from)

    async def _standard_input(self) -> AsyncIterator[list[BatchEntry]]:
        fd = _stdin_fd()
        if is_terminal(sys.stdin):
            print_error("reading addresses from standard input, one a line; Ctrl-D ends them")
        loop = asyncio.get_running_loop()
        handed: asyncio.Queue[list[BatchEntry] | CommandError | None] = asyncio.Queue(1)

        def hand_over(what: list[BatchEntry] | CommandError | None) -> None:
            asyncio.run_coroutine_threadsafe(handed.put(what), loop).result()

        def read() -> None:
            # A thread, since not every event loop can wait for every kind of file; a daemon, since
            # nothing can interrupt its reading from an idle terminal.
            try:
                try:
                    self._read_list(fd, hand_over)
                except CommandError as exc:
                    hand_over(exc)
                else:
                    hand_over(None)
            except (RuntimeError, asyncio.CancelledError):  # the loop has ended
                return

        threading.Thread(target=read, name=STANDARD_INPUT, daemon=True).start()
        while (entries := await handed.get()) is not None:
            if isinstance(entries, CommandError):
                raise entries
            yield entries

    def _read_list(self, fd: int, hand_over: Callable[[list[BatchEntry]], None]) -> None:
        """Read the list in a thread, and hand over what there is before each wait for more."""
        entries: list[BatchEntry] = []

        def flush() -> None:
            if entries:
                hand_over(entries.copy())
                entries.clear()

        def chunks() -> Iterator[bytes]:
            is_new = False
            while True:
                flush()
                if is_new and not _is_ready(fd):
                    yield b""
                    flush()
                try:
                    chunk = os.read(fd, CHUNK_BYTES)
                except OSError as exc:
                    raise CommandError(f"cannot read {STANDARD_INPUT}: {exc.strerror}") from exc
                if not chunk:
                    return
                is_new = True
                yield chunk

        choice = self._choice
        found = read_list(
            "-", chunks, column=choice.column, encoding=choice.encoding, is_stream=True
        )
        self._email_at, self._remarks = found.email_at, found.remarks
        self._from = column_words(found.headers, found.email_at, found.other_columns)
        for entry in found.entries:
            entries.append(entry)
            if len(entries) >= MAX_ENTRIES_AHEAD:
                flush()
        flush()


def _stdin_fd() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError) as exc:
        raise CommandError("there is no standard input to read addresses from") from exc


def _is_ready(fd: int) -> bool:
    """Whether reading would not wait, `PAUSE_S` from now at the latest."""
    try:
        return bool(select.select([fd], [], [], PAUSE_S)[0])
    except (OSError, ValueError):  # a file that this system cannot wait for
        return True
