"""Reads the balances of upstreams periodically, which costs nothing at any vendor.

An account without credits is thus known before a request is sent to it, and one that was topped up
is soon used again.
"""

from __future__ import annotations

import asyncio
import logging

from adapters.contract.upstream import Fault, FaultKind
from engine.sharing import NO_NOTES, Notes
from gateway.upstreams.source.sharing import ALONE, UpstreamSharing
from gateway.upstreams.source.upstream import UpstreamSource

log = logging.getLogger(__name__)

BALANCE_TIMEOUT_S = 10.0
CLAIMED_PART = 0.9
"""Of the interval: the clocks of the processes that read in turn are not in step."""
UNKNOWN_RETRY_S = 5.0
"""How soon a process looks again for a balance that another one reads."""


async def watch_balances(
    source: UpstreamSource, every_s: float, sharing: UpstreamSharing = ALONE
) -> None:
    """Read the balance of every key periodically, until cancelled.

    One of the processes reads it and tells the others; if they cannot be told, each reads it, as
    many times more seldom as there are.
    """
    while True:
        await read_balances(source, every_s, sharing.notes)
        is_known = all(key.credits is not None or key.dead for key in source.keys.keys)
        pause_s = every_s * sharing.parts()
        await asyncio.sleep(pause_s if is_known else min(pause_s, UNKNOWN_RETRY_S))


async def read_balances(source: UpstreamSource, every_s: float, notes: Notes = NO_NOTES) -> None:
    """Read the balance of every key once, or take it from another process, and record it in the key
    ring.

    A fault of the network says nothing about the key, and no fault opens the circuit: an upstream
    that does not report balances may still verify addresses. Refused keys, and upstreams that
    refuse us altogether, are skipped until their pause is over, so that failed attempts do not add
    up.
    """
    for key in source.keys.keys:
        if source.circuit.is_banned:
            return
        if key.dead:
            continue
        name = f"balance {source.vendor_api.base_url} {key.value}"
        if not await notes.claim(name, every_s * CLAIMED_PART):
            told = await notes.get(name)
            if told is not None and told.lstrip("-").isdigit():
                source.keys.record_balance(key, int(told))
            continue
        balance = await source.fetch_balance(key, BALANCE_TIMEOUT_S)
        if isinstance(balance, int):
            notes.put(name, str(balance), every_s)
            if balance <= 0 and (key.credits is None or key.credits > 0):
                extra = {"source": source.name, "key": key.number}
                log.warning("upstream_key.no_credits", extra=extra)
            source.keys.record_balance(key, balance)
        elif isinstance(balance, Fault) and balance.kind is FaultKind.DEAD_KEY:
            extra = {"source": source.name, "key": key.number, "status": balance.status}
            log.warning("upstream_key.refused", extra=extra)
            source.keys.mark_refused(key)
        elif isinstance(balance, Fault) and balance.kind is FaultKind.BANNED:
            source.report_ban(balance)
