"""How mail hosts treat *us*: what was refused for our sake, and where to stay away for a while.

A refusal of us says nothing of a mailbox, and each further probe of such a host makes our
name worse. So refusals are counted by host and by operator; after several in a row a host, or
all of an operator's, is left alone, for longer each time, and then tried with one conversation.
Decisions are pure; the clocks come from outside. Kept in memory, and bounded; whoever wants to
keep it longer, or to share it, takes what is new now and then.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from engine.address.domains import registrable_domain
from engine.model import Meaning, Stage
from engine.smtp.providers import provider_of

T = TypeVar("T")

MAX_OPERATORS = 5_000
MAX_HOSTS = 20_000
"""Hosts remembered for their refusals; the least recently asked go first, operators too."""
MAX_NEW = 10_000
"""Kinds of refusals, and pauses, that wait to be taken; beyond it new ones are not handed on."""
MAX_TEXT = 300
"""Characters of a refusal that are kept."""

REFUSALS_OF_HOST = 4
"""In a row at one host, then it is left alone; twice as many where they came at RCPT."""
REFUSALS_OF_OPERATOR = 6
HOSTS_OF_OPERATOR = 3
"""In a row at so many of its hosts, then they are all left alone: one odd host is not enough."""
WINDOW_S = 600.0
"""Refusals further apart than this are no row."""
FIRST_PAUSE_S = 60.0
MAX_PAUSE_S = 3_600.0
PAUSE_GROWTH = 2.0
TRIAL_S = 60.0
"""How long others wait for the outcome of the one conversation after a pause."""
FORGIVEN_AFTER_S = 86_400.0
"""Without a refusal for so long, the next pause is a first one again."""

SHARES: dict[Meaning, float] = {
    Meaning.IP_BLOCKED: 1.0,
    Meaning.RDNS_REQUIRED: 1.0,
    Meaning.SENDER_AUTH_FAILED: 1.0,
    Meaning.SENDER_REJECTED: 1.0,
    Meaning.HELO_REJECTED: 1.0,
    # May be about the recipient as well, so that it takes many more to say something of us.
    Meaning.POLICY: 0.25,
    # How a host is set up, or how fast we are (`engine.smtp.pacing`): counted, no cause to stop.
    Meaning.AUTH_REQUIRED: 0.0,
    Meaning.TLS_REQUIRED: 0.0,
    Meaning.THROTTLED: 0.0,
}
"""What is a refusal of us, and how much of one it is towards a pause."""
SHARE_AT_RCPT = 0.5
"""Of those said to RCPT: a mailbox may have a guard of its own."""

SPEAKS_OF_MAILBOX = frozenset(
    {
        Meaning.ACCEPTED,
        Meaning.CANNOT_VERIFY,
        Meaning.MAILBOX_NOT_FOUND,
        Meaning.MAILBOX_DISABLED,
        Meaning.MAILBOX_MOVED,
        Meaning.MAILBOX_FULL,
        Meaning.MAILBOX_RATE_LIMITED,
    }
)
"""Who says this has nothing against us: it ends a row and a pause."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a host is not asked now."""

    operator: str
    meaning: Meaning
    """Of the last refusal."""
    refusals: int
    """In a row."""
    left_s: float
    block_list: str | None = None

    @property
    def text(self) -> str:
        """For the evidence, in the place of a reply."""
        named = f" ({self.block_list})" if self.block_list else ""
        return (
            f"paused: {self.operator} refused us {self.refusals} times in a row,"
            f" the last time as {self.meaning}{named};"
            f" not asked again for {math.ceil(self.left_s)} s"
        )


@dataclass(frozen=True, slots=True)
class Account:
    """How one operator treats us, as it is shown."""

    operator: str
    """A provider (`engine.smtp.providers`), else the registrable domain of the mail hosts."""
    conversations: int
    refusals: dict[Meaning, int]
    block_list: str | None
    """The last one that was named."""
    host: str | None
    """Which refused last."""
    text: str | None
    """What it said: without addresses, printable, cut."""
    refused_at: datetime | None
    paused_s: float
    """Until any of its hosts is asked again; 0 if it is not paused as a whole."""
    paused_hosts: tuple[str, ...]
    """Those that are paused, or wait for the outcome of a trial, by themselves."""

    @property
    def refused(self) -> int:
        """Refusals of all kinds."""
        return sum(self.refusals.values())


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals of one kind by one operator, counted together."""

    operator: str
    meaning: Meaning
    block_list: str | None
    count: int
    first_at: datetime
    last_at: datetime
    host: str
    """Which refused last."""
    text: str | None
    """What it said: presentable."""


@dataclass(frozen=True, slots=True)
class Rest:
    """One host, or all of an operator's, that is left alone: enough to go on with it elsewhere."""

    operator: str
    host: str | None
    """None for all of the operator's."""
    left_s: float
    """0 if it is over."""
    meaning: Meaning
    block_list: str | None
    refusals: int
    growth: int
    """Pauses so far without a success in between."""


