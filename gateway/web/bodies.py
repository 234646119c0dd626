"""Request bodies on their way in: small ones in memory, large ones in a temporary file.

The file has no name, so it is gone with its last reader, however that ends. It lies in `TMPDIR`,
which should be a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from typing import BinaryIO, cast

from starlette.types import Receive

from adapters.contract.problems import Problem, ProblemKind
from engine.turns import SHARE_OF_FREE, Party
from gateway.errors import StorageUnavailable

BODY_TIMEOUT_S = 30.0
"""For a client to send its whole body."""

MAX_BYTES_IN_MEMORY = 256 * 1024
"""Of one body; a longer one is in its file."""

MAX_BYTES_IN_FLIGHT = 512 * 1024 * 1024
"""Of all bodies together, in memory and in files; beyond it requests are `UNAVAILABLE`."""
MAX_BYTES_OF_STRANGERS = 128 * 1024 * 1024
"""The part of it for requests whose key is not yet known to be valid."""
LEAST_SHARE_BYTES = 32 * 1024 * 1024
"""That one account may have in any case."""


class BodyBudget:
    """How many bytes of bodies are stored: of all requests, of those without a known key, and of
    each account (`engine.turns`)."""

    def __init__(
        self,
        *,
        total: int = MAX_BYTES_IN_FLIGHT,
        strangers: int = MAX_BYTES_OF_STRANGERS,
        least_share: int = LEAST_SHARE_BYTES,
    ) -> None:
        self._left = total
        self._left_for_strangers = strangers
        self._least_share = least_share
        self._tight = strangers // 2
        self._taken: Counter[Party] = Counter()

    @property
    def is_tight(self) -> bool:
        """Whether strangers have half of their part in use, so that a request that can show its key
        should."""
        return self._left_for_strangers < self._tight

    def take(self, size: int, party: Party | None, *, of_body: int) -> None:
        """Take so many bytes for an account, None for a stranger.

        `of_body` are those that the same body has. An account's only body may have more than the
        account's share, since some dialects allow one of half the budget. Raises `Problem`
        (`UNAVAILABLE`) if there is no room for them.
        """
        if party is None:
            has_room = size <= self._left_for_strangers
        else:
            taken = self._taken[party]
            share = max(self._least_share, self._left * SHARE_OF_FREE)
            has_room = taken == of_body or taken + size <= share
        if not has_room or size > self._left:
            raise Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
        self._add(size, party)

    def give_back(self, size: int, party: Party | None) -> None:
        self._add(-size, party)

    def _add(self, size: int, party: Party | None) -> None:
        self._left -= size
        if party is None:
            self._left_for_strangers -= size
            return
        self._taken[party] += size
        if not self._taken[party]:
            del self._taken[party]


class ClientDisconnected(Exception):
    """The client closed the connection before it had sent its whole request."""


class IncomingBody:
    """The body of one request; to be closed in the end."""

    def __init__(self, receive: Receive, declared_size: int | None, budget: BodyBudget) -> None:
        """`declared_size` is the Content-Length; None if the body is chunked."""
        self._budget = budget
        self._taken = 0
        self._party: Party | None = None
        self._receive = receive
        self._declared_size = declared_size
        self._spool: Spool | None = None
        self.complete = False
        """Whether all of it was received."""

    @property
    def may_be_large(self) -> bool:
        return self._declared_size is None or self._declared_size > MAX_BYTES_IN_MEMORY

    async def read(
        self, *, max_bytes: int, spill_to_file: bool, party: Party | None
    ) -> tuple[bytes, BinaryIO | None]:
        """The whole body, or the file it is in. `party` is its account; None if the key is not
        known yet.

        Raises `Problem` (`TOO_LARGE`, `UNREADABLE`, `UNAVAILABLE`), ClientDisconnected and
        StorageUnavailable.
        """
        self._party = party
        if self._declared_size is not None and self._declared_size > max_bytes:
            raise Problem(ProblemKind.TOO_LARGE, limit=max_bytes)
        self._spool = spool = Spool(spill_to_file=spill_to_file)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while not self.complete:
                    piece = await self._receive_piece()
                    if spool.size + len(piece) > max_bytes:
                        raise Problem(ProblemKind.TOO_LARGE, limit=max_bytes)
                    self._budget.take(len(piece), party, of_body=self._taken)
                    self._taken += len(piece)
                    await spool.write(piece)
                return await spool.finish()
        except TimeoutError:
            raise Problem(ProblemKind.UNREADABLE, "The body did not arrive in time.") from None
        except OSError as exc:
            raise StorageUnavailable(f"The body cannot be stored: {exc}") from exc

    async def _receive_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        self.complete = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    def close(self) -> None:
        self._budget.give_back(self._taken, self._party)
        self._taken = 0
        if self._spool is not None:
            self._spool.close()


def incoming_body(
    headers: Mapping[str, str], receive: Receive, budget: BodyBudget
) -> IncomingBody | None:
    """The body that a request's headers announce; None if there is none (RFC 9112, section 6.3)."""
    if "transfer-encoding" in headers:
        return IncomingBody(receive, None, budget)
    length = headers.get("content-length", "")
    size = int(length) if length.isdecimal() else 0
    return IncomingBody(receive, size, budget) if size else None


def temporary_file() -> BinaryIO:
    """Raises OSError."""
    # Unbuffered: a failed write is noticed at once, and does not fail again on closing.
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


class Spool:
    """Stores the pieces of a body; to be closed in the end."""

    def __init__(
        self, *, spill_to_file: bool, open_file: Callable[[], BinaryIO] = temporary_file
    ) -> None:
        """Without `spill_to_file` the whole body is held in memory."""
        self._spill_to_file = spill_to_file
        self._open_file = open_file
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Append to the body. Raises OSError if that cannot be written."""
        self.size += len(data)
        self._buffer += data
        if self._spill_to_file and len(self._buffer) > MAX_BYTES_IN_MEMORY:
            await self._flush()

    async def finish(self) -> tuple[bytes, BinaryIO | None]:
        """The body, or the file it is in. Raises OSError."""
        if self._file is not None:
            await self._flush()
            return b"", self._file
        return bytes(self._buffer), None

    def close(self) -> None:
        """Delete the file. Safe to call at any time."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    async def _flush(self) -> None:
        held, self._buffer = self._buffer, bytearray()
        await asyncio.to_thread(self._write_to_file, held)

    def _write_to_file(self, data: bytearray) -> None:
        if self._file is None:
            self._file = self._open_file()
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
