"""Asks an engine about addresses as text, and puts the results of a list in order."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from engine.address.syntax import parse_address
from engine.model import Address, Checks, Verification
from engine.probe import ProbeEngine


async def verify(
    engine: ProbeEngine, text: str, checks: Checks = Checks(), deadline_s: float | None = None
) -> Verification:
    return await engine.verify(parse_address(text), checks, deadline_s)


async def verify_list(
    engine: ProbeEngine, texts: Sequence[str], checks: Checks = Checks()
) -> list[Verification]:
    """The results in the order asked; fails if an address has more or fewer than one."""
    addresses = [parse_address(text) for text in texts]
    places: defaultdict[Address, deque[int]] = defaultdict(deque)
    for place, address in enumerate(addresses):
        places[address].append(place)
    found: dict[int, Verification] = {}
    async for address, verification in engine.verify_many(addresses, checks):
        assert verification.address == address
        found[places[address].popleft()] = verification
    assert len(found) == len(texts)
    return [found[place] for place in range(len(texts))]
