"""Example outcomes of operations, which writers make replies of."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import product
from typing import TypeVar

from adapters.contract.batch_rules import BatchRules, IdSource
from adapters.contract.dialect import Dialect
from adapters.contract.filters import FILTER_SOURCE, AddressFilter, FilterTarget
from adapters.contract.jobs import BatchEntry, Job, JobPage, JobRow, JobRows, JobState
from adapters.contract.operations import (
    UNLIMITED,
    AccountInfo,
    AmendJob,
    CancelJob,
    CheckDisposable,
    DeleteJob,
    GuessPerson,
    ListJobs,
    OpenChunks,
    PersonGuess,
    ReadRows,
    ReadRowsByToken,
    ShowAccount,
    ShowJob,
    ShowJobByToken,
    ShowJobs,
    StartJob,
    SubmitJob,
    Verify,
    VerifyMany,
)
from adapters.contract.samples import Sample
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Gender,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)

Out = TypeVar("Out")

AT = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
EXAMPLE_TOKEN = "3f9c2a71b8e04d56"  # noqa: S105
LARGE = 2_000
"""Entries of a batch that is too large for results in its status."""

# -- verifications -----------------------------------------------------------------------

ORDINARY = Evidence(
    dns=Dns.MX,
    mx=(MxHost("mx1.example.com", 10),),
    provider="google",
    spf=True,
    dmarc=True,
    smtp=Smtp(
        Meaning.ACCEPTED, Stage.RCPT, True, "mx1.example.com", None, 250, "2.1.5", latency_ms=100
    ),
    catch_all=False,
)
EVIDENCE: tuple[Evidence, ...] = (
    ORDINARY,
    Evidence(),
    replace(ORDINARY, disposable=True),
    replace(ORDINARY, free=True, person=Person("Ann", "Smith", Gender.FEMALE, 0.9)),
    replace(ORDINARY, role=True),
    replace(ORDINARY, role=True, catch_all=True),
    replace(ORDINARY, no_reply=True, did_you_mean="ann@gmail.com"),
    replace(ORDINARY, catch_all=True, mailbox_full=True),
    replace(ORDINARY, mailbox_disabled=True, avatar="https://example.com/ann.png"),
    replace(ORDINARY, spamtrap=True, person=Person("Ann")),
    Evidence(dns=Dns.NULL_MX),
    Evidence(dns=Dns.TIMEOUT),
    *(
        replace(ORDINARY, smtp=Smtp(meaning, Stage.RCPT, True, "mx1.example.com", code=550))
        for meaning in Meaning
    ),
    replace(ORDINARY, smtp=Smtp(Meaning.UNREACHABLE, Stage.CONNECT)),
)
"""Each fact that a reply may depend on; the first is that of an ordinary address."""

ADDRESSES = (
    Address("deliverable@example.com", "deliverable", "example.com", "example.com"),
    Address("Ann+News@Example.com", "Ann+News", "example.com", "example.com"),
    Address("deliverable", "", "", "", "The address has no @."),
)


HOSTS = tuple(
    Address(f"ann@{domain}", "ann", domain, domain)
    for domain in ("mail.example.edu", "example.gov", "example.mil")
)
"""Addresses at domains whose names show something."""


def verification(
    verdict: Verdict, reason: Reason, evidence: Evidence, address: Address = ADDRESSES[0]
) -> Verification:
    score = {Verdict.DELIVERABLE: 100, Verdict.RISKY: 55, Verdict.UNKNOWN: 40}.get(verdict, 0)
    return Verification(address, verdict, reason, score, evidence, Checks(), AT, 0.25, "local")


AT_HOSTS = tuple(
    verification(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, ORDINARY, address) for address in HOSTS
)


def _verifications() -> Iterator[Verification]:
    yield verification(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, ORDINARY)
    for verdict, reason, evidence in product(Verdict, Reason, EVIDENCE):
        yield verification(verdict, reason, evidence)
    yield from AT_HOSTS
    for address in ADDRESSES[1:]:
        yield verification(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, Evidence(), address)
        yield verification(Verdict.UNKNOWN, Reason.TIMEOUT, Evidence(), address)


VERIFICATIONS = tuple(_verifications())
"""Every verdict and reason with each fact; the first is the ordinary one."""
ROWS = (
    VERIFICATIONS[0],
    verification(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, ORDINARY),
    *(
        verification(verdict, reason, evidence)
        for verdict, reason in product(Verdict, Reason)
        for evidence in (ORDINARY, Evidence())
    ),
    *(verification(Verdict.RISKY, Reason.LOW_QUALITY, evidence) for evidence in EVIDENCE),
    *AT_HOSTS,
    *VERIFICATIONS[-4:],
)
"""The rows of a batch."""

# -- one outcome of each kind ------------------------------------------------------------


ONE_ADDRESS = SubmitJob(entries=(BatchEntry(ADDRESSES[0].raw),))
LIMITED = AccountInfo("ann@example.com", UNLIMITED, "2026-01", 7, 120)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an `ExampleRunner` finds: one possible state of the server."""

    verification: Verification = VERIFICATIONS[0]
    state: JobState = JobState.COMPLETED
    expired: bool = False
    total: int = 2
    template: SubmitJob = ONE_ADDRESS
    """What the batch was made by."""
    rows: tuple[Verification, ...] = ROWS[:2]
    account: AccountInfo = LIMITED
    found: bool = True
    """Whether there is a batch, a name, a disposable domain."""


