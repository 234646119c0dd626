"""Operations that clients request of a vendor's API, and their outcomes, as plain values.

    HTTP request --read--> operation --run--> outcome --write--> HTTP reply
       (dialect, pure)      (gateway, I/O)      (dialect, pure)

An `Operation[Out]` has an `Out` as its outcome. It calls the method of an `OperationRunner` that
makes the outcome, so that the types are checked from the reader to the writer. A dialect may
subclass an operation to pass further fields to its own writer (an output format, a version); the
gateway uses those of the base class alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from adapters.contract.filters import FilterList
from adapters.contract.jobs import BatchEntry, Job, JobPage, JobRows, JobState
from engine.model import Checks, Person, Verification

Out = TypeVar("Out", covariant=True)

# -- outcomes ----------------------------------------------------------------------------

UNLIMITED_CREDITS = 1_000_000_000
"""The credits of an account without a limit, in a dialect that must show a number."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in any `per_s` seconds."""

    count: int
    per_s: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits and prices of an account. Prices are in US dollars; `price` is by month."""

    name: str
    title: str
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """By `Endpoint.bucket`."""
    parallel: int | None = None
    """Requests with a bucket that may be open at a time, for each key and client address; None is
    without limit."""
    included: int | None = None
    """Verifications a calendar month (UTC); None is without limit."""
    hard_cap: bool = False
    """Whether use beyond `included` is refused rather than billed."""
    price: float | None = None
    overage_rate: float | None = None
    """For one verification beyond `included`."""
    batches_per_day: int | None = None
    """Batches a calendar day (UTC); None is without limit."""
    batches_waiting: int | None = None
    """Batches that are stored and not started."""
    batches_running: int | None = None
    """Batches that are queued or running at a time."""


UNLIMITED = Plan("unlimited", "Unlimited")
"""The default of a deployment: no rate limit and no credit limit."""


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account's plan and usage."""

    owner_email: str
    plan: Plan
    month: str
    """Calendar month in UTC, YYYY-MM."""
    used: int
    """Verifications this month."""
    credits: int | None
    """Verifications left; None is without limit."""
    is_test: bool = False
    """Whether it was a test key that asked."""
    at: datetime | None = None
    """When this was so, in UTC; None if nobody needs it."""

    @property
    def credits_shown(self) -> int:
        return UNLIMITED_CREDITS if self.credits is None else self.credits


@dataclass(frozen=True, slots=True)
class PersonGuess:
    """The outcome of `GuessPerson`."""

    user: str
    """The local part as the client wrote it."""
    person: Person | None


