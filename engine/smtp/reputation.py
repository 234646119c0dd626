"""How mail hosts treat *us*: refusals of our address, name or sender, and pauses after them. Pure.

A refusal of us says nothing about a mailbox, and each further probe of such a host makes our
reputation worse. So refusals are counted by host and by operator. After several in a row a host, or
all hosts of an operator, are paused, longer each time, and then tried with a single conversation.
The clocks are passed in. The state is bounded and kept in memory; a store collects what is new
(`drain_refusals`, `drain_pauses`) and brings back the pauses of other processes
(`restore_pause`).
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
"""Hosts kept for their refusals; the least recently used are evicted first, operators too."""
MAX_UNSAVED = 10_000
"""Refusals (by operator, meaning and list) and pauses that wait for `drain_*`; more are dropped."""
MAX_REFUSAL_CHARACTERS = 300
"""Characters of a refusal that are kept."""

REFUSALS_UNTIL_HOST_PAUSED = 4
"""Consecutive refusals at one host that pause it; twice as many if they came at RCPT."""
REFUSALS_UNTIL_OPERATOR_PAUSED = 6
HOSTS_UNTIL_OPERATOR_PAUSED = 3
"""Consecutive refusals, at so many hosts of one operator, that pause all its hosts: one
misconfigured host must not."""
STREAK_WINDOW_S = 600.0
"""Refusals count as consecutive for so long after the first of them."""
FIRST_PAUSE_S = 60.0
MAX_PAUSE_S = 3_600.0
PAUSE_GROWTH = 2.0
TRIAL_S = 60.0
"""How long other conversations wait for the outcome of the single one after a pause."""
RESET_AFTER_S = 86_400.0
"""Without a refusal for so long, the next pause is as long as the first one."""

RCPT_WEIGHT_FACTOR = 0.5
"""For refusals at RCPT: a mailbox may have rules of its own."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a host is not asked for now."""

    operator: str
    meaning: Meaning
    """Of the last refusal."""
    refusals: int
    """Consecutive ones."""
    left_s: float
    block_list: str | None = None

    @property
    def text(self) -> str:
        """Stands in the evidence in place of a reply."""
        named = f" ({self.block_list})" if self.block_list else ""
        return (
            f"paused: {self.operator} refused us {self.refusals} times in a row,"
            f" the last time as {self.meaning}{named};"
            f" not asked again for {math.ceil(self.left_s)} s"
        )


