"""Two processes on one database, with and without a shared server."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from gateway.cluster.processes import LivingProcesses, ProcessKind
from gateway.cluster.shared import Shared, open_shared
from gateway.settings.storage import SharedSettings
from gateway.store import open_store
from tests.valkey_server import ValkeyServer

Pair = tuple[Shared, Shared]


@contextlib.asynccontextmanager
async def open_pair(path: Path, settings: SharedSettings) -> AsyncIterator[Pair]:
    """The shared state of two processes that know of each other."""
    async with contextlib.AsyncExitStack() as stack:
        opened: list[tuple[LivingProcesses, Shared]] = []
        for number in range(2):
            store = await stack.enter_async_context(open_store(f"sqlite:///{path / 'v.db'}"))
            living = LivingProcesses(
                store, ProcessKind.SERVE, ["default"], clock=lambda: 1_800_000_000.0
            )
            await living.beat()
            shared = await stack.enter_async_context(
                open_shared(settings, store, living, rng=random.Random(number))
            )
            opened.append((living, shared))
        for living, _ in opened:
            await living.beat()
        yield opened[0][1], opened[1][1]


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
def shared_settings(request: pytest.FixtureRequest) -> SharedSettings:
    """Without and with a server."""
    if request.param == "memory":
        return SharedSettings()
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return SharedSettings(url=server.url, timeout_ms=1_000)  # the machine may be busy


@pytest.fixture
def pair_of(tmp_path: Path) -> Callable[[SharedSettings], AbstractAsyncContextManager[Pair]]:
    return lambda settings: open_pair(tmp_path, settings)


@pytest.fixture
async def pair(tmp_path: Path, shared_settings: SharedSettings) -> AsyncIterator[Pair]:
    async with open_pair(tmp_path, shared_settings) as opened:
        yield opened


@pytest.fixture
def flush(request: pytest.FixtureRequest, shared_settings: SharedSettings) -> Callable[[], None]:
    """Deletes every key of the shared server, if there is one."""
    if not shared_settings.url:
        return lambda: None
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return server.flush


@pytest.fixture
async def pair_of_valkey(tmp_path: Path, valkey_server: ValkeyServer) -> AsyncIterator[Pair]:
    settings = SharedSettings(url=valkey_server.url, timeout_ms=1_000)
    async with open_pair(tmp_path, settings) as opened:
        yield opened
