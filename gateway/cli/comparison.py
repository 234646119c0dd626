"""One comparison from the command line: its list, its sources, and what is written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.kit.list_file import AddressList
from adapters.registry import DIALECTS
from engine.address.syntax import parse_address
from engine.model import Address, Checks, Verification
from engine.probe import ProbeEngine
from gateway.app import open_engine
from gateway.cli.compare_tables import print_report
from gateway.cli.database import open_database
from gateway.cli.grouping import GroupingVerifier
from gateway.cli.lists import print_remarks
from gateway.cli.output_file import OutputFile
from gateway.cli.progress import ProgressDisplay
from gateway.cli.terminal import EXIT_USAGE, CommandError, print_error
from gateway.comparing.compared import ComparedSource
from gateway.comparing.page import report_page
from gateway.comparing.questions import (
    AmbiguousTruth,
    Question,
    UnknownTruth,
    merge_truths,
    read_truth,
    sample_by_provider,
)
from gateway.comparing.report import Report, make_report
from gateway.comparing.rows import csv_rows, differing_addresses, report_json
from gateway.comparing.runner import RESUMABLE_S, ComparisonRunner, Plan
from gateway.outcomes.answers import SourceAnswers, open_answers
from gateway.outcomes.opening import DAY_S
from gateway.outcomes.recorder import provider_name
from gateway.settings import LOCAL_SOURCE, Settings
from gateway.settings.sources import CONCLUSIVE_VERDICTS
from gateway.store import Store, StoreError
from gateway.upstreams.opening import open_upstreams, spending_caps
from gateway.upstreams.routing.budgets import UNCAPPED, Budgets, source_scope, to_micros
from gateway.upstreams.source.local import LocalSource
from gateway.upstreams.source.source import Source

LOCAL_WAIT_S = 3_600.0
"""The engine has its own deadlines; in a list an address waits for its turn."""
LOCAL_CONCURRENCY = 1_000
LOOKUPS_AT_ONCE = 100
SHOWN_DIGEST_DIGITS = 16
"""Of an address that is not shown."""


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The command's arguments."""

    file: str
    output: OutputFile
    names: tuple[str, ...]
    sample: int | None
    budget: float | None
    truth: str | None
    bounce_rate: float
    fresh: bool
    show_addresses: bool
    seed: int
    addresses: AddressList


@dataclass(frozen=True, slots=True)
class _Room:
    """What a comparison works with."""

    store: Store
    answers: SourceAnswers
    engine: ProbeEngine
    sources: tuple[Source, ...]
    budgets: Budgets


async def run_comparison(settings: Settings, request: ComparisonRequest) -> None:

    # what the sources did is in the report; events would tear the line of the progress
    logging.getLogger().addHandler(logging.NullHandler())
    questions, remarks = _read_questions(request)
    print_remarks(request.file, request.addresses.remarks)
    if not questions:
        raise CommandError(f"{request.file}: no addresses in it", EXIT_USAGE)
    try:
        async with _open_room(settings, request, Checks()) as room:
            await _remove_old_answers(settings, room.answers)
            digest = await asyncio.to_thread(_digest, room.answers, request, questions)
            questions = await _with_providers(room.engine, questions)
            questions = _sampled(request, questions, room.sources, remarks)
            compared, spent = await _ask(
                _plan(settings, room, request, questions, digest), settings, room
            )
            report = make_report(
                questions,
                compared,
                spent_micros=spent,
                wished_bounce_rate=request.bounce_rate,
                remarks=remarks,
            )
            _write(request, report, questions, compared, room.answers)
    except StoreError as exc:
        raise CommandError(str(exc)) from exc


