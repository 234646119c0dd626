"""What the sandbox does with a list at a URL, where it may not fetch it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from adapters.contract.operations import OpenChunks

NOTHING_FETCHED = "This server fetches no lists for test keys."


@contextlib.asynccontextmanager
async def fetch_nothing(_: str, __: int) -> AsyncIterator[OpenChunks | str]:
    """A `FetchList` for public keys: with one, anybody could have us call other servers."""
    yield NOTHING_FETCHED
