"""What is known of an address without asking anybody."""

from __future__ import annotations

from typing import Any

from engine.address import lists, people
from engine.model import Address, Evidence


def known(address: Address, **facts: Any) -> Evidence:
    """The evidence of the lists and of the local part; `facts` are fields that go before it."""
    own = {
        "disposable": lists.disposable(address),
        "free": lists.free(address),
        "role": lists.role(address),
        "no_reply": lists.no_reply(address),
        "did_you_mean": lists.suggest(address),
        "person": people.guess(address.local) if address.valid else None,
    }
    return Evidence(**(own | facts))
