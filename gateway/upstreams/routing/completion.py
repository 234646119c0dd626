"""Completes an upstream's evidence from our lists and from DNS.

Only fields that the upstream did not determine are filled; never the verdict, reason or score.
"""

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
"""How much longer than the upstream the look-up in DNS may take."""

LIST_FIELDS = frozenset({"disposable", "free", "role", "no_reply", "did_you_mean", "person"})
"""The fields that the address alone determines."""

NO_EVIDENCE = Evidence()

DNS_ONLY = Checks(dns=True, smtp=False, catch_all=False, policies=True)
"""The checks of a look-up beside an upstream, if the settings want one."""


class EvidenceCompletion:
    """Evidence on one address from lists and DNS, collected while an upstream works."""

    def __init__(self, address: Address, lookup: Verifier | None, deadline_s: float) -> None:
        """`lookup` looks addresses up in DNS; None if that is not wanted."""
        self._address = address
        self._lookup = lookup
        self._deadline_s = deadline_s
        self._listed: Evidence | None = None
        self._dns_task: asyncio.Task[Evidence | None] | None = None

    def start(self, provided: Set[str]) -> None:
        """Begin at once; without this, `complete` collects the evidence.

        `provided` are the fields that every source of the route determines.
        """
        if not provided >= LIST_FIELDS:
            loop = asyncio.get_running_loop()
            # One turn of the loop later, when the upstream's request has been sent.
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
        """The completed evidence of an upstream's verification `v`.

        `provided` are the fields that the upstream always determines. `local_evidence` is that of
        the local engine, if it was asked before: then nothing is looked up. Otherwise the look-up
        in DNS is waited for, at most `left_s`.
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
        task = self._start_dns_lookup()
        assert task is not None
        if not task.done():
            await asyncio.wait({task}, timeout=max(wait_s, 0.0))
        return task.result() if task.done() else None


def list_evidence(address: Address, provided: Set[str]) -> Evidence:
    """Evidence from our lists, unless the upstream provides all of it."""
    return NO_EVIDENCE if provided >= LIST_FIELDS else offline_evidence(address)


def complete_evidence(
    v: Verification, provided: Set[str], lists: Evidence, looked_up: Evidence | None
) -> Evidence:
    """The evidence of an upstream's verification, with what only our lists or DNS know."""
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
    """Whether our DNS result may be added to a verification without mail hosts.

    If it contradicts the upstream, the upstream's evidence stays as it is, so that its verification
    does not contradict itself.
    """
    if v.evidence.mx or looked_up.dns.can_receive is None:
        return False
    dns = v.evidence.dns
    if dns is not Dns.NOT_CHECKED:
        return dns.can_receive is True and looked_up.dns.can_receive is True
    if looked_up.dns.can_receive:
        return v.reason is not Reason.INVALID_DOMAIN
    return v.verdict in (Verdict.UNDELIVERABLE, Verdict.UNKNOWN)
