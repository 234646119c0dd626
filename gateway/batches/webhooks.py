"""Telling the owner of a batch that it is done.

Only HTTP 200 counts; anything else is tried again every hour, for three days after the end
(Emailable's page on batches). The receiver's name is looked up by us and the address that was
found is the one dialled, so that a name cannot lead into a private network between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Protocol

import httpx

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job, JobRows, ReadRows
from adapters.contract.streaming import render_body
from adapters.contract.wire import StreamReply
from engine.dns.targets import is_global
from gateway.batches.ports import Outbox, WebhookDelivery
from gateway.batches.records import rules_of
from gateway.store import StoreError
from gateway.tasks import WorkLoop

log = logging.getLogger(__name__)

RETRY_EVERY_S = 3_600.0
"""Between two tries."""
TIMEOUT_S = 30.0
"""For one try, all together."""
CONCURRENT_DELIVERIES = 8
POLL_S = 5.0
"""How often other processes' batches are looked for."""


class PostWebhook(Protocol):
    """Sends a body. Returns an empty text if it was taken, else what happened instead."""

    def __call__(self, url: str, body: bytes) -> Coroutine[Any, Any, str]: ...


class BatchLookup(Protocol):
    """Where batches are looked up."""

    async def find_by_id(self, batch_id: int) -> tuple[Dialect, Job] | None: ...


class WebhookSender:
    """Delivers what the outbox holds."""

    def __init__(
        self,
        outbox: Outbox,
        batch_lookup: BatchLookup,
        job_rows: Callable[[Job, ReadRows], JobRows],
        post_webhook: PostWebhook,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._batch_lookup = batch_lookup
        self._job_rows = job_rows
        self._post_webhook = post_webhook
        self._clock = clock
        self._loop = WorkLoop()

    def wake(self) -> None:
        """A batch may have ended."""
        self._loop.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while inside. Posts that are under way on leaving are due again at once."""
        async with self._loop.running(self._run()):
            yield

    async def drain(self) -> None:
        """Try everything that is due, once."""
        while (delivery := await self._outbox.claim()) is not None:
            await self._deliver(delivery)

    async def _run(self) -> None:
        slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        async with asyncio.TaskGroup() as group:
            while not self._loop.stopping:
                try:
                    await slots.acquire()
                    delivery = await self._outbox.claim()
                    if delivery is not None:
                        task = group.create_task(self._deliver_logged(delivery))
                        task.add_done_callback(lambda _: slots.release())
                        continue
                    slots.release()
                except StoreError as exc:
                    slots.release()
                    log.warning("webhook.claim_failed", extra={"error": str(exc)})
                await self._loop.pause(POLL_S)

    async def _deliver_logged(self, delivery: WebhookDelivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception:
            # its lease runs out, and it is tried again
            log.exception("webhook.failed", extra={"batch": delivery.batch_id})

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        found = await self._batch_lookup.find_by_id(delivery.batch_id)
        if found is None:
            await self._outbox.mark_delivered(delivery)
            return
        dialect, job = found
        word = await self._post_until_stopped(delivery.url, await self._render_body(dialect, job))
        if word is None:
            await self._outbox.mark_failed(delivery, "interrupted", self._clock())
            return
        if not word:
            await self._outbox.mark_delivered(delivery)
            return
        again_at = self._clock() + RETRY_EVERY_S
        given_up = again_at > delivery.give_up_at
        await self._outbox.mark_failed(delivery, word, None if given_up else again_at)
        log.warning(
            "webhook.rejected",
            extra={
                "batch": delivery.batch_id,
                "reason": word,
                "attempt": delivery.attempts + 1,
                "given_up": given_up,
            },
        )

    async def _post_until_stopped(self, url: str, body: bytes) -> str | None:
        """What `PostWebhook` says; None if it was given up because we stop."""
        posting = asyncio.create_task(self._post_webhook(url, body))
        await self._loop.wait_for(posting)
        if posting.done():
            return posting.result()
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return None

    async def _render_body(self, dialect: Dialect, job: Job) -> bytes:
        notice = rules_of(dialect).completion_webhook
        assert notice is not None
        op = notice.build_operation(job.id)
        found = self._job_rows(job, op)
        reply = notice.write_body(op, found)
        if isinstance(reply, StreamReply):
            return b"".join([chunk async for chunk in render_body(reply, found.rows)])
        return reply.body


class HttpWebhookPost:
    """`PostWebhook` over HTTP, to global addresses alone unless private ones are allowed."""

    def __init__(self, *, allow_private_networks: bool, user_agent: str) -> None:
        self._allow_private_networks = allow_private_networks
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            follow_redirects=False,  # each would be another address to judge
            trust_env=False,
            # receivers of different owners may share an address, and so would share them
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"User-Agent": user_agent, "Content-Type": "application/json"},
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __call__(self, url: str, body: bytes) -> str:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._send(httpx.URL(url), body)
        except TimeoutError:
            return "timed out"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
            return f"{type(exc).__name__}: {exc}"

    async def _send(self, url: httpx.URL, body: bytes) -> str:
        address = await self._resolve(url)
        if address is None:
            return "the receiver's address is private"
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"Host": url.netloc.decode("ascii")},
            # TLS still names, and checks, the receiver
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        reply = await self._client.send(request, stream=True)
        await reply.aclose()
        return "" if reply.status_code == 200 else f"HTTP {reply.status_code}"

    async def _resolve(self, url: httpx.URL) -> str | None:
        """The address to dial; None if none may be dialled. Raises OSError."""
        loop = asyncio.get_running_loop()
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(place[0]) for *_, place in found]
        if self._allow_private_networks:
            return addresses[0]
        return next((address for address in addresses if is_global(address)), None)
