"""The progress of a long run: a line on a terminal of any width, elsewhere a line a minute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from engine.model import Verdict
from gateway.cli.terminal import is_terminal
from gateway.observability.printable import printable

SHOW_AFTER_S = 1.0
"""A run that is over sooner shows no progress."""
REDRAW_S = 0.25
LOG_INTERVAL_S = 60.0
"""Between two lines where there is no terminal."""
RATE_WINDOW_S = 10.0
"""The rate is that of the last so many seconds."""
MIN_RATE = 0.5
"""A lower rate would be shown as 0."""
MAX_WAITED_FOR = 20
"""With more addresses unfinished, nobody asks which they are."""
MAX_DOMAINS_SHOWN = 3
NO_ADDRESS = "no address"
"""The word of a row without an address, where others have their verdict."""

BAR_WIDTHS = (20, 10)
"""The bar is as wide as there is room for."""
GAP = "  "
LOG_WIDTH = 200
"""Of a line where there is no terminal; it has no bar."""
ERASE_LINE = "\r\x1b[2K"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    completed: int = 0
    total: int | None = None
    """None while it is unknown."""
    note: str = ""
    """Such as the verdicts so far."""
    waiting_for: tuple[str, ...] = ()
    """Domains of the last addresses without a result, one for each address."""
    rate: float | None = None
    """Addresses a second; None while it is unknown."""

    @property
    def count(self) -> str:
        return f"{self.completed:,}" if self.total is None else f"{self.completed:,}/{self.total:,}"

    @property
    def share(self) -> str:
        return f"{100 * self.completed // self.total} %" if self.total else ""

    @property
    def speed(self) -> str:
        return f"{self.rate:,.0f}/s" if self.rate and self.rate >= MIN_RATE else ""

    @property
    def time_left(self) -> str:
        """Empty at the end, when the slowest addresses decide."""
        if self.total is None or not self.rate or self.waiting_for:
            return ""
        return f"{format_duration(round((self.total - self.completed) / self.rate))} left"

    def waiting(self, domains: int = MAX_DOMAINS_SHOWN) -> str:
        """`waiting for 2 (tarpit.test, slow.test)`, with at most so many domains."""
        if not self.waiting_for:
            return ""
        known = list(dict.fromkeys(filter(None, self.waiting_for)))
        shown = [*map(printable, known[:domains]), *(["…"] if len(known) > domains else [])]
        names = f" ({', '.join(shown)})" if known and domains else ""
        return f"waiting for {len(self.waiting_for)}{names}"

    def line(self, width: int, *, blocks: str = "━╌") -> str:
        """What fits into `width`; `blocks` are the bar's done and other part, empty for no bar."""
        # in the order of their importance, each with its place from the left
        parts = [
            (2, self.count),
            *((6, self.waiting(domains)) for domains in range(MAX_DOMAINS_SHOWN, -1, -1)),
            (4, self.speed),
            (5, self.time_left),
            *((1, _bar(self, size, blocks)) for size in BAR_WIDTHS),
            (3, self.share),
            (7, self.note),
        ]
        chosen: dict[int, str] = {}
        for place, text in parts:
            used = sum(len(part) + len(GAP) for part in chosen.values())
            if text and place not in chosen and used + len(text) <= width:
                chosen[place] = text
        return GAP.join(text for _, text in sorted(chosen.items()))


def _bar(progress: Progress, size: int, blocks: str) -> str:
    if not progress.total or not blocks:
        return ""
    done = size * progress.completed // progress.total
    return blocks[0] * done + blocks[1] * (size - done)


@dataclass(slots=True)
class _Speed:
    """The rate of the last `RATE_WINDOW_S` seconds."""

    clock: Callable[[], float]
    points: deque[tuple[float, int]] = field(default_factory=deque)

    def measure(self, completed: int) -> float | None:
        now = self.clock()
        self.points.append((now, completed))
        while len(self.points) > 2 and now - self.points[1][0] >= RATE_WINDOW_S:
            self.points.popleft()
        first_at, first = self.points[0]
        return (completed - first) / (now - first_at) if now > first_at else None


class ProgressDisplay:
    """Shows the progress while it is an asynchronous context, and erases it at the end."""

    def __init__(
        self,
        stream: TextIO,
        *,
        total: int | None = None,
        show_after_s: float = SHOW_AFTER_S,
        log_interval_s: float = LOG_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total` is the number of addresses; None while it is unknown."""
        self._stream = stream
        self._is_terminal = is_terminal(stream)
        self._state = Progress(total=total)
        self._first_s, self._interval_s = (
            (show_after_s, REDRAW_S) if self._is_terminal else (log_interval_s, log_interval_s)
        )
        self._speed = _Speed(clock)
        self._timer: asyncio.TimerHandle | None = None
        self._is_drawn = False

    async def __aenter__(self) -> ProgressDisplay:
        self._speed.measure(0)
        self._timer = asyncio.get_running_loop().call_later(self._first_s, self._tick)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._erase()

    def update(self, completed: int, note: str = "", waiting_for: Iterable[str] = ()) -> None:
        """`completed` addresses are done, and those of the domains `waiting_for` are not."""
        total = self._state.total
        self._state = Progress(completed, total, note, tuple(waiting_for), self._state.rate)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Erase the line while something else is written to the terminal."""
        self._erase()
        yield

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)
        state = self._state
        rate = self._speed.measure(state.completed)
        self._state = Progress(state.completed, state.total, state.note, state.waiting_for, rate)
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            if self._is_terminal:
                width = _columns(self._stream) - 1  # a full line would wrap on some terminals
                line = self._state.line(width, blocks=_blocks(self._stream))
                self._stream.write(f"{ERASE_LINE}{line}")
                self._is_drawn = True
            else:
                self._stream.write(f"veriplex: {self._state.line(LOG_WIDTH, blocks='')}\n")
            self._stream.flush()

    def _erase(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(ERASE_LINE)
                self._stream.flush()


def _columns(stream: TextIO) -> int:
    if columns := os.environ.get("COLUMNS", ""):
        return int(columns) if columns.isdecimal() else shutil.get_terminal_size().columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


def _blocks(stream: TextIO) -> str:
    try:
        "━╌".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return "#."
    return "━╌"


def format_counts(counts: Mapping[str, int]) -> str:
    """`deliverable 1,000  unknown 200`, and at the end the rows without an address."""
    words = (*Verdict, NO_ADDRESS)
    return "  ".join(f"{word} {counts[word]:,}" for word in words if counts.get(word))


def format_duration(seconds: int) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
