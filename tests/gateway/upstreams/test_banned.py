"""A vendor that refuses our account or our address: no key of it is tried any more."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from adapters.contract.upstream import FaultKind
from gateway.upstreams.opening import open_upstreams
from gateway.upstreams.source.balances import read_balances
from gateway.upstreams.source.circuit import (
    BAN_PAUSE_S,
    MAX_BAN_PAUSE_S,
    Admission,
    CircuitBreaker,
    CircuitState,
)
from tests.dialects import ALL, FACTS, NAMES
from tests.fakes.clock import Clock
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, Front, front, settings_for
from tests.gateway.upstreams.test_check import run
from tests.gateway.upstreams.test_circuit import RULES, Even

SPARES = {"api_key": "env:KEY", "spare_api_keys": ["env:BAD", "env:OTHER"]}
REFUSING = [
    name
    for name in NAMES
    if any(refusal.kind is FaultKind.BANNED for refusal in FACTS[name].refusals)
]
"""Dialects that tell a refused account from a refused key."""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def made(stack: AsyncExitStack, name: str) -> tuple[Vendor, Front]:
    bad = await stack.enter_async_context(vendor(BY_NAME[name], mood=Mood.BANNED))
    good = await stack.enter_async_context(vendor(BY_NAME["emailable"]))
    settings = settings_for([bad, good], v0=SPARES)
    return bad, await stack.enter_async_context(front(settings))


@pytest.mark.parametrize("name", REFUSING)
async def test_no_other_key_is_burnt(stack: AsyncExitStack, name: str) -> None:
    bad, here = await made(stack, name)
    answer = (await here.ask("a@example.com")).json()
    assert [(a["source"], a["outcome"]) for a in answer["attempts"]] == [
        ("v0", "banned"),
        ("v1", "deliverable"),
    ]
    for number in range(10):
        answer = (await here.ask(f"a{number}@example.com")).json()
        assert [(a["outcome"], a["asked"]) for a in answer["attempts"]] == [
            ("banned", False),
            ("deliverable", True),
        ]
    assert bad.asked == {GOOD_KEY: 1}


async def test_nor_shown_to_its_balance(stack: AsyncExitStack) -> None:
    bad = await stack.enter_async_context(vendor(BY_NAME["generic"], mood=Mood.BANNED))
    (source,) = await stack.enter_async_context(
        open_upstreams(
            settings_for([bad], v0=SPARES),
            ALL,
            clock=time.time,
            monotonic=time.monotonic,
            rng=random.Random(7),
        )
    )
    for _ in range(3):
        await read_balances(source, 300)
        assert bad.balances == 1
    assert source.unusable_fault == "banned"
    assert not any(key.dead for key in source.keys.keys)


async def test_it_is_said_once_and_counted(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    _, here = await made(stack, "dataoorts")
    await asyncio.gather(*(here.ask(f"a{n}@example.com") for n in range(5)))
    warnings = [r for r in caplog.records if r.getMessage() == "upstream.banned"]
    assert [(r.source, r.status) for r in warnings] == [("v0", 403)]  # type: ignore[attr-defined]
    metrics = (await here.client.get("/metrics")).text
    assert 'veriplex_upstream_banned{source="v0"} 1.0' in metrics
    assert 'veriplex_upstream_banned{source="v1"} 0.0' in metrics
    assert 'veriplex_attempts_total{outcome="banned",source="v0"}' in metrics
    assert 'veriplex_upstream_dead_keys{source="v0"} 0.0' in metrics


async def test_requests_do_not_wait_for_a_banned_upstream(stack: AsyncExitStack) -> None:
    bad = await stack.enter_async_context(vendor(BY_NAME["dataoorts"], mood=Mood.BANNED))
    here = await stack.enter_async_context(front(settings_for([bad])))
    for _ in range(2):
        began = asyncio.get_running_loop().time()
        reply = await here.verify("generic", "a@example.com")
        assert asyncio.get_running_loop().time() - began < 0.5
        assert reply.status_code == 503


@pytest.mark.parametrize("name", ["generic", "dataoorts"])
async def test_the_command_names_it_and_shows_one_key_alone(name: str, tmp_path: Path) -> None:
    """Dataoorts has no balance, and refuses an address at its health page, too."""
    async with vendor(BY_NAME[name], mood=Mood.BANNED) as bad:
        config = tmp_path / "veriplex.toml"
        config.write_text(
            f"[[upstreams]]\nname = 'a'\ndialect = '{name}'\nbase_url = '{bad.base_url}'\n"
            "api_key = 'env:KEY'\nspare_api_keys = ['env:BAD', 'env:KEY']\n"
        )
        code, out = await run("--config", str(config), "upstreams", "check", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 1
        assert [(row["key"], row["says"], row["ok"]) for row in rows] == [
            (1, "banned", False),
            (2, "banned", False),
            (3, "banned", False),
        ]
        assert rows[0]["detail"].startswith("HTTP 403")
        assert [row["detail"] for row in rows[1:]] == ["not asked", "not asked"]
        assert bad.balances == 1


# -- by the clock ------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(RULES, clock=clock, rng=Even(7))


def test_a_ban_is_long_and_doubles_with_each_trial(circuit: CircuitBreaker, clock: Clock) -> None:
    pause_s = BAN_PAUSE_S
    for _ in range(8):
        circuit.record_ban()
        assert circuit.is_banned
        assert circuit.reopens_in_s == pytest.approx(pause_s)
        assert circuit.admit(15) is Admission.NO
        clock.now += pause_s
        assert circuit.admit(15) is Admission.YES
        assert circuit.admit(15) is Admission.NO, "one trial"
        pause_s = min(pause_s * 2, MAX_BAN_PAUSE_S)


def test_requests_under_way_do_not_double_it(circuit: CircuitBreaker) -> None:
    for _ in range(20):
        circuit.record_ban()
    circuit.record_failure()
    circuit.record_success()
    assert circuit.is_banned
    assert circuit.reopens_in_s == pytest.approx(BAN_PAUSE_S)


def test_a_trial_that_succeeds_ends_it(circuit: CircuitBreaker, clock: Clock) -> None:
    circuit.record_ban()
    clock.now += BAN_PAUSE_S
    assert circuit.admit(15) is Admission.YES
    circuit.record_success()
    assert not circuit.is_banned
    assert circuit.state is CircuitState.RECOVERING
    circuit.record_ban()
    assert circuit.reopens_in_s == pytest.approx(BAN_PAUSE_S), "from the start"


def test_a_trial_that_fails_otherwise_is_a_failure(circuit: CircuitBreaker, clock: Clock) -> None:
    circuit.record_ban()
    clock.now += BAN_PAUSE_S
    assert circuit.admit(15) is Admission.YES
    circuit.record_failure()
    assert not circuit.is_banned
    assert circuit.reopens_in_s == pytest.approx(20)


def test_new_keys_are_worth_a_trial(circuit: CircuitBreaker) -> None:
    circuit.record_ban()
    circuit.allow_trial()
    assert circuit.admit(15) is Admission.YES
    assert circuit.admit(15) is Admission.NO
    circuit.record_ban()
    assert circuit.reopens_in_s == pytest.approx(2 * BAN_PAUSE_S)


def test_they_do_not_cut_another_pause_short(circuit: CircuitBreaker) -> None:
    circuit.pause(30)
    circuit.allow_trial()
    assert circuit.reopens_in_s == pytest.approx(30)
