"""Remedies for refusals: by block list, by operator, by meaning.

The pages are the lists' and operators' own, for the operator of this machine; the program does not
open them. A name is one of `engine.smtp.reply_rules.BLOCK_LISTS` or `engine.smtp.providers`.
"""

from __future__ import annotations

from engine.model import Meaning
from gateway.doctor.block_lists import BLOCK_LISTS

REMOVAL_PAGES: dict[str, str] = {
    "spamhaus": "https://check.spamhaus.org/",
    "cbl": "https://check.spamhaus.org/",  # it became part of Spamhaus' XBL
    "spamcop": "https://www.spamcop.net/bl.shtml",
    "barracuda": "https://www.barracudacentral.org/rbl/removal-request",
    "abusix": "https://lookup.abusix.com/",
    "cloudmark": "https://csi.cloudmark.com/en/reset/",
    "proofpoint": "https://ipcheck.proofpoint.com/",
    "invaluement": "https://www.invaluement.com/lookup/",
    "senderscore": "https://senderscore.org/",
    "talos": "https://talosintelligence.com/reputation_center",
    "cisco": "https://talosintelligence.com/reputation_center",
    "uceprotect": "https://www.uceprotect.net/en/rblcheck.php",
    "spamrats": "https://www.spamrats.com/removal.php",
    "mailspike": "https://mailspike.org/iplookup.html",
    "psbl": "https://psbl.org/",
    "backscatterer": "https://www.backscatterer.org/",
    "spfbl": "https://spfbl.net/en/delist/",
    "surbl": "https://surbl.org/surbl-analysis",
    "uribl": "https://lookup.uribl.com/",
    "google": "https://support.google.com/a/answer/81126",
    "microsoft": "https://sender.office.com/",
    "yahoo": "https://senders.yahooinc.com/",
    "aol": "https://senders.yahooinc.com/",
    "apple": "https://support.apple.com/102322",
    "gmx": "https://postmaster.gmx.net/",
    "mailru": "https://postmaster.mail.ru/",
    "yandex": "https://postmaster.yandex.com/",
    **{entry.zone: entry.remedy for entry in BLOCK_LISTS if entry.remedy},
}

CLOSED_LISTS: dict[str, str] = {"sorbs": "June 2024", "nixspam": "January 2025"}
"""Lists that were closed; a host that still queries them refuses all clients, or none."""

_END_CAUSE = "Fix what got us listed, or it returns; then"

ADVICE: dict[Meaning, str] = {
    Meaning.IP_BLOCKED: "Request removal of our address where the reply says, or use another.",
    Meaning.RDNS_REQUIRED: "Have a PTR record set for our address that names engine.helo.",
    Meaning.HELO_REJECTED: "Set engine.helo to a name that resolves to our address.",
    Meaning.SENDER_AUTH_FAILED: "Publish an SPF record that allows our address.",
    Meaning.SENDER_REJECTED: "Set engine.mail_from to an address that exists and accepts mail.",
    Meaning.POLICY: "Read the reply: such rules are the host's own, and its postmaster knows them.",
    Meaning.AUTH_REQUIRED: "Nothing can be fixed here: such hosts serve only their own users.",
    Meaning.TLS_REQUIRED: "Nothing can be fixed here: their TLS could not be used.",
    Meaning.THROTTLED: "Try again later; lower engine.connections_per_host if it persists.",
}
"""Remedies for refusals that name no list."""


def removal_advice(name: str) -> str:
    """The remedy for refusals that name this list, or an operator's own list."""
    if name in CLOSED_LISTS:
        return (
            f"That list was closed in {CLOSED_LISTS[name]}: nothing can be removed from it."
            " Tell the host's postmaster."
        )
    where = f"at {REMOVAL_PAGES[name]}" if name in REMOVAL_PAGES else "where the reply says"
    return f"{_END_CAUSE} request removal {where}, or use another address."