def _read_questions(request: ComparisonRequest) -> tuple[list[Question], list[str]]:
    """The addresses, each once, with what became of them; and what is to be said of the list."""
    truth_at = _truth_column(request)
    truths: defaultdict[Address, list[bool | None]] = defaultdict(list)
    malformed = rows = 0
    for row, entry in enumerate(request.addresses.entries, start=1):
        if not entry.email:
            continue
        rows += 1
        address = parse_address(entry.email)
        if not address.valid:
            malformed += 1  # every source would say the same, and some take money for it
            continue
        cell = entry.cells[truth_at] if truth_at is not None else ""
        try:
            truths[address].append(read_truth(cell, request.truth or ""))
        except AmbiguousTruth as exc:
            raise CommandError(
                f"{request.file}: row {row}: does {cell!r} in column {request.truth!r} mean that"
                " the mail bounced? 1 means delivered here; write delivered and bounced, or name"
                " the column delivered",
                EXIT_USAGE,
            ) from exc
        except UnknownTruth as exc:
            raise CommandError(
                f"{request.file}: row {row}: column {request.truth!r} says {cell!r}; known are"
                " delivered and bounced (or 1 and 0), and nothing where it is not known",
                EXIT_USAGE,
            ) from exc
    remarks = []
    if malformed:
        remarks.append(f"{malformed:,} malformed addresses are left out")
    if repeated := rows - malformed - len(truths):
        remarks.append(f"{repeated:,} rows repeat an address, which is asked about once")
    questions = [Question(address, merge_truths(said)) for address, said in truths.items()]
    return questions, remarks


def _truth_column(request: ComparisonRequest) -> int | None:
    if request.truth is None:
        return None
    headers = request.addresses.headers
    for at, title in enumerate(headers):
        if title.strip().lower() == request.truth.strip().lower():
            return at
    titles = ", ".join(map(repr, headers)) or "it has addresses alone"
    raise CommandError(
        f"--truth: {request.file} has no column {request.truth!r}; its columns: {titles}",
        EXIT_USAGE,
    )


@contextlib.asynccontextmanager
async def _open_room(
    settings: Settings, request: ComparisonRequest, checks: Checks
) -> AsyncIterator[_Room]:

    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store = await enter(open_database(settings, must_exist=False))
        engine = await enter(open_engine(settings))
        grouping = await enter(GroupingVerifier(engine, checks, None))
        upstreams = await enter(
            open_upstreams(
                settings,
                DIALECTS,
                clock=time.time,
                monotonic=time.monotonic,
                rng=random.SystemRandom(),
            )
        )
        by_name: dict[str, Source] = {source.name: source for source in upstreams}
        by_name[LOCAL_SOURCE] = LocalSource(
            _ListVerifier(grouping),
            timeout_s=LOCAL_WAIT_S,
            final=frozenset(CONCLUSIVE_VERDICTS),
            is_only_source=False,
        )
        yield _Room(
            store=store,
            answers=await open_answers(store),
            engine=engine,
            sources=tuple(by_name[name] for name in request.names),
            budgets=Budgets(store, clock=time.time),
        )


@dataclass(frozen=True, slots=True)
class _ListVerifier:
    """The engine, at the speed of lists."""

    grouping: GroupingVerifier

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return await self.grouping.verify(address)


async def _with_providers(engine: ProbeEngine, questions: Sequence[Question]) -> list[Question]:
    """The same questions with the operators of their mail hosts, which DNS tells for nothing."""
    checks = Checks(smtp=False, catch_all=False)
    first = {question.address.ascii_domain: question.address for question in questions}
    slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)
    done = itertools.count(1)
    async with ProgressDisplay(sys.stderr, total=len(first)) as progress:

        async def provider(address: Address) -> str:
            async with slots:
                name = provider_name(await engine.verify(address, checks))
            progress.update(next(done), "mail hosts looked up")
            return name

        found = await asyncio.gather(*map(provider, first.values()))
    by_domain = dict(zip(first, found, strict=True))
    return [
        replace(question, provider=by_domain[question.address.ascii_domain])
        for question in questions
    ]


