"""Asking the world what the doctor wants to know: DNS, mail hosts, the database, the port.

What does not depend on each other is asked side by side, each with a time limit. Mail hosts
of a few well-known domains hear EHLO and QUIT, nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
import shutil
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from engine.dns.mx import addresses, locate
from engine.dns.resolver import Answer, Kind, Resolver, Server, Status, system_servers
from engine.dns.targets import is_global
from engine.model import Dns, Meaning, Stage
from engine.smtp.dialogue import ConversationEnded, Identity, Target, open_conversation
from gateway.doctor import judge
from gateway.doctor.block_lists import (
    BLOCK_LISTS,
    NEVER_LISTED,
    TEST_ENTRY,
    BlockList,
    Listing,
    State,
    name_at,
    read,
)
from gateway.doctor.facts import (
    Database,
    DnsServer,
    MailHost,
    Names,
    OurAddress,
    Place,
    Refusers,
    our_address,
)
from gateway.doctor.finding import Finding, Level, warn
from gateway.doctor.refusals import refusals
from gateway.doctor.spf import Result, Spf, check_host
from gateway.reputation import recent
from gateway.settings import Settings
from gateway.store import StoreError, open_store
from gateway.store.tables import pauses as kept_pauses
from gateway.store.tables import refusals as kept_refusals
from gateway.web.server import bind

WELL_KNOWN = ("gmail.com", "outlook.com", "yahoo.com")
"""Domains whose mail hosts are asked whether they hear us; outlook.com's tells the time."""
TIMEOUT_S = 10.0
"""For each thing that is looked at."""
FAREWELL_S = 1.0
LIVEZ_S = 1.0
BUSY_S = 2.0
"""How long another process may hold the database's write lock before it is worth a word."""
MAX_REFUSERS = 1_000
"""Operators and causes that are looked at: the worst."""

Clock = Callable[[], float]
T = TypeVar("T")


async def examine(
    settings: Settings,
    *,
    ip: str = "",
    block_lists: Sequence[BlockList] = BLOCK_LISTS,
    timeout_s: float = TIMEOUT_S,
    rng: random.Random | None = None,
    clock: Clock = time.time,
) -> list[Finding]:
    """All findings, in the order in which they are worth reading.

    `ip` is our public address if it is known better than can be found out; `clock` is Unix
    time in seconds. Never raises for what DNS, mail hosts or the disk do.
    """
    patient = _Patient(settings, timeout_s, rng or random.SystemRandom(), clock)
    try:
        return await patient.examine(ip, block_lists)
    finally:
        await patient.resolver.aclose()


