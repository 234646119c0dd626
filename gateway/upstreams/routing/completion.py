"""What is added to an upstream's answer where the upstream cannot tell: what our lists know, and
what DNS says. Never the verdict, its reason or its score, and nothing that was told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from dataclasses import replace
from typing import Self

from engine.address.offline import offline_evidence
from engine.model import Address, Checks, Dns, Evidence, Reason, Verdict, Verification
from gateway.verdicts.verifier import Verifier

log = logging.getLogger(__name__)

DNS_GRACE_S = 1.0
"""How long the look at DNS may take longer than the upstream's answer."""

LIST_FIELDS = frozenset({"disposable", "free", "role", "no_reply", "did_you_mean", "person"})
"""What is known of an address without asking anybody."""

NO_EVIDENCE = Evidence()

DNS_ONLY = Checks(dns=True, smtp=False, catch_all=False)
"""What is looked up beside an upstream's answer, if the settings want it."""


class EvidenceCompletion:
    """What our lists and DNS know of one address, found out while an upstream is waited for."""

    def __init__(self, address: Address, lookup: Verifier | None, deadline_s: float) -> None:
        """`lookup` looks addresses up in DNS; None where that is not wanted."""
        self._address = address
        self._lookup = lookup
        self._deadline_s = deadline_s
        self._listed: Evidence | None = None
        self._dns_task: asyncio.Task[Evidence | None] | None = None

    def start(self, provided: Set[str]) -> None:
        """Find out now; otherwise that is done when it is wanted.

        `tells` is what will be told anyhow.
        """
        if not provided >= LIST_FIELDS:
            loop = asyncio.get_running_loop()
            # one turn of the loop later the upstream's request is on its way
            loop.call_soon(loop.call_soon, self._list_evidence, provided)
        self._start_dns_lookup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel the look-up in DNS if it has not ended."""
        if self._dns_task is not None:
            self._dns_task.cancel()

    async def complete(
        self, v: Verification, provided: Set[str], local_evidence: Evidence | None, left_s: float
    ) -> Evidence:
        """The evidence of an upstream's answer, completed.

        `tells` are the fields that the upstream always speaks of; `own` is what the engine
        found out in its turn, if it had one, so that nothing needs to be looked up.
        """
        wants_dns = self._lookup is not None
        if local_evidence is not None:
            return complete_evidence(
                v, provided, local_evidence, local_evidence if wants_dns else None
            )
        looked_up = await self._dns_evidence(min(DNS_GRACE_S, left_s)) if wants_dns else None
        return complete_evidence(v, provided, self._list_evidence(provided), looked_up)

    def _list_evidence(self, provided: Set[str]) -> Evidence:
        if self._listed is None:
            self._listed = list_evidence(self._address, provided)
        return self._listed

    def _start_dns_lookup(self) -> asyncio.Task[Evidence | None] | None:
        if self._dns_task is None and self._lookup is not None:
            self._dns_task = asyncio.create_task(self._look_up_dns(self._lookup))
        return self._dns_task

    async def _look_up_dns(self, lookup: Verifier) -> Evidence | None:
        try:
            return (await lookup.verify(self._address, DNS_ONLY, self._deadline_s)).evidence
        except Exception:
            log.exception("completion.dns_failed", extra={"domain": self._address.domain})
            return None

    async def _dns_evidence(self, wait_s: float) -> Evidence | None:
        looking = self._start_dns_lookup()
        assert looking is not None
        if not looking.done():
            await asyncio.wait({looking}, timeout=max(wait_s, 0.0))
        return looking.result() if looking.done() else None


def list_evidence(address: Address, provided: Set[str]) -> Evidence:
    """What our lists know; they are not looked into where all of it is told anyhow."""
    return NO_EVIDENCE if provided >= LIST_FIELDS else offline_evidence(address)


def complete_evidence(
    v: Verification, provided: Set[str], lists: Evidence, looked_up: Evidence | None
) -> Evidence:
    """The evidence of an upstream's answer with what it did not tell and we know."""
    e = v.evidence
    more: dict[str, object] = {
        name: getattr(lists, name)
        for name in LIST_FIELDS
        if name not in provided and not getattr(e, name) and getattr(lists, name)
    }
    if looked_up is not None:
        if _dns_agrees(v, looked_up):
            more |= {"dns": looked_up.dns, "mx": looked_up.mx}
        for name in ("provider", "spf", "dmarc"):
            if getattr(e, name) is None:
                more[name] = getattr(looked_up, name)
    return replace(e, **more) if more else e  # type: ignore[arg-type]


def _dns_agrees(v: Verification, looked_up: Evidence) -> bool:
    """Whether what DNS says can stand beside an answer that names no mail host.

    Where both speak and differ, the upstream's word stands: its answer is not to contradict
    itself.
    """
    if v.evidence.mx or looked_up.dns.can_receive is None:
        return False
    told = v.evidence.dns
    if told is not Dns.NOT_CHECKED:
        return told.can_receive is True and looked_up.dns.can_receive is True
    if looked_up.dns.can_receive:
        return v.reason is not Reason.INVALID_DOMAIN
    return v.verdict in (Verdict.UNDELIVERABLE, Verdict.UNKNOWN)
