"""Runs operations: who asks, what it costs, where the answer comes from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import JobRows
from adapters.contract.operations import (
    AccountInfo,
    CheckHealth,
    GuessPerson,
    JobOperation,
    Operation,
    PersonGuess,
    ReadRows,
    ShowAccount,
    ShowPlans,
    Verify,
)
from adapters.contract.problems import Problem, ProblemKind
from engine.address import people, syntax
from engine.model import Address
from gateway.accounts.caller import AccountService, Caller, Charge, InsufficientCredits
from gateway.errors import NO_SOURCE, NoAnswer
from gateway.sandbox import Sandbox
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.free_repeats import FreeRepeats
from gateway.verdicts.verifier import Verifier

FREE_REPEAT_S = 300
"""For how long a question that was answered with `NOT_READY` may be asked again for nothing
(Emailable: 5 minutes)."""


class Batches(Protocol):
    """Runs operations on batches (`gateway.batches.jobs`)."""

    async def run(self, dialect: Dialect, caller: Caller, op: JobOperation) -> Any: ...

    async def rows_by_token(self, dialect: Dialect, op: ReadRows) -> JobRows: ...


class Asking(Verifier, Protocol):
    """A verifier for one caller's question."""

    @property
    def route_name(self) -> str:
        """Whose cached verdicts may serve it."""
        ...


class Policy(Protocol):
    """Chooses the sources of an answer (`gateway.upstreams.routing.policy`)."""

    def asking(self, caller: Caller | None, refresh: bool) -> Asking: ...