class _Patient:
    """One examination."""

    def __init__(
        self, settings: Settings, timeout_s: float, rng: random.Random, clock: Clock
    ) -> None:
        engine = settings.engine
        self.settings = settings
        self.engine = engine
        self.timeout_s = timeout_s
        self.rng = rng
        self.clock = clock
        self.servers = tuple(map(Server.parse, engine.dns_servers)) or system_servers()
        self.resolver = Resolver(self.servers, timeout_s=timeout_s)

    async def examine(self, ip: str, block_lists: Sequence[BlockList]) -> list[Finding]:
        machine = asyncio.gather(
            self._limited(asyncio.to_thread(look_at_database, self.settings.storage.url), None),
            self._limited(self._place(), None),
            self._limited(look_at_standing(self.settings.storage.url, self.clock()), None),
        )
        servers = await asyncio.gather(*(self._server(server) for server in self.servers))
        found = [judge.dns_server(server) for server in servers]
        if any(server.status is Status.OK for server in servers):
            hosts, outside = await self._outside(ip, block_lists)
            found += outside
        else:
            hosts = []
            said = "no DNS server answers, so that nothing outside could be looked at"
            found.append(warn("outside", "", said, "Mend DNS first, then ask again."))
            found.append(judge.helo_name(self.engine.helo))
        database, place, refusers = await machine
        found += refusals(refusers) if refusers else [self._unfinished("refused")]
        found.append(judge.clock(hosts, self._behind_files_s()))
        found.append(judge.database(database) if database else self._unfinished("database"))
        found.append(judge.listening(place) if place else self._unfinished("listen"))
        return found

    async def _outside(
        self, ip: str, block_lists: Sequence[BlockList]
    ) -> tuple[list[MailHost], list[Finding]]:
        answers = await asyncio.gather(*(self._limited(self._host(d), None) for d in WELL_KNOWN))
        hosts = [host for host in answers if host is not None]
        local = _way_out(ip or next((host.ip for host in hosts if host.ip), ""))
        allow = self.engine.allow_private_networks
        ours = our_address(ip, hosts, local, allow)
        sender = self.engine.mail_from
        # a list without IPv6 entries has nothing to say of such an address
        asked = [entry for entry in block_lists if entry.ipv6 or ":" not in ours.ip]
        unreachable = Listing(State.UNREACHABLE)
        names, dns, spf, listings = await asyncio.gather(
            self._limited(self._names(ours.ip), Names(Status.TIMEOUT, ptr_status=Status.TIMEOUT)),
            self._limited(self._mail_domain(), Dns.TIMEOUT),
            self._limited(self._spf(ours), Spf(Result.TEMPERROR, "no answer in time")),
            asyncio.gather(*(self._limited(self._listing(e, ours), unreachable) for e in asked)),
        )
        domain = sender.rpartition("@")[2] or self.engine.helo
        found = [
            judge.port_25(hosts, self.engine.smtp_port),
            *judge.refusals(hosts),
            judge.address(ours),
            judge.helo_name(self.engine.helo),
            judge.helo_address(self.engine.helo, names, ours),
            judge.ptr(self.engine.helo, names, ours),
            judge.mail_from(sender, dns),
            judge.spf(domain, spf, ours),
        ]
        for entry, listing in zip(asked, listings, strict=True):
            found.append(judge.block_list(entry, listing, ours))
        return hosts, found

    async def _limited(self, work: Awaitable[T], otherwise: T) -> T:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await work
        except TimeoutError:
            return otherwise

    def _unfinished(self, check: str) -> Finding:
        said = f"not found out within {self.timeout_s:g} s"
        return Finding(check, "", Level.WARN, said, "Ask again when the machine is less busy.")

    # -- DNS -----------------------------------------------------------------------------

    async def _server(self, server: Server) -> DnsServer:
        """How one server answers, asked by itself and without a cache."""
        alone = Resolver([server], timeout_s=self.timeout_s / 2)
        label = "".join(self.rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(20))
        try:
            known, made_up = await asyncio.gather(
                _timed(*(alone.ask(domain, Kind.MX) for domain in WELL_KNOWN)),
                _timed(*(alone.ask(f"{label}.{parent}", Kind.A) for parent in _PARENTS)),
            )
        finally:
            await alone.aclose()
        answers, latency_ms = known
        best = min(answers, key=lambda answer: _BEST.index(answer.status))
        lies = [answer for answer in made_up[0] if answer.records]
        negative = min(made_up[0], key=lambda answer: _BEST_NEGATIVE.index(answer.status))
        name = f"[{server.host}]" if ":" in server.host else server.host
        return DnsServer(
            server=f"{name}:{server.port}",
            status=best.status,
            latency_ms=latency_ms,
            made_up=negative.status,
            lie=lies[0].records[0] if lies else "",
        )

    async def _names(self, ip: str) -> Names:
        helo = self.engine.helo
        v4, v6, pointer = await asyncio.gather(
            self.resolver.ask(helo, Kind.A),
            self.resolver.ask(helo, Kind.AAAA),
            self.resolver.ask(ipaddress.ip_address(ip).reverse_pointer, Kind.PTR)
            if ip
            else _nothing(),
        )
        status = Status.OK if v4.records or v6.records else _worse(v4.status, v6.status)
        names = [record.rstrip(".").lower() for record in pointer.records][:10]
        kind = Kind.AAAA if ":" in ip else Kind.A
        back = await asyncio.gather(*(self.resolver.ask(name, kind) for name in names))
        confirmed = [n for n, answer in zip(names, back, strict=True) if _has(answer, ip)]
        ips = tuple(map(_canonical, (*v4.records, *v6.records)))
        return Names(status, ips, pointer.status, names, confirmed)

    async def _mail_domain(self) -> Dns:
        domain = self.engine.mail_from.rpartition("@")[2]
        if not domain:
            return Dns.NOT_CHECKED
        return (await locate(self.resolver, domain, self.rng)).dns

    async def _spf(self, ours: OurAddress) -> Spf | None:
        if not ours.ip:
            return None
        engine = self.engine
        return await check_host(self.resolver, ours.ip, engine.mail_from, engine.helo, self.clock)

    async def _listing(self, entry: BlockList, ours: OurAddress) -> Listing | None:
        if not ours.ip:
            return None
        asked = (ours.ip, TEST_ENTRY, NEVER_LISTED)
        names = (name_at(entry.zone, address) for address in asked)
        answers = await asyncio.gather(*(self.resolver.ask(name, Kind.A) for name in names))
        own, test, never = (a.records if a.status.definite else None for a in answers)
        # a test network's own address may be the one that no list should have
        never = () if ours.ip == NEVER_LISTED else never
        return read(entry, own, test_entry=test, never_listed=never)

    # -- mail hosts ----------------------------------------------------------------------

    async def _host(self, domain: str) -> MailHost | None:
        """How the best mail host of `domain` receives us; None if DNS names none."""
        route = await locate(self.resolver, domain, self.rng)
        for mx in route.hosts:
            found = await addresses(self.resolver, mx.host)
            if found.ips:
                return await self._call_on(domain, mx.host, found.ips[0])
        return None

    async def _call_on(self, domain: str, host: str, ip: str) -> MailHost:
        fact = MailHost(domain, host, ip, greeted=False, stage=Stage.CONNECT)
        if not self.engine.allow_private_networks and not is_global(ip):
            return replace(fact, meaning=Meaning.NOT_ALLOWED)
        lines: list[str] = []
        target = Target(host, ip, self.engine.smtp_port)
        share_s = self.timeout_s / 3
        try:
            conversation = await open_conversation(
                target,
                Identity(self.engine.helo, self.engine.mail_from),
                connect_timeout_s=min(self.engine.connect_timeout_s, share_s),
                command_timeout_s=min(self.engine.command_timeout_s, share_s),
                tls_timeout_s=share_s,
                tls=None,
                say=lambda _, line: lines.append(line),
            )
        except ConversationEnded as ended:
            said = ended.said
            text = said.reply.text if said.reply else ""
            fact = replace(fact, stage=said.stage, meaning=said.meaning, text=text)
        else:
            fact = replace(fact, greeted=True, stage=Stage.EHLO)
            pipe = conversation.leave()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await pipe.wait_closed()
            pipe.abort()
            await pipe.wait_closed()
        replies = [line for line in lines if line.startswith("< ")]
        told = banner_time(replies[0]) if replies else None
        ahead_s = None if told is None else self.clock() - told
        saw = address_seen(replies[-1], ip) if fact.greeted else ""
        return replace(fact, ahead_s=ahead_s, saw=saw)

    # -- this machine --------------------------------------------------------------------

    async def _place(self) -> Place:
        server = self.settings.server
        url = server.url()
        try:
            bind(server.host, server.port).close()
        except OSError as exc:
            trouble = exc.strerror or str(exc)
            local = server.model_copy(update={"public_url": ""}).url()
            return Place(url, trouble.lower(), ours=await _is_veriplex(local))
        return Place(url)

    def _behind_files_s(self) -> float:
        """How far the clock is before the newest file of ours; negative if it is not."""
        path = database_path(self.settings.storage.url)
        newest = Path(__file__).stat().st_mtime
        if path is not None and path.exists():
            newest = max(newest, path.stat().st_mtime)
        return newest - self.clock()


