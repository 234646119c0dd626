"""Batches: the results of single verifications, over few connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine.address.syntax import parse_address
from engine.bulk.calls import MAX_IN_FLIGHT_PER_CALL
from engine.model import Address, Checks, Dns, Reason, Verdict, Verification
from engine.smtp.meanings import ABOUT_US
from engine.turns import acting_for
from tests.engine.asking import verify_list
from tests.engine.test_probe import (
    BLOCKED_REPLY,
    CONFIG,
    GREYLISTED_REPLY,
    A,
    B,
    ProbeSetup,
    only,
    probe_setup,
    rcpt,
    zone_of,
)
from tests.fakes.smtp import CLOSE, HANG, Raw, Script, Wait

NO_SUCH_USER = "550 5.1.1 No such user"
KNOWN = tuple(f"p{number}" for number in range(30))
NO_CATCH_ALL = Checks(catch_all=False)
KNOWN_ONLY = Script(rcpt=only("p[0-9]+"))
OTHERS_UNKNOWN = (".*", NO_SUCH_USER)


async def verify_all(
    setup: ProbeSetup, texts: Sequence[str], checks: Checks = Checks()
) -> list[Verification]:
    """The results in the order asked, each delivered once."""
    async with asyncio.timeout(20):
        return await verify_list(setup.engine, texts, checks)


def addresses_at(domain: str, *names: str) -> list[str]:
    return [f"{name}@{domain}" for name in names]


def comparable(result: Verification) -> tuple[Any, ...]:
    """The parts of a result in which both ways must agree."""
    e = result.evidence
    smtp: Any = e.smtp and (e.smtp.meaning, e.smtp.stage, e.smtp.code, e.smtp.text, e.smtp.host)
    if e.smtp and e.smtp.meaning in ABOUT_US:
        smtp = (e.smtp.meaning,)  # after some refusals the host is paused, and the reply is missing
    lists = (e.disposable, e.free, e.role, e.no_reply, e.did_you_mean)
    found = (e.dns, e.mx, e.provider, e.spf, e.dmarc, e.mailbox_full, e.mailbox_disabled)
    judged = (result.address, result.verdict, result.reason, result.checks)
    return (*judged, *lists, *found, smtp)


MIXED = addresses_at("a.test", "p1", "nobody", "p2", "info", "p3", "noreply", "p4", "gone", "p5")


@pytest.mark.parametrize(
    "script",
    [
        KNOWN_ONLY,
        Script(),
        replace(KNOWN_ONLY, extensions=()),
        replace(KNOWN_ONLY, tls=True),
        replace(KNOWN_ONLY, tls=True, broken_tls=True),
        replace(KNOWN_ONLY, on={"EHLO": "502 what?"}),
        replace(KNOWN_ONLY, on={"HELO": HANG}),
        # limits of the host
        replace(KNOWN_ONLY, max_recipients=1),
        replace(KNOWN_ONLY, max_recipients=2),
        replace(KNOWN_ONLY, max_recipients=2, extensions=()),
        replace(KNOWN_ONLY, max_transactions=2),
        replace(KNOWN_ONLY, max_errors=2),
        replace(KNOWN_ONLY, max_connections=1),
        # a host that hangs up at every refusal
        rcpt(("^p[0-9]", "250 Ok"), (".*", (NO_SUCH_USER, CLOSE))),
        rcpt(("^p[0-9]", "250 Ok"), (".*", (NO_SUCH_USER, CLOSE)), extensions=()),
        # an address at which the connection ends, in several ways
        rcpt(("^p3", CLOSE), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        rcpt(("^p3", HANG), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        rcpt(("^p3", Raw(b"what?\r\n")), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        rcpt(("^p3", ("421 4.4.2 Bye", CLOSE)), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        rcpt(("^p1", CLOSE), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        # a reply is for one recipient only
        rcpt(
            ("^p2", "452 4.2.2 mailbox full"), ("^p3", "550 5.2.1 disabled"), ("^p[0-9]", "250 Ok")
        ),
        rcpt(
            ("^p2", "451 4.3.0 try again"),
            ("^p3", "252 maybe"),
            ("^p[0-9]", "250 Ok"),
            OTHERS_UNKNOWN,
        ),
        rcpt(("^p2", "450 4.1.1 User unknown"), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        rcpt(("^p2", BLOCKED_REPLY), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN),
        # bare refusals
        rcpt(("^p[0-9]", "250 Ok"), (".*", "550 Rejected")),
        rcpt(("^p[0-9]", "250 Ok"), ("^nobody", "550 Not you"), (".*", "550 Rejected")),
        rcpt((".*", "550 Rejected")),
        rcpt(("^p1", "550 Rejected"), (".*", "250 Ok")),
        rcpt(("^[a-z]+[.]|^[a-z]+[0-9]{3}@", "450 4.2.0 later"), ("^p[0-9]", "550 Rejected")),
        # refusals of us
        rcpt((".*", BLOCKED_REPLY)),
        Script(banner=BLOCKED_REPLY),
        Script(banner=CLOSE),
        Script(banner=Raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
        Script(on={"MAIL": "550 5.7.1 not from you"}),
        Script(on={"MAIL": CLOSE}),
        Script(on={"EHLO": BLOCKED_REPLY, "HELO": BLOCKED_REPLY}),
    ],
)
async def test_results_are_those_of_single_verifications(script: Script) -> None:
    async with probe_setup({A: script}) as setup:
        singles = [await setup.verify(text) for text in MIXED]
    async with probe_setup({A: script}) as setup:
        results = await verify_all(setup, MIXED)
    for one, other in zip(results, singles, strict=True):
        assert comparable(one) == comparable(other)
        # One way may know what the other could not find out, but never something else.
        assert len({one.evidence.catch_all, other.evidence.catch_all} - {None}) < 2


async def test_one_connection_and_one_control_serve_many_addresses() -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        results = await verify_all(setup, addresses_at("a.test", *KNOWN[:19]))
        assert {result.reason for result in results} == {Reason.ACCEPTED_EMAIL}
        assert {result.evidence.catch_all for result in results} == {False}
        assert setup.smtp.seen[A].connections == 1
        asked = setup.smtp.recipients(A)
        assert len(asked) == 20
        assert asked[0] == "p0@a.test"


async def test_domains_share_connections_but_no_transaction() -> None:
    zone = zone_of(A)
    for number in range(15):
        zone[f"d{number}.test"] = {"MX": ["0 mx0.a.test."]}
    async with probe_setup({A: KNOWN_ONLY}, zone) as setup:
        texts = [f"{who}@d{number}.test" for number in range(15) for who in ("p1", "x")]
        results = await verify_all(setup, texts)
        assert [result.verdict for result in results] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
        ] * 15
        transactions = " ".join(setup.smtp.commands(A)).split("MAIL FROM")[1:]
        for transaction in transactions:
            domains = {part.split(">")[0] for part in transaction.split("@")[2:]}
            assert len(domains) == 1
        assert setup.smtp.seen[A].connections <= 4


class CountedReads:
    """Iterates over addresses, and counts those that were read."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = addresses
        self.count = 0

    def __iter__(self) -> Iterator[Address]:
        for address in self._addresses:
            self.count += 1
            yield address