WaitForTask = Callable[[asyncio.Task[Any], float], Awaitable[bool]]
"""Waits for a task, at most so many seconds; whether it is done."""


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """An outcome and where it came from."""

    outcome: Any
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
        sandbox: Sandbox,
        batches: Batches | None = None,
        *,
        clock: Callable[[], float],
        policy: Policy | None = None,
        on_cache_lookup: Callable[[str], None] = lambda _: None,
        wait: WaitForTask = wait_at_most,
    ) -> None:
        self._accounts = accounts
        self._verdicts = verdicts
        self._sandbox = sandbox
        self._batches = batches
        self._policy = policy
        self._on_cache_lookup = on_cache_lookup
        self._clock = clock
        self._wait = wait
        self._free_repeats = FreeRepeats(FREE_REPEAT_S, clock)

    async def run(self, dialect: Dialect, caller: Caller | None, op: Operation) -> ServiceResult:
        """Answer one operation. `caller` is None only where the endpoint needs no key.

        Raises `Problem`.
        """
        match op, caller:
            case CheckHealth(), _:
                return ServiceResult(None)
            case ShowPlans(), _:
                return ServiceResult(dialect.plans)
            case Verify(), Caller(test=True):
                return ServiceResult(self._sandbox.verify(dialect, caller, op), source="sandbox")
            case JobOperation(), Caller(test=True):
                outcome = await self._sandbox.run_job(dialect, caller, op)
                return ServiceResult(outcome, source="sandbox")
            case ReadRows(), None:
                rows = await self._sandbox.rows_by_token(dialect, op)
                if rows is not None:
                    return ServiceResult(rows, source="sandbox")
                if self._batches is None:
                    raise Problem(ProblemKind.JOB_UNKNOWN)
                return ServiceResult(await self._batches.rows_by_token(dialect, op))
            case JobOperation(), Caller() if self._batches is not None:
                return ServiceResult(await self._batches.run(dialect, caller, op))
            case Verify(), Caller():
                return await self._verify(caller, op)
            case GuessPerson(), Caller():
                if caller.test:
                    self._sandbox.raise_if_simulated(op.email)
                address = syntax.parse_address(op.email)
                guess = PersonGuess(address.local, people.guess_person(address.local))
                return ServiceResult(guess, source="sandbox" if caller.test else "local")
            case ShowAccount(), Caller():
                return ServiceResult(
                    await self._show_account(caller), source="sandbox" if caller.test else "local"
                )
        raise TypeError(f"No way to run {type(op).__name__} for {caller!r}.")

    async def _verify(self, caller: Caller, op: Verify) -> ServiceResult:
        address = _parse_address(op)
        question = (caller.account_id, address.normalized, op.checks)
        charge = self._free_repeats.get(question) or await self._charge(caller)
        try:
            answer = await self._get_or_verify(caller, address, op)
        except NoAnswer as none:
            self._free_repeats.forget(question)
            await self._accounts.refund(charge, 1)
            if not none.as_unknown:
                raise
            return ServiceResult(
                none.to_unknown_verification(self._clock()),
                NO_SOURCE,
                none.sources_asked,
                "fwd=miss",
            )
        except Exception as exc:
            if isinstance(exc, Problem) and exc.kind is ProblemKind.NOT_READY:
                # five minutes from the first time, however often it is asked again
                self._free_repeats.remember(question, charge)
            else:
                self._free_repeats.forget(question)
                await self._accounts.refund(charge, 1)
            raise
        self._free_repeats.forget(question)
        return answer

    async def _get_or_verify(self, caller: Caller, address: Address, op: Verify) -> ServiceResult:
        asking = None if self._policy is None else self._policy.asking(caller, op.refresh)
        shares = "" if asking is None else asking.route_name
        if not op.refresh and (hit := self._verdicts.get(address, op.checks, shares)):
            verification, ttl_s = hit
            self._on_cache_lookup("hit" if ttl_s >= 0 else "stale")
            if ttl_s < 0:
                # renewed behind this answer; if too much is going on, with the next one
                with contextlib.suppress(Problem):
                    self._verdicts.verify(
                        address, op.checks, asking, route_name=shares, refresh=True
                    )
            return ServiceResult(verification, verification.source, 0, f"hit; ttl={ttl_s}")
        shared = self._verdicts.is_verifying(address, op.checks, shares, refresh=op.refresh)
        task = self._verdicts.verify(
            address, op.checks, asking, route_name=shares, refresh=op.refresh
        )
        if op.wait_s is not None and not await self._wait(task, op.wait_s):
            raise Problem(ProblemKind.NOT_READY)
        # shielded: others may be waiting for the same answer
        verification = await asyncio.shield(task)
        self._on_cache_lookup(
            "stored" if verification.cached else "refresh" if op.refresh else "miss"
        )
        if verification.cached:
            verification = replace(verification, address=address)
            return ServiceResult(verification, verification.source, 0, "hit; detail=stored")
        status = "fwd=request; stored" if op.refresh else "fwd=miss; stored"
        if shared:
            status += "; collapsed"
            verification = replace(verification, address=address)
        asked = sum(attempt.asked for attempt in verification.attempts)
        return ServiceResult(verification, verification.source, asked, status)

    async def _charge(self, caller: Caller) -> Charge:
        try:
            return await self._accounts.charge(caller, 1)
        except InsufficientCredits as spent:
            raise Problem(ProblemKind.NO_CREDITS, used=spent.used, limit=spent.limit) from spent

    async def _show_account(self, caller: Caller) -> AccountInfo:
        usage = await self._accounts.usage(caller)
        return AccountInfo(
            owner_email=caller.owner_email,
            plan=caller.plan,
            month=usage.month,
            used=usage.used,
            credits=usage.credits_left,
        )


_parse_cached = lru_cache(1024)(syntax.parse_address)
"""Pure, and the same addresses are often asked about."""


def _parse_address(op: Verify) -> Address:
    # what is longer is no address, and not worth remembering
    parse = _parse_cached if len(op.email) <= syntax.MAX_PARSED_CHARACTERS else syntax.parse_address
    address = parse(op.email)
    if op.refuse_malformed and not address.valid:
        raise Problem(ProblemKind.INVALID, detail=address.error or "", field="email")
    return address
