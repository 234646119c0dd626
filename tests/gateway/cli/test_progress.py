"""The progress display: a line in any width on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import asyncio
import io
import itertools

import pytest

from gateway.cli.progress import (
    ERASE_LINE,
    Progress,
    ProgressDisplay,
    format_counts,
    format_duration,
)
from tests.gateway.cli.test_tables import Terminal

RUNNING = Progress(5_772, 6_024, "deliverable 20  undeliverable 3,751  risky 2,001", (), 2_881.4)
ENDING = Progress(6_021, 6_024, "deliverable 20", ("tarpit.test", "slow.test", "slow.test"), 0.4)


@pytest.mark.parametrize(
    ("progress", "width", "line"),
    [
        (RUNNING, 9, ""),
        (RUNNING, 12, "5,772/6,024"),
        (RUNNING, 41, "5,772/6,024  95 %  2,881/s  0:00 left"),
        (
            RUNNING,
            79,
            "━━━━━━━━━━━━━━━━━━━╌  5,772/6,024  95 %  2,881/s  0:00 left",
        ),
        (
            RUNNING,
            200,
            "━━━━━━━━━━━━━━━━━━━╌  5,772/6,024  95 %  2,881/s  0:00 left"
            "  deliverable 20  undeliverable 3,751  risky 2,001",
        ),
        (ENDING, 30, "6,021/6,024  waiting for 3"),
        (ENDING, 47, "6,021/6,024  waiting for 3 (tarpit.test, …)"),
        (
            ENDING,
            79,
            "━━━━━━━━━━━━━━━━━━━╌  6,021/6,024  99 %  waiting for 3 (tarpit.test, slow.test)",
        ),
        (Progress(7, None), 80, "7"),
        (Progress(0, 0), 80, "0/0"),
        (Progress(7, 9, "", ("", "")), 80, "━━━━━━━━━━━━━━━╌╌╌╌╌  7/9  77 %  waiting for 2"),
    ],
)
def test_the_line_has_what_fits(progress: Progress, width: int, line: str) -> None:
    assert len(progress.line(width)) <= width
    if line:
        assert progress.line(width) == line


def test_many_domains_are_cut_short() -> None:
    domains = tuple(f"d{number}.test" for number in range(5))
    assert Progress(1, 6, "", domains).waiting() == "waiting for 5 (d0.test, d1.test, d2.test, …)"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("COLUMNS", "120")
    return Screen()


class Screen(Terminal):
    """A terminal that tells when something was drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = asyncio.Event()

    def flush(self) -> None:
        if self.getvalue():
            self.drawn.set()


class Log(Screen):
    """A file."""

    def isatty(self) -> bool:
        return False


async def test_a_terminal_gets_a_line_that_is_erased_at_the_end(terminal: Screen) -> None:
    seconds = iter([0.0, 2.0])
    async with ProgressDisplay(
        terminal, total=5_000, show_after_s=0, clock=lambda: next(seconds)
    ) as progress:
        progress.update(1_000, "deliverable 1,000")
        await terminal.drawn.wait()
        line = terminal.getvalue()
    assert line.startswith(ERASE_LINE)
    assert line.endswith("1,000/5,000  20 %  500/s  0:08 left  deliverable 1,000")
    assert terminal.getvalue() == line + ERASE_LINE


async def test_it_is_erased_while_results_are_written(terminal: Screen) -> None:
    async with ProgressDisplay(terminal, show_after_s=0) as progress:
        await terminal.drawn.wait()
        with progress.hidden():
            assert terminal.getvalue().endswith(ERASE_LINE)
            terminal.write("a result\n")
    assert terminal.getvalue().endswith("a result\n")


async def test_a_log_gets_a_line_at_long_intervals() -> None:
    log = Log()
    seconds = iter([0.0, 2.0])
    async with ProgressDisplay(
        log, total=10, log_interval_s=0, clock=lambda: next(seconds, 3.0)
    ) as progress:
        progress.update(4, "deliverable 4")
        await log.drawn.wait()
    first, *_ = log.getvalue().splitlines()
    assert first == "veriplex: 4/10  40 %  2/s  0:03 left  deliverable 4"


async def test_short_runs_show_nothing(terminal: Screen) -> None:
    pipe = io.StringIO()
    for stream in (terminal, pipe):
        async with ProgressDisplay(stream, total=2) as progress:
            progress.update(1)
            with progress.hidden():
                pass
        assert stream.getvalue() == ""


def test_the_rate_is_that_of_the_last_seconds(terminal: Screen) -> None:
    seconds = itertools.count()
    speed = ProgressDisplay(terminal, clock=lambda: float(next(seconds)))._speed
    assert speed.measure(0) is None
    slow = [speed.measure(second) for second in range(1, 30)]
    fast = [speed.measure(29 + 100 * second) for second in range(1, 12)]
    assert (slow[0], slow[-1], fast[-1]) == (1.0, 1.0, 100.0)


def test_words() -> None:
    counts = {"unknown": 200, "deliverable": 1_000, "risky": 0, "no address": 3}
    assert format_counts(counts) == "deliverable 1,000  unknown 200  no address 3"
    assert [format_duration(s) for s in (7, 750, 11_100)] == ["0:07", "12:30", "3:05:00"]
