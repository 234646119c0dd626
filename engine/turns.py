"""Turns between the parties that share a queue, so that none waits for all that another one has.

A party is the one that work is done for, such as an account. Here it is only a name, which the
context of a request carries (`acting_for`), so that a queue deep inside knows it without being
handed it. The rule is the same for all queues: the party with the fewest items in flight goes
first, and of several the one whose last turn is longest ago.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Generic, TypeAlias, TypeVar

Party: TypeAlias = Hashable
T = TypeVar("T", bound=Hashable)

NO_PARTY = ""
"""Work that is done for no party in particular, or for the only one."""
MAX_REMEMBERED_TURNS = 10_000
"""Parties whose last turn is remembered; then all begin anew."""
SHARE_OF_FREE = 0.25
"""Of the free places, the part that one party may take. Alone it gets a fifth of all places; each
further party gets a quarter of the rest."""
MIN_SHARE = 16
"""Places that a party gets in any case."""

_current: ContextVar[Party] = ContextVar("party", default=NO_PARTY)


def current_party() -> Party:
    """The party that the running task acts for."""
    return _current.get()


@contextlib.contextmanager
def acting_for(party: Party) -> Iterator[None]:
    """Inside, this task and the tasks that it starts act for `party`."""
    token = _current.set(party)
    try:
        yield
    finally:
        _current.reset(token)


class Turns:
    """Counts what parties have in flight, and says whose turn it is."""

    __slots__ = ("_count", "_in_flight", "_last_turns", "total")

    def __init__(self) -> None:
        self._in_flight: dict[Party, int] = {}
        self._last_turns: dict[Party, int] = {}
        self._count = 0
        self.total = 0
        """Of all parties in flight."""

    def in_flight(self, party: Party) -> int:
        return self._in_flight.get(party, 0)

    def order(self, party: Party) -> tuple[int, int]:
        """Its place in the order of turns: the smallest one goes first."""
        return self._in_flight.get(party, 0), self._last_turns.get(party, 0)

    def take(self, party: Party) -> None:
        """It is the party's turn: one more item of it is in flight."""
        if len(self._last_turns) >= MAX_REMEMBERED_TURNS:
            self._last_turns.clear()
        self._count += 1
        self._last_turns[party] = self._count
        self._in_flight[party] = self._in_flight.get(party, 0) + 1
        self.total += 1

    def give_back(self, party: Party) -> None:
        """One item of the party is in flight no more."""
        self.total -= 1
        left = self._in_flight[party] - 1
        if left:
            self._in_flight[party] = left
        else:
            del self._in_flight[party]

    def exceeds_share(self, party: Party, places: int) -> bool:
        """Whether the party has its share of `places`, and should leave the rest to others."""
        share = max(MIN_SHARE, (places - self.total) * SHARE_OF_FREE)
        return self._in_flight.get(party, 0) >= share


