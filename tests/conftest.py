"""Shared by all tests. Tests whose requirements this machine lacks are left out and counted."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.postgres import PostgresServer
    from tests.valkey_server import ValkeyServer


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the whole run. Tests that stop or freeze one start their own."""
    from tests.postgres import PostgresServer

    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def session_valkey() -> Iterator[ValkeyServer]:
    from tests.valkey_server import ValkeyServer

    server = ValkeyServer()
    yield server
    server.close()


@pytest.fixture
def valkey_server(session_valkey: ValkeyServer) -> ValkeyServer:
    """An empty server. Tests that stop or freeze one start their own."""
    session_valkey.flush()
    return session_valkey


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each system in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'v.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.empty_database()


for _scheme in ("http", "https", "all", "no"):
    # upstreams on loopback are asked directly, even if the machine has a proxy
    os.environ.pop(f"{_scheme}_proxy", None)
    os.environ.pop(f"{_scheme}_proxy".upper(), None)

PROXY_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/bin"
"""Where servers are, which not every user's PATH has."""
PYTHON_CLIENTS = Path(__file__).parent / "clients" / "python"
NODE_MODULES = Path(__file__).parent / "clients" / "node" / "node_modules"
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
"""What judges whether pages are accessible."""


def _testbed_is_up() -> bool:
    from tests.mail_testbed import is_up  # imported late: few runs need the engine here

    return is_up()


def _postgres_is_installed() -> bool:
    from tests.postgres import programs

    return programs() is not None and importlib.util.find_spec("psycopg") is not None


def _valkey_is_installed() -> bool:
    from tests.valkey_server import program

    return program() is not None and importlib.util.find_spec("valkey") is not None


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "testbed": (
        _testbed_is_up,
        "the mail testbed is not up; `make testbed` starts it (Debian or Ubuntu, as root)",
    ),
    "postgres": (
        _postgres_is_installed,
        "they need PostgreSQL's server programs; on Debian or Ubuntu: apt-get install postgresql",
    ),
    "valkey": (
        _valkey_is_installed,
        "they need Valkey or Redis; on Debian or Ubuntu: apt-get install redis-server",
    ),
    "nodejs": (lambda: bool(shutil.which("node")), "they need Node.js 20"),
    "chromium": (
        lambda: bool(shutil.which("chromium")) and AXE.is_file(),
        "they need Chromium (`apt-get install chromium`), and `npm install` in tests/clients/node",
    ),
    "proxies": (
        lambda: all(shutil.which(name, path=PROXY_PATH) for name in ("nginx", "haproxy")),
        "they need nginx and haproxy (`apt-get install nginx haproxy`)",
    ),
    "generator": (
        lambda: any(PYTHON_CLIENTS.glob("openapi-python-client==*")),
        "they need `make python-clients`",
    ),
    "python_clients": (
        lambda: any(PYTHON_CLIENTS.glob("zerobouncesdk==*")) and os.geteuid() == 0,
        "they need `make python-clients`, and root for port 443",
    ),
    "node": (
        lambda: NODE_MODULES.is_dir() and bool(shutil.which("node")) and os.geteuid() == 0,
        "they need Node.js, `npm install` in tests/clients/node, and root for port 443",
    ),
}
"""By marker: whether its requirement is present, and the line of the summary if it is not."""

_left_out = pytest.StashKey[dict[str, int]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests with a shared requirement run one after the other, in one worker of pytest-xdist."""
    for name in NEEDS:
        if item.get_closest_marker(name):
            item.add_marker(pytest.mark.xdist_group(name))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collecting tests creates half a million objects that stay: garbage collection only costs
    time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # after -k and -m have selected the tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked_for = {marker.name for item in items for marker in item.iter_markers()}
    missing = [name for name in NEEDS if name in asked_for and not NEEDS[name][0]()]
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
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(_left_out, {})
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if session.config.getoption("--nothing-left-out") and (
        skipped or session.config.stash.get(_left_out, {})
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: more workers than cores, since many tests wait for a time-out."""
    return (os.cpu_count() or 2) * 3 // 2


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the left-out tests of a pytest-xdist worker: each worker collects all tests."""
    counts = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash.setdefault(_left_out, {}).update(counts)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for name, count in config.stash.get(_left_out, {}).items():
        terminalreporter.write_line(f"{count} tests left out: {NEEDS[name][1]}", yellow=True)
