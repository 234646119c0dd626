"""Posts webhooks with an HTTP client that is imported when the first one is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adapters.contract.batch_rules import is_200

if TYPE_CHECKING:
    from gateway.batches.http_post import HttpWebhookPost


NO_HEADERS: Mapping[str, str] = {}


class LazyWebhookPost:
    """A `PostWebhook`. Few servers send webhooks, and importing an HTTP client takes a third of a
    second.
    """

    def __init__(self, open_post: Callable[[], HttpWebhookPost]) -> None:
        """`open_post` is called in a thread, once."""
        self._open_post = open_post
        self._opening = asyncio.Lock()
        self._post: HttpWebhookPost | None = None

    async def __call__(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        is_accepted: Callable[[int], bool] = is_200,
    ) -> str:
        async with self._opening:
            if self._post is None:
                self._post = await asyncio.to_thread(self._open_post)
        return await self._post(url, body, headers=headers, is_accepted=is_accepted)

    async def aclose(self) -> None:
        if self._post is not None:
            await self._post.aclose()
