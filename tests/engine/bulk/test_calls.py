"""Lists of addresses: the answers of the single path, over few connections."""

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
from tests.engine.asking import verify_list
from tests.engine.test_probe import (
    BLOCKED,
    CONFIG,
    GREYLISTED,
    A,
    B,
    World,
    only,
    rcpt,
    world,
    zone_of,
)
from tests.fakes.smtp import CLOSE, HANG, Raw, Script, Wait

NOBODY = "550 5.1.1 No such user"
PEOPLE = tuple(f"p{number}" for number in range(30))
SOME = Script(rcpt=only("p[0-9]+"))
IN_ORDER = (".*", NOBODY)


async def many(there: World, texts: Sequence[str], checks: Checks = Checks()) -> list[Verification]:
    """The answers in the order asked, each given once."""
    async with asyncio.timeout(20):
        return await verify_list(there.engine, texts, checks)


def at(domain: str, *names: str) -> list[str]:
    return [f"{name}@{domain}" for name in names]


def gist(answer: Verification) -> tuple[Any, ...]:
    """What both ways must agree on."""
    e = answer.evidence
    smtp: Any = e.smtp and (e.smtp.meaning, e.smtp.stage, e.smtp.code, e.smtp.text, e.smtp.host)
    if e.smtp and e.smtp.meaning in ABOUT_US:
        smtp = (e.smtp.meaning,)  # who is refused often enough stops asking
    lists = (e.disposable, e.free, e.role, e.no_reply, e.did_you_mean)
    found = (e.dns, e.mx, e.provider, e.spf, e.dmarc, e.mailbox_full, e.mailbox_disabled)
    judged = (answer.address, answer.verdict, answer.reason, answer.checks)
    return (*judged, *lists, *found, smtp)


MIXED = at("a.test", "p1", "nobody", "p2", "info", "p3", "noreply", "p4", "gone", "p5")


@pytest.mark.parametrize(
    "script",
    [
        SOME,
        Script(),
        replace(SOME, extensions=()),
        replace(SOME, tls=True),
        replace(SOME, tls=True, broken_tls=True),
        replace(SOME, on={"EHLO": "502 what?"}),
        replace(SOME, on={"HELO": HANG}),
        # limits
        replace(SOME, most_recipients=1),
        replace(SOME, most_recipients=2),
        replace(SOME, most_recipients=2, extensions=()),
        replace(SOME, most_transactions=2),
        replace(SOME, most_errors=2),
        replace(SOME, most_connections=1),
        # hangs up at every refusal
        rcpt(("^p[0-9]", "250 Ok"), (".*", (NOBODY, CLOSE))),
        rcpt(("^p[0-9]", "250 Ok"), (".*", (NOBODY, CLOSE)), extensions=()),
        # one address that spoils the connection, in each way
        rcpt(("^p3", CLOSE), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p3", HANG), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p3", Raw(b"what?\r\n")), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p3", ("421 4.4.2 Bye", CLOSE)), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p1", CLOSE), ("^p[0-9]", "250 Ok"), IN_ORDER),
        # what is said of one is not said of all
        rcpt(
            ("^p2", "452 4.2.2 mailbox full"), ("^p3", "550 5.2.1 disabled"), ("^p[0-9]", "250 Ok")
        ),
        rcpt(("^p2", "451 4.3.0 try again"), ("^p3", "252 maybe"), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p2", "450 4.1.1 User unknown"), ("^p[0-9]", "250 Ok"), IN_ORDER),
        rcpt(("^p2", BLOCKED), ("^p[0-9]", "250 Ok"), IN_ORDER),
        # bare refusals
        rcpt(("^p[0-9]", "250 Ok"), (".*", "550 Rejected")),
        rcpt(("^p[0-9]", "250 Ok"), ("^nobody", "550 Not you"), (".*", "550 Rejected")),
        rcpt((".*", "550 Rejected")),
        rcpt(("^p1", "550 Rejected"), (".*", "250 Ok")),
        rcpt(("^[a-z]+[.]|^[a-z]+[0-9]{3}@", "450 4.2.0 later"), ("^p[0-9]", "550 Rejected")),
        # refusals of us
        rcpt((".*", BLOCKED)),
        Script(banner=BLOCKED),
        Script(banner=CLOSE),
        Script(banner=Raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
        Script(on={"MAIL": "550 5.7.1 not from you"}),
        Script(on={"MAIL": CLOSE}),
        Script(on={"EHLO": BLOCKED, "HELO": BLOCKED}),
    ],
)
async def test_answers_are_those_of_the_single_path(script: Script) -> None:
    async with world({A: script}) as there:
        singles = [await there.verify(text) for text in MIXED]
    async with world({A: script}) as there:
        answers = await many(there, MIXED)
    for one, other in zip(answers, singles, strict=True):
        assert gist(one) == gist(other)
        # One way may know what the other could not find out, but never something else.
        assert len({one.evidence.catch_all, other.evidence.catch_all} - {None}) < 2


