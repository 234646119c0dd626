"""One address's way through the mail hosts of its domain.

Which host to ask next, when to ask again, what to conclude from several failures. A host that
fails for reasons of its own (or of ours) sends us to the next; a host that speaks of the
mailbox decides. All waits share one deadline, and a stuck host never gets all that is left.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from engine.cache import TtlCache
from engine.catch_all import Heard, accepts_all, control_local, settle
from engine.dialogue import (
    Conversation,
    ConversationEnded,
    Identity,
    Said,
    Say,
    Target,
    TlsFailed,
    open_conversation,
)
from engine.domains import registrable_domain
from engine.model import Address, Meaning, Smtp, Stage
from engine.mx import Route, addresses
from engine.pacing import Pacer
from engine.pipe import ReplyPipe
from engine.providers import provider_of
from engine.reply import Reading
from engine.resolver import Resolver
from engine.targets import is_global

MAX_TARGETS = 12
"""Addresses dialled for one mailbox, at most."""
MAX_REFUSALS = 3
"""Hosts that may refuse *us* before the others are left in peace."""
MAX_THROTTLED_RETRIES = 2
THROTTLED_PAUSE_S = 1.0
LEAST_USEFUL_S = 0.5
"""With less than this left of the deadline no further host is dialled."""
CATCH_ALL_TTL_S = 3600.0
CATCH_ALL_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and where an inquiry may go; times in seconds."""

    port: int
    allow_private_networks: bool
    connect_timeout_s: float
    command_timeout_s: float
    greylist_pauses_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the mail hosts said."""

    smtp: Smtp
    catch_all: bool | None = None
    inactive: bool = False


class Deadline:
    """A point in time, and what is left until then."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())


@dataclass(frozen=True, slots=True)
class _Visit:
    """How one target answered."""

    target: Target
    said: Said
    meaning: Meaning
    greeted: bool = False
    tls: bool = False
    latency_ms: int | None = None
    catch_all: bool | None = None


