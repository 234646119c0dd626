"""The evidence that needs no network: what the lists and the local part of an address show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.address import lists, people
from engine.address.syntax import parse_address
from engine.model import Address, Evidence

EXAMPLES = ("ada.byrn@gmial.com", "jürgen@münchen.de", "ada@mail.mailinator.com")
"""With typos, not in ASCII, below a disposable domain: together they need each list and library."""


def load_lists() -> None:
    """Load what would otherwise be loaded for the first addresses that need it: 0.1 s."""
    for example in EXAMPLES:
        offline_evidence(parse_address(example))


def offline_evidence(address: Address, **facts: Any) -> Evidence:
    """The evidence of the lists and of the local part; `facts` are fields that take precedence."""
    person = people.guess_person(address.local) if address.valid else None
    return Evidence(**(_list_fields(address) | {"person": person} | facts))


def with_list_evidence(address: Address, evidence: Evidence) -> Evidence:
    """`evidence` with the fields that the lists fill."""
    fields = _list_fields(address)
    # Its mail hosts may have shown it already.
    fields["disposable"] = fields["disposable"] or evidence.disposable
    return replace(evidence, **fields)


def _list_fields(address: Address) -> dict[str, Any]:
    return {
        "disposable": lists.is_disposable(address),
        "free": lists.is_free_mail(address),
        "role": lists.is_role_account(address),
        "no_reply": lists.is_no_reply_address(address),
        "did_you_mean": lists.suggest_correction(address),
    }
