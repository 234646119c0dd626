"""Reading the balances of upstreams now and then, so that an empty account is known before a
question is sent to it, and a filled-up one again soon. Costs nothing at any vendor."""

from __future__ import annotations

import asyncio
import logging

from adapters.contract.upstream import Fault, FaultKind
from gateway.upstreams.source.upstream import UpstreamSource

log = logging.getLogger(__name__)

BALANCE_TIMEOUT_S = 10.0


async def watch_balances(source: UpstreamSource, every_s: float) -> None:
    """Read the balance of every key, again and again, until cancelled."""
    while True:
        await read_balances(source)
        await asyncio.sleep(every_s)


async def read_balances(source: UpstreamSource) -> None:
    """Read the balance of every key once, and tell the key ring.

    A fault of the network says nothing of the key, and none of them opens the circuit: that
    the balance cannot be read does not mean that addresses are not verified. A refused key is
    left to its own time, and so is an upstream that refuses us altogether, so that failed
    attempts do not add up.
    """
    for key in source.keys.keys:
        if source.circuit.is_banned:
            return
        if key.dead:
            continue
        told = await source.fetch_balance(key, BALANCE_TIMEOUT_S)
        if isinstance(told, int):
            if told <= 0 and (key.credits is None or key.credits > 0):
                extra = {"source": source.name, "key": key.number}
                log.warning("upstream_key.no_credits", extra=extra)
            source.keys.record_balance(key, told)
        elif isinstance(told, Fault) and told.kind is FaultKind.DEAD_KEY:
            extra = {"source": source.name, "key": key.number, "status": told.status}
            log.warning("upstream_key.refused", extra=extra)
            source.keys.mark_refused(key)
        elif isinstance(told, Fault) and told.kind is FaultKind.BANNED:
            source.report_ban(told)
