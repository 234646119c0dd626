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

from engine.dns.mx import resolve_addresses, resolve_route
from engine.dns.reference import system_name_servers
from engine.dns.resolver import Resolver
from engine.dns.targets import is_global
from engine.dns.terms import DnsAnswer, LookupStatus, NameServer, RecordType
from engine.model import Dns, Meaning, Stage
from engine.smtp.dialogue import ConversationEnded, open_conversation
from engine.smtp.terms import Identity, Target
from gateway.doctor import judge
from gateway.doctor.block_lists import (
    BLOCK_LISTS,
    NEVER_LISTED,
    TEST_ENTRY,
    BlockList,
    Listing,
    ListingState,
    interpret_answers,
    query_name,
)
from gateway.doctor.facts import (
    Database,
    DnsServer,
    ListenAddress,
    MailHost,
    NameRecords,
    PublicAddress,
    RefusalHistory,
    find_public_address,
)
from gateway.doctor.finding import Finding, Level, warn
from gateway.doctor.refusals import judge_refusals
from gateway.doctor.spf import SpfCheck, SpfResult, check_host
from gateway.reputation import recent_refusals
from gateway.settings import Settings
from gateway.store import StoreError, open_store
from gateway.store.tables import pauses as kept_pauses
from gateway.store.tables import refusals as kept_refusals
from gateway.web.server import bind

WELL_KNOWN = ("gmail.com", "outlook.com", "yahoo.com")
"""Domains whose mail hosts are asked whether they hear us; outlook.com's tells the time."""
TIMEOUT_S = 10.0
"""For each thing that is looked at."""
QUIT_TIMEOUT_S = 1.0
LIVEZ_TIMEOUT_S = 1.0
LOCK_TIMEOUT_S = 2.0
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
    patient = _Examination(settings, timeout_s, rng or random.SystemRandom(), clock)
    try:
        return await patient.run(ip, block_lists)
    finally:
        await patient.resolver.aclose()