@dataclass(frozen=True, slots=True)
class OperatorReputation:
    """How one operator treats us, for display."""

    operator: str
    """A provider (`engine.smtp.providers`), else the registrable domain of the mail hosts."""
    conversations: int
    refusals: dict[Meaning, int]
    block_list: str | None
    """The last one that a refusal named."""
    host: str | None
    """The host that refused us last."""
    text: str | None
    """Its reply, redacted by `redact`."""
    refused_at: datetime | None
    paused_s: float
    """Seconds until its hosts are asked again; 0 if it is not paused as a whole."""
    paused_hosts: tuple[str, ...]
    """Hosts that are paused on their own account, or wait for the outcome of a trial."""

    @property
    def refusal_count(self) -> int:
        """Refusals of all kinds."""
        return sum(self.refusals.values())


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Refusals of one meaning by one operator, counted together."""

    operator: str
    meaning: Meaning
    block_list: str | None
    count: int
    first_at: datetime
    last_at: datetime
    host: str
    """The host that refused us last."""
    text: str | None
    """Its reply, redacted by `redact`."""


@dataclass(frozen=True, slots=True)
class PauseState:
    """A pause of one host or of all hosts of an operator, as another process can restore it."""

    operator: str
    host: str | None
    """None for all hosts of the operator."""
    left_s: float
    """0 if the pause is over."""
    meaning: Meaning
    block_list: str | None
    refusals: int
    consecutive_pauses: int
    """Pauses without a success in between, this one included."""


@dataclass(slots=True)
class _RefusalStreak:
    """Consecutive refusals, and the pause that they led to."""

    refusals: int = 0
    total_weight: float = 0.0
    started_at: float = -math.inf
    last_refusal_at: float = -math.inf
    hosts: set[str] = field(default_factory=set)
    meaning: Meaning = Meaning.IP_BLOCKED
    block_list: str | None = None
    consecutive_pauses: int = 0
    """Pauses without a success in between."""
    paused_until: float = -math.inf
    in_trial: bool = False
    """Whether the pause is over and the next outcome decides about another one."""

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
    """Counts refusals of us, and says which hosts are paused because of them."""

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
        # Both with the least recently used first.
        self._operators: OrderedDict[str, _OperatorRecord] = OrderedDict()
        self._hosts: OrderedDict[str, _RefusalStreak] = OrderedDict()
        self.conversations = 0
        """Since the start."""
        # Not drained yet.
        self._unsaved_refusals: dict[_RefusalKey, RefusalCount] = {}
        self._unsaved_pauses: set[_PauseScope] = set()

    def __len__(self) -> int:
        """Operators kept."""
        return len(self._operators)

    def is_paused(self, host: str) -> bool:
        """Whether `host` is not asked for now; unlike `pause_or_start_trial` it starts no trial."""
        now = self._clock()
        streaks = self._streaks_of(reputation_operator(host), host)
        return any(streak.left_s(now) for streak in streaks)

    def pause_or_start_trial(self, host: str) -> Pause | None:
        """The pause of `host`; None if it may be asked.

        After a pause the first caller gets None, for a trial. The others get a pause until the
        outcome of that trial is recorded, or for `TRIAL_S`.
        """
        now = self._clock()
        operator = reputation_operator(host)
        streaks = self._streaks_of(operator, host)
        paused = max(streaks, key=lambda streak: streak.paused_until, default=None)
        if paused is not None and paused.left_s(now):
            return Pause(
                operator, paused.meaning, paused.refusals, paused.left_s(now), paused.block_list
            )
        for streak in streaks:
            if streak.consecutive_pauses:
                streak.in_trial = True
                streak.paused_until = now + TRIAL_S
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
        """Count the outcome of a conversation with `host`.

        `about_mailbox` if any reply in it was about a mailbox: then a refusal in it was not
        because of us.
        """
        operator = reputation_operator(host)
        record = self._operators.setdefault(operator, _OperatorRecord())
        _touch(self._operators, operator, self._max_operators)
        record.conversations += 1
        self.conversations += 1
        if about_mailbox or meaning in ABOUT_MAILBOX:
            self._reset(operator, record, host)
        elif meaning in REFUSAL_WEIGHTS:
            factor = RCPT_WEIGHT_FACTOR if stage is Stage.RCPT else 1.0
            weight = factor * REFUSAL_WEIGHTS[meaning]
            self._record_refusal(operator, record, host, meaning, weight, block_list, text)

    def drain_refusals(self) -> tuple[RefusalCount, ...]:
        """The refusals counted since the last call."""
        new, self._unsaved_refusals = self._unsaved_refusals, {}
        return tuple(new.values())

    def drain_pauses(self) -> tuple[PauseState, ...]:
        """The pauses that began, or were ended by a success, since the last call."""
        now = self._clock()
        changed, self._unsaved_pauses = self._unsaved_pauses, set()
        return tuple(self._pause_state(scope, now) for scope in changed)

    def restore_pause(self, pause: PauseState) -> None:
        """Take over another process's or an earlier run's pause, unless ours is longer or newer."""
        now = self._clock()
        scope = (pause.operator, pause.host)
        if scope in self._unsaved_pauses:
            return
        record = self._operators.setdefault(pause.operator, _OperatorRecord())
        _touch(self._operators, pause.operator, self._max_operators)
        streak = record.streak
        if pause.host is not None:
            streak = self._hosts.setdefault(pause.host, _RefusalStreak())
            _touch(self._hosts, pause.host, self._max_hosts)
        if now + pause.left_s <= streak.paused_until:
            return
        streak.paused_until, streak.last_refusal_at = now + pause.left_s, now
        streak.meaning, streak.block_list = pause.meaning, pause.block_list
        streak.refusals, streak.consecutive_pauses = pause.refusals, pause.consecutive_pauses
        streak.in_trial = False

    def operators(self) -> tuple[OperatorReputation, ...]:
        """All operators that were asked, those that refused us most often first."""
        now = self._clock()
        paused: dict[str, list[str]] = {}
        for host, streak in self._hosts.items():
            if streak.left_s(now):
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

    def _pause_state(self, scope: _PauseScope, now: float) -> PauseState:
        operator, host = scope
        if host is None:
            record = self._operators.get(operator)
            streak = record.streak if record is not None else _RefusalStreak()
        else:
            streak = self._hosts.get(host) or _RefusalStreak()
        return PauseState(
            operator,
            host,
            streak.left_s(now),
            streak.meaning,
            streak.block_list,
            streak.refusals,
            streak.consecutive_pauses,
        )

    def _streaks_of(self, operator: str, host: str) -> list[_RefusalStreak]:
        streaks = []
        if record := self._operators.get(operator):
            self._operators.move_to_end(operator)
            streaks.append(record.streak)
        if streak := self._hosts.get(host):
            self._hosts.move_to_end(host)
            streaks.append(streak)
        return streaks

    def _reset(self, operator: str, record: _OperatorRecord, host: str) -> None:
        if record.streak.consecutive_pauses:
            self._mark_pause_changed(operator, None)
        record.streak = _RefusalStreak()
        streak = self._hosts.pop(host, None)
        if streak is not None and streak.consecutive_pauses:
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
        operator_streak = record.streak
        host_streak = self._hosts.setdefault(host, _RefusalStreak())
        _touch(self._hosts, host, self._max_hosts)
        for streak in (host_streak, operator_streak):
            streak.add_refusal(now, host, meaning, weight, block_list)
        if host_streak.in_trial or (
            not host_streak.left_s(now) and host_streak.total_weight >= REFUSALS_UNTIL_HOST_PAUSED
        ):
            host_streak.start_pause(now)
            self._mark_pause_changed(operator, host)
        spread = (
            len(operator_streak.hosts) >= HOSTS_UNTIL_OPERATOR_PAUSED
            and operator_streak.total_weight >= REFUSALS_UNTIL_OPERATOR_PAUSED
        )
        if operator_streak.in_trial or (not operator_streak.left_s(now) and spread):
            operator_streak.start_pause(now)
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
        key = (operator, meaning, block_list)
        earlier = self._unsaved_refusals.get(key)
        if earlier is not None:
            count, first_at = earlier.count + 1, earlier.first_at
        elif len(self._unsaved_refusals) < self._max_unsaved:
            count, first_at = 1, at
        else:
            return
        self._unsaved_refusals[key] = RefusalCount(*key, count, first_at, at, host, text)


def _touch(entries: OrderedDict[str, T], key: str, max_size: int) -> None:
    entries.move_to_end(key)
    if len(entries) > max_size:
        entries.popitem(last=False)


_MAILBOX_PATTERN = re.compile(r"[^\s<>()\[\]:;,\"']{1,80}@[\w.-]+")


def redact(text: str | None) -> str | None:
    """A reply without addresses and unprintable characters, cut at `MAX_REFUSAL_CHARACTERS`."""
    if text is None:
        return None
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_REFUSAL_CHARACTERS])
    return " ".join(_MAILBOX_PATTERN.sub("(address)", plain).split())[:MAX_REFUSAL_CHARACTERS]