# -- operations --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(ABC, Generic[Out]):
    """A request of a client, independent of the dialect."""

    @abstractmethod
    async def run_by(self, runner: OperationRunner) -> Out:
        """Let the runner make the outcome. Raises `Problem`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge(Operation[None]):
    """No operation: the reply depends on the request alone."""

    async def run_by(self, runner: OperationRunner) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Operation[Verification]):
    """Verify one address."""

    email: str
    checks: Checks = Checks()
    refresh: bool = False
    """Whether to bypass every cache."""
    wait_s: float | None = None
    """Then the client gets a `NOT_READY`; None to wait as long as it takes."""
    unknown_if_late: bool = False
    """Whether the client gets an `unknown` (`timeout`) instead of a `NOT_READY`, free of charge."""
    is_counted: bool = True
    """Whether it counts as use by day (`Dialect.use_words`)."""
    refuse_malformed: bool = False
    """Whether a malformed address is an `INVALID` request, free of charge, and has no verdict."""

    async def run_by(self, runner: OperationRunner) -> Verification:
        return await runner.verify(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyMany(Operation[tuple[Verification, ...]]):
    """Verify a few addresses while the client waits.

    The outcome has one verification for each address, in their order. An address without a result
    in time, or without a source that can answer, is `unknown` and not charged.
    """

    emails: tuple[str, ...]
    """At least one, and not more than the vendor's limit, which the reader checks."""
    checks: Checks = Checks()
    wait_s: float | None = None
    """How long the client waits for all of them; None to wait as long as it takes."""

    async def run_by(self, runner: OperationRunner) -> tuple[Verification, ...]:
        return await runner.verify_many(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessPerson(Operation[PersonGuess]):
    """Guess the owner's name from an address."""

    email: str

    async def run_by(self, runner: OperationRunner) -> PersonGuess:
        return await runner.guess_person(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDisposable(Operation[bool]):
    """Whether the domain of an address, or a domain, is known for disposable addresses.

    It needs no caller: vendors publish it without a key.
    """

    text: str
    """As the client wrote it; a text that is neither is not disposable."""

    async def run_by(self, runner: OperationRunner) -> bool:
        return await runner.check_disposable(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowAccount(Operation[AccountInfo]):
    """Show plan, usage and credits of the caller."""

    async def run_by(self, runner: OperationRunner) -> AccountInfo:
        return await runner.show_account(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithAccount(Operation[tuple[Out, AccountInfo]]):
    """Run another operation, then `ShowAccount`, for replies that show both."""

    operation: Operation[Out]

    async def run_by(self, runner: OperationRunner) -> tuple[Out, AccountInfo]:
        outcome = await self.operation.run_by(runner)
        return outcome, await runner.show_account(ShowAccount())


# -- operations on batches ---------------------------------------------------------------

OpenChunks: TypeAlias = Callable[[], Iterator[bytes]]
"""Opens a file at its start, and reads it in chunks."""
FetchList: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[OpenChunks | str]]
"""Takes a URL and the most bytes: what is there, while the context lasts; else a sentence that says
why there is no list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOperation(Operation[Out]):
    """An operation on the caller's batches."""

    simulate: str = ""
    """The state or the error that the sandbox simulates; ignored for live keys."""

    async def run_by(self, runner: OperationRunner) -> Out:
        return await self.run_on(runner.jobs(self.simulate))

    @abstractmethod
    async def run_on(self, jobs: JobRunner) -> Out:
        """Let the runner make the outcome. Raises `Problem`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob(JobOperation[Job]):
    """Store a batch, and start it unless `start` is false."""

    entries: Iterable[BatchEntry]
    """Read once and lazily. It may raise `Problem`; then nothing is stored."""
    headers: tuple[str, ...] = ()
    """Names of the entries' cells, for result files."""
    start: bool = True
    """Whether to begin at once; else a `StartJob` begins it."""
    is_sample: bool = False
    """Whether to begin with a sample only (`BatchRules.sample_size`), as in `StartJob`."""
    delay_s: float = 0.0
    """How long the batch waits before it begins."""
    failure: str = ""
    """Why there is no list; then the batch is stored as failed, without rows."""
    retry_greylisted: bool = True
    """Whether greylisted addresses are verified again later."""
    checks: Checks = Checks()
    refresh: bool = False
    """Whether no result is taken from the verdict cache."""
    webhook_url: str = ""
    """Gets the POSTs of `BatchRules.webhook`; empty for none."""
    name: str = ""
    """What the client calls it, such as the name of its file."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that the dialect's writers need later."""

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.submit(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob(JobOperation[Job]):
    """Begin a batch that is ready."""

    job_id: str
    is_sample: bool = False
    """Whether to verify a sample of the rows only, free of charge; then it is ready again. A batch
    has one sample at most."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that are added to those of the submission."""

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.start(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendJob(JobOperation[Job]):
    """Change the options of a batch in one of `states`."""

    job_id: str
    options: Mapping[str, Any]
    """JSON values that are added to those that it has."""
    states: frozenset[JobState]

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.amend(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJob(JobOperation[Job]):
    """Show a batch."""

    job_id: str

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.show(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJobs(JobOperation[tuple[Job, ...]]):
    """Show several batches in the order of their ids. Unknown ids are left out."""

    job_ids: tuple[str, ...]

    async def run_on(self, jobs: JobRunner) -> tuple[Job, ...]:
        return await jobs.show_many(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobs(JobOperation[JobPage]):
    """Show a page of the caller's batches, the newest first."""

    page: int = 1
    per_page: int = 10
    oldest_first: bool = False
    job_id: str | None = None
    """Only the batch with this id; None for all, as below."""
    name: str | None = None
    """Only batches with exactly this name."""
    states: frozenset[JobState] | None = None
    """Only batches in one of these states."""

    async def run_on(self, jobs: JobRunner) -> JobPage:
        return await jobs.list_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(JobOperation[Job]):
    """Delete a batch that is not queued or running. The outcome is the batch as it was."""

    job_id: str
    at_any_time: bool = False
    """Whether to delete it while it is queued or running, too; rows without a result are refunded.
    """

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.delete(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob(JobOperation[Job]):
    """End a batch before all of its rows are verified; rows with a result stay."""

    job_id: str

    async def run_on(self, jobs: JobRunner) -> Job:
        return await jobs.cancel(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOperation(Operation[JobRows]):
    """Read the verified rows of a batch, in the order of submission."""

    row_words: frozenset[str] | None = None
    """Only rows with one of these words (`BatchRules.row_word`); None for all."""
    offset: int = 0
    limit: int | None = None
    reverse_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows(RowsOperation):
    """Read the rows of one of the caller's batches."""

    job_id: str
    simulate: str = ""
    """As in `JobOperation`."""

    async def run_by(self, runner: OperationRunner) -> JobRows:
        return await runner.jobs(self.simulate).read_rows(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRowsByToken(RowsOperation):
    """Read the rows that a link leads to. Its token replaces the job's id and the key."""

    token: str

    async def run_by(self, runner: OperationRunner) -> JobRows:
        return await runner.read_rows_by_token(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJobByToken(Operation[Job]):
    """Show the batch that a `Job.link_token` leads to."""

    token: str

    async def run_by(self, runner: OperationRunner) -> Job:
        return await runner.show_job_by_token(self)


# -- runners -----------------------------------------------------------------------------


class JobRunner(Protocol):
    """Runs one caller's operations on batches. Every method may raise `Problem`."""

    def fetch(self, url: str, max_bytes: int) -> AbstractAsyncContextManager[OpenChunks | str]:
        """As `FetchList`."""
        ...

    async def read_file(self, read: Callable[[], SubmitJob]) -> SubmitJob:
        """Call a function that reads a large file, without holding up other requests."""
        ...

    async def submit(self, op: SubmitJob) -> Job: ...

    async def start(self, op: StartJob) -> Job: ...

    async def amend(self, op: AmendJob) -> Job: ...

    async def show(self, op: ShowJob) -> Job: ...

    async def show_many(self, op: ShowJobs) -> tuple[Job, ...]: ...

    async def list_page(self, op: ListJobs) -> JobPage: ...

    async def delete(self, op: DeleteJob) -> Job: ...

    async def cancel(self, op: CancelJob) -> Job: ...

    async def read_rows(self, op: ReadRows) -> JobRows: ...


class OperationRunner(Protocol):
    """Runs one caller's operations. Every method may raise `Problem`."""

    async def verify(self, op: Verify) -> Verification: ...

    async def verify_many(self, op: VerifyMany) -> tuple[Verification, ...]: ...

    async def guess_person(self, op: GuessPerson) -> PersonGuess: ...

    async def check_disposable(self, op: CheckDisposable) -> bool: ...

    async def show_account(self, op: ShowAccount) -> AccountInfo: ...

    async def show_job_by_token(self, op: ShowJobByToken) -> Job: ...

    async def read_rows_by_token(self, op: ReadRowsByToken) -> JobRows: ...

    async def show_use(self, first: date, last: date) -> Mapping[str, int]:
        """As `adapters.contract.account_operations.ShowUse`."""
        ...

    def filters(self) -> FilterList: ...

    def jobs(self, simulate: str) -> JobRunner:
        """Of the caller's batches; `simulate` is `JobOperation.simulate`."""
        ...
