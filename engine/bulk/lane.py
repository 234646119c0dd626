"""The connections to one mail host in bulk: kept, pipelined, renewed before the host objects.

Workers take windows of transactions from a queue of groups, turn by turn, so that a small call
does not wait for a large one. What goes wrong is asked again on a new connection as long as
that leads on, and then left to the single path.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.bulk.window import CLOSING, DECIDES, Asked, Group, Transaction, Where
from engine.model import Meaning, Stage
from engine.smtp.catch_all import Heard, accepts_all
from engine.smtp.dialogue import (
    Conversation,
    ConversationEnded,
    Said,
    Target,
    TlsFailed,
    open_conversation,
)
from engine.smtp.inquiry import Means, operator_of
from engine.smtp.pipe import Reply
from engine.smtp.reply import Reading

FIRST_ROOM = 10
"""Recipients in the first window of a connection; it then grows while the host is quick."""
MOST_ROOM = 200
OPENING_ROOM = 8
"""Addresses of a domain that are asked with its control, before all others."""
QUICK_S, SLOW_S = 0.5, 2.0
"""Windows that take less are doubled, that take more are halved."""
PATIENCE_OF_HOSTS = 9
"""Refused recipients on a connection before some servers slow down (Postfix: at the tenth)."""
KEPT_IN_HAND = 2
"""Of these, not to be used up: a window for one more recipient is not worth its while."""
SLOWED_S = 0.8
"""What a window takes at least where replies are held back (Postfix: by a second each)."""
TESTED_WITH = 2
"""Recipients asked beyond that, once, to see whether this server does."""
TRUST = 4
"""Recipients accepted in a row for each that a window may then hold, on untested hosts."""
UNLIMITED = 1_000_000
WORTH_A_CONNECTION = 20
"""Addresses waiting for each connection before another one is opened."""
LINGER_S = 0.25
"""How long a connection without work is kept."""
MOST_STALLS = 2
"""Connections in a row that end before any recipient is heard, then the rest is left."""
MOST_THROTTLED = 2
RESTART_PAUSES_S = (0.5, 1.0, 2.0, 2.0)
"""Waits for a host that has spoken to us and is gone: it may be starting again."""


@dataclass(slots=True)
class Manners:
    """What this host was found to want."""

    patience: int = PATIENCE_OF_HOSTS
    """Refused recipients on one connection."""
    tested: bool = False
    """Whether it is known what happens beyond that."""
    testing: bool = False
    """Whether a connection is about to find out."""
    transaction: int = UNLIMITED
    """Recipients in one transaction."""
    refuses: float = 0.0
    """Share of recipients refused lately."""
    accepted: int = 0
    """Recipients in a row."""
    room: int = FIRST_ROOM


@dataclass(slots=True)
class _Use:
    """How far a connection is used."""

    asked: int = 0
    refused: int = 0
    transactions: int = 0
    testing: bool = False


class Lane:
    """One mail host at one address."""

    def __init__(
        self,
        means: Means,
        target: Target,
        *,
        most_connections: int,
        recipients_per_connection: int,
        places: asyncio.Semaphore,
    ) -> None:
        """`places` bounds the connections of all lanes together."""
        self._means = means
        self._target = target
        self._operator = operator_of(target.host)
        self._most_connections = max(1, most_connections)
        self._per_connection = max(2, recipients_per_connection)
        self._queue: deque[Group] = deque()
        self._more = asyncio.Event()
        self._waiting = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._staff = 0
        """Workers that are not on their way out."""
        self._places = places
        self._stalls = 0
        self._throttled = 0
        self._gone = 0
        """Connections in a row that could not be made."""
        self._pause_s = 0.0
        self.has_spoken = False
        self._manners = Manners(transaction=UNLIMITED if means.identity.sender else 1)
        self.last_used_s = time.monotonic()

    @property
    def idle(self) -> bool:
        return not self._workers and not self._queue

    def add(self, group: Group) -> None:
        """Ask about the addresses of `group`; its asker hears of each of them once."""
        self._push(group, group.waiting)

    async def aclose(self) -> None:
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # -- the queue -----------------------------------------------------------------------

    def _push(self, group: Group, added: Sequence[Asked], *, first: bool = False) -> None:
        """Put a group that is not in the queue there, with `added` counted as waiting."""
        self._waiting += len(added)
        if first:
            self._queue.appendleft(group)
        else:
            self._queue.append(group)
        self._more.set()
        wanted = min(self._most_connections, -(-self._waiting // WORTH_A_CONNECTION) or 1)
        while self._staff < wanted:
            self._hire()

    def _hire(self) -> None:
        worker = asyncio.get_running_loop().create_task(self._work())
        self._staff += 1
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def _take(self, room: int, *, single: bool) -> list[tuple[Group, Transaction]]:
        """Transactions of at most about `room` recipients from the groups whose turn it is."""
        window: list[tuple[Group, Transaction]] = []
        for _ in range(len(self._queue)):
            if room < 1 or (window and single):
                break
            group = self._queue.popleft()
            if not group.asker.live:
                self._waiting -= len(group.waiting)
                continue
            # Others get at a group only when its control is known.
            most = min(room, OPENING_ROOM) if group.control_tries else room
            transaction = group.take(min(most, self._manners.transaction))
            self._waiting -= len(transaction.asked)
            room -= len(transaction.asked) + bool(transaction.control)
            window.append((group, transaction))
            if group.waiting and not group.control_tries:
                self._queue.append(group)
        return window

    def _give_up(self, *, if_elsewhere: bool = False) -> None:
        """Leave all that waits to the single path, or all that has other hosts to go to."""
        for group in self._drain():
            if if_elsewhere and not group.asker.has_other_hosts:
                self._queue.append(group)
                self._waiting += len(group.waiting)
                continue
            asked = [*(asked for asked, _ in group.held), *group.waiting]
            group.held.clear()
            group.waiting.clear()
            if group.asker.live:
                group.asker.hard(group, asked)

    def _drain(self) -> list[Group]:
        groups = list(self._queue)
        self._queue.clear()
        self._waiting -= sum(len(group.waiting) for group in groups)
        return groups

    # -- a worker ------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while await self._has_work():
                if self._means.pacer.is_shut(self._operator):
                    self._give_up()
                    break
                if self._means.pacer.turns_away(self._operator):
                    self._give_up(if_elsewhere=True)
                    if not self._queue:
                        break
                async with self._means.pacer.slot(self._operator, patient=True), self._places:
                    if self._queue and not await self._visit():
                        break
                pause_s, self._pause_s = self._pause_s, 0.0
                await asyncio.sleep(pause_s)
        except Exception as exc:
            for group in self._drain():
                group.asker.failed(exc)
        except asyncio.CancelledError:
            self._drain()
            raise
        finally:
            self._staff -= 1
            self.last_used_s = time.monotonic()
            if self._queue and not self._staff:
                self._hire()  # it came while the last one was leaving

    async def _visit(self) -> bool:
        """One connection; False if the worker should end."""
        if self._means.standing.pause(self._target.host):
            self._give_up()
            return False
        try:
            conversation = await self._open()
        except ConversationEnded as ended:
            self._means.absent.note(self._target, ended.said.meaning, ended.said.stage)
            return self._turned_away(ended.said, greeted=ended.greeted)
        self._throttled = self._gone = 0
        self.has_spoken = True
        try:
            await self._talk(conversation)
        except BaseException:
            conversation.abort()
            raise
        self._means.farewells.say(conversation)
        self._means.pacer.went_well(self._operator)
        return True

    def _turned_away(self, said: Said, *, greeted: bool) -> bool:
        """The host would not hear us; whether to try again."""
        if said.reply is not None or greeted:
            self._note(said.stage, said.reading, said.reply.text if said.reply else None)
        throttled = said.meaning is Meaning.THROTTLED
        if throttled:
            self._throttled += 1
            self._means.pacer.complained(self._operator, said.reading.retry_after_s, said.stage)
        if self._staff > 1:
            return False  # the others have a connection, or will come here too
        if throttled and self.has_spoken and self._throttled <= MOST_THROTTLED:
            return True
        gone = said.meaning is Meaning.UNREACHABLE and self.has_spoken
        if gone and self._gone < len(RESTART_PAUSES_S):
            self._pause_s = RESTART_PAUSES_S[self._gone]
            self._gone += 1
            return True
        self._throttled = self._gone = 0
        self._give_up()
        return False

    def _note(self, stage: Stage, reading: Reading, text: str | None) -> None:
        self._means.standing.note(
            self._target.host, reading.meaning, stage, block_list=reading.block_list, text=text
        )

    async def _has_work(self) -> bool:
        """Waits a little for some."""
        if not self._queue:
            if self._places.locked():
                return False
            self._more.clear()
            try:
                async with asyncio.timeout(LINGER_S):
                    await self._more.wait()
            except TimeoutError:
                return False
        return True

    async def _open(self) -> Conversation:
        try:
            return await self._open_with(tls=True)
        except TlsFailed:
            return await self._open_with(tls=False)

    async def _open_with(self, *, tls: bool) -> Conversation:
        limits = self._means.limits
        return await open_conversation(
            self._target,
            self._means.identity,
            connect_timeout_s=limits.connect_timeout_s,
            command_timeout_s=limits.command_timeout_s,
            tls_timeout_s=limits.command_timeout_s,
            tls=self._means.tls if tls else None,
            say=_unnoted,
        )

    async def _talk(self, conversation: Conversation) -> None:
        use = _Use()
        single = not conversation.offers("pipelining")
        try:
            while conversation.usable and await self._has_work():
                if self._means.pacer.wanted(self._operator):
                    return
                room = self._room(use)
                if room < 1:
                    return
                window = self._take(room, single=single)
                if window and not await self._exchange(conversation, window, use):
                    return
        finally:
            if use.testing:
                self._manners.testing = False

    def _room(self, use: _Use) -> int:
        """How many recipients the next window may have; 0 for none on this connection."""
        manners = self._manners
        left = min(manners.room, self._per_connection - use.asked)
        patience = manners.patience - use.refused
        if patience < min(KEPT_IN_HAND, manners.patience):
            if manners.tested or (manners.testing and not use.testing):
                return 0
            use.testing = manners.testing = True
            return min(left, TESTED_WITH)
        if not manners.tested:
            # A list may begin with the good ones: a window full of bad ones must not cost much.
            left = min(left, max(patience + TESTED_WITH, manners.accepted // TRUST))
        if manners.refuses > 0:
            left = min(left, max(patience, round(patience / (3 * manners.refuses))))
        return left

    async def _exchange(
        self, conversation: Conversation, window: list[tuple[Group, Transaction]], use: _Use
    ) -> bool:
        """Ask a window; False if the connection should not be used again."""
        try:
            return await self._ask(conversation, window, use)
        except Exception as exc:
            for group, _ in window:
                group.asker.failed(exc)
            raise

    async def _ask(
        self, conversation: Conversation, window: list[tuple[Group, Transaction]], use: _Use
    ) -> bool:
        mail = b"MAIL FROM:<" + self._means.identity.sender.encode() + b">"
        commands: list[bytes] = []
        fresh = use.transactions == 0
        for number, (_, transaction) in enumerate(window):
            commands += transaction.commands(mail, reset=not fresh or number > 0)
        clock = self._means.clock
        started = clock()
        replies, broken = await conversation.exchange(
            commands,
            self._means.limits.command_timeout_s,
            # Where it is not known what the host does then, a slow reply is enough of an answer.
            refusals=0 if self._manners.tested or use.testing else PATIENCE_OF_HOSTS - use.refused,
            refused_timeout_s=SLOWED_S,
        )
        took_s = clock() - started
        heard, refused, count, turned_away = self._read(window, replies, fresh=fresh)
        closing = bool(replies) and replies[-1].code == CLOSING
        self._learn(use, refused, count, took_s, broken=broken is not None, closing=closing)
        use.asked += count
        use.refused += refused
        first_mail_refused = turned_away and fresh and window[0][1].mail_refused
        use.transactions += len(window)
        progress = heard > 0
        stuck = broken is not None and not progress
        self._note_window(window)
        where = Where(self._target, conversation.tls, round(took_s * 1000))
        for group, transaction in window:
            self._settle(group, transaction, where, stuck=stuck or first_mail_refused)
            stuck = False  # the first one may be the cause, the others are asked again
        if progress:
            self._stalls = 0
        elif broken is not None or first_mail_refused:
            self._stalls += 1
            if self._stalls >= MOST_STALLS or broken is Meaning.TIMED_OUT:
                self._stalls = 0
                self._give_up()
        return broken is None and not turned_away

    def _read(
        self, window: Iterable[tuple[Group, Transaction]], replies: Iterable[Reply], *, fresh: bool
    ) -> tuple[int, int, int, bool]:
        """Recipients heard, refused and asked, and whether a MAIL was refused."""
        arriving = iter(replies)
        heard = refused = asked = 0
        turned_away = False
        for number, (_, transaction) in enumerate(window):
            refused += transaction.take(arriving, reset=not fresh or number > 0)
            heard += len(transaction.heard) + len(transaction.again) + len(transaction.hard)
            heard += transaction.control_heard is not None
            asked += len(transaction.asked) + bool(transaction.control)
            turned_away = turned_away or transaction.mail_refused
        return heard, refused, asked, turned_away

    def _note_window(self, window: Iterable[tuple[Group, Transaction]]) -> None:
        """Tell how the host treats us: well, if any reply was about a mailbox."""
        first: Heard | None = None
        for _, transaction in window:
            first = first or transaction.first_heard
            for _, heard in transaction.heard:
                if heard.reading.meaning in DECIDES:
                    self._note(Stage.RCPT, heard.reading, None)
                    return
        if first is not None:
            self._note(Stage.RCPT, first.reading, first.text)

    def _learn(
        self, use: _Use, refused: int, count: int, took_s: float, *, broken: bool, closing: bool
    ) -> None:
        manners = self._manners
        manners.refuses += 0.2 * (refused / max(count, 1) - manners.refuses)
        if manners.refuses < 0.001:
            manners.refuses = 0.0
        manners.accepted = 0 if refused else manners.accepted + count
        total = use.refused + refused
        if refused and (closing or broken):
            # It hung up on us for what it refused: next time we leave before.
            manners.patience = max(1, min(manners.patience, total - 1))
            manners.tested = True
        elif not manners.tested and total > manners.patience:
            if took_s > SLOWED_S:
                manners.tested = True
            elif total > manners.patience + TESTED_WITH:
                manners.tested = True
                manners.patience = UNLIMITED
        if broken or took_s > SLOW_S:
            manners.room = max(1, manners.room // 2)
        elif took_s < QUICK_S and count >= manners.room:
            manners.room = min(MOST_ROOM, manners.room * 2)

    def _settle(self, group: Group, transaction: Transaction, where: Where, *, stuck: bool) -> None:
        """Hand on what was heard, and queue the rest again."""
        if transaction.room:
            self._manners.transaction = min(self._manners.transaction, transaction.room)
        for asked in transaction.again:
            asked.alone = True
        again = [*transaction.unheard, *transaction.again]
        hard = transaction.hard
        if stuck and again:
            cut = len(again) if transaction.mail_refused else 1
            hard = hard + again[:cut]
            again = again[cut:]
        waiting_turn = bool(group.control_tries)
        group.held += transaction.heard
        if transaction.control:
            self._settle_control(group, transaction)
        if not group.control_tries and group.held:
            heard, group.held = group.held, []
            if group.asker.live:
                group.asker.told(group, heard, where)
        if hard and group.asker.live:
            group.asker.hard(group, hard)
        queued = bool(group.waiting) and not waiting_turn
        group.waiting.extendleft(reversed(again))
        if queued:
            self._waiting += len(again)
        elif group.waiting or group.control_tries:
            self._push(group, again, first=True)

    def _settle_control(self, group: Group, transaction: Transaction) -> None:
        heard = transaction.control_heard
        group.control_tries = 0 if heard is not None else group.control_tries - 1
        group.control_heard = heard
        if not group.control_tries:
            group.catch_all = self._means.memory.learn(
                group.domain, self._operator, accepts_all(heard)
            )


def _unnoted(_who: str, _said: str) -> None:
    """Bulk keeps no transcript: it would be longer than all else that is known."""
