"""Slots per operator: bounded, fair, spaced out after a complaint, never lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from engine.model import Stage
from engine.smtp.pacing import FIRST_SPACING_S, MAX_PACED_OPERATORS, MAX_SPACING_S, Pacer
from tests.fakes.clock import Clock


async def turns(count: int = 5) -> None:
    """Let what is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_at_a_time() -> None:
    pacer = Pacer(3, Clock())
    most = 0

    async def visit() -> None:
        nonlocal most
        async with pacer.slot("operator"):
            most = max(most, pacer.active_connections("operator"))
            await turns()

    await asyncio.gather(*(visit() for _ in range(20)))
    assert most == 3
    assert pacer.active_connections("operator") == 0


async def test_operators_do_not_wait_for_each_other() -> None:
    pacer = Pacer(1, Clock())
    async with pacer.slot("one"), asyncio.timeout(1), pacer.slot("other"):
        assert (pacer.active_connections("one"), pacer.active_connections("other")) == (1, 1)


async def test_who_came_first_goes_first() -> None:
    pacer = Pacer(1, Clock())
    order: list[int] = []

    async def visit(number: int) -> None:
        async with pacer.slot("operator"):
            order.append(number)
            await turns()

    await asyncio.gather(*(visit(number) for number in range(6)))
    assert order == list(range(6))


async def test_one_who_stops_waiting_gives_the_place_on() -> None:
    pacer = Pacer(1, Clock())

    async def visit() -> None:
        async with pacer.slot("operator"):
            await turns()

    async with AsyncExitStack() as held:
        await held.enter_async_context(pacer.slot("operator"))
        impatient = asyncio.ensure_future(visit())
        patient = asyncio.ensure_future(visit())
        await turns()
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
    await asyncio.wait_for(patient, 1)
    assert pacer.active_connections("operator") == 0


async def test_many_may_stop_waiting_at_once() -> None:
    pacer = Pacer(1, Clock())

    async def visit() -> None:
        async with pacer.slot("operator"):
            await turns()

    held = asyncio.ensure_future(visit())
    waiting = [asyncio.ensure_future(visit()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in (held, *waiting):
        task.cancel()
    ended = await asyncio.gather(held, *waiting, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError] * 6
    assert pacer.active_connections("operator") == 0


async def test_a_place_given_to_one_who_has_just_left_is_not_lost() -> None:
    pacer = Pacer(1, Clock())

    async def visit() -> None:
        async with pacer.slot("operator"):
            await turns()

    async with AsyncExitStack() as held:
        await held.enter_async_context(pacer.slot("operator"))
        waiting = asyncio.ensure_future(visit())
        await turns()
    waiting.cancel()  # in the same turn in which it was given the place
    await asyncio.gather(waiting, return_exceptions=True)
    assert pacer.active_connections("operator") == 0
    await asyncio.wait_for(visit(), 1)


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
def test_each_complaint_doubles_the_pause_up_to_a_bound(complaints: int, pause_s: float) -> None:
    pacer = Pacer(4, Clock())
    for _ in range(complaints):
        pacer.record_throttling("operator")
    assert pacer.wait_s("operator") == pause_s <= MAX_SPACING_S


@pytest.mark.parametrize(
    ("events", "shut"),
    [
        ("b b b", True),
        ("b b", False),
        ("bb bb", False),  # at the same time, they are one
        ("bbbb", False),
        ("c b c", True),
        ("b b r b", False),  # it heard us in between
        ("b b w b", False),
        ("b b b ", False),  # it may be called on again
        ("b b b  b", True),
        ("b b b  w", False),
        ("b w b b b b b", False),  # it let us in before, and may do so soon
        ("b w b b b b b b", True),
    ],
)
def test_who_turns_us_away_after_every_pause_is_shut_until_the_next(
    events: str, shut: bool
) -> None:
    """b, c, r: complaints at the banner, when connecting, at RCPT; w: success; blank: a pause."""
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
    assert pacer.is_skipped("operator") == shut
    assert not pacer.is_skipped("stranger")


def test_a_stated_delay_is_kept_within_the_bound() -> None:
    pacer = Pacer(4, Clock())
    pacer.record_throttling("operator", 7)
    assert pacer.wait_s("operator") == 7
    pacer.record_throttling("operator", 86_400)
    assert pacer.wait_s("operator") == MAX_SPACING_S
    assert pacer.wait_s("stranger") == 0
    pacer.record_success("stranger")


async def test_after_a_complaint_the_next_one_waits() -> None:
    clock = Clock()
    pacer = Pacer(4, clock)
    pacer.record_throttling("operator", 0.02)
    started = asyncio.get_running_loop().time()
    async with pacer.slot("operator"):
        waited_s = asyncio.get_running_loop().time() - started
    assert waited_s >= 0.015


def test_quiet_operators_are_forgotten_before_there_are_too_many() -> None:
    clock = Clock()
    pacer = Pacer(4, clock)
    pacer.record_throttling("still resting", MAX_SPACING_S)
    clock.now += MAX_SPACING_S / 2
    for number in range(MAX_PACED_OPERATORS):
        pacer.record_throttling(f"operator {number}", 1)
        clock.now += 0.001
    clock.now += 2
    pacer.record_throttling("one more", 1)
    assert pacer.wait_s("still resting") > 0
    assert len(pacer) <= MAX_PACED_OPERATORS


async def test_the_patient_go_when_nobody_else_waits() -> None:
    pacer = Pacer(1, Clock())
    order: list[str] = []

    async def visit(name: str, *, patient: bool) -> None:
        async with pacer.slot("operator", pooled=patient):
            order.append(name)
            await turns()

    async with pacer.slot("operator", pooled=True):
        assert not pacer.has_priority_waiters("operator")
        waiting = [
            asyncio.create_task(visit(name, patient=name.startswith("list")))
            for name in ("list 1", "list 2", "single 1", "single 2")
        ]
        await turns()
        assert pacer.has_priority_waiters("operator")
        waiting[0].cancel()
        await turns()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == ["single 1", "single 2", "list 2"]
    assert not pacer.has_priority_waiters("operator")
    assert not pacer.has_priority_waiters("another")


@pytest.mark.parametrize(
    ("complaints", "stage", "away"),
    [
        (1, Stage.BANNER, True),
        (1, Stage.EHLO, True),
        # a second is soon over, and the first host knows most
        (1, Stage.RCPT, False),
        (2, Stage.RCPT, True),
    ],
)
async def test_who_can_goes_elsewhere(complaints: int, stage: Stage, away: bool) -> None:
    clock = Clock()
    pacer = Pacer(2, clock)
    for _ in range(complaints):
        pacer.record_throttling("operator", stage=stage)
    assert pacer.is_backing_off("operator") is away
    if away:
        with pytest.raises(TimeoutError):
            async with pacer.slot("operator", has_alternative=True):
                pass
        assert pacer.active_connections("operator") == 0
    clock.now += MAX_SPACING_S
    assert not pacer.is_backing_off("operator")
    async with asyncio.timeout(1), pacer.slot("operator", has_alternative=True):
        assert pacer.active_connections("operator") == 1
