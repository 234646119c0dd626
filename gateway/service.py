"""Runs operations: charges the account, looks in the verdict cache, asks the sources."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from adapters.contract.dialect import Dialect
from adapters.contract.filters import (
    FILTER_SOURCE,
    FilterList,
    Filters,
)
from adapters.contract.jobs import Job, JobRows
from adapters.contract.operations import (
    UNLIMITED,
    AccountInfo,
    CheckDisposable,
    GuessPerson,
    JobRunner,
    Operation,
    PersonGuess,
    ReadRowsByToken,
    ShowAccount,
    ShowJobByToken,
    Verify,
    VerifyMany,
)
from adapters.contract.problems import Problem, ProblemKind
from engine.address import lists, people, syntax
from engine.model import Address, Checks, Reason, Verification
from engine.turns import NO_PARTY, acting_for
from engine.verification import unknown_verification
from gateway.accounts.account_state import (
    NO_FILTERS,
    AccountState,
    CallerFilters,
    apply_filters,
    filtered_result,
)
from gateway.accounts.caller import (
    AccountService,
    AccountStatus,
    BegunCharge,
    Caller,
    Charge,
    InsufficientCredits,
)
from gateway.errors import NO_SOURCE, NoAnswer
from gateway.sandbox import Sandbox
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.free_repeats import FreeRepeats, LocalFreeRepeats


class Batches(Protocol):
    """The batches of all callers (`gateway.batches.jobs`)."""

    def jobs_of(self, dialect: Dialect, caller: Caller) -> JobRunner: ...

    async def rows_by_token(self, dialect: Dialect, op: ReadRowsByToken) -> JobRows: ...

    async def job_by_token(self, dialect: Dialect, op: ShowJobByToken) -> Job: ...


class Policy(Protocol):
    """Chooses the sources of a verification (`gateway.upstreams.routing.policy`)."""

    def cache_partition(self, account_id: int, key_label: str) -> str:
        """The part of the verdict cache that serves a key of an account."""
        ...

    async def verify(
        self, address: Address, checks: Checks, *, caller: Caller, refresh: bool = False
    ) -> Verification:
        """Ask the sources; with `refresh`, past their own caches. Raises NoAnswer."""
        ...


CONCURRENT_VERIFICATIONS = 20
"""Addresses of one `VerifyMany` that are verified at a time."""
SAMPLE_SOURCE = "sandbox"
"""The source of an answer to a vendor's test address."""
SEVERAL_SOURCES = "several"
"""The source of a `VerifyMany` whose results came from more than one."""

OPERATOR = Caller(
    account_id=0,
    key_id=0,
    dialect="",
    test=False,
    plan=UNLIMITED,
    status=AccountStatus.ACTIVE,
    owner_email="",
    key_label="",
    has_credits=False,
)
"""The operator of the server, who has no key."""

Out = TypeVar("Out")

WaitForTask = Callable[[asyncio.Task[Any], float], Awaitable[bool]]
"""Waits for a task, at most so many seconds, and returns whether it is done."""


@dataclass(frozen=True, slots=True)
class ServiceResult(Generic[Out]):
    """An outcome and where it came from."""

    outcome: Out
    source: str = "local"
    attempts: int = 0
    """Sources that were asked."""
    cache_status: str = "fwd=bypass"
    """RFC 9211, after the cache's name."""


async def wait_at_most(task: asyncio.Task[Any], wait_s: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=wait_s)
    return bool(done)


