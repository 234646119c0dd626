"""The progress of a long run, on the terminal that standard error is; nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from engine.model import Verdict
from gateway.cli.tables import open_console
from gateway.cli.terminal import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

SHOW_AFTER_S = 1.0
"""A run that is over sooner shows no progress."""
RATE_WINDOW_S = 10.0
"""The rate is that of the last so many seconds."""
NO_ADDRESS = "no address"
"""The word of a row without an address, where others have their verdict."""
BAR_WIDTH = 20
MIN_WIDTH_FOR_BAR = 120
"""A narrower terminal has no room for a bar beside the note."""


class ProgressDisplay:
    """One line with a bar, count, share, rate, time left and a note, erased at the end.

    An asynchronous context manager. Unless `stream` is a terminal, nothing is written.
    """

    def __init__(
        self, stream: TextIO, *, total: int | None = None, show_after_s: float = SHOW_AFTER_S
    ) -> None:
        """`total` is the number of addresses; None while it is unknown."""
        self._stream = stream
        self._state: dict[str, Any] = {"completed": 0, "total": total, "note": ""}
        self._show_after_s = show_after_s
        self._progress: Progress | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> ProgressDisplay:
        if is_terminal(self._stream):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._show_after_s, self._show)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def update(self, completed: int, note: str = "") -> None:
        """`completed` addresses are done."""
        self._state |= {"completed": completed, "note": note}
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], **self._state)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Erase the line while something else is written to the terminal."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()

    def close(self) -> None:
        """Erase the line for good."""
        if self._timer is not None:
            self._timer.cancel()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show(self) -> None:
        # defined here, since rich is imported only where there is a terminal
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column
        from rich.text import Text

        class RateColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

        console = open_console(self._stream)
        # the note has the room that the others leave
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            *([BarColumn(bar_width=BAR_WIDTH)] if console.width >= MIN_WIDTH_FOR_BAR else []),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=rest),
            console=console,
            expand=True,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            speed_estimate_period=RATE_WINDOW_S,
        )
        self._progress.add_task("", **self._state)
        self._progress.start()


def format_counts(counts: Mapping[str, int]) -> str:
    """`deliverable 1,000  unknown 200`, and at the end the rows without an address."""
    words = (*Verdict, NO_ADDRESS)
    return "  ".join(f"{word} {counts[word]:,}" for word in words if counts.get(word))


def format_duration(seconds: int) -> str:
    """`0:07`, `12:30`, `3:05:00`."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