async def test_a_batch_longer_than_may_be_in_flight() -> None:
    length = MAX_IN_FLIGHT_PER_CALL * 2 + 17
    reads = CountedReads(
        parse_address(f"p{number}@a.test" if number % 2 else "not an address")
        for number in range(length)
    )
    taken = max_in_flight = 0
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        async for _ in setup.engine.verify_many(reads):
            max_in_flight = max(max_in_flight, reads.count - taken)
            taken += 1
    assert taken == length
    assert max_in_flight <= MAX_IN_FLIGHT_PER_CALL


async def test_a_slow_consumer_slows_the_reading_down() -> None:
    malformed = (parse_address("not an address") for _ in range(MAX_IN_FLIGHT_PER_CALL * 3))
    reads = CountedReads(malformed)
    async with (
        probe_setup({A: KNOWN_ONLY}) as setup,
        aclosing(setup.engine.verify_many(reads)) as results,
    ):
        await anext(results)
        for _ in range(200):  # turns of the loop, in each of which a burst could be read
            await asyncio.sleep(0)
        assert reads.count <= MAX_IN_FLIGHT_PER_CALL
        taken = 1
        async for _result in results:
            taken += 1
    assert taken == reads.count == MAX_IN_FLIGHT_PER_CALL * 3


@pytest.mark.parametrize(
    ("checks", "verdict", "reason"),
    [
        (Checks(dns=False, smtp=False), Verdict.UNKNOWN, Reason.NOT_CHECKED),
        (Checks(smtp=False), Verdict.UNKNOWN, Reason.NOT_CHECKED),
        (Checks(catch_all=False), Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    ],
)
async def test_checks_bound_what_is_asked(checks: Checks, verdict: Verdict, reason: Reason) -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        results = await verify_all(setup, addresses_at("a.test", "p1", "p2"), checks)
        assert [(a.verdict, a.reason) for a in results] == [(verdict, reason)] * 2
        assert len(setup.smtp.recipients(A)) == (2 if checks.smtp else 0)


async def test_domains_that_accept_no_mail_are_not_asked() -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        results = await verify_all(
            setup, ["p1@no.test", "p2@no.test", "p1@a.test", "@", "j@[1.2.3.4]"]
        )
        assert [result.reason for result in results] == [
            Reason.INVALID_DOMAIN,
            Reason.INVALID_DOMAIN,
            Reason.ACCEPTED_EMAIL,
            Reason.INVALID_EMAIL,
            Reason.INVALID_EMAIL,
        ]
        assert results[0].evidence.dns is Dns.NXDOMAIN


async def test_greylisted_addresses_pass_later_with_the_same_control() -> None:
    script = rcpt(
        ("^p[0-9]", [GREYLISTED_REPLY, "250 Ok"]), (".*", [GREYLISTED_REPLY, NO_SUCH_USER])
    )
    async with probe_setup({A: script}) as setup:
        texts = addresses_at("a.test", *KNOWN[:5])
        assert {result.reason for result in await verify_all(setup, texts)} == {Reason.GREYLISTED}
        again = await verify_all(setup, texts)
        assert {result.reason for result in again} == {Reason.ACCEPTED_EMAIL}
        assert {result.evidence.catch_all for result in again} == {False}
        assert len(setup.smtp.seen[A].recipients) == 6


async def test_the_next_host_is_asked_where_the_first_fails() -> None:
    hosts: Mapping[str, Script] = {A: Script(banner=CLOSE), B: KNOWN_ONLY}
    async with probe_setup(hosts) as setup:
        results = await verify_all(setup, addresses_at("a.test", "p1", "nobody", "p2"))
        assert [result.verdict for result in results] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
            Verdict.DELIVERABLE,
        ]


