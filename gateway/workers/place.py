"""Which worker a process is; it is told so by its command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

PLACE_OPTION = "--as-worker"
"""Hidden option of `serve`: the place of a worker."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Which worker a process is, and the descriptors that it was given."""

    number: int
    """From 1."""
    socket_fd: int
    channel_fd: int
    is_first_start: bool
    """Whether this process, for all workers, prints what a start prints."""

    def __str__(self) -> str:
        """For the command line of the worker."""
        return f"{self.number}:{self.socket_fd}:{self.channel_fd}:{int(self.is_first_start)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        number, socket_fd, channel_fd, first = map(int, text.split(":"))
        return cls(number, socket_fd, channel_fd, bool(first))
