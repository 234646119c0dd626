"""Connection slots per operator: bounded, by priority, spaced out after a complaint, never lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from engine.model import Stage
from engine.smtp.pacing import FIRST_SPACING_S, MAX_PACED_OPERATORS, MAX_SPACING_S, Pacer
from engine.turns import NO_PARTY
from tests.fakes.clock import Clock

SINGLE: dict[str, bool] = {}
BULK = {"bulk": True}
POOLED = {"pooled": True}


async def turns(count: int = 5) -> None:
    """Let the tasks that are ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_at_a_time() -> None:
    pacer = Pacer(3, Clock())
    most = 0

    async def connect() -> None:
        nonlocal most
        async with pacer.slot("operator"):
            most = max(most, pacer.active_connections("operator"))
            await turns()

    await asyncio.gather(*(connect() for _ in range(20)))
    assert most == 3
    assert pacer.active_connections("operator") == 0


async def test_operators_do_not_wait_for_each_other() -> None:
    pacer = Pacer(1, Clock())
    async with pacer.slot("one"), asyncio.timeout(1), pacer.slot("other"):
        assert (pacer.active_connections("one"), pacer.active_connections("other")) == (1, 1)


async def test_slots_are_granted_in_the_order_of_arrival() -> None:
    pacer = Pacer(1, Clock())
    order: list[int] = []

    async def connect(number: int) -> None:
        async with pacer.slot("operator"):
            order.append(number)
            await turns()

    await asyncio.gather(*(connect(number) for number in range(6)))
    assert order == list(range(6))


async def test_a_cancelled_waiter_passes_its_slot_on() -> None:
    pacer = Pacer(1, Clock())

    async def connect() -> None:
        async with pacer.slot("operator"):
            await turns()

    async with AsyncExitStack() as held:
        await held.enter_async_context(pacer.slot("operator"))
        cancelled = asyncio.ensure_future(connect())
        waiting = asyncio.ensure_future(connect())
        await turns()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    await asyncio.wait_for(waiting, 1)
    assert pacer.active_connections("operator") == 0