_PARENTS = ("com", WELL_KNOWN[0])
"""Where a name is made up: the second for servers that know a few domains alone."""
_BEST = (Status.OK, Status.NODATA, Status.NXDOMAIN, Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT)
_BEST_NEGATIVE = (
    Status.NXDOMAIN,
    Status.NODATA,
    Status.OK,
    Status.SERVFAIL,
    Status.REFUSED,
    Status.TIMEOUT,
)


async def _timed(*questions: Awaitable[Answer]) -> tuple[list[Answer], int]:
    """The answers, and the milliseconds until the first of them that was definite."""
    started = time.monotonic()
    first_ms: list[int] = []

    async def one(question: Awaitable[Answer]) -> Answer:
        answer = await question
        if answer.status.definite:
            first_ms.append(round((time.monotonic() - started) * 1000))
        return answer

    answers = await asyncio.gather(*map(one, questions))
    return answers, first_ms[0] if first_ms else 0


async def _nothing() -> Answer:
    return Answer("", Kind.PTR, Status.NODATA)


def _worse(one: Status, other: Status) -> Status:
    return one if not one.definite else other


def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _has(answer: Answer, ip: str) -> bool:
    return _canonical(ip) in map(_canonical, answer.records)


_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}|GMT|UTC?)"
)


def banner_time(banner: str) -> float | None:
    """The Unix time that a banner tells, as Exim's and Microsoft's do (RFC 5322 section 3.3)."""
    found = _DATE.search(banner)
    if found is None:
        return None
    try:
        told = parsedate_to_datetime(found[0])
    except ValueError:
        return None
    return told.timestamp() if told.tzinfo else None


