"""What is known of an address without asking anybody."""

from __future__ import annotations

from typing import Any

from engine.address import lists, people
from engine.model import Address, Evidence


def offline_evidence(address: Address, **facts: Any) -> Evidence:
    """The evidence of the lists and of the local part; `facts` are fields that go before it."""
    own = {
        "disposable": lists.is_disposable(address),
        "free": lists.is_free_mail(address),
        "role": lists.is_role_account(address),
        "no_reply": lists.is_no_reply_address(address),
        "did_you_mean": lists.suggest_correction(address),
        "person": people.guess_person(address.local) if address.valid else None,
    }
    return Evidence(**(own | facts))