class _Examination:
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
        self.servers = tuple(map(NameServer.parse, engine.dns_servers)) or system_name_servers()
        self.resolver = Resolver(self.servers, timeout_s=timeout_s)

    async def run(self, ip: str, block_lists: Sequence[BlockList]) -> list[Finding]:
        machine = asyncio.gather(
            self._with_timeout(
                asyncio.to_thread(inspect_database, self.settings.storage.url), None
            ),
            self._with_timeout(self._check_listen_address(), None),
            self._with_timeout(inspect_refusals(self.settings.storage.url, self.clock()), None),
        )
        servers = await asyncio.gather(*(self._query_server(server) for server in self.servers))
        found = [judge.dns_server(server) for server in servers]
        if any(server.status is LookupStatus.OK for server in servers):
            hosts, outside = await self._examine_network(ip, block_lists)
            found += outside
        else:
            hosts = []
            said = "no DNS server answers, so that nothing outside could be looked at"
            found.append(warn("outside", "", said, "Mend DNS first, then ask again."))
            found.append(judge.helo_name(self.engine.helo))
        database, place, refusers = await machine
        found += judge_refusals(refusers) if refusers else [self._timed_out("refused")]
        found.append(judge.clock(hosts, self._clock_behind_files_s()))
        found.append(judge.database(database) if database else self._timed_out("database"))
        found.append(judge.listen_address(place) if place else self._timed_out("listen"))
        return found

    async def _examine_network(
        self, ip: str, block_lists: Sequence[BlockList]
    ) -> tuple[list[MailHost], list[Finding]]:
        answers = await asyncio.gather(
            *(self._with_timeout(self._try_mail_host(d), None) for d in WELL_KNOWN)
        )
        hosts = [host for host in answers if host is not None]
        local = _outgoing_ip(ip or next((host.ip for host in hosts if host.ip), ""))
        allow = self.engine.allow_private_networks
        ours = find_public_address(ip, hosts, local, allow)
        sender = self.engine.mail_from
        # a list without IPv6 entries has nothing to say of such an address
        asked = [entry for entry in block_lists if entry.ipv6 or ":" not in ours.ip]
        unreachable = Listing(ListingState.UNREACHABLE)
        names, dns, spf, listings = await asyncio.gather(
            self._with_timeout(
                self._look_up_names(ours.ip),
                NameRecords(LookupStatus.TIMEOUT, ptr_status=LookupStatus.TIMEOUT),
            ),
            self._with_timeout(self._look_up_mail_domain(), Dns.TIMEOUT),
            self._with_timeout(
                self._check_spf(ours), SpfCheck(SpfResult.TEMPERROR, "no answer in time")
            ),
            asyncio.gather(
                *(self._with_timeout(self._look_up_listing(e, ours), unreachable) for e in asked)
            ),
        )
        domain = sender.rpartition("@")[2] or self.engine.helo
        found = [
            judge.port_25(hosts, self.engine.smtp_port),
            *judge.greetings(hosts),
            judge.public_address(ours),
            judge.helo_name(self.engine.helo),
            judge.helo_address(self.engine.helo, names, ours),
            judge.ptr(self.engine.helo, names, ours),
            judge.mail_from(sender, dns),
            judge.spf(domain, spf, ours),
        ]
        for entry, listing in zip(asked, listings, strict=True):
            found.append(judge.block_list(entry, listing, ours))
        return hosts, found

    async def _with_timeout(self, work: Awaitable[T], default: T) -> T:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await work
        except TimeoutError:
            return default

    def _timed_out(self, check: str) -> Finding:
        said = f"not found out within {self.timeout_s:g} s"
        return Finding(check, "", Level.WARN, said, "Ask again when the machine is less busy.")

    # -- DNS -----------------------------------------------------------------------------

    async def _query_server(self, server: NameServer) -> DnsServer:
        """How one server answers, asked by itself and without a cache."""
        alone = Resolver([server], timeout_s=self.timeout_s / 2)
        label = "".join(self.rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(20))
        try:
            known, made_up = await asyncio.gather(
                _timed(*(alone.resolve(domain, RecordType.MX) for domain in WELL_KNOWN)),
                _timed(
                    *(
                        alone.resolve(f"{label}.{parent}", RecordType.A)
                        for parent in _PARENT_DOMAINS
                    )
                ),
            )
        finally:
            await alone.aclose()
        answers, latency_ms = known
        best = min(answers, key=lambda answer: _STATUS_ORDER.index(answer.status))
        lies = [answer for answer in made_up[0] if answer.records]
        negative = min(made_up[0], key=lambda answer: _NEGATIVE_STATUS_ORDER.index(answer.status))
        name = f"[{server.host}]" if ":" in server.host else server.host
        return DnsServer(
            server=f"{name}:{server.port}",
            status=best.status,
            latency_ms=latency_ms,
            nonexistent_status=negative.status,
            false_address=lies[0].records[0] if lies else "",
        )

    async def _look_up_names(self, ip: str) -> NameRecords:
        helo = self.engine.helo
        v4, v6, pointer = await asyncio.gather(
            self.resolver.resolve(helo, RecordType.A),
            self.resolver.resolve(helo, RecordType.AAAA),
            self.resolver.resolve(ipaddress.ip_address(ip).reverse_pointer, RecordType.PTR)
            if ip
            else _no_answer(),
        )
        status = LookupStatus.OK if v4.records or v6.records else _worse(v4.status, v6.status)
        names = [record.rstrip(".").lower() for record in pointer.records][:10]
        kind = RecordType.AAAA if ":" in ip else RecordType.A
        back = await asyncio.gather(*(self.resolver.resolve(name, kind) for name in names))
        confirmed = [n for n, answer in zip(names, back, strict=True) if _has_address(answer, ip)]
        ips = tuple(map(_canonical, (*v4.records, *v6.records)))
        return NameRecords(status, ips, pointer.status, names, confirmed)

    async def _look_up_mail_domain(self) -> Dns:
        domain = self.engine.mail_from.rpartition("@")[2]
        if not domain:
            return Dns.NOT_CHECKED
        return (await resolve_route(self.resolver, domain, self.rng)).dns

    async def _check_spf(self, ours: PublicAddress) -> SpfCheck | None:
        if not ours.ip:
            return None
        engine = self.engine
        return await check_host(self.resolver, ours.ip, engine.mail_from, engine.helo, self.clock)

    async def _look_up_listing(self, entry: BlockList, ours: PublicAddress) -> Listing | None:
        if not ours.ip:
            return None
        asked = (ours.ip, TEST_ENTRY, NEVER_LISTED)
        names = (query_name(entry.zone, address) for address in asked)
        answers = await asyncio.gather(
            *(self.resolver.resolve(name, RecordType.A) for name in names)
        )
        own, test, never = (a.records if a.status.definite else None for a in answers)
        # a test network's own address may be the one that no list should have
        never = () if ours.ip == NEVER_LISTED else never
        return interpret_answers(entry, own, test_entry=test, never_listed=never)

    # -- mail hosts ----------------------------------------------------------------------

    async def _try_mail_host(self, domain: str) -> MailHost | None:
        """How the best mail host of `domain` receives us; None if DNS names none."""
        route = await resolve_route(self.resolver, domain, self.rng)
        for mx in route.hosts:
            found = await resolve_addresses(self.resolver, mx.host)
            if found.ips:
                return await self._connect_to(domain, mx.host, found.ips[0])
        return None

    async def _connect_to(self, domain: str, host: str, ip: str) -> MailHost:
        fact = MailHost(domain, host, ip, accepts_ehlo=False, stage=Stage.CONNECT)
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
                trace=lambda _, line: lines.append(line),
            )
        except ConversationEnded as ended:
            said = ended.result
            text = said.reply.text if said.reply else ""
            fact = replace(fact, stage=said.stage, meaning=said.meaning, text=text)
        else:
            fact = replace(fact, accepts_ehlo=True, stage=Stage.EHLO)
            pipe = conversation.quit()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIT_TIMEOUT_S):
                    await pipe.wait_closed()
            pipe.abort()
            await pipe.wait_closed()
        replies = [line for line in lines if line.startswith("< ")]
        told = banner_time(replies[0]) if replies else None
        ahead_s = None if told is None else self.clock() - told
        saw = our_ip_in_greeting(replies[-1], ip) if fact.accepts_ehlo else ""
        return replace(fact, clock_ahead_s=ahead_s, our_ip=saw)

    # -- this machine --------------------------------------------------------------------

    async def _check_listen_address(self) -> ListenAddress:
        server = self.settings.server
        url = server.url()
        try:
            bind(server.host, server.port).close()
        except OSError as exc:
            trouble = exc.strerror or str(exc)
            local = server.model_copy(update={"public_url": ""}).url()
            return ListenAddress(url, trouble.lower(), is_veriplex=await _is_veriplex(local))
        return ListenAddress(url)

    def _clock_behind_files_s(self) -> float:
        """How far the clock is before the newest file of ours; negative if it is not."""
        path = database_path(self.settings.storage.url)
        newest = Path(__file__).stat().st_mtime
        if path is not None and path.exists():
            newest = max(newest, path.stat().st_mtime)
        return newest - self.clock()