@dataclass(slots=True)
class _Row:
    """Refusals in a row, and the pause they led to."""

    refusals: int = 0
    weight: float = 0.0
    since: float = -math.inf
    last: float = -math.inf
    hosts: set[str] = field(default_factory=set)
    meaning: Meaning = Meaning.IP_BLOCKED
    block_list: str | None = None
    pauses: int = 0
    """Without a success in between."""
    until: float = -math.inf
    on_trial: bool = False
    """The pause is over, or nearly: the next outcome decides."""

    def left_s(self, now: float) -> float:
        return max(0.0, self.until - now)

    def refuse(
        self, now: float, host: str, meaning: Meaning, share: float, block_list: str | None
    ) -> None:
        if now - self.last > FORGIVEN_AFTER_S:
            self.pauses = 0
            self.on_trial = False
        if not self.pauses and now - self.since > WINDOW_S:
            self.refusals, self.weight, self.since = 0, 0.0, now
            self.hosts.clear()
        self.refusals += 1
        self.weight += share
        self.last = now
        if len(self.hosts) < HOSTS_OF_OPERATOR:
            self.hosts.add(host)
        self.meaning, self.block_list = meaning, block_list or self.block_list

    def pause(self, now: float) -> None:
        growth = PAUSE_GROWTH ** min(self.pauses, 32)
        self.until = now + min(MAX_PAUSE_S, FIRST_PAUSE_S * growth)
        self.pauses += 1
        self.on_trial = False


@dataclass(slots=True)
class _Record:
    conversations: int = 0
    refusals: Counter[Meaning] = field(default_factory=Counter)
    block_list: str | None = None
    host: str | None = None
    text: str | None = None
    refused_at: datetime | None = None
    row: _Row = field(default_factory=_Row)


_Kind = tuple[str, Meaning, str | None]
"""Operator, meaning, block list."""
_Scope = tuple[str, str | None]
"""Operator and host, or None for all of its hosts."""


def owner_of(host: str) -> str:
    """Who answers for mail host `host`: a known provider, else the registrable domain."""
    return provider_of(host) or registrable_domain(host) or host


