"""One address from text to verdict, against scripted DNS and mail hosts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import Checks, Dns, Meaning, Reason, Stage, Verdict, Verification
from engine.probe import ProbeConfig, ProbeEngine
from tests.engine.asking import verify as ask
from tests.fakes.dns import Fault, Zone, fake_dns
from tests.fakes.smtp import CLOSE, HANG, Action, FakeSmtp, Raw, Script, Wait, fake_smtp

A, B, C, V6 = "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"
DEAD = "127.0.0.9"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
GREYLISTED = "450 4.2.0 Greylisted, please come back in 1 seconds"
BLOCKED = "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using rbl.test"

CONFIG = ProbeConfig(
    helo="probe.test",
    mail_from="probe@verifier.test",
    allow_private_networks=True,
    connect_timeout_s=0.3,
    command_timeout_s=0.3,
    deadline_s=5.0,
)


@dataclass(frozen=True, slots=True)
class World:
    engine: ProbeEngine
    smtp: FakeSmtp

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return await ask(self.engine, text, checks, deadline_s)


def zone_of(*ips: str) -> dict[str, Mapping[str, list[str]] | Fault]:
    """`a.test`, with a mail host for each address, in order of preference."""
    zone: dict[str, Mapping[str, list[str]] | Fault] = {
        "a.test": {
            "MX": [f"{number} mx{number}.a.test." for number in range(len(ips))],
            "TXT": ['"v=spf1 -all"'],
        }
    }
    for number, ip in enumerate(ips):
        zone[f"mx{number}.a.test"] = {"AAAA" if ":" in ip else "A": [ip]}
    return zone


@asynccontextmanager
async def world(
    hosts: Mapping[str, Script], zone: Zone | None = None, config: ProbeConfig = CONFIG
) -> AsyncIterator[World]:
    async with fake_dns(zone or zone_of(*hosts)) as dns, fake_smtp(hosts or {A: Script()}) as smtp:
        config = replace(config, dns_servers=(dns.address,), smtp_port=smtp.port)
        engine = ProbeEngine.open(config, rng=random.Random(1), now=lambda: NOW)
        try:
            yield World(engine, smtp)
        finally:
            await engine.aclose()


async def verify(
    hosts: Mapping[str, Script],
    address: str = "user@a.test",
    *,
    zone: Zone | None = None,
    checks: Checks = Checks(),
    deadline_s: float | None = None,
    config: ProbeConfig = CONFIG,
) -> tuple[Verification, FakeSmtp]:
    async with world(hosts, zone, config) as there:
        answer = await there.verify(address, checks, deadline_s)
    return answer, there.smtp


def rcpt(*rows: tuple[str, Action | list[Action]], **script: object) -> Script:
    return replace(Script(rcpt=rows), **script)  # type: ignore[arg-type]


def only(*names: str) -> tuple[tuple[str, Action], ...]:
    """These exist; nobody else does."""
    return (*((f"^{name}@", "250 2.1.5 Ok") for name in names), (".*", "550 5.1.1 No such user"))


HONEST = Script(rcpt=only("user"))


@pytest.mark.parametrize(
    ("hosts", "verdict", "reason"),
    [
        ({A: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(rcpt=only("other"))}, Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        ({A: Script()}, Verdict.RISKY, Reason.CATCH_ALL),
        ({A: Script(extensions=())}, Verdict.RISKY, Reason.CATCH_ALL),
        # only HELO is known
        (
            {A: replace(HONEST, on={"EHLO": "502 what?"})},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: Script(on={"EHLO": "502 what?"})}, Verdict.RISKY, Reason.CATCH_ALL),
        # the control gets a 4xx: catch-all stays open
        (
            {A: rcpt(("^user@", "250 Ok"), (".*", "450 4.2.0 Greylisted"))},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: rcpt(("^user@", "252 maybe"))}, Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
        ({A: rcpt((".*", "552 5.2.2 full"))}, Verdict.RISKY, Reason.MAILBOX_FULL),
        # encryption demanded, with a certificate signed by itself
        (
            {A: replace(HONEST, tls=True, tls_required=True)},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: replace(HONEST, tls=True, broken_tls=True)},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: replace(HONEST, tls=True, tls_required=True, broken_tls=True)},
            Verdict.UNKNOWN,
            Reason.BLOCKED,
        ),
        # refusals of us
        ({A: rcpt((".*", BLOCKED))}, Verdict.UNKNOWN, Reason.BLOCKED),
        ({A: Script(banner=BLOCKED)}, Verdict.UNKNOWN, Reason.BLOCKED),
        ({A: Script(on={"MAIL": "550 5.7.1 not from you"})}, Verdict.UNKNOWN, Reason.BLOCKED),
        # a refusal in the same words for everybody says nothing; in other words it does
        ({A: rcpt((".*", "550 Rejected"))}, Verdict.UNKNOWN, Reason.BLOCKED),
        ({A: rcpt((".*", "550 Rejected"), extensions=())}, Verdict.UNKNOWN, Reason.BLOCKED),
        (
            {A: rcpt(("^user@", "550 Rejected"))},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        (
            {A: rcpt(("^user@", "550 Rejected"), (".*", "250 Ok"), extensions=())},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        # the mailbox answered, then the control's turn went wrong
        (
            {A: rcpt(("^user@", "250 Ok"), (".*", CLOSE))},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt(("^user@", "250 Ok"), (".*", ("421 4.7.0 too many", CLOSE)))},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: rcpt(("^user@", "250 Ok"), (".*", HANG))}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (
            {A: rcpt(("^user@", ("550 5.1.1 No", CLOSE)))},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        # the next host
        ({A: Script(banner=BLOCKED), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (
            {A: Script(banner="421 4.3.2 busy"), B: HONEST},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: rcpt((".*", BLOCKED)), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: rcpt((".*", "421 4.7.0 bye")), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: rcpt((".*", CLOSE)), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: rcpt((".*", HANG)), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(banner=HANG), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(banner=CLOSE), B: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (
            {A: Script(banner=Raw(b"SSH-2.0\r\n")), B: HONEST},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "554 5.7.1 Relay access denied")), B: HONEST},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "530 5.7.0 Authentication required")), B: HONEST},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "451 4.3.0 lookup")), B: HONEST},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({V6: HONEST}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        # a mailbox that is refused is not asked about elsewhere
        (
            {A: Script(rcpt=only("other")), B: HONEST},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        # relaying denied by all of them, or by some
        (
            {ip: rcpt((".*", "554 5.7.1 Relay access denied")) for ip in (A, B)},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "554 5.7.1 Relay access denied")), B: Script(banner=CLOSE)},
            Verdict.UNKNOWN,
            Reason.UNAVAILABLE_SMTP,
        ),
        # several failures: the one that tells most
        ({A: Script(banner=BLOCKED), B: Script(banner=CLOSE)}, Verdict.UNKNOWN, Reason.BLOCKED),
        (
            {A: Script(banner=HANG), B: Script(banner="451 4.3.0 no")},
            Verdict.UNKNOWN,
            Reason.UNAVAILABLE_SMTP,
        ),
        ({A: Script(banner=HANG), B: Script(banner=HANG)}, Verdict.UNKNOWN, Reason.TIMEOUT),
    ],
)
async def test_verdicts(hosts: Mapping[str, Script], verdict: Verdict, reason: Reason) -> None:
    answer, _ = await verify(hosts)
    assert (answer.verdict, answer.reason) == (verdict, reason), answer.evidence


@pytest.mark.parametrize(
    ("zone", "dns", "verdict", "reason"),
    [
        ({}, Dns.NXDOMAIN, Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        ({"a.test": {"TXT": ['"x"']}}, Dns.NODATA, Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        ({"a.test": {"MX": ["0 ."]}}, Dns.NULL_MX, Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        (
            {"a.test": {"MX": ["10 ghost.test."]}},
            Dns.UNRESOLVABLE,
            Verdict.UNDELIVERABLE,
            Reason.INVALID_DOMAIN,
        ),
        ({"a.test": Fault.SERVFAIL}, Dns.SERVFAIL, Verdict.UNKNOWN, Reason.DNS_ERROR),
        ({"a.test": Fault.REFUSED}, Dns.REFUSED, Verdict.UNKNOWN, Reason.DNS_ERROR),
        ({"a.test": {"A": [A]}}, Dns.IMPLICIT_MX, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({"a.test": {"A": [DEAD]}}, Dns.IMPLICIT_MX, Verdict.UNKNOWN, Reason.NO_CONNECT),
        (
            {"a.test": {"MX": ["10 mx.test."]}, "mx.test": {"A": [DEAD, A]}},
            Dns.MX,
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {"a.test": {"MX": ["10 mx.test."]}, "mx.test": {"A": [A], "AAAA": ["::1"]}},
            Dns.MX,
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {
                "a.test": {"CNAME": ["b.test."]},
                "b.test": {"MX": ["10 mx.test."]},
                "mx.test": {"CNAME": ["c.test."]},
                "c.test": {"CNAME": ["d.test."]},
                "d.test": {"A": [A]},
            },
            Dns.MX,
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
    ],
)
async def test_dns_decides_where_mail_goes(
    zone: Zone, dns: Dns, verdict: Verdict, reason: Reason
) -> None:
    answer, _ = await verify({A: HONEST}, zone={"unrelated.test": {"A": [A]}, **zone})
    assert (answer.evidence.dns, answer.verdict, answer.reason) == (dns, verdict, reason)


async def test_silent_dns_is_an_error_of_dns_within_the_deadline() -> None:
    answer, _ = await verify({A: HONEST}, zone={"a.test": Fault.SILENT}, deadline_s=0.3)
    assert (answer.evidence.dns, answer.reason) == (Dns.TIMEOUT, Reason.DNS_ERROR)
    assert answer.duration_s < 1


async def test_the_evidence_says_what_was_heard() -> None:
    answer, smtp = await verify({A: replace(HONEST, tls=True)}, "User+tag@A.test")
    assert answer.address.normalized == "User+tag@a.test"
    evidence = answer.evidence
    assert evidence.smtp is not None
    assert (evidence.smtp.meaning, evidence.smtp.stage) == (Meaning.MAILBOX_NOT_FOUND, Stage.RCPT)
    assert (evidence.smtp.code, evidence.smtp.enhanced) == (550, "5.1.1")
    assert evidence.smtp.text == "5.1.1 No such user"
    assert (evidence.smtp.host, evidence.smtp.ip) == ("mx0.a.test", A)
    assert evidence.smtp.connected
    assert evidence.smtp.tls
    assert evidence.smtp.latency_ms is not None
    assert (evidence.catch_all, evidence.spf, evidence.dmarc) == (False, True, False)
    assert (evidence.mailbox_full, evidence.mailbox_disabled) == (None, None)
    assert answer.verified_at == NOW
    said = [step.said for step in evidence.transcript]
    assert "> RCPT TO:<User+tag@a.test>" in said
    assert "< 550 5.1.1 No such user" in said
    assert [step.at_ms for step in evidence.transcript] == sorted(
        step.at_ms for step in evidence.transcript
    )
    assert smtp.recipients(A)[0] == "User+tag@a.test"


@pytest.mark.parametrize(
    ("reply", "full", "disabled"),
    [
        ("250 2.1.5 Ok", False, False),
        ("552 5.2.2 Mailbox full", True, None),
        ("552 5.2.2 The account is over quota and inactive", True, True),
        ("550 5.2.1 Disabled", None, True),
        ("450 4.3.0 Later", None, None),
    ],
)
async def test_full_and_disabled_mailboxes_are_told(
    reply: str, full: bool | None, disabled: bool | None
) -> None:
    answer, _ = await verify({A: rcpt(("^user@", reply))})
    assert (answer.evidence.mailbox_full, answer.evidence.mailbox_disabled) == (full, disabled)


async def test_the_real_address_goes_first_and_the_control_is_random() -> None:
    async with world({A: HONEST}) as there:
        await there.verify("user@a.test")
        real, control = there.smtp.recipients(A)
    assert real == "user@a.test"
    assert control.endswith("@a.test")
    assert control != real


async def test_a_known_catch_all_is_not_asked_about_again() -> None:
    async with world({A: Script()}) as there:
        first = await there.verify("one@a.test")
        second = await there.verify("two@a.test")
        assert len(there.smtp.recipients(A)) == 3
    assert (first.evidence.catch_all, second.evidence.catch_all) == (True, True)
    assert second.reason is Reason.CATCH_ALL


@pytest.mark.parametrize(
    ("others", "verdict"),
    [("550 5.1.1 No such user", Verdict.UNDELIVERABLE), ("550 Rejected", Verdict.UNKNOWN)],
)
async def test_a_bare_refusal_is_compared_even_where_catch_all_is_known(
    others: str, verdict: Verdict
) -> None:
    script = rcpt(("^user@", "250 Ok"), ("^bare@", "550 Rejected"), (".*", others))
    async with world({A: script}) as there:
        assert (await there.verify("user@a.test")).evidence.catch_all is False
        assert (await there.verify("bare@a.test")).verdict is verdict
        assert len(there.smtp.recipients(A)) == 4


@pytest.mark.parametrize(
    ("reply", "asked"),
    [("250 Ok", 1), ("550 5.1.1 No such user", 1), ("550 Rejected", 2)],
)
async def test_without_the_catch_all_check_a_control_only_settles_a_bare_refusal(
    reply: str, asked: int
) -> None:
    checks = Checks(catch_all=False)
    answer, smtp = await verify({A: rcpt((".*", reply))}, checks=checks)
    assert len(smtp.recipients(A)) == asked
    assert answer.evidence.catch_all is (None if asked == 1 else False)


async def test_without_the_smtp_check_nobody_is_dialled() -> None:
    answer, smtp = await verify({A: HONEST}, checks=Checks(smtp=False))
    assert smtp.seen[A].connections == 0
    assert (answer.evidence.dns, answer.evidence.smtp) == (Dns.MX, None)
    assert answer.reason is Reason.NOT_CHECKED


async def test_without_any_check_nothing_is_asked() -> None:
    async with fake_dns({}) as dns:
        engine = ProbeEngine.open(replace(CONFIG, dns_servers=(dns.address,)))
        answer = await ask(engine, "user@a.test", Checks(dns=False, smtp=False, catch_all=False))
        await engine.aclose()
        assert dns.queries == []
    assert answer.evidence.dns is Dns.NOT_CHECKED


async def test_private_addresses_are_not_dialled_unless_allowed() -> None:
    config = replace(CONFIG, allow_private_networks=False)
    answer, smtp = await verify({A: HONEST}, config=config)
    assert smtp.seen[A].connections == 0
    assert answer.evidence.smtp is not None
    assert answer.evidence.smtp.meaning is Meaning.NOT_ALLOWED
    assert answer.verdict is Verdict.UNKNOWN


async def test_greylisting_is_waited_out_with_the_same_three() -> None:
    control: list[Action] = [GREYLISTED, "550 5.1.1 No such user"]
    script = rcpt(("^user@", [GREYLISTED, "250 Ok"]), (".*", control), tls=True, tls_required=True)
    answer, smtp = await verify({A: script})
    assert (answer.verdict, answer.evidence.catch_all) == (Verdict.DELIVERABLE, False)
    first, second = smtp.recipients(A)[:2], smtp.recipients(A)[2:]
    assert first == second
    assert answer.duration_s >= 1


async def test_greylisting_beyond_the_deadline_is_told() -> None:
    answer, _ = await verify({A: rcpt((".*", "451 4.7.1 try again in 5 minutes"))})
    assert answer.reason is Reason.GREYLISTED
    assert answer.evidence.smtp is not None
    assert answer.evidence.smtp.retry_after_s == 300
    assert answer.duration_s < 1


async def test_no_turn_before_the_deadline_is_told_at_once() -> None:
    async with world({A: Script(banner="421 4.3.2 busy")}) as there:
        await there.verify("user@a.test", deadline_s=0.5)
        answer = await there.verify("user@a.test", deadline_s=0.5)
        assert answer.reason is Reason.UNAVAILABLE_SMTP
        assert answer.evidence.transcript[-1].said == "no connection before the deadline"
        assert there.smtp.seen[A].connections == 1


async def test_a_host_that_is_busy_for_a_moment_is_asked_again() -> None:
    answer, smtp = await verify({A: rcpt(("^user@", ["421 4.7.0 busy", "250 Ok"]))})
    assert answer.verdict is Verdict.DELIVERABLE
    assert smtp.seen[A].connections == 2


async def test_another_sender_is_tried_once_when_ours_is_refused() -> None:
    refuse: list[Action] = ["550 5.1.8 Sender address rejected", "250 Ok"]
    answer, smtp = await verify({A: rcpt(("^user@", refuse))})
    assert answer.verdict is Verdict.DELIVERABLE
    assert "MAIL FROM:<>" in smtp.commands(A)


async def test_hosts_that_refuse_us_are_not_all_bothered() -> None:
    ips = [f"127.0.0.{number}" for number in range(2, 8)]
    answer, smtp = await verify({ip: Script(banner=BLOCKED) for ip in ips})
    assert answer.reason is Reason.BLOCKED
    assert sum(smtp.seen[ip].connections for ip in ips) == 3
    assert answer.evidence.smtp is not None
    assert answer.evidence.smtp.block_list == "rbl.test"


async def test_a_stuck_host_leaves_time_for_the_next() -> None:
    config = replace(CONFIG, command_timeout_s=60)
    answer, _ = await verify({A: Script(banner=HANG), B: HONEST}, deadline_s=1, config=config)
    assert answer.verdict is Verdict.DELIVERABLE
    assert answer.duration_s < 1


@pytest.mark.parametrize(
    "script",
    [
        Script(banner=HANG),
        Script(on={"EHLO": HANG}),
        Script(on={"MAIL": HANG}),
        rcpt((".*", HANG)),
    ],
)
async def test_the_deadline_is_kept_whatever_hangs(script: Script) -> None:
    config = replace(CONFIG, command_timeout_s=60)
    answer, _ = await verify({A: script}, deadline_s=0.4, config=config)
    assert answer.reason is Reason.TIMEOUT
    assert answer.duration_s < 1


async def test_a_handshake_that_hangs_leaves_time_for_clear_text() -> None:
    script = replace(HONEST, tls=True, on={"STAR": ("220 go", HANG)})
    config = replace(CONFIG, command_timeout_s=60)
    answer, _ = await verify({A: script}, deadline_s=0.6, config=config)
    assert answer.verdict is Verdict.DELIVERABLE


async def test_smtputf8() -> None:
    zone = {"xn--bcher-kva.test": {"MX": ["10 mx.test."]}, "mx.test": {"A": [A]}}
    rows = (("^jörg@xn--bcher-kva.test$", "250 Ok"), (".*", "550 5.1.1 No such user"))
    offering = Script(rcpt=rows, extensions=("PIPELINING", "SMTPUTF8"))
    answer, _ = await verify({A: offering}, "jörg@bücher.test", zone=zone)
    assert answer.verdict is Verdict.DELIVERABLE

    for script in (Script(rcpt=rows), Script(rcpt=rows, on={"EHLO": "500 what?"})):
        answer, smtp = await verify({A: script}, "jörg@bücher.test", zone=zone)
        assert answer.evidence.smtp is not None
        assert answer.evidence.smtp.meaning is Meaning.SMTPUTF8_UNSUPPORTED
        assert smtp.recipients(A) == []


async def test_a_host_that_takes_few_connections_still_answers_for_all() -> None:
    async with world({A: replace(HONEST, most_connections=3)}) as there:
        asked = (there.verify("user@a.test") for _ in range(6))
        answers = await asyncio.gather(*asked)
    assert {answer.verdict for answer in answers} == {Verdict.DELIVERABLE}


async def test_who_gets_no_connection_in_time_is_told_so() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = rcpt(("^slow@", (pause, "250 Ok")), *only("user"))
    async with world({A: script}, config=replace(CONFIG, connections_per_host=1)) as there:
        slow = asyncio.ensure_future(there.verify("slow@a.test"))
        await asyncio.wait_for(pause.reached.wait(), 5)
        answer = await there.verify("user@a.test", deadline_s=0.1)
        pause.go_on.set()
        await slow
    assert answer.evidence.smtp is not None
    assert answer.evidence.smtp.meaning is Meaning.THROTTLED
    assert not answer.evidence.smtp.connected


async def test_no_more_than_a_dozen_addresses_are_dialled() -> None:
    zone = {
        "a.test": {"MX": ["10 mx.a.test."]},
        "mx.a.test": {"A": [f"127.0.1.{number}" for number in range(1, 17)]},
    }
    answer, _ = await verify({}, zone=zone)
    assert answer.reason is Reason.NO_CONNECT
    dialled = [step for step in answer.evidence.transcript if step.said.startswith("connecting")]
    assert len(dialled) == 12


async def test_closing_does_not_wait_for_hosts_that_ignore_quit() -> None:
    async with world({A: replace(HONEST, on={"QUIT": HANG})}) as there:
        await there.verify("user@a.test")
        await asyncio.wait_for(there.engine.aclose(), 1)
        await asyncio.wait_for(there.smtp.seen[A].idle.wait(), 1)


async def test_an_impatient_caller_leaves_nothing_behind() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    async with world({A: rcpt((".*", (pause, HANG)))}) as there:
        before = asyncio.all_tasks()
        verifying = asyncio.ensure_future(there.verify("user@a.test"))
        await asyncio.wait_for(pause.reached.wait(), 5)
        verifying.cancel()
        await asyncio.gather(verifying, return_exceptions=True)
        pause.go_on.set()
        await asyncio.wait_for(there.smtp.seen[A].idle.wait(), 1)
        assert asyncio.all_tasks() <= before


async def test_an_invalid_address_asks_nobody() -> None:
    async with fake_dns({}) as dns:
        engine = ProbeEngine.open(replace(CONFIG, dns_servers=(dns.address,)))
        for text in ("", "no-at", "a@b@c.test", "user@a.test\r\nRSET", "x" * 100 + "@a.test"):
            answer = await ask(engine, text)
            assert (answer.verdict, answer.reason) == (
                Verdict.UNDELIVERABLE,
                Reason.INVALID_EMAIL,
            )
        await engine.aclose()
        assert dns.queries == []


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
async def test_every_text_has_an_answer(text: str) -> None:
    engine = ProbeEngine.open(replace(CONFIG, dns_servers=("127.0.0.1:9",)))
    answer = await ask(engine, text, Checks(dns=False, smtp=False, catch_all=False))
    assert answer.address.raw is not None
    await engine.aclose()


@pytest.mark.parametrize("servers", [("nonsense",), ("127.0.0.1:x",)])
def test_a_dns_server_that_is_none_is_an_error_at_once(servers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (ipaddress and we word it differently)
        ProbeEngine.open(replace(CONFIG, dns_servers=servers))


async def test_a_host_that_keeps_refusing_us_is_left_alone() -> None:
    async with world({A: Script(rcpt=[(".*", BLOCKED)])}) as there:
        answers = [await there.verify(f"user{n}@a.test") for n in range(12)]
        asked = there.smtp.seen[A].connections
    assert {(a.verdict, a.reason) for a in answers} == {(Verdict.UNKNOWN, Reason.BLOCKED)}
    assert asked == 8
    smtp = answers[-1].evidence.smtp
    assert smtp is not None
    assert (smtp.meaning, smtp.block_list, smtp.code) == (Meaning.IP_BLOCKED, "rbl.test", None)
    assert smtp.text is not None
    assert smtp.text.startswith("paused: a.test refused us 8 times in a row")
    assert smtp.retry_after_s == 60
    assert any("paused: a.test" in step.said for step in answers[-1].evidence.transcript)


async def test_those_who_wait_for_a_connection_learn_of_the_pause() -> None:
    async with world({A: Script(banner=BLOCKED)}) as there:
        answers = await asyncio.gather(*(there.verify(f"u{n}@a.test") for n in range(40)))
        asked = there.smtp.seen[A].connections
    assert {(a.verdict, a.reason) for a in answers} == {(Verdict.UNKNOWN, Reason.BLOCKED)}
    assert asked <= 8  # four refusals, and what was under way beside the last of them


async def test_mailboxes_with_a_guard_of_their_own_stop_nobody() -> None:
    host = Script(rcpt=[("^guarded", BLOCKED), *only("user")])
    async with world({A: host}) as there:
        for _ in range(4):
            for number in range(6):
                answer = await there.verify(f"guarded{number}@a.test")
                assert answer.reason is Reason.BLOCKED
            answer = await there.verify("user@a.test")
            assert answer.verdict is Verdict.DELIVERABLE
        # the first was asked beside a made-up name, and that was answered: nothing against us
        assert there.engine.reputation.operators()[0].refusal_count == 23


async def test_the_next_host_is_asked_where_the_first_is_left_alone() -> None:
    async with world({A: Script(banner=BLOCKED), B: HONEST}) as there:
        answers = [await there.verify("user@a.test") for _ in range(8)]
        refused = there.smtp.seen[A].connections
    assert {a.verdict for a in answers} == {Verdict.DELIVERABLE}
    assert refused == 4