def _sampled(
    request: ComparisonRequest,
    questions: list[Question],
    sources: Sequence[Source],
    remarks: list[str],
) -> list[Question]:
    """As many questions as are wanted, and as the budget lets all sources be asked about."""
    size = min(request.sample or len(questions), len(questions))
    price = sum(source.price for source in sources)
    if request.budget is not None and price:
        affordable = to_micros(request.budget) // price
        if affordable < size:
            size = affordable
            remarks.append(f"the budget suffices for {size:,} addresses of {len(questions):,}")
    if not size:
        raise CommandError("--budget: it does not suffice for one address", EXIT_USAGE)
    if size < len(questions):
        remarks.append(f"a sample of {size:,} from {len(questions):,} addresses, by provider")
    return sample_by_provider(questions, size, random.Random(request.seed))  # noqa: S311


async def _remove_old_answers(settings: Settings, answers: SourceAnswers) -> None:
    """Remove answers that nothing will use: no server may run that would."""
    ttl_s = max(settings.cache.ttl_s.by_verdict().values())
    keep_s = max(settings.outcomes.keep_days * DAY_S, ttl_s, RESUMABLE_S)
    await answers.remove_older(time.time() - keep_s)


async def _ask(plan: Plan, settings: Settings, room: _Room) -> tuple[list[ComparedSource], int]:
    """Ask all sources; returns their answers, and what they cost now, in millionths."""
    runner = ComparisonRunner(
        room.store,
        room.answers,
        room.budgets,
        ttl_s=settings.cache.ttl_s.by_verdict(),
        clock=time.time,
        rng=random.SystemRandom(),
    )
    if await runner.began_at(plan.digest) is not None:
        print_error("resuming the run that was interrupted")
    total = len(plan.questions) * len(plan.sources)
    try:
        async with ProgressDisplay(sys.stderr, total=total) as progress:
            runs = await runner.run(plan, progress.update)
    except asyncio.CancelledError:
        print_error("stopped; the same command goes on from here, and pays for no answer twice")
        raise
    compared = [
        ComparedSource(
            name=run.source.name,
            answers=run.answers,
            faults=run.faults,
            kept=run.kept,
            price=run.source.price,
            free_verdicts=run.source.free_verdicts,
            stopped_by=run.stopped_by,
        )
        for run in runs
    ]
    return compared, sum(run.spent_micros for run in runs)


def _digest(
    answers: SourceAnswers, request: ComparisonRequest, questions: Sequence[Question]
) -> bytes:
    """Of the command: what it asks, not the sample, which depends on what DNS says today."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(answers.digest(question.address))
    command = (request.names, request.fresh, request.sample, request.budget, request.seed)
    digest.update(repr(command).encode())
    return digest.digest()


def _plan(
    settings: Settings,
    room: _Room,
    request: ComparisonRequest,
    questions: Sequence[Question],
    digest: bytes,
) -> Plan:
    caps = spending_caps(settings)
    return Plan(
        digest=digest,
        questions=questions,
        sources=room.sources,
        concurrency={
            LOCAL_SOURCE: LOCAL_CONCURRENCY,
            **{upstream.name: upstream.connections for upstream in settings.upstreams},
        },
        fresh=request.fresh,
        budget_micros=None if request.budget is None else to_micros(request.budget),
        scopes={name: source_scope(name, caps.get(name, UNCAPPED)) for name in request.names},
    )


def _write(
    request: ComparisonRequest,
    report: Report,
    questions: Sequence[Question],
    compared: Sequence[ComparedSource],
    answers: SourceAnswers,
) -> None:

    def show(address: Address) -> str:
        if request.show_addresses:
            return address.raw
        return answers.digest(address).hex()[:SHOWN_DIGEST_DIGITS]

    if request.output.is_stdout:
        print_report(report)
        return
    with request.output.open() as file:
        match Path(request.output.name).suffix.lower():
            case ".csv":
                file.writelines(csv_rows(questions, compared, show))
            case ".json":
                file.write(report_json(report, differing_addresses(questions, compared, show)))
            case _:
                file.write(report_page(report, differing_addresses(questions, compared, show)))
    print_error(f"{report.addresses:,} addresses compared  → {request.output.name}")
