"""A line on the terminal that says how far things are, when they take long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TextIO

from gateway.cli.terminal import is_terminal

SHOW_AFTER_S = 1.0
"""Faster than this nobody needs to be told."""
REFRESH_S = 0.25
_ERASE = "\r\x1b[K"


class VerifyProgress:
    """Counts what begins and ends; writes nothing unless `stream` is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._running = 0
        self._done = 0
        self._shown = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> VerifyProgress:
        if is_terminal(self._stream):
            self._task = asyncio.create_task(self._refresh())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.clear()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Around one thing that is counted."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._done += 1

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if self._shown:
            self._write(_ERASE)
            self._shown = False

    async def _refresh(self) -> None:
        await asyncio.sleep(SHOW_AFTER_S)
        while True:
            if self._running:
                self._write(f"{_ERASE}{self._done} verified, {self._running} under way …")
                self._shown = True
            await asyncio.sleep(REFRESH_S)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
