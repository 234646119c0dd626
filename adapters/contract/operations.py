"""What a client may ask of a vendor's API, and what it gets, as plain values.

    HTTP request --read--> operation --run--> outcome --write--> HTTP reply
       (dialect, pure)      (gateway, I/O)      (dialect, pure)

A dialect may subclass an operation to carry what only its own writer needs (an output
format, a version); the gateway looks at the base class alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.contract.jobs import BatchEntry
from engine.model import Checks, Person

# -- operations: what a client may ask ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something a client asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Operation):
    """Verify one address. The outcome is an `engine.model.Verification`."""

    email: str
    checks: Checks = Checks()
    refresh: bool = False
    """Bypass every cache."""
    wait_s: float | None = None
    """After this long the client wants a `NOT_READY` rather than wait on."""
    refuse_malformed: bool = False
    """Whether a malformed address is an `INVALID` request, free of charge, not a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessPerson(Operation):
    """Guess the owner's name from an address. The outcome is a `PersonGuess`."""

    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowAccount(Operation):
    """Plan, usage and credits of the caller. The outcome is an `Account`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPlans(Operation):
    """The dialect's plans. The outcome is a tuple of `Plan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHealth(Operation):
    """Whether the service runs. The outcome is None."""


# -- operations on batches ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOperation(Operation):
    """Something a client asks about batches."""

    simulate: str = ""
    """What a test key wants to see simulated; live keys are not heard on this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob(JobOperation):
    """Take a batch in. The outcome is a `Job`."""

    entries: Iterable[BatchEntry]
    """Read once and lazily; may raise `Problem`, and then nothing is kept."""
    headers: tuple[str, ...] = ()
    """Names of the entries' cells, as they are to be written."""
    start: bool = True
    """Whether to begin at once, or to wait for a `StartJob`."""
    retry_greylisted: bool = True
    """Whether greylisted addresses are asked about again, later."""
    checks: Checks = Checks()
    webhook_url: str = ""
    """Who is to be told when it is done; empty for nobody."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only the dialect's writer needs later; fit for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob(JobOperation):
    """Begin with a batch that is ready. The outcome is a `Job`."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJob(JobOperation):
    """The outcome is a `Job`."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJobs(JobOperation):
    """Those of several that exist, in the order asked. The outcome is a tuple of `Job`."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobs(JobOperation):
    """A page of the caller's batches, newest first. The outcome is a `JobPage`."""

    page: int = 1
    per_page: int = 10
    oldest_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(JobOperation):
    """Forget a batch that is not being worked on. The outcome is the `Job` as it was."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows(JobOperation):
    """Answered rows in the order submitted. The outcome is a `JobRows`."""

    job_id: str = ""
    token: str = ""
    """The job's unguessable name, which stands for both its id and a key."""
    row_words: frozenset[str] | None = None
    """Only rows with one of these; see `BatchRules.word`. None for all."""
    offset: int = 0
    limit: int | None = None
    reverse_order: bool = False


# -- outcomes ----------------------------------------------------------------------------

UNLIMITED_CREDITS = 1_000_000_000
"""What a dialect that must show a number shows for an account without a limit."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in any `per_s` seconds."""

    count: int
    per_s: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may use. Prices in US dollars, by month."""

    name: str
    title: str
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """By bucket; an endpoint names its bucket."""
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
    """Batches that may be there without having been started."""
    batches_running: int | None = None
    """Batches that may be under way at a time."""


UNLIMITED = Plan("unlimited", "Unlimited")
"""A self-hoster's default: no rate limit, no credit limit."""


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account's plan and what is used of it."""

    owner_email: str
    plan: Plan
    month: str
    """Calendar month in UTC, YYYY-MM."""
    used: int
    """Verifications this month."""
    credits: int | None
    """Verifications left to pay with; None is without limit."""

    @property
    def credits_shown(self) -> int:
        return UNLIMITED_CREDITS if self.credits is None else self.credits


@dataclass(frozen=True, slots=True)
class PersonGuess:
    """The outcome of `GuessPerson`."""

    user: str
    """The local part as asked."""
    person: Person | None