_PARENT_DOMAINS = ("com", WELL_KNOWN[0])
"""Where a name is made up: the second for servers that know a few domains alone."""
_STATUS_ORDER = (
    LookupStatus.OK,
    LookupStatus.NODATA,
    LookupStatus.NXDOMAIN,
    LookupStatus.SERVFAIL,
    LookupStatus.REFUSED,
    LookupStatus.TIMEOUT,
)
_NEGATIVE_STATUS_ORDER = (
    LookupStatus.NXDOMAIN,
    LookupStatus.NODATA,
    LookupStatus.OK,
    LookupStatus.SERVFAIL,
    LookupStatus.REFUSED,
    LookupStatus.TIMEOUT,
)


async def _timed(*questions: Awaitable[DnsAnswer]) -> tuple[list[DnsAnswer], int]:
    """The answers, and the milliseconds until the first of them that was definite."""
    started = time.monotonic()
    first_ms: list[int] = []

    async def one(question: Awaitable[DnsAnswer]) -> DnsAnswer:
        answer = await question
        if answer.status.definite:
            first_ms.append(round((time.monotonic() - started) * 1000))
        return answer

    answers = await asyncio.gather(*map(one, questions))
    return answers, first_ms[0] if first_ms else 0


async def _no_answer() -> DnsAnswer:
    return DnsAnswer("", RecordType.PTR, LookupStatus.NODATA)


def _worse(one: LookupStatus, other: LookupStatus) -> LookupStatus:
    return one if not one.definite else other


def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _has_address(answer: DnsAnswer, ip: str) -> bool:
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


_BRACKETED_ADDRESS = re.compile(r"[\[(](?:IPv6:)?([0-9A-Fa-f:.]{3,45})[\])]")


def our_ip_in_greeting(greeting: str, host_ip: str) -> str:
    """Our address as the reply to EHLO names it; empty if it does not. `own` is the host's."""
    for found in _BRACKETED_ADDRESS.finditer(greeting):
        try:
            address = ipaddress.ip_address(found[1])
        except ValueError:
            continue
        if str(address) != host_ip:
            return str(address)
    return ""


def _outgoing_ip(ip: str) -> str:
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
        async with httpx.AsyncClient(
            verify=False,  # noqa: S501
            timeout=LIVEZ_TIMEOUT_S,
            trust_env=False,
        ) as client:
            reply = await client.get(f"{url}/livez")
            return reply.status_code == 200 and "x-veriplex-source" in reply.headers
    except httpx.HTTPError:
        return False


# -- the database ------------------------------------------------------------------------


def database_path(url: str) -> Path | None:
    """The SQLite file of a `storage.url`; None where nothing is kept."""
    name = url.removeprefix("sqlite:///")
    return None if name == ":memory:" else Path(name)


def inspect_database(url: str, busy_s: float = LOCK_TIMEOUT_S) -> Database:
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
            busy = _is_locked(path, busy_s)
        else:
            _check_writable(folder)
    except (OSError, sqlite3.Error) as exc:
        trouble = str(getattr(exc, "strerror", None) or exc).lower()
    return Database(str(path), exists, free_bytes, trouble, busy)


async def inspect_refusals(url: str, now: float) -> RefusalHistory:
    """Who refused us within a week of Unix time `now`, without changing anything."""
    path = database_path(url)
    if path is None:
        return RefusalHistory(not_kept_because="a database in memory ends with its server")
    if not await asyncio.to_thread(path.exists):
        return RefusalHistory(not_kept_because="there is no database")
    try:
        async with open_store(url, busy_timeout_s=LOCK_TIMEOUT_S, existing_only=True) as store:
            if not (await store.has_table(kept_refusals) and await store.has_table(kept_pauses)):
                return RefusalHistory(
                    not_kept_because="no server of this version has used the database"
                )
            return RefusalHistory(await recent_refusals(store, now, MAX_REFUSERS))
    except StoreError as exc:
        return RefusalHistory(error=str(exc))


def _is_locked(path: Path, busy_s: float) -> bool:
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


def _check_writable(folder: Path) -> None:
    from tempfile import TemporaryFile

    with TemporaryFile(dir=folder):
        pass
