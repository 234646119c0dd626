"""The vendor's words for our verdicts and reasons."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import Reason, Verdict, Verification

RESULTS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {},
    Verdict.RISKY: {
        Reason.CATCH_ALL: "accept-all",
        # seen live: addresses of disposable domains are called undeliverable
        Reason.DISPOSABLE: "undeliverable",
        # accept-all is the vendor's only word for risky; mail to a full mailbox bounces
        Reason.MAILBOX_FULL: "undeliverable",
    },
    Verdict.UNKNOWN: {},
}

FALLBACK_RESULTS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "deliverable",
    Verdict.UNDELIVERABLE: "undeliverable",
    # of low quality: the server accepted it, yet `deliverable` would promise too much
    Verdict.RISKY: "unknown",
    Verdict.UNKNOWN: "unknown",
}

RESULT_MESSAGES: Mapping[str, str] = {
    "deliverable": "This address can receive emails.",
    # only the first is documented; the others are ours
    "undeliverable": "This address cannot receive emails.",
    "accept-all": "The domain accepts emails for any address.",
    "unknown": "Unable to verify this address.",
}

ACCEPT_ALL_VALUES: Mapping[bool | None, int] = {True: 1, False: 0, None: 2}
"""The page names no values. A client takes 1 for a catch-all, and the sample shows 2 for a
deliverable address, hence "not probed or undetermined"."""


def result_word(v: Verification) -> str:
    # a proven catch-all is accept-all, also if something else is wrong with the address
    reason = Reason.CATCH_ALL if v.evidence.catch_all else v.reason
    return RESULTS[v.verdict].get(reason, FALLBACK_RESULTS[v.verdict])
