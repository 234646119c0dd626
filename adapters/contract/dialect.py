"""A vendor's HTTP API in both directions: its endpoints, and its other facts, as one `Dialect`."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from adapters.contract.batch_rules import BatchRules
from adapters.contract.clients import ExampleCall, VendorClient
from adapters.contract.credential import Credential
from adapters.contract.description import Description
from adapters.contract.operations import UNLIMITED, AccountInfo, Operation, Plan
from adapters.contract.options import DialectOptions
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.samples import ChooseSample, Sample
from adapters.contract.upstream import Upstream
from adapters.contract.upstream_jobs import VendorJobs
from adapters.contract.wire import Reply, WireReply, WireRequest
from engine.model import Verification

Op = TypeVar("Op", bound=Operation[Any])
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Op, Out]):
    """A path of a vendor's API, and the two functions that translate its requests and replies.

    `Op` is an `Operation[Out]`. Python's types cannot express that; a test checks it for every
    endpoint.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    """The vendor's path; `{name}` matches one segment and goes into `WireRequest.path_params`, and
    `{rest}` at the end all that follow."""
    read: Callable[[WireRequest], Op]
    write: Callable[[Op, Out], Reply]
    bucket: str | None = None
    """The key of `Plan.rates` that a call counts for; None for none."""
    needs_key: bool = True
    credential: Credential | None = None
    """Where clients put the key for this endpoint; None if as in `Dialect.credential`."""
    cors: bool = False
    """Whether pages of any origin may call it from a browser."""
    body_limit: int = 64 * 1024
    """Bytes; a longer body is a `TOO_LARGE` problem."""
    accepts_body_file: bool = False
    """Whether `read` accepts a `WireRequest.body_file`, which holds a large body."""
    description: Description | None = None
    """For the description of the API; None for the name and the replies alone."""


AnyEndpoint: TypeAlias = Endpoint[Any, Any]
"""An endpoint in a tuple of several, whose types differ."""


@dataclass(frozen=True, slots=True)
class KeyShape:
    """The format of the vendor's keys: some of its clients refuse a key of another."""

    live_prefix: str = ""
    test_prefix: str = ""
    alphabet: str = string.ascii_lowercase + string.digits
    length: int = 32
    """Characters after the prefix."""

    def shows_test(self, key: str) -> bool:
        """Whether the beginning of a key says that it is a test key."""
        is_telling = self.test_prefix not in ("", self.live_prefix)
        return is_telling and key.startswith(self.test_prefix)


@dataclass(frozen=True, slots=True)
class RootPath:
    """A prefix of paths at the server's root that belong to the dialect; the longest match wins."""

    prefix: str
    parameter: str | None = None
    """Only requests with this query parameter, where two vendors have the same path."""
    when: Callable[[WireRequest], bool] | None = None
    """Only requests whose head passes; their body has not been read. Pure. For vendors that share a
    path and differ in the method, the content type or the rest of the path."""


@dataclass(frozen=True, slots=True)
class ClientBlock:
    """Lock a client's address out after `failures` failed attempts within `window_s` seconds."""

    counted: frozenset[ProblemKind]
    """The problems that count as a failed attempt."""
    failures: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A vendor's HTTP API in both directions."""

    name: str
    """Its prefix in paths, and its name in settings, keys and metrics."""
    title: str
    """The vendor's name, for people."""
    aliases: tuple[str, ...] = ()
    """Further prefixes in paths."""
    hosts: tuple[str, ...]
    """The vendor's host names: requests with such a `Host` belong to the dialect."""
    base_path: str
    """Where the vendor's documentation ends the base URL, such as `/v1`."""
    root_paths: tuple[RootPath, ...]
    endpoints: tuple[AnyEndpoint, ...]
    credential: Credential
    """Where its clients put their key, except at an endpoint with its own `credential`."""
    write_problem: Callable[[WireRequest, Problem, AnyEndpoint | None], WireReply]
    key_shape: KeyShape
    sandbox_key: str
    """The well-known test key."""
    example: ExampleCall | None = None
    """A first call to paste; None for none."""
    clients: tuple[VendorClient, ...] = ()
    """Its published clients, and the base URL that each wants."""
    plans: tuple[Plan, ...] = ()
    """The vendor's plans; an operator chooses one, and the default is `UNLIMITED`."""
    answers_head: bool = True
    """Whether HEAD is answered as GET (RFC 9110, section 9.3.2); False if the vendor refuses it."""
    sandbox_plan: Plan = UNLIMITED
    """The plan that test keys show. They are not limited by it."""
    account_headers: Callable[[AccountInfo], tuple[tuple[str, str], ...]] | None = None
    """Headers of every reply to a known key, errors included; None for none. Those that a reply has
    already are not added. Of an account without a limit they get neither month nor use."""
    account_header_hosts: tuple[str, ...] = ()
    """The host names whose replies have them; empty for all, and for prefix and root as well."""
    timing_header: str = ""
    """A header of every reply to a known key with the milliseconds that it took; empty for none."""
    client_block: ClientBlock | None = None
    """When a client's address is locked out; None for never."""
    free_repeat_s: float = 300.0
    """How long a verification that ended in `NOT_READY` may be repeated free of charge."""
    refunds: Callable[[Verification], bool] = lambda _: False
    """Whether the credit for this result of a single verification is given back. For batches there
    is `BatchRules.refund_word`."""
    use_words: Callable[[Verification], Iterable[str]] | None = None
    """What a single verification, or one of a few, counts as in the account's use by day; None if
    the vendor shows no such use."""
    has_filters: bool = False
    """Whether clients may have allow lists and block lists."""
    batch_rules: BatchRules | None = None
    """None if the vendor has no batches."""
    upstream: Upstream | None = None
    """None if the vendor cannot be an upstream."""
    vendor_jobs: VendorJobs | None = None
    """None if no batches can be submitted to the vendor as an upstream."""
    options: DialectOptions[Any] | None = None
    """What an operator may set in `veriplex.toml`; None for nothing."""
    verdict_members: tuple[str, ...] = ()
    """The members of a verification's reply that show the verdict, such as `info.result`; for the
    tables of the documentation."""
    choose_sample: ChooseSample | None = None
    """The sandbox's answers to the vendor's own test addresses, which outrank the magic addresses
    of all dialects; None if the vendor has none."""
    test_addresses: tuple[str, ...] = ()
    """Those of the vendor, which `choose_sample` has results for."""
    samples_for_live_keys: bool = False
    """Whether live keys get the answers of `choose_sample` too, free of charge."""
    default_sample: Sample | None = None
    """What the sandbox answers for every well-formed address that is not special; None for results
    that are drawn, as the address alone decides."""
    magic_addresses_in_batches: bool = True
    """Whether test addresses of either kind are special in batches too."""
    example_job_ids: tuple[str, ...] = ()
    """Ids in the vendor's documentation: for a test key these batches exist."""
    reason_phrases: Mapping[int, str] = field(default_factory=dict)
    """For statuses of the vendor's own, which HTTP has no reason phrase for."""

    def credential_for(self, endpoint: AnyEndpoint | None) -> Credential:
        """Where the key stands in a request for the endpoint, which is None for an unknown path."""
        own = endpoint.credential if endpoint is not None else None
        return own or self.credential
