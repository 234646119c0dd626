"""Commands out and replies in, over a transport that is already connected (RFC 5321 section 4.2).

aiosmtplib connects, sends EHLO and starts TLS. Its reader handles one command at a time, so this
module takes over from there, for pipelining (RFC 2920). Everything that a server can send is
bounded.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from engine.model import Meaning
from engine.smtp.terms import MAX_REPLY_CHARACTERS, SERVICE_CLOSING, SmtpReply

MAX_LINE_OCTETS = 8_192
MAX_REPLY_OCTETS = 32_768
MAX_UNREAD_REPLIES = 2_000
"""Replies that wait to be read; a window has far fewer commands."""
_CONTROL_CHARACTERS = re.compile(rb"[\x00-\x1f\x7f]")
MAX_REMEMBERED_OCTETS = 200
"""A reply of one line and at most so many octets is read once, then remembered."""
QUIT_TIMEOUT_S = 2.0
"""How long a server may take to reply to QUIT before the connection is aborted."""


class PipeBroken(Exception):
    """No more replies will come: `meaning` is TIMED_OUT, DROPPED or NOT_SMTP."""

    def __init__(self, meaning: Meaning) -> None:
        super().__init__(meaning.value)
        self.meaning = meaning


class ReplyPipe(asyncio.Protocol):
    """The client end of a connection. Replies arrive in order and wait to be read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._reply_class = b""
        """First digit of the code of the reply whose lines are arriving."""
        self._reply_octets = 0
        self._replies: deque[SmtpReply] = deque()
        self._failure: Meaning | None = None
        self._reader: asyncio.Future[None] | None = None
        self._quitting = False
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] | None = None
        self._quit_timer: asyncio.TimerHandle | None = None

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Take `transport` over from the protocol that it has."""
        self._transport = cast(asyncio.Transport, transport)
        self._closed = asyncio.get_running_loop().create_future()
        self._transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether commands can still be sent."""
        return (
            self._failure is None
            and not self._quitting
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def send(self, *commands: bytes) -> None:
        """Write commands in one go; each without its line end.

        PipeBroken if the connection is gone, and if there are replies to no command: from then
        on replies could not be matched with commands.
        """
        for command in commands:
            if _CONTROL_CHARACTERS.search(command):
                raise ValueError("a command holds a control character")
        if not self.usable or self._transport is None:
            raise PipeBroken(self._failure or Meaning.DROPPED)
        self.expect_no_more()
        self._transport.write(b"".join(command + b"\r\n" for command in commands))

    async def read_reply(self, timeout_s: float) -> SmtpReply:
        """The next reply; PipeBroken if none comes within `timeout_s`."""
        if not self._replies:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wait_for_reply()
            except TimeoutError:
                self._fail(Meaning.TIMED_OUT)
                raise PipeBroken(Meaning.TIMED_OUT) from None
        if self._replies:
            return self._replies.popleft()
        raise PipeBroken(self._failure or Meaning.DROPPED)

    def expect_no_more(self) -> None:
        """PipeBroken if there are more replies than commands.

        A 421 may come at any time (RFC 5321 section 3.8) and counts as the next command's reply.
        """
        if self._replies and self._replies[0].code != SERVICE_CLOSING:
            self._fail(Meaning.NOT_SMTP)
            raise PipeBroken(Meaning.NOT_SMTP)

    def quit(self) -> None:
        """Send QUIT; the connection closes with the reply, or is aborted after `QUIT_TIMEOUT_S`."""
        if not self.usable or self._transport is None:
            self.abort()
            return
        self._transport.write(b"QUIT\r\n")
        self._quitting = True
        self._replies.clear()
        self._quit_timer = asyncio.get_running_loop().call_later(QUIT_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        self._quitting = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed is None or self._closed.done()

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the connection is gone."""
        if self._closed is not None:
            self._closed.add_done_callback(lambda _future: callback())

    async def wait_closed(self) -> None:
        """Return once the connection is gone."""
        if self._closed is not None:
            await asyncio.shield(self._closed)

    # -- asyncio.Protocol ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._quitting:
            if self._transport is not None:
                self._transport.close()
            return
        if self._failure is not None:
            return
        self._buffer += data
        self._parse_lines()
        if len(self._buffer) > MAX_LINE_OCTETS or len(self._replies) > MAX_UNREAD_REPLIES:
            self._fail(Meaning.NOT_SMTP)
        self._wake_reader()

    def eof_received(self) -> bool:
        self._fail(Meaning.DROPPED)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._quit_timer is not None:
            self._quit_timer.cancel()
        self._fail(Meaning.DROPPED)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # -- private -------------------------------------------------------------------------

    async def _wait_for_reply(self) -> None:
        while not self._replies and self._failure is None:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _fail(self, meaning: Meaning) -> None:
        if self._failure is None:
            self._failure = meaning
        self._wake_reader()
        if meaning is not Meaning.DROPPED and self._transport is not None:
            self._transport.abort()

    def _parse_lines(self) -> None:
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer[:] = rest
        for line in lines:
            if not self._take_line(line.rstrip(b"\r")):
                self._fail(Meaning.NOT_SMTP)
                break

    def _take_line(self, line: bytes) -> bool:
        """Read one line; False if it is no line of a reply, or too long."""
        if not self._lines and len(line) <= MAX_REMEMBERED_OCTETS:
            reply = _one_line_reply(line)
            if reply is not None:
                self._replies.append(reply)
                return True
        self._reply_octets += len(line)
        code, separator = line[:3], line[3:4]
        if not _is_code(code) or separator not in (b"", b" ", b"-"):
            return False
        if len(line) > MAX_LINE_OCTETS or self._reply_octets > MAX_REPLY_OCTETS:
            return False
        if not self._lines:
            self._reply_class = code[:1]
        elif code[:1] != self._reply_class:
            # RFC 5321 section 4.2.1: all lines of a reply have the same code.
            return False
        self._lines.append(decode_text(line[4:]))
        if separator != b"-":
            text = "\n".join(self._lines)[:MAX_REPLY_CHARACTERS]
            self._replies.append(SmtpReply(int(code), text))
            self._lines.clear()
            self._reply_octets = 0
        return True


@lru_cache(maxsize=1024)
def _one_line_reply(line: bytes) -> SmtpReply | None:
    """The reply that `line` is by itself, if it is one; a host says the same again and again."""
    if not _is_code(line[:3]) or line[3:4] not in (b"", b" "):
        return None
    return SmtpReply(int(line[:3]), decode_text(line[4:]))


def _is_code(text: bytes) -> bool:
    """Whether `text` is a basic code of RFC 5321 section 4.2.1: 2xx to 5xx."""
    return len(text) == 3 and text.isdigit() and b"200" <= text <= b"599"


def decode_text(text: bytes) -> str:
    """Decode a server's text as UTF-8, else as Latin-1, which fits any octets."""
    try:
        return blank_unprintable(text.decode("utf-8"))
    except UnicodeDecodeError:
        return blank_unprintable(text.decode("latin-1"))


def blank_unprintable(text: str) -> str:
    """Replace unprintable characters by blanks: most databases reject a text with a NUL."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()
