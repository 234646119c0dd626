"""The vendor's words for our verdicts and reasons, and its score ranges."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.jobs import JobState
from engine.model import Reason, Verdict, Verification

TIERS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "deliverable",
    Verdict.RISKY: "risky",
    Verdict.UNDELIVERABLE: "undeliverable",
    Verdict.UNKNOWN: "unknown",
}

RESULTS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.RISKY: {Reason.CATCH_ALL: "catch_all"},
    Verdict.UNDELIVERABLE: {},
    Verdict.UNKNOWN: {},
}

FALLBACK_RESULTS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "ok",
    Verdict.RISKY: "risky",
    Verdict.UNDELIVERABLE: "invalid",
    Verdict.UNKNOWN: "unknown",
}

LABELS: Mapping[str, str] = {
    "ok": "OK",
    # only the first is documented
    "risky": "Risky",
    "catch_all": "Catch-All",
    "invalid": "Invalid",
    "unknown": "Unknown",
}
"""`tierLabel`, by result."""

SCORES: Mapping[Verdict, tuple[int, int]] = {
    Verdict.DELIVERABLE: (80, 100),
    Verdict.RISKY: (40, 79),
    Verdict.UNDELIVERABLE: (0, 39),
    # "varies", but never the score of a deliverable address
    Verdict.UNKNOWN: (0, 79),
}
"""Lowest and highest score of each tier."""

STATUSES: Mapping[JobState, str] = {
    # the vendor starts each job by itself, and has no word for one that waits for a start
    JobState.PREPARING: "queued",
    JobState.READY: "queued",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.PAUSED: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    # the only other final state
    JobState.CANCELLED: "failed",
}

PROVIDERS: Mapping[str, str] = {
    "google": "Google Workspace",
    "microsoft": "Microsoft 365",
    "apple": "iCloud",
    "trendmicro": "Trend Micro",
    "mailru": "Mail.ru",
    "gmx": "GMX",
    "ovh": "OVHcloud",
    "improvmx": "ImprovMX",
    "forwardemail": "Forward Email",
    "mailbox.org": "mailbox.org",
    "netease": "NetEase",
    "aliyun": "Alibaba",
    "sfr": "SFR",
    "laposte": "La Poste",
    "wp": "WP",
    "att": "AT&T",
    "godaddy": "GoDaddy",
    "sendgrid": "SendGrid",
}
"""Display names; of any other provider its word, capitalised. The page's sample says "Google
Workspace", its table "Google, Microsoft 365, etc.".
"""

FREE_MAIL_PROVIDERS: Mapping[str, str] = {"google": "Gmail", "microsoft": "Outlook.com"}
"""The name shown for a free-mail domain instead."""


def tier_verdict(v: Verification) -> Verdict:
    """The verdict by the page's table of tiers: a role address is risky, "send with caution", even
    if its server accepts it."""
    if v.verdict is Verdict.DELIVERABLE and v.evidence.role:
        return Verdict.RISKY
    return v.verdict


def tier_word(v: Verification) -> str:
    return TIERS[tier_verdict(v)]


def result_word(v: Verification) -> str:
    verdict = tier_verdict(v)
    return RESULTS[verdict].get(v.reason, FALLBACK_RESULTS[verdict])


def tier_score(v: Verification) -> int:
    """The score, clamped to the range of its tier."""
    lowest, highest = SCORES[tier_verdict(v)]
    return min(max(v.score, lowest), highest)


def provider_name(v: Verification) -> str | None:
    word = v.evidence.provider
    if word is None:
        return None
    if v.evidence.free and word in FREE_MAIL_PROVIDERS:
        return FREE_MAIL_PROVIDERS[word]
    return PROVIDERS.get(word, word.title())
