"""Fetches the lists that clients name by a URL.

As for webhooks, each name is resolved here and the address that was checked is the one that is
dialled; so is that of each redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

import httpx

from adapters.contract.operations import OpenChunks
from engine.turns import FairSlots
from gateway.batches.http_post import (
    basic_auth,
    failure_of,
    guarded_client,
    guarded_request,
    resolve_allowed,
)

if TYPE_CHECKING:
    _File = SpooledTemporaryFile[bytes]

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""For one list, redirects included."""
MAX_REDIRECTS = 3
CONCURRENT_FETCHES = 8
"""Lists that are fetched at a time; an account without any does not wait for the others'."""
MEMORY_BYTES = 1024 * 1024
"""Of a list; a longer one goes into a temporary file."""
READ_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _NotFetchedError(Exception):
    """The list cannot be had, for a reason that the client may read."""


class HttpFetch:
    """A `FetchList` over HTTP, from those addresses that `may_dial` allows."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        may_dial: Callable[[str], bool],
        refusal: str,
        timeout_s: float = TIMEOUT_S,
        max_redirects: int = MAX_REDIRECTS,
        what: str = "list",
    ) -> None:
        """`refusal` is the sentence for a server that has no allowed address; `what` is fetched.

        Link-local addresses and those of cloud metadata are never allowed.
        """
        self._may_dial = may_dial
        self._refusal = refusal
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._what = what
        self._slots = FairSlots(CONCURRENT_FETCHES)
        headers = {
            "Accept": "text/csv, text/plain, */*",
            # a compressed list could be far larger than what is counted here
            "Accept-Encoding": "identity",
        }
        self._client = guarded_client(transport, timeout_s, headers)

    async def aclose(self) -> None:
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def __call__(self, url: str, max_bytes: int) -> AsyncIterator[OpenChunks | str]:
        with SpooledTemporaryFile(MEMORY_BYTES) as file:
            async with self._slots.slot():
                problem = await self._try_to_fetch(url, max_bytes, file)
            yield problem or (lambda: _chunks(file))

    async def _try_to_fetch(self, url: str, max_bytes: int, file: _File) -> str:
        """Why there is no list; empty if it is in the file."""
        reason = await self._failure(url, max_bytes, file)
        if reason:
            log.info("list.not_fetched", extra={"reason": reason})
        return reason

    async def _failure(self, url: str, max_bytes: int, file: _File) -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._fetch(httpx.URL(url), max_bytes, file)
        except _NotFetchedError as exc:
            return str(exc)
        except (OSError, UnicodeError, httpx.InvalidURL, httpx.HTTPError) as exc:
            return f"The {self._what} could not be fetched: {failure_of(exc)}."
        return ""

    async def _fetch(self, url: httpx.URL, max_bytes: int, file: _File) -> None:
        for _ in range(self._max_redirects + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise _NotFetchedError(f"The {self._what}'s URL is not one of http or https.")
            address = await resolve_allowed(url, self._may_dial)
            if address is None:
                raise _NotFetchedError(self._refusal)
            request = guarded_request(self._client, "GET", url, address)
            request.extensions["max_body_bytes"] = max_bytes
            reply = await self._client.send(request, auth=basic_auth(url), stream=True)
            try:
                if reply.status_code in _REDIRECTS and "location" in reply.headers:
                    url = url.join(reply.headers["location"])
                    continue
                if reply.status_code != 200:
                    status = reply.status_code
                    raise _NotFetchedError(f"The {self._what} could not be fetched: HTTP {status}.")
                await _store(reply, max_bytes, file)
                return
            finally:
                await reply.aclose()
        limit = self._max_redirects
        raise _NotFetchedError(f"The {self._what}'s URL was redirected more than {limit} times.")


async def _store(reply: httpx.Response, max_bytes: int, file: _File) -> None:
    """Write the body into the file. Raises `_NotFetchedError`."""
    if reply.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _NotFetchedError("The list came compressed, which was not asked for.")
    size = 0
    async for chunk in reply.aiter_bytes():
        size += len(chunk)
        if size > max_bytes:
            raise _NotFetchedError(f"The list is longer than {max_bytes:,} bytes.")
        file.write(chunk)


def _chunks(file: _File) -> Iterator[bytes]:
    at = 0
    while True:
        file.seek(at)
        chunk = file.read(READ_BYTES)
        if not chunk:
            return
        at += len(chunk)
        yield chunk
