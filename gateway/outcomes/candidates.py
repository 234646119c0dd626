"""What the engine would have to change: replies of mail servers that led to wrong verdicts.

They are candidates for rows of the reply table (`engine.smtp.reply_rules`), and hold nothing of an
address, so that they can be passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.model import Stage, Verdict
from engine.smtp.reply import classify_reply
from gateway.outcomes.records import BounceReply, JudgedReply, OutcomeRecords
from gateway.outcomes.report import share_as_dict
from gateway.outcomes.statistics import Share

UNREADABLE_CODE = 550
"""Stands for a reply code that a bounce did not tell."""


@dataclass(frozen=True, slots=True)
class ReplyCandidate:
    """A reply to RCPT, and how often the verdict that it led to was wrong."""

    reply: str
    verdict: Verdict
    reason: str
    meaning: str
    """As the table reads it now."""
    rule: str
    """The row that does."""
    wrong: Share
    """Undeliverable: of the addresses with this reply, those that got mail. Else all of them, since
    the verdict left open what the outcome shows."""
    bounced: Share


@dataclass(frozen=True, slots=True)
class BounceCandidate:
    """What servers said later about addresses that they had accepted before."""

    reply: str
    meaning: str
    rule: str
    count: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of the answers of the engine; those with most wrong verdicts first."""

    replies: Sequence[ReplyCandidate]
    bounces: Sequence[BounceCandidate]


async def read_candidates(records: OutcomeRecords, limit: int) -> Candidates:
    """So many of each. Raises StoreError."""
    return make_candidates(await records.wrong_replies(limit), await records.missed_bounces(limit))


def make_candidates(replies: Sequence[JudgedReply], bounces: Sequence[BounceReply]) -> Candidates:
    return Candidates([_reply(each) for each in replies], [_bounce(each) for each in bounces])


def _reply(found: JudgedReply) -> ReplyCandidate:
    meaning, rule = _read(found.reply)
    delivered = found.count - found.bounced
    wrong = delivered if found.verdict is Verdict.UNDELIVERABLE else found.count
    return ReplyCandidate(
        reply=found.reply,
        verdict=found.verdict,
        reason=found.reason,
        meaning=meaning,
        rule=rule,
        wrong=Share(wrong, found.count),
        bounced=Share(found.bounced, found.count),
    )


def _bounce(found: BounceReply) -> BounceCandidate:
    reply = f"{found.code} {found.text}".strip()
    meaning, rule = _read(reply)
    return BounceCandidate(reply, meaning, rule, found.count)


def _read(reply: str) -> tuple[str, str]:
    """What the table reads in a reply, and by which row."""
    code, _, text = reply.partition(" ")
    if len(code) == len("550") and code.isascii() and code.isdigit() and code[0] in "45":
        found = classify_reply(Stage.RCPT, int(code), text)
    else:
        found = classify_reply(Stage.RCPT, UNREADABLE_CODE, reply)
    return found.meaning.value, found.rule


def candidates_as_dict(found: Candidates) -> dict[str, Any]:
    """The candidates for programs."""
    return {
        "replies": [
            {
                "reply": each.reply,
                "verdict": each.verdict.value,
                "reason": each.reason,
                "meaning": each.meaning,
                "rule": each.rule,
                "wrong": share_as_dict(each.wrong),
                "bounced": share_as_dict(each.bounced),
            }
            for each in found.replies
        ],
        "bounces": [
            {
                "reply": each.reply,
                "meaning": each.meaning,
                "rule": each.rule,
                "count": each.count,
            }
            for each in found.bounces
        ],
    }
