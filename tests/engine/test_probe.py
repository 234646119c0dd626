"""Single verifications, against scripted DNS and mail hosts."""

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
from tests.engine.asking import verify_list
from tests.fakes.dns import Fault, Zone, fake_dns
from tests.fakes.smtp import CLOSE, HANG, Action, FakeSmtp, Raw, Script, Wait, fake_smtp

A, B, C, V6 = "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"
DEAD = "127.0.0.9"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
GREYLISTED_REPLY = "450 4.2.0 Greylisted, please come back in 1 seconds"
BLOCKED_REPLY = "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using rbl.test"

CONFIG = ProbeConfig(
    helo="probe.test",
    mail_from="probe@verifier.test",
    allow_private_networks=True,
    connect_timeout_s=5.0,
    command_timeout_s=5.0,
    deadline_s=15.0,
)
SHORT_TIMEOUT_S = 0.3
"""For hosts that hang. All others get the long time-outs, so that a busy machine fails no test."""


@dataclass(frozen=True, slots=True)
class ProbeSetup:
    """An engine, and the mail hosts that it asks."""

    engine: ProbeEngine
    smtp: FakeSmtp

    async def verify(
        self, text: str, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        return await ask(self.engine, text, checks, deadline_s)


def zone_of(*ips: str) -> dict[str, Mapping[str, list[str]] | Fault]:
    """The zone of `a.test`, with a mail host for each IP address, in order of preference."""
    zone: dict[str, Mapping[str, list[str]] | Fault] = {
        "a.test": {
            "MX": [f"{number} mx{number}.a.test." for number in range(len(ips))],
            "TXT": ['"v=spf1 -all"'],
        }
    }
    for number, ip in enumerate(ips):
        zone[f"mx{number}.a.test"] = {"AAAA" if ":" in ip else "A": [ip]}
    return zone


def hangs(script: Script) -> bool:
    """Whether the script has a reply that never comes."""
    text = repr(script)
    return script.loses_pipelined or repr(HANG) in text or "forever=True" in text


@asynccontextmanager
async def probe_setup(
    hosts: Mapping[str, Script], zone: Zone | None = None, config: ProbeConfig = CONFIG
) -> AsyncIterator[ProbeSetup]:
    if config.command_timeout_s == CONFIG.command_timeout_s and any(map(hangs, hosts.values())):
        config = replace(config, command_timeout_s=SHORT_TIMEOUT_S)
    async with fake_dns(zone or zone_of(*hosts)) as dns, fake_smtp(hosts or {A: Script()}) as smtp:
        config = replace(config, dns_servers=(dns.address,), smtp_port=smtp.port)
        engine = ProbeEngine.open(config, rng=random.Random(1), now=lambda: NOW)
        try:
            yield ProbeSetup(engine, smtp)
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
    async with probe_setup(hosts, zone, config) as setup:
        verification = await setup.verify(address, checks, deadline_s)
    return verification, setup.smtp


def rcpt(*rows: tuple[str, Action | list[Action]], **script: object) -> Script:
    return replace(Script(rcpt=rows), **script)  # type: ignore[arg-type]


def only(*names: str) -> tuple[tuple[str, Action], ...]:
    """RCPT rows: these names exist, and no others."""
    return (*((f"^{name}@", "250 2.1.5 Ok") for name in names), (".*", "550 5.1.1 No such user"))


USER_ONLY = Script(rcpt=only("user"))


@pytest.mark.parametrize(
    ("hosts", "verdict", "reason"),
    [
        ({A: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(rcpt=only("other"))}, Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        ({A: Script()}, Verdict.RISKY, Reason.CATCH_ALL),
        ({A: Script(extensions=())}, Verdict.RISKY, Reason.CATCH_ALL),
        # hosts that support HELO only
        (
            {A: replace(USER_ONLY, on={"EHLO": "502 what?"})},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: Script(on={"EHLO": "502 what?"})}, Verdict.RISKY, Reason.CATCH_ALL),
        # a 4xx for the control leaves catch-all unknown
        (
            {A: rcpt(("^user@", "250 Ok"), (".*", "450 4.2.0 Greylisted"))},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: rcpt(("^user@", "252 maybe"))}, Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
        ({A: rcpt((".*", "552 5.2.2 full"))}, Verdict.RISKY, Reason.MAILBOX_FULL),
        # TLS, with a self-signed certificate
        (
            {A: replace(USER_ONLY, tls=True, tls_required=True)},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: replace(USER_ONLY, tls=True, broken_tls=True)},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: replace(USER_ONLY, tls=True, tls_required=True, broken_tls=True)},
            Verdict.UNKNOWN,
            Reason.BLOCKED,
        ),
        # refusals of us
        ({A: rcpt((".*", BLOCKED_REPLY))}, Verdict.UNKNOWN, Reason.BLOCKED),
        ({A: Script(banner=BLOCKED_REPLY)}, Verdict.UNKNOWN, Reason.BLOCKED),
        ({A: Script(on={"MAIL": "550 5.7.1 not from you"})}, Verdict.UNKNOWN, Reason.BLOCKED),
        # a bare refusal, compared with the control's
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
        # a reply about the mailbox, then none for the control
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
        (
            {A: Script(banner=BLOCKED_REPLY), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: Script(banner="421 4.3.2 busy"), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", BLOCKED_REPLY)), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "421 4.7.0 bye")), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({A: rcpt((".*", CLOSE)), B: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: rcpt((".*", HANG)), B: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(banner=HANG), B: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        ({A: Script(banner=CLOSE), B: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (
            {A: Script(banner=Raw(b"SSH-2.0\r\n")), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "554 5.7.1 Relay access denied")), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "530 5.7.0 Authentication required")), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        (
            {A: rcpt((".*", "451 4.3.0 lookup")), B: USER_ONLY},
            Verdict.DELIVERABLE,
            Reason.ACCEPTED_EMAIL,
        ),
        ({V6: USER_ONLY}, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        # other hosts are not asked about a refused mailbox
        (
            {A: Script(rcpt=only("other")), B: USER_ONLY},
            Verdict.UNDELIVERABLE,
            Reason.REJECTED_EMAIL,
        ),
        # relaying denied by all hosts, or by some
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
        # of several failures the one that tells most
        (
            {A: Script(banner=BLOCKED_REPLY), B: Script(banner=CLOSE)},
            Verdict.UNKNOWN,
            Reason.BLOCKED,
        ),
        (
            {A: Script(banner=HANG), B: Script(banner="451 4.3.0 no")},
            Verdict.UNKNOWN,
            Reason.UNAVAILABLE_SMTP,
        ),
        ({A: Script(banner=HANG), B: Script(banner=HANG)}, Verdict.UNKNOWN, Reason.TIMEOUT),
    ],
)
async def test_verdicts(hosts: Mapping[str, Script], verdict: Verdict, reason: Reason) -> None:
    verification, _ = await verify(hosts)
    assert (verification.verdict, verification.reason) == (verdict, reason), verification.evidence


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
async def test_dns_decides_the_route(
    zone: Zone, dns: Dns, verdict: Verdict, reason: Reason
) -> None:
    verification, _ = await verify({A: USER_ONLY}, zone={"unrelated.test": {"A": [A]}, **zone})
    assert (verification.evidence.dns, verification.verdict, verification.reason) == (
        dns,
        verdict,
        reason,
    )


