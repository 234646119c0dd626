"""The sandbox's own test addresses: the vendor documents two."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.problems import ProblemKind
from adapters.contract.samples import Sample
from engine.model import Address, Meaning, Reason, Verdict

DOCUMENTED: Mapping[str, Sample] = {
    "support@neverbounce.com": Sample(Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL, Meaning.ACCEPTED),
    "invalid@neverbounce.com": Sample(
        Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND
    ),
}


def choose_sample(address: Address) -> Sample | ProblemKind | None:
    return DOCUMENTED.get(address.normalized.lower())
