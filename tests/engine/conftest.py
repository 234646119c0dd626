"""Tests marked `testbed` run only where VERIPLEX_TESTBED names the testbed's folder."""

from __future__ import annotations

import os

import pytest

_left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("VERIPLEX_TESTBED"):
        return
    deselected = [item for item in items if item.get_closest_marker("testbed")]
    if deselected:
        items[:] = [item for item in items if item not in deselected]
        config.hook.pytest_deselected(items=deselected)
        config.stash[_left_out] = len(deselected)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    count = config.stash.get(_left_out, 0)
    if count:
        terminalreporter.write_line(
            f"{count} tests left out: VERIPLEX_TESTBED does not name a mail testbed", yellow=True
        )