async def test_a_silent_dns_server_is_a_dns_error_within_the_deadline() -> None:
    verification, _ = await verify({A: USER_ONLY}, zone={"a.test": Fault.SILENT}, deadline_s=0.3)
    assert (verification.evidence.dns, verification.reason) == (Dns.TIMEOUT, Reason.DNS_ERROR)
    assert verification.duration_s < 1


async def test_evidence_and_transcript() -> None:
    checks = Checks(policies=True)
    hosts = {A: replace(USER_ONLY, tls=True)}
    verification, smtp = await verify(hosts, "User+tag@A.test", checks=checks)
    assert verification.address.normalized == "User+tag@a.test"
    evidence = verification.evidence
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
    assert verification.verified_at == NOW
    lines = [step.said for step in evidence.transcript]
    assert "> RCPT TO:<User+tag@a.test>" in lines
    assert "< 550 5.1.1 No such user" in lines
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
async def test_full_and_disabled_mailboxes(
    reply: str, full: bool | None, disabled: bool | None
) -> None:
    verification, _ = await verify({A: rcpt(("^user@", reply))})
    assert (verification.evidence.mailbox_full, verification.evidence.mailbox_disabled) == (
        full,
        disabled,
    )


async def test_the_real_address_goes_first_and_the_control_is_random() -> None:
    async with probe_setup({A: USER_ONLY}) as setup:
        await setup.verify("user@a.test")
        real, control = setup.smtp.recipients(A)
    assert real == "user@a.test"
    assert control.endswith("@a.test")
    assert control != real