async def test_a_dead_host_is_tried_for_one_address_only() -> None:
    async with probe_setup({A: Script(banner=CLOSE)}) as setup:
        results = await verify_all(setup, addresses_at("a.test", *KNOWN))
        assert {result.reason for result in results} == {Reason.UNAVAILABLE_SMTP}
        assert {result.verdict for result in results} == {Verdict.UNKNOWN}
        assert [result.address.local for result in results] == list(KNOWN)
        assert setup.smtp.seen[A].connections <= 3


async def test_a_host_that_rejects_every_connection_does_not_delay_its_batch() -> None:
    async with probe_setup({A: Script(banner="421 4.3.2 busy")}) as setup:
        results = await verify_all(setup, addresses_at("a.test", *KNOWN))
        assert {result.reason for result in results} == {Reason.UNAVAILABLE_SMTP}
        assert {result.verdict for result in results} == {Verdict.UNKNOWN}
        assert {result.evidence.smtp.code for result in results if result.evidence.smtp} == {421}
        assert setup.smtp.seen[A].connections <= 4


async def test_a_host_that_falls_silent_is_given_up_after_some_addresses() -> None:
    config = replace(CONFIG, command_timeout_s=0.1)
    async with probe_setup({A: rcpt((".*", HANG))}, config=config) as setup:
        results = await verify_all(setup, addresses_at("a.test", *KNOWN))
        assert {result.reason for result in results} == {Reason.TIMEOUT}
        assert setup.smtp.seen[A].connections < 20


async def test_a_connection_is_renewed_before_the_host_ends_it() -> None:
    async with probe_setup({A: replace(KNOWN_ONLY, max_errors=12)}) as setup:
        results = await verify_all(
            setup, addresses_at("a.test", *(f"x{number}" for number in range(100)))
        )
        assert {result.reason for result in results} == {Reason.REJECTED_EMAIL}
        assert "QUIT" in setup.smtp.commands(A)


async def test_no_more_recipients_on_a_connection_than_configured() -> None:
    config = replace(CONFIG, recipients_per_connection=10)
    async with probe_setup({A: KNOWN_ONLY}, config=config) as setup:
        await verify_all(setup, addresses_at("a.test", *(f"p{number}" for number in range(89))))
        assert setup.smtp.seen[A].connections >= 9


async def test_no_more_connections_than_configured() -> None:
    config = replace(CONFIG, connections_per_host=2)
    async with probe_setup({A: KNOWN_ONLY}, config=config) as setup:
        await verify_all(setup, addresses_at("a.test", *(f"p{number}" for number in range(500))))
        assert setup.smtp.seen[A].max_open == 2


async def test_the_null_sender_has_a_transaction_for_each_recipient() -> None:
    async with probe_setup({A: KNOWN_ONLY}, config=replace(CONFIG, mail_from="")) as setup:
        results = await verify_all(setup, addresses_at("a.test", *KNOWN[:8]))
        assert {result.reason for result in results} == {Reason.ACCEPTED_EMAIL}
        mails = [command for command in setup.smtp.commands(A) if command.startswith("MAIL")]
        assert mails == ["MAIL FROM:<>"] * len(mails)
        assert len(mails) >= 8