class FairQueue(Generic[T]):
    """Items that wait. Parties take turns; of a party the lowest rank goes first, then the oldest.

    Between parties the rank decides only if they have equally many items in flight.
    """

    __slots__ = ("_turns", "_waiting")

    def __init__(self, turns: Turns | None = None) -> None:
        """`turns` counts what is in flight; without it nothing is, and parties simply alternate."""
        self._turns = Turns() if turns is None else turns
        self._waiting: dict[tuple[int, Party], OrderedDict[T, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[T]:
        for items in self._waiting.values():
            yield from items

    def put(
        self, item: T, party: Party | None = None, *, rank: int = 0, at_front: bool = False
    ) -> None:
        """`party` is the current one if none is given; `at_front` puts it before others of it."""
        key = rank, current_party() if party is None else party
        items = self._waiting.get(key)
        if items is None:
            items = self._waiting[key] = OrderedDict()
        items[item] = None
        if at_front:
            items.move_to_end(item, last=False)

    def next_key(self) -> tuple[int, Party]:
        """Rank and party of the item that is next. ValueError if nothing waits."""
        if len(self._waiting) == 1:
            return next(iter(self._waiting))
        return min(self._waiting, key=self._order)

    def take(self) -> tuple[Party, T]:
        """The next item and its party, whose turn this was. It is in flight until `give_back`."""
        key = self.next_key()
        items = self._waiting[key]
        item, _ = items.popitem(last=False)
        if not items:
            del self._waiting[key]
        self._turns.take(key[1])
        return key[1], item

    def pop(self) -> T:
        """The next item, which is not counted as in flight."""
        party, item = self.take()
        self._turns.give_back(party)
        return item

    def discard(self, item: T, party: Party, *, rank: int = 0) -> None:
        """Take an item out, wherever it waits."""
        items = self._waiting.get((rank, party))
        if items is not None and item in items:
            del items[item]
            if not items:
                del self._waiting[rank, party]

    def has_before(self, party: Party, in_flight: int, rank: int) -> bool:
        """Whether something waits that would go before an item of `party`, if the party had
        `in_flight` items in flight."""
        return any(
            (in_flight if waiting == party else self._turns.in_flight(waiting), waiting_rank)
            < (in_flight, rank)
            for waiting_rank, waiting in self._waiting
        )

    def clear(self) -> None:
        self._waiting.clear()

    def _order(self, key: tuple[int, Party]) -> tuple[int, int, int]:
        rank, party = key
        in_flight, last_turn = self._turns.order(party)
        return in_flight, rank, last_turn


class FairSlots:
    """A semaphore that parties share.

    By default the number of places is a bound of our own, which a party without any exceeds by one
    rather than wait for the others: however slow their work is, its own goes on.
    """

    __slots__ = ("_admit", "_is_strict", "_places", "_queue", "_turns")

    def __init__(
        self,
        places: int,
        *,
        is_strict: bool = False,
        admit: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_strict`: the number of places is never exceeded. `admit` is called before each place
        is given; if it says no, it sees to it that `grant` is called later."""
        self._places = places
        self._is_strict = is_strict
        self._admit = admit
        self._turns = Turns()
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(self._turns)

    @property
    def active(self) -> int:
        """Places that are taken."""
        return self._turns.total

    @property
    def is_full(self) -> bool:
        return self._turns.total >= self._places

    @property
    def has_waiters(self) -> bool:
        return bool(self._queue)

    def resize(self, places: int) -> None:
        """Change the number of places; those that are taken stay."""
        self._places = places
        self.grant()

    def slot(self, party: Party | None = None, *, rank: int = 0) -> _Slot:
        """A context in which a place is held, for the current party if none is given."""
        return _Slot(self, current_party() if party is None else party, rank)

    async def acquire(self, party: Party, *, rank: int = 0) -> None:
        """Wait for a place, and take it."""
        if not self._queue and self._has_place_for(party) and self._admit():
            self._turns.take(party)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(turn, party, rank=rank)
        self.grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(party)  # granted just as the waiter was cancelled
            else:
                self._queue.discard(turn, party, rank=rank)
                self.grant()
            raise

    def release(self, party: Party) -> None:
        """Give a place back that the party has."""
        self._turns.give_back(party)
        self.grant()

    def grant(self) -> None:
        """Give the places that are free to those who wait."""
        while self._queue and self._has_place_for(self._queue.next_key()[1]) and self._admit():
            party, turn = self._queue.take()
            if turn.done():
                self._turns.give_back(party)
            else:
                turn.set_result(None)

    def is_due_to_another(self, party: Party, *, rank: int = 0) -> bool:
        """Whether a place that `party` has would go to a waiter if the party gave it back and asked
        for it again with `rank`."""
        return self._queue.has_before(party, self._turns.in_flight(party) - 1, rank)

    def _has_place_for(self, party: Party) -> bool:
        if self._turns.total < self._places:
            return True
        return not self._is_strict and not self._turns.in_flight(party)


class _Slot:
    """Holds one place while inside."""

    __slots__ = ("_party", "_rank", "_slots")

    def __init__(self, slots: FairSlots, party: Party, rank: int) -> None:
        self._slots = slots
        self._party = party
        self._rank = rank

    async def __aenter__(self) -> None:
        await self._slots.acquire(self._party, rank=self._rank)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._slots.release(self._party)
