"""One vendor's HTTP API in both directions: its endpoints and its other declarations."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from adapters.contract.batch_rules import BatchRules
from adapters.contract.credential import Credential
from adapters.contract.operations import AccountInfo, Operation, Plan
from adapters.contract.options import DialectOptions
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.upstream import Upstream
from adapters.contract.upstream_jobs import VendorJobs
from adapters.contract.wire import Reply, WireReply, WireRequest

Op = TypeVar("Op", bound=Operation[Any])
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Op, Out]):
    """One address of a vendor's API and the two functions that translate it.

    `Op` is an `Operation[Out]`. Python's types cannot say so; a test holds it for every
    endpoint there is.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    """The vendor's own; `{name}` stands for one segment."""
    read: Callable[[WireRequest], Op]
    write: Callable[[Op, Out], Reply]
    bucket: str | None = None
    """Which of the plan's rates counts a call; None counts none."""
    needs_key: bool = True
    credential: Credential | None = None
    """Where clients put the key for this endpoint; None where `Dialect.credential` says it."""
    cors: bool = False
    """Whether browsers of any origin may call it."""
    body_limit: int = 64 * 1024
    """Bytes; a longer body is a `TOO_LARGE`."""
    accepts_body_file: bool = False
    """Whether `read` supports a `WireRequest.body_file`, so that bodies may be large."""


AnyEndpoint: TypeAlias = Endpoint[Any, Any]
"""In tables of endpoints, each of which has types of its own."""


@dataclass(frozen=True, slots=True)
class KeyShape:
    """The form of the vendor's keys, so that its clients accept ours."""

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
    when: Callable[[WireRequest], bool] | None = None
    """Only requests whose head passes; their body has not been read. Pure. For vendors that share a
    path and differ in the method, the content type or the rest of the path."""


@dataclass(frozen=True, slots=True)
class ClientBlock:
    """Lock a client's address out after `failures` failed attempts within `window_s` seconds."""

    counted: frozenset[ProblemKind]
    """The problems that count as failed attempts."""
    failures: int
    window_s: float


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
    endpoints: tuple[AnyEndpoint, ...]
    credential: Credential
    """Where its clients put their key, unless an endpoint has a `credential` of its own."""
    write_problem: Callable[[WireRequest, Problem, AnyEndpoint | None], WireReply]
    key_shape: KeyShape
    sandbox_key: str
    """The well-known test key."""
    plans: tuple[Plan, ...] = ()
    """The vendor's own; a deployment's default is `UNLIMITED`."""
    account_headers: Callable[[AccountInfo], tuple[tuple[str, str], ...]] | None = None
    """Headers that every reply to a known key carries, errors included; None for none."""
    client_block: ClientBlock | None = None
    """When a client's address is locked out; None is never."""
    free_repeat_s: float = 300.0
    """How long a verification that ended in `NOT_READY` may be repeated free of charge."""
    batch_rules: BatchRules | None = None
    """How its batches behave; None has none."""
    upstream: Upstream | None = None
    """The vendor as a source; None if there is only the server side."""
    vendor_jobs: VendorJobs | None = None
    """The vendor's batches as a source; None if there are none."""
    options: DialectOptions[Any] | None = None
    """The operator's settings for it; None if there are none."""
    verdict_members: tuple[str, ...] = ()
    """The members of a verification's reply that say the verdict, such as `info.result`; for the
    documentation."""
    magic_addresses_in_batches: bool = True
    """Whether the sandbox's magic addresses have their effect in batches too."""
    example_job_ids: tuple[str, ...] = ()
    """Ids from the vendor's documentation, which exist for every test key."""
    reason_phrases: Mapping[int, str] = field(default_factory=dict)
    """Reason phrases of statuses that HTTP does not define."""

    def credential_for(self, endpoint: AnyEndpoint | None) -> Credential:
        """Where a key stands in a request for the endpoint; None for an unknown path."""
        own = endpoint.credential if endpoint is not None else None
        return own or self.credential
