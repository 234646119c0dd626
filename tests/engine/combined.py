"""Asks for one address in each way: alone, as a list of one, and among others in a list.

A row says how the servers behave and what is to come of it; the three ways must agree, but that
a list is told of greylisting and asks again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from engine.model import Reason, Verdict, Verification
from tests.engine.asking import verify_list
from tests.engine.test_probe import CONFIG, World, world
from tests.fakes.dns import Zone
from tests.fakes.smtp import Action, Script

Gist = tuple[Verdict, Reason]

OK = Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL
NO = Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
ALL = Verdict.RISKY, Reason.CATCH_ALL
FULL = Verdict.RISKY, Reason.MAILBOX_FULL
GREY = Verdict.UNKNOWN, Reason.GREYLISTED
BLOCK = Verdict.UNKNOWN, Reason.BLOCKED
BUSY = Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP
LATE = Verdict.UNKNOWN, Reason.TIMEOUT
BABBLE = Verdict.UNKNOWN, Reason.INVALID_SMTP
NOBODY_THERE = Verdict.UNKNOWN, Reason.NO_CONNECT
NO_DOMAIN = Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN
NO_ADDRESS = Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
DNS_ERROR = Verdict.UNKNOWN, Reason.DNS_ERROR

NOBODY = "550 5.1.1 No such user"
GREY_450 = "450 4.2.0 Greylisted, see the postmaster's page"
RBL = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using rbl.test"
RELAY = "554 5.7.1 Relay access denied"

QUICK = replace(CONFIG, greylist_retries_s=(0.02, 0.02, 0.02))
"""Greylisting here counts attempts, not seconds."""
RETRIES = 4
"""Of who keeps a list, for what was greylisted."""

PEOPLE = tuple(f"p{number}" for number in range(24))
STRANGERS = tuple(f"x{number}" for number in range(6))


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario."""

    name: str
    source: str
    """RFC section, or row of the table in the engine's notes on replies, that decides."""
    hosts: Mapping[str, Script]
    """By address, in order of preference."""
    user: Gist
    """What is to be said of `address`."""
    people: Gist | None = OK
    """Of others who exist at its domain; None where it may differ."""
    strangers: Gist | None = NO
    """Of others who do not."""
    address: str = "user@a.test"
    zone: Zone | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def says(
    user: Action | list[Action] = "250 2.1.5 Ok",
    others: Action | list[Action] = NOBODY,
    people: Action | list[Action] = "250 2.1.5 Ok",
    **script: Any,
) -> Script:
    """A server that answers `user`, people who exist, and all others, the control too."""
    rows = (("^user", user), (r"^p\d", people), (".*", others))
    return Script(rcpt=rows, **script)


def alone(
    name: str, source: str, user: Gist, *hosts: Script | tuple[str, Script], **more: Any
) -> Row:
    """A row of mail hosts at 127.0.0.2, 127.0.0.3, …"""
    placed = dict(
        host if isinstance(host, tuple) else (f"127.0.0.{number}", host)
        for number, host in enumerate(hosts, start=2)
    )
    return Row(name, source, placed, user, **more)


async def ask_list(there: World, texts: Sequence[str]) -> list[Verification]:
    """The answers in the order asked, each given once, the greylisted asked again."""
    answers: dict[int, Verification] = {}
    places = list(range(len(texts)))
    for _ in range(RETRIES):
        async with asyncio.timeout(30):
            found = await verify_list(there.engine, [texts[place] for place in places])
        answers |= dict(zip(places, found, strict=True))
        places = [place for place in places if answers[place].reason is Reason.GREYLISTED]
        if not places:
            break
    return [answers[place] for place in range(len(texts))]


@asynccontextmanager
async def world_of(row: Row) -> AsyncIterator[World]:
    async with world(row.hosts, row.zone, replace(QUICK, **row.config)) as there:
        yield there


async def check(row: Row) -> None:
    """All three ways, each on servers of its own, at the same time."""
    wrong = await asyncio.gather(_singly(row), _as_list(row), _among_others(row))
    assert not [line for lines in wrong for line in lines], row.source


async def _singly(row: Row) -> list[str]:
    async with world_of(row) as there:
        return _differs("single", row.user, await there.verify(row.address))


async def _as_list(row: Row) -> list[str]:
    async with world_of(row) as there:
        return _differs("list of one", row.user, (await ask_list(there, [row.address]))[0])


async def _among_others(row: Row) -> list[str]:
    domain = row.address.rpartition("@")[2]
    others = [f"{name}@{domain}" for name in (*PEOPLE, *STRANGERS)]
    # Spread, so that each kind stands before the address and after it.
    mixed = [*others[::2], row.address, *others[1::2]]
    expected = {f"{name}@{domain}": row.people for name in PEOPLE}
    expected |= {f"{name}@{domain}": row.strangers for name in STRANGERS}
    expected[row.address] = row.user
    async with world_of(row) as there:
        answers = await ask_list(there, mixed)
    return [
        line
        for text, answer in zip(mixed, answers, strict=True)
        for line in _differs("among others", expected[text], answer)
    ]


def _differs(way: str, expected: Gist | None, answer: Verification) -> list[str]:
    found = answer.verdict, answer.reason
    if expected is None or found == expected:
        return []
    told = " ".join(expected)
    return [f"{way}: {answer.address.raw}: {' '.join(found)}, not {told}: {answer.evidence.smtp}"]
