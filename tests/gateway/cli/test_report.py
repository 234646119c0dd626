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
from gateway.cli.report import DNS_WORDS, PanelPrinter, render_plain
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


def test_the_plain_report_shows_the_evidence() -> None:
    report = render_plain(
        an_answer(
            role=True,
            did_you_mean="example.org",
            person=Person("Ada", "Lovelace", accuracy=0.87),
            dns=Dns.MX,
            mx=(MxHost("mx1.example.com", 10), MxHost("mx2.example.com", 20)),
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
            transcript=(Step(3, "dns", "MX example.com: mx"), Step(9, "mx1.example.com", "> QUIT")),
        )
    )
    assert report.splitlines() == [
        "address     ada@example.com",
        "verdict     deliverable (accepted_email), score 95 of 100",
        "kind        role account",
        "spelling    did you mean example.org?",
        "owner       perhaps Ada Lovelace (accuracy 0.87)",
        "dns         mail exchangers",
        "               10 mx1.example.com",
        "               20 mx2.example.com",
        "provider    google",
        "policies    SPF, no DMARC",
        "smtp        ip blocked at RCPT by mx1.example.com [192.0.2.1]: 550 5.7.1 blocked;"
        " after 12 ms; over TLS; named list: zen.example; asks to wait 60 s",
        "catch-all   not known",
        "mailbox     full",
        "checked     2026-01-02 03:04:05 UTC, in 0.50 s",
        "transcript      3 ms  dns              MX example.com: mx",
        "                9 ms  mx1.example.com  > QUIT",
        "",
    ]


@pytest.mark.parametrize("dns", Dns)
def test_every_dns_status_has_words(dns: Dns) -> None:
    assert DNS_WORDS[dns] in render_plain(an_answer(dns=dns))


@given(st.text(max_size=60), st.text(max_size=60))
def test_texts_of_servers_cannot_control_the_terminal(text: str, host: str) -> None:
    v = an_answer(transcript=(Step(1, host, text),), mx=(MxHost(host, 1),), dns=Dns.MX)
    assert all(line.isprintable() for line in render_plain(v).split("\n"))
    screen = Terminal()
    PanelPrinter(screen).show(v)
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert all(line.isprintable() for line in without_colours.split("\n"))
