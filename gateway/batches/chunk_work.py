"""One claimed chunk: its addresses are verified once each, for all rows that have them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from adapters.contract.filters import Filters
from engine.address.syntax import parse_address
from engine.model import Address, Checks, Meaning, Reason, Verification
from engine.verification import unknown_verification
from gateway.accounts.account_state import NO_FILTERS, apply_filters, filtered_result
from gateway.batches.model import Claim, Postponed, RowResult
from gateway.batches.ports import ChunkVerifier
from gateway.errors import NO_SOURCE
from gateway.settings import LOCAL_SOURCE
from gateway.store import StoreError
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.owners import with_guessed_person
from gateway.verdicts.verifier import RetryLater

log = logging.getLogger(__name__)

MAX_ROWS_CACHED_IN_MEMORY = 1_000
"""The verdicts of a batch with more rows are stored, but not cached in memory, where they would
evict all others."""
MAX_ATTEMPTS = 3
"""Attempts to verify an address that the verifier fails at; then its verdict is unknown."""
MAX_RETRY_WAIT_S = 300.0
"""The longest wait before addresses that no source can answer now are tried again."""
SOURCE_WAIT_LIMIT_S = 86_400.0
"""How long after its start a batch waits for a source that can answer."""


MIN_UNREACHABLE_DOMAINS = 2
"""With so many domains in a chunk and no mail host that can be reached at all, outgoing port 25 is
closed rather than the hosts down. One is enough where a large provider's hosts are not reached."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the batch with its address parsed."""

    position: int
    address: Address


FindSample = Callable[[str, Address, Checks], Verification | None]
"""The answer to a test address of a dialect, by its name; None for any other address."""

_Rows = dict[Address, list[_Row]]
"""The rows of each distinct address."""


