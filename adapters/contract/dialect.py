"""What a dialect is: operations, outcomes, problems and endpoints as plain values.

    HTTP request --read--> operation --run--> outcome --write--> HTTP reply
       (dialect, pure)      (gateway, I/O)      (dialect, pure)

A dialect may subclass an operation to carry what only its own writer needs (an output
format, a version); the gateway looks at the base class alone.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adapters.contract.upstream import Upstream
from adapters.contract.upstream_jobs import UpstreamList
from adapters.contract.wire import StreamReply, WireReply, WireRequest
from engine.model import Checks, Person

if TYPE_CHECKING:
    from adapters.contract.jobs import BatchRules

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
class Account:
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


# -- problems ----------------------------------------------------------------------------


class ProblemKind(StrEnum):
    """Why a request gets no outcome. Every dialect has a row for each."""

    UNREADABLE = "unreadable"
    MISSING = "missing"
    INVALID = "invalid"
    NO_CREDENTIAL = "no_credential"
    BAD_CREDENTIAL = "bad_credential"
    SUSPENDED = "suspended"
    UNCONFIRMED = "unconfirmed"
    CLIENT_BLOCKED = "client_blocked"
    NO_CREDITS = "no_credits"
    TOO_FAST = "too_fast"
    UNKNOWN_PATH = "unknown_path"
    WRONG_METHOD = "wrong_method"
    TOO_LARGE = "too_large"
    NOT_READY = "not_ready"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    TOO_MANY = "too_many"  # addresses in a batch
    JOB_MALFORMED = "job_malformed"  # its id is none of ours
    JOB_UNKNOWN = "job_unknown"
    JOB_STATE = "job_state"  # not in the state that this asks for; `state` has its own
    BATCHES_WAITING = "batches_waiting"  # too many
    BATCHES_RUNNING = "batches_running"  # too many
    BATCHES_SPENT = "batches_spent"  # those of this day


@dataclass(eq=False)
class Problem(Exception):
    """The question could not be asked, or not be answered now. Only a dialect words it."""

    kind: ProblemKind
    detail: str = ""
    """For the client, in plain words; a dialect with a fixed text ignores it."""
    field: str = ""
    """The parameter meant."""
    used: int | None = None
    limit: int | None = None
    retry_after_s: int | None = None
    """Whole seconds, at least 1."""
    reset_at: int | None = None
    """Unix time in seconds at which the window opens again."""
    allow: tuple[str, ...] = ()
    """Methods that this path knows."""
    state: str = ""
    """The `adapters.contract.jobs.JobState` that is in the way."""


# -- dialects ----------------------------------------------------------------------------

Op = TypeVar("Op", bound=Operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Op]):
    """One address of a vendor's API and the two functions that translate it."""

    name: str
    methods: tuple[str, ...]
    path: str
    """The vendor's own; `{name}` stands for one segment."""
    read: Callable[[WireRequest], Op]
    write: Callable[[Op, Any], WireReply | StreamReply]
    bucket: str | None = None
    """Which of the plan's rates counts a call; None counts none."""
    needs_key: bool = True
    cors: bool = False
    """Whether browsers of any origin may call it."""
    body_limit: int = 64 * 1024
    """Bytes; a longer body is a `TOO_LARGE`."""
    spooled: bool = False
    """Whether `read` can do with a `WireRequest.body_file`, so that bodies may be large."""


@dataclass(frozen=True, slots=True)
class KeyShape:
    """How the vendor's keys look, so that its clients accept ours."""

    live_prefix: str = ""
    test_prefix: str = ""
    alphabet: str = string.ascii_lowercase + string.digits
    length: int = 32
    """Characters after the prefix."""


@dataclass(frozen=True, slots=True)
class RootPath:
    """Leading segments of a path that are a dialect's own at the root; the longest wins."""

    prefix: str
    parameter: str | None = None
    """Only requests with this query parameter: how two vendors share one path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One vendor's HTTP API, both directions."""

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    """Further prefixes under which it answers."""
    hosts: tuple[str, ...]
    """The vendor's own host names."""
    base_path: str
    """Where the vendor's documentation ends the base URL, such as `/v1`."""
    root_paths: tuple[RootPath, ...]
    endpoints: tuple[Endpoint[Any], ...]
    credential: Callable[[WireRequest], str | None]
    """The key sent, None without one. May raise `Unreadable` where it rides in the body."""
    write_problem: Callable[[WireRequest, Problem, Endpoint[Any] | None], WireReply]
    key_shape: KeyShape
    sandbox_key: str
    """The well-known test key."""
    plans: tuple[Plan, ...] = ()
    """The vendor's own; a deployment's default is `UNLIMITED`."""
    failed_attempts: frozenset[ProblemKind] = frozenset()
    """What counts towards a block of the client's address, where that is switched on."""
    batches: BatchRules | None = None
    """How its batches behave; None has none."""
    upstream: Upstream | None = None
    """How to ask it; None if it can only be spoken, not asked."""
    upstream_list: UpstreamList | None = None
    """How to give it a list; None if it takes none."""
    magic_in_batches: bool = True
    """Whether the sandbox's magic addresses have their effect in batches too."""
    example_jobs: tuple[str, ...] = ()
    """Ids from the vendor's documentation, which a test key can ask about unmade."""
    reason_phrases: Mapping[int, str] = field(default_factory=dict)
    """Of statuses that HTTP has none for."""