async def test_one_connection_and_one_control_serve_many() -> None:
    async with world({A: SOME}) as there:
        answers = await many(there, at("a.test", *PEOPLE[:19]))
        assert {answer.reason for answer in answers} == {Reason.ACCEPTED_EMAIL}
        assert {answer.evidence.catch_all for answer in answers} == {False}
        assert there.smtp.seen[A].connections == 1
        asked = there.smtp.recipients(A)
        assert len(asked) == 20
        assert asked[0] == "p0@a.test"


async def test_addresses_of_many_domains_share_the_host_not_the_transaction() -> None:
    zone = zone_of(A)
    for number in range(15):
        zone[f"d{number}.test"] = {"MX": ["0 mx0.a.test."]}
    async with world({A: SOME}, zone) as there:
        texts = [f"{who}@d{number}.test" for number in range(15) for who in ("p1", "x")]
        answers = await many(there, texts)
        assert [answer.verdict for answer in answers] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
        ] * 15
        transactions = " ".join(there.smtp.commands(A)).split("MAIL FROM")[1:]
        for transaction in transactions:
            domains = {part.split(">")[0] for part in transaction.split("@")[2:]}
            assert len(domains) == 1
        assert there.smtp.seen[A].connections <= 4


class Reading:
    """Addresses that are read one by one, and how many were."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = addresses
        self.count = 0

    def __iter__(self) -> Iterator[Address]:
        for address in self._addresses:
            self.count += 1
            yield address


async def test_a_list_longer_than_what_may_be_in_flight() -> None:
    length = MAX_IN_FLIGHT_PER_CALL * 2 + 17
    reading = Reading(
        parse_address(f"p{number}@a.test" if number % 2 else "not an address")
        for number in range(length)
    )
    taken = most = 0
    config = replace(CONFIG, connect_timeout_s=5.0, command_timeout_s=5.0)
    async with world({A: SOME}, config=config) as there:
        async for _ in there.engine.verify_many(reading):
            most = max(most, reading.count - taken)
            taken += 1
    assert taken == length
    assert most <= MAX_IN_FLIGHT_PER_CALL


async def test_a_slow_consumer_stops_the_reading() -> None:
    malformed = (parse_address("not an address") for _ in range(MAX_IN_FLIGHT_PER_CALL * 3))
    reading = Reading(malformed)
    async with (
        world({A: SOME}) as there,
        aclosing(there.engine.verify_many(reading)) as results,
    ):
        await anext(results)
        for _ in range(200):  # turns of the loop, in each of which a burst could be read
            await asyncio.sleep(0)
        assert reading.count <= MAX_IN_FLIGHT_PER_CALL
        taken = 1
        async for _result in results:
            taken += 1
    assert taken == reading.count == MAX_IN_FLIGHT_PER_CALL * 3


@pytest.mark.parametrize(
    ("checks", "verdict", "reason"),
    [
        (Checks(dns=False, smtp=False), Verdict.UNKNOWN, Reason.NOT_CHECKED),
        (Checks(smtp=False), Verdict.UNKNOWN, Reason.NOT_CHECKED),
        (Checks(catch_all=False), Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    ],
)
async def test_what_is_not_wanted_is_not_asked(
    checks: Checks, verdict: Verdict, reason: Reason
) -> None:
    async with world({A: SOME}) as there:
        answers = await many(there, at("a.test", "p1", "p2"), checks)
        assert [(a.verdict, a.reason) for a in answers] == [(verdict, reason)] * 2
        assert len(there.smtp.recipients(A)) == (2 if checks.smtp else 0)


async def test_domains_that_take_no_mail_are_not_asked() -> None:
    async with world({A: SOME}) as there:
        answers = await many(there, ["p1@no.test", "p2@no.test", "p1@a.test", "@", "j@[1.2.3.4]"])
        assert [answer.reason for answer in answers] == [
            Reason.INVALID_DOMAIN,
            Reason.INVALID_DOMAIN,
            Reason.ACCEPTED_EMAIL,
            Reason.INVALID_EMAIL,
            Reason.INVALID_EMAIL,
        ]
        assert answers[0].evidence.dns is Dns.NXDOMAIN


async def test_greylisted_addresses_are_handed_back_and_pass_later_with_the_same_control() -> None:
    script = rcpt(("^p[0-9]", [GREYLISTED, "250 Ok"]), (".*", [GREYLISTED, NOBODY]))
    async with world({A: script}) as there:
        texts = at("a.test", *PEOPLE[:5])
        assert {answer.reason for answer in await many(there, texts)} == {Reason.GREYLISTED}
        again = await many(there, texts)
        assert {answer.reason for answer in again} == {Reason.ACCEPTED_EMAIL}
        assert {answer.evidence.catch_all for answer in again} == {False}
        assert len(there.smtp.seen[A].recipients) == 6


async def test_the_next_host_answers_where_the_first_fails() -> None:
    hosts: Mapping[str, Script] = {A: Script(banner=CLOSE), B: SOME}
    async with world(hosts) as there:
        answers = await many(there, at("a.test", "p1", "nobody", "p2"))
        assert [answer.verdict for answer in answers] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
            Verdict.DELIVERABLE,
        ]


async def test_a_dead_domain_is_tried_for_one_address_alone() -> None:
    async with world({A: Script(banner=CLOSE)}) as there:
        answers = await many(there, at("a.test", *PEOPLE))
        assert {answer.reason for answer in answers} == {Reason.UNAVAILABLE_SMTP}
        assert {answer.verdict for answer in answers} == {Verdict.UNKNOWN}
        assert [answer.address.local for answer in answers] == list(PEOPLE)
        assert there.smtp.seen[A].connections <= 3


async def test_a_host_that_turns_everybody_away_does_not_hold_its_list_back() -> None:
    async with world({A: Script(banner="421 4.3.2 busy")}) as there:
        answers = await many(there, at("a.test", *PEOPLE))
        assert {answer.reason for answer in answers} == {Reason.UNAVAILABLE_SMTP}
        assert {answer.verdict for answer in answers} == {Verdict.UNKNOWN}
        assert {answer.evidence.smtp.code for answer in answers if answer.evidence.smtp} == {421}
        assert there.smtp.seen[A].connections <= 4


async def test_a_domain_whose_host_falls_silent_is_left_after_some_addresses() -> None:
    config = replace(CONFIG, command_timeout_s=0.1)
    async with world({A: rcpt((".*", HANG))}, config=config) as there:
        answers = await many(there, at("a.test", *PEOPLE))
        assert {answer.reason for answer in answers} == {Reason.TIMEOUT}
        assert there.smtp.seen[A].connections < 20


async def test_the_connection_is_renewed_before_the_host_has_had_enough() -> None:
    async with world({A: replace(SOME, most_errors=12)}) as there:
        answers = await many(there, at("a.test", *(f"x{number}" for number in range(100))))
        assert {answer.reason for answer in answers} == {Reason.REJECTED_EMAIL}
        assert "QUIT" in there.smtp.commands(A)


async def test_no_more_recipients_on_a_connection_than_configured() -> None:
    config = replace(CONFIG, recipients_per_connection=10)
    async with world({A: SOME}, config=config) as there:
        await many(there, at("a.test", *(f"p{number}" for number in range(89))))
        assert there.smtp.seen[A].connections >= 9


async def test_no_more_connections_than_configured() -> None:
    config = replace(CONFIG, connections_per_host=2)
    async with world({A: SOME}, config=config) as there:
        await many(there, at("a.test", *(f"p{number}" for number in range(500))))
        assert there.smtp.seen[A].most_open == 2


async def test_the_null_sender_has_a_transaction_for_each_recipient() -> None:
    async with world({A: SOME}, config=replace(CONFIG, mail_from="")) as there:
        answers = await many(there, at("a.test", *PEOPLE[:8]))
        assert {answer.reason for answer in answers} == {Reason.ACCEPTED_EMAIL}
        mails = [command for command in there.smtp.commands(A) if command.startswith("MAIL")]
        assert mails == ["MAIL FROM:<>"] * len(mails)
        assert len(mails) >= 8


async def test_addresses_beyond_ascii_are_written_only_to_hosts_that_read_them() -> None:
    async with world({A: SOME}) as there:
        answers = await many(there, at("a.test", "p1", "jörg"))
        assert answers[0].reason is Reason.ACCEPTED_EMAIL
        assert answers[1].reason is Reason.REJECTED_EMAIL
        assert "jörg@a.test" not in there.smtp.recipients(A)


async def test_a_single_question_is_not_kept_waiting() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = rcpt(("^stuck", (Wait(reached, go_on), "250 Ok")), ("^p[0-9]", "250 Ok"), IN_ORDER)
    config = replace(CONFIG, connections_per_host=1, command_timeout_s=5.0)
    async with world({A: script}, config=config) as there:
        order: list[str] = []

        async def verify_all() -> None:
            names = ("stuck", *(f"p{number}" for number in range(400)))
            async for address, _ in there.engine.verify_many(
                map(parse_address, at("a.test", *names))
            ):
                order.append(address.local)

        listed = asyncio.create_task(verify_all())
        await reached.wait()
        single = asyncio.create_task(there.verify("p@a.test"))
        single.add_done_callback(lambda _: order.append("single"))
        for _ in range(200):  # it comes to wait for the one connection
            await asyncio.sleep(0)
        go_on.set()
        await single
        await listed
        assert order.index("single") < 200


async def test_a_call_that_is_given_up_leaves_the_others_alone() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    script = rcpt(("^stuck", (Wait(reached, go_on), "250 Ok")), ("^p[0-9]", "250 Ok"), IN_ORDER)
    config = replace(CONFIG, connections_per_host=1, command_timeout_s=5.0)
    async with world({A: script}, config=config) as there:
        first = asyncio.create_task(many(there, at("a.test", "stuck", *PEOPLE)))
        await reached.wait()
        second = asyncio.create_task(many(there, at("a.test", "p1", "x")))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        answers = await second
        assert [answer.verdict for answer in answers] == [
            Verdict.DELIVERABLE,
            Verdict.UNDELIVERABLE,
        ]


async def test_many_calls_at_once_each_get_their_own() -> None:
    async with world({A: SOME}) as there:
        lists = [at("a.test", *PEOPLE[number:]) for number in range(20)]
        answers = await asyncio.gather(*(many(there, texts) for texts in lists))
        assert [[a.address.raw for a in found] for found in answers] == lists


async def test_a_stream_that_is_closed_early_hurts_no_other() -> None:
    async with world({A: SOME}) as there:
        for texts in (at("a.test", *PEOPLE), ["no address"]):
            addresses = map(parse_address, texts)
            async with aclosing(there.engine.verify_many(addresses)) as results:
                await anext(results)
        assert len(await many(there, at("a.test", *PEOPLE))) == len(PEOPLE)


async def test_a_fault_of_the_list_is_raised_at_the_end() -> None:
    def addresses() -> Iterator[Address]:
        yield parse_address("no address")
        raise LookupError("a fault")

    async with world({A: SOME}) as there:
        results = there.engine.verify_many(addresses())
        with pytest.raises(LookupError):
            await anext(results)


async def test_nothing_is_asked_of_private_addresses_without_leave() -> None:
    config = replace(CONFIG, allow_private_networks=False)
    async with world({A: SOME}, config=config) as there:
        answers = await many(there, at("a.test", "p1", "p2"))
        assert {answer.reason for answer in answers} == {Reason.NO_CONNECT}
        assert there.smtp.seen[A].connections == 0
