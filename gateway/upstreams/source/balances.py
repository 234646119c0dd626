"""Reads the balances of upstreams periodically, which costs nothing at any vendor.

An account without credits is thus known before a request is sent to it, and one that was topped up
is soon used again.
"""

from __future__ import annotations

import asyncio
import logging

from adapters.contract.upstream import Fault, FaultKind
from gateway.upstreams.source.upstream import UpstreamSource

log = logging.getLogger(__name__)

BALANCE_TIMEOUT_S = 10.0


async def watch_balances(source: UpstreamSource, every_s: float) -> None:
    """Read the balance of every key periodically, until cancelled."""
    while True:
        await read_balances(source)
        await asyncio.sleep(every_s)


async def read_balances(source: UpstreamSource) -> None:
    """Read the balance of every key once, and record it in the key ring.

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
        balance = await source.fetch_balance(key, BALANCE_TIMEOUT_S)
        if isinstance(balance, int):
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
