"""DNS block lists to query for our own address, and the meaning of their answers (RFC 5782).

The table has lists that mail servers refuse mail by, that are in operation, and that answer
without a subscription; each with its source.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

TEST_ENTRY = "127.0.0.2"
"""Every list must contain it (RFC 5782 section 5), which reveals a list that does not answer."""
NEVER_LISTED = "127.0.0.1"
"""No list may contain it (same section): one that does lists every address."""


@dataclass(frozen=True, slots=True)
class BlockList:
    """A list, and the meaning of its answers."""

    zone: str
    source: str
    codes: dict[str, str] = field(default_factory=dict)
    """Meanings by answer; any other answer of 127.0.0.0/16 means listed, too."""
    remedy: str = ""
    """The page where a listing is looked up and removed."""
    ipv6: bool = False


_LISTED_ONLY = {"127.0.0.2": "listed"}

BLOCK_LISTS: tuple[BlockList, ...] = (
    BlockList(
        "zen.spamhaus.org",
        "Spamhaus: available zones, and the FAQ on DNSBL usage",
        {
            "127.0.0.2": "SBL: mail from here was judged to be spam",
            "127.0.0.3": "CSS: sends like a spammer, found automatically",
            "127.0.0.4": "XBL: the machine is infected or an open proxy",
            "127.0.0.5": "XBL",
            "127.0.0.6": "XBL",
            "127.0.0.7": "XBL",
            "127.0.0.9": "DROP: the network belongs to criminals",
            "127.0.0.10": "PBL: its provider says that no mail should come from here directly",
            "127.0.0.11": "PBL: an end user's address, from which no mail should come directly",
            "127.0.0.30": "BCL: controls a botnet",
        },
        "https://check.spamhaus.org/",
        ipv6=True,
    ),
    BlockList(
        "bl.spamcop.net",
        "SpamCop: what is on the list",
        _LISTED_ONLY,
        "https://www.spamcop.net/bl.shtml",
    ),
    BlockList(
        "b.barracudacentral.org",
        "Barracuda Central: how to use the BRBL; answers registered resolvers alone",
        _LISTED_ONLY,
        "https://www.barracudacentral.org/lookups",
    ),
    BlockList("psbl.surriel.com", "PSBL: how to use", _LISTED_ONLY, "https://psbl.org/", ipv6=True),
    BlockList(
        "dnsbl-1.uceprotect.net",
        "UCEPROTECT level 1: single addresses; levels 2 and 3 list whole networks, few refuse by"
        " them",
        _LISTED_ONLY,
        "https://www.uceprotect.net/en/rblcheck.php",
    ),
    BlockList(
        "bl.mailspike.net",
        "Mailspike: how to use",
        {
            "127.0.0.2": "part of a spam wave",
            "127.0.0.10": "worst reputation",
            "127.0.0.11": "very bad reputation",
            "127.0.0.12": "bad reputation",
        },
        "https://mailspike.org/iplookup.html",
    ),
    BlockList(
        "dnsbl.dronebl.org",
        "DroneBL: listing types",
        {
            "127.0.0.3": "an IRC spam drone",
            "127.0.0.6": "an unknown worm or spam bot",
            "127.0.0.7": "a drone for attacks",
            "127.0.0.8": "an open SOCKS proxy",
            "127.0.0.9": "an open HTTP proxy",
            "127.0.0.10": "a chain of proxies",
            "127.0.0.13": "tries passwords",
            "127.0.0.14": "an open Wingate proxy",
            "127.0.0.15": "a compromised router",
            "127.0.0.17": "a machine of a botnet",
            "127.0.0.19": "an abused VPN",
        },
        "https://dronebl.org/lookup",
        ipv6=True,
    ),
)


class ListingState(StrEnum):
    """Whether a list has an address."""

    CLEAN = "clean"
    LISTED = "listed"
    REFUSED = "refused"  # it answers, but not to queries from our resolver
    SILENT = "silent"  # no records, not even its test entry: it is closed, or does not answer us
    BROKEN = "broken"  # it lists every address
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether a list has an address, and the reason that it gives."""

    state: ListingState
    text: str = ""


ERROR_ANSWERS: dict[str, str] = {
    "127.255.255.252": "the list's name is misspelt",
    "127.255.255.254": "asked through a public resolver, which the list does not answer",
    "127.255.255.255": "asked too often, without a subscription",
}
"""Spamhaus' codes for refused queries, which other lists adopted."""

_LISTING_NETWORK = ipaddress.IPv4Network("127.0.0.0/16")
"""The network of listings. Another answer, such as a search page, is the resolver's own."""


def query_name(zone: str, ip: str) -> str:
    """The name to query: the reversed address, under the list's zone."""
    pointer = ipaddress.ip_address(ip).reverse_pointer
    return f"{pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def interpret_answers(
    block_list: BlockList,
    answers: Sequence[str] | None,
    *,
    test_entry: Sequence[str] | None,
    never_listed: Sequence[str] | None,
) -> Listing:
    """The meaning of the A records for our address and for the two fixed entries.

    A value is None if DNS gave no definite answer, and empty if there are no records.
    """
    error = next(
        (ERROR_ANSWERS[a] for a in (*(answers or ()), *(test_entry or ())) if a in ERROR_ANSWERS),
        None,
    )
    if error:
        return Listing(ListingState.REFUSED, error)
    if answers is None:
        return Listing(ListingState.UNREACHABLE)
    listed = [answer for answer in answers if _is_listing(answer)]
    if listed:
        if any(map(_is_listing, never_listed or ())):
            return Listing(ListingState.BROKEN)
        words = sorted({block_list.codes.get(answer, f"answer {answer}") for answer in listed})
        return Listing(ListingState.LISTED, "; ".join(words))
    if answers:
        return Listing(ListingState.REFUSED, f"answered {answers[0]}, which no list does")
    if test_entry is None:
        return Listing(ListingState.UNREACHABLE)
    return Listing(ListingState.CLEAN if test_entry else ListingState.SILENT)


def _is_listing(answer: str) -> bool:
    return ipaddress.ip_address(answer) in _LISTING_NETWORK
