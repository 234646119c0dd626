"""Magic addresses: local parts at example.com that get the answer they name.

The first nine are published by Emailable, the next two are used by the tests of its Ruby client,
and the others cover what no vendor offers. One table serves every dialect. A tag is ignored, so
that `deliverable+7@example.com` is another address with the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adapters.contract.samples import Sample
from engine.model import Address, Meaning, Reason, Verdict

MAGIC_DOMAIN = "example.com"

DELIVERABLE = Sample(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Meaning.ACCEPTED)
UNDELIVERABLE = Sample(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND)
RISKY = Sample(Verdict.RISKY, Reason.LOW_QUALITY, Meaning.ACCEPTED)
ACCEPT_ALL = Sample(Verdict.RISKY, Reason.CATCH_ALL, Meaning.ACCEPTED, {"catch_all": True})
NO_CONNECT = Sample(Verdict.UNKNOWN, Reason.NO_CONNECT, Meaning.UNREACHABLE)
TIMED_OUT = Sample(Verdict.UNKNOWN, Reason.TIMEOUT, Meaning.TIMED_OUT)
DISPOSABLE = Sample(Verdict.RISKY, Reason.DISPOSABLE, Meaning.ACCEPTED, {"disposable": True})
MAILBOX_FULL = Sample(
    Verdict.RISKY, Reason.MAILBOX_FULL, Meaning.MAILBOX_FULL, {"mailbox_full": True}
)
MAILBOX_DISABLED = Sample(
    Verdict.UNDELIVERABLE,
    Reason.REJECTED_EMAIL,
    Meaning.MAILBOX_DISABLED,
    {"mailbox_disabled": True},
)
NO_DOMAIN = Sample(Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, domain_exists=False)

SLOW_LOCAL_PART = "slow"
"""The local part that is always `NOT_READY`, in dialects that have such an answer."""

MAGIC_SAMPLES: Mapping[str, Sample] = {
    "deliverable": DELIVERABLE,
    "undeliverable": UNDELIVERABLE,
    "risky": RISKY,
    "unknown": NO_CONNECT,
    "role": replace(DELIVERABLE, evidence_fields={"role": True}),
    "free": replace(DELIVERABLE, evidence_fields={"free": True}),
    "accept-all": ACCEPT_ALL,
    "disposable": DISPOSABLE,
    SLOW_LOCAL_PART: TIMED_OUT,
    "mailbox-full": MAILBOX_FULL,
    "no-reply": replace(DELIVERABLE, evidence_fields={"no_reply": True}),
    "catch-all": ACCEPT_ALL,
    "spamtrap": replace(RISKY, evidence_fields={"spamtrap": True}),
    "disabled": MAILBOX_DISABLED,
    "invalid-domain": NO_DOMAIN,
    "no-connect": NO_CONNECT,
    "timeout": TIMED_OUT,
    "greylisted": Sample(Verdict.UNKNOWN, Reason.GREYLISTED, Meaning.GREYLISTED),
    "blocked": Sample(Verdict.UNKNOWN, Reason.BLOCKED, Meaning.IP_BLOCKED),
    "unavailable": Sample(Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP, Meaning.TEMPORARY),
    "error": Sample(Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR),
    "typo": replace(DELIVERABLE, evidence_fields={"did_you_mean": "typo@example.org"}),
}
"""By local part, at `MAGIC_DOMAIN`."""


def magic_sample(address: Address) -> Sample | None:
    """The answer that an address names, None if it names none."""
    return MAGIC_SAMPLES.get(address.user.lower()) if address.ascii_domain == MAGIC_DOMAIN else None
