"""How mail hosts treat *us*: what was refused for our sake, and where to stay away for a while.

A refusal of us says nothing of a mailbox, and each further probe of such a host makes our
name worse. So refusals are counted by host and by operator; after several in a row a host, or
all of an operator's, is left alone, for longer each time, and then tried with one conversation.
Decisions are pure; the clocks come from outside. Kept in memory alone, and bounded.
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

from engine.domains import registrable_domain
from engine.model import Meaning, Stage
from engine.providers import provider_of

T = TypeVar("T")

MAX_OPERATORS = 5_000
MAX_HOSTS = 20_000
"""Hosts remembered for their refusals; the least recently asked go first, operators too."""
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
    # How a host is set up, or how fast we are (`engine.pacing`): counted, no cause to stop.
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
    """A provider's name (`engine.providers`), else the registrable domain of the mail hosts."""
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
    ) -> None:
        self._clock = clock
        self._max_operators = max_operators
        self._max_hosts = max_hosts
        self._now = now
        # The least recently asked first.
        self._operators: OrderedDict[str, _Record] = OrderedDict()
        self._hosts: OrderedDict[str, _Row] = OrderedDict()

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
            record.row = _Row()
            self._hosts.pop(host, None)
        elif meaning in SHARES:
            share = SHARES[meaning] * (SHARE_AT_RCPT if stage is Stage.RCPT else 1.0)
            self._refused(operator, record, host, meaning, share, block_list, text)

    def _rows(self, operator: str, host: str) -> list[_Row]:
        rows = []
        if record := self._operators.get(operator):
            self._operators.move_to_end(operator)
            rows.append(record.row)
        if row := self._hosts.get(host):
            self._hosts.move_to_end(host)
            rows.append(row)
        return rows

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
        if not share:
            return
        now = self._clock()
        of_host = self._hosts.setdefault(host, _Row())
        _keep(self._hosts, host, self._max_hosts)
        for row in (of_host, record.row):
            row.refuse(now, host, meaning, share, block_list)
        if of_host.on_trial or (not of_host.left_s(now) and of_host.weight >= REFUSALS_OF_HOST):
            of_host.pause(now)
        of_all = record.row
        spread = len(of_all.hosts) >= HOSTS_OF_OPERATOR and of_all.weight >= REFUSALS_OF_OPERATOR
        if of_all.on_trial or (not of_all.left_s(now) and spread):
            of_all.pause(now)

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
