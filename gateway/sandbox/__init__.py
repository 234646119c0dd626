"""The sandbox: answers test keys without a network, deterministically.

The service uses only `Sandbox`; the control API (`gateway.web.sandbox_control`) uses its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from adapters.contract.dialect import Dialect
from adapters.contract.filters import FILTER_SOURCE, Filters
from adapters.contract.jobs import Job, JobRows
from adapters.contract.operations import (
    FetchList,
    JobRunner,
    ReadRowsByToken,
    ShowJobByToken,
    Verify,
    VerifyMany,
)
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Address, Checks, Reason, Verification
from engine.turns import FairSlots
from engine.verification import unknown_verification
from gateway.accounts.account_state import NO_FILTERS, AccountState, apply_filters
from gateway.accounts.caller import Caller
from gateway.sandbox.account_state import SandboxFilters, SandboxUse
from gateway.sandbox.batch_table import BatchTable
from gateway.sandbox.clock import Clocks
from gateway.sandbox.faults import MAX_SLOW_REQUESTS, FaultInjector
from gateway.sandbox.fetching import fetch_nothing
from gateway.sandbox.jobs import SandboxJobs
from gateway.sandbox.key_jobs import jobs_of_key
from gateway.sandbox.keys import TestKeys
from gateway.sandbox.links import URL_OF_REQUEST
from gateway.sandbox.magic import MAGIC_DOMAIN, SLOW_LOCAL_PART
from gateway.sandbox.requests import RequestLog
from gateway.sandbox.samples import RANDOM_SEED, Samples
from gateway.sandbox.simulate import (
    PROBLEM_WORDS,
    SimulatedProblem,
    word_in_email,
    word_of_parameter,
)
from gateway.sandbox.webhooks import SandboxWebhooks
from gateway.tasks import SLICE_S, TimeSlices

__all__ = ["Sandbox"]


class Sandbox:
    """Answers for test keys.

    If `standalone`, the whole server is a sandbox: any client may control it, every request is
    logged, and `clock` is the clock of the whole server, which can be moved if it is an
    `AdjustableClock`.
    """

    def __init__(
        self,
        seed: str,
        keys: TestKeys,
        *,
        clock: Callable[[], float],
        url: str = "",
        standalone: bool = False,
        live_control: bool = False,
        fetch: FetchList = fetch_nothing,
        is_alone: bool = True,
        has_other_servers: Callable[[], bool] = lambda: False,
        batch_table: BatchTable | None = None,
    ) -> None:
        """`fetch` fetches the lists that clients name by a URL. `has_other_servers` says whether
        servers elsewhere have the same database now, and `batch_table` is where they find the
        batches; without it batches are in memory alone."""
        self.keys = keys
        self.seed = seed
        self.url = url
        """The server's URL, for links."""
        self.standalone = standalone
        self.live_control = live_control
        """Whether live keys may use the control API."""
        self.is_alone = is_alone
        """Whether no other process serves the same port: the others know nothing of what is in this
        one's memory."""
        self.has_other_servers = has_other_servers
        self.clocks = Clocks(clock)
        self.large_bodies = FairSlots(1, is_strict=True)
        """Requests of test keys with a body in a file: each may take much memory until its rows are
        stored, so that one at a time is read."""
        # beside live traffic it uses half of the processor at most
        slices = TimeSlices(rest_s=0.0 if standalone else SLICE_S)
        self.request_log = RequestLog(slices)
        self.use = SandboxUse(self.clocks)
        self.filters = SandboxFilters()
        self.state = AccountState(self.use, self.filters)
        self.faults = FaultInjector(
            self.clocks, max_slow_requests=None if standalone else MAX_SLOW_REQUESTS
        )
        self.webhooks = SandboxWebhooks(self.faults, self.clocks)
        self._samples = Samples(seed)
        # a server with live keys sends no webhooks for test keys, since those are public
        self.jobs = SandboxJobs(
            self._samples,
            self.clocks,
            slices,
            self.webhooks.schedule if standalone else None,
            fetch,
            batch_table,
        )
        self.clocks.add_listener(self.webhooks.wake)

    def should_log(self, caller: Caller | None) -> bool:
        """Whether to log a request: on a server with live keys only if it has a test key."""
        return self.standalone or (caller is not None and caller.test)

    def raise_if_simulated(self, email: str) -> None:
        """Raises `SimulatedProblem` if the address names a problem, `Problem` if the word for it is
        unknown."""
        word = word_in_email(email)
        if word in PROBLEM_WORDS:
            raise SimulatedProblem(word)

    def is_repeatable(self, caller: Caller | None) -> bool:
        """Whether the caller gets the same reply, to the byte, to the same question."""
        return (
            caller is not None
            and caller.test
            and not self.keys.dialect(caller.dialect).use_words
            and self.seed != RANDOM_SEED
            and not self.clocks.is_moved(caller.sandbox_scope)
        )

    def verify(self, dialect: Dialect, caller: Caller, op: Verify) -> Verification:
        """The sample for an address. Raises `Problem` and `SimulatedProblem`."""
        self.raise_if_simulated(op.email)
        filters = self._filters_of(dialect, caller)
        found = apply_filters(filters, self._draw(dialect, op.email, op.checks))
        address = found.address
        if not address.valid and op.refuse_malformed:
            raise Problem(ProblemKind.INVALID, detail=address.error or "", field="email")
        if dialect.choose_sample is not None and address.valid and found.source != FILTER_SOURCE:
            chosen = dialect.choose_sample(address)
            if isinstance(chosen, ProblemKind):
                raise Problem(chosen)
        if (
            op.wait_s is not None
            and address.ascii_domain == MAGIC_DOMAIN
            and address.user.lower() == SLOW_LOCAL_PART
        ):
            if not op.unknown_if_late:
                raise Problem(ProblemKind.NOT_READY)
            found = unknown_verification(
                address,
                op.checks,
                verified_at=found.verified_at,
                source=found.source,
                reason=Reason.TIMEOUT,
            )
        if self.clocks.is_moved(caller.sandbox_scope):
            now = datetime.fromtimestamp(self.clocks.now(caller.sandbox_scope), UTC)
            return replace(found, verified_at=now)
        return found

    def live_sample(
        self, dialect: Dialect, address: Address, checks: Checks, *, raise_problems: bool = False
    ) -> Verification | None:
        """The answer to a vendor's test address for a live key; None if it is to be verified.

        An address that names a problem is unknown; with `raise_problems` it raises the `Problem`.
        """
        if not dialect.samples_for_live_keys or dialect.choose_sample is None:
            return None
        chosen = dialect.choose_sample(address) if address.valid else None
        if chosen is None:
            return None
        if raise_problems and isinstance(chosen, ProblemKind):
            raise Problem(chosen)
        now = datetime.fromtimestamp(self.clocks.now(None), UTC)
        return replace(self._draw(dialect, address.raw, checks), verified_at=now)

    def _filters_of(self, dialect: Dialect, caller: Caller) -> Filters:
        if not dialect.has_filters:
            return NO_FILTERS
        return self.filters.get(caller.sandbox_scope, dialect.name)

    def _draw(self, dialect: Dialect, text: str, checks: Checks) -> Verification:
        return self._samples.draw(
            dialect.name,
            text,
            checks,
            choose_sample=dialect.choose_sample,
            default_sample=dialect.default_sample,
        )

    def verify_many(
        self, dialect: Dialect, caller: Caller, op: VerifyMany
    ) -> tuple[Verification, ...]:
        """The samples for several addresses. Raises `Problem` and `SimulatedProblem`."""
        return tuple(
            self.verify(dialect, caller, Verify(email=email, checks=op.checks))
            for email in op.emails
        )

    def jobs_of(self, dialect: Dialect, caller: Caller, simulate: str) -> JobRunner:
        """The caller's batches. The request's word for a simulation outranks the key's.

        Raises `SimulatedProblem`.
        """
        word = word_of_parameter(simulate) or caller.simulate
        filters = self._filters_of(dialect, caller)
        return jobs_of_key(
            self.jobs, dialect, caller.sandbox_scope, word, self._base_url(dialect), filters
        )

    async def rows_by_token(self, dialect: Dialect, op: ReadRowsByToken) -> JobRows | None:
        """The rows behind a link; None if the link is not of a test key's batch."""
        return await self.jobs.rows_by_token(dialect, op, self._base_url(dialect))

    async def job_by_token(self, dialect: Dialect, op: ShowJobByToken) -> Job | None:
        """Likewise the batch itself."""
        return await self.jobs.job_by_token(dialect, op, self._base_url(dialect))

    @property
    def link_url(self) -> str:
        """The server's URL for links in the reply to the present request."""
        return URL_OF_REQUEST.get() or self.url

    def _base_url(self, dialect: Dialect) -> str:
        return f"{self.link_url}/{dialect.name}"