class Service:
    """The one place where operations become outcomes."""

    def __init__(
        self,
        accounts: AccountService,
        verdicts: VerdictCache,
        policy: Policy,
        sandbox: Sandbox,
        batches: Batches | None = None,
        *,
        clock: Callable[[], float],
        on_cache_lookup: Callable[[str], None] = lambda _: None,
        wait: WaitForTask = wait_at_most,
        state: AccountState | None = None,
        free_repeats: FreeRepeats | None = None,
    ) -> None:
        """`free_repeats` are those of this process if they are not given.

        `state` is that of accounts with live keys; None if there are none."""
        self.state = state or sandbox.state
        self._accounts = accounts
        self._verdicts = verdicts
        self.sandbox = sandbox
        self.batches = batches
        self._policy = policy
        self._on_cache_lookup = on_cache_lookup
        self._clock = clock
        self._wait = wait
        self._free_repeats = free_repeats or LocalFreeRepeats(clock)

    async def run(
        self, dialect: Dialect, caller: Caller | None, op: Operation[Out]
    ) -> ServiceResult[Out]:
        """The outcome of one operation. `caller` is None only if the endpoint needs no key.

        Raises `Problem`.
        """
        runner = _Runner(self, dialect, caller)
        with acting_for(NO_PARTY if caller is None else caller.account_id):
            outcome = await op.run_by(runner)
        return ServiceResult(outcome, runner.source, runner.attempts, runner.cache_status)

    async def verify(
        self, dialect: Dialect, caller: Caller, op: Verify
    ) -> ServiceResult[Verification]:
        """Verify one address for one credit, which is refunded if there is no result.

        It is refunded as well if the dialect says so of the result.
        """
        address = _parse_address(op)
        filters = await self._filters_of(dialect, caller)
        if filters.find_early(address) is None:
            sample = self.sandbox.live_sample(dialect, address, op.checks, raise_problems=True)
            if sample is not None:
                return ServiceResult(sample, sample.source)
        question = (caller.account_id, address.normalized, op.checks)
        # The others are answered within the request, whatever the answer is.
        may_be_late = (
            address.valid
            and op.wait_s is not None
            and not op.unknown_if_late
            and dialect.free_repeat_s > 0
        )
        charge = await self._free_repeats.get(question) if may_be_late else None
        # The sources are asked while the charge is written, if it will hardly be refused.
        begun = self._begin_charge(caller, charge)
        if not begun.is_covered:
            begun = BegunCharge(await self._settled(begun))
        try:
            result = await self._filter_or_verify(
                filters, caller, address, op.checks, refresh=op.refresh, wait_s=op.wait_s
            )
        except Exception as exc:
            charge = await self._settled(begun)
            is_late = isinstance(exc, Problem) and exc.kind is ProblemKind.NOT_READY
            if is_late and may_be_late:
                await self._free_repeats.remember(question, charge, dialect.free_repeat_s)
                raise
            if may_be_late:
                await self._free_repeats.forget(question)
            await self._accounts.refund(charge, 1)
            if isinstance(exc, NoAnswer) and exc.as_unknown:
                return self._unknown_result(address, op.checks, exc)
            if is_late and op.unknown_if_late:
                late = NoAnswer(ProblemKind.NOT_READY)
                return self._unknown_result(address, op.checks, late, Reason.TIMEOUT)
            raise
        charge = await self._settled(begun)
        # after an answer further repeats are free, too: its reply may have been lost on the way
        if dialect.refunds(result.outcome):
            if may_be_late:
                await self._free_repeats.forget(question)
            await self._accounts.refund(charge, 1)
        return result

    async def _filters_of(self, dialect: Dialect, caller: Caller) -> Filters:
        if not dialect.has_filters:
            return NO_FILTERS
        return await self.state.filters.find(caller.account_id, dialect.name)

    async def _filter_or_verify(
        self,
        filters: Filters,
        caller: Caller,
        address: Address,
        checks: Checks,
        *,
        refresh: bool = False,
        wait_s: float | None = None,
    ) -> ServiceResult[Verification]:
        """As `_get_or_verify`, for a caller with filters."""
        if (found := filters.find_early(address)) is not None:
            now = datetime.fromtimestamp(self._clock(), UTC)
            return ServiceResult(filtered_result(address, checks, found, now), FILTER_SOURCE)
        result = await self._get_or_verify(caller, address, checks, refresh=refresh, wait_s=wait_s)
        outcome = apply_filters(filters, result.outcome)
        if outcome is result.outcome:
            return result
        return replace(result, outcome=outcome, source=outcome.source)

    async def verify_for_operator(
        self, email: str, checks: Checks, *, refresh: bool
    ) -> ServiceResult[Verification]:
        """Verify an address for the operator of the server, by the default route, free of charge.

        Raises `Problem`.
        """
        with acting_for(NO_PARTY):
            return await self._get_or_verify(OPERATOR, _parse(email), checks, refresh=refresh)

    async def _get_or_verify(
        self,
        caller: Caller,
        address: Address,
        checks: Checks,
        *,
        refresh: bool = False,
        wait_s: float | None = None,
    ) -> ServiceResult[Verification]:
        """The cached verdict, or a new one within `wait_s`. Raises `Problem`."""
        partition = self._policy.cache_partition(caller.account_id, caller.key_label)
        verify = partial(self._policy.verify, address, checks, caller=caller, refresh=refresh)
        if not refresh and (hit := self._verdicts.get(address, checks, partition)):
            verification, ttl_s = hit
            self._on_cache_lookup("hit" if ttl_s >= 0 else "stale")
            if ttl_s < 0:
                # Verified anew behind this reply; if too much is in flight, behind a later one.
                with contextlib.suppress(Problem):
                    self._verdicts.verify(
                        address, checks, verify, partition=partition, refresh=True
                    )
            return ServiceResult(verification, verification.source, 0, f"hit; ttl={ttl_s}")
        task, is_shared = self._verdicts.verify(
            address, checks, verify, partition=partition, refresh=refresh
        )
        if wait_s is not None and not await self._wait(task, wait_s):
            raise Problem(ProblemKind.NOT_READY)
        # Shielded, since other clients may await the same task.
        verification = (await asyncio.shield(task)).for_address(address)
        if verification.cached:
            self._on_cache_lookup("stored")
            return ServiceResult(verification, verification.source, 0, "hit; detail=stored")
        self._on_cache_lookup("refresh" if refresh else "miss")
        status = "fwd=request" if refresh else "fwd=miss"
        if address.valid:
            status += "; stored"
        if is_shared:
            status += "; collapsed"
        asked = sum(attempt.asked for attempt in verification.attempts)
        return ServiceResult(verification, verification.source, asked, status)

    async def verify_many(
        self, dialect: Dialect, caller: Caller, op: VerifyMany
    ) -> tuple[ServiceResult[Verification], ...]:
        """The results in the order of the addresses.

        All addresses are charged first; those without a result are refunded, and those that the
        dialect refunds or answers as test addresses. If no source answered for any of them, that is
        raised as for a single address.
        """
        filters = await self._filters_of(dialect, caller)
        charge = await self._charge(caller, len(op.emails))
        slots = asyncio.Semaphore(CONCURRENT_VERIFICATIONS)

        async def verify(address: Address) -> ServiceResult[Verification]:
            if filters.find_early(address) is None:
                sample = self.sandbox.live_sample(dialect, address, op.checks)
                if sample is not None:
                    return ServiceResult(sample, sample.source)
            async with slots:
                return await self._filter_or_verify(filters, caller, address, op.checks)

        addresses = [_parse(email) for email in op.emails]
        tasks = [asyncio.create_task(verify(address)) for address in addresses]
        try:
            await asyncio.wait(tasks, timeout=op.wait_s)
            results = tuple(
                self._result_or_unknown(task, address, op.checks)
                for address, task in zip(addresses, tasks, strict=True)
            )
            if all(result.source == NO_SOURCE for result in results) and tasks[0].done():
                first = tasks[0].exception()
                if isinstance(first, NoAnswer) and not first.as_unknown:
                    raise first
        except BaseException:
            await self._accounts.refund(charge, len(op.emails))
            raise
        finally:
            # The verifications that they await go on, and are cached.
            for task in tasks:
                task.cancel()
        free = sum(
            r.source in (NO_SOURCE, SAMPLE_SOURCE) or dialect.refunds(r.outcome) for r in results
        )
        await self._accounts.refund(charge, free)
        return results

    def _result_or_unknown(
        self, task: asyncio.Task[ServiceResult[Verification]], address: Address, checks: Checks
    ) -> ServiceResult[Verification]:
        """The task's result; unknown if it is late or no source answered.

        Raises any other exception of the task.
        """
        if not task.done():
            late = NoAnswer(ProblemKind.NOT_READY)
            return self._unknown_result(address, checks, late, Reason.TIMEOUT)
        exc = task.exception()
        if isinstance(exc, NoAnswer):
            return self._unknown_result(address, checks, exc)
        return task.result()

    def _unknown_result(
        self,
        address: Address,
        checks: Checks,
        none: NoAnswer,
        reason: Reason = Reason.UNEXPECTED_ERROR,
    ) -> ServiceResult[Verification]:
        """An unknown verdict in place of the error."""
        unknown = unknown_verification(
            address,
            checks,
            verified_at=datetime.fromtimestamp(self._clock(), UTC),
            source=NO_SOURCE,
            reason=reason,
            attempts=none.attempts,
        )
        return ServiceResult(unknown, NO_SOURCE, none.sources_asked, "fwd=miss")

    def _begin_charge(self, caller: Caller, charged: Charge | None) -> BegunCharge:
        """A charge for one verification, unless it is charged already."""
        if charged is not None:
            return BegunCharge(charged)
        return self._accounts.begin_charge(caller, 1)

    async def _charge(self, caller: Caller, units: int) -> Charge:
        return await self._settled(self._accounts.begin_charge(caller, units))

    async def _settled(self, begun: BegunCharge) -> Charge:
        """The charge, once it is on disk. Raises `Problem`."""
        try:
            return await begun.settled()
        except InsufficientCredits as spent:
            raise Problem(ProblemKind.NO_CREDITS, used=spent.used, limit=spent.limit) from spent

    async def show_credits(self, dialect: Dialect, caller: Caller) -> AccountInfo:
        """The account with its credits; of one without a limit nothing is read, nor its use."""
        if caller.metered:
            return await self.show_account(dialect, caller)
        return AccountInfo(
            caller.owner_email, caller.plan, "", 0, None, is_test=caller.test, at=self._now()
        )

    async def show_account(self, dialect: Dialect, caller: Caller) -> AccountInfo:
        """The caller's account; a test key without a plan shows the vendor's `sandbox_plan`."""
        usage = await self._accounts.usage(caller)
        is_unlimited_test = caller.test and caller.plan is UNLIMITED
        return AccountInfo(
            owner_email=caller.owner_email,
            plan=dialect.sandbox_plan if is_unlimited_test else caller.plan,
            month=usage.month,
            used=usage.used,
            credits=usage.credits_left,
            is_test=caller.test,
            at=self._now(),
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


class _Runner:
    """Runs one operation of one caller, and notes where its outcome came from."""

    def __init__(self, service: Service, dialect: Dialect, caller: Caller | None) -> None:
        self._service = service
        self._dialect = dialect
        self._caller = caller
        self.source = "sandbox" if caller is not None and caller.test else "local"
        self.attempts = 0
        self.cache_status = "fwd=bypass"

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            raise TypeError("An operation that needs a caller came without one.")
        return self._caller

    async def verify(self, op: Verify) -> Verification:
        outcome = await self._verify(op)
        if op.is_counted:
            self._count_use((outcome,))
        return outcome

    async def _verify(self, op: Verify) -> Verification:
        caller = self.caller
        if caller.test:
            return self._service.sandbox.verify(self._dialect, caller, op)
        result = await self._service.verify(self._dialect, caller, op)
        self.source, self.attempts = result.source, result.attempts
        self.cache_status = result.cache_status
        return result.outcome

    async def verify_many(self, op: VerifyMany) -> tuple[Verification, ...]:
        outcomes = await self._verify_many(op)
        self._count_use(outcomes)
        return outcomes

    async def _verify_many(self, op: VerifyMany) -> tuple[Verification, ...]:
        if self.caller.test:
            return self._service.sandbox.verify_many(self._dialect, self.caller, op)
        results = await self._service.verify_many(self._dialect, self.caller, op)
        sources = {result.source for result in results}
        statuses = {result.cache_status for result in results}
        self.source = sources.pop() if len(sources) == 1 else SEVERAL_SOURCES
        self.attempts = sum(result.attempts for result in results)
        self.cache_status = statuses.pop() if len(statuses) == 1 else "fwd=miss"
        return tuple(result.outcome for result in results)

    def _count_use(self, outcomes: Sequence[Verification]) -> None:
        use_words = self._dialect.use_words
        if use_words is not None:
            state, account_id = self._state
            words = chain.from_iterable(map(use_words, outcomes))
            state.use.count(account_id, self._dialect.name, words)

    @property
    def _state(self) -> tuple[AccountState, int]:
        """The state of accounts, and the number of the caller's in it."""
        caller = self.caller
        if caller.test:
            return self._service.sandbox.state, caller.sandbox_scope
        return self._service.state, caller.account_id

    async def show_use(self, first: date, last: date) -> Mapping[str, int]:
        state, account_id = self._state
        return await state.use.between(account_id, self._dialect.name, first, last)

    def filters(self) -> FilterList:
        state, account_id = self._state
        return CallerFilters(state.filters, account_id, self._dialect.name)

    async def guess_person(self, op: GuessPerson) -> PersonGuess:
        if self.caller.test:
            self._service.sandbox.raise_if_simulated(op.email)
        address = syntax.parse_address(op.email)
        return PersonGuess(address.local, people.guess_person(address.local))

    async def check_disposable(self, op: CheckDisposable) -> bool:
        text = op.text.strip()
        return lists.is_disposable(_parse(text if "@" in text else f"anyone@{text}"))

    async def show_account(self, op: ShowAccount) -> AccountInfo:
        return await self._service.show_account(self._dialect, self.caller)

    def jobs(self, simulate: str) -> JobRunner:
        if self.caller.test:
            return self._service.sandbox.jobs_of(self._dialect, self.caller, simulate)
        if self._service.batches is None:
            raise TypeError("A live key came to a server without batches.")
        return self._service.batches.jobs_of(self._dialect, self.caller)

    async def show_job_by_token(self, op: ShowJobByToken) -> Job:
        job = await self._service.sandbox.job_by_token(self._dialect, op)
        if job is not None:
            self.source = "sandbox"
            return job
        if self._service.batches is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return await self._service.batches.job_by_token(self._dialect, op)

    async def read_rows_by_token(self, op: ReadRowsByToken) -> JobRows:
        rows = await self._service.sandbox.rows_by_token(self._dialect, op)
        if rows is not None:
            self.source = "sandbox"
            return rows
        if self._service.batches is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return await self._service.batches.rows_by_token(self._dialect, op)


_parse_cached = lru_cache(1024)(syntax.parse_address)
"""The same addresses are often asked about."""


def _parse(email: str) -> Address:
    is_long = len(email) > syntax.MAX_PARSED_CHARACTERS  # and thus no address
    return syntax.parse_address(email) if is_long else _parse_cached(email)


def _parse_address(op: Verify) -> Address:
    address = _parse(op.email)
    if op.refuse_malformed and not address.valid:
        raise Problem(ProblemKind.INVALID, detail=address.error or "", field="email")
    return address
