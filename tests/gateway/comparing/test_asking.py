"""One source of a comparison that fails, with a clock of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery
from engine.address.syntax import parse_address
from engine.model import Checks, Verdict
from gateway.comparing.asking import (
    GIVE_UP_S,
    MAX_PAUSE_S,
    NEVER_ANSWERED_S,
    Purse,
    SourceAsker,
    SourceRun,
)
from gateway.comparing.questions import Question
from gateway.store import open_store
from gateway.upstreams.routing.budgets import Budgets, source_scope
from gateway.upstreams.source.local import LocalSource
from gateway.upstreams.source.source import SourceResult
from tests.gateway.upstreams.conftest import Local

QUESTIONS = [Question(parse_address(f"user{n}@example.com")) for n in range(500)]
UNREACHABLE = Fault(FaultKind.UNREACHABLE)


class Scripted(LocalSource):
    """Answers as it is told, then always with the last word; None is an answer."""

    def __init__(self, results: Iterable[Fault | None], last: Fault | None = None) -> None:
        local = Local(Verdict.DELIVERABLE)
        super().__init__(local, timeout_s=5.0, final=frozenset(), is_only_source=False)
        self._results: Iterator[Fault | None] = iter(results)
        self._last = last
        self.times = 0

    async def try_verify(
        self, question: UpstreamQuery, *, queue_s: float = 0.0, is_last_resort: bool = False
    ) -> SourceResult:
        self.times += 1
        fault = next(self._results, self._last)
        return await super().try_verify(question) if fault is None else fault


class Clock:
    """Time passes when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            await asyncio.sleep(0)
            self.now += 0.01


async def ask(source: Scripted, concurrency: int = 10) -> tuple[SourceRun, float]:
    """All questions; returns how it went, and how long it took in seconds."""
    clock = Clock()
    run = SourceRun(source)
    async with open_store("sqlite:///:memory:") as store:
        budgets = Budgets(store, clock=lambda: 0.0)
        scope = source_scope(source.name)
        asker = SourceAsker(
            run,
            Checks(),
            Purse(budgets, scope, budgets, {source.name: scope}),
            lambda number, answer: None,
            fresh=False,
            clock=lambda: 0.0,
            monotonic=lambda: clock.now,
            rng=random.Random(1),
            sleep=clock.sleep,
        )
        await asker.ask_all(QUESTIONS, concurrency)
    return run, clock.now


async def test_a_source_that_never_answers_is_given_up() -> None:
    run, took_s = await ask(Scripted((), UNREACHABLE))
    assert run.stopped_by == "unreachable"
    assert len(run.faults) == len(QUESTIONS)
    assert set(run.faults.values()) == {"unreachable", "not_asked"}
    assert NEVER_ANSWERED_S <= took_s < NEVER_ANSWERED_S + 30


async def test_one_that_dies_later_is_waited_for_longer() -> None:
    run, took_s = await ask(Scripted([None] * 20, UNREACHABLE))
    assert run.stopped_by == "unreachable"
    assert len(run.answers) == 20
    assert GIVE_UP_S <= took_s < GIVE_UP_S + 30


async def test_an_outage_that_ends_costs_no_answer() -> None:
    source = Scripted([*[None] * 20, *[UNREACHABLE] * 15])
    run, _ = await ask(source, concurrency=5)
    assert not run.stopped_by
    assert len(run.answers) == len(QUESTIONS)
    assert source.times == len(QUESTIONS) + 15


async def test_faults_of_single_addresses_do_not_end_a_source() -> None:
    run, _ = await ask(Scripted((), Fault(FaultKind.REFUSED)))
    assert not run.stopped_by
    assert set(run.faults.values()) == {"refused"}


async def test_a_pause_of_a_day_is_not_waited_for() -> None:
    long = Fault(FaultKind.TOO_FAST, retry_after_s=86_400.0)
    run, took_s = await ask(Scripted([None, long]))
    assert list(run.faults.values()) == ["too_fast"]
    assert took_s < MAX_PAUSE_S