def account_worlds(dialect: Dialect) -> Iterator[World]:
    yield World()
    for plan in (UNLIMITED, *dialect.plans):
        for credits, is_test in ((None, False), (120, False), (None, True)):
            account = AccountInfo("ann@example.com", plan, "2026-01", 7, credits, is_test)
            yield World(account=account)


def verify_worlds(dialect: Dialect) -> Iterator[World]:
    yield World()
    for found in _test_results(dialect):
        yield World(verification=found)
    for found in VERIFICATIONS[1:]:
        yield World(verification=found)
    if dialect.has_filters:
        for found in ROWS[:2]:
            yield World(verification=replace(found, source=FILTER_SOURCE))


def _test_results(dialect: Dialect) -> Iterator[Verification]:
    """The vendor's own test addresses with their results."""
    for text in dialect.test_addresses:
        local, _, domain = text.rpartition("@")
        address = Address(text, local, domain, domain)
        sample = dialect.choose_sample(address) if dialect.choose_sample is not None else None
        if isinstance(sample, Sample):
            evidence = replace(ORDINARY, **sample.evidence_fields)
            found = verification(sample.verdict, sample.reason, evidence, address)
            yield replace(found, source="sandbox")


def job_worlds(templates: tuple[SubmitJob, ...]) -> Iterator[World]:
    """Batches of each template in each state."""
    for template in templates or (ONE_ADDRESS,):
        for state in (JobState.COMPLETED, *JobState):
            yield World(template=template, state=state, rows=ROWS)
        yield World(template=template, expired=True)
        yield World(template=template, total=LARGE)
    yield World(found=False)
    yield World(rows=())