async def test_a_known_catch_all_needs_no_control() -> None:
    async with probe_setup({A: Script()}) as setup:
        first = await setup.verify("one@a.test")
        second = await setup.verify("two@a.test")
        assert len(setup.smtp.recipients(A)) == 3
    assert (first.evidence.catch_all, second.evidence.catch_all) == (True, True)
    assert second.reason is Reason.CATCH_ALL


@pytest.mark.parametrize(
    ("others", "verdict"),
    [("550 5.1.1 No such user", Verdict.UNDELIVERABLE), ("550 Rejected", Verdict.UNKNOWN)],
)
async def test_a_bare_refusal_is_compared_although_catch_all_is_known(
    others: str, verdict: Verdict
) -> None:
    script = rcpt(("^user@", "250 Ok"), ("^bare@", "550 Rejected"), (".*", others))
    async with probe_setup({A: script}) as setup:
        assert (await setup.verify("user@a.test")).evidence.catch_all is False
        assert (await setup.verify("bare@a.test")).verdict is verdict
        assert len(setup.smtp.recipients(A)) == 4


@pytest.mark.parametrize(
    ("reply", "asked"),
    [("250 Ok", 1), ("550 5.1.1 No such user", 1), ("550 Rejected", 2)],
)
async def test_without_the_catch_all_check_only_a_bare_refusal_needs_a_control(
    reply: str, asked: int
) -> None:
    checks = Checks(catch_all=False)
    verification, smtp = await verify({A: rcpt((".*", reply))}, checks=checks)
    assert len(smtp.recipients(A)) == asked
    assert verification.evidence.catch_all is (None if asked == 1 else False)


async def test_without_the_smtp_check_no_host_is_connected_to() -> None:
    verification, smtp = await verify({A: USER_ONLY}, checks=Checks(smtp=False))
    assert smtp.seen[A].connections == 0
    assert (verification.evidence.dns, verification.evidence.smtp) == (Dns.MX, None)
    assert verification.reason is Reason.NOT_CHECKED


async def test_without_any_check_there_is_no_dns_query() -> None:
    async with fake_dns({}) as dns:
        engine = ProbeEngine.open(replace(CONFIG, dns_servers=(dns.address,)))
        verification = await ask(
            engine, "user@a.test", Checks(dns=False, smtp=False, catch_all=False)
        )
        await engine.aclose()
        assert dns.queries == []
    assert verification.evidence.dns is Dns.NOT_CHECKED


async def test_private_addresses_are_not_connected_to_unless_allowed() -> None:
    config = replace(CONFIG, allow_private_networks=False)
    verification, smtp = await verify({A: USER_ONLY}, zone=zone_of("10.0.0.1"), config=config)
    assert smtp.seen[A].connections == 0
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.meaning is Meaning.NOT_ALLOWED
    assert verification.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("ip", [A, V6, "0.0.0.0"])
async def test_a_host_that_only_itself_can_reach_takes_no_mail(ip: str) -> None:
    config = replace(CONFIG, allow_private_networks=False)
    verification, smtp = await verify({A: USER_ONLY}, zone=zone_of(ip), config=config)
    assert smtp.seen[A].connections == 0
    assert (verification.verdict, verification.reason) == (
        Verdict.UNDELIVERABLE,
        Reason.INVALID_DOMAIN,
    )


async def test_greylisting_is_retried_with_the_same_sender_recipient_and_control() -> None:
    control: list[Action] = [GREYLISTED_REPLY, "550 5.1.1 No such user"]
    script = rcpt(
        ("^user@", [GREYLISTED_REPLY, "250 Ok"]), (".*", control), tls=True, tls_required=True
    )
    verification, smtp = await verify({A: script})
    assert (verification.verdict, verification.evidence.catch_all) == (Verdict.DELIVERABLE, False)
    first, second = smtp.recipients(A)[:2], smtp.recipients(A)[2:]
    assert first == second
    assert verification.duration_s >= 1


