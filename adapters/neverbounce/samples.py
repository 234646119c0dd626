"""The sandbox's own test addresses: two that the vendor documents, and ours for its results."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.problems import ProblemKind
from adapters.contract.samples import Sample
from engine.model import Address, Meaning, Reason, Verdict

VALID = Sample(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Meaning.ACCEPTED)
INVALID = Sample(Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND)
SAMPLES: Mapping[str, Sample] = {
    "support@neverbounce.com": VALID,
    "invalid@neverbounce.com": INVALID,
    "valid@example.com": VALID,
    "invalid@example.com": INVALID,
    "catchall@example.com": Sample(
        Verdict.RISKY, Reason.CATCH_ALL, Meaning.ACCEPTED, {"catch_all": True}
    ),
    "badsyntax@example.com": Sample(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
    "baddns@example.com": Sample(Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN, domain_exists=False),
    "tempdns@example.com": Sample(Verdict.UNKNOWN, Reason.DNS_ERROR),
    "noconnect@example.com": Sample(Verdict.UNKNOWN, Reason.NO_CONNECT, Meaning.UNREACHABLE),
}
"""The first two are the vendor's. Further words of it, such as `disposable` and `typo`, are among
the magic addresses of all dialects."""


def choose_sample(address: Address) -> Sample | ProblemKind | None:
    return SAMPLES.get(address.normalized.lower())