class ExampleRunner:
    """Runs operations in a world: an `OperationRunner` and a `JobRunner`."""

    def __init__(self, dialect: Dialect, world: World) -> None:
        self._rules = dialect.batch_rules
        self._world = world
        self.calls: set[str] = set()
        """The methods that operations called."""

    async def verify(self, op: Verify) -> Verification:
        self.calls.add("verify")
        return self._world.verification

    async def verify_many(self, op: VerifyMany) -> tuple[Verification, ...]:
        self.calls.add("verify_many")
        return (self._world.verification,) * len(op.emails)

    async def guess_person(self, op: GuessPerson) -> PersonGuess:
        found = self._world.found
        return PersonGuess("ann", Person("Ann", "Smith", None, 0.9) if found else None)

    async def check_disposable(self, op: CheckDisposable) -> bool:
        return self._world.found

    async def show_account(self, op: ShowAccount) -> AccountInfo:
        self.calls.add("show_account")
        return self._world.account

    async def show_job_by_token(self, op: ShowJobByToken) -> Job:
        return await self.show(ShowJob(job_id=op.token))

    async def read_rows_by_token(self, op: ReadRowsByToken) -> JobRows:
        self.calls.add("find")
        return self._job_rows()

    async def show_use(self, first: date, last: date) -> Mapping[str, int]:
        return {}

    def filters(self) -> ExampleFilters:
        return ExampleFilters(self._world.found)

    def jobs(self, simulate: str) -> ExampleRunner:
        return self

    @asynccontextmanager
    async def fetch(self, url: str, max_bytes: int) -> AsyncIterator[OpenChunks | str]:
        yield "The list could not be fetched."

    async def read_file(self, read: Callable[[], SubmitJob]) -> SubmitJob:
        return read()

    async def submit(self, op: SubmitJob) -> Job:
        self.calls |= {"submit"}
        entries = tuple(op.entries)  # which may raise a `Problem`
        return self._job(replace(op, entries=entries))

    async def start(self, op: StartJob) -> Job:
        self.calls |= {"find", "start"}
        return self._job()

    async def amend(self, op: AmendJob) -> Job:
        self.calls |= {"find", "start"}
        return self._job()

    async def show(self, op: ShowJob) -> Job:
        self.calls.add("find")
        return self._job()

    async def show_many(self, op: ShowJobs) -> tuple[Job, ...]:
        return (self._job(),) if self._world.found else ()

    async def list_page(self, op: ListJobs) -> JobPage:
        jobs = (self._job(),) if self._world.found else ()
        return JobPage(jobs, len(jobs))

    async def delete(self, op: DeleteJob) -> Job:
        self.calls |= {"find"}
        return self._job()

    async def cancel(self, op: CancelJob) -> Job:
        self.calls |= {"find"}
        return self._job()

    async def read_rows(self, op: ReadRows) -> JobRows:
        self.calls.add("find")
        return self._job_rows()

    def _job(self, template: SubmitJob | None = None) -> Job:
        world = self._world
        template = template or world.template
        done = len(world.rows) if world.state is JobState.COMPLETED else 0
        began = world.state not in (JobState.PREPARING, JobState.READY, JobState.QUEUED)
        return Job(
            id=example_job_id(self._rules),
            state=world.state,
            created_at=AT,
            started_at=AT if began else None,
            finished_at=AT if world.state.is_final else None,
            total=max(world.total, len(world.rows)),
            row_count=max(world.total, len(world.rows)),
            valid_count=len(world.rows),
            done_count=done,
            counts=self._counts() if done else {},
            postponed_count=world.total if world.state is JobState.RUNNING else 0,
            name=template.name,
            headers=template.headers,
            options=template.options,
            rows_expired=world.expired,
            base_url="http://127.0.0.1:8025",
            token=EXAMPLE_TOKEN,
            link_token=EXAMPLE_TOKEN,
        )

    def _counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        if self._rules is not None:
            for row in self._world.rows:
                counts.update((self._rules.row_word(row), *self._rules.extra_counters(row)))
        return counts

    def _job_rows(self) -> JobRows:
        return JobRows(self._job(), len(self._world.rows), self._rows())

    async def _rows(self) -> AsyncIterator[JobRow]:
        entries = tuple(self._world.template.entries) or (BatchEntry(ADDRESSES[0].raw),)
        for number, found in enumerate(self._world.rows):
            entry = entries[number % len(entries)]
            word = self._rules.row_word(found) if self._rules is not None else ""
            yield JobRow(entry.email, entry.cells, found, word)


@dataclass(frozen=True, slots=True)
class ExampleFilters:
    """A `FilterList`."""

    found: bool

    async def show(self) -> Sequence[AddressFilter]:
        return (AddressFilter(False, FilterTarget.EMAIL, ADDRESSES[0].raw),) if self.found else ()

    async def add(self, new: AddressFilter) -> None:
        return None

    async def delete(self, old: AddressFilter) -> bool:
        return self.found


def example_job_id(rules: BatchRules | None) -> str:
    return "1" if rules is None else rules.new_id(IdSource(1, lambda below: below // 3))


def run_now(awaitable: Awaitable[Out]) -> Out:
    """The result of a coroutine that waits for nothing."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: Out = end.value
        return result
    raise RuntimeError("an example waits for something")
