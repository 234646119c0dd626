"""What every test shares; tests that need something this machine lacks are left out, aloud."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


NODE_MODULES = Path(__file__).parent / "clients" / "node" / "node_modules"

NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "testbed": (
        lambda: bool(os.environ.get("VERIPLEX_TESTBED")),
        "VERIPLEX_TESTBED does not name a mail testbed",
    ),
    "node": (
        lambda: NODE_MODULES.is_dir() and os.geteuid() == 0,
        "they need `npm install` in tests/clients/node, and root for port 443",
    ),
}
"""What a marker needs, and what is said where it is not there."""

_left_out = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = [name for name, (present, _) in NEEDS.items() if not present()]
    counts = config.stash.setdefault(_left_out, {})
    kept, deselected = [], []
    for item in items:
        name = next((name for name in missing if item.get_closest_marker(name)), None)
        if name is None:
            kept.append(item)
        else:
            deselected.append(item)
            counts[name] = counts.get(name, 0) + 1
    if deselected:
        items[:] = kept
        config.hook.pytest_deselected(items=deselected)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nothing-left-out",
        action="store_true",
        help="fail if a test was skipped or left out: for machines where all they need is present",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if session.config.getoption("--nothing-left-out") and (
        skipped or session.config.stash.get(_left_out, {})
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for name, count in config.stash.get(_left_out, {}).items():
        terminalreporter.write_line(f"{count} tests left out: {NEEDS[name][1]}", yellow=True)
