"""The reply table, checked against 1,500 labelled refusals (`tests/engine/data/README.md`)."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import Meaning, Stage
from engine.smtp.phrases import compile_phrases
from engine.smtp.reply import (
    classify_parts,
    classify_reply,
    enhanced_code,
    fold_text,
    parse_retry_after_s,
)
from engine.smtp.reply_rules import REPLY_RULES


@dataclass(frozen=True, slots=True)
class Labelled:
    meaning: Meaning
    stage: Stage
    source: str
    code: int
    text: str


def _labelled(name: str) -> list[Labelled]:
    rows = []
    for line in (Path(__file__).parents[1] / "data" / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            meaning, stage, source, reply = line.split("\t")
            row = Labelled(Meaning(meaning), Stage(stage), source, int(reply[:3]), reply[4:])
            rows.append(row)
    return rows


CORPUS = _labelled("replies.tsv")
MISREAD = _labelled("misread.tsv")
"""Refusals that the table is known to misclassify; their number shows its limits."""
BY_SOURCE: dict[str, list[Labelled]] = defaultdict(list)
for _row in CORPUS:
    BY_SOURCE[_row.source].append(_row)

CONDEMNS = frozenset(
    {
        Meaning.MAILBOX_NOT_FOUND,
        Meaning.MAILBOX_DISABLED,
        Meaning.MAILBOX_MOVED,
        Meaning.DOMAIN_NOT_SERVED,
        Meaning.SMTPUTF8_UNSUPPORTED,
    }
)
ABOUT_US = frozenset(
    {
        Meaning.IP_BLOCKED,
        Meaning.RDNS_REQUIRED,
        Meaning.SENDER_AUTH_FAILED,
        Meaning.SENDER_REJECTED,
        Meaning.HELO_REJECTED,
        Meaning.THROTTLED,
    }
)


@pytest.mark.parametrize("source", BY_SOURCE)
def test_labelled_replies_are_classified_as_labelled(source: str) -> None:
    classified = {row: classify_reply(row.stage, row.code, row.text) for row in BY_SOURCE[source]}
    wrong = {
        f"{row.code} {row.text}": f"{found.meaning} by {found.rule}, not {row.meaning}"
        for row, found in classified.items()
        if found.meaning is not row.meaning
    }
    assert not wrong


def test_no_refusal_of_us_condemns_the_mailbox() -> None:
    rows = [row for row in CORPUS + MISREAD if row.meaning in ABOUT_US]
    assert len(rows) > 450
    assert not [
        row for row in rows if classify_reply(row.stage, row.code, row.text).meaning in CONDEMNS
    ]


def test_misread_tsv_holds_only_what_is_misclassified() -> None:
    assert not [
        row
        for row in MISREAD
        if classify_reply(row.stage, row.code, row.text).meaning is row.meaning
    ]


def test_every_rule_decides_some_labelled_reply() -> None:
    deciding = {classify_reply(row.stage, row.code, row.text).rule for row in CORPUS}
    assert [rule.name for rule in REPLY_RULES if rule.name not in deciding] == []


def test_rules_have_distinct_names_and_sources() -> None:
    assert len({rule.name for rule in REPLY_RULES}) == len(REPLY_RULES)
    assert all(rule.source for rule in REPLY_RULES)


def test_no_refusal_before_rcpt_is_about_the_mailbox() -> None:
    early = (Stage.BANNER, Stage.EHLO, Stage.MAIL)
    meanings = {
        classify_reply(stage, row.code, row.text).meaning
        for row in CORPUS
        if row.code >= 400
        for stage in early
    }
    mailbox = {meaning for meaning in Meaning if meaning.value.startswith("mailbox_")}
    assert not meanings & (mailbox | {Meaning.ACCEPTED, Meaning.DOMAIN_NOT_SERVED})


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (550, "5.1.1 User unknown", "5.1.1"),
        (550, "5.1.10 Recipient not found", "5.1.10"),
        (550, "#5.1.0 Address rejected.", "5.1.0"),
        (550, "sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        (511, "sorry, no mailbox here (#5.1.1 - chkuser)", "5.1.1"),
        (550, "User unknown", None),
        (550, "IP 5.7.1.100 is on a list", None),
        (550, "5.7.1.100 is on a list", None),
        (452, "Too many recipients from 4.2.2.1", None),
        (550, "4.2.1 of the other class", None),
        (554, "30 Sorry, this mailbox is disabled (554.30).", None),
    ],
)
def test_enhanced_code_stands_where_rfc_2034_or_qmail_put_it(
    code: int, text: str, enhanced: str | None
) -> None:
    assert enhanced_code(code, text) == enhanced


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted, please come back in 3 seconds", 3),
        ("Greylisting in action, please come back in 00:05:00", 300),
        ("try again in 15 minutes", 900),
        ("retry in 120 secs", 120),
        ("please wait 1 hour", 3600),
        ("retry=300", 300),
        ("Too many mails (mail bomb), try again in 1 hour(s) 25 minute(s) and see", 5100),
        ("try again in 2 minutes and 30 seconds", 150),
        ("Recipient address rejected: Greylisted for 5 minutes", 300),
        ("come back in 99999 hours", 86_400),
        ("Greylisted, see http://postgrey.schweikert.ch/help/example.com.html", None),
        ("try again later", None),
    ],
)
def test_a_delay_is_found_in_the_text(text: str, seconds: int | None) -> None:
    assert parse_retry_after_s(fold_text(text)) == seconds
    assert classify_reply(Stage.RCPT, 451, text).retry_after_s == seconds


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org", "spamhaus"),
        ("5.7.1 blocked using bl.spamcop.net", "spamcop"),
        ("Client host blocked using Barracuda Reputation", "barracuda"),
        ("5.7.1 Client host [192.0.2.1] blocked using rbl.example.net; Listed", "rbl.example.net"),
        ("[TSS04] Messages from 192.0.2.1 temporarily deferred", "yahoo"),
        ("part of their network is on our block list (S3150)", "microsoft"),
        ("Your IP is blocked", None),
        (
            "The sending IP (192.0.2.1) is listed on https://spamrl.com/. Please resolve",
            "spamrl.com",
        ),
        ("Connections from mx.example.org (192.0.2.1) are being rejected: poor reputation", None),
        ("INVALID IP FOR SENDING MAIL OF DOMAIN example.org", None),
        (
            "mail from example.org: your host 192.0.2.1 is listed on bl.example.net",
            "bl.example.net",
        ),
    ],
)
def test_the_block_list_is_found_in_the_text(text: str, name: str | None) -> None:
    found = classify_reply(Stage.RCPT, 554, text)
    assert (found.meaning, found.block_list) == (Meaning.IP_BLOCKED, name)


def test_a_full_mailbox_may_also_be_inactive() -> None:
    found = classify_reply(Stage.RCPT, 552, "5.2.2 The account is over quota and inactive. - gsmtp")
    assert (found.meaning, found.inactive) == (Meaning.MAILBOX_FULL, True)


@pytest.mark.parametrize("local", ["disabled", "full", "spam", "no-such-user", "spf", "quota"])
def test_words_of_the_address_do_not_count(local: str) -> None:
    text = f"<{local}@blocked.example>: Recipient address rejected: Rejected"
    assert classify_reply(Stage.RCPT, 550, text).meaning is Meaning.REJECTED_UNRECOGNISED


def test_removing_an_address_keeps_the_word_before_it() -> None:
    assert (
        fold_text("This account is not allowed...someone@example.com")
        == "this account is not allowed"
    )


def test_codes_repeated_on_each_line_are_removed() -> None:
    text = "5.1.1 The email account that you tried to\n5.1.1 reach does not exist. Please try"
    assert (
        fold_text(text, "5.1.1")
        == "the email account that you tried to reach does not exist. please try"
    )


def test_accents_are_removed_and_other_scripts_kept() -> None:
    assert fold_text("Empfänger Użytkownik КОРОБКА найден メールボックス") == (
        "empfanger uzytkownik коробка найден メールボックス"
    )


@given(
    stage=st.sampled_from(Stage),
    code=st.integers(200, 599),
    enhanced=st.none() | st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True),
    text=st.text(max_size=300),
)
@settings(max_examples=200, deadline=None)
def test_every_reply_is_classified(
    stage: Stage, code: int, enhanced: str | None, text: str
) -> None:
    found = classify_parts(stage, code, enhanced, text)
    assert found.rule
    if code >= 400:
        assert found.meaning is not Meaning.ACCEPTED


@pytest.mark.parametrize(
    ("phrase", "matches", "others"),
    [
        ("a b", ["x a b y"], ["a bc", "ba b", "a  b"]),
        ("a/c b", ["a b", "c b"], ["ac b"]),
        ("a [the/my] b", ["a b", "a the b", "a my b"], ["a his b", "athe b", "a the the b"]),
        ("a [the/my]* b", ["a b", "a the my b"], ["a his b"]),
        ("word*", ["words", "wordy"], ["sword"]),
        ("a_b/c", ["a b", "c"], ["a"]),
        ("mail~box", ["mailbox", "mail box", "mail-box"], ["mail  box"]),
        ("a .. b", ["a b", "a x y b", "a, b"], ["b a", "a" + " x" * 40 + " b"]),
        ("a | b", ["a", "b"], ["ab"]),
        ("a b/\n  c\n  d\ne", ["a b d", "a c d", "e"], ["a b", "c d x"]),
        ("don't", ["don't", "dont"], ["do not"]),
        ("信箱 .. 满", ["我的信箱已满了"], ["信箱"]),
        ("ящик* .. удал*", ["ящик удален", "почтового ящика, удалено"], ["удален ящик"]),
        ("нет*/несуществующ* ящик*", ["несуществующий ящик", "нет ящика"], ["нет  ящика"]),
        ("{n} b", ["7 b"], ["n b"]),
        ("# a remark\n  a", ["a"], ["remark"]),
    ],
)
def test_phrases(phrase: str, matches: list[str], others: list[str]) -> None:
    pattern = re.compile(compile_phrases(phrase, n=r"\d"))
    assert [text for text in matches if not pattern.search(text)] == []
    assert [text for text in others if pattern.search(text)] == []


def test_hostile_texts_are_classified_quickly() -> None:
    words = ["user ", "@", "<", "ip is ", "a@b ", "1.2.3.4 ", "listed by list ", "\t"]
    words += ["ящик", "ящикудал", "неизвест", "несуществующ", "用户", "邮箱不", "メールボックス"]
    for code, word in product((450, 550), words):
        started = time.thread_time()
        classify_reply(Stage.RCPT, code, word * (3000 // len(word)))
        assert time.thread_time() - started < 0.1, word
