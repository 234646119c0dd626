"""Batches whose servers change in the middle: block, throttle, die and restart."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from engine.address.syntax import parse_address
from engine.model import Address, Verdict, Verification
from engine.probe import ProbeEngine
from tests.engine.combined import (
    ACCEPTED,
    BLOCKED,
    CATCH_ALL,
    NO_CONNECT,
    QUICK,
    RBL,
    REJECTED,
    UNAVAILABLE,
    Outcome,
    mail_host,
    verify_batch,
)
from tests.engine.test_probe import A, B, probe_setup, zone_of
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import CLOSE, RESET, Action, Script, Wait, fake_smtp

EXTENSIONS = (("PIPELINING",), ())
NAMES = [f"{'p' if number % 3 else 'x'}{number}" for number in range(150)]
TEXTS = [f"{name}@a.test" for name in NAMES]
OK_250 = "250 2.1.5 Ok"


def outcomes(results: Iterable[Verification]) -> list[Outcome]:
    return [(result.verdict, result.reason) for result in results]


def wrong(results: Iterable[Verification], *otherwise: Outcome) -> list[str]:
    """The results that are neither right nor one of `otherwise`."""
    return [
        f"{result.address.raw}: {result.verdict} {result.reason}: {result.evidence.smtp}"
        for result in results
        if (result.verdict, result.reason)
        not in (ACCEPTED if result.address.local.startswith("p") else REJECTED, *otherwise)
    ]


@pytest.mark.parametrize("extensions", EXTENSIONS)
@pytest.mark.parametrize(
    ("beyond_max_rcpts", "otherwise"),
    [
        (RBL, BLOCKED),
        (("554 5.7.1 Your IP address is blacklisted", CLOSE), BLOCKED),
        ("450 4.7.1 Error: too much mail from 192.0.2.7", UNAVAILABLE),
        (("421 4.7.0 Try again later, rate limit exceeded", CLOSE), UNAVAILABLE),
        (CLOSE, UNAVAILABLE),
        (RESET, UNAVAILABLE),
    ],
)
async def test_a_refusal_of_us_in_the_middle_condemns_no_mailbox(
    beyond_max_rcpts: Action, otherwise: Outcome, extensions: tuple[str, ...]
) -> None:
    script = mail_host(
        max_rcpts_in_all=40, beyond_max_rcpts=beyond_max_rcpts, extensions=extensions
    )
    async with probe_setup({A: script}, config=replace(QUICK, deadline_s=1.0)) as setup:
        results = await verify_batch(setup, TEXTS)
    assert not wrong(results, otherwise)
    assert outcomes(results).count(otherwise) < len(TEXTS) - 20


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once a connection was refused."""
    event = asyncio.Event()
    connect = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
        try:
            await connect(loop, sock, address)
        except ConnectionRefusedError:
            event.set()
            raise

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)
    return event


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_a_host_that_restarts_costs_no_result(
    extensions: tuple[str, ...], refused: asyncio.Event
) -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = mail_host((pause, OK_250), extensions=extensions)
    texts = [*TEXTS[:75], "user@a.test", *TEXTS[75:]]
    async with probe_setup({A: script}, config=QUICK) as setup:
        verifying = asyncio.create_task(verify_batch(setup, texts))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await setup.smtp.kill(A)
        pause.go_on.set()
        await asyncio.wait_for(refused.wait(), 5)
        await setup.smtp.restart(A)
        results = await verifying
    assert outcomes(results[75:76]) == [ACCEPTED]
    assert not wrong([*results[:75], *results[76:]])


async def test_the_next_host_takes_over_when_the_first_dies() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    hosts = {A: mail_host((pause, OK_250)), B: mail_host()}
    async with probe_setup(hosts, config=QUICK) as setup:
        verifying = asyncio.create_task(verify_batch(setup, ["user@a.test", *TEXTS]))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await setup.smtp.kill(A)
        pause.go_on.set()
        results = await verifying
    assert outcomes(results[:1]) == [ACCEPTED]
    assert not wrong(results[1:])


async def test_a_host_that_dies_for_good_condemns_no_mailbox() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    texts = [*TEXTS[:75], "user@a.test", *TEXTS[75:]]
    async with probe_setup({A: mail_host((pause, OK_250))}, config=QUICK) as setup:
        verifying = asyncio.create_task(verify_batch(setup, texts))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await setup.smtp.kill(A)
        pause.go_on.set()
        results = await verifying
    assert not wrong([*results[:75], *results[76:]], NO_CONNECT, UNAVAILABLE)
    assert results[75].verdict is Verdict.UNKNOWN


async def test_a_dns_server_that_restarts_costs_no_result() -> None:
    domains = [f"d{number}.test" for number in range(100)]
    zone = zone_of(A) | {domain: {"MX": ["0 mx0.a.test."]} for domain in domains}
    results: dict[Address, Outcome] = {}
    has_results = asyncio.Event()

    async with AsyncExitStack() as second, fake_smtp({A: mail_host(unknown=OK_250)}) as smtp:
        async with fake_dns(zone) as first:
            config = replace(QUICK, dns_servers=(first.address,), smtp_port=smtp.port)
            engine = ProbeEngine.open(config, rng=random.Random(1))

            async def verify_all() -> None:
                addresses = [parse_address(f"user@{domain}") for domain in domains]
                async for address, result in engine.verify_many(addresses):
                    results[address] = result.verdict, result.reason
                    has_results.set()

            verifying = asyncio.create_task(verify_all())
            await asyncio.wait_for(has_results.wait(), 5)
        await second.enter_async_context(fake_dns(zone, port=first.port))
        await verifying
        await engine.aclose()
    assert set(results.values()) == {CATCH_ALL}
    assert len(results) == len(domains)


@pytest.mark.parametrize(
    "script",
    [
        mail_host(banner="421 4.3.2 All server ports are busy"),
        mail_host(on={"EHLO": ("421 4.7.0 Not now", CLOSE)}),
        mail_host(banner=RBL),
        mail_host(banner=CLOSE),
        mail_host("421 4.7.0 Not now"),
        mail_host("450 4.2.0 Greylisted"),
    ],
)
async def test_batches_and_single_verifications_find_the_second_host(script: Script) -> None:
    """RFC 5321 section 5.1: after a temporary failure the next host is tried."""
    async with probe_setup({A: script, B: mail_host()}, config=QUICK) as setup:
        batches = (verify_batch(setup, ["user@a.test"]) for _ in range(3))
        singles = (setup.verify("user@a.test") for _ in range(3))
        in_batches, singly = await asyncio.gather(
            asyncio.gather(*batches), asyncio.gather(*singles)
        )
    assert {*outcomes(singly), *outcomes(chain(*in_batches))} == {ACCEPTED}
