"""Two engines that probe by one egress, as two processes do: what a mail host sees of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from engine.address.syntax import parse_address
from engine.model import Reason
from engine.probe import ProbeEngine
from gateway.cluster.shared import Shared
from gateway.settings.storage import SharedSettings
from tests.engine.test_probe import CONFIG, NOW, A, only, zone_of
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import FakeSmtp, Script, fake_smtp
from tests.valkey_server import ValkeyServer

Pair = tuple[Shared, Shared]

CONNECTIONS = 2
KNOWN_ONLY = Script(rcpt=only("p[0-9]+"))


@contextlib.asynccontextmanager
async def engines_of(
    pair: Sequence[Shared], script: Script
) -> AsyncIterator[tuple[list[ProbeEngine], FakeSmtp]]:
    """An engine for each process, and the mail host of a.test."""
    async with fake_dns(zone_of(A)) as dns, fake_smtp({A: script}) as smtp:
        config = replace(
            CONFIG,
            dns_servers=(dns.address,),
            smtp_port=smtp.port,
            connections_per_host=CONNECTIONS,
            recipients_per_connection=10,  # so that connections change often
        )
        engines = [
            ProbeEngine.open(config, rng=random.Random(1), now=lambda: NOW, shared=one)
            for one in pair
        ]
        try:
            yield engines, smtp
        finally:
            for engine in engines:
                await engine.aclose()


async def verify_list(engine: ProbeEngine, first: int, count: int) -> list[Reason]:
    addresses = [parse_address(f"p{number}@a.test") for number in range(first, first + count)]
    async with aclosing(engine.verify_many(addresses)) as stream:
        return [verification.reason async for _, verification in stream]


async def test_a_mail_host_gets_no_more_connections_than_from_one(pair: Pair) -> None:
    async with engines_of(pair, KNOWN_ONLY) as (engines, smtp):
        found = await asyncio.gather(
            *(verify_list(engine, 1_000 * number, 200) for number, engine in enumerate(engines))
        )
        assert [set(reasons) for reasons in found] == [{Reason.ACCEPTED_EMAIL}] * 2
        assert [len(reasons) for reasons in found] == [200] * 2
        assert smtp.seen[A].max_open <= CONNECTIONS
        assert len(smtp.seen[A].recipients) >= 400


async def test_with_all_keys_lost_again_and_again_it_gets_twice_as_many_at_most(
    pair: Pair, flush: Callable[[], None]
) -> None:
    async with engines_of(pair, KNOWN_ONLY) as (engines, smtp):
        work = asyncio.gather(
            *(verify_list(engine, 1_000 * number, 200) for number, engine in enumerate(engines))
        )
        while not work.done():
            flush()
            await asyncio.sleep(0.01)
        assert [set(reasons) for reasons in await work] == [{Reason.ACCEPTED_EMAIL}] * 2
        assert smtp.seen[A].max_open <= CONNECTIONS * len(pair)


@pytest.mark.valkey
@pytest.mark.parametrize("fault", ["stop", "freeze"])
async def test_lists_go_on_while_the_shared_server_is_away(
    pair_of: Callable[[SharedSettings], contextlib.AbstractAsyncContextManager[Pair]], fault: str
) -> None:
    server = ValkeyServer()
    try:
        async with (
            pair_of(SharedSettings(url=server.url)) as pair,
            engines_of(pair, KNOWN_ONLY) as (engines, smtp),
        ):
            work = asyncio.gather(
                *(verify_list(engine, 1_000 * number, 200) for number, engine in enumerate(engines))
            )
            while not smtp.seen[A].rcpts > 20:  # noqa: ASYNC110 - what it waits for is the host's
                await asyncio.sleep(0.005)
            getattr(server, fault)()
            assert [set(reasons) for reasons in await work] == [{Reason.ACCEPTED_EMAIL}] * 2
            assert smtp.seen[A].max_open <= CONNECTIONS * len(pair)
            server.thaw() if fault == "freeze" else None
    finally:
        server.close()


async def test_that_a_domain_accepts_every_name_is_asked_once(pair: Pair) -> None:
    async with engines_of(pair, Script()) as (engines, smtp):
        for number, engine in enumerate(engines):
            verification = await engine.verify(parse_address(f"p{number}@a.test"))
            assert verification.reason is Reason.CATCH_ALL
            if (store := pair[number].store) is not None:
                await store.settle()
        controls = [name for name in smtp.seen[A].recipients if not name.startswith("p")]
        times = sum(smtp.seen[A].recipients[name] for name in controls)
        assert times == (1 if pair[0].store else 2)
