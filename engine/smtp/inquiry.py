"""One address's way through the mail hosts of its domain.

Which host to ask next, when to ask again, what to conclude from several failures. A host that
fails for reasons of its own (or of ours) sends us to the next; a host that speaks of the
mailbox decides. All waits share one deadline, and a stuck host never gets all that is left.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from engine.cache import TtlCache
from engine.dns.mx import Route, addresses
from engine.dns.resolver import Resolver
from engine.dns.targets import is_global
from engine.model import Address, Evidence, Meaning, Smtp, Stage
from engine.smtp.catch_all import Heard, accepts_all, control_local, settle
from engine.smtp.dialogue import (
    Conversation,
    ConversationEnded,
    Identity,
    Said,
    Say,
    Target,
    TlsFailed,
    open_conversation,
)
from engine.smtp.pacing import Pacer
from engine.smtp.pipe import CLOSING, ReplyPipe
from engine.smtp.providers import provider_of
from engine.smtp.reply import Reading
from engine.smtp.reputation import SPEAKS_OF_MAILBOX, Pause, Standing

MAX_TARGETS = 12
"""Addresses dialled for one mailbox, at most."""
MAX_REFUSALS = 3
"""Hosts that may refuse *us* before the others are left in peace."""
MAX_THROTTLED_RETRIES = 2
THROTTLED_PAUSE_S = 1.0
GREYLIST_MARGIN_S = 0.1
"""Added to a stated delay: the server's clock counts whole seconds."""
NO_TURN = "our-own-limit"
"""Stands for the rule of a reply where our own pace left no time for a connection."""
LEAST_USEFUL_S = 0.2
"""With less than this left of the deadline no further host is dialled."""
ABSENT_FOR_S = 60.0
"""How long the other hosts of a domain are asked before one that did not answer."""
CATCH_ALL_TTL_S = 3600.0
CATCH_ALL_SIZE = 100_000
ABSENT_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and where an inquiry may go; times in seconds."""

    port: int
    allow_private_networks: bool
    connect_timeout_s: float
    command_timeout_s: float
    greylist_pauses_s: tuple[float, ...]
    listed: bool = False
    """Asked for a list: whoever waits for one address goes first."""


class Deadline:
    """A point in time, and what is left until then."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())


@dataclass(frozen=True, slots=True)
class Finding:
    """What the mail hosts said."""

    smtp: Smtp
    catch_all: bool | None = None
    inactive: bool = False

    def added_to(self, evidence: Evidence) -> Evidence:
        """What is known with it."""
        meaning = self.smtp.meaning
        # An accepted mailbox is neither; of one that is refused only the stated reason is known.
        otherwise = False if meaning is Meaning.ACCEPTED else None
        return replace(
            evidence,
            smtp=self.smtp,
            catch_all=self.catch_all,
            mailbox_full=True if meaning is Meaning.MAILBOX_FULL else otherwise,
            mailbox_disabled=(
                True if meaning is Meaning.MAILBOX_DISABLED or self.inactive else otherwise
            ),
        )


class CatchAllMemory:
    """Which domains accept every name, by domain and operator, for an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TtlCache[tuple[str, str], bool] = TtlCache(CATCH_ALL_SIZE, clock)

    def recall(self, domain: str, operator: str) -> bool | None:
        return self._known.get((domain, operator))

    def learn(self, domain: str, operator: str, accepts: bool | None) -> bool | None:
        """Note what a control address showed, if anything; returns what is known now."""
        if accepts is None:
            return self.recall(domain, operator)
        self._known.put((domain, operator), accepts, CATCH_ALL_TTL_S)
        return accepts


class Absent:
    """Places that did not answer lately, or with nothing that is SMTP."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TtlCache[Target, Meaning] = TtlCache(ABSENT_SIZE, clock)

    def __contains__(self, target: Target) -> bool:
        return self._known.get(target) is not None

    def note(self, target: Target, meaning: Meaning, stage: Stage) -> None:
        """What a visit came to."""
        if stage is not Stage.RCPT and meaning in UNANSWERED | {Meaning.UNREACHABLE}:
            self._known.put(target, meaning, ABSENT_FOR_S)
        else:
            self._known.put(target, meaning, 0)


