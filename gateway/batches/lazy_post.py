"""Posts webhooks and fetches lists with HTTP clients that are imported when the first is due.

Few servers do either, and importing an HTTP client takes a third of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from adapters.contract.batch_rules import is_200
from adapters.contract.operations import OpenChunks

if TYPE_CHECKING:
    from gateway.batches.http_fetch import HttpFetch
    from gateway.batches.http_post import HttpWebhookPost


NO_HEADERS: Mapping[str, str] = {}


class _Closable(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class _Lazy(Generic[C]):
    """A client that is opened at its first use."""

    def __init__(self, open_client: Callable[[], C]) -> None:
        """`open_client` is called in a thread, once."""
        self._open_client = open_client
        self._opening = asyncio.Lock()
        self._client: C | None = None

    async def get(self) -> C:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open_client)
        return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()


class LazyWebhookPost:
    """A `PostWebhook`."""

    def __init__(self, open_post: Callable[[], HttpWebhookPost]) -> None:
        self._post = _Lazy(open_post)
        self.aclose = self._post.aclose

    async def __call__(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        is_accepted: Callable[[int], bool] = is_200,
    ) -> str:
        post = await self._post.get()
        return await post(url, body, headers=headers, is_accepted=is_accepted)


class LazyFetch:
    """A `FetchList`."""

    def __init__(self, open_fetch: Callable[[], HttpFetch]) -> None:
        self._fetch = _Lazy(open_fetch)
        self.aclose = self._fetch.aclose

    @contextlib.asynccontextmanager
    async def __call__(self, url: str, max_bytes: int) -> AsyncIterator[OpenChunks | str]:
        fetch = await self._fetch.get()
        async with fetch(url, max_bytes) as found:
            yield found
