"""A sandbox for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.sandbox.clock import AdjustableClock
from gateway.sandbox_app import SandboxServer, open_sandbox
from gateway.web.dispatch import create_app
from tests.dialects import ALL

START = 1_780_000_000.0


class Time:
    """Stands in for the real time."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def server(time: Time) -> AsyncIterator[SandboxServer]:
    async with open_sandbox(
        "veriplex",
        keys=["own-key"],
        url="http://veriplex.test",
        clock=AdjustableClock(time),
        dialects=ALL,
    ) as server:
        yield server


@pytest.fixture
async def client(server: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://veriplex.test") as client:
        yield client