class Farewells:
    """Connections that said QUIT and wait for the answer, so that no caller has to."""

    def __init__(self) -> None:
        self._pipes: set[ReplyPipe] = set()

    def __len__(self) -> int:
        return len(self._pipes)

    def say(self, conversation: Conversation) -> None:
        pipe = conversation.leave()
        if not pipe.closed:
            self._pipes.add(pipe)
            pipe.on_closed(lambda: self._pipes.discard(pipe))

    async def aclose(self) -> None:
        """Cut what still waits."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.abort()
        for pipe in pipes:
            await pipe.wait_closed()


@dataclass(frozen=True, slots=True)
class Means:
    """What all inquiries of an engine share."""

    identity: Identity
    limits: Limits
    resolver: Resolver
    pacer: Pacer
    rng: random.Random
    tls: ssl.SSLContext | None
    clock: Callable[[], float] = time.monotonic
    memory: CatchAllMemory = field(default_factory=CatchAllMemory)
    farewells: Farewells = field(default_factory=Farewells)
    absent: Absent = field(default_factory=Absent)
    standing: Standing = field(default_factory=Standing)


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
    spoke_of_mailbox: bool = False
    """Whether any reply was about a mailbox, the control's too."""
    note: str | None = None
    """What stands in the evidence where there was no reply."""

    @property
    def had_no_turn(self) -> bool:
        return self.said.reading.rule == NO_TURN


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one connection brought."""

    said: Said
    """Of the real address."""
    control: Heard | None = None
    cut_short: bool = False
    """Whether the host hung up where more was to come."""
    tls: bool = False


def operator_of(host: str) -> str:
    """Whose mail host it is, for counting connections: a known provider's, or its own."""
    return provider_of(host) or host


