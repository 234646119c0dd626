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
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from engine.model import Meaning, Stage
from engine.smtp.meanings import ABOUT_MAILBOX, REFUSAL_WEIGHTS
from engine.smtp.providers import reputation_operator

T = TypeVar("T")

MAX_TRACKED_OPERATORS = 5_000
MAX_TRACKED_HOSTS = 20_000
"""Hosts remembered for their refusals; the least recently asked go first, operators too."""
MAX_UNSAVED = 10_000
"""Kinds of refusals, and pauses, that wait to be taken; beyond it new ones are not handed on."""
MAX_REFUSAL_CHARACTERS = 300
"""Characters of a refusal that are kept."""

REFUSALS_UNTIL_HOST_PAUSED = 4
"""In a row at one host, then it is left alone; twice as many where they came at RCPT."""
REFUSALS_UNTIL_OPERATOR_PAUSED = 6
HOSTS_UNTIL_OPERATOR_PAUSED = 3
"""In a row at so many of its hosts, then they are all left alone: one odd host is not enough."""
STREAK_WINDOW_S = 600.0
"""Refusals further apart than this are no row."""
FIRST_PAUSE_S = 60.0
MAX_PAUSE_S = 3_600.0
PAUSE_GROWTH = 2.0
TRIAL_S = 60.0
"""How long others wait for the outcome of the one conversation after a pause."""
RESET_AFTER_S = 86_400.0
"""Without a refusal for so long, the next pause is a first one again."""

RCPT_WEIGHT_FACTOR = 0.5
"""Of those said to RCPT: a mailbox may have a guard of its own."""


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
class OperatorReputation:
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
    def refusal_count(self) -> int:
        """Refusals of all kinds."""
        return sum(self.refusals.values())


@dataclass(frozen=True, slots=True)
class RefusalCount:
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
class PauseState:
    """One host, or all of an operator's, that is left alone: enough to go on with it elsewhere."""

    operator: str
    host: str | None
    """None for all of the operator's."""
    left_s: float
    """0 if it is over."""
    meaning: Meaning
    block_list: str | None
    refusals: int
    consecutive_pauses: int
    """Pauses so far without a success in between."""


@dataclass(slots=True)
class _RefusalStreak:
    """Refusals in a row, and the pause they led to."""

    refusals: int = 0
    total_weight: float = 0.0
    started_at: float = -math.inf
    last_refusal_at: float = -math.inf
    hosts: set[str] = field(default_factory=set)
    meaning: Meaning = Meaning.IP_BLOCKED
    block_list: str | None = None
    consecutive_pauses: int = 0
    """Without a success in between."""
    paused_until: float = -math.inf
    in_trial: bool = False
    """The pause is over, or nearly: the next outcome decides."""

    def left_s(self, now: float) -> float:
        return max(0.0, self.paused_until - now)

    def add_refusal(
        self, now: float, host: str, meaning: Meaning, weight: float, block_list: str | None
    ) -> None:
        if now - self.last_refusal_at > RESET_AFTER_S:
            self.consecutive_pauses = 0
            self.in_trial = False
        if not self.consecutive_pauses and now - self.started_at > STREAK_WINDOW_S:
            self.refusals, self.total_weight, self.started_at = 0, 0.0, now
            self.hosts.clear()
        self.refusals += 1
        self.total_weight += weight
        self.last_refusal_at = now
        if len(self.hosts) < HOSTS_UNTIL_OPERATOR_PAUSED:
            self.hosts.add(host)
        self.meaning, self.block_list = meaning, block_list or self.block_list

    def start_pause(self, now: float) -> None:
        growth = PAUSE_GROWTH ** min(self.consecutive_pauses, 32)
        self.paused_until = now + min(MAX_PAUSE_S, FIRST_PAUSE_S * growth)
        self.consecutive_pauses += 1
        self.in_trial = False


@dataclass(slots=True)
class _OperatorRecord:
    conversations: int = 0
    refusals: Counter[Meaning] = field(default_factory=Counter)
    block_list: str | None = None
    last_host: str | None = None
    last_text: str | None = None
    refused_at: datetime | None = None
    streak: _RefusalStreak = field(default_factory=_RefusalStreak)


_RefusalKey = tuple[str, Meaning, str | None]
"""Operator, meaning, block list."""
_PauseScope = tuple[str, str | None]
"""Operator and host, or None for all of its hosts."""


