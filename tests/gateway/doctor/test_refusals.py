"""Findings about refusals, cause by cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.model import Meaning
from engine.smtp.meanings import REFUSAL_WEIGHTS
from engine.smtp.providers import PROVIDERS
from engine.smtp.reply_rules import BLOCK_LIST_PATTERNS
from gateway.doctor.facts import RefusalHistory
from gateway.doctor.finding import Level
from gateway.doctor.refusals import MAX_CAUSES, judge_refusals, refuser_lines
from gateway.doctor.remedies import ADVICE, CLOSED_LISTS, REMOVAL_PAGES, removal_advice
from gateway.reputation import RecentRefusals

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
ONE = RecentRefusals(
    egress="default",
    operator="a.test",
    meaning=Meaning.IP_BLOCKED,
    block_list=None,
    day=4,
    week=9,
    since=NOW - timedelta(days=3),
    last_at=NOW - timedelta(minutes=3),
    host="mx.a.test",
    text="5.7.1 go away",
    paused_s=0,
    paused_hosts=0,
)
PAGE_IN_THE_REPLY = {"trendmicro", "mcafee", "symantec", "sophos", "hostkarma", "att"}
"""Lists whose pages move too often to be listed."""


@pytest.mark.parametrize(
    ("changes", "level", "about", "words"),
    [
        ({}, FAIL, "ip_blocked", "a.test refused us 4 times in 24 hours, 9 in 7 days: our address"),
        ({"day": 3}, WARN, "ip_blocked", "3 times in 24 hours, 9 in 7 days"),
        ({"day": 1, "week": 1, "paused_s": 9}, FAIL, "ip_blocked", "refused us once in 24 hours: "),
        ({"day": 0, "week": 1}, WARN, "ip_blocked", "once in 7 days, not in the last 24 hours"),
        ({"block_list": "cbl"}, FAIL, "cbl", "at https://check.spamhaus.org/, or use another"),
        ({"block_list": "sorbs"}, FAIL, "sorbs", "That list was closed in June 2024"),
        ({"block_list": "rbl.test"}, FAIL, "rbl.test", "removal where the reply says"),
        ({"block_list": "psbl.surriel.com"}, FAIL, "psbl.surriel.com", "at https://psbl.org/"),
        ({"operator": "google"}, FAIL, "google", "it blocks our address"),
        ({"operator": "google"}, FAIL, "google", "https://support.google.com/"),
        ({"meaning": Meaning.RDNS_REQUIRED}, FAIL, "rdns_required", "PTR record"),
        ({"meaning": Meaning.HELO_REJECTED}, FAIL, "helo_rejected", "Set engine.helo"),
        ({"meaning": Meaning.SENDER_REJECTED}, FAIL, "sender_rejected", "Set engine.mail_from"),
        (
            {"meaning": Meaning.SENDER_AUTH_FAILED},
            FAIL,
            "sender_auth_failed",
            "Publish an SPF record",
        ),
        ({"meaning": Meaning.POLICY, "day": 99}, WARN, "policy", "its postmaster"),
        ({"meaning": Meaning.THROTTLED, "day": 99}, WARN, "throttled", "connections_per_host"),
        ({"operator": "google", "meaning": Meaning.THROTTLED}, WARN, "throttled", "rate limited"),
    ],
)
def test_refusals_by_one_operator(
    changes: dict[str, object], level: Level, about: str, words: str
) -> None:
    one = replace(ONE, **changes)  # type: ignore[arg-type]
    (finding,) = judge_refusals(RefusalHistory([one]))
    assert (finding.check, finding.about, finding.level) == ("refused", about, level)
    assert words in f"{finding.said} {finding.advice}"
    assert finding.advice.endswith(".")
    assert finding.refusals == (one,)


def test_operators_with_one_cause_are_one_finding_and_the_worst_cause_comes_first() -> None:
    many = [
        replace(ONE, operator="often.test", meaning=Meaning.POLICY, day=50, week=50),
        *(
            replace(ONE, operator=f"{n}.test", block_list="spamhaus", day=1, week=2)
            for n in "abcde"
        ),
        replace(ONE, operator="c.test", meaning=Meaning.RDNS_REQUIRED, day=0, week=60),
    ]
    found = judge_refusals(RefusalHistory(many))
    assert [(f.level, f.about) for f in found] == [
        (FAIL, "spamhaus"),
        (WARN, "policy"),
        (WARN, "rdns_required"),
    ]
    assert "5 operators refused us 5 times in 24 hours, 10 in 7 days" in found[0].said
    assert [one.operator for one in found[0].refusals] == [f"{n}.test" for n in "abcde"]


def test_causes_are_bounded() -> None:
    many = [replace(ONE, block_list=f"rbl{n}.test") for n in range(MAX_CAUSES + 3)]
    found = judge_refusals(RefusalHistory(many))
    assert len(found) == MAX_CAUSES + 1
    assert found[-1].said == "3 more causes"


@pytest.mark.parametrize(
    ("fact", "level", "words"),
    [
        (RefusalHistory(), OK, "no mail host refused us in the last 7 days"),
        (RefusalHistory(not_kept_because="there is no database"), OK, "yet: there is no database"),
        (RefusalHistory(error="v.db: is damaged"), WARN, "is damaged"),
    ],
)
def test_no_refusals(fact: RefusalHistory, level: Level, words: str) -> None:
    (finding,) = judge_refusals(fact)
    assert finding.level is level
    assert words in finding.said
    assert bool(finding.advice) is (level is WARN)


@pytest.mark.parametrize(
    ("changes", "alone", "first"),
    [
        (
            {},
            False,
            "a.test 4 times in 24 hours, 9 in 7 days; since 2026-01-05 12:00 UTC, last 3 min ago",
        ),
        ({}, True, "since 2026-01-05 12:00 UTC, last 3 min ago"),
        ({"since": ONE.last_at, "day": 1, "week": 1}, True, "3 min ago"),
        ({"since": ONE.last_at, "paused_s": 40}, True, "3 min ago; paused for 40 s more"),
        (
            {"since": ONE.last_at, "paused_s": 130, "paused_hosts": 1},
            True,
            "3 min ago; one host paused for 3 min more",
        ),
        (
            {"since": ONE.last_at, "paused_s": 3_600, "paused_hosts": 7},
            True,
            "3 min ago; 7 hosts paused for 60 min more",
        ),
        ({"since": NOW, "last_at": NOW}, True, "just now"),
        ({"since": NOW - timedelta(days=6), "last_at": NOW - timedelta(days=6)}, True, "6 d ago"),
    ],
)
def test_the_lines_about_one_operator(changes: dict[str, object], alone: bool, first: str) -> None:
    one = replace(ONE, **changes)  # type: ignore[arg-type]
    lines = refuser_lines(one, NOW.timestamp(), is_only=alone)
    assert lines == [first, "  mx.a.test: 5.7.1 go away"]
    assert refuser_lines(replace(one, text=None), NOW.timestamp(), is_only=alone) == [first]


def test_every_list_and_every_meaning_has_a_remedy() -> None:
    assert set(ADVICE) == set(REFUSAL_WEIGHTS)
    named = {name for name, _ in BLOCK_LIST_PATTERNS}
    assert named - REMOVAL_PAGES.keys() - CLOSED_LISTS.keys() == PAGE_IN_THE_REPLY
    known = named | {provider.name for provider in PROVIDERS}
    assert {name for name in REMOVAL_PAGES if "." not in name} <= known
    assert all(removal_advice(name).endswith(".") for name in named)