class Inquiry:
    """Asks the hosts of `route` about `address` until `deadline`; made for one use."""

    def __init__(
        self,
        means: Means,
        address: Address,
        route: Route,
        *,
        catch_all: bool,
        deadline: Deadline,
        say: Say,
    ) -> None:
        self._means = means
        self._limits = means.limits
        self._address = address
        self._route = route
        self._wants_catch_all = catch_all
        self._deadline = deadline
        self._say = say
        self._recipient = f"{address.local}@{address.ascii_domain}"
        # The same control on every try, so that greylisting knows it when it comes again.
        self._control = f"{control_local(means.rng.choice)}@{address.ascii_domain}"
        self._put_off: list[Target] = []
        """Of this round: they turn us away or are absent just now, and come after the others."""

    async def run(self) -> Finding:
        """What the hosts say. Never raises for what a host does."""
        greylist_pauses_s = list(self._limits.greylist_pauses_s)
        throttled = 0
        heard: Finding | None = None
        while True:
            visits = await self._round()
            last = min(visits, key=lambda visit: (WEIGHT.index(visit.meaning), visit.had_no_turn))
            if last.had_no_turn:
                # Nor would there be one after a pause; and what was said before tells more.
                return heard or _finding(visits, last)
            heard = _finding(visits, last)
            stated_s = last.said.reading.retry_after_s
            pause_s: float | None = None
            if last.meaning is Meaning.GREYLISTED and greylist_pauses_s:
                usual_s = greylist_pauses_s.pop(0)
                pause_s = usual_s if stated_s is None else stated_s + GREYLIST_MARGIN_S
            elif last.meaning is Meaning.THROTTLED and throttled < MAX_THROTTLED_RETRIES:
                pause_s = THROTTLED_PAUSE_S * 2**throttled if stated_s is None else stated_s
                throttled += 1
            if pause_s is None or pause_s + LEAST_USEFUL_S > self._deadline.left_s:
                return heard
            self._say(last.target.host, f"waiting {pause_s:.1f} s, then asking again")
            await asyncio.sleep(pause_s)

    async def _round(self) -> list[_Visit]:
        """Visit targets in order until one decides; at least one visit."""
        visits: list[_Visit] = []
        refusals = 0
        self._put_off.clear()
        async with aclosing(self._targets()) as targets:
            async for target, is_last in targets:
                visit = await self._visit(target, is_last)
                if visit.meaning in DECISIVE:
                    return [visit]
                if visit.had_no_turn and not is_last and target not in self._put_off:
                    self._put_off.append(target)
                    continue
                visits.append(visit)
                refusals += visit.meaning in ABOUT_US
                if refusals >= MAX_REFUSALS or self._deadline.left_s < LEAST_USEFUL_S:
                    break
        if not visits:
            # The hosts had addresses when the route was found, and have none now.
            target = Target(self._route.hosts[0].host, "", self._limits.port)
            visits.append(_unasked(target, Meaning.UNREACHABLE, "no-address"))
        return visits

    async def _targets(self) -> AsyncGenerator[tuple[Target, bool], None]:
        """Where to dial, in order of preference, and whether it is the last place."""
        count = 0
        hosts = self._route.hosts
        for host in hosts:
            found = await addresses(self._means.resolver, host.host)
            for ip in found.ips[: MAX_TARGETS - count]:
                count += 1
                at_end = host is hosts[-1] and ip == found.ips[-1]
                is_last = (at_end or count == MAX_TARGETS) and not self._put_off
                yield Target(host.host, ip, self._limits.port), is_last
            if count == MAX_TARGETS:
                break
        for number, target in enumerate(put_off := tuple(self._put_off), start=1):
            yield target, number == len(put_off)

    async def _visit(self, target: Target, is_last: bool) -> _Visit:
        """Talk to one target, in its turn."""
        if not self._limits.allow_private_networks and not is_global(target.ip):
            self._say(target.host, f"{target.ip} is not a public address: not dialled")
            return _unasked(target, Meaning.NOT_ALLOWED, "not-global")
        operator = operator_of(target.host)
        pacer = self._means.pacer
        hurried = not is_last and target not in self._put_off
        # A list has time: it gives up only those who never have any for it.
        vain = (
            pacer.is_shut(operator)
            if self._limits.listed
            else pacer.wait_s(operator) > self._share_s(is_last)
        )
        if vain:
            self._say(target.host, "no connection before the deadline")
            return _unasked(target, Meaning.THROTTLED, NO_TURN)
        if hurried and (target in self._means.absent or pacer.turns_away(operator)):
            self._say(target.host, "not there just now: the others first")
            return _unasked(target, Meaning.THROTTLED, NO_TURN)
        try:
            async with (
                asyncio.timeout(self._share_s(is_last)) as waiting,
                pacer.slot(operator, listed=self._limits.listed, elsewhere=hurried),
            ):
                waiting.reschedule(None)
                # Not before the slot: those who waited for it would not know of a pause since.
                if pause := self._means.standing.pause(target.host):
                    self._say(target.host, pause.text)
                    return _left_alone(target, pause)
                patience_s = self._share_s(is_last)
                visit = await self._converse(target, is_last, operator)
        except TimeoutError:
            self._say(target.host, "no free connection in time")
            return _unasked(target, Meaning.THROTTLED, NO_TURN)
        if patience_s >= self._limits.command_timeout_s:  # else it may have been our own hurry
            self._means.absent.note(target, visit.said.meaning, visit.said.stage)
        if visit.meaning is Meaning.THROTTLED:
            pacer.complained(operator, visit.said.reading.retry_after_s, visit.said.stage)
        elif visit.greeted:
            pacer.went_well(operator)
        self._note(visit)
        return visit

    def _note(self, visit: _Visit) -> None:
        reply = visit.said.reply
        if reply is None and not visit.greeted:
            return  # nobody was there
        self._means.standing.note(
            visit.target.host,
            visit.said.meaning,
            visit.said.stage,
            spoke_of_mailbox=visit.spoke_of_mailbox,
            block_list=visit.said.reading.block_list,
            text=reply.text if reply else None,
        )

    async def _converse(self, target: Target, is_last: bool, operator: str) -> _Visit:
        started = self._means.clock()
        domain, memory = self._address.ascii_domain, self._means.memory
        try:
            answer = await self._talk(target, is_last, operator)
        except ConversationEnded as ended:
            latency_ms = self._since_ms(started)
            said = ended.said
            return _Visit(target, said, said.meaning, ended.greeted, latency_ms=latency_ms)
        latency_ms = self._since_ms(started)
        if answer.cut_short and self._deadline.left_s > LEAST_USEFUL_S:
            answer = await self._once_more(answer, target, is_last, operator)
        said, control = answer.said, answer.control
        catch_all = memory.learn(domain, operator, accepts_all(control))
        heard = _heard(said)
        meaning = said.meaning if heard is None else settle(heard, control, catch_all)
        spoke = meaning in SPEAKS_OF_MAILBOX or (
            control is not None and control.reading.meaning in SPEAKS_OF_MAILBOX
        )
        return _Visit(target, said, meaning, True, answer.tls, latency_ms, catch_all, spoke)

    async def _once_more(
        self, answer: _Answer, target: Target, is_last: bool, operator: str
    ) -> _Answer:
        """On a connection of its own, what the host hung up on.

        Some do so at names that nobody has, or after each recipient. A reset may even take the
        real address's reply along, which had come before (RFC 9293 section 3.10.7.4).
        """
        self._say(target.host, "asking once more, one at a time")
        try:
            if answer.said.meaning is Meaning.DROPPED:
                return await self._talk(target, is_last, operator, apart=True)
            return await self._talk(target, is_last, operator, said=answer.said)
        except ConversationEnded:
            return answer

    async def _talk(
        self,
        target: Target,
        is_last: bool,
        operator: str,
        *,
        apart: bool = False,
        said: Said | None = None,
    ) -> _Answer:
        """One connection. ConversationEnded when nothing could be asked.

        `apart` asks for the control only after the answer for the real address; where that is
        known already, as `said`, the control is asked alone.
        """
        conversation = await self._open(target, is_last)
        try:
            if said is not None:
                late = await self._rcpt(
                    conversation, self._means.identity.sender, [self._control], is_last
                )
                answer = _Answer(said, _heard(late[0]))
            else:
                answer = await self._ask(conversation, operator, is_last, apart=apart)
        except BaseException:
            conversation.abort()
            raise
        self._means.farewells.say(conversation)
        return replace(answer, tls=conversation.tls)

    async def _open(self, target: Target, is_last: bool) -> Conversation:
        """A conversation, over TLS if the host offers it, in clear if that fails."""
        try:
            return await self._open_with(target, is_last, self._means.tls)
        except TlsFailed:
            self._say(target.host, "going on without TLS")
            return await self._open_with(target, is_last, None)

    async def _open_with(
        self, target: Target, is_last: bool, tls: ssl.SSLContext | None
    ) -> Conversation:
        share_s = self._share_s(is_last)
        return await open_conversation(
            target,
            self._means.identity,
            connect_timeout_s=min(self._limits.connect_timeout_s, share_s),
            command_timeout_s=min(self._limits.command_timeout_s, share_s),
            # Half at most: clear text must still have its chance.
            tls_timeout_s=min(self._limits.command_timeout_s, share_s / 2),
            tls=tls,
            say=self._say,
        )

    async def _ask(
        self, conversation: Conversation, operator: str, is_last: bool, *, apart: bool
    ) -> _Answer:
        """The real address's answer, and the control's if it was asked.

        The real one goes first, so that nothing the control provokes can spoil its answer.
        """
        known = self._means.memory.recall(self._address.ascii_domain, operator)
        batch = [self._recipient]
        wants = self._wants_catch_all and known is None
        if wants and not apart and conversation.offers("pipelining"):
            batch.append(self._control)
        sender = self._means.identity.sender
        answers = await self._rcpt(conversation, sender, batch, is_last)
        if sender and _rejects_sender(answers[0]) and conversation.usable:
            # The null sender is what bounces use, and few refuse it (RFC 5321 section 4.5.5).
            again = await self._rcpt(conversation, "", batch, is_last)
            if again[0] is not None and again[0].meaning not in ABOUT_US | UNANSWERED:
                answers, sender = again, ""
        said = answers[0] or Said(Stage.RCPT, Reading(Meaning.DROPPED, "no-reply"))
        control = answers[1] if len(batch) > 1 else None
        if said.meaning is Meaning.DROPPED:
            return _Answer(said, cut_short=len(batch) > 1 and said.stage is Stage.RCPT)
        wanted = (wants and said.meaning is Meaning.ACCEPTED) or (
            known is not True and said.meaning is Meaning.REJECTED_UNRECOGNISED
        )
        # RFC 5321 section 4.5.3.1.10: one too many for this transaction, but not for another.
        one_too_many = said.meaning is Meaning.ACCEPTED and _is_throttled(control)
        if wanted and conversation.usable and (control is None or one_too_many):
            control = (await self._rcpt(conversation, sender, [self._control], is_last))[0]
        return _Answer(said, _heard(control), cut_short=wanted and _is_cut_off(control))

    async def _rcpt(
        self, conversation: Conversation, sender: str, recipients: list[str], is_last: bool
    ) -> list[Said | None]:
        timeout_s = min(self._limits.command_timeout_s, self._share_s(is_last))
        utf8 = self._address.needs_smtputf8
        return await conversation.ask(sender, recipients, utf8=utf8, timeout_s=timeout_s)

    def _share_s(self, is_last: bool) -> float:
        """What a single wait may take: half of what is left while other places remain."""
        left_s = self._deadline.left_s
        return max(0.05, left_s if is_last else left_s / 2)

    def _since_ms(self, started: float) -> int:
        return round((self._means.clock() - started) * 1000)


