"""Vendor jobs: batches that we submit to a vendor, as plain values.

    addresses --create--> job id --poll--> pending …, then a page --page--> the next, … the last
                    └──> the results, if the vendor verifies before it replies

A create is billed, and no vendor has an idempotency key for it: it is not repeated if its outcome
is uncertain. Every other request may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.contract.upstream import Call, Pending, UpstreamRequest, UpstreamResult
from engine.model import Address, Checks

MAX_RESULT_PAGE_BYTES = 64 * 1024 * 1024
"""The largest reply with rows: 50,000 of the longest rows have about 40 MB."""


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Some rows of a completed job."""

    rows: tuple[tuple[str, UpstreamResult], ...]
    """Addresses as the vendor writes them, in any order, without those it could not process."""
    next_page: str = ""
    """The `JobQuery.page` of the next page; empty after the last."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A query about one of the vendor's jobs."""

    job_id: str
    checks: Checks
    page: str = ""
    """`ResultPage.next_page` of the previous page; empty in a poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorJobs:
    """How jobs are submitted to a vendor, and their results fetched. Pure."""

    max_addresses: int
    """Addresses in one job."""
    create: Call[[Sequence[Address], Checks], str | ResultPage]
    """The job's id, or the rows if the vendor verifies before it replies. After a fault with a 4xx
    status there is no job."""
    poll: Call[[JobQuery], ResultPage | Pending]
    page: Call[[JobQuery], ResultPage | Pending] | None = None
    """Fetches the page that `ResultPage.next_page` names; a `Pending` returns to polling. None if a
    poll returns all rows."""
    without_retries: Callable[[UpstreamRequest], UpstreamRequest] | None = None
    """The create of a client that wants no retries of greylisted addresses, made from the usual
    one; None if the vendor has no such option."""
    create_timeout_s: float = 60.0
    """For one create; longer if the vendor verifies before it replies."""
    min_addresses: int = 10
    """Fewer addresses are verified one by one."""
    first_poll_delay_s: float = 1.0
    """Between the create and the first poll. Each later pause is 1.5 times the one before."""
    max_poll_delay_s: float = 30.0
