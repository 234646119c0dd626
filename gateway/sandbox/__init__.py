"""The sandbox: what test keys are answered with, off-line and the same every time.

`Sandbox` is all that the gateway sees of it; the control API (`gateway.web.sandbox_control`) sees
the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import JobOperation, JobRows, ReadRows
from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Verification
from gateway.accounts.caller import Caller
from gateway.sandbox.clock import Clocks
from gateway.sandbox.faults import Faults
from gateway.sandbox.jobs import SandboxJobs
from gateway.sandbox.keys import TestKeys
from gateway.sandbox.magic import MAGIC_DOMAIN, SLOW
from gateway.sandbox.requests import RequestLog
from gateway.sandbox.samples import RANDOM_SEED, Samples
from gateway.sandbox.simulate import PROBLEM_WORDS, Simulated, word_of_email
from gateway.sandbox.webhooks import Webhooks

__all__ = ["Sandbox"]


class Sandbox:
    """Answers for test keys.

    `alone` says that the whole server is a sandbox: everybody may control it, every request is
    logged, and `clock` is the whole server's, and can be moved if it is an `AdjustableClock`.
    """

    def __init__(
        self,
        seed: str,
        keys: TestKeys,
        *,
        clock: Callable[[], float],
        url: str = "",
        alone: bool = False,
    ) -> None:
        self.keys = keys
        self.seed = seed
        self.url = url
        """Of the server, for links."""
        self.alone = alone
        self.clocks = Clocks(clock)
        self.log = RequestLog()
        self.faults = Faults(self.clocks)
        self.webhooks = Webhooks(self.faults, self.clocks)
        self._samples = Samples(seed)
        # beside live keys nothing is sent for test keys, since anybody may have those
        self.jobs = SandboxJobs(self._samples, self.clocks, self.webhooks.expect if alone else None)
        self.clocks.watch(self.webhooks.wake)

    def logs(self, caller: Caller | None) -> bool:
        """Whether a request belongs into the log: on a server with live keys, a test key's."""
        return self.alone or (caller is not None and caller.test)

    def heed(self, email: str) -> None:
        """Do what an address asks for. Raises `Simulated`."""
        word = word_of_email(email)
        if word in PROBLEM_WORDS:
            raise Simulated(word)

    def repeats(self, caller: Caller | None) -> bool:
        """Whether the caller is told of an address what it was told before, to the byte."""
        return (
            caller is not None
            and caller.test
            and self.seed != RANDOM_SEED
            and not self.clocks.moved(caller.scope)
        )

    def verify(self, dialect: Dialect, caller: Caller, op: Verify) -> Verification:
        """The sample for an address. Raises `Problem` and `Simulated`."""
        self.heed(op.email)
        found = self._samples.of(dialect.name, op.email, op.checks)
        address = found.address
        if not address.valid and op.refuse_malformed:
            raise Problem(ProblemKind.INVALID, detail=address.error or "", field="email")
        if (
            op.wait_s is not None
            and address.ascii_domain == MAGIC_DOMAIN
            and address.user.lower() == SLOW
        ):
            raise Problem(ProblemKind.NOT_READY)
        if self.clocks.moved(caller.scope):
            now = datetime.fromtimestamp(self.clocks.now(caller.scope), UTC)
            return replace(found, verified_at=now)
        return found

    async def run_job(self, dialect: Dialect, caller: Caller, op: JobOperation) -> object:
        """The outcome of an operation on batches. Raises `Problem` and `Simulated`."""
        link = self._link(dialect)
        return await self.jobs.run(dialect, caller.scope, op, caller.simulate, link)

    async def read_link(self, dialect: Dialect, op: ReadRows) -> JobRows | None:
        """The rows behind a link; None if it is none of a test key's batch."""
        return await self.jobs.read_link(dialect, op, self._link(dialect))

    def _link(self, dialect: Dialect) -> str:
        return f"{self.url}/{dialect.name}"
