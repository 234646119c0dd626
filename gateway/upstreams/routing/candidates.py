"""The sources of one question: which is asked next, and how long until one may be asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.upstreams.source.source import Source, SourceResult

FIRST_BACKOFF_S = 0.1
"""Before a source is asked again; doubles each time."""
UNPROVEN_RECHECK_S = 0.05
"""How soon to look again at a source that has not answered yet."""
HEDGED_AT_ONCE = 2
"""Sources that are asked at the same time by hedging."""


class NotAsked(StrEnum):
    """Why a source was not asked."""

    BEYOND_SHARE = "beyond_share"
    """It recovers and has had its share of requests: ask it if no other source can answer."""
    BUSY = "busy"
    """It has just become busy."""
    LATER = "later"
    """It is out of rotation, and may come back while the query has time."""
    NEVER = "never"
    """It is over its budget."""


class How(StrEnum):
    """On which terms a source is asked."""

    IN_ROTATION = "in_rotation"
    QUEUEING = "queueing"
    """It is busy, or recovers and has had its share, and so are all others in rotation."""
    LAST_RESORT = "last_resort"
    """It is out of rotation, and no other source can answer: at a bounded rate."""
    AGAIN = "again"
    """Its first request was lost in an outage, and no other source can answer."""
    ALONE = "alone"
    """It is only suspected, and there is no other source at all."""


@dataclass(slots=True, eq=False)
class Candidate:
    """One source of the question. Times are those of the query's clock."""

    source: Source
    task: asyncio.Task[SourceResult | NotAsked] | None = None
    """Its request in flight."""
    began: float = 0.0
    hedged_at: float = math.inf
    """When another source in rotation may be asked as well, while its request is in flight."""
    overdue_at: float = math.inf
    """When its request has had its time, and any other source may be asked as well."""
    retry_at: float = 0.0
    backoff_s: float = FIRST_BACKOFF_S
    was_asked: bool = False
    is_beyond_share: bool = False
    is_done: bool = False
    """It can do no more for this question."""
    not_served_at: float | None = None
    """When it did not serve the request: it can do no more unless it verifies another one since."""

    is_lost: bool = False
    """Its request was not answered, and most likely not served."""

    @property
    def may_be_asked_again(self) -> bool:
        """Whether its request was lost in an outage that is over. Since it may have been billed, it
        is sent again only if no other source can answer."""
        source = self.source
        return self.is_lost and source.returned_at > self.began and source.ready_in_s <= 0

    @property
    def is_out(self) -> bool:
        """Whether it can do no more, as things are."""
        since = self.not_served_at
        return self.is_done or (since is not None and self.source.answered_at <= since)

    def may_be_asked_in_s(self, now: float) -> float:
        """Seconds until it may be asked, in rotation or for the first time as a last resort."""
        source = self.source
        ready_s = max(source.ready_in_s, UNPROVEN_RECHECK_S if source.is_unproven else 0.0)
        if not self.was_asked:
            ready_s = min(ready_s, source.last_resort_in_s)
        return max(self.retry_at - now, ready_s)

    def was_tried_since(self, moment: float) -> bool:
        """Whether it was asked, by this query or by another one that began no earlier."""
        return self.was_asked or self.source.failed_at >= moment


def choose(
    candidates: Sequence[Candidate],
    now: float,
    wanted: int,
    skip: Callable[[Source, str], None],
    *,
    may_resort: bool,
) -> tuple[Candidate, How] | None:
    """The source to ask now, of `wanted` that may be waited for at a time; None if there is none.

    Only with `may_resort` it may be one that is out of rotation. `skip` is called with a source
    that is passed over, and why. In rotation the sources keep their order; those that are busy, or
    have had their share while they recover, come after the others. A source that has never answered
    is neither flooded nor passed over: its first answer is waited for. Out of rotation the source
    with the oldest fault comes first.
    """
    in_flight = [each for each in candidates if each.task is not None and now < each.overdue_at]
    if sum(now < each.hedged_at for each in in_flight) >= wanted:
        return None
    is_hedging = len(in_flight) >= wanted
    if is_hedging and len(in_flight) >= HEDGED_AT_ONCE:
        return None
    coming = [each for each in candidates if each.task is None and not each.is_out]
    later: list[Candidate] = []
    resting: list[Candidate] = []
    for each in coming:
        source = each.source
        if fault := source.unusable_fault:
            skip(source, fault)
            each.is_done = True
        elif source.ready_in_s > 0:
            if not each.was_asked:
                skip(source, "resting")
            resting.append(each)
        elif each.retry_at > now:
            continue
        elif source.is_unproven and not later:
            return None
        elif source.busy or each.is_beyond_share:
            later.append(each)
        else:
            return each, How.IN_ROTATION
    if is_hedging:
        return None
    if later:
        return min(later, key=lambda each: each.source.busy), How.QUEUEING
    if not may_resort:
        return None
    resort = _last_resort(resting, now, is_alone=len(candidates) == 1)
    if resort is None and all(each.was_asked for each in coming):
        return _lost(candidates)
    return resort


def _last_resort(
    resting: Sequence[Candidate], now: float, *, is_alone: bool
) -> tuple[Candidate, How] | None:
    if is_alone and resting and resting[0].source.is_suspected:
        return resting[0], How.ALONE
    possible = [
        each
        for each in resting
        if not each.was_asked and each.retry_at <= now and each.source.last_resort_in_s <= 0
    ]
    if not possible:
        return None
    return max(possible, key=lambda each: each.source.fault_age_s), How.LAST_RESORT


def _lost(candidates: Sequence[Candidate]) -> tuple[Candidate, How] | None:
    """A source to ask again, since all others were asked in vain and nothing is in flight."""
    if any(each.task is not None for each in candidates):
        return None
    lost = next((each for each in candidates if each.may_be_asked_again), None)
    return None if lost is None else (lost, How.AGAIN)