def _unasked(target: Target, meaning: Meaning, rule: str) -> _Visit:
    return _Visit(target, Said(Stage.CONNECT, Reading(meaning, rule)), meaning)


def _left_alone(target: Target, pause: Pause) -> _Visit:
    reading = Reading(
        pause.meaning,
        "paused",
        block_list=pause.block_list,
        retry_after_s=math.ceil(pause.left_s),
    )
    return _Visit(target, Said(Stage.CONNECT, reading), pause.meaning, note=pause.text)


def _rejects_sender(said: Said | None) -> bool:
    return said is not None and said.meaning is Meaning.SENDER_REJECTED


def _is_throttled(said: Said | None) -> bool:
    return said is not None and said.meaning is Meaning.THROTTLED


def _is_cut_off(said: Said | None) -> bool:
    """Whether the host hung up instead of an answer, or with a 421."""
    return said is None or said.meaning is Meaning.DROPPED or _is_closing(said)


def _is_closing(said: Said) -> bool:
    return said.reply is not None and said.reply.code == CLOSING


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
    *sorted(DECISIVE),
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
            text=" ".join(reply.text.split()) if reply else last.note,
            latency_ms=last.latency_ms,
            tls=last.tls,
            block_list=reading.block_list,
            retry_after_s=reading.retry_after_s,
        ),
        catch_all=last.catch_all,
        inactive=reading.inactive,
    )
