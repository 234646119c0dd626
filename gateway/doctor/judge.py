"""Turns facts into findings with advice. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from statistics import median

from engine.address.lists import is_free_mail
from engine.address.syntax import parse_address
from engine.dns.terms import LookupStatus
from engine.model import Dns, Meaning
from engine.smtp.meanings import REFUSAL_WEIGHTS
from engine.smtp.providers import provider_of
from engine.smtp.reputation import redact
from engine.smtp.terms import EgressConfig
from gateway.doctor.block_lists import BlockList, Listing, ListingState
from gateway.doctor.facts import (
    Database,
    DnsServer,
    ListenAddress,
    MailHost,
    NameRecords,
    PublicAddress,
)
from gateway.doctor.finding import Finding, Level, fail, ok, warn
from gateway.doctor.remedies import ADVICE
from gateway.doctor.spf import MAX_LOOKUPS, SpfCheck, SpfResult

SLOW_DNS_MS = 500
CLOCK_WARN_S, CLOCK_FAIL_S = 30.0, 300.0
"""Receivers of signed webhooks commonly refuse timestamps that are five minutes off."""
LOW_SPACE_BYTES, NO_SPACE_BYTES = 1_000_000_000, 100_000_000

PUBLIC_IP_UNKNOWN = "our public address is not known"
GIVE_IP_ADVICE = "Give it with --ip ADDRESS, or as public_address of an [[egress]]."
RETRY_ADVICE = "Run the doctor again once DNS answers."


# -- DNS ---------------------------------------------------------------------------------

_DNS_FAILURES: dict[LookupStatus, tuple[str, str]] = {
    LookupStatus.TIMEOUT: (
        "does not answer",
        "Open UDP and TCP port 53 to it, or set other servers in engine.dns_servers.",
    ),
    LookupStatus.REFUSED: (
        "refuses to answer us",
        "Set a server in engine.dns_servers that resolves names for this machine.",
    ),
    LookupStatus.SERVFAIL: (
        "fails to resolve names, or is not running",
        "Set a working recursive server in engine.dns_servers, or repair this one.",
    ),
    LookupStatus.NXDOMAIN: (
        "does not know well-known mail domains",
        "Set a recursive server in engine.dns_servers; this one knows only its own names.",
    ),
}


def dns_server(fact: DnsServer) -> Finding:
    """Whether a server resolves names, quickly and without false answers."""
    about = fact.server
    if fact.status is not LookupStatus.OK:
        text, advice = _DNS_FAILURES.get(fact.status, _DNS_FAILURES[LookupStatus.NXDOMAIN])
        return fail("dns", about, text, advice)
    if fact.false_address:
        return fail(
            "dns",
            about,
            f"answers {fact.false_address} for a name that does not exist",
            "Use another resolver in engine.dns_servers: with this one every misspelt domain"
            " appears to exist.",
        )
    text = f"answers in {fact.latency_ms} ms"
    if fact.nonexistent_status is not LookupStatus.NXDOMAIN:
        return warn(
            "dns",
            about,
            f"{text}, but with {fact.nonexistent_status} for a name that does not exist",
            "Use a resolver that answers NXDOMAIN; otherwise such domains stay unknown.",
        )
    if fact.latency_ms > SLOW_DNS_MS:
        advice = "Run a caching resolver nearby, such as unbound, and set it in engine.dns_servers."
        return warn("dns", about, text, advice)
    return ok("dns", about, text)


# -- mail hosts -------------------------------------------------------------------------


def egress_works(egress: EgressConfig, hosts: Sequence[MailHost]) -> list[Finding]:
    """Whether the proxy of an egress lets us in, or its source address can be used."""
    if egress.proxy is None and not egress.source_address:
        return []
    way = egress.proxy.name if egress.proxy else egress.source_address
    fault = next((host.egress_fault for host in hosts if host.egress_fault), "")
    if not fault:
        return [ok("egress", way, "lets us in" if egress.proxy else "is an address of ours")]
    advice = "Give this machine the address, or set another source_address."
    if egress.proxy:
        advice = "Start the proxy, or correct its address, user name and password in `proxy`."
    return [fail("egress", way, fault, advice)]


def port_25(hosts: Sequence[MailHost], port: int, egress: EgressConfig) -> Finding:
    """Whether mail hosts can be reached at all."""
    check, about = "port", str(port)
    if not hosts:
        text = "not tried: no well-known mail host was found through DNS"
        return warn(check, about, text, RETRY_ADVICE)
    spoke = [host for host in hosts if host.has_replied]
    of = f"{len(spoke)} of {len(hosts)} well-known mail hosts answered"
    if len(spoke) == len(hosts):
        return ok(check, about, of)
    if spoke:
        silent = ", ".join(host.domain for host in hosts if not host.has_replied)
        return warn(
            check,
            about,
            f"{of}, not that of {silent}",
            "Check whether a firewall blocks some of them.",
        )
    if all(host.meaning is Meaning.NOT_ALLOWED for host in hosts):
        return fail(
            check,
            about,
            f"DNS gives mail hosts addresses that are not public, such as {hosts[0].ip}",
            "Use another resolver, or set engine.allow_private_networks in a test network.",
        )
    text = "no well-known mail host could be reached"
    if any(host.egress_fault for host in hosts):
        return fail(check, about, text, "Repair the egress first.")
    if egress.proxy:
        to_do = f"Ask the operator of the proxy's network to open outbound port {port}."
        return fail(check, about, text, to_do)
    return fail(
        check,
        about,
        text,
        f"Ask the operator of this network to open outbound port {port}, which most clouds"
        " block, or verify through upstreams (docs/upstreams.md).",
    )


def greetings(hosts: Sequence[MailHost]) -> list[Finding]:
    """A finding for each mail host that replied and did not accept EHLO."""
    found = []
    for host in hosts:
        if host.accepts_ehlo or not host.has_replied or host.meaning is None:
            continue
        reply = f": {redact(host.text)}" if host.text else ""
        text = f"{host.host} rejects us ({host.meaning} at {host.stage.upper()}){reply}"
        advice = ADVICE.get(host.meaning, "Try again later, and read its reply.")
        level = fail if REFUSAL_WEIGHTS.get(host.meaning) == 1 else warn
        found.append(level("greeting", host.domain, text, advice))
    return found


def public_address(ours: PublicAddress) -> Finding:
    """Whether our address is known."""
    if ours.ip:
        through = (
            f", for this machine's {ours.local_ip}" if ours.local_ip not in ("", ours.ip) else ""
        )
        return ok("address", ours.ip, f"{ours.source}{through}")
    known = f"this machine is {ours.local_ip}, which is not public" if ours.local_ip else "unknown"
    return warn("address", "", known, GIVE_IP_ADVICE)


# -- our names ---------------------------------------------------------------------------


def helo_name(helo: str) -> Finding:
    """Whether the name can be ours."""
    check = "helo"
    to_do = "Set engine.helo to a name of yours that resolves to this machine's public address."
    name = helo.lower().rstrip(".")
    if name == "localhost" or name.startswith("localhost."):
        return fail(check, helo, "names every machine, and many servers refuse it", to_do)
    if name.startswith("["):
        return warn(check, helo, "is an address literal, which many servers refuse", to_do)
    if _is_ip(name):
        return fail(check, helo, "is an IP address without brackets, not a name", to_do)
    if "." not in name:
        return fail(check, helo, "is not a fully qualified name (RFC 5321 section 4.1.1.1)", to_do)
    owner = provider_of(name)
    if owner or is_free_mail(parse_address(f"postmaster@{name}")):
        whose = owner or "a mail provider"
        text = f"belongs to {whose}; servers refuse others who claim it"
        return fail(check, helo, text, to_do)
    return ok(check, helo, "is a fully qualified name")


def helo_address(helo: str, names: NameRecords, ours: PublicAddress) -> Finding:
    """Whether the HELO name resolves to our address."""
    check = "helo-address"
    if helo.startswith("[") or _is_ip(helo):
        literal = helo.strip("[]").removeprefix("IPv6:")
        if not ours.ip or literal == ours.ip:
            return ok(check, helo, "is an address literal and needs no DNS")
        return fail(check, helo, f"is not {ours.ip}", "Set engine.helo to a name.")
    if not names.helo_status.definite:
        text = f"DNS did not resolve it ({names.helo_status})"
        return warn(check, helo, text, RETRY_ADVICE)
    place = ours.ip or "the public address"
    if not names.helo_ips:
        return fail(
            check, helo, "has no address", f"Publish an address record for {helo}: {place}."
        )
    listed = ", ".join(names.helo_ips[:4])
    if not ours.ip:
        return warn(check, helo, f"resolves to {listed}; {PUBLIC_IP_UNKNOWN}", GIVE_IP_ADVICE)
    if ours.ip in names.helo_ips:
        return ok(check, helo, f"resolves to {ours.ip}")
    return fail(
        check,
        helo,
        f"resolves to {listed}, not to {ours.ip}",
        f"Publish an address record for {helo}: {ours.ip}, or set engine.helo to another name.",
    )


def ptr(helo: str, names: NameRecords, ours: PublicAddress) -> Finding:
    """Whether our address has the HELO name as PTR record, and that resolves back."""
    check, about = "ptr", ours.ip
    if not about:
        return warn(check, about, f"not checked: {PUBLIC_IP_UNKNOWN}", GIVE_IP_ADVICE)
    if not names.ptr_status.definite:
        return warn(check, about, f"DNS did not answer ({names.ptr_status})", RETRY_ADVICE)
    to_do = f"Ask the provider of {about} to set its PTR record to {helo}."
    if not names.ptr_names:
        return fail(check, about, "has no PTR record; many servers refuse such addresses", to_do)
    listed = ", ".join(names.ptr_names[:4])
    if not names.confirmed_names:
        return fail(
            check, about, f"has the name {listed}, which does not resolve back to it", to_do
        )
    if helo.lower().rstrip(".") in names.confirmed_names:
        return ok(check, about, f"has the name {helo}, which resolves back to it")
    return warn(
        check,
        about,
        f"has the name {listed}, not {helo}",
        f"Set engine.helo to {names.confirmed_names[0]}, or the PTR record to {helo}.",
    )


_MAIL_DOMAIN: dict[Dns, tuple[Level, str]] = {
    Dns.MX: (Level.OK, "accepts mail"),
    Dns.IMPLICIT_MX: (Level.OK, "accepts mail at its own address, without an MX record"),
    Dns.NULL_MX: (Level.FAIL, "declares that it accepts no mail (null MX)"),
    Dns.NXDOMAIN: (Level.FAIL, "does not exist"),
    Dns.NODATA: (Level.FAIL, "has neither MX nor address records"),
    Dns.UNRESOLVABLE: (Level.FAIL, "has mail hosts without an address"),
    Dns.SERVFAIL: (Level.FAIL, "has name servers that fail"),
    Dns.REFUSED: (Level.WARN, "could not be resolved (refused)"),
    Dns.TIMEOUT: (Level.WARN, "could not be resolved in time"),
    Dns.NOT_CHECKED: (Level.WARN, "was not checked"),
}


def mail_from(sender: str, dns: Dns) -> Finding:
    """Whether the domain of MAIL FROM accepts mail, which servers may demand of senders."""
    if not sender:
        text = "the null sender, which a few servers refuse"
        return ok("mail-from", "<>", text)
    level, text = _MAIL_DOMAIN[dns]
    advice = "" if level is Level.OK else "Set engine.mail_from to an address that accepts mail."
    return Finding("mail-from", sender, level, f"its domain {text}", advice)


_SPF_LEVELS: dict[SpfResult, Level] = {
    SpfResult.PASS: Level.OK,
    SpfResult.FAIL: Level.FAIL,
    SpfResult.SOFTFAIL: Level.FAIL,
    SpfResult.NEUTRAL: Level.WARN,
    SpfResult.NONE: Level.WARN,
    SpfResult.TEMPERROR: Level.WARN,
    SpfResult.PERMERROR: Level.FAIL,
}


def spf(domain: str, found: SpfCheck | None, ours: PublicAddress) -> Finding:
    """Whether SPF allows our address to use the domain."""
    if found is None:
        return warn("spf", domain, f"not checked: {PUBLIC_IP_UNKNOWN}", GIVE_IP_ADVICE)
    level = _SPF_LEVELS[found.result]
    text = f"{found.result} for {ours.ip}: {found.explanation}"
    if level is Level.OK:
        return ok("spf", domain, text)
    mechanism = "ip6" if ":" in ours.ip else "ip4"
    advice = {
        SpfResult.NONE: f'Publish a TXT record for {domain}: "v=spf1 {mechanism}:{ours.ip} -all".',
        SpfResult.PERMERROR: f"Correct the record; it may have {MAX_LOOKUPS} terms that query DNS.",
        SpfResult.TEMPERROR: RETRY_ADVICE,
    }.get(found.result, f"Add {mechanism}:{ours.ip} to the SPF record of {domain}.")
    return Finding("spf", domain, level, text, advice)


# -- block lists -------------------------------------------------------------------------


def block_list(entry: BlockList, listing: Listing | None, ours: PublicAddress) -> Finding:
    """Whether a block list has our address."""
    check, about = "block-list", entry.zone
    if listing is None:
        return warn(check, about, f"not checked: {PUBLIC_IP_UNKNOWN}", GIVE_IP_ADVICE)
    where = f" at {entry.remedy}" if entry.remedy else ""
    own_resolver = "Query it through a resolver of your own, set in engine.dns_servers."
    match listing.state:
        case ListingState.CLEAN:
            return ok(check, about, f"{ours.ip} is not listed")
        case ListingState.LISTED:
            return fail(
                check,
                about,
                f"lists {ours.ip}: {listing.text}",
                f"Fix the cause, then request removal{where}, or use another address.",
            )
        case ListingState.REFUSED:
            return warn(check, about, f"did not answer: {listing.text}", own_resolver)
        case ListingState.SILENT:
            return warn(
                check, about, "does not list even its test entry (RFC 5782 section 5)", own_resolver
            )
        case ListingState.BROKEN:
            return warn(check, about, "lists every address", "Ignore it: it is broken.")
        case ListingState.UNREACHABLE:
            return warn(check, about, "could not be queried: DNS did not answer", RETRY_ADVICE)


# -- the machine -------------------------------------------------------------------------


def clock(hosts: Sequence[MailHost], behind_files_s: float) -> Finding:
    """Whether the clock is right, by the time in mail hosts' banners.

    Without any such banner the newest of our files decides, since the clock cannot be behind it.
    """
    check = "clock"
    to_do = "Set the clock, and keep it right with chrony or systemd-timesyncd."
    with_time = [host for host in hosts if host.clock_ahead_s is not None]
    if with_time:
        ahead_s = median(host.clock_ahead_s for host in with_time if host.clock_ahead_s is not None)
        who = " and ".join(host.host for host in with_time)
        text = f"{abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'} by the banner of {who}"
        if abs(ahead_s) > CLOCK_FAIL_S:
            return fail(check, "", text, to_do)
        if abs(ahead_s) > CLOCK_WARN_S:
            return warn(check, "", text, to_do)
        return ok(check, "", f"within {CLOCK_WARN_S:.0f} s by the banner of {who}")
    if behind_files_s > CLOCK_WARN_S:
        text = f"{behind_files_s:.0f} s behind the newest of our files"
        return fail(check, "", text, to_do)
    return ok(check, "", "not behind any of our files; no mail host showed the time")


def database(fact: Database) -> Finding:
    """Whether the database can be written, and has space."""
    check, about = "database", fact.location
    if fact.is_on_server:
        if fact.error:
            to_do = "Look at storage.url, storage.password, and whether the server runs."
            return fail(check, about, fact.error, to_do)
        state = "answers" if fact.exists else "answers; its tables will be created"
        return ok(check, about, state)
    if fact.free_bytes is None:
        text = "is in memory: keys, batches and results are lost when the server stops"
        return warn(check, about, text, "Set storage.url to a file.")
    if fact.error:
        text = f"cannot be written: {fact.error}"
        return fail(
            check, about, text, "Give the server's user write access to the file and its folder."
        )
    if fact.newer_revision:
        text = f"was made by a newer version of Veriplex (its tables are at {fact.newer_revision})"
        return fail(check, about, text, "Run that version, or set storage.url to another file.")
    free_text = f"{fact.free_bytes / 1e9:.1f} GB free"
    if fact.free_bytes < NO_SPACE_BYTES:
        return fail(check, about, free_text, "Free space on its disk, or move storage.url.")
    if fact.free_bytes < LOW_SPACE_BYTES:
        return warn(check, about, free_text, "Free space on its disk before it is full.")
    if fact.is_locked:
        text = "another process has held the write lock for seconds"
        return warn(check, about, text, "Find out which process, if that goes on.")
    state = "can be written" if fact.exists else "does not exist yet, and can be created"
    return ok(check, about, f"{state}; {free_text}")


def listen_address(fact: ListenAddress) -> Finding:
    """Whether the server can listen on its address."""
    if fact.is_veriplex:
        return ok("listen", fact.url, "Veriplex is listening there")
    if fact.error:
        to_do = "Choose another with server.host and server.port, or stop the program that uses it."
        return fail("listen", fact.url, fact.error, to_do)
    return ok("listen", fact.url, "is free")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
