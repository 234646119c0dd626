"""What the facts mean, and what to do about each. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from statistics import median

from engine.address.lists import free
from engine.address.syntax import parse
from engine.dns.resolver import Status
from engine.model import Dns, Meaning
from engine.smtp.providers import provider_of
from engine.smtp.reputation import SHARES, presentable
from gateway.doctor.block_lists import BlockList, Listing, State
from gateway.doctor.facts import Database, DnsServer, MailHost, Names, OurAddress, Place
from gateway.doctor.finding import Finding, Level, fail, ok, warn
from gateway.doctor.remedies import ADVICE
from gateway.doctor.spf import MAX_LOOKUPS, Result, Spf

SLOW_DNS_MS = 500
CLOCK_WARN_S, CLOCK_FAIL_S = 30.0, 300.0
"""Signed webhooks are commonly refused when they are five minutes off."""
LOW_SPACE_BYTES, NO_SPACE_BYTES = 1_000_000_000, 100_000_000

OUR_IP_UNKNOWN = "our public address is not known"
TELL_IP = "Give the public address with --ip ADDRESS."
ASK_AGAIN = "Ask again once DNS answers."


# -- DNS ---------------------------------------------------------------------------------

_DNS_FAILURES: dict[Status, tuple[str, str]] = {
    Status.TIMEOUT: (
        "gives no answer",
        "See that UDP and TCP port 53 to it are open, or name others in engine.dns_servers.",
    ),
    Status.REFUSED: (
        "refuses to answer us",
        "Name a server in engine.dns_servers that resolves names for this machine.",
    ),
    Status.SERVFAIL: (
        "fails to resolve names, or is not there",
        "Name a recursive server in engine.dns_servers that works, or mend this one.",
    ),
    Status.NXDOMAIN: (
        "does not know the best-known mail domains",
        "Name a recursive server in engine.dns_servers; this one knows names of its own alone.",
    ),
}


def dns_server(fact: DnsServer) -> Finding:
    """Whether a server resolves, quickly and honestly."""
    about = fact.server
    if fact.status is not Status.OK:
        said, advice = _DNS_FAILURES.get(fact.status, _DNS_FAILURES[Status.NXDOMAIN])
        return fail("dns", about, said, advice)
    if fact.lie:
        return fail(
            "dns",
            about,
            f"answers {fact.lie} for a name that does not exist",
            "Use another resolver in engine.dns_servers: with this one every misspelt domain"
            " seems to exist.",
        )
    said = f"answers in {fact.latency_ms} ms"
    if fact.made_up is not Status.NXDOMAIN:
        return warn(
            "dns",
            about,
            f"{said}, but says {fact.made_up} to a name that does not exist",
            "Use a resolver that answers NXDOMAIN, or such domains stay unknown.",
        )
    if fact.latency_ms > SLOW_DNS_MS:
        advice = "Put a caching resolver nearby, such as unbound, into engine.dns_servers."
        return warn("dns", about, said, advice)
    return ok("dns", about, said)


# -- the way out -------------------------------------------------------------------------


def port_25(hosts: Sequence[MailHost], port: int) -> Finding:
    """Whether mail hosts can be reached at all."""
    check, about = "port", str(port)
    if not hosts:
        said = "not tried: no well-known mail host was found through DNS"
        return warn(check, about, said, ASK_AGAIN)
    spoke = [host for host in hosts if host.spoke]
    of = f"{len(spoke)} of {len(hosts)} well-known mail hosts answered"
    if len(spoke) == len(hosts):
        return ok(check, about, of)
    if spoke:
        silent = ", ".join(host.domain for host in hosts if not host.spoke)
        return warn(
            check, about, f"{of}, not that of {silent}", "Look whether a firewall keeps some away."
        )
    if all(host.meaning is Meaning.NOT_ALLOWED for host in hosts):
        return fail(
            check,
            about,
            f"DNS places mail hosts at addresses that are not public, such as {hosts[0].ip}",
            "Use another resolver, or set engine.allow_private_networks in a test network.",
        )
    return fail(
        check,
        about,
        "no well-known mail host could be reached",
        f"Have outbound port {port} opened by whoever runs this network, as most clouds close"
        " it, or let upstreams verify (docs/upstreams.md).",
    )


def refusals(hosts: Sequence[MailHost]) -> list[Finding]:
    """A finding for each mail host that answered and did not want us."""
    found = []
    for host in hosts:
        if host.greeted or not host.spoke or host.meaning is None:
            continue
        text = f": {presentable(host.text)}" if host.text else ""
        said = f"{host.host} does not let us in ({host.meaning} at {host.stage.upper()}){text}"
        advice = ADVICE.get(host.meaning, "Try again later, and look at its reply.")
        level = fail if SHARES.get(host.meaning) == 1 else warn
        found.append(level("greeting", host.domain, said, advice))
    return found


def address(ours: OurAddress) -> Finding:
    """Which address is ours."""
    if ours.ip:
        through = f", behind {ours.local}" if ours.local not in ("", ours.ip) else ""
        return ok("address", ours.ip, f"{ours.how}{through}")
    known = f"this machine is {ours.local}, which nobody outside sees" if ours.local else "unknown"
    return warn("address", "", known, TELL_IP)


# -- our names ---------------------------------------------------------------------------


def helo_name(helo: str) -> Finding:
    """Whether the name is one that could be ours."""
    check = "helo"
    to_do = "Set engine.helo to a name of yours that resolves to this machine's public address."
    name = helo.lower().rstrip(".")
    if name == "localhost" or name.startswith("localhost."):
        return fail(check, helo, "is everybody's name, and refused by many", to_do)
    if name.startswith("["):
        return warn(check, helo, "is an address, which many servers refuse", to_do)
    if _is_ip(name):
        return fail(check, helo, "is an address without brackets, which is no name", to_do)
    if "." not in name:
        return fail(check, helo, "is not a full name (RFC 5321 section 4.1.1.1)", to_do)
    owner = provider_of(name)
    if owner or free(parse(f"postmaster@{name}")):
        whose = owner or "a mail provider"
        said = f"is a name of {whose}, and claiming it gets us refused"
        return fail(check, helo, said, to_do)
    return ok(check, helo, "is a full name")


def helo_address(helo: str, names: Names, ours: OurAddress) -> Finding:
    """Whether the HELO name leads to our address."""
    check = "helo-address"
    if helo.startswith("[") or _is_ip(helo):
        literal = helo.strip("[]").removeprefix("IPv6:")
        if not ours.ip or literal == ours.ip:
            return ok(check, helo, "is an address and needs no DNS")
        return fail(check, helo, f"is not {ours.ip}", "Set engine.helo to a name.")
    if not names.helo_status.definite:
        said = f"DNS did not say where it leads ({names.helo_status})"
        return warn(check, helo, said, ASK_AGAIN)
    place = ours.ip or "the public address"
    if not names.helo_ips:
        return fail(check, helo, "has no address", f"Publish an address record: {helo} to {place}.")
    listed = ", ".join(names.helo_ips[:4])
    if not ours.ip:
        return warn(check, helo, f"leads to {listed}; {OUR_IP_UNKNOWN}", TELL_IP)
    if ours.ip in names.helo_ips:
        return ok(check, helo, f"leads to {ours.ip}")
    return fail(
        check,
        helo,
        f"leads to {listed}, not to {ours.ip}",
        f"Publish an address record {helo} to {ours.ip}, or set engine.helo to another name.",
    )


def ptr(helo: str, names: Names, ours: OurAddress) -> Finding:
    """Whether our address leads to the HELO name, and back."""
    check, about = "ptr", ours.ip
    if not about:
        return warn(check, about, f"not asked: {OUR_IP_UNKNOWN}", TELL_IP)
    if not names.ptr_status.definite:
        return warn(check, about, f"DNS did not say ({names.ptr_status})", ASK_AGAIN)
    to_do = f"Ask whoever gave you {about} to set its PTR record to {helo}."
    if not names.ptr_names:
        return fail(check, about, "has no name; many servers refuse such addresses", to_do)
    listed = ", ".join(names.ptr_names[:4])
    if not names.confirmed:
        return fail(check, about, f"is named {listed}, which does not lead back to it", to_do)
    if helo.lower().rstrip(".") in names.confirmed:
        return ok(check, about, f"is named {helo}, which leads back to it")
    return warn(
        check,
        about,
        f"is named {listed}, not {helo}",
        f"Set engine.helo to {names.confirmed[0]}, or its PTR record to {helo}.",
    )


_MAIL_DOMAIN: dict[Dns, tuple[Level, str]] = {
    Dns.MX: (Level.OK, "takes mail"),
    Dns.IMPLICIT_MX: (Level.OK, "takes mail at its own address, without an MX record"),
    Dns.NULL_MX: (Level.FAIL, "says that it takes no mail (null MX)"),
    Dns.NXDOMAIN: (Level.FAIL, "does not exist"),
    Dns.NODATA: (Level.FAIL, "has neither MX nor address records"),
    Dns.UNRESOLVABLE: (Level.FAIL, "has mail hosts without an address"),
    Dns.SERVFAIL: (Level.FAIL, "has name servers that fail"),
    Dns.REFUSED: (Level.WARN, "could not be resolved (refused)"),
    Dns.TIMEOUT: (Level.WARN, "could not be resolved in time"),
    Dns.NOT_CHECKED: (Level.WARN, "was not looked at"),
}


def mail_from(sender: str, dns: Dns) -> Finding:
    """Whether the domain of MAIL FROM exists as far as mail servers care."""
    if not sender:
        said = "the null sender, which a few servers refuse"
        return ok("mail-from", "<>", said)
    level, said = _MAIL_DOMAIN[dns]
    advice = "" if level is Level.OK else "Set engine.mail_from to an address that takes mail."
    return Finding("mail-from", sender, level, f"its domain {said}", advice)


_SPF_LEVELS: dict[Result, Level] = {
    Result.PASS: Level.OK,
    Result.FAIL: Level.FAIL,
    Result.SOFTFAIL: Level.FAIL,
    Result.NEUTRAL: Level.WARN,
    Result.NONE: Level.WARN,
    Result.TEMPERROR: Level.WARN,
    Result.PERMERROR: Level.FAIL,
}


def spf(domain: str, found: Spf | None, ours: OurAddress) -> Finding:
    """Whether SPF lets us use the domain."""
    if found is None:
        return warn("spf", domain, f"not asked: {OUR_IP_UNKNOWN}", TELL_IP)
    level = _SPF_LEVELS[found.result]
    said = f"{found.result} for {ours.ip}: {found.because}"
    if level is Level.OK:
        return ok("spf", domain, said)
    mechanism = "ip6" if ":" in ours.ip else "ip4"
    advice = {
        Result.NONE: f'Publish a TXT record for {domain}: "v=spf1 {mechanism}:{ours.ip} -all".',
        Result.PERMERROR: f"Mend the record; it may ask DNS for {MAX_LOOKUPS} terms at most.",
        Result.TEMPERROR: ASK_AGAIN,
    }.get(found.result, f"Put {mechanism}:{ours.ip} into the SPF record of {domain}.")
    return Finding("spf", domain, level, said, advice)


# -- block lists -------------------------------------------------------------------------


def block_list(entry: BlockList, listing: Listing | None, ours: OurAddress) -> Finding:
    """What a list says of our address."""
    check, about = "block-list", entry.zone
    if listing is None:
        return warn(check, about, f"not asked: {OUR_IP_UNKNOWN}", TELL_IP)
    where = f" at {entry.remedy}" if entry.remedy else ""
    own_resolver = "Ask through a resolver of your own in engine.dns_servers."
    match listing.state:
        case State.CLEAN:
            return ok(check, about, f"{ours.ip} is not listed")
        case State.LISTED:
            return fail(
                check,
                about,
                f"lists {ours.ip}: {listing.words}",
                f"End what caused it, then ask for removal{where}, or use another address.",
            )
        case State.REFUSED:
            return warn(check, about, f"did not answer: {listing.words}", own_resolver)
        case State.SILENT:
            return warn(
                check, about, "is silent even on its test entry (RFC 5782 section 5)", own_resolver
            )
        case State.BROKEN:
            return warn(check, about, "lists everybody", "Ignore it: it is out of order.")
        case State.UNREACHABLE:
            return warn(check, about, "could not be asked: DNS gave no answer", ASK_AGAIN)


# -- the machine -------------------------------------------------------------------------


def clock(hosts: Sequence[MailHost], behind_files_s: float) -> Finding:
    """Whether the clock is right, by the banners that tell the time.

    Without any, by the files that were written last: the clock cannot be before them.
    """
    check = "clock"
    to_do = "Set the clock, and keep it right with chrony or systemd-timesyncd."
    told = [host for host in hosts if host.ahead_s is not None]
    if told:
        ahead_s = median(host.ahead_s for host in told if host.ahead_s is not None)
        who = " and ".join(host.host for host in told)
        said = f"{abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'} by the banner of {who}"
        if abs(ahead_s) > CLOCK_FAIL_S:
            return fail(check, "", said, to_do)
        if abs(ahead_s) > CLOCK_WARN_S:
            return warn(check, "", said, to_do)
        return ok(check, "", f"within {CLOCK_WARN_S:.0f} s by the banner of {who}")
    if behind_files_s > CLOCK_WARN_S:
        said = f"{behind_files_s:.0f} s before files that are here already"
        return fail(check, "", said, to_do)
    return ok(check, "", "not before any file of ours; no mail host told the time")


def database(fact: Database) -> Finding:
    """Whether what is to be kept can be."""
    check, about = "database", fact.where
    if fact.free_bytes is None:
        said = "is in memory: keys, batches and answers are lost when the server stops"
        return warn(check, about, said, "Set storage.url to a file.")
    if fact.trouble:
        said = f"cannot be written: {fact.trouble}"
        return fail(check, about, said, "Let the server's user write the file and its folder.")
    free_text = f"{fact.free_bytes / 1e9:.1f} GB free"
    if fact.free_bytes < NO_SPACE_BYTES:
        return fail(check, about, free_text, "Make room on its disk, or move storage.url.")
    if fact.free_bytes < LOW_SPACE_BYTES:
        return warn(check, about, free_text, "Make room on its disk before it is full.")
    if fact.busy:
        said = "another process has been writing for seconds"
        return warn(check, about, said, "Look what holds its lock if that goes on.")
    state = "can be written" if fact.exists else "is not there yet, and can be made"
    return ok(check, about, f"{state}; {free_text}")


def listening(fact: Place) -> Finding:
    """Whether the server can listen where it is to."""
    if fact.ours:
        return ok("listen", fact.url, "Veriplex listens there now")
    if fact.trouble:
        to_do = "Choose another with server.host and server.port, or stop what is there."
        return fail("listen", fact.url, fact.trouble, to_do)
    return ok("listen", fact.url, "is free")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
