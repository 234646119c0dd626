"""The progress display: on a terminal only, after a while, and erased at the end."""

from __future__ import annotations

import asyncio
import io
import re

import pytest

from gateway.cli.progress import ProgressDisplay, format_counts, format_duration
from tests.gateway.cli.test_tables import Terminal

ERASE_LINE = "\x1b[2K"


def drawn(screen: io.StringIO) -> str:
    """The text that was drawn, without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


async def shown(progress: ProgressDisplay) -> None:
    """Until a display that is shown at once has been shown."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_the_line(terminal: Terminal) -> None:
    async with ProgressDisplay(terminal, total=5_000, show_after_s=0) as progress:
        progress.update(100)
        await shown(progress)
        progress.update(1_200, "deliverable 1,000")
    assert re.search(r"1200/5000  24% .*deliverable 1,000", drawn(terminal))
    assert terminal.getvalue().endswith(ERASE_LINE)


async def test_it_is_hidden_while_results_are_written(terminal: Terminal) -> None:
    async with ProgressDisplay(terminal, show_after_s=0) as progress:
        await shown(progress)
        with progress.hidden():
            assert terminal.getvalue().endswith(ERASE_LINE)
            terminal.write("a result\n")
        progress.update(7)
    assert "7/?" in drawn(terminal).partition("a result\n")[2]


async def test_short_runs_and_pipes_show_nothing(terminal: Terminal) -> None:
    pipe = io.StringIO()
    for stream, show_after_s in ((terminal, 60.0), (pipe, 0.0)):
        async with ProgressDisplay(stream, total=2, show_after_s=show_after_s) as progress:
            await shown(progress)
            progress.update(1)
            with progress.hidden():
                pass
        assert stream.getvalue() == ""


def test_words() -> None:
    counts = {"unknown": 200, "deliverable": 1_000, "risky": 0}
    assert format_counts(counts) == "deliverable 1,000  unknown 200"
    assert [format_duration(s) for s in (7, 750, 11_100)] == ["0:07", "12:30", "3:05:00"]
