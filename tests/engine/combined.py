"""Verifies one address in three ways: singly, as a batch of one, and among others in a batch.

A scenario says how the servers behave and which outcomes are expected. The three ways must agree,
except that a batch does not wait for greylisting, so that the test retries it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from engine.model import Reason, Verdict, Verification
from tests.engine.asking import verify_list
from tests.engine.test_probe import CONFIG, ProbeSetup, probe_setup
from tests.fakes.dns import Zone
from tests.fakes.smtp import Action, Script

Outcome = tuple[Verdict, Reason]

ACCEPTED = Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL
REJECTED = Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
CATCH_ALL = Verdict.RISKY, Reason.CATCH_ALL
FULL = Verdict.RISKY, Reason.MAILBOX_FULL
GREYLISTED = Verdict.UNKNOWN, Reason.GREYLISTED
BLOCKED = Verdict.UNKNOWN, Reason.BLOCKED
UNAVAILABLE = Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP
TIMED_OUT = Verdict.UNKNOWN, Reason.TIMEOUT
NOT_SMTP = Verdict.UNKNOWN, Reason.INVALID_SMTP
NO_CONNECT = Verdict.UNKNOWN, Reason.NO_CONNECT
INVALID_DOMAIN = Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN
INVALID_EMAIL = Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
DNS_ERROR = Verdict.UNKNOWN, Reason.DNS_ERROR

NO_SUCH_USER = "550 5.1.1 No such user"
GREYLISTED_450 = "450 4.2.0 Greylisted, see the postmaster's page"
RBL = "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using rbl.test"
RELAY = "554 5.7.1 Relay access denied"

QUICK = replace(CONFIG, greylist_retries_s=(0.02, 0.02, 0.02))
"""The fake servers' greylisting counts attempts, so that retries need not wait."""
RETRIES = 4
"""Attempts at the greylisted addresses of a batch."""

KNOWN = tuple(f"p{number}" for number in range(24))
UNKNOWN = tuple(f"x{number}" for number in range(6))


@dataclass(frozen=True, slots=True)
class Scenario:
    """How servers behave, and the outcomes that follow."""

    name: str
    source: str
    """What decides: an RFC section, a rule of `engine.smtp.reply_rules`, or a principle."""
    hosts: Mapping[str, Script]
    """By IP address, in order of preference."""
    user: Outcome
    """Of `address`."""
    known: Outcome | None = ACCEPTED
    """Of other addresses that exist at its domain; None where it may differ."""
    unknown: Outcome | None = REJECTED
    """Of addresses that do not exist there."""
    address: str = "user@a.test"
    zone: Zone | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def mail_host(
    user: Action | list[Action] = "250 2.1.5 Ok",
    unknown: Action | list[Action] = NO_SUCH_USER,
    known: Action | list[Action] = "250 2.1.5 Ok",
    **script: Any,
) -> Script:
    """A server with a reply for `user`, for `KNOWN`, and for all other names, the control's too."""
    rows = (("^user", user), (r"^p\d", known), (".*", unknown))
    return Script(rcpt=rows, **script)


def scenario(
    name: str, source: str, user: Outcome, *hosts: Script | tuple[str, Script], **more: Any
) -> Scenario:
    """A scenario with mail hosts at 127.0.0.2, 127.0.0.3, …"""
    by_ip = dict(
        host if isinstance(host, tuple) else (f"127.0.0.{number}", host)
        for number, host in enumerate(hosts, start=2)
    )
    return Scenario(name, source, by_ip, user, **more)


async def verify_batch(setup: ProbeSetup, texts: Sequence[str]) -> list[Verification]:
    """The results in the order asked, after retries of the greylisted addresses."""
    results: dict[int, Verification] = {}
    pending = list(range(len(texts)))
    for _ in range(RETRIES):
        async with asyncio.timeout(30):
            found = await verify_list(setup.engine, [texts[index] for index in pending])
        results |= dict(zip(pending, found, strict=True))
        pending = [index for index in pending if results[index].reason is Reason.GREYLISTED]
        if not pending:
            break
    return [results[index] for index in range(len(texts))]


@asynccontextmanager
async def setup_for(case: Scenario) -> AsyncIterator[ProbeSetup]:
    async with probe_setup(case.hosts, case.zone, replace(QUICK, **case.config)) as setup:
        yield setup


async def check(case: Scenario) -> None:
    """Verify in all three ways, each on servers of its own, at the same time."""
    wrong = await asyncio.gather(_singly(case), _as_batch(case), _among_others(case))
    assert not [line for lines in wrong for line in lines], case.source


async def _singly(case: Scenario) -> list[str]:
    async with setup_for(case) as setup:
        return _differs("single", case.user, await setup.verify(case.address))


async def _as_batch(case: Scenario) -> list[str]:
    async with setup_for(case) as setup:
        return _differs("batch of one", case.user, (await verify_batch(setup, [case.address]))[0])


async def _among_others(case: Scenario) -> list[str]:
    domain = case.address.rpartition("@")[2]
    others = [f"{name}@{domain}" for name in (*KNOWN, *UNKNOWN)]
    # Known and unknown names stand both before the address and after it.
    mixed = [*others[::2], case.address, *others[1::2]]
    expected = {f"{name}@{domain}": case.known for name in KNOWN}
    expected |= {f"{name}@{domain}": case.unknown for name in UNKNOWN}
    expected[case.address] = case.user
    async with setup_for(case) as setup:
        results = await verify_batch(setup, mixed)
    return [
        line
        for text, result in zip(mixed, results, strict=True)
        for line in _differs("among others", expected[text], result)
    ]


def _differs(way: str, expected: Outcome | None, result: Verification) -> list[str]:
    outcome = result.verdict, result.reason
    if expected is None or outcome == expected:
        return []
    wanted = " ".join(expected)
    return [
        f"{way}: {result.address.raw}: {' '.join(outcome)}, not {wanted}: {result.evidence.smtp}"
    ]
