"""A vendor as a source of many results at once: its own jobs, as plain values.

    addresses --create--> job id --poll--> pending …, then a page --page--> the next, … the last
                    └──> the results, where the vendor answers at once

A create is billed, and no vendor has an idempotency key for it: it is never repeated when its
outcome is uncertain. Every other request may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.contract.upstream import (
    Call,
    Pending,
    UpstreamResult,
)
from engine.model import Address, Checks

MAX_RESULT_PAGE_BYTES = 64 * 1024 * 1024
"""The largest reply with rows; 50,000 rows of the wordiest vendor take about 40 MB."""


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Some rows of a job that is done."""

    rows: tuple[tuple[str, UpstreamResult], ...]
    """Addresses as the vendor writes them, in any order. Addresses that the vendor could not
    process are left out."""
    next_page: str = ""
    """`JobQuery.page` of the next page; empty after the last."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A query about one of a vendor's jobs."""

    job_id: str
    checks: Checks
    page: str = ""
    """`ResultPage.next_page` of the page before; empty in a poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorJobs:
    """A vendor's batches as a source: submitting addresses and fetching results. Pure."""

    max_addresses: int
    """Addresses in one job."""
    create: Call[[Sequence[Address], Checks], str | ResultPage]
    """The job's id, or the rows themselves where the vendor answers at once. After a fault with a
    4xx status nothing was created."""
    poll: Call[[JobQuery], ResultPage | Pending]
    page: Call[[JobQuery], ResultPage | Pending] | None = None
    """Fetches the page that `ResultPage.next_page` names; `Pending` returns to polling. None if a
    poll returns all rows."""
    create_timeout_s: float = 60.0
    """For one create; longer where the vendor verifies before it answers."""
    min_addresses: int = 10
    """Fewer addresses are verified one by one."""
    first_poll_delay_s: float = 1.0
    """Between the create and the first poll; each later pause is half as long again."""
    max_poll_delay_s: float = 30.0
