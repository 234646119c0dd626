"""Lists whose servers change their mind in the middle: block, throttle, die and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from engine.address.syntax import parse_address
from engine.model import Address, Verdict, Verification
from engine.probe import ProbeEngine
from tests.engine.combined import (
    ALL,
    BLOCK,
    BUSY,
    NO,
    NOBODY_THERE,
    OK,
    QUICK,
    RBL,
    Gist,
    ask_list,
    says,
)
from tests.engine.test_probe import A, B, world, zone_of
from tests.fakes.dns import fake_dns
from tests.fakes.smtp import CLOSE, RESET, Action, Wait, fake_smtp

EXTENSIONS = (("PIPELINING",), ())
NAMES = [f"{'p' if number % 3 else 'x'}{number}" for number in range(150)]
TEXTS = [f"{name}@a.test" for name in NAMES]


def gists(answers: Sequence[Verification]) -> list[Gist]:
    return [(answer.verdict, answer.reason) for answer in answers]


def wrong(answers: Sequence[Verification], *unknown: Gist) -> list[str]:
    """Those that are neither right nor one of `unknown`."""
    return [
        f"{answer.address.raw}: {answer.verdict} {answer.reason}: {answer.evidence.smtp}"
        for answer in answers
        if (answer.verdict, answer.reason)
        not in (OK if answer.address.local.startswith("p") else NO, *unknown)
    ]


@pytest.mark.parametrize("extensions", EXTENSIONS)
@pytest.mark.parametrize(
    ("enough", "unknown"),
    [
        (RBL, BLOCK),
        (("554 5.7.1 Your IP address is blacklisted", CLOSE), BLOCK),
        ("450 4.7.1 Error: too much mail from 192.0.2.7", BUSY),
        (("421 4.7.0 Try again later, rate limit exceeded", CLOSE), BUSY),
        (CLOSE, BUSY),
        (RESET, BUSY),
    ],
)
async def test_a_host_that_has_had_enough(
    enough: Action, unknown: Gist, extensions: tuple[str, ...]
) -> None:
    """No refusal of us is one of a mailbox (table rows 2, 10 and 15)."""
    script = says(most_heard_in_all=40, enough=enough, extensions=extensions)
    async with world({A: script}, config=replace(QUICK, deadline_s=1.0)) as there:
        answers = await ask_list(there, TEXTS)
    assert not wrong(answers, unknown)
    assert gists(answers).count(unknown) < len(TEXTS) - 20


@pytest.mark.parametrize("extensions", EXTENSIONS)
async def test_a_host_that_is_killed_and_starts_again(extensions: tuple[str, ...]) -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = says((pause, "250 2.1.5 Ok"), extensions=extensions)
    texts = [*TEXTS[:75], "user@a.test", *TEXTS[75:]]
    async with world({A: script}, config=QUICK) as there:
        asking = asyncio.create_task(ask_list(there, texts))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await there.smtp.kill(A)
        pause.go_on.set()
        await asyncio.sleep(0.1)  # long enough for connections to be refused
        await there.smtp.revive(A)
        answers = await asking
    assert (answers[75].verdict, answers[75].reason) == OK
    assert not wrong([*answers[:75], *answers[76:]])


async def test_a_host_that_is_killed_while_another_lives() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    hosts = {A: says((pause, "250 2.1.5 Ok")), B: says()}
    async with world(hosts, config=QUICK) as there:
        asking = asyncio.create_task(ask_list(there, ["user@a.test", *TEXTS]))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await there.smtp.kill(A)
        pause.go_on.set()
        answers = await asking
    assert (answers[0].verdict, answers[0].reason) == OK
    assert not wrong(answers[1:])


async def test_a_host_that_is_killed_for_good() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    async with world({A: says((pause, "250 2.1.5 Ok"))}, config=QUICK) as there:
        asking = asyncio.create_task(ask_list(there, [*TEXTS[:75], "user@a.test", *TEXTS[75:]]))
        await asyncio.wait_for(pause.reached.wait(), 5)
        await there.smtp.kill(A)
        pause.go_on.set()
        answers = await asking
    assert not wrong([*answers[:75], *answers[76:]], NOBODY_THERE, BUSY)
    assert answers[75].verdict is Verdict.UNKNOWN


async def test_a_dns_server_that_is_killed_and_starts_again() -> None:
    domains = [f"d{number}.test" for number in range(100)]
    zone = zone_of(A) | {domain: {"MX": ["0 mx0.a.test."]} for domain in domains}
    found: dict[Address, Gist] = {}
    some = asyncio.Event()

    async with AsyncExitStack() as until_the_end, fake_smtp({A: says(others="250 Ok")}) as smtp:
        async with fake_dns(zone) as first:
            config = replace(QUICK, dns_servers=(first.address,), smtp_port=smtp.port)
            engine = ProbeEngine.open(config, rng=random.Random(1))

            async def verify_all() -> None:
                addresses = [parse_address(f"user@{domain}") for domain in domains]
                async for address, answer in engine.verify_many(addresses):
                    found[address] = answer.verdict, answer.reason
                    some.set()

            asking = asyncio.create_task(verify_all())
            await asyncio.wait_for(some.wait(), 5)
        await until_the_end.enter_async_context(fake_dns(zone, port=first.port))
        await asking
        await engine.aclose()
    assert set(found.values()) == {ALL}
    assert len(found) == len(domains)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (says(banner="421 4.3.2 All server ports are busy"), OK),
        (says(on={"EHLO": ("421 4.7.0 Not now", CLOSE)}), OK),
        (says(banner=RBL), OK),
        (says(banner=CLOSE), OK),
        (says("421 4.7.0 Not now"), OK),
        (says("450 4.2.0 Greylisted"), OK),
    ],
)
async def test_lists_and_singles_at_once_find_the_second_host(
    script: object, expected: Gist
) -> None:
    """RFC 5321 section 5.1: who is refused for now goes to the next host."""
    hosts = {A: script, B: says()}
    async with world(hosts, config=QUICK) as there:  # type: ignore[arg-type]
        lists = (ask_list(there, ["user@a.test"]) for _ in range(3))
        singles = (there.verify("user@a.test") for _ in range(3))
        answers, one_by_one = await asyncio.gather(asyncio.gather(*lists), asyncio.gather(*singles))
    assert {*gists(one_by_one), *gists([answer for found in answers for answer in found])} == {
        expected
    }
