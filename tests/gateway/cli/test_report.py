"""The report of `veriplex verify`."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.address.syntax import parse_address
from engine.model import (
    Checks,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Person,
    Reason,
    Smtp,
    Stage,
    Step,
    Verdict,
    Verification,
)
from gateway.cli.report import TerminalPrinter, render_line, render_plain
from gateway.verdicts.in_words import DNS_WORDS
from tests.gateway.cli.test_tables import Terminal


def an_answer(**evidence: object) -> Verification:
    return Verification(
        address=parse_address("ada@example.com"),
        verdict=Verdict.DELIVERABLE,
        reason=Reason.ACCEPTED_EMAIL,
        score=95,
        evidence=replace(Evidence(), **evidence),  # type: ignore[arg-type]
        checks=Checks(),
        verified_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        duration_s=0.5,
    )


def a_full_answer() -> Verification:
    return an_answer(
        role=True,
        did_you_mean="example.org",
        person=Person("Ada", "Lovelace", accuracy=0.87),
        dns=Dns.MX,
        mx=(
            MxHost("mx1.example.com", 10),
            MxHost("mx2.example.com", 20),
            MxHost("mx3.example.com", 30),
        ),
        provider="google",
        spf=True,
        dmarc=False,
        smtp=Smtp(
            Meaning.IP_BLOCKED,
            Stage.RCPT,
            host="mx1.example.com",
            ip="192.0.2.1",
            code=550,
            enhanced="5.7.1",
            text="5.7.1 blocked",
            latency_ms=12,
            tls=True,
            block_list="zen.example",
            retry_after_s=60,
        ),
        mailbox_full=True,
        transcript=(Step(3, "dns", "MX of example.com"), Step(9, "mx1.example.com", "> QUIT")),
    )


def test_the_verbose_report_shows_all_evidence() -> None:
    report = render_plain(a_full_answer(), verbose=True)
    assert report.splitlines() == [
        "address     ada@example.com",
        "verdict     deliverable (accepted_email), score 95 of 100",
        "kind        role account",
        "spelling    did you mean example.org?",
        "owner       perhaps Ada Lovelace (accuracy 0.87)",
        "dns         mail exchangers",
        "               10 mx1.example.com",
        "               20 mx2.example.com",
        "               30 mx3.example.com",
        "provider    google",
        "policies    SPF, no DMARC",
        "smtp        ip blocked at RCPT by mx1.example.com [192.0.2.1]: 550 5.7.1 blocked;"
        " after 12 ms; over TLS; named list: zen.example; asks to wait 60 s",
        "catch-all   not known",
        "mailbox     full",
        "checked     2026-01-02 03:04:05 UTC, in 0.50 s",
        "transcript      3 ms  dns              MX of example.com",
        "                9 ms  mx1.example.com  > QUIT",
        "",
    ]


@pytest.mark.parametrize("dns", Dns)
def test_every_dns_status_has_words(dns: Dns) -> None:
    assert DNS_WORDS[dns] in render_plain(an_answer(dns=dns), verbose=True)


@given(st.text(max_size=60), st.text(max_size=60))
def test_texts_of_servers_cannot_control_the_terminal(text: str, host: str) -> None:
    v = an_answer(transcript=(Step(1, host, text),), mx=(MxHost(host, 1),), dns=Dns.MX)
    assert all(line.isprintable() for line in render_plain(v).split("\n"))
    assert render_line(replace(v, address=parse_address(text))).isprintable()
    screen = Terminal()
    printer = TerminalPrinter(screen, verbose=True)
    printer.show(v)
    printer.show_line(replace(v, verdict=Verdict.UNKNOWN, address=parse_address(text)))
    assert all(line.isprintable() for line in without_colours(screen).split("\n"))


def without_colours(screen: Terminal) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())


def test_the_short_report_shows_what_decides() -> None:
    assert render_plain(a_full_answer()).splitlines() == [
        "address     ada@example.com",
        "verdict     deliverable (accepted_email), score 95 of 100",
        "kind        role account",
        "spelling    did you mean example.org?",
        "owner       perhaps Ada Lovelace (accuracy 0.87)",
        "dns         mail exchangers: mx1.example.com, mx2.example.com and 1 more",
        "provider    google",
        "smtp        ip blocked at RCPT by mx1.example.com [192.0.2.1]: 550 5.7.1 blocked;"
        " after 12 ms; over TLS; named list: zen.example; asks to wait 60 s",
        "mailbox     full",
        "",
    ]


def test_the_report_of_a_malformed_address_says_what_is_wrong() -> None:
    v = replace(an_answer(), address=parse_address("ada@"), verdict=Verdict.UNDELIVERABLE)
    assert render_plain(v).splitlines()[2:] == [
        "syntax      There is nothing after the @ sign; write the address as name@domain.",
        "",
    ]


def test_an_unknown_verdict_is_explained_by_its_transcript() -> None:
    v = replace(a_full_answer(), verdict=Verdict.UNKNOWN)
    assert "transcript      3 ms  dns " in render_plain(v)
    screen = Terminal()
    TerminalPrinter(screen).show(v)
    assert "  mx1.example.com\n      9 ms > QUIT\n" in without_colours(screen)


@pytest.mark.parametrize(
    ("meaning", "stage", "words"),
    [
        (Meaning.UNREACHABLE, Stage.CONNECT, "unreachable at CONNECT to mx.example.com"),
        (Meaning.TIMED_OUT, Stage.BANNER, "timed out at BANNER with mx.example.com"),
        (Meaning.DROPPED, Stage.RCPT, "dropped at RCPT by mx.example.com"),
    ],
)
def test_a_host_is_not_blamed_for_our_attempt(meaning: Meaning, stage: Stage, words: str) -> None:
    assert words in render_plain(an_answer(smtp=Smtp(meaning, stage, host="mx.example.com")))


def test_one_of_several_has_a_line() -> None:
    v = an_answer()
    assert render_line(v) == "deliverable     95  ada@example.com  accepted_email"
    malformed = render_line(replace(v, address=parse_address("ada@")))
    assert "  ada@  accepted_email: There is nothing after the @ sign; write" in malformed
    typo = replace(v, evidence=Evidence(did_you_mean="example.org"))
    assert render_line(typo).endswith("accepted_email: did you mean example.org?")
    smtp = Smtp(Meaning.MAILBOX_NOT_FOUND, Stage.RCPT, code=550, text="5.1.1 no " + "x" * 200)
    refused = replace(v, verdict=Verdict.UNDELIVERABLE, evidence=Evidence(smtp=smtp))
    assert render_line(refused).startswith("undeliverable   95  ada@example.com")
    assert render_line(refused).endswith("x…")


@pytest.mark.parametrize("columns", [42, 80, 200])
def test_nothing_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    steps = (Step(78, "mx1.example.com", f"< 250 {'EXTENSION ' * 30}"),)
    v = replace(a_full_answer(), verdict=Verdict.UNKNOWN)
    v = replace(v, evidence=replace(v.evidence, transcript=steps))
    screen = Terminal()
    printer = TerminalPrinter(screen)
    printer.show(v)
    printer.show_line(v)
    lines = without_colours(screen).split("\n")
    assert max(map(len, lines)) <= columns
    wrapped = [line for line in lines if line.lstrip().startswith("EXTENSION")]
    assert all(line.startswith(" " * 11) for line in wrapped)
    assert bool(wrapped) == (columns < 200) or len(wrapped) == 1