async def test_greylisting_beyond_the_deadline_is_reported() -> None:
    verification, _ = await verify({A: rcpt((".*", "451 4.7.1 try again in 5 minutes"))})
    assert verification.reason is Reason.GREYLISTED
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.retry_after_s == 300
    assert verification.duration_s < 1


async def test_a_back_off_beyond_the_deadline_is_reported_at_once() -> None:
    async with probe_setup({A: Script(banner="421 4.3.2 busy")}) as setup:
        await setup.verify("user@a.test", deadline_s=0.5)
        verification = await setup.verify("user@a.test", deadline_s=0.5)
        assert verification.reason is Reason.UNAVAILABLE_SMTP
        assert verification.evidence.transcript[-1].said == "no connection before the deadline"
        assert setup.smtp.seen[A].connections == 1


async def test_a_busy_host_is_retried() -> None:
    verification, smtp = await verify({A: rcpt(("^user@", ["421 4.7.0 busy", "250 Ok"]))})
    assert verification.verdict is Verdict.DELIVERABLE
    assert smtp.seen[A].connections == 2


async def test_the_null_sender_is_tried_when_ours_is_refused() -> None:
    refuse: list[Action] = ["550 5.1.8 Sender address rejected", "250 Ok"]
    verification, smtp = await verify({A: rcpt(("^user@", refuse))})
    assert verification.verdict is Verdict.DELIVERABLE
    assert "MAIL FROM:<>" in smtp.commands(A)


async def test_after_three_hosts_that_refuse_us_no_other_is_asked() -> None:
    ips = [f"127.0.0.{number}" for number in range(2, 8)]
    verification, smtp = await verify({ip: Script(banner=BLOCKED_REPLY) for ip in ips})
    assert verification.reason is Reason.BLOCKED
    assert sum(smtp.seen[ip].connections for ip in ips) == 3
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.block_list == "rbl.test"


async def test_a_host_that_hangs_leaves_time_for_the_next() -> None:
    config = replace(CONFIG, command_timeout_s=60)
    verification, _ = await verify(
        {A: Script(banner=HANG), B: USER_ONLY}, deadline_s=1, config=config
    )
    assert verification.verdict is Verdict.DELIVERABLE
    assert verification.duration_s < 1


@pytest.mark.parametrize(
    "script",
    [
        Script(banner=HANG),
        Script(on={"EHLO": HANG}),
        Script(on={"MAIL": HANG}),
        rcpt((".*", HANG)),
    ],
)
async def test_the_deadline_holds_at_every_stage(script: Script) -> None:
    config = replace(CONFIG, command_timeout_s=60)
    verification, _ = await verify({A: script}, deadline_s=0.4, config=config)
    assert verification.reason is Reason.TIMEOUT
    assert verification.duration_s < 1


async def test_a_tls_handshake_that_hangs_leaves_time_for_clear_text() -> None:
    script = replace(USER_ONLY, tls=True, on={"STAR": ("220 go", HANG)})
    config = replace(CONFIG, command_timeout_s=60)
    verification, _ = await verify({A: script}, deadline_s=0.6, config=config)
    assert verification.verdict is Verdict.DELIVERABLE


async def test_smtputf8() -> None:
    zone = {"xn--bcher-kva.test": {"MX": ["10 mx.test."]}, "mx.test": {"A": [A]}}
    rows = (("^jörg@xn--bcher-kva.test$", "250 Ok"), (".*", "550 5.1.1 No such user"))
    with_smtputf8 = Script(rcpt=rows, extensions=("PIPELINING", "SMTPUTF8"))
    verification, _ = await verify({A: with_smtputf8}, "jörg@bücher.test", zone=zone)
    assert verification.verdict is Verdict.DELIVERABLE

    for script in (Script(rcpt=rows), Script(rcpt=rows, on={"EHLO": "500 what?"})):
        verification, smtp = await verify({A: script}, "jörg@bücher.test", zone=zone)
        assert verification.evidence.smtp is not None
        assert verification.evidence.smtp.meaning is Meaning.SMTPUTF8_UNSUPPORTED
        assert smtp.recipients(A) == []


