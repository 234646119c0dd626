"""A vendor as a source of many answers at once: its own lists, as plain values.

    addresses --create--> job id --poll--> pending …, then a page --page--> the next, … the last

A create is billed and has no idempotency key anywhere, so that it is never sent twice on a
guess. Every other step may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.contract.upstream import (
    Fault,
    Pending,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from engine.model import Address, Checks

MAX_RESULT_PAGE_BYTES = 64 * 1024 * 1024
"""Of a reply with the rows of a list; 50,000 rows of the wordiest vendor take some 40 MB."""


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Some rows of a list that is done."""

    rows: tuple[tuple[str, UpstreamResult], ...]
    """Addresses as the vendor writes them, in whatever order; those that it could not process
    are left out."""
    next_page: str = ""
    """What `build_page` takes to get the next one; empty after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorJobs:
    """How a vendor is given a list, and asked for what came of it. Pure."""

    max_addresses: int
    """Addresses in one list."""
    build_create: Callable[[str, Sequence[Address]], UpstreamRequest]
    """Takes the key."""
    parse_create: Callable[[UpstreamReply], str | Fault]
    """The job's id. A fault that says nothing was created is one with a 4xx status."""
    build_poll: Callable[[str, str], UpstreamRequest]
    """Takes the key and the job's id."""
    parse_poll: Callable[[Checks, UpstreamReply], ResultPage | Pending | Fault]
    build_page: Callable[[str, str, str], UpstreamRequest]
    """Takes the key, the job's id, and `Page.next`."""
    parse_page: Callable[[Checks, str, UpstreamReply], ResultPage | Pending | Fault]
    """Takes `Page.next`, too. `Pending` goes back to polling."""
    min_addresses: int = 10
    """Addresses that a list is worth its while for; fewer are asked one by one."""
    first_poll_delay_s: float = 1.0
    """Until the first poll; each pause after it is half as long again."""
    max_poll_delay_s: float = 30.0
