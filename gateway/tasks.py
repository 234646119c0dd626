"""Tasks beside the request: work in the background, and equal work done together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from gateway.errors import Unavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

MAX_WAITING = 50_000
"""Questions; beyond it a new one is refused."""


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while inside; on leaving it is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Grouped(Generic[Question, Answer]):
    """Gathers questions while the ones before are being answered.

    `run` gets up to `most` questions in the order asked and gives an answer, or an exception
    to raise, for each. What `run` itself raises, all of them raise. A question whose asker
    was cancelled before its flight is dropped.
    """

    def __init__(
        self,
        run: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]],
        *,
        most: int,
    ) -> None:
        self._run = run
        self._most = most
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._flights: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """Raises Unavailable if too many are waiting, and what `run` has for this question."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("the database: too much is waiting for it")
        return await self.put(question)

    def put(self, question: Question) -> asyncio.Future[Answer]:
        """Ask without waiting, and whatever else is waiting."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._flights is None:
            # A task of its own: the asker who starts it may be cancelled, the others not.
            self._flights = asyncio.create_task(self._fly())
        return future

    async def aclose(self) -> None:
        """Wait until nothing is waiting any more."""
        while self._flights is not None:
            await asyncio.wait([self._flights])

    async def _fly(self) -> None:
        try:
            while self._waiting:
                flight = self._take()
                if flight:
                    await self._answer(flight)
        finally:
            self._flights = None

    def _take(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        return [(question, future) for question, future in taken if not future.done()]

    async def _answer(self, flight: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._run([question for question, _ in flight])
        except Exception as exc:
            answers = [exc] * len(flight)
        for (_, future), answer in zip(flight, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
