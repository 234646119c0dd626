"""How far a long run is: one line on the terminal, rewritten in place."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from engine.model import Verdict
from gateway.cli.terminal import is_terminal

_ERASE = "\r\x1b[K"
RATE_WINDOW_S = 10.0
"""The time that the rate is taken over."""


class BatchProgress:
    """Done and total, rate, time left, and how many of each verdict."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._shown = False
        self._terminal = is_terminal(stream)

    def show(self, done: int, total: int, counts: Mapping[str, int]) -> None:
        """Nothing, unless somebody watches."""
        now = self._clock()
        self._samples.append((now, done))
        while self._samples[0][0] < now - RATE_WINDOW_S and len(self._samples) > 2:
            self._samples.popleft()
        if self._terminal:
            self._write(_ERASE + format_progress(done, total, self.rate, counts))
            self._shown = True

    @property
    def rate(self) -> float:
        """Rows a second, of late."""
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def clear(self) -> None:
        if self._shown:
            self._write(_ERASE)
            self._shown = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def format_progress(done: int, total: int, rate: float, counts: Mapping[str, int]) -> str:
    """`1,200/5,000 (24 %)  400/s  0:10 left  deliverable 1,000  …`"""
    share = f" ({100 * done // total} %)" if total else ""
    pieces = [f"{done:,}/{total:,}{share}"]
    if rate and done < total:
        left_s = round((total - done) / rate)
        pieces += [f"{rate:,.0f}/s", f"{format_duration(left_s)} left"]
    return "  ".join(pieces + format_verdicts(counts))


def format_verdicts(counts: Mapping[str, int]) -> list[str]:
    return [f"{verdict} {counts[verdict]:,}" for verdict in Verdict if counts.get(verdict)]


def format_duration(seconds: int) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