BUCHER = {"xn--bcher-kva.test": {"MX": ["10 mx.test."]}, "mx.test": {"A": [A]}}
NOT_SERVED = "554 5.7.1 Relay access denied"


@pytest.mark.parametrize("served", ["bücher", "xn--bcher-kva"])
@pytest.mark.parametrize(
    "address", ["jörg@bücher.test", "jörg@xn--bcher-kva.test", "user@bücher.test"]
)
@pytest.mark.parametrize("extensions", [("PIPELINING", "SMTPUTF8"), ("SMTPUTF8",)])
async def test_a_host_may_serve_one_form_of_its_domain_alone(
    served: str, address: str, extensions: tuple[str, ...]
) -> None:
    rows = rcpt(
        (f"^(jörg|user)@{served}.test$", "250 Ok"),
        (f"@{served}.test$", "550 5.1.1 No such user"),
        (".*", NOT_SERVED),
        extensions=extensions,
    )
    verification, smtp = await verify({A: rows}, address, zone=BUCHER)
    assert (verification.verdict, verification.evidence.catch_all) == (Verdict.DELIVERABLE, False)
    first = address if "user" not in address else "user@xn--bcher-kva.test"
    assert smtp.recipients(A)[0] == first
    listed = await verify_list_at(rows, address)
    assert (listed.verdict, listed.evidence.catch_all) == (Verdict.DELIVERABLE, False)


async def verify_list_at(script: Script, address: str) -> Verification:
    async with probe_setup({A: script}, BUCHER) as setup:
        (verification,) = await verify_list(setup.engine, [address])
    return verification


async def test_a_host_that_serves_neither_form_is_asked_for_both() -> None:
    script = rcpt((".*", NOT_SERVED), extensions=("SMTPUTF8",))
    verification, smtp = await verify({A: script}, "jörg@bücher.test", zone=BUCHER)
    assert verification.verdict is Verdict.UNDELIVERABLE
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.meaning is Meaning.DOMAIN_NOT_SERVED
    assert smtp.recipients(A) == ["jörg@bücher.test", "jörg@xn--bcher-kva.test"]


async def test_a_host_with_few_connections_serves_all() -> None:
    async with probe_setup({A: replace(USER_ONLY, max_connections=3)}) as setup:
        verifications = await asyncio.gather(*(setup.verify("user@a.test") for _ in range(6)))
    assert {verification.verdict for verification in verifications} == {Verdict.DELIVERABLE}


async def test_no_slot_before_the_deadline_is_throttled() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    script = rcpt(("^slow@", (pause, "250 Ok")), *only("user"))
    async with probe_setup({A: script}, config=replace(CONFIG, connections_per_host=1)) as setup:
        slow = asyncio.ensure_future(setup.verify("slow@a.test"))
        await asyncio.wait_for(pause.reached.wait(), 5)
        verification = await setup.verify("user@a.test", deadline_s=0.1)
        pause.go_on.set()
        await slow
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.meaning is Meaning.THROTTLED
    assert not verification.evidence.smtp.connected


async def test_no_more_than_a_dozen_ip_addresses_are_connected_to() -> None:
    zone = {
        "a.test": {"MX": ["10 mx.a.test."]},
        "mx.a.test": {"A": [f"127.0.1.{number}" for number in range(1, 17)]},
    }
    verification, _ = await verify({}, zone=zone)
    assert verification.reason is Reason.NO_CONNECT
    connects = [
        step for step in verification.evidence.transcript if step.said.startswith("connecting")
    ]
    assert len(connects) == 12


async def test_closing_does_not_wait_for_hosts_that_ignore_quit() -> None:
    async with probe_setup({A: replace(USER_ONLY, on={"QUIT": HANG})}) as setup:
        await setup.verify("user@a.test")
        await asyncio.wait_for(setup.engine.aclose(), 1)
        await asyncio.wait_for(setup.smtp.seen[A].idle.wait(), 1)


