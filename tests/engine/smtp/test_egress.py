"""Ways out: addresses of this machine and SOCKS5 proxies, and the choice among them."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dns.targets import is_global
from engine.model import Checks, Meaning, Reason, Verdict
from engine.probe import ProbeConfig, ProbeEngine
from engine.smtp.connect import EgressFault, HostUnreachable, connect, missing_source_address
from engine.smtp.terms import EgressConfig, EgressStrategy, Identity, SocksProxy, Target
from tests.engine.asking import verify as ask
from tests.engine.asking import verify_list
from tests.engine.test_probe import CONFIG, GREYLISTED_REPLY, only, zone_of
from tests.fakes.dns import Zone, fake_dns
from tests.fakes.smtp import CLOSE, FakeSmtp, Script, fake_smtp
from tests.fakes.socks import Lie, Socks, socks_server

A, B = "127.0.0.2", "127.0.0.3"
ONE, TWO, THREE = "127.0.1.1", "127.0.1.2", "127.0.1.3"
"""Source addresses."""
ME = Identity("probe.test", "probe@verifier.test")
BLOCKED = "554 5.7.1 Client host blocked using rbl.test"
USER_ONLY = Script(rcpt=only("user"))
HANGING_LIES = {Lie.SUCCESS_THEN_HANG, Lie.HANG, Lie.SILENT}
"""Only for these a test waits for a time-out, which is short then."""


@dataclass(frozen=True, slots=True)
class Setup:
    """An engine with several egresses, and the mail hosts that it asks."""

    engine: ProbeEngine
    smtp: FakeSmtp


def direct(name: str, source: str = "", **changes: object) -> EgressConfig:
    return replace(EgressConfig(ME, name, source), **changes)  # type: ignore[arg-type]


def through(socks: Socks, name: str, user: str = "", password: str = "") -> EgressConfig:
    return EgressConfig(ME, name, proxy=SocksProxy("127.0.0.1", socks.port, user, password))


@asynccontextmanager
async def setup(
    hosts: Mapping[str, Script],
    *egresses: EgressConfig,
    zone: Zone | None = None,
    strategy: EgressStrategy = EgressStrategy.FAILOVER,
    config: ProbeConfig = CONFIG,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Setup]:
    async with fake_dns(zone or zone_of(*hosts)) as dns, fake_smtp(hosts) as smtp:
        engine = ProbeEngine.open(
            replace(
                config,
                dns_servers=(dns.address,),
                smtp_port=smtp.port,
                egresses=egresses,
                egress_strategy=strategy,
            ),
            clock=clock,
        )
        try:
            yield Setup(engine, smtp)
        finally:
            await engine.aclose()


def refusing(peer: str, script: Script = USER_ONLY, banner: str = BLOCKED) -> Script:
    """Serves as `script`, but not clients from `peer`."""
    return replace(script, by_peer={peer: replace(script, banner=(banner, CLOSE))})


# -- one egress --------------------------------------------------------------------------


async def test_without_egresses_there_is_one_named_default() -> None:
    async with setup({A: USER_ONLY}) as s:
        smtp = (await ask(s.engine, "user@a.test")).evidence.smtp
    assert smtp is not None
    assert smtp.egress == "default"


async def test_connections_come_from_the_source_address() -> None:
    async with setup({A: USER_ONLY}, direct("one", ONE)) as s:
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, ["user@a.test", "other@a.test"])
    assert single.verdict is Verdict.DELIVERABLE
    assert [v.verdict for v in listed] == [Verdict.DELIVERABLE, Verdict.UNDELIVERABLE]
    assert set(s.smtp.seen[A].peers) == {ONE}
    assert {v.evidence.smtp.egress for v in (single, *listed) if v.evidence.smtp} == {"one"}


async def test_an_egress_has_a_name_and_a_sender_of_its_own() -> None:
    egress = direct("one", identity=Identity("one.test", "one@verifier.test"))
    async with setup({A: USER_ONLY}, egress) as s:
        await ask(s.engine, "user@a.test")
        await verify_list(s.engine, ["other@a.test"])
    commands = s.smtp.commands(A)
    assert commands.count("EHLO one.test") == 2
    assert "MAIL FROM:<one@verifier.test>" in commands
    assert not any("probe" in command for command in commands)


def test_a_missing_source_address_is_known_before_it_is_used() -> None:
    assert missing_source_address("127.0.0.77") == ""
    assert missing_source_address("::1") == ""
    for missing in ("192.0.2.77", "2001:db8::77"):
        assert missing_source_address(missing) == (
            f"this machine does not have the address {missing}"
        )


async def test_a_source_address_that_is_gone_is_a_fault_of_the_egress() -> None:
    async with setup({A: USER_ONLY}, direct("gone", "192.0.2.77"), direct("here", ONE)) as s:
        verification = await ask(s.engine, "user@a.test")
        gone, _ = s.engine.egresses
    assert verification.verdict is Verdict.DELIVERABLE
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.egress == "here"
    assert gone.health.left_s > 0
    assert "192.0.2.77" in gone.health.reason


# -- proxies -----------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [("", ""), ("ann", "p@ss word")])
@pytest.mark.parametrize("script", [USER_ONLY, replace(USER_ONLY, tls=True, tls_required=True)])
async def test_a_proxy_carries_pipelining_tls_and_lists(
    credentials: tuple[str, str], script: Script
) -> None:
    async with (
        socks_server(Socks(*credentials, source=ONE)) as socks,
        setup({A: script}, through(socks, "p", *credentials)) as s,
    ):
        verification = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, [f"u{n}@a.test" for n in range(50)] + ["user@a.test"])
    assert verification.verdict is Verdict.DELIVERABLE
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.ip == A
    assert verification.evidence.smtp.tls is script.tls
    assert Counter(v.verdict for v in listed) == {Verdict.UNDELIVERABLE: 50, Verdict.DELIVERABLE: 1}
    assert set(socks.requests) == {(A, s.smtp.port)}
    assert socks.names == []
    assert set(s.smtp.seen[A].peers) == {ONE}
    assert any(chunk.count(b"\r\n") > 2 for chunk in s.smtp.seen[A].chunks)


async def test_a_private_address_is_not_given_to_a_proxy() -> None:
    config = replace(CONFIG, allow_private_networks=False)
    async with (
        socks_server(Socks()) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), zone=zone_of("10.1.2.3"), config=config) as s,
    ):
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, ["user@a.test", "other@a.test"])
    assert {v.evidence.smtp.meaning for v in (single, *listed) if v.evidence.smtp} == {
        Meaning.NOT_ALLOWED
    }
    assert socks.requests == []
    assert socks.greetings == 0


PASSWORD = "s3cret-of-proxy"


@pytest.mark.parametrize(
    ("socks", "reason"),
    [
        (Socks("ann", "other"), "authentication failure"),
        (Socks(lie=Lie.SILENT), "does not answer"),
        (Socks(lie=Lie.GARBAGE), "version number"),
    ],
)
async def test_a_proxy_that_fails_is_named_and_its_password_is_not(
    socks: Socks, reason: str
) -> None:
    config = replace(CONFIG, connect_timeout_s=0.3)
    async with (
        socks_server(socks),
        setup({A: USER_ONLY}, through(socks, "first", "ann", PASSWORD), config=config) as s,
    ):
        verification = await ask(s.engine, "user@a.test", deadline_s=1.0)
        (egress,) = s.engine.egresses
    smtp = verification.evidence.smtp
    assert (verification.verdict, verification.reason) == (Verdict.UNKNOWN, Reason.NO_CONNECT)
    assert smtp is not None
    assert smtp.text is not None
    assert smtp.text.startswith("egress first: ")
    assert reason in smtp.text
    assert not smtp.connected
    assert PASSWORD not in repr(verification)
    assert PASSWORD not in repr(egress.config)
    assert egress.reputation.operators() == ()
    assert s.smtp.seen[A].connections == 0


@pytest.mark.parametrize(
    "socks",
    [
        Socks("ann", "other"),
        Socks(lie=Lie.SILENT),
        Socks(lie=Lie.GARBAGE),
        Socks(lie=Lie.CLOSE),
        Socks(lie=Lie.SUCCESS_THEN_CLOSE),
        Socks(lie=Lie.SUCCESS_THEN_HANG),
        Socks(lie=Lie.HANG),
        Socks(lie=Lie.SHORT_ADDRESS),
        *(Socks(reply=code) for code in (1, 2, 3, 7, 8, 99)),
    ],
    ids=lambda socks: f"{socks.lie or socks.reply or 'password'}",
)
async def test_another_egress_takes_over_from_a_proxy_that_fails(socks: Socks) -> None:
    config = CONFIG
    if socks.lie in HANGING_LIES:
        config = replace(CONFIG, connect_timeout_s=0.3, command_timeout_s=0.3)
    async with (
        socks_server(socks),
        socks_server(Socks(source=TWO)) as good,
        setup(
            {A: USER_ONLY}, through(socks, "bad", "ann", "pw"), through(good, "good"), config=config
        ) as s,
    ):
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, ["user@a.test", *(f"u{n}@a.test" for n in range(30))])
    assert single.verdict is Verdict.DELIVERABLE
    assert [v.verdict for v in listed] == [Verdict.DELIVERABLE, *[Verdict.UNDELIVERABLE] * 30]
    assert {v.evidence.smtp.egress for v in (single, *listed) if v.evidence.smtp} == {"good"}


async def test_a_host_that_refuses_connections_is_no_fault_of_the_proxy() -> None:
    async with (
        socks_server(Socks()) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), zone=zone_of(B)) as s,
    ):
        verification = await ask(s.engine, "user@a.test")
        (egress,) = s.engine.egresses
    assert (verification.verdict, verification.reason) == (Verdict.UNKNOWN, Reason.NO_CONNECT)
    assert egress.health.left_s == 0
    assert egress.health.faults == 0


async def test_a_proxy_that_is_down_is_named_and_used_again_once_it_is_up() -> None:
    ahead_s = 0.0
    async with (
        socks_server(Socks()) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), clock=lambda: time.monotonic() + ahead_s) as s,
    ):
        await socks.kill()
        verification = await ask(s.engine, "user@a.test", deadline_s=1.0)
        (listed,) = await verify_list(s.engine, ["user@a.test"])
        (egress,) = s.engine.egresses
        for v in (verification, listed):
            assert (v.verdict, v.reason) == (Verdict.UNKNOWN, Reason.NO_CONNECT)
            assert v.evidence.smtp is not None
            assert v.evidence.smtp.text is not None
            assert v.evidence.smtp.text.startswith("egress p: cannot connect to the proxy")
        await socks.restart()
        ahead_s += egress.health.left_s
        assert (await ask(s.engine, "user@a.test")).verdict is Verdict.DELIVERABLE
    assert egress.health.left_s == 0


async def test_an_egress_that_is_tried_again_soon_is_waited_for() -> None:
    addresses = [f"u{n}@a.test" for n in range(100)]
    async with setup({A: USER_ONLY}, direct("one", ONE)) as s:
        (egress,) = s.engine.egresses
        egress.health.record_fault("its proxy was restarted")
        assert (await ask(s.engine, "user@a.test")).verdict is Verdict.DELIVERABLE
        egress.health.record_fault("its proxy was restarted")
        results = await verify_list(s.engine, addresses)
    assert {v.verdict for v in results} == {Verdict.UNDELIVERABLE}


async def test_a_proxy_dies_in_the_middle_of_a_list() -> None:
    domains = [f"d{n}.test" for n in range(20)]
    zone: dict[str, Mapping[str, list[str]]] = {"mx.a.test": {"A": [A]}}
    zone |= {domain: {"MX": ["1 mx.a.test."]} for domain in domains}
    addresses = [f"u{n}@{domain}" for n in range(60) for domain in domains]
    async with (
        socks_server(Socks(source=ONE, dies_after=5)) as dying,
        socks_server(Socks(source=TWO)) as good,
        setup(
            {A: USER_ONLY},
            through(dying, "dying"),
            through(good, "good"),
            zone=zone,
            strategy=EgressStrategy.WEIGHTED,
        ) as s,
    ):
        results = await verify_list(s.engine, addresses)
        first, _ = s.engine.egresses
    assert {v.verdict for v in results} == {Verdict.UNDELIVERABLE}
    assert first.health.faults > 0
    assert set(s.smtp.seen[A].peers) == {ONE, TWO}


async def test_a_silent_host_is_not_held_against_proxies_that_work() -> None:
    config = replace(CONFIG, connect_timeout_s=1.1, deadline_s=6.0)
    zone = zone_of(A) | {"dead.test": {"A": [B]}}
    async with (
        socks_server(Socks(lie_about={B: Lie.HANG})) as one,
        socks_server(Socks(lie_about={B: Lie.HANG})) as two,
        setup(
            {A: USER_ONLY}, through(one, "one"), through(two, "two"), zone=zone, config=config
        ) as s,
    ):
        await ask(s.engine, "user@a.test")
        for egress in s.engine.egresses:
            egress.health.record_banner(A)
        (listed,) = await verify_list(s.engine, ["user@dead.test"])
    assert listed.reason is Reason.NO_CONNECT
    # the list's connection, and the single path's by the other one
    assert [host for host, _ in (*one.requests, *two.requests)].count(B) == 2


async def test_one_proxy_is_not_rested_for_what_may_be_the_hosts_fault() -> None:
    zone = {"a.test": {"MX": ["1 mx.a.test."]}, "mx.a.test": {"A": [A]}} | {
        f"d{n}.test": {"A": [f"127.0.9.{n}"]} for n in range(1, 9)
    }
    async with (
        socks_server(Socks(lie=Lie.SUCCESS_THEN_CLOSE)) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), zone=zone) as s,
    ):
        for n in range(1, 9):
            await ask(s.engine, f"user@d{n}.test")
        socks.lie = None
        verification = await ask(s.engine, "user@a.test")
    assert verification.verdict is Verdict.DELIVERABLE


# -- choice ------------------------------------------------------------------------------


async def test_addresses_are_shared_out_by_weight_and_each_goes_the_same_way() -> None:
    addresses = [f"u{n}@a.test" for n in range(400)]
    async with setup(
        {A: USER_ONLY},
        direct("one", ONE, weight=3.0),
        direct("two", TWO),
        direct("spare", THREE, weight=0.0),
        strategy=EgressStrategy.WEIGHTED,
    ) as s:
        first = await verify_list(s.engine, addresses)
        again = [await ask(s.engine, address) for address in addresses[:20]]
    used = [v.evidence.smtp.egress for v in first if v.evidence.smtp]
    counts = Counter(used)
    assert set(counts) == {"one", "two"}
    assert 2.0 < counts["one"] / counts["two"] < 4.5
    assert [v.evidence.smtp.egress for v in again if v.evidence.smtp] == used[:20]


async def test_failover_uses_the_first_one() -> None:
    async with setup({A: USER_ONLY}, direct("one", ONE), direct("two", TWO)) as s:
        await verify_list(s.engine, [f"u{n}@a.test" for n in range(50)])
    assert set(s.smtp.seen[A].peers) == {ONE}


@pytest.mark.parametrize(
    ("egresses", "used"),
    [
        ((direct("one", ONE, operators=frozenset({"b.test"})), direct("two", TWO)), "two"),
        ((direct("one", ONE, except_operators=frozenset({"a.test"})), direct("two", TWO)), "two"),
        ((direct("one", ONE, operators=frozenset({"a.test"})), direct("two", TWO)), "one"),
    ],
)
async def test_an_egress_serves_its_operators(
    egresses: tuple[EgressConfig, ...], used: str
) -> None:
    async with setup({A: USER_ONLY}, *egresses) as s:
        single = await ask(s.engine, "user@a.test")
        (listed,) = await verify_list(s.engine, ["other@a.test"])
    assert {v.evidence.smtp.egress for v in (single, listed) if v.evidence.smtp} == {used}


async def test_an_operator_that_no_egress_serves_is_not_asked() -> None:
    async with setup({A: USER_ONLY}, direct("one", operators=frozenset({"b.test"}))) as s:
        single = await ask(s.engine, "user@a.test")
        (listed,) = await verify_list(s.engine, ["user@a.test"])
    for verification in (single, listed):
        assert (verification.verdict, verification.reason) == (Verdict.UNKNOWN, Reason.NO_CONNECT)
        assert verification.evidence.smtp is not None
        assert verification.evidence.smtp.text == "no egress serves the operator a.test"
    assert s.smtp.seen[A].connections == 0


# -- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "banner",
    [
        BLOCKED,
        "554 5.7.1 no PTR record: reverse hostname of your address not found",
        "421 4.7.0 too many connections from your address, try again in 600 seconds",
        "550 rejected by local policy",
    ],
)
async def test_a_host_that_refuses_one_egress_is_asked_by_the_next(banner: str) -> None:
    async with setup(
        {A: refusing(ONE, banner=banner)}, direct("one", ONE), direct("two", TWO)
    ) as s:
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, ["user@a.test", "other@a.test"])
        one, two = s.engine.egresses
    assert single.verdict is Verdict.DELIVERABLE
    assert [v.verdict for v in listed] == [Verdict.DELIVERABLE, Verdict.UNDELIVERABLE]
    assert s.smtp.seen[A].peers[:2] == [ONE, TWO]
    assert one.reputation.operators()[0].refusal_count >= 1
    assert two.reputation.operators()[0].refusal_count == 0


async def test_a_host_that_hangs_up_on_one_egress_is_asked_by_the_next() -> None:
    host = replace(USER_ONLY, by_peer={ONE: Script(banner=CLOSE)})
    async with setup({A: host}, direct("one", ONE), direct("two", TWO)) as s:
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, [f"u{n}@a.test" for n in range(500)])
    assert single.verdict is Verdict.DELIVERABLE
    assert {v.verdict for v in listed} == {Verdict.UNDELIVERABLE}
    assert s.smtp.seen[A].peers.count(ONE) < 10
    assert s.smtp.seen[A].connections < 100  # as a list, and not one by one


async def test_a_host_that_is_down_is_tried_by_one_further_egress() -> None:
    egresses = [direct(f"e{n}", f"127.0.1.{n}") for n in range(1, 5)]
    async with setup({A: USER_ONLY}, *egresses, zone=zone_of(B)) as s:
        verification = await ask(s.engine, "user@a.test")
        (listed,) = await verify_list(s.engine, ["u@a.test"])
    assert (verification.verdict, verification.reason) == (Verdict.UNKNOWN, Reason.NO_CONNECT)
    assert listed.reason is Reason.NO_CONNECT
    tried = [step.said for step in verification.evidence.transcript if "connecting" in step.said]
    assert len(tried) == 2


async def test_a_refusal_at_rcpt_is_asked_about_by_the_next_egress() -> None:
    blocks = replace(USER_ONLY, rcpt=[(".*", "550 5.7.1 blocked using rbl.test")])
    host = replace(USER_ONLY, by_peer={ONE: blocks})
    async with setup({A: host}, direct("one", ONE), direct("two", TWO)) as s:
        single = await ask(s.engine, "user@a.test")
        listed = await verify_list(s.engine, [f"u{n}@a.test" for n in range(60)])
    assert single.verdict is Verdict.DELIVERABLE
    assert {v.verdict for v in listed} == {Verdict.UNDELIVERABLE}


async def test_a_host_is_asked_by_two_more_egresses_at_most() -> None:
    names = [f"127.0.1.{n}" for n in range(1, 7)]
    async with setup(
        {A: Script(banner=(BLOCKED, CLOSE))}, *(direct(f"e{ip[-1]}", ip) for ip in names)
    ) as s:
        verification = await ask(s.engine, "user@a.test")
    assert verification.reason is Reason.BLOCKED
    assert s.smtp.seen[A].peers == names[:3]
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.egress in {"e1", "e2", "e3"}


async def test_a_large_list_moves_to_the_egress_that_is_served() -> None:
    addresses = [f"u{n}@a.test" for n in range(1_000)]
    async with setup({A: refusing(ONE)}, direct("one", ONE), direct("two", TWO)) as s:
        results = await verify_list(s.engine, addresses)
    assert {v.verdict for v in results} == {Verdict.UNDELIVERABLE}
    assert s.smtp.seen[A].peers.count(ONE) < 10
    assert s.smtp.seen[A].connections < 200  # it went as a list, and not one by one


async def test_an_egress_that_an_operator_refuses_serves_the_others() -> None:
    zone = zone_of(A) | {"b.test": {"MX": ["1 mx.b.test."]}, "mx.b.test": {"A": [B]}}
    hosts = {A: refusing(ONE), B: USER_ONLY}
    async with setup(hosts, direct("one", ONE), direct("two", TWO), zone=zone) as s:
        for n in range(10):
            assert (await ask(s.engine, f"u{n}@a.test")).verdict is Verdict.UNDELIVERABLE
        assert (await ask(s.engine, "user@b.test")).verdict is Verdict.DELIVERABLE
        one, two = s.engine.egresses
    assert one.reputation.is_paused("mx0.a.test")
    assert not two.reputation.is_paused("mx0.a.test")
    assert s.smtp.seen[A].peers.count(ONE) < 10  # paused, so that only the other one asks
    assert s.smtp.seen[B].peers == [ONE]


async def test_a_greylisted_address_is_asked_again_by_the_same_egress() -> None:
    replies: list[object] = [GREYLISTED_REPLY, "250 2.1.5 Ok"]
    per_source = {
        ip: replace(USER_ONLY, rcpt=[("^user@", replies), (".*", "550 5.1.1 No such user")])  # type: ignore[list-item]
        for ip in (ONE, TWO, THREE)
    }
    host = replace(USER_ONLY, by_peer=per_source)
    egresses = [direct("one", ONE), direct("two", TWO), direct("three", THREE)]
    async with setup({A: host}, *egresses, strategy=EgressStrategy.WEIGHTED) as s:
        verification = await ask(s.engine, "user@a.test")
    assert verification.verdict is Verdict.DELIVERABLE
    assert len(set(s.smtp.seen[A].peers)) == 1
    assert len(s.smtp.seen[A].peers) == 2


async def test_a_list_asks_greylisted_addresses_again_by_the_same_egress() -> None:
    host = Script(rcpt=[("^u", [GREYLISTED_REPLY, "250 2.1.5 Ok"]), (".*", "550 5.1.1 No")])
    egresses = [direct("one", ONE), direct("two", TWO)]
    addresses = [f"u{n}@a.test" for n in range(100)]
    async with setup({A: host}, *egresses, strategy=EgressStrategy.WEIGHTED) as s:
        first = await verify_list(s.engine, addresses)
        # a few of them are asked again, which would go by one egress if they were new
        again = await verify_list(s.engine, addresses[::10])
    assert {v.reason for v in first} == {Reason.GREYLISTED}
    ways = [v.evidence.smtp.egress for v in first if v.evidence.smtp]
    assert [v.evidence.smtp.egress for v in again if v.evidence.smtp] == ways[::10]
    assert set(ways[::10]) == {"one", "two"}


async def test_what_one_egress_finds_of_a_catch_all_holds_for_all() -> None:
    async with setup({A: Script()}, direct("one", ONE), direct("two", TWO)) as s:
        assert (await ask(s.engine, "u1@a.test")).reason is Reason.CATCH_ALL
        one, _ = s.engine.egresses
        one.health.record_fault("a test")
        verification = await ask(s.engine, "u2@a.test")
    assert verification.reason is Reason.CATCH_ALL
    assert verification.evidence.smtp is not None
    assert verification.evidence.smtp.egress == "two"
    assert len(s.smtp.recipients(A)) == 3  # one control for both


async def test_connections_are_counted_by_operator_and_egress() -> None:
    egresses = [
        direct("one", ONE, connections_per_host=1),
        direct("two", TWO, connections_per_host=2),
    ]
    addresses = [f"u{n}@a.test" for n in range(1_000)]
    async with setup({A: Script()}, *egresses, strategy=EgressStrategy.WEIGHTED) as s:
        await verify_list(s.engine, addresses, Checks(catch_all=False))
    assert 2 <= s.smtp.seen[A].max_open <= 3


# -- IPv6 --------------------------------------------------------------------------------


async def test_ipv6_is_tried_only_where_the_egress_reaches_it() -> None:
    async with setup({"::1": USER_ONLY}, direct("one", ONE), direct("six", "::1")) as s:
        verification = await ask(s.engine, "user@a.test")
    assert verification.verdict is Verdict.DELIVERABLE
    assert s.smtp.seen["::1"].peers == ["::1"]


async def test_a_proxy_without_ipv6_is_found_out_and_spared() -> None:
    zone = zone_of("::1", A)
    async with (
        socks_server(Socks(reply=8)) as no_ipv6,
        setup({A: USER_ONLY, "::1": USER_ONLY}, through(no_ipv6, "p"), zone=zone) as s,
    ):
        for n in range(3):
            await ask(s.engine, f"u{n}@a.test")
        (egress,) = s.engine.egresses
    assert not egress.health.reaches_ipv6
    assert [host for host, _ in no_ipv6.requests].count("::1") == 1


@pytest.mark.parametrize(("reply", "reaches"), [(3, False), (4, False), (5, True)])
async def test_ipv6_hosts_out_of_reach_show_that_there_is_no_way_to_any(
    reply: int, reaches: bool
) -> None:
    zone = {f"d{n}.test": {"AAAA": [f"2001:db8::{n}"]} for n in range(3)}
    async with (
        socks_server(Socks(reply=reply)) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), zone=zone) as s,
    ):
        for n in range(3):
            await ask(s.engine, f"user@d{n}.test")
        (egress,) = s.engine.egresses
    assert egress.health.reaches_ipv6 is reaches
    assert len(socks.requests) == (3 if reaches else 2)


async def test_ipv6_hosts_are_asked_through_a_proxy_that_reaches_them() -> None:
    async with (
        socks_server(Socks()) as socks,
        setup({"::1": USER_ONLY}, through(socks, "p")) as s,
    ):
        assert (await ask(s.engine, "user@a.test")).verdict is Verdict.DELIVERABLE
    assert socks.requests == [("::1", s.smtp.port)]


SPECIAL = ("10.1.2.3", "127.0.0.2", "169.254.169.254", "192.168.0.1", "::1", "fd00::1", "fe80::1")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(st.ip_addresses(), st.sampled_from(SPECIAL)).map(str), min_size=1, max_size=30
    )
)
async def test_a_proxy_is_given_public_addresses_and_no_names(ips: list[str]) -> None:
    zone: dict[str, Mapping[str, list[str]]] = {}
    for number, ip in enumerate(ips):
        zone[f"d{number}.test"] = {"MX": [f"1 mx.d{number}.test."]}
        zone[f"mx.d{number}.test"] = {"AAAA" if ":" in ip else "A": [ip]}
    config = replace(CONFIG, allow_private_networks=False)
    addresses = [f"user@d{number}.test" for number in range(len(ips))]
    async with (
        socks_server(Socks(reply=5)) as socks,
        setup({A: USER_ONLY}, through(socks, "p"), zone=zone, config=config) as s,
    ):
        single = [await ask(s.engine, address) for address in addresses[:5]]
        listed = await verify_list(s.engine, addresses)
    assert socks.names == []
    asked = {str(ipaddress.ip_address(host)) for host, _ in socks.requests}
    assert all(is_global(ip) for ip in asked)
    assert asked <= {str(ipaddress.ip_address(ip)) for ip in ips}
    for ip, verification in [*zip(ips, single, strict=False), *zip(ips, listed, strict=True)]:
        if is_global(ip):
            assert verification.reason is Reason.NO_CONNECT
            assert str(ipaddress.ip_address(ip)) in asked


# -- properties --------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.text(min_size=1, max_size=30), st.lists(st.floats(0.1, 10), min_size=2, max_size=5))
def test_the_choice_depends_on_the_key_alone(key: str, weights: list[float]) -> None:
    from datetime import UTC, datetime

    from engine.smtp.egress import Egress, EgressSet
    from tests.fakes.clock import Clock

    clock = Clock()
    egresses = [
        Egress(direct(f"e{n}", weight=weight), clock, lambda: datetime(2026, 1, 2, tzinfo=UTC))
        for n, weight in enumerate(weights)
    ]
    target = Target("mx.a.test", A, 25)
    chosen = EgressSet(egresses, EgressStrategy.WEIGHTED, clock).choose(target, key)
    backwards = EgressSet(egresses[::-1], EgressStrategy.WEIGHTED, clock)
    assert backwards.choose(target, key) is chosen
    # without one that was not chosen, the choice stays
    spared = next(egress for egress in egresses if egress is not chosen)
    assert backwards.choose(target, key, tried={spared.name}) is chosen


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.booleans())
async def test_whatever_a_proxy_sends_is_a_fault_or_an_unreachable_host(
    chunks: list[bytes], with_password: bool
) -> None:
    credentials = ("ann", PASSWORD) if with_password else ("", "")
    async with socks_server(Socks(script=chunks)) as socks:
        egress = EgressConfig(ME, "p", proxy=SocksProxy("127.0.0.1", socks.port, *credentials))
        try:
            connection = await connect(Target("mx.a.test", A, 25), egress, 0.1, lambda *_: None)
        except (EgressFault, HostUnreachable) as exc:
            said = f"{exc}: {exc.reason}"
        else:
            connection.close()
            said = "connected: as far as the proxy says"
    assert PASSWORD not in said
    assert said.rpartition(": ")[2]