class Standing:
    """Counts what hosts say of us, and tells which of them to leave alone."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        max_operators: int = MAX_OPERATORS,
        max_hosts: int = MAX_HOSTS,
        max_new: int = MAX_NEW,
    ) -> None:
        self._clock = clock
        self._max_operators = max_operators
        self._max_hosts = max_hosts
        self._max_new = max_new
        self._now = now
        # The least recently asked first.
        self._operators: OrderedDict[str, _Record] = OrderedDict()
        self._hosts: OrderedDict[str, _Row] = OrderedDict()
        # What was not taken yet.
        self._new: dict[_Kind, Refusals] = {}
        self._changed: set[_Scope] = set()

    def __len__(self) -> int:
        """Operators remembered."""
        return len(self._operators)

    def pause(self, host: str) -> Pause | None:
        """Why `host` should not be asked now; None if it may be.

        After a pause the first to ask gets None, and everybody else a pause until that one's
        outcome is noted, or for `TRIAL_S`.
        """
        now = self._clock()
        operator = owner_of(host)
        rows = self._rows(operator, host)
        paused = max(rows, key=lambda row: row.until, default=None)
        if paused is not None and paused.left_s(now):
            return Pause(
                operator, paused.meaning, paused.refusals, paused.left_s(now), paused.block_list
            )
        for row in rows:
            if row.pauses:
                row.on_trial = True
                row.until = now + TRIAL_S
        return None

    def note(
        self,
        host: str,
        meaning: Meaning,
        stage: Stage,
        *,
        spoke_of_mailbox: bool = False,
        block_list: str | None = None,
        text: str | None = None,
    ) -> None:
        """What a conversation with `host` came to.

        `spoke_of_mailbox` tells that some reply in it was about a mailbox, so that whatever was
        refused was not refused for our sake.
        """
        operator = owner_of(host)
        record = self._operators.setdefault(operator, _Record())
        _keep(self._operators, operator, self._max_operators)
        record.conversations += 1
        if spoke_of_mailbox or meaning in SPEAKS_OF_MAILBOX:
            self._forgive(operator, record, host)
        elif meaning in SHARES:
            share = SHARES[meaning] * (SHARE_AT_RCPT if stage is Stage.RCPT else 1.0)
            self._refused(operator, record, host, meaning, share, block_list, text)

    def take_refusals(self) -> tuple[Refusals, ...]:
        """What was counted since this was asked last."""
        new, self._new = self._new, {}
        return tuple(new.values())

    def take_rests(self) -> tuple[Rest, ...]:
        """Pauses that began or were ended by a success since this was asked last."""
        now = self._clock()
        changed, self._changed = self._changed, set()
        return tuple(self._rest(scope, now) for scope in changed)

    def resume(self, rest: Rest) -> None:
        """Go on with a pause of an earlier run or another process, unless we know better."""
        now = self._clock()
        scope = (rest.operator, rest.host)
        if scope in self._changed:
            return
        record = self._operators.setdefault(rest.operator, _Record())
        _keep(self._operators, rest.operator, self._max_operators)
        row = record.row
        if rest.host is not None:
            row = self._hosts.setdefault(rest.host, _Row())
            _keep(self._hosts, rest.host, self._max_hosts)
        if now + rest.left_s <= row.until:
            return
        row.until, row.last = now + rest.left_s, now
        row.meaning, row.block_list = rest.meaning, rest.block_list
        row.refusals, row.pauses = rest.refusals, rest.growth
        row.on_trial = False

    def _rest(self, scope: _Scope, now: float) -> Rest:
        operator, host = scope
        if host is None:
            record = self._operators.get(operator)
            row = record.row if record is not None else _Row()
        else:
            row = self._hosts.get(host) or _Row()
        return Rest(
            operator,
            host,
            row.left_s(now),
            row.meaning,
            row.block_list,
            row.refusals,
            row.pauses,
        )

    def _rows(self, operator: str, host: str) -> list[_Row]:
        rows = []
        if record := self._operators.get(operator):
            self._operators.move_to_end(operator)
            rows.append(record.row)
        if row := self._hosts.get(host):
            self._hosts.move_to_end(host)
            rows.append(row)
        return rows

    def _forgive(self, operator: str, record: _Record, host: str) -> None:
        if record.row.pauses:
            self._change(operator, None)
        record.row = _Row()
        row = self._hosts.pop(host, None)
        if row is not None and row.pauses:
            self._change(operator, host)

    def _change(self, operator: str, host: str | None) -> None:
        if len(self._changed) < self._max_new:
            self._changed.add((operator, host))

    def _refused(
        self,
        operator: str,
        record: _Record,
        host: str,
        meaning: Meaning,
        share: float,
        block_list: str | None,
        text: str | None,
    ) -> None:
        record.refusals[meaning] += 1
        record.block_list = block_list or record.block_list
        record.host, record.text, record.refused_at = host, presentable(text), self._now()
        self._hand_on(operator, meaning, block_list, host, record.text, record.refused_at)
        if not share:
            return
        now = self._clock()
        of_host = self._hosts.setdefault(host, _Row())
        _keep(self._hosts, host, self._max_hosts)
        for row in (of_host, record.row):
            row.refuse(now, host, meaning, share, block_list)
        if of_host.on_trial or (not of_host.left_s(now) and of_host.weight >= REFUSALS_OF_HOST):
            of_host.pause(now)
            self._change(operator, host)
        of_all = record.row
        spread = len(of_all.hosts) >= HOSTS_OF_OPERATOR and of_all.weight >= REFUSALS_OF_OPERATOR
        if of_all.on_trial or (not of_all.left_s(now) and spread):
            of_all.pause(now)
            self._change(operator, None)

    def _hand_on(
        self,
        operator: str,
        meaning: Meaning,
        block_list: str | None,
        host: str,
        text: str | None,
        at: datetime,
    ) -> None:
        kind = (operator, meaning, block_list)
        earlier = self._new.get(kind)
        if earlier is not None:
            count, first_at = earlier.count + 1, earlier.first_at
        elif len(self._new) < self._max_new:
            count, first_at = 1, at
        else:
            return
        self._new[kind] = Refusals(*kind, count, first_at, at, host, text)

    def accounts(self) -> tuple[Account, ...]:
        """Every operator that was asked, the one that refused us most often first."""
        now = self._clock()
        paused: dict[str, list[str]] = {}
        for host, row in self._hosts.items():
            if row.left_s(now):
                paused.setdefault(owner_of(host), []).append(host)
        found = [
            Account(
                operator=operator,
                conversations=record.conversations,
                refusals=dict(record.refusals),
                block_list=record.block_list,
                host=record.host,
                text=record.text,
                refused_at=record.refused_at,
                paused_s=record.row.left_s(now),
                paused_hosts=tuple(sorted(paused.get(operator, ()))),
            )
            for operator, record in self._operators.items()
        ]
        return tuple(sorted(found, key=lambda a: (-a.refused, -a.conversations, a.operator)))


def _keep(entries: OrderedDict[str, T], key: str, most: int) -> None:
    entries.move_to_end(key)
    if len(entries) > most:
        entries.popitem(last=False)


_MAILBOX = re.compile(r"[^\s<>()\[\]:;,\"']{1,80}@[\w.-]+")


def presentable(text: str | None) -> str | None:
    """A server's words without mailboxes, control characters and what is beyond `MAX_TEXT`."""
    if text is None:
        return None
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT])
    return " ".join(_MAILBOX.sub("(address)", plain).split())[:MAX_TEXT]
