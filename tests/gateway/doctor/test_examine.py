"""Whole examinations, with DNS, mail hosts, databases and ports on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor import judge
from gateway.doctor.block_lists import BlockList
from gateway.doctor.examine import examine
from gateway.doctor.finding import Finding, Level
from gateway.doctor.machine import inspect_database, inspect_refusals
from gateway.doctor.mail_hosts import banner_time, our_ip_in_greeting
from gateway.doctor.refusals import judge_refusals
from gateway.settings import Settings
from gateway.settings.egress import UnknownEgress
from gateway.store import open_store
from tests.fakes.dns import Fault, Records, fake_dns
from tests.fakes.smtp import CLOSE, HANG, Script, fake_smtp
from tests.fakes.socks import Socks, socks_server
from tests.postgres import PostgresServer

GMAIL, OUTLOOK, YAHOO = "127.0.0.2", "127.0.0.3", "127.0.0.4"
US = "127.0.0.1"
NOW = 1_780_000_000.0
SHOWN_TIME = "Thu, 28 May 2026 20:26:{:02d} +0000"  # NOW is at 20:26:40
RBL = BlockList("rbl.test", "made up", {"127.0.0.2": "listed"})

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
World = dict[str, Records | Fault]


def zone(**changes: Records | Fault) -> World:
    """A zone without problems: we are probe.us.test, and mail comes from us.test."""
    return {
        "com": {"SOA": ["ns.test. host.test. 1 3600 600 86400 60"]},
        "gmail.com": {"MX": ["5 mx.gmail.com."]},
        "mx.gmail.com": {"A": [GMAIL]},
        "outlook.com": {"MX": ["5 mx.outlook.com."]},
        "mx.outlook.com": {"A": [OUTLOOK]},
        "yahoo.com": {"MX": ["5 mx.yahoo.com."]},
        "mx.yahoo.com": {"A": [YAHOO]},
        "us.test": {"MX": ["10 mail.us.test."], "TXT": [f'"v=spf1 ip4:{US} -all"']},
        "mail.us.test": {"A": [US]},
        "probe.us.test": {"A": [US]},
        "1.0.0.127.in-addr.arpa": {"PTR": ["probe.us.test."]},
        "2.0.0.127.rbl.test": {"A": ["127.0.0.2"]},
        **{name.replace("__", "."): entry for name, entry in changes.items()},
    }


HOSTS: Mapping[str, Script] = {
    GMAIL: Script(on={"EHLO": f"250 mx.gmail.com at your service, [{US}]"}),
    OUTLOOK: Script(banner=f"220 mx.outlook.com ready at {SHOWN_TIME.format(38)}"),
    YAHOO: Script(),
}


async def findings(
    dns_zone: World | None = None,
    hosts: Mapping[str, Script] = HOSTS,
    *,
    ip: str = "",
    timeout_s: float = 5.0,
    **changes: Any,
) -> tuple[dict[str, Finding], list[str]]:
    """The findings by check, and the commands that the mail hosts got."""
    async with (
        fake_dns(dns_zone if dns_zone is not None else zone()) as dns,
        fake_smtp(hosts) as smtp,
    ):
        tree = {
            "storage": {"url": "sqlite:///:memory:"},
            "server": {"port": 0},
            **changes,
            "engine": {
                "helo": "probe.us.test",
                "mail_from": "probe@us.test",
                "dns_servers": [dns.address],
                "smtp_port": smtp.port,
                "allow_private_networks": True,
                "connect_timeout_s": 1.0,
                **changes.get("engine", {}),
            },
        }
        found = await examine(
            Settings.model_validate(tree),
            ip=ip,
            block_lists=[RBL],
            timeout_s=timeout_s,
            rng=random.Random(1),
            clock=lambda: NOW,
        )
        commands = [command for seen in smtp.seen.values() for command in seen.commands]
    return {finding.check: finding for finding in found}, commands


async def test_all_is_well() -> None:
    found, commands = await findings()
    assert {check: f.level for check, f in found.items() if f.level is not OK} == {
        "database": WARN  # in memory
    }
    assert found["address"].about == US
    assert "mx.outlook.com" in found["clock"].said
    assert set(commands) == {"EHLO probe.us.test", "QUIT"}


@pytest.mark.parametrize(
    ("changes", "check", "level", "words"),
    [
        ({"probe__us__test": {"A": ["127.0.0.7"]}}, "helo-address", FAIL, "resolves to 127.0.0.7"),
        ({"probe__us__test": Fault.SERVFAIL}, "helo-address", WARN, "servfail"),
        ({"1__0__0__127__in-addr__arpa": {}}, "ptr", FAIL, "has no PTR record"),
        (
            {"1__0__0__127__in-addr__arpa": {"PTR": ["mail.us.test."]}},
            "ptr",
            WARN,
            "Set engine.helo to mail.us.test",
        ),
        (
            {"1__0__0__127__in-addr__arpa": {"PTR": ["nobody.test."]}},
            "ptr",
            FAIL,
            "does not resolve back",
        ),
        ({"us__test": {"MX": ["0 ."]}}, "mail-from", FAIL, "null MX"),
        ({"us__test": {"TXT": ['"v=spf1 -all"']}}, "spf", FAIL, "-all of us.test"),
        ({"us__test": {"MX": ["10 mail.us.test."]}}, "spf", WARN, "v=spf1 ip4:127.0.0.1 -all"),
        ({"us__test": {"TXT": ['"v=spf1 bogus"']}}, "spf", FAIL, "no SPF term"),
        ({"1__0__0__127__rbl__test": {"A": ["127.0.0.2"]}}, "block-list", FAIL, "lists 127.0.0.1"),
        ({"2__0__0__127__rbl__test": {}}, "block-list", WARN, "test entry"),
        (
            {"1__0__0__127__rbl__test": {"A": ["127.255.255.254"]}},
            "block-list",
            WARN,
            "public resolver",
        ),
        ({"gmail__com": Fault.SILENT}, "port", OK, "2 of 2"),
    ],
)
async def test_facts_from_dns(
    changes: dict[str, Records | Fault], check: str, level: Level, words: str
) -> None:
    found, _ = await findings(zone(**changes), timeout_s=1.0)
    assert found[check].level is level, found[check]
    assert words in f"{found[check].said} {found[check].advice}"


@pytest.mark.parametrize(
    ("script", "check", "level", "words"),
    [
        (
            Script(banner="554 5.7.1 blocked using rbl.test"),
            "greeting",
            FAIL,
            "ip_blocked at BANNER",
        ),
        (Script(on={"EHLO": "550 5.7.1 invalid HELO", "HELO": "550 no"}), "greeting", None, "EHLO"),
        (Script(banner=f"220 mx ready at {SHOWN_TIME.format(0)}"), "clock", WARN, "40 s ahead"),
        (Script(banner="220 mx ready at Thu, 28 May 2026 22:26:40 +0000"), "clock", FAIL, "behind"),
        (Script(banner="220 mx ready at Thu, 41 May 2026 22:26:40 +0000"), "clock", FAIL, "files"),
        (Script(banner=HANG), "greeting", WARN, "timed_out at BANNER"),
        (Script(banner=CLOSE), "greeting", WARN, "dropped at BANNER"),
    ],
)
async def test_facts_from_mail_hosts(
    script: Script, check: str, level: Level | None, words: str
) -> None:
    found, _ = await findings(hosts={**HOSTS, OUTLOOK: script}, timeout_s=2.0)
    assert level in (None, found[check].level), found[check]
    assert words in f"{found[check].said} {found[check].advice}"


async def test_no_mail_host_can_be_reached() -> None:
    hosts = {"127.0.0.9": Script()}
    found, _ = await findings(hosts=hosts)
    assert found["port"].level is FAIL
    assert "open outbound port" in found["port"].advice
    assert found["address"].about == US  # the source address


async def test_no_dns_server_answers() -> None:
    silent: World = dict.fromkeys(zone(), Fault.REFUSED)
    found, commands = await findings(silent)
    assert found["dns"].level is FAIL
    assert found["outside"].level is WARN
    assert {"helo", "clock", "database", "listen"} <= set(found)
    assert not commands


async def test_a_resolver_with_false_answers() -> None:
    rng = random.Random(1)  # as the doctor's here
    made_up = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(20))
    found, _ = await findings({**zone(), f"{made_up}.com": {"A": ["198.51.100.1"]}})
    assert found["dns"].level is FAIL
    assert "198.51.100.1" in found["dns"].said


async def test_private_mail_hosts_are_not_dialled_unless_allowed() -> None:
    found, commands = await findings(engine={"allow_private_networks": False})
    assert found["port"].level is FAIL
    assert "not public" in found["port"].said
    assert found["address"].level is WARN
    assert found["spf"].level is WARN
    assert not commands


async def test_a_given_address() -> None:
    found, _ = await findings(ip="2001:db8::7")
    assert found["address"].about == "2001:db8::7"
    assert found["spf"].level is FAIL
    assert "ip6:2001:db8::7" in found["spf"].advice
    assert "block-list" not in found  # the list has no IPv6 entries


async def test_the_null_sender_is_judged_by_helo() -> None:
    found, _ = await findings(engine={"mail_from": ""})
    assert found["mail-from"].level is OK
    assert found["spf"].about == "probe.us.test"
    assert found["spf"].level is WARN


# -- the machine -------------------------------------------------------------------------


async def test_a_port_in_use_by_another_program() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found, _ = await findings(server={"port": taken.getsockname()[1]}, timeout_s=3.0)
    assert found["listen"].level is FAIL


@pytest.mark.parametrize("exists", [False, True])
async def test_a_writable_database(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "v.db"
    if exists:
        sqlite3.connect(path).close()
        path.touch()
    fact = await inspect_database(f"sqlite:///{path}")
    assert (fact.exists, fact.error, fact.is_locked) == (exists, "", False)
    assert path.exists() is exists
    assert fact.free_bytes


@pytest.mark.parametrize(
    ("statement", "level", "words"),
    [
        (None, OK, "no refusals are counted yet: there is no database"),
        ("CREATE TABLE other (x)", OK, "no server of this version has used the database"),
        ("", OK, "no mail host refused us in the last 7 days"),
        (
            "INSERT INTO egress_refusals VALUES"  # 30 hours before NOW
            " ('default', 'a.test', 'rdns_required', '', 494414, 5,"
            " 1779890000, 1779892000, 'mx.a.test', '')",
            WARN,
            "a.test refused us 5 times in 7 days, not in the last 24 hours: our address has no",
        ),
        (
            "INSERT INTO egress_refusals VALUES"
            " ('default', 'a.test', 'a meaning of the future', '', 494444, 5, 1, 2, '', '')",
            OK,
            "no mail host refused us",
        ),
        ("DROP TABLE egress_refusals", OK, "no server of this version"),
        ("ALTER TABLE egress_refusals RENAME host TO guest", WARN, "could not be read"),
    ],
)
async def test_refusals_from_the_database(
    tmp_path: Path, statement: str | None, level: Level, words: str
) -> None:
    path = tmp_path / "v.db"
    url = f"sqlite:///{path}"
    if statement is not None:
        if not statement.startswith("CREATE"):
            async with open_store(url):
                pass
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
    before = os.listdir(tmp_path)
    (finding,) = judge_refusals(await inspect_refusals(url, NOW))
    assert finding.level is level
    assert words in finding.said
    assert os.listdir(tmp_path) == before


async def test_databases_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database at all, however long it is\n" * 30)
    for name, words in (("text.db", "not a database"), ("gone/v.db", "no such file")):
        fact = await inspect_database(f"sqlite:///{tmp_path / name}")
        assert words in fact.error


async def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    async with open_store(url):
        pass
    assert judge.database(await inspect_database(url)).level is OK
    with contextlib.closing(sqlite3.connect(tmp_path / "v.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9001'")
        connection.commit()
    finding = judge.database(await inspect_database(url))
    assert finding.level is FAIL
    assert "newer version of Veriplex (its tables are at 9001)" in finding.said


async def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        fact = await inspect_database(f"sqlite:///{path}", busy_s=0.01)
        other.execute("ROLLBACK")
    other.close()
    assert (fact.is_locked, fact.error) == (True, "")


@pytest.mark.postgres
async def test_a_database_on_a_server(postgres_server: PostgresServer) -> None:
    url = postgres_server.empty_database()
    assert "tables will be created" in judge.database(await inspect_database(url)).said
    async with open_store(url):
        pass
    assert judge.database(await inspect_database(url)).said == "answers"
    gone = await inspect_database("postgresql://me@127.0.0.1:1/db")
    assert judge.database(gone).level is FAIL
    assert gone.error == "the server cannot be reached"


@pytest.mark.parametrize(
    ("banner", "unix_time"),
    [
        ("< 220 mx.a.test ESMTP Exim 4.96 Thu, 28 May 2026 20:26:40 +0000", NOW),
        ("< 220 x Microsoft ESMTP MAIL Service ready at Thu, 28 May 2026 22:26:40 +0200", NOW),
        ("< 220 x 28 May 2026 20:26:40 GMT ready", NOW),
        ("< 220 x Thu, 28 May 2026 20:26:40", None),
        ("< 220 x Thu, 28 Foo 2026 20:26:40 +0000", None),
        ("< 220 x Thu, 99 May 2026 20:26:40 +0000", None),
        ("< 220 mx.google.com ESMTP abc - gsmtp", None),
    ],
)
def test_banner_time(banner: str, unix_time: float | None) -> None:
    assert banner_time(banner) == unix_time


@pytest.mark.parametrize(
    ("greeting", "ip"),
    [
        ("< 250 mx.google.com at your service, [203.0.113.7]", "203.0.113.7"),
        ("< 250 x Hello probe.us.test [IPv6:2001:db8::7], pleased", "2001:db8::7"),
        ("< 250 x Hello probe (203.0.113.7)", "203.0.113.7"),
        ("< 250 x [192.0.2.1] Hello [203.0.113.7]", "203.0.113.7"),
        ("< 250 x [not.an.ip] [....]", ""),
        ("< 250 x Hello", ""),
    ],
)
def test_our_address_in_the_reply_to_ehlo(greeting: str, ip: str) -> None:
    assert our_ip_in_greeting(greeting, "192.0.2.1") == ip


# -- by each egress ----------------------------------------------------------------------


async def by_egress(
    *egresses: dict[str, Any], egress: str = "", **changes: Any
) -> dict[tuple[str, str], Finding]:
    """The findings by egress and check, where mail hosts show the client its address."""
    hosts = {
        GMAIL: Script(
            by_peer={
                ip: Script(on={"EHLO": f"250 mx.gmail.com at your service, [{ip}]"})
                for ip in ("127.0.1.1", "127.0.1.2")
            }
        ),
        OUTLOOK: Script(),
        YAHOO: Script(),
    }
    records = zone(
        **{
            "one__us__test": {"A": ["127.0.1.1"]},
            "1__1__0__127__in-addr__arpa": {"PTR": ["one.us.test."]},
            "us__test": {
                "MX": ["10 mail.us.test."],
                "TXT": ['"v=spf1 ip4:127.0.0.1 ip4:127.0.1.1 -all"'],
            },
            "2__1__0__127__rbl__test": {"A": ["127.0.0.2"]},
        }
    )
    async with fake_dns(records) as dns, fake_smtp(hosts) as smtp:
        tree = {
            "storage": {"url": "sqlite:///:memory:"},
            "server": {"port": 0},
            "engine": {
                "helo": "probe.us.test",
                "mail_from": "probe@us.test",
                "dns_servers": [dns.address],
                "smtp_port": smtp.port,
                "allow_private_networks": True,
                "connect_timeout_s": 1.0,
            },
            "egress": egresses,
        }
        found = await examine(
            Settings.model_validate(tree),
            egress=egress,
            block_lists=[RBL],
            timeout_s=5.0,
            rng=random.Random(1),
            clock=lambda: NOW,
            **changes,
        )
    return {(finding.egress, finding.check): finding for finding in found}


async def test_each_egress_is_examined() -> None:
    async with socks_server(Socks("ann", "pw", source="127.0.1.2")) as socks:
        found = await by_egress(
            {"name": "good", "source_address": "127.0.1.1", "helo": "one.us.test"},
            {"name": "listed", "proxy": socks.url("ann", "pw")},
            {"name": "locked", "proxy": socks.url("ann", "wrong")},
            {
                "name": "far",
                "proxy": f"socks5://127.0.0.1:{socks.port}",
                "public_address": "127.0.1.1",
            },
        )
    own = ("egress", "port", "address", "helo", "helo-address", "ptr", "mail-from", "spf")
    levels = {check: found["good", check].level for check in (*own, "block-list")}
    assert set(levels.values()) == {OK}
    assert found["good", "address"].about == "127.0.1.1"
    assert found["listed", "address"].about == "127.0.1.2"
    assert found["listed", "block-list"].level is FAIL
    assert found["listed", "ptr"].level is FAIL
    assert found["listed", "spf"].level is FAIL
    assert found["locked", "egress"].level is FAIL
    assert "authentication failure" in found["locked", "egress"].said
    assert "wrong" not in repr(found)
    assert found["locked", "port"].level is FAIL
    assert found["far", "address"].said == "given in the settings"
    assert found["far", "ptr"].advice.startswith("Set helo of this egress to one.us.test")
    assert ("", "refused") in found
    assert requests_are_addresses(socks)


def requests_are_addresses(socks: Socks) -> bool:
    return socks.names == [] and {host for host, _ in socks.requests} == {GMAIL, OUTLOOK, YAHOO}


async def test_one_egress_can_be_examined_alone() -> None:
    good = {"name": "good", "source_address": "127.0.1.1", "operators": ["nobody.test"]}
    found = await by_egress(good, {"name": "other"}, egress="good")
    assert found["good", "port"].level is OK
    assert {egress for egress, _ in found} == {"good", ""}
    with pytest.raises(UnknownEgress, match="no egress is named 'god'; did you mean good"):
        await by_egress(good, egress="god")
