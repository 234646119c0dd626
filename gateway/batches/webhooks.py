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
from adapters.contract.streaming import chunks
from adapters.contract.wire import StreamReply
from engine.dns.targets import is_global
from gateway.batches.ports import Delivery, Outbox
from gateway.batches.records import rules_of
from gateway.store import StoreError

log = logging.getLogger(__name__)

EVERY_S = 3_600.0
"""Between two tries."""
TIMEOUT_S = 30.0
"""For one try, all together."""
AT_ONCE = 8
POLL_S = 5.0
"""How often other processes' batches are looked for."""


class Post(Protocol):
    """Sends a body. Returns an empty text if it was taken, else what happened instead."""

    def __call__(self, url: str, body: bytes) -> Coroutine[Any, Any, str]: ...


class Shelf(Protocol):
    """Where batches are looked up."""

    async def by_number(self, batch_id: int) -> tuple[Dialect, Job] | None: ...


class Courier:
    """Delivers what the outbox holds."""

    def __init__(
        self,
        outbox: Outbox,
        shelf: Shelf,
        rows: Callable[[Job, ReadRows], JobRows],
        post: Post,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._shelf = shelf
        self._rows = rows
        self._post = post
        self._clock = clock
        self._wake = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """A batch may have ended."""
        self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while inside; what is not delivered by then stays in the outbox."""
        self._stopped = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(self._stopped))
        try:
            yield
        finally:
            # posts are given up, and are due again at once
            self._stopped.set_result(None)
            self._wake.set()
            await task

    async def drain(self) -> None:
        """Try everything that is due, once."""
        while (delivery := await self._outbox.claim()) is not None:
            await self._deliver(delivery)

    async def _run(self, stopped: asyncio.Future[None]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while not stopped.done():
                self._wake.clear()
                try:
                    await slots.acquire()
                    delivery = await self._outbox.claim()
                    if delivery is not None:
                        task = group.create_task(self._safely(delivery))
                        task.add_done_callback(lambda _: slots.release())
                        continue
                    slots.release()
                except StoreError as exc:
                    slots.release()
                    log.warning("no webhook can be looked up", extra={"why": str(exc)})
                if stopped.done():
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()

    async def _safely(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except Exception:
            # its lease runs out, and it is tried again
            log.exception("a webhook failed", extra={"batch": delivery.batch_id})

    async def _deliver(self, delivery: Delivery) -> None:
        found = await self._shelf.by_number(delivery.batch_id)
        if found is None:
            await self._outbox.delivered(delivery)
            return
        dialect, job = found
        word = await self._posted(delivery.url, await self._body(dialect, job))
        if word is None:
            await self._outbox.failed(delivery, "interrupted", self._clock())
            return
        if not word:
            await self._outbox.delivered(delivery)
            return
        again_at = self._clock() + EVERY_S
        given_up = again_at > delivery.give_up_at
        await self._outbox.failed(delivery, word, None if given_up else again_at)
        log.warning(
            "a webhook was not taken",
            extra={"batch": delivery.batch_id, "why": word, "given_up": given_up},
        )

    async def _posted(self, url: str, body: bytes) -> str | None:
        """What `Post` says; None if it was given up because we stop."""
        posting = asyncio.ensure_future(self._post(url, body))
        ends: set[asyncio.Future[Any]] = {posting}
        if self._stopped is not None:
            ends.add(self._stopped)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if posting.done():
            return posting.result()
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return None

    async def _body(self, dialect: Dialect, job: Job) -> bytes:
        notice = rules_of(dialect).notice
        assert notice is not None
        op = notice.ask(job.id)
        found = self._rows(job, op)
        reply = notice.write(op, found)
        if isinstance(reply, StreamReply):
            return b"".join([chunk async for chunk in chunks(reply, found.rows)])
        return reply.body


class HttpPost:
    """`Post` over HTTP, to global addresses alone unless private ones are allowed."""

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
