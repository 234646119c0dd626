"""Facts from mail hosts: whether they accept us, which address they see, what time they show.

They are sent EHLO and QUIT, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime

from engine.dns.mx import resolve_addresses, resolve_route
from engine.dns.resolver import Resolver
from engine.dns.targets import is_global
from engine.model import Meaning, Stage
from engine.smtp.connect import EgressFault
from engine.smtp.dialogue import ConversationEnded, open_conversation
from engine.smtp.terms import EgressConfig, Target
from gateway.doctor.facts import MailHost
from gateway.settings.probe import EngineSettings

QUIT_TIMEOUT_S = 1.0


async def greet_mail_host(
    domain: str,
    resolver: Resolver,
    engine: EngineSettings,
    egress: EgressConfig,
    *,
    timeout_s: float,
    rng: random.Random,
    clock: Callable[[], float],
) -> MailHost | None:
    """The reaction of the best mail host of `domain` to `egress`; None if DNS has none.

    From an address of this machine only hosts with an address of the same family are tried.
    """
    route = await resolve_route(resolver, domain, rng)
    for mx in route.hosts:
        found = await resolve_addresses(resolver, mx.host)
        ips = [ip for ip in found.ips if _may_reach(egress, ip)]
        if ips:
            host = MailHost(domain, mx.host, ips[0], accepts_ehlo=False, stage=Stage.CONNECT)
            return await _connect(host, engine, egress, timeout_s / 3, clock)
    return None


def _may_reach(egress: EgressConfig, ip: str) -> bool:
    source = egress.source_address if egress.proxy is None else ""
    return not source or (":" in source) == (":" in ip)


async def _connect(
    host: MailHost,
    engine: EngineSettings,
    egress: EgressConfig,
    step_timeout_s: float,
    clock: Callable[[], float],
) -> MailHost:
    """`host` with the outcome of EHLO."""
    if not engine.allow_private_networks and not is_global(host.ip):
        return replace(host, meaning=Meaning.NOT_ALLOWED)
    lines: list[str] = []
    try:
        conversation = await open_conversation(
            Target(host.host, host.ip, engine.smtp_port),
            egress,
            connect_timeout_s=min(engine.connect_timeout_s, step_timeout_s),
            command_timeout_s=min(engine.command_timeout_s, step_timeout_s),
            tls_timeout_s=step_timeout_s,
            tls=None,
            trace=lambda _, line: lines.append(line),
        )
    except EgressFault as fault:
        host = replace(host, meaning=Meaning.UNREACHABLE, egress_fault=fault.reason)
    except ConversationEnded as ended:
        result = ended.result
        text = result.reply.text if result.reply else ""
        host = replace(host, stage=result.stage, meaning=result.meaning, text=text)
    else:
        host = replace(host, accepts_ehlo=True, stage=Stage.EHLO)
        pipe = conversation.quit()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIT_TIMEOUT_S):
                await pipe.wait_closed()
        pipe.abort()
        await pipe.wait_closed()
    replies = [line for line in lines if line.startswith("< ")]
    shown_time = banner_time(replies[0]) if replies else None
    ahead_s = None if shown_time is None else clock() - shown_time
    our_ip = our_ip_in_greeting(replies[-1], host.ip) if host.accepts_ehlo else ""
    return replace(host, clock_ahead_s=ahead_s, our_ip=our_ip)


_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}|GMT|UTC?)"
)


def banner_time(banner: str) -> float | None:
    """The Unix time in a banner, as Exim's and Microsoft's show it (RFC 5322 section 3.3)."""
    found = _DATE.search(banner)
    if found is None:
        return None
    try:
        time = parsedate_to_datetime(found[0])
    except ValueError:
        return None
    return time.timestamp() if time.tzinfo else None


_BRACKETED_ADDRESS = re.compile(r"[\[(](?:IPv6:)?([0-9A-Fa-f:.]{3,45})[\])]")


def our_ip_in_greeting(greeting: str, host_ip: str) -> str:
    """Our address in the reply to EHLO, empty without one. `host_ip` is the host's own address."""
    for found in _BRACKETED_ADDRESS.finditer(greeting):
        try:
            address = ipaddress.ip_address(found[1])
        except ValueError:
            continue
        if str(address) != host_ip:
            return str(address)
    return ""


def outgoing_ip(ip: str) -> str:
    """This machine's source address towards `ip`: connecting UDP selects it, and sends nothing."""
    if not ip:
        return ""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((ip, 9))
            return str(sock.getsockname()[0])
        except OSError:
            return ""