async def test_a_cancelled_verification_leaves_nothing_behind() -> None:
    pause = Wait(asyncio.Event(), asyncio.Event())
    async with probe_setup({A: rcpt((".*", (pause, HANG)))}) as setup:
        before = asyncio.all_tasks()
        verifying = asyncio.ensure_future(setup.verify("user@a.test"))
        await asyncio.wait_for(pause.reached.wait(), 5)
        verifying.cancel()
        await asyncio.gather(verifying, return_exceptions=True)
        pause.go_on.set()
        await asyncio.wait_for(setup.smtp.seen[A].idle.wait(), 1)
        assert asyncio.all_tasks() <= before


async def test_an_invalid_address_causes_no_query() -> None:
    async with fake_dns({}) as dns:
        engine = ProbeEngine.open(replace(CONFIG, dns_servers=(dns.address,)))
        for text in ("", "no-at", "a@b@c.test", "user@a.test\r\nRSET", "x" * 100 + "@a.test"):
            verification = await ask(engine, text)
            assert (verification.verdict, verification.reason) == (
                Verdict.UNDELIVERABLE,
                Reason.INVALID_EMAIL,
            )
        await engine.aclose()
        assert dns.queries == []


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
async def test_every_text_has_a_verification(text: str) -> None:
    engine = ProbeEngine.open(replace(CONFIG, dns_servers=("127.0.0.1:9",)))
    verification = await ask(engine, text, Checks(dns=False, smtp=False, catch_all=False))
    assert verification.address.raw is not None
    await engine.aclose()


@pytest.mark.parametrize("servers", [("nonsense",), ("127.0.0.1:x",)])
def test_a_malformed_dns_server_raises_value_error(servers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (raised by ipaddress and by us)
        ProbeEngine.open(replace(CONFIG, dns_servers=servers))


async def test_a_host_that_keeps_refusing_us_is_paused() -> None:
    async with probe_setup({A: Script(rcpt=[(".*", BLOCKED_REPLY)])}) as setup:
        verifications = [await setup.verify(f"user{n}@a.test") for n in range(12)]
        connections = setup.smtp.seen[A].connections
    assert {(a.verdict, a.reason) for a in verifications} == {(Verdict.UNKNOWN, Reason.BLOCKED)}
    assert connections == 8
    smtp = verifications[-1].evidence.smtp
    assert smtp is not None
    assert (smtp.meaning, smtp.block_list, smtp.code) == (Meaning.IP_BLOCKED, "rbl.test", None)
    assert smtp.text is not None
    assert smtp.text.startswith("paused: a.test refused us 8 times in a row")
    assert smtp.retry_after_s == 60
    assert any("paused: a.test" in step.said for step in verifications[-1].evidence.transcript)


async def test_verifications_that_wait_for_a_slot_notice_a_pause() -> None:
    async with probe_setup({A: Script(banner=BLOCKED_REPLY)}) as setup:
        verifications = await asyncio.gather(*(setup.verify(f"u{n}@a.test") for n in range(40)))
        connections = setup.smtp.seen[A].connections
    assert {(a.verdict, a.reason) for a in verifications} == {(Verdict.UNKNOWN, Reason.BLOCKED)}
    assert connections <= 8  # four refusals, and the connections open at the last of them


async def test_mailboxes_with_block_lists_of_their_own_pause_no_host() -> None:
    host = Script(rcpt=[("^protected", BLOCKED_REPLY), *only("user")])
    async with probe_setup({A: host}) as setup:
        for _ in range(4):
            for number in range(6):
                verification = await setup.verify(f"protected{number}@a.test")
                assert verification.reason is Reason.BLOCKED
            verification = await setup.verify("user@a.test")
            assert verification.verdict is Verdict.DELIVERABLE
        # The first one had a control beside it, whose reply was not about us.
        assert setup.engine.egresses.reputations["default"].operators()[0].refusal_count == 23


async def test_the_next_host_is_asked_where_the_first_is_paused() -> None:
    async with probe_setup({A: Script(banner=BLOCKED_REPLY), B: USER_ONLY}) as setup:
        verifications = [await setup.verify("user@a.test") for _ in range(8)]
        refused = setup.smtp.seen[A].connections
    assert {a.verdict for a in verifications} == {Verdict.DELIVERABLE}
    assert refused == 4
