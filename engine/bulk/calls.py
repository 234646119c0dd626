"""Many addresses at once: grouped by domain, domains by mail host, connections kept.

What a mail host says of a mailbox in so many words is taken from the kept connection
(`engine.bulk.lane`); whatever else happens is asked again by the single path, one address at a
time, so that both give the same answers. A greylisted address is handed back as such at once:
whoever keeps a list asks again later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Protocol

from engine.address import lists
from engine.address.syntax import parse
from engine.bulk.lane import RESTART_PAUSES_S, Lane
from engine.bulk.window import Asked, Group, Where
from engine.cache import TtlCache
from engine.dns.mx import Route, addresses, locate
from engine.dns.policies import has_dmarc, has_spf
from engine.dns.targets import is_global
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Meaning,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from engine.score import score
from engine.smtp.catch_all import Heard, accepts_all, control_local, settle
from engine.smtp.dialogue import Target
from engine.smtp.inquiry import CATCH_ALL_SIZE, CATCH_ALL_TTL_S, Finding, Means, operator_of
from engine.smtp.pacing import AT_THE_DOOR
from engine.smtp.providers import provider_of
from engine.verdict import judge

UNDER_WAY = 10_000
"""Addresses of one call that are read before the first of them are answered."""
READ_AT_ONCE = 500
"""Addresses read without a pause for others."""
DOMAINS_AT_ONCE = 64
"""Looked up in DNS at a time."""
DNS_DEADLINE_S = 15.0
"""For the route and the policies of a domain."""
SINGLES_AT_ONCE = 100
MOST_CONNECTIONS = 400
"""Of all lanes together."""
MAX_LANES = 5_000
"""Mail hosts whose manners are remembered."""
SICK_FOR_S = 60.0
"""How long a domain whose hosts cannot be asked is not tried again."""
MOST_PASSED_OVER = 5
"""Mail hosts of a domain that do not answer, before the single path is left to find one."""
SILENT_IN_A_ROW = 5
"""Addresses that a host fell silent at, or was too busy for however long they waited; then
the others of its domain are not tried."""

OnResult = Callable[[int, Verification], None]
"""Takes the place in the sequence, and the answer."""


class SingleProbe(Protocol):
    """The single path."""

    async def verify(
        self, text: str, checks: Checks | None = None, deadline_s: float | None = None
    ) -> Verification: ...


class Bulk:
    """What the bulk calls of one engine share."""

    def __init__(
        self,
        means: Means,
        single: SingleProbe,
        *,
        now: Callable[[], datetime],
        connections_per_host: int,
        recipients_per_connection: int,
    ) -> None:
        """`single` should not wait for greylisting."""
        self.means = means
        self.single = single
        self.now = now
        self.connections_per_host = connections_per_host
        self._recipients_per_connection = recipients_per_connection
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)
        self.lookups = asyncio.Semaphore(DOMAINS_AT_ONCE)
        self.singles = asyncio.Semaphore(SINGLES_AT_ONCE)
        self.controls: TtlCache[str, str] = TtlCache(CATCH_ALL_SIZE, means.clock)
        """Control addresses: the same on every try, so that greylisting knows them again."""
        self.refusals: TtlCache[tuple[str, str], Heard] = TtlCache(CATCH_ALL_SIZE, means.clock)
        """How controls were refused, by domain and operator."""
        self.sick: TtlCache[str, Evidence] = TtlCache(CATCH_ALL_SIZE, means.clock)

    async def verify_many(self, texts: Iterable[str], checks: Checks, on_result: OnResult) -> None:
        """As `ProbeEngine.verify_many`."""
        call = _Call(self, checks, on_result)
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await call.run(texts, tasks)
                finally:
                    call.live = False
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def lane(self, target: Target) -> Lane:
        key = target.host, target.ip
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= MAX_LANES:
                self._forget_idle_lanes()
            lane = self._lanes[key] = Lane(
                self.means,
                target,
                most_connections=self.connections_per_host,
                recipients_per_connection=self._recipients_per_connection,
                places=self._places,
            )
        return lane

    def has_spoken(self, smtp: Smtp) -> bool:
        """Whether the host that `smtp` is of has spoken to a list before."""
        lane = self._lanes.get((smtp.host or "", smtp.ip or ""))
        return lane is not None and lane.has_spoken

    def control(self, domain: str) -> str:
        control = self.controls.get(domain)
        if control is None:
            control = f"{control_local(self.means.rng.choice)}@{domain}"
            self.controls.put(domain, control, CATCH_ALL_TTL_S)
        return control

    async def aclose(self) -> None:
        """Cut what is still open; calls should be over."""
        for lane in self._lanes.values():
            await lane.aclose()

    def _forget_idle_lanes(self) -> None:
        idle = sorted((lane.last_used_s, key) for key, lane in self._lanes.items() if lane.idle)
        for _, key in idle[: MAX_LANES // 10 + 1]:
            del self._lanes[key]


class _Call:
    """One list of addresses, and who waits for it."""

    tasks: asyncio.TaskGroup

    def __init__(self, bulk: Bulk, checks: Checks, on_result: OnResult) -> None:
        self.bulk = bulk
        self.checks = checks
        self.live = True
        self.failure: Exception | None = None
        self._on_result = on_result
        self._left = 0
        self._fewer = asyncio.Event()

    async def run(self, texts: Iterable[str], tasks: asyncio.TaskGroup) -> None:
        """Have all addresses answered, as many at a time as there is room for."""
        self.tasks = tasks
        places = enumerate(texts)
        while await self._read(places):
            await self._until_left(UNDER_WAY // 2)
        await self._until_left(0)

    async def _read(self, places: Iterator[tuple[int, str]]) -> bool:
        """Start some addresses; False if there are no more."""
        domains: dict[str, list[Asked]] = {}
        more = True
        for _ in range(UNDER_WAY // 2 // READ_AT_ONCE):
            some = list(islice(places, READ_AT_ONCE))
            more = len(some) == READ_AT_ONCE
            for place, text in some:
                self._sort(place, parse(text), domains)
            if not more:
                break
            await asyncio.sleep(0)
        lookups = self.bulk.lookups
        for domain, asked in domains.items():
            await lookups.acquire()
            task = self.tasks.create_task(_Domain(self, domain, asked).begin())
            task.add_done_callback(lambda _: lookups.release())
        return more

    async def _until_left(self, most: int) -> None:
        """Wait until at most so many addresses are unanswered; raises what was lost."""
        while self._left > most and self.failure is None:
            self._fewer.clear()
            await self._fewer.wait()
        if self.failure is not None:
            raise self.failure

    def answer(self, place: int, verification: Verification) -> None:
        if self.live:
            self._on_result(place, verification)
        self._less()

    def failed(self, why: Exception) -> None:
        """Some addresses will not be answered."""
        self.failure = self.failure or why
        self._fewer.set()

    def _less(self) -> None:
        self._left -= 1
        self._fewer.set()

    def _sort(self, place: int, address: Address, domains: dict[str, list[Asked]]) -> None:
        self._left += 1
        if address.valid and (self.checks.dns or self.checks.smtp):
            domains.setdefault(address.ascii_domain, []).append(Asked(place, address))
            return
        evidence = _listed(address, Evidence())
        self.answer(place, self.verification(address, evidence, 0.0))

    def verification(self, address: Address, evidence: Evidence, took_s: float) -> Verification:
        verdict, reason = judge(address, evidence, self.checks)
        return Verification(
            address=address,
            verdict=verdict,
            reason=reason,
            score=score(verdict, reason, evidence),
            evidence=evidence,
            checks=self.checks,
            verified_at=self.bulk.now(),
            duration_s=took_s,
        )


_Judged = tuple[Evidence, Verdict, Reason, int]


class _Domain:
    """The addresses of one domain in one call."""

    def __init__(self, call: _Call, domain: str, asked: list[Asked]) -> None:
        self._call = call
        self._bulk = call.bulk
        self._domain = domain
        self._asked = asked
        self._evidence = Evidence()
        self._hard: deque[Asked] = deque()
        self._asking_singly = 0
        self._silent = 0
        self.has_other_hosts = False
        self._put_off: dict[int, Verification] = {}
        """Greylisted by the first host, by place; another host may know more."""
        self._greylists_everywhere = False

    # -- before the mail hosts -----------------------------------------------------------

    async def begin(self) -> None:
        """Find the route, and put the addresses in its lane."""
        try:
            await self._begin()
        except Exception as exc:
            self._call.failed(exc)

    async def _begin(self) -> None:
        route = await self._look_up()
        if not (self._call.checks.smtp and route.dns.can_receive):
            for asked in self._asked:
                self._tell(asked, self._evidence)
            return
        self.has_other_hosts = len(route.hosts) > 1
        many = [asked for asked in self._asked if not asked.address.needs_smtputf8]
        odd = [asked for asked in self._asked if asked.address.needs_smtputf8]
        sick = self._bulk.sick.get(self._domain) is not None
        target = None if sick else await self._target(route)
        if target is None:
            odd += many
        elif many:
            self._bulk.lane(target).add(self._group(target, many))
        if odd:
            self._ask_singly(odd)

    async def _look_up(self) -> Route:
        resolver, rng = self._bulk.means.resolver, self._bulk.means.rng
        try:
            async with asyncio.timeout(DNS_DEADLINE_S):
                route, spf, dmarc = await asyncio.gather(
                    locate(resolver, self._domain, rng, sparing=True),
                    has_spf(resolver, self._domain),
                    has_dmarc(resolver, self._domain),
                )
        except TimeoutError:
            route, spf, dmarc = Route(Dns.TIMEOUT), None, None
        address = self._asked[0].address
        self._evidence = Evidence(
            disposable=lists.disposable(address),
            free=lists.free(address),
            dns=route.dns,
            mx=route.hosts,
            provider=next(filter(None, (provider_of(mx.host) for mx in route.hosts)), None),
            spf=spf,
            dmarc=dmarc,
        )
        return route

    async def _target(self, route: Route) -> Target | None:
        """Where the domain's first mail host lives; None if only the single path can tell.

        Those that turn us away or are absent just now are passed over, as the single path does.
        """
        means = self._bulk.means
        for mx in route.hosts[:MOST_PASSED_OVER]:
            found = await addresses(means.resolver, mx.host, sparing=True)
            if not found.ips:
                return None
            if not (means.limits.allow_private_networks or is_global(found.ips[0])):
                return None
            target = Target(mx.host, found.ips[0], means.limits.port)
            away = target in means.absent or means.pacer.turns_away(operator_of(mx.host))
            if not (self.has_other_hosts and away):
                return target
        return None

    def _group(self, target: Target, asked: Sequence[Asked]) -> Group:
        group = Group(self, self._domain, asked, self._bulk.control(self._domain))
        operator = operator_of(target.host)
        group.catch_all = self._bulk.means.memory.recall(self._domain, operator)
        group.control_heard = self._bulk.refusals.get((self._domain, operator))
        known = group.catch_all is True or group.control_heard is not None
        group.control_tries = 2 if self._call.checks.catch_all and not known else 0
        return group

    # -- from the lane -------------------------------------------------------------------

    @property
    def live(self) -> bool:
        return self._call.live and self._call.failure is None

    def failed(self, why: Exception) -> None:
        self._call.failed(why)

    def told(self, group: Group, heard: Sequence[tuple[Asked, Heard]], where: Where) -> None:
        control, catch_all = group.control_heard, group.catch_all
        if control is not None and accepts_all(control) is False:
            key = self._domain, operator_of(where.target.host)
            if self._bulk.refusals.get(key) is None:
                self._bulk.refusals.put(key, control, CATCH_ALL_TTL_S)
        now, took_s = self._bulk.now(), where.latency_ms / 1000
        seen: dict[tuple[object, ...], _Judged] = {}
        answer, checks = self._call.answer, self._call.checks
        for asked, reply in heard:
            address = asked.address
            meaning = reply.reading.meaning
            if meaning is Meaning.REJECTED_UNRECOGNISED:
                if control is None and catch_all is not True:
                    self.hard(group, (asked,))
                    continue
                meaning = settle(reply, control, catch_all)
            traits = lists.role(address), lists.no_reply(address), lists.suggest(address)
            key_ = (reply.code, reply.text, meaning, traits)
            judged = seen.get(key_)
            if judged is None:
                smtp = _smtp(reply, meaning, where)
                judged = seen[key_] = self._judge(address, smtp, reply, catch_all, traits)
            evidence, verdict, reason, points = judged
            found = Verification(address, verdict, reason, points, evidence, checks, now, took_s)
            if meaning is Meaning.GREYLISTED and self._may_pass_elsewhere:
                self._put_off[asked.place] = found
                self.hard(group, (asked,))
            else:
                answer(asked.place, found)

    @property
    def _may_pass_elsewhere(self) -> bool:
        return self.has_other_hosts and not self._greylists_everywhere

    def _judge(
        self,
        address: Address,
        smtp: Smtp,
        reply: Heard,
        catch_all: bool | None,
        traits: tuple[bool, bool, str | None],
    ) -> _Judged:
        evidence = Finding(smtp, catch_all, reply.reading.inactive).added_to(
            replace(self._evidence, role=traits[0], no_reply=traits[1], did_you_mean=traits[2])
        )
        verdict, reason = judge(address, evidence, self._call.checks)
        return evidence, verdict, reason, score(verdict, reason, evidence)

    def hard(self, group: Group, asked: Sequence[Asked]) -> None:
        if self.live:
            self._ask_singly(asked)

    # -- one at a time -------------------------------------------------------------------

    def _ask_singly(self, asked: Iterable[Asked]) -> None:
        self._hard.extend(asked)
        if self._hard and not self._asking_singly:
            # One goes ahead: what it finds may be true of them all.
            self._start_asking()

    def _start_asking(self) -> None:
        self._asking_singly += 1
        self._call.tasks.create_task(self._singly())

    async def _singly(self) -> None:
        try:
            while self._hard and self.live:
                asked = self._hard.popleft()
                sick = self._bulk.sick.get(self._domain)
                if sick is not None and not asked.address.needs_smtputf8:
                    self._tell(asked, sick)
                    continue
                put_off = self._put_off.pop(asked.place, None)
                if put_off is not None and self._greylists_everywhere:
                    self._call.answer(asked.place, put_off)
                    continue
                async with self._bulk.singles:
                    await self._verify(asked)
                while self._hard and self._asking_singly < self._bulk.connections_per_host:
                    self._start_asking()
        finally:
            self._asking_singly -= 1

    async def _verify(self, asked: Asked) -> None:
        try:
            found = await self._bulk.single.verify(asked.address.raw, self._call.checks)
            for pause_s in RESTART_PAUSES_S:
                if not self._is_gone(found.evidence.smtp):
                    break
                await asyncio.sleep(pause_s)
                found = await self._bulk.single.verify(asked.address.raw, self._call.checks)
        except Exception as exc:
            self._call.failed(exc)
            return
        smtp = found.evidence.smtp
        if smtp is not None and self._is_shut_out(smtp):
            self._bulk.sick.put(self._domain, found.evidence, SICK_FOR_S)
        elif smtp is not None and smtp.meaning in _SAYS_NOTHING | {Meaning.THROTTLED}:
            self._silent += 1
            of_host = smtp.meaning in _SAYS_NOTHING and smtp.stage is not Stage.RCPT
            if of_host or self._silent >= SILENT_IN_A_ROW:
                self._bulk.sick.put(self._domain, found.evidence, SICK_FOR_S)
        else:
            self._silent = 0
        if found.reason is Reason.GREYLISTED:
            self._greylists_everywhere = True
        self._call.answer(asked.place, found)

    def _is_gone(self, smtp: Smtp | None) -> bool:
        """Whether a host that has spoken to us takes no connections: it may start again."""
        if smtp is None or smtp.meaning is not Meaning.UNREACHABLE or not self._call.live:
            return False
        return self._bulk.sick.get(self._domain) is None and self._bulk.has_spoken(smtp)

    def _is_shut_out(self, smtp: Smtp) -> bool:
        """Whether the next address would be turned away at the door as well."""
        if smtp.meaning is not Meaning.THROTTLED or smtp.stage not in AT_THE_DOOR:
            return False
        pacer, operator = self._bulk.means.pacer, operator_of(smtp.host or "")
        # Without a code: it waited for its turn, and the deadline came first.
        return pacer.is_shut(operator) or (smtp.code is None and pacer.turns_away(operator))

    def _tell(self, asked: Asked, evidence: Evidence) -> None:
        evidence = _listed(asked.address, replace(evidence, person=None, transcript=()))
        self._call.answer(asked.place, self._call.verification(asked.address, evidence, 0.0))


_SAYS_NOTHING = frozenset(
    {
        Meaning.UNREACHABLE,
        Meaning.NOT_ALLOWED,
        Meaning.TIMED_OUT,
        Meaning.DROPPED,
        Meaning.NOT_SMTP,
    }
)
"""Of a host that is as it is for every mailbox, if it happens before any is named."""


def _listed(address: Address, evidence: Evidence) -> Evidence:
    return replace(
        evidence,
        disposable=lists.disposable(address),
        free=lists.free(address),
        role=lists.role(address),
        no_reply=lists.no_reply(address),
        did_you_mean=lists.suggest(address),
    )


def _smtp(heard: Heard, meaning: Meaning, where: Where) -> Smtp:
    reading = heard.reading
    return Smtp(
        meaning=meaning,
        stage=Stage.RCPT,
        connected=True,
        host=where.target.host,
        ip=where.target.ip,
        code=heard.code,
        enhanced=reading.enhanced,
        text=" ".join(heard.text.split()),
        latency_ms=where.latency_ms,
        tls=where.tls,
        block_list=reading.block_list,
        retry_after_s=reading.retry_after_s,
    )
