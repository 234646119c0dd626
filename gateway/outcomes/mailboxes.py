"""Reads the messages of an mbox or a Maildir one after the other, from any position.

`mailbox` of the standard library makes a list of all messages first, and reads a message whole;
here a mailbox of gigabytes takes the memory of one message, of which the beginning is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

from gateway.outcomes.dsn import time_of_from_line

MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a message that are looked at: a report comes first, before the mail that it is about."""
MAX_LINE_BYTES = 64 * 1024


class NoMailbox(Exception):
    """There is neither an mbox nor a Maildir."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a mailbox."""

    content: bytes
    """At most `MAX_MESSAGE_BYTES`; empty if it cannot be read."""
    arrived_at: float
    """Unix time in seconds, the same at each reading."""
    next_position: str
    """Where the messages after it begin."""
    is_readable: bool = True


def read_messages(path: Path, position: str) -> Iterator[StoredMessage]:
    """The messages from a `next_position`, or from the beginning if that is empty.

    A position that the mailbox no longer has leads to its beginning. Raises NoMailbox and OSError.
    """
    if (path / "cur").is_dir() or (path / "new").is_dir():
        yield from _maildir(path, position)
    elif path.is_dir():
        raise NoMailbox(f"{path} is a folder without `cur` and `new`, so it is no Maildir")
    else:
        with path.open("rb") as file:
            yield from _mbox(path, file, position)


def _maildir(path: Path, position: str) -> Iterator[StoredMessage]:
    # the name without flags stays if a mail program moves the message from `new` to `cur`
    found = {
        file.name.partition(":")[0]: file
        for folder in ("new", "cur")
        if (path / folder).is_dir()
        for file in (path / folder).iterdir()
        if not file.name.startswith(".")
    }
    for name in sorted(found):
        if name <= position:
            continue
        try:
            with found[name].open("rb") as file:
                content = file.read(MAX_MESSAGE_BYTES)
            arrived_at = found[name].stat().st_mtime
        except OSError:
            yield StoredMessage(b"", 0.0, name, is_readable=False)
            continue
        yield StoredMessage(content, arrived_at, name)


def _mbox(path: Path, file: BinaryIO, position: str) -> Iterator[StoredMessage]:
    start = int(position) if position.isdecimal() else 0
    size = file.seek(0, SEEK_END)
    file.seek(start)
    if start != size and not file.readline(MAX_LINE_BYTES).startswith(b"From "):
        start = 0
    file.seek(start)
    first = file.readline(MAX_LINE_BYTES)
    while first in (b"\n", b"\r\n"):
        first = file.readline(MAX_LINE_BYTES)
    if not first:
        return
    if not first.startswith(b"From "):
        raise NoMailbox(f"{path} is no mbox: it does not begin with a line `From `")
    fallback = path.stat().st_mtime
    while first:
        content, from_line, first = bytearray(), first, b""
        while not from_line.endswith(b"\n"):  # the rest of a line that is too long
            more = file.readline(MAX_LINE_BYTES)
            from_line = b"From \n" if more.endswith(b"\n") or not more else from_line
        is_after_blank, begins_line = False, True
        position_after = file.tell()
        while line := file.readline(MAX_LINE_BYTES):
            if is_after_blank and begins_line and line.startswith(b"From "):
                first = line
                break
            position_after += len(line)
            is_after_blank = begins_line and line in (b"\n", b"\r\n")
            begins_line = line.endswith(b"\n")
            if len(content) < MAX_MESSAGE_BYTES:
                content += line
        at = time_of_from_line(from_line)
        yield StoredMessage(
            bytes(content[:MAX_MESSAGE_BYTES]),
            fallback if at is None else at,
            str(position_after),
        )