class ReputationTracker:
    """Counts what hosts say of us, and tells which of them to leave alone."""

    def __init__(
        self,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        *,
        max_operators: int = MAX_TRACKED_OPERATORS,
        max_hosts: int = MAX_TRACKED_HOSTS,
        max_unsaved: int = MAX_UNSAVED,
    ) -> None:
        self._clock = clock
        self._max_operators = max_operators
        self._max_hosts = max_hosts
        self._max_unsaved = max_unsaved
        self._now = now
        # The least recently asked first.
        self._operators: OrderedDict[str, _OperatorRecord] = OrderedDict()
        self._hosts: OrderedDict[str, _RefusalStreak] = OrderedDict()
        # What was not taken yet.
        self._unsaved_refusals: dict[_RefusalKey, RefusalCount] = {}
        self._unsaved_pauses: set[_PauseScope] = set()

    def __len__(self) -> int:
        """Operators remembered."""
        return len(self._operators)

    def pause_or_start_trial(self, host: str) -> Pause | None:
        """Why `host` should not be asked now; None if it may be.

        After a pause the first to ask gets None, and everybody else a pause until that one's
        outcome is noted, or for `TRIAL_S`.
        """
        now = self._clock()
        operator = reputation_operator(host)
        rows = self._streaks_of(operator, host)
        paused = max(rows, key=lambda row: row.paused_until, default=None)
        if paused is not None and paused.left_s(now):
            return Pause(
                operator, paused.meaning, paused.refusals, paused.left_s(now), paused.block_list
            )
        for row in rows:
            if row.consecutive_pauses:
                row.in_trial = True
                row.paused_until = now + TRIAL_S
        return None

    def record_outcome(
        self,
        host: str,
        meaning: Meaning,
        stage: Stage,
        *,
        about_mailbox: bool = False,
        block_list: str | None = None,
        text: str | None = None,
    ) -> None:
        """What a conversation with `host` came to.

        `about_mailbox` tells that some reply in it was about a mailbox, so that whatever was
        refused was not refused for our sake.
        """
        operator = reputation_operator(host)
        record = self._operators.setdefault(operator, _OperatorRecord())
        _touch(self._operators, operator, self._max_operators)
        record.conversations += 1
        if about_mailbox or meaning in ABOUT_MAILBOX:
            self._reset(operator, record, host)
        elif meaning in REFUSAL_WEIGHTS:
            share = REFUSAL_WEIGHTS[meaning] * (RCPT_WEIGHT_FACTOR if stage is Stage.RCPT else 1.0)
            self._record_refusal(operator, record, host, meaning, share, block_list, text)

    def drain_refusals(self) -> tuple[RefusalCount, ...]:
        """What was counted since this was asked last."""
        new, self._unsaved_refusals = self._unsaved_refusals, {}
        return tuple(new.values())

    def drain_pauses(self) -> tuple[PauseState, ...]:
        """Pauses that began or were ended by a success since this was asked last."""
        now = self._clock()
        changed, self._unsaved_pauses = self._unsaved_pauses, set()
        return tuple(self._pause_state(scope, now) for scope in changed)

    def restore_pause(self, pause: PauseState) -> None:
        """Go on with a pause of an earlier run or another process, unless we know better."""
        now = self._clock()
        scope = (pause.operator, pause.host)
        if scope in self._unsaved_pauses:
            return
        record = self._operators.setdefault(pause.operator, _OperatorRecord())
        _touch(self._operators, pause.operator, self._max_operators)
        row = record.streak
        if pause.host is not None:
            row = self._hosts.setdefault(pause.host, _RefusalStreak())
            _touch(self._hosts, pause.host, self._max_hosts)
        if now + pause.left_s <= row.paused_until:
            return
        row.paused_until, row.last_refusal_at = now + pause.left_s, now
        row.meaning, row.block_list = pause.meaning, pause.block_list
        row.refusals, row.consecutive_pauses = pause.refusals, pause.consecutive_pauses
        row.in_trial = False

    def _pause_state(self, scope: _PauseScope, now: float) -> PauseState:
        operator, host = scope
        if host is None:
            record = self._operators.get(operator)
            row = record.streak if record is not None else _RefusalStreak()
        else:
            row = self._hosts.get(host) or _RefusalStreak()
        return PauseState(
            operator,
            host,
            row.left_s(now),
            row.meaning,
            row.block_list,
            row.refusals,
            row.consecutive_pauses,
        )

    def _streaks_of(self, operator: str, host: str) -> list[_RefusalStreak]:
        rows = []
        if record := self._operators.get(operator):
            self._operators.move_to_end(operator)
            rows.append(record.streak)
        if row := self._hosts.get(host):
            self._hosts.move_to_end(host)
            rows.append(row)
        return rows

    def _reset(self, operator: str, record: _OperatorRecord, host: str) -> None:
        if record.streak.consecutive_pauses:
            self._mark_pause_changed(operator, None)
        record.streak = _RefusalStreak()
        row = self._hosts.pop(host, None)
        if row is not None and row.consecutive_pauses:
            self._mark_pause_changed(operator, host)

    def _mark_pause_changed(self, operator: str, host: str | None) -> None:
        if len(self._unsaved_pauses) < self._max_unsaved:
            self._unsaved_pauses.add((operator, host))

    def _record_refusal(
        self,
        operator: str,
        record: _OperatorRecord,
        host: str,
        meaning: Meaning,
        weight: float,
        block_list: str | None,
        text: str | None,
    ) -> None:
        record.refusals[meaning] += 1
        record.block_list = block_list or record.block_list
        record.last_host, record.last_text, record.refused_at = host, redact(text), self._now()
        self._count_unsaved(
            operator, meaning, block_list, host, record.last_text, record.refused_at
        )
        if not weight:
            return
        now = self._clock()
        of_host = self._hosts.setdefault(host, _RefusalStreak())
        _touch(self._hosts, host, self._max_hosts)
        for row in (of_host, record.streak):
            row.add_refusal(now, host, meaning, weight, block_list)
        if of_host.in_trial or (
            not of_host.left_s(now) and of_host.total_weight >= REFUSALS_UNTIL_HOST_PAUSED
        ):
            of_host.start_pause(now)
            self._mark_pause_changed(operator, host)
        of_all = record.streak
        spread = (
            len(of_all.hosts) >= HOSTS_UNTIL_OPERATOR_PAUSED
            and of_all.total_weight >= REFUSALS_UNTIL_OPERATOR_PAUSED
        )
        if of_all.in_trial or (not of_all.left_s(now) and spread):
            of_all.start_pause(now)
            self._mark_pause_changed(operator, None)

    def _count_unsaved(
        self,
        operator: str,
        meaning: Meaning,
        block_list: str | None,
        host: str,
        text: str | None,
        at: datetime,
    ) -> None:
        kind = (operator, meaning, block_list)
        earlier = self._unsaved_refusals.get(kind)
        if earlier is not None:
            count, first_at = earlier.count + 1, earlier.first_at
        elif len(self._unsaved_refusals) < self._max_unsaved:
            count, first_at = 1, at
        else:
            return
        self._unsaved_refusals[kind] = RefusalCount(*kind, count, first_at, at, host, text)

    def operators(self) -> tuple[OperatorReputation, ...]:
        """Every operator that was asked, the one that refused us most often first."""
        now = self._clock()
        paused: dict[str, list[str]] = {}
        for host, row in self._hosts.items():
            if row.left_s(now):
                paused.setdefault(reputation_operator(host), []).append(host)
        found = [
            OperatorReputation(
                operator=operator,
                conversations=record.conversations,
                refusals=dict(record.refusals),
                block_list=record.block_list,
                host=record.last_host,
                text=record.last_text,
                refused_at=record.refused_at,
                paused_s=record.streak.left_s(now),
                paused_hosts=tuple(sorted(paused.get(operator, ()))),
            )
            for operator, record in self._operators.items()
        ]
        return tuple(sorted(found, key=lambda a: (-a.refusal_count, -a.conversations, a.operator)))


def _touch(entries: OrderedDict[str, T], key: str, max_size: int) -> None:
    entries.move_to_end(key)
    if len(entries) > max_size:
        entries.popitem(last=False)


_MAILBOX_PATTERN = re.compile(r"[^\s<>()\[\]:;,\"']{1,80}@[\w.-]+")


def redact(text: str | None) -> str | None:
    """A server's words without mailboxes, control characters and what is beyond `MAX_TEXT`."""
    if text is None:
        return None
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_REFUSAL_CHARACTERS])
    return " ".join(_MAILBOX_PATTERN.sub("(address)", plain).split())[:MAX_REFUSAL_CHARACTERS]
