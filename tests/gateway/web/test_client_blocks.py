"""Blocking client addresses after failed attempts."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.contract.dialect import ClientBlock
from adapters.contract.problems import ProblemKind
from adapters.emailable import DIALECT
from gateway.accounts.blocked_clients import BlockedClients
from gateway.errors import StorageUnavailable
from gateway.store import Store, open_store
from gateway.web.client_blocks import KNOWN_FOR_S, ClientBlocks

BLOCK = ClientBlock(frozenset({ProblemKind.BAD_CREDENTIAL}), failures=3, window_s=60)
VENDOR = replace(DIALECT, name="v", client_block=BLOCK)
OTHER = replace(DIALECT, name="w")
BAD, MISSING = ProblemKind.BAD_CREDENTIAL, ProblemKind.MISSING


@pytest.mark.parametrize(
    ("attempts", "blocked"),
    [
        ([(0, BAD), (1, BAD)], False),
        ([(0, BAD), (1, BAD), (2, BAD)], True),
        ([(0, BAD), (1, BAD), (61, BAD)], False),
        ([(0, BAD), (50, BAD), (61, BAD), (62, BAD)], True),
        ([(0, MISSING), (1, MISSING), (2, MISSING)], False),
    ],
)
async def test_a_client_is_blocked_after_enough_failures_within_the_window(
    attempts: list[tuple[float, ProblemKind]], blocked: bool
) -> None:
    now = 0.0
    blocks = ClientBlocks(clock=lambda: now)
    for at, kind in attempts:
        now = at
        await blocks.count_failed_attempt(VENDOR, "192.0.2.1", kind)
    assert await blocks.is_blocked(VENDOR, "192.0.2.1") is blocked
    assert not await blocks.is_blocked(VENDOR, "192.0.2.2")
    assert not await blocks.is_blocked(OTHER, "192.0.2.1")


async def test_a_dialect_without_a_rule_blocks_no_client() -> None:
    blocks = ClientBlocks(clock=lambda: 0.0)
    for _ in range(100):
        await blocks.count_failed_attempt(OTHER, "192.0.2.1", BAD)
    assert not await blocks.is_blocked(OTHER, "192.0.2.1")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite:///:memory:") as store:
        yield store


async def test_a_block_outlives_the_process_until_it_is_lifted(store: Store) -> None:
    now = 1_000.0
    stored = BlockedClients(store, lambda: now)
    blocks = ClientBlocks(clock=lambda: now, store=stored)
    for _ in range(BLOCK.failures):
        assert not await blocks.is_blocked(VENDOR, "192.0.2.1")
        await blocks.count_failed_attempt(VENDOR, "192.0.2.1", BAD)
    assert await blocks.is_blocked(VENDOR, "192.0.2.1")
    restarted = ClientBlocks(clock=lambda: now, store=stored)
    assert await restarted.is_blocked(VENDOR, "192.0.2.1")
    assert not await restarted.is_blocked(VENDOR, "192.0.2.2")
    now += 1e9
    assert await restarted.is_blocked(VENDOR, "192.0.2.1")
    (shown,) = await stored.all_blocks()
    assert (shown.dialect, shown.client) == ("v", "192.0.2.1")
    assert shown.blocked_at == datetime.fromtimestamp(1_000, UTC)

    assert await stored.lift("192.0.2.1") == 1
    assert await stored.lift("192.0.2.1") == 0
    now += KNOWN_FOR_S
    assert not await restarted.is_blocked(VENDOR, "192.0.2.1")
    assert not await blocks.is_blocked(VENDOR, "192.0.2.1")


async def test_a_block_that_cannot_be_stored_holds_in_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def is_blocked(self, dialect: str, client: str) -> bool:
            return False

        async def block(self, dialect: str, client: str) -> None:
            raise StorageUnavailable("the disk is full")

    now = 0.0
    blocks = ClientBlocks(clock=lambda: now, store=Broken())
    for _ in range(BLOCK.failures):
        await blocks.count_failed_attempt(VENDOR, "192.0.2.1", BAD)
    now = 1e9
    assert await blocks.is_blocked(VENDOR, "192.0.2.1")
    assert [record.message for record in caplog.records] == ["client_block.not_stored"]
