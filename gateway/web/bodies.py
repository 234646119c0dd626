"""Bodies on their way in: small ones in memory, large ones in a temporary file.

The file has no name, so that it is gone with its last reader, however that ends. It lies where
`TMPDIR` says, which should be a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from typing import BinaryIO, cast

MAX_BYTES_IN_MEMORY = 256 * 1024
"""Bytes of a body that are held; what is more is in the file."""


def temporary_file() -> BinaryIO:
    """Raises OSError."""
    # Unbuffered: what is not written is known at once, and not again when it is closed.
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


class Spool:
    """Takes a body in. Close it in the end."""

    def __init__(
        self, *, spill_to_file: bool, open_file: Callable[[], BinaryIO] = temporary_file
    ) -> None:
        """Without `in_file` all is held in memory."""
        self._spill_to_file = spill_to_file
        self._open_file = open_file
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self.size = 0

    async def write(self, data: bytes) -> None:
        """The next bytes. Raises OSError if they cannot be written."""
        self.size += len(data)
        self._buffer += data
        if self._spill_to_file and len(self._buffer) > MAX_BYTES_IN_MEMORY:
            await self._flush()

    async def finish(self) -> tuple[bytes, BinaryIO | None]:
        """The body, or the file that it is in. Raises OSError."""
        if self._file is not None:
            await self._flush()
            return b"", self._file
        return bytes(self._buffer), None

    def close(self) -> None:
        """Let go of it. Safe to call at any time."""
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