class Inquirer:
    """Asks mail hosts about mailboxes; holds what inquiries share: slots, memory, TLS."""

    def __init__(
        self,
        identity: Identity,
        limits: Limits,
        *,
        resolver: Resolver,
        pacer: Pacer,
        tls: ssl.SSLContext | None,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._resolver = resolver
        self._pacer = pacer
        self._tls = tls
        self._rng = rng
        self._clock = clock
        self._catch_all: TtlCache[tuple[str, str], bool] = TtlCache(CATCH_ALL_SIZE, clock)
        self._leaving: set[ReplyPipe] = set()

    async def ask(
        self, address: Address, route: Route, *, catch_all: bool, deadline: Deadline, say: Say
    ) -> Finding:
        """What the hosts of `route` say of `address`, within `deadline`."""
        inquiry = _Inquiry(self, address, route, catch_all, deadline, say)
        return await inquiry.run()

    async def aclose(self) -> None:
        """Cut the connections that still wait for an answer to QUIT."""
        pipes = list(self._leaving)
        for pipe in pipes:
            pipe.abort()
        for pipe in pipes:
            await pipe.wait_closed()

    def operator(self, host: str) -> str:
        """Whose host it is, for counting connections."""
        return provider_of(host) or registrable_domain(host) or host

    def leave(self, conversation: Conversation) -> None:
        """End a conversation politely, in the background."""
        pipe = conversation.leave()
        if not pipe.closed:
            self._leaving.add(pipe)
            pipe.on_closed(lambda: self._leaving.discard(pipe))


class _Inquiry:
    """The state of one inquiry."""

    def __init__(
        self,
        shared: Inquirer,
        address: Address,
        route: Route,
        catch_all: bool,
        deadline: Deadline,
        say: Say,
    ) -> None:
        self._shared = shared
        self._limits = shared._limits
        self._address = address
        self._route = route
        self._wants_catch_all = catch_all
        self._deadline = deadline
        self._say = say
        self._recipient = f"{address.local}@{address.ascii_domain}"
        # The same control on every try, so that greylisting knows it when it comes again.
        control = control_local(shared._rng.choice)
        self._control = f"{control}@{address.ascii_domain}"

    async def run(self) -> Finding:
        pauses = list(self._limits.greylist_pauses_s)
        throttled = 0
        while True:
            visits = await self._round()
            last = _weightiest(visits)
            pause_s: float | None = None
            if last.meaning is Meaning.GREYLISTED and pauses:
                pause_s = float(last.said.reading.retry_after_s or pauses.pop(0)) + 0.1
            elif last.meaning is Meaning.THROTTLED and throttled < MAX_THROTTLED_RETRIES:
                pause_s = last.said.reading.retry_after_s or THROTTLED_PAUSE_S * 2**throttled
                throttled += 1
            if pause_s is None or pause_s + LEAST_USEFUL_S > self._deadline.left_s:
                return _finding(visits, last)
            self._say(last.target.host, f"waiting {pause_s:.1f} s, then asking again")
            await asyncio.sleep(pause_s)

    async def _round(self) -> list[_Visit]:
        """Visit targets in order until one decides; at least one visit."""
        visits: list[_Visit] = []
        refusals = 0
        async for target, is_last in self._targets():
            if visits and self._deadline.left_s < LEAST_USEFUL_S:
                break
            visit = await self._visit(target, is_last)
            visits.append(visit)
            if visit.meaning in DECISIVE:
                return [visit]
            refusals += visit.meaning in ABOUT_US
            if refusals >= MAX_REFUSALS:
                break
        if not visits:
            # The hosts had addresses when the route was found, and have none now.
            host = self._route.hosts[0].host
            said = Said(Stage.CONNECT, Reading(Meaning.UNREACHABLE, "no-address"))
            visits.append(_Visit(Target(host, "", self._limits.port), said, said.meaning))
        return visits

    async def _targets(self) -> AsyncIterator[tuple[Target, bool]]:
        """Where to dial, in order of preference, and whether it is the last place."""
        count = 0
        hosts = self._route.hosts
        for host_number, host in enumerate(hosts):
            found = await addresses(self._shared._resolver, host.host)
            for ip_number, ip in enumerate(found.ips):
                count += 1
                last = ip_number + 1 == len(found.ips) and host_number + 1 == len(hosts)
                yield Target(host.host, ip, self._limits.port), last or count == MAX_TARGETS
                if count == MAX_TARGETS:
                    return

    async def _visit(self, target: Target, is_last: bool) -> _Visit:
        if not self._limits.allow_private_networks and not is_global(target.ip):
            self._say(target.host, f"{target.ip} is not a public address: not dialled")
            said = Said(Stage.CONNECT, Reading(Meaning.NOT_ALLOWED, "not-global"))
            return _Visit(target, said, said.meaning)
        operator = self._shared.operator(target.host)
        try:
            async with asyncio.timeout(self._share_s(is_last)) as waiting:
                async with self._shared._pacer.slot(operator):
                    waiting.reschedule(None)
                    visit = await self._converse(target, is_last, operator)
        except TimeoutError:
            if not waiting.expired():
                raise
            self._say(target.host, "no free connection in time")
            said = Said(Stage.CONNECT, Reading(Meaning.THROTTLED, "our-own-limit"))
            return _Visit(target, said, said.meaning)
        if visit.meaning is Meaning.THROTTLED:
            self._shared._pacer.complained(operator, visit.said.reading.retry_after_s)
        elif visit.greeted:
            self._shared._pacer.went_well(operator)
        return visit

    async def _converse(self, target: Target, is_last: bool, operator: str) -> _Visit:
        started = self._shared._clock()
        try:
            conversation = await self._open(target, is_last)
        except ConversationEnded as ended:
            return _Visit(
                target,
                ended.said,
                ended.said.meaning,
                greeted=ended.greeted,
                latency_ms=self._since_ms(started),
            )
        try:
            said, latency_ms, control = await self._ask(conversation, operator, started, is_last)
            catch_all = self._remember(operator, control, said)
            heard = _heard(said)
            meaning = said.meaning if heard is None else settle(heard, control, catch_all)
        except BaseException:
            conversation.abort()
            raise
        self._shared.leave(conversation)
        return _Visit(
            target,
            said,
            meaning,
            greeted=True,
            tls=conversation.tls,
            latency_ms=latency_ms,
            catch_all=catch_all,
        )

    async def _open(self, target: Target, is_last: bool) -> Conversation:
        for tls in (self._shared._tls, None):
            share_s = self._share_s(is_last)
            try:
                return await open_conversation(
                    target,
                    self._shared._identity,
                    connect_timeout_s=min(self._limits.connect_timeout_s, share_s),
                    command_timeout_s=min(self._limits.command_timeout_s, share_s),
                    tls=tls,
                    say=self._say,
                )
            except TlsFailed:
                self._say(target.host, "going on without TLS")
        raise AssertionError("TlsFailed without TLS")

    async def _ask(
        self, conversation: Conversation, operator: str, started: float, is_last: bool
    ) -> tuple[Said, int, Heard | None]:
        """The real address's answer, its latency, and the control's if it was asked."""
        known = self._shared._catch_all.get((self._address.ascii_domain, operator))
        batch = [self._recipient]
        if self._wants_catch_all and known is None and conversation.offers("pipelining"):
            batch.append(self._control)
        sender = self._shared._identity.sender
        answers = await self._rcpt(conversation, sender, batch, is_last)
        if sender and _is(answers[0], Meaning.SENDER_REJECTED) and conversation.usable:
            # The null sender is what bounces use, and few refuse it (RFC 5321 section 4.5.5).
            again = await self._rcpt(conversation, "", batch, is_last)
            if again[0] is not None and again[0].meaning not in ABOUT_US | UNANSWERED:
                answers, sender = again, ""
        latency_ms = self._since_ms(started)
        said = answers[0]
        if said is None:
            said = Said(Stage.RCPT, Reading(Meaning.DROPPED, "no-reply"))
        control = _heard(answers[1]) if len(answers) > 1 and said.reply is not None else None
        wanted = known is None and (
            (self._wants_catch_all and said.meaning is Meaning.ACCEPTED)
            or said.meaning is Meaning.REJECTED_UNRECOGNISED
        )
        if wanted and len(batch) == 1 and conversation.usable:
            late = await self._rcpt(conversation, sender, [self._control], is_last)
            control = _heard(late[0])
        return said, latency_ms, control

    async def _rcpt(
        self, conversation: Conversation, sender: str, recipients: list[str], is_last: bool
    ) -> list[Said | None]:
        timeout_s = min(self._limits.command_timeout_s, self._share_s(is_last))
        utf8 = self._address.needs_smtputf8
        return await conversation.ask(sender, recipients, utf8=utf8, timeout_s=timeout_s)

    def _remember(self, operator: str, control: Heard | None, said: Said) -> bool | None:
        key = (self._address.ascii_domain, operator)
        verdict = accepts_all(control)
        if verdict is not None:
            self._shared._catch_all.put(key, verdict, CATCH_ALL_TTL_S)
            return verdict
        return self._shared._catch_all.get(key) if said.reply is not None else None

    def _share_s(self, is_last: bool) -> float:
        """What a single wait may take: half of what is left while other places remain."""
        left_s = self._deadline.left_s
        return max(0.05, left_s if is_last else left_s / 2)

    def _since_ms(self, started: float) -> int:
        return round((self._shared._clock() - started) * 1000)


def _is(said: Said | None, meaning: Meaning) -> bool:
    return said is not None and said.meaning is meaning


def _heard(said: Said | None) -> Heard | None:
    if said is None or said.reply is None or said.stage is not Stage.RCPT:
        return None
    return Heard(said.reading, said.reply.code, said.reply.text)


DECISIVE = frozenset(
    {
        Meaning.ACCEPTED,
        Meaning.CANNOT_VERIFY,
        Meaning.MAILBOX_NOT_FOUND,
        Meaning.MAILBOX_DISABLED,
        Meaning.MAILBOX_MOVED,
        Meaning.MAILBOX_FULL,
        Meaning.MAILBOX_RATE_LIMITED,
        Meaning.REJECTED_UNRECOGNISED,
    }
)
"""About the mailbox: no other host would say otherwise."""

ABOUT_US = frozenset(
    {
        Meaning.IP_BLOCKED,
        Meaning.RDNS_REQUIRED,
        Meaning.SENDER_AUTH_FAILED,
        Meaning.SENDER_REJECTED,
        Meaning.HELO_REJECTED,
        Meaning.AUTH_REQUIRED,
        Meaning.TLS_REQUIRED,
        Meaning.POLICY,
    }
)

UNANSWERED = frozenset({Meaning.TIMED_OUT, Meaning.DROPPED, Meaning.NOT_SMTP})

WEIGHT: tuple[Meaning, ...] = (
    # The nearer to the mailbox, the more it tells.
    *DECISIVE,
    Meaning.GREYLISTED,
    Meaning.UNVERIFIED,
    *sorted(ABOUT_US),
    Meaning.THROTTLED,
    Meaning.TEMPORARY,
    Meaning.PROTOCOL_ERROR,
    Meaning.NOT_SMTP,
    Meaning.TIMED_OUT,
    Meaning.DROPPED,
    Meaning.UNREACHABLE,
    Meaning.NOT_ALLOWED,
    # These two condemn the domain, so they count only when no host said anything else.
    Meaning.DOMAIN_NOT_SERVED,
    Meaning.SMTPUTF8_UNSUPPORTED,
)
"""Which of several hosts' failures is reported: the one that comes first here."""


def _weightiest(visits: list[_Visit]) -> _Visit:
    return min(visits, key=lambda visit: WEIGHT.index(visit.meaning))


def _finding(visits: list[_Visit], last: _Visit) -> Finding:
    reply, reading = last.said.reply, last.said.reading
    return Finding(
        Smtp(
            meaning=last.meaning,
            stage=last.said.stage,
            connected=any(visit.greeted for visit in visits),
            host=last.target.host,
            ip=last.target.ip or None,
            code=reply.code if reply else None,
            enhanced=reading.enhanced,
            text=" ".join(reply.text.split()) if reply else None,
            latency_ms=last.latency_ms,
            tls=last.tls,
            block_list=reading.block_list,
            retry_after_s=reading.retry_after_s,
        ),
        catch_all=last.catch_all,
        inactive=reading.inactive,
    )