async def test_many_waiters_may_be_cancelled_at_once() -> None:
    pacer = Pacer(1, Clock())

    async def connect() -> None:
        async with pacer.slot("operator"):
            await turns()

    held = asyncio.ensure_future(connect())
    waiting = [asyncio.ensure_future(connect()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in (held, *waiting):
        task.cancel()
    ended = await asyncio.gather(held, *waiting, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError] * 6
    assert pacer.active_connections("operator") == 0


async def test_a_slot_granted_to_a_cancelled_waiter_is_not_lost() -> None:
    pacer = Pacer(1, Clock())

    async def connect() -> None:
        async with pacer.slot("operator"):
            await turns()

    async with AsyncExitStack() as held:
        await held.enter_async_context(pacer.slot("operator"))
        waiting = asyncio.ensure_future(connect())
        await turns()
    waiting.cancel()  # in the same turn of the loop in which it was granted the slot
    await asyncio.gather(waiting, return_exceptions=True)
    assert pacer.active_connections("operator") == 0
    await asyncio.wait_for(connect(), 1)


async def test_a_complaint_halves_the_limit_and_success_restores_it() -> None:
    clock = Clock()
    pacer = Pacer(4, clock)

    async def fits() -> int:
        """How many slots can be held at a time now."""
        async with AsyncExitStack() as held:
            for count in range(10):
                try:
                    async with asyncio.timeout(0.01):
                        await held.enter_async_context(pacer.slot("operator"))
                except TimeoutError:
                    return count
        return 10

    assert await fits() == 4
    pacer.record_throttling("operator")
    clock.now += 2 * FIRST_SPACING_S
    pacer.record_success("operator")
    for _ in range(2):
        pacer.record_success("operator")
    assert await fits() == 3
    for _ in range(20):
        pacer.record_success("operator")
    assert await fits() == 4


@pytest.mark.parametrize(("complaints", "pause_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (20, 60)])
def test_each_complaint_doubles_the_back_off_up_to_a_bound(complaints: int, pause_s: float) -> None:
    pacer = Pacer(4, Clock())
    for _ in range(complaints):
        pacer.record_throttling("operator")
    assert pacer.wait_s("operator") == pause_s <= MAX_SPACING_S


@pytest.mark.parametrize(
    ("events", "skipped"),
    [
        ("b b b", True),
        ("b b", False),
        ("bb bb", False),  # rejections at the same time count as one
        ("bbbb", False),
        ("c b c", True),
        ("b b r b", False),  # it accepted a connection in between
        ("b b w b", False),
        ("b b b ", False),  # the back-off is over
        ("b b b  b", True),
        ("b b b  w", False),
        ("b w b b b b b", False),  # it has served us, so it is given more attempts
        ("b w b b b b b b", True),
    ],
)
def test_an_operator_that_rejects_every_connection_is_skipped_until_its_back_off_is_over(
    events: str, skipped: bool
) -> None:
    """b, c, r: a complaint at the banner, on connecting, at RCPT; w: a success; blank: a wait."""
    clock = Clock()
    pacer = Pacer(4, clock)
    stages = {"b": Stage.BANNER, "c": Stage.CONNECT, "r": Stage.RCPT}
    for event in events:
        if event == " ":
            clock.now += pacer.wait_s("operator")
        elif event == "w":
            pacer.record_success("operator")
        else:
            pacer.record_throttling("operator", stage=stages[event])
    assert pacer.is_skipped("operator") == skipped
    assert not pacer.is_skipped("another")


def test_a_stated_delay_is_bounded() -> None:
    pacer = Pacer(4, Clock())
    pacer.record_throttling("operator", 7)
    assert pacer.wait_s("operator") == 7
    pacer.record_throttling("operator", 86_400)
    assert pacer.wait_s("operator") == MAX_SPACING_S
    assert pacer.wait_s("another") == 0
    pacer.record_success("another")


async def test_the_next_connection_waits_for_the_back_off() -> None:
    clock = Clock()
    pacer = Pacer(4, clock)
    pacer.record_throttling("operator", 0.02)
    started = asyncio.get_running_loop().time()
    async with pacer.slot("operator"):
        waited_s = asyncio.get_running_loop().time() - started
    assert waited_s >= 0.015


def test_idle_operators_are_evicted_before_there_are_too_many() -> None:
    clock = Clock()
    pacer = Pacer(4, clock)
    pacer.record_throttling("backing off", MAX_SPACING_S)
    clock.now += MAX_SPACING_S / 2
    for number in range(MAX_PACED_OPERATORS):
        pacer.record_throttling(f"operator {number}", 1)
        clock.now += 0.001
    clock.now += 2
    pacer.record_throttling("one more", 1)
    assert pacer.wait_s("backing off") > 0
    assert len(pacer) <= MAX_PACED_OPERATORS


async def test_host_pools_get_a_slot_when_no_single_probe_waits() -> None:
    pacer = Pacer(1, Clock())
    order: list[str] = []

    async def connect(name: str, *, pooled: bool) -> None:
        async with pacer.slot("operator", pooled=pooled):
            order.append(name)
            await turns()

    async with pacer.slot("operator", pooled=True):
        assert not pacer.should_give_back("operator", NO_PARTY)
        waiting = [
            asyncio.create_task(connect(name, pooled=name.startswith("pool")))
            for name in ("pool 1", "pool 2", "single 1", "single 2")
        ]
        await turns()
        assert pacer.should_give_back("operator", NO_PARTY)
        waiting[0].cancel()
        await turns()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == ["single 1", "single 2", "pool 2"]
    assert not pacer.should_give_back("operator", NO_PARTY)
    assert not pacer.should_give_back("another", NO_PARTY)


@pytest.mark.parametrize(
    ("complaints", "stage", "backing_off"),
    [
        (1, Stage.BANNER, True),
        (1, Stage.EHLO, True),
        # a wait of a second is short, and the first host knows most
        (1, Stage.RCPT, False),
        (2, Stage.RCPT, True),
    ],
)
async def test_a_caller_with_an_alternative_does_not_wait_for_a_back_off(
    complaints: int, stage: Stage, backing_off: bool
) -> None:
    clock = Clock()
    pacer = Pacer(2, clock)
    for _ in range(complaints):
        pacer.record_throttling("operator", stage=stage)
    assert pacer.is_backing_off("operator") is backing_off
    if backing_off:
        with pytest.raises(TimeoutError):
            async with pacer.slot("operator", has_alternative=True):
                pass
        assert pacer.active_connections("operator") == 0
    clock.now += MAX_SPACING_S
    assert not pacer.is_backing_off("operator")
    async with asyncio.timeout(1), pacer.slot("operator", has_alternative=True):
        assert pacer.active_connections("operator") == 1


@pytest.mark.parametrize("connections", [1, 3])
async def test_single_verifications_go_before_bulk_probes_and_those_before_host_pools(
    connections: int,
) -> None:
    pacer = Pacer(connections, Clock())
    order: list[str] = []

    async def connect(name: str, kind: dict[str, bool]) -> None:
        async with pacer.slot("operator", **kind):
            order.append(name)
            await turns()

    arrivals = [("pooled", POOLED), ("bulk", BULK), ("single", SINGLE)] * 4
    async with asyncio.TaskGroup() as group, AsyncExitStack() as held:
        for _ in range(connections):
            await held.enter_async_context(pacer.slot("operator", pooled=True))
        for name, kind in arrivals:
            group.create_task(connect(name, kind))
        await turns()
        assert order == []
    assert order == ["single"] * 4 + ["bulk"] * 4 + ["pooled"] * 4
    assert pacer.active_connections("operator") == 0


@pytest.mark.parametrize(("kind", "has_priority"), [(SINGLE, True), (BULK, True), (POOLED, False)])
async def test_a_host_pool_sees_waiters_of_higher_priority(
    kind: dict[str, bool], has_priority: bool
) -> None:
    pacer = Pacer(1, Clock())

    async def connect() -> None:
        async with pacer.slot("operator", **kind):
            assert not pacer.should_give_back("operator", NO_PARTY)

    async with pacer.slot("operator", pooled=True):
        assert not pacer.should_give_back("operator", NO_PARTY)
        waiting = asyncio.create_task(connect())
        await turns()
        assert pacer.should_give_back("operator", NO_PARTY) is has_priority
    await waiting


async def test_a_late_single_verification_overtakes_a_long_queue() -> None:
    pacer = Pacer(1, Clock())
    order: list[str] = []

    async def connect(name: str, kind: dict[str, bool]) -> None:
        async with pacer.slot("operator", **kind):
            order.append(name)
            if name == "bulk 3":
                singles.append(asyncio.create_task(connect("single", SINGLE)))
            await turns()

    singles: list[asyncio.Task[None]] = []
    await asyncio.gather(*(connect(f"bulk {number}", BULK) for number in range(100)))
    assert order.index("single") == order.index("bulk 3") + 1