_SEEN = re.compile(r"[\[(](?:IPv6:)?([0-9A-Fa-f:.]{3,45})[\])]")


def address_seen(greeting: str, own: str) -> str:
    """Our address as the reply to EHLO names it; empty if it does not. `own` is the host's."""
    for found in _SEEN.finditer(greeting):
        try:
            address = ipaddress.ip_address(found[1])
        except ValueError:
            continue
        if str(address) != own:
            return str(address)
    return ""


def _way_out(ip: str) -> str:
    """This machine's own address on the way to `ip`: connecting UDP chooses it, sending nothing."""
    if not ip:
        return ""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((ip, 9))
            return str(sock.getsockname()[0])
        except OSError:
            return ""


async def _is_veriplex(url: str) -> bool:
    import httpx

    try:
        async with httpx.AsyncClient(verify=False, timeout=LIVEZ_S, trust_env=False) as client:  # noqa: S501
            reply = await client.get(f"{url}/livez")
            return reply.status_code == 200 and "x-veriplex-source" in reply.headers
    except httpx.HTTPError:
        return False


# -- the database ------------------------------------------------------------------------


def database_path(url: str) -> Path | None:
    """The SQLite file of a `storage.url`; None where nothing is kept."""
    name = url.removeprefix("sqlite:///")
    return None if name == ":memory:" else Path(name)


def look_at_database(url: str, busy_s: float = BUSY_S) -> Database:
    """Whether the database can be written, without changing anything in it.

    `busy_s` is how long another process may hold the write lock.
    """
    path = database_path(url)
    if path is None:
        return Database(":memory:", False, None)
    folder = path.parent
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as exc:
        return Database(str(path), False, 0, f"{folder}: {(exc.strerror or str(exc)).lower()}")
    exists = path.exists()
    trouble, busy = "", False
    try:
        if exists:
            busy = _try_to_lock(path, busy_s)
        else:
            _try_to_make(folder)
    except (OSError, sqlite3.Error) as exc:
        trouble = str(getattr(exc, "strerror", None) or exc).lower()
    return Database(str(path), exists, free_bytes, trouble, busy)


async def look_at_standing(url: str, now: float) -> Refusers:
    """Who refused us within a week of Unix time `now`, without changing anything."""
    path = database_path(url)
    if path is None:
        return Refusers(where="a database in memory ends with its server")
    if not await asyncio.to_thread(path.exists):
        return Refusers(where="there is no database")
    try:
        async with open_store(url, busy_timeout_s=BUSY_S, as_it_is=True) as store:
            if not (await store.has(kept_refusals) and await store.has(kept_pauses)):
                return Refusers(where="no server of this version has used the database")
            return Refusers(await recent(store, now, MAX_REFUSERS))
    except StoreError as exc:
        return Refusers(trouble=str(exc))


def _try_to_lock(path: Path, busy_s: float) -> bool:
    """Take the write lock and give it back; True if somebody else keeps it."""
    with contextlib.closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                raise
            return True
    return False


def _try_to_make(folder: Path) -> None:
    from tempfile import TemporaryFile

    with TemporaryFile(dir=folder):
        pass
