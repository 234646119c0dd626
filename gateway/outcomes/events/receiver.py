"""Receives the events of mail services: checks who sent them, reads them and keeps the outcomes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.outcomes.events import mailgun, postmark, sendgrid, ses, sns
from gateway.outcomes.events.terms import TryAgainLater
from gateway.outcomes.events.tokens import EventTokens
from gateway.outcomes.reading import ReadOutcomes
from gateway.outcomes.terms import MailOutcome
from gateway.settings.storage import OutcomesSettings

log = logging.getLogger(__name__)

MAX_CERTIFICATE_BYTES = 64 * 1024
MAX_CONFIRMATION_BYTES = 64 * 1024
CERTIFICATE_TTL_S = 24 * 3600.0
MAX_CERTIFICATES = 16
FETCHES_PER_MINUTE = 20
"""Of certificates, in all: a stranger who knows a topic could name one after another."""

SETTINGS = {
    "ses": "ses_topics",
    "sendgrid": "sendgrid_public_key",
    "mailgun": "mailgun_signing_key",
    "postmark": "postmark_token",
}
"""The services, and the setting that admits each."""


class NotSetUp(Exception):
    """The settings admit no events of this service."""


class Fetch(Protocol):
    """Fetches a URL from a public address: its pieces, or why it cannot be had."""

    def __call__(
        self, url: str, max_bytes: int
    ) -> AbstractAsyncContextManager[Callable[[], Iterable[bytes]] | str]: ...


AddOutcomes = Callable[[Iterable[MailOutcome], str], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class ReceivedEvents:
    """What came in one request."""

    read: ReadOutcomes
    stored: int
    known: int
    """Addresses of which an answer is known."""


class MailEvents:
    """`clock` is Unix time in seconds."""

    def __init__(
        self,
        settings: OutcomesSettings,
        add: AddOutcomes,
        tokens: EventTokens,
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._add = add
        self._tokens = tokens
        self._fetch = fetch
        self._clock = clock
        self._keys: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._fetched_at: deque[float] = deque(maxlen=FETCHES_PER_MINUTE)
        self._receive = {
            "ses": self._receive_ses,
            "sendgrid": self._receive_sendgrid,
            "mailgun": self._receive_mailgun,
            "postmark": self._receive_postmark,
        }

    def check_set_up(self, service: str) -> None:
        """Raises NotSetUp."""
        if not getattr(self._settings, SETTINGS[service]):
            raise NotSetUp(f"outcomes.{SETTINGS[service]} is not set.")

    async def receive(
        self, service: str, headers: Mapping[str, str], body: bytes
    ) -> ReceivedEvents:
        """Keep the outcomes in a request of a service of `SETTINGS`.

        `headers` have names in lower case. Raises NotSetUp, WrongSignature, UnreadableOutcomes,
        MissingExtra, TryAgainLater and StoreError.
        """
        self.check_set_up(service)
        read = await self._receive[service](headers, body)
        known = await self._add(read.outcomes, service) if read.outcomes else 0
        return ReceivedEvents(read, len(read.outcomes), known)

    async def _receive_sendgrid(self, headers: Mapping[str, str], body: bytes) -> ReadOutcomes:
        keys = [key.value for key in self._settings.sendgrid_public_key]
        await asyncio.to_thread(sendgrid.verify, headers, body, keys)
        return await asyncio.to_thread(sendgrid.read, body, self._clock())

    async def _receive_mailgun(self, _: Mapping[str, str], body: bytes) -> ReadOutcomes:
        now = self._clock()
        keys = [key.value for key in self._settings.mailgun_signing_key]
        signed = mailgun.verify(body, keys, now)
        await self._tokens.use(signed, now)
        return mailgun.read(body, now)

    async def _receive_postmark(self, headers: Mapping[str, str], body: bytes) -> ReadOutcomes:
        postmark.verify(headers, [token.value for token in self._settings.postmark_token])
        return await asyncio.to_thread(postmark.read, body, self._clock())

    async def _receive_ses(self, _: Mapping[str, str], body: bytes) -> ReadOutcomes:
        message = await asyncio.to_thread(sns.parse_message, body, self._settings.ses_topics)
        key = await self._certificate_key(message.certificate_url)
        sns.verify(message, key)
        if message.type is sns.MessageType.NOTIFICATION:
            return await asyncio.to_thread(ses.read, message.message, self._clock())
        if message.type is sns.MessageType.SUBSCRIPTION:
            await self._get(message.subscribe_url, MAX_CONFIRMATION_BYTES, "the subscription")
            log.info("outcomes.subscribed", extra={"topic": message.topic})
        else:
            log.warning("outcomes.unsubscribed", extra={"topic": message.topic})
        return ReadOutcomes(ignored=1)

    async def _certificate_key(self, url: str) -> Any:
        """Raises WrongSignature, MissingExtra and TryAgainLater."""
        now = self._clock()
        fetched_at, key = self._keys.get(url, (0.0, None))
        if key is not None and now - fetched_at < CERTIFICATE_TTL_S:
            self._keys.move_to_end(url)
            return key
        if len(self._fetched_at) == FETCHES_PER_MINUTE and now - self._fetched_at[0] < 60:
            raise TryAgainLater("Too many certificates were fetched in the last minute.")
        self._fetched_at.append(now)
        pem = await self._get(url, MAX_CERTIFICATE_BYTES, "the certificate")
        key = sns.read_certificate(pem, now)
        self._keys[url] = now, key
        while len(self._keys) > MAX_CERTIFICATES:
            self._keys.popitem(last=False)
        return key

    async def _get(self, url: str, max_bytes: int, what: str) -> bytes:
        """Raises TryAgainLater."""
        async with self._fetch(url, max_bytes) as found:
            if isinstance(found, str):
                log.warning("outcomes.fetch_failed", extra={"what": what, "reason": found})
                raise TryAgainLater(f"{what.capitalize()} at SNS could not be fetched.")
            return b"".join(found())