class ChunkWork:
    """A claim and its results. `clock` is Unix time in seconds."""

    def __init__(
        self,
        claim: Claim,
        chosen: ChunkVerifier,
        verdicts: VerdictCache,
        *,
        retry_after_s: float | None,
        clock: Callable[[], float],
        find_sample: FindSample = lambda *_: None,
        filters: Filters = NO_FILTERS,
    ) -> None:
        """`retry_after_s` is None if addresses that were refused for now are not tried again."""
        self._find_sample = find_sample
        self._filters = filters
        self._claim = claim
        self._chosen = chosen
        self._verdicts = verdicts
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._results: list[RowResult] = []
        self._deferred: list[tuple[Sequence[_Row], Verification]] = []
        """Rows that mail hosts refused for now, and the results that they have without a retry."""
        self._has_contact = False
        """Whether any mail host answered."""
        self._unanswered: list[_Row] = []
        """Rows that no source can answer now."""
        self._retry_unanswered_after_s = 0.0

    @property
    def has_results(self) -> bool:
        return bool(self._results)

    def take_results(self) -> list[RowResult]:
        """The results since the last call."""
        results, self._results = self._results, []
        return results

    def postponed(self) -> list[Postponed]:
        """The rows that are tried again later."""
        now, attempt = self._clock(), self._claim.attempt
        later = []
        if self._retry_after_s is not None:
            due_at = now + self._retry_after_s
            for egress, rows in self._deferred_by_egress().items():
                later.append(Postponed(_positions(rows), due_at, attempt + 1, egress))
        if self._unanswered:
            due_at = now + self._retry_unanswered_after_s
            later.append(Postponed(_positions(self._unanswered), due_at, attempt))
        return later

    def _deferred_by_egress(self) -> dict[str, list[_Row]]:
        """A host that greylists knows the address that we came from, and waits for it to come back
        (RFC 6647 section 2.4)."""
        by_egress: dict[str, list[_Row]] = {}
        for rows, verification in self._deferred:
            smtp = verification.evidence.smtp
            egress = smtp.egress if smtp and verification.reason is Reason.GREYLISTED else None
            by_egress.setdefault(egress or "", []).extend(rows)
        return by_egress

    async def verify(self) -> None:
        """Verify every address of the chunk, or put it off. Raises StoreError."""
        await self._verify_all()
        if self._shows_closed_network():
            deferred, self._deferred = self._deferred, []
            for rows, verification in deferred:
                self._settle(rows, verification)

    async def _verify_all(self) -> None:
        todo = await self._rows_to_verify()
        for _ in range(MAX_ATTEMPTS):
            if not todo:
                return
            try:
                await self._verify_once(todo)
            except RetryLater as later:
                if self._clock() < self._claim.started_at + SOURCE_WAIT_LIMIT_S:
                    self._unanswered = list(chain.from_iterable(todo.values()))
                    self._retry_unanswered_after_s = min(later.retry_after_s, MAX_RETRY_WAIT_S)
                    return
            except StoreError:
                raise
            except Exception:
                log.exception("chunk.verifier_failed", extra=log_fields(self._claim))
        for address, rows in todo.items():
            self._add_results(rows, self._unexpected_error(address))

    async def _rows_to_verify(self) -> _Rows:
        """The rows of each address, without those that have a cached verdict."""
        groups: dict[str, list[_Row]] = {}
        for item in self._claim.items:
            address = parse_address(item.email)
            decided = self._decided(address)
            if decided is not None:
                self._results.append(RowResult(item.position, decided))
                continue
            groups.setdefault(address.normalized, []).append(_Row(item.position, address))
        addresses = [] if self._claim.refresh else [rows[0].address for rows in groups.values()]
        cached = await self._verdicts.get_many(
            addresses, self._claim.checks, self._chosen.cache_partition
        )
        for normalized, verification in cached.items():
            self._add_results(groups.pop(normalized), verification)
        return {rows[0].address: rows for rows in groups.values()}

    def _decided(self, address: Address) -> Verification | None:
        """The result of an address that its owner's filters or the vendor's samples decide."""
        checks = self._claim.checks
        if (found := self._filters.find_early(address)) is not None:
            return filtered_result(address, checks, found, self._now())
        return self._find_sample(self._claim.dialect, address, checks)

    async def _verify_once(self, todo: _Rows) -> None:
        """Verify each address of `todo`, and take those with a result out of it."""
        stream = self._chosen.verifier.verify_many(tuple(todo), self._claim.checks)
        async with contextlib.aclosing(stream) as results:
            async for address, verification in results:
                self._on_verification(todo.pop(address), verification)

    def _on_verification(self, rows: Sequence[_Row], verification: Verification) -> None:
        smtp = verification.evidence.smtp
        self._has_contact = self._has_contact or (smtp is not None and smtp.connected)
        if self._retry_after_s is not None and _may_change(verification):
            self._deferred.append((rows, verification))
            return
        self._settle(rows, verification)

    def _settle(self, rows: Sequence[_Row], verification: Verification) -> None:
        in_memory = self._claim.batch_rows <= MAX_ROWS_CACHED_IN_MEMORY
        if in_memory:
            verification = with_guessed_person(verification)
        if verification.source != NO_SOURCE:
            self._verdicts.put(verification, self._chosen.cache_partition, in_memory=in_memory)
        self._add_results(rows, verification)

    def _add_results(self, rows: Sequence[_Row], verification: Verification) -> None:
        for row in rows:
            found = apply_filters(self._filters, verification.for_address(row.address))
            self._results.append(RowResult(row.position, found))

    def _shows_closed_network(self) -> bool:
        """Whether it is our network that reaches no mail host, so that retries would be no use."""
        domains = {rows[0].address.ascii_domain for rows, _ in self._deferred}
        is_enough = len(domains) >= MIN_UNREACHABLE_DOMAINS or any(
            verification.evidence.provider for _, verification in self._deferred
        )
        return (
            not self._has_contact
            and is_enough
            and all(
                verification.evidence.smtp is not None
                and verification.evidence.smtp.meaning is Meaning.UNREACHABLE
                for _, verification in self._deferred
            )
        )

    def _unexpected_error(self, address: Address) -> Verification:
        return unknown_verification(
            address, self._claim.checks, verified_at=self._now(), source=NO_SOURCE
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _may_change(verification: Verification) -> bool:
    """Whether the same sources may say more later, at no further cost."""
    if verification.reason is Reason.GREYLISTED:
        return True
    paid = any(attempt.source != LOCAL_SOURCE for attempt in verification.attempts)
    return verification.temporary and not paid


def log_fields(claim: Claim) -> dict[str, int]:
    return {"batch": claim.batch_id, "chunk": claim.chunk_number}


def _positions(rows: Sequence[_Row]) -> tuple[int, ...]:
    return tuple(row.position for row in rows)
