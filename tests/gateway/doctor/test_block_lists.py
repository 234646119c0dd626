"""Block lists: the table, the queried names, and the meaning of answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from gateway.doctor.block_lists import (
    BLOCK_LISTS,
    BlockList,
    Listing,
    ListingState,
    interpret_answers,
    query_name,
)

ZEN = BLOCK_LISTS[0]
YES = ("127.0.0.2",)
NO: Sequence[str] = ()


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("192.0.2.10", "10.2.0.192.rbl.test"),
        (
            "2001:db8::10",
            "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rbl.test",
        ),
    ],
)
def test_the_name_is_the_reversed_address(ip: str, name: str) -> None:
    assert query_name("rbl.test", ip) == name


@pytest.mark.parametrize(
    ("answers", "test_entry", "never_listed", "listing"),
    [
        (NO, YES, NO, Listing(ListingState.CLEAN)),
        (YES, YES, NO, Listing(ListingState.LISTED, ZEN.codes["127.0.0.2"])),
        (
            ("127.0.0.10", "127.0.0.4"),
            YES,
            NO,
            Listing(ListingState.LISTED, f"{ZEN.codes['127.0.0.10']}; {ZEN.codes['127.0.0.4']}"),
        ),
        (("127.0.0.99",), YES, NO, Listing(ListingState.LISTED, "answer 127.0.0.99")),
        # other networks, which are no listings
        (
            ("127.255.255.254",),
            NO,
            NO,
            Listing(
                ListingState.REFUSED,
                "asked through a public resolver, which the list does not answer",
            ),
        ),
        (
            NO,
            ("127.255.255.255",),
            NO,
            Listing(ListingState.REFUSED, "asked too often, without a subscription"),
        ),
        (
            ("203.0.113.9",),
            ("203.0.113.9",),
            ("203.0.113.9",),
            Listing(ListingState.REFUSED, "answered 203.0.113.9, which no list does"),
        ),
        # a list with every address, and one with none
        (YES, YES, YES, Listing(ListingState.BROKEN)),
        (NO, NO, NO, Listing(ListingState.SILENT)),
        # DNS failed
        (None, None, None, Listing(ListingState.UNREACHABLE)),
        (None, YES, NO, Listing(ListingState.UNREACHABLE)),
        (NO, None, NO, Listing(ListingState.UNREACHABLE)),
    ],
)
def test_answers(
    answers: Sequence[str] | None,
    test_entry: Sequence[str] | None,
    never_listed: Sequence[str] | None,
    listing: Listing,
) -> None:
    assert (
        interpret_answers(ZEN, answers, test_entry=test_entry, never_listed=never_listed) == listing
    )


@pytest.mark.parametrize("entry", BLOCK_LISTS, ids=lambda entry: entry.zone)
def test_every_list_is_usable(entry: BlockList) -> None:
    assert entry.source
    assert entry.remedy.startswith("https://")
    assert entry.codes
    assert all(ipaddress.ip_address(code).is_loopback for code in entry.codes)
    assert sum(other.zone == entry.zone for other in BLOCK_LISTS) == 1