async def test_addresses_beyond_ascii_are_sent_only_to_hosts_with_smtputf8() -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        results = await verify_all(setup, addresses_at("a.test", "p1", "jörg"))
        assert results[0].reason is Reason.ACCEPTED_EMAIL
        assert results[1].reason is Reason.REJECTED_EMAIL
        assert "jörg@a.test" not in setup.smtp.recipients(A)


async def test_a_single_verification_overtakes_a_batch() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = rcpt(
        ("^stuck", (Wait(reached, go_on), "250 Ok")), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN
    )
    config = replace(CONFIG, connections_per_host=1)
    async with probe_setup({A: script}, config=config) as setup:
        order: list[str] = []

        async def run_batch() -> None:
            names = ("stuck", *(f"p{number}" for number in range(400)))
            async for address, _ in setup.engine.verify_many(
                map(parse_address, addresses_at("a.test", *names))
            ):
                order.append(address.local)

        batch = asyncio.create_task(run_batch())
        await reached.wait()
        single = asyncio.create_task(setup.verify("p@a.test"))
        single.add_done_callback(lambda _: order.append("single"))
        for _ in range(200):  # until it waits for the one connection
            await asyncio.sleep(0)
        go_on.set()
        await single
        await batch
        assert order.index("single") < 200


async def test_a_list_of_another_party_does_not_wait_for_a_thousand_domains_at_one_host() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = rcpt(("^stuck", (Wait(reached, go_on), "250 Ok")), ("^p[0-9]", "250 Ok"))
    domains = [f"d{number}.test" for number in range(1_000)]
    zone = zone_of(A) | {domain: {"MX": ["1 mx0.a.test."]} for domain in domains}
    # the first connection is held until both lists wait, however slow the machine is
    config = replace(CONFIG, connections_per_host=1, command_timeout_s=60.0)
    async with probe_setup({A: script}, zone, config) as setup:
        order: list[str] = []

        async def run_list(party: str, texts: list[str]) -> None:
            with acting_for(party):
                async for _ in setup.engine.verify_many(map(parse_address, texts), NO_CATCH_ALL):
                    order.append(party)

        first = asyncio.create_task(run_list("flooding", ["stuck@a.test"]))
        await reached.wait()
        flood = asyncio.create_task(run_list("flooding", [f"p1@{each}" for each in domains]))
        for _ in range(3_000):  # until all its domains wait for the one connection
            await asyncio.sleep(0)
        modest = asyncio.create_task(run_list("modest", ["p2@d0.test"]))
        for _ in range(200):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, flood, modest)
        assert order.index("modest") < 200


async def test_a_cancelled_call_does_not_disturb_others() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = rcpt(
        ("^stuck", (Wait(reached, go_on), "250 Ok")), ("^p[0-9]", "250 Ok"), OTHERS_UNKNOWN
    )
    config = replace(CONFIG, connections_per_host=1)
    async with probe_setup({A: script}, config=config) as setup:
        first = asyncio.create_task(verify_all(setup, addresses_at("a.test", "stuck", *KNOWN)))
        await reached.wait()
        second = asyncio.create_task(verify_all(setup, addresses_at("a.test", "p1", "x")))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        results = await second
        assert [result.verdict for result in results] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
        ]


async def test_concurrent_calls_get_their_own_results() -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        lists = [addresses_at("a.test", *KNOWN[number:]) for number in range(20)]
        results = await asyncio.gather(*(verify_all(setup, texts) for texts in lists))
        assert [[a.address.raw for a in found] for found in results] == lists


async def test_a_stream_closed_early_does_not_disturb_others() -> None:
    async with probe_setup({A: KNOWN_ONLY}) as setup:
        for texts in (addresses_at("a.test", *KNOWN), ["no address"]):
            addresses = map(parse_address, texts)
            async with aclosing(setup.engine.verify_many(addresses)) as results:
                await anext(results)
        assert len(await verify_all(setup, addresses_at("a.test", *KNOWN))) == len(KNOWN)


async def test_an_exception_of_the_iterable_is_raised_at_the_end() -> None:
    def addresses() -> Iterator[Address]:
        yield parse_address("no address")
        raise LookupError("a fault")

    async with probe_setup({A: KNOWN_ONLY}) as setup:
        results = setup.engine.verify_many(addresses())
        with pytest.raises(LookupError):
            await anext(results)


@pytest.mark.parametrize(
    ("ip", "reason"), [("10.0.0.1", Reason.NO_CONNECT), (A, Reason.INVALID_DOMAIN)]
)
async def test_private_addresses_are_not_connected_to_unless_allowed(
    ip: str, reason: Reason
) -> None:
    config = replace(CONFIG, allow_private_networks=False)
    async with probe_setup({A: KNOWN_ONLY}, zone_of(ip), config) as setup:
        results = await verify_all(setup, addresses_at("a.test", "p1", "p2"))
        assert {result.reason for result in results} == {reason}
        assert setup.smtp.seen[A].connections == 0
