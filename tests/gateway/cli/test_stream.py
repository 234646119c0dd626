"""Results in the order of their addresses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.cli.stream import map_in_order
from gateway.cli.terminal import CommandError


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_outputs_keep_their_order_and_concurrency_is_bounded() -> None:
    running, most, shown = 0, 0, list[int]()
    eight = asyncio.Barrier(8)

    async def answer(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await eight.wait()
        for _ in range(number % 5):
            await asyncio.sleep(0)
        running -= 1
        return number

    await map_in_order(numbers(200), answer, shown.append, concurrency=8)
    assert shown == list(range(200))
    assert most == 8


@pytest.mark.parametrize("error", [BrokenPipeError, ZeroDivisionError])
async def test_an_exception_of_emit_cancels_the_rest(error: type[Exception]) -> None:
    ended = []
    all_three = asyncio.Barrier(3)

    async def answer(number: int) -> int:
        await all_three.wait()
        if number:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(number)
        return number

    def show(_: int) -> None:
        raise error

    with pytest.raises(error):
        await map_in_order(numbers(3), answer, show)
    assert sorted(ended) == [1, 2]


async def test_an_exception_of_the_inputs_comes_after_the_outputs() -> None:
    async def asked() -> AsyncIterator[int]:
        yield 1
        raise CommandError("no more")

    async def answer(number: int) -> int:
        return number

    shown: list[int] = []
    with pytest.raises(CommandError, match="no more"):
        await map_in_order(asked(), answer, shown.append)
    assert shown == [1]


async def test_a_lost_cancellation_is_repeated() -> None:
    async def answer(number: int) -> int:
        if number:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
        await started.wait()
        return number

    def show(_: int) -> None:
        raise BrokenPipeError

    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    with pytest.raises(BrokenPipeError):
        await map_in_order(numbers(2), answer, show)
