"""The names of people in results of batches, which are guessed when a result is shown.

A guess takes longer than everything else that is done for an address of a long batch, and most
dialects never show it.
"""

from __future__ import annotations

from dataclasses import replace

from engine.address import people
from engine.model import Verification


def with_guessed_person(v: Verification) -> Verification:
    """The same result, with a guess at the person if the engine made none."""
    if v.evidence.person is not None or v.source != "local" or not v.address.valid:
        return v
    person = people.guess_person(v.address.local)
    return v if person is None else replace(v, evidence=replace(v.evidence, person=person))
