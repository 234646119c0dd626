"""The pool of connections to one mail host by one egress: kept, pipelined, renewed in time.

Each connection has a worker, which takes windows of transactions from a queue of groups. Parties
take turns (`engine.turns`), and so do the groups of one, so that a small call does not wait for a
large one. Addresses without a usable reply are
asked again on another connection while that makes progress, then handed to the single path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.bulk.host_limits import (
    TARPIT_S,
    UNLIMITED,
    ConnectionUse,
    HostLimits,
)
from engine.bulk.transaction import (
    ConnectionInfo,
    DomainGroup,
    PendingAddress,
    Transaction,
    Window,
)
from engine.model import Meaning, Stage
from engine.smtp.catch_all import accepts_all
from engine.smtp.connect import EgressFault
from engine.smtp.context import ProbeContext
from engine.smtp.dialogue import Conversation, ConversationEnded, TlsFailed
from engine.smtp.egress import Egress, refuses_egress
from engine.smtp.meanings import ABOUT_MAILBOX
from engine.smtp.providers import pacing_operator
from engine.smtp.terms import (
    RcptReply,
    ReplyClassification,
    Target,
)
from engine.turns import NO_PARTY, FairQueue, FairSlots, Party, acting_for, current_party

CONTROL_WINDOW_SIZE = 8
"""Recipients in the first window of a domain, which has its control."""
ADDRESSES_PER_CONNECTION = 20
"""Pending addresses for each connection; another one is opened beyond it."""
IDLE_TIMEOUT_S = 0.25
"""How long a connection without work is kept open."""
MAX_STALLS = 2
"""Consecutive connections without a reply to any recipient; then the single path takes over."""
MAX_THROTTLED = 2
"""Consecutive connections that a host which has served us rejects as too many; likewise."""
MAX_REST_WAITED_S = 4.0
"""Addresses that have no other egress wait for theirs if it is tried again within this time."""
RECONNECT_PAUSES_S = (0.5, 1.0, 2.0, 2.0)
"""Before each new attempt at a host that has served us and refuses connections: it may be
restarting."""


class HostPool:
    """The connections to one mail host at one IP address, by one egress."""

    def __init__(
        self,
        context: ProbeContext,
        target: Target,
        egress: Egress,
        *,
        recipients_per_connection: int,
        connection_slots: FairSlots,
    ) -> None:
        """`connection_slots` bounds the connections of all pools together."""
        self._context = context
        self._target = target
        self._egress = egress
        self._operator = pacing_operator(target.host)
        sender = egress.config.identity.sender
        self._mail = b"MAIL FROM:<" + sender.encode() + b">"
        self._max_connections = max(1, egress.config.connections_per_host)
        self._recipients_per_connection = max(2, recipients_per_connection)
        self._queue: FairQueue[DomainGroup] = FairQueue()
        self._work_added = asyncio.Event()
        self._waiting_addresses = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._active_workers = 0
        """Workers that will look into the queue again."""
        self._connection_slots = connection_slots
        self._consecutive_stalls = 0
        self._consecutive_throttled = 0
        self._failed_connects = 0
        """Consecutive ones."""
        self._reconnect_pause_s = 0.0
        self.has_connected = False
        self._limits = HostLimits(recipients_per_transaction=UNLIMITED if sender else 1)
        self.last_used_s = self._context.clock()

    @property
    def idle(self) -> bool:
        """Whether the pool has neither connections nor work."""
        return not self._workers and not self._queue

    def submit(self, group: DomainGroup) -> None:
        """Ask about the addresses of `group`; its listener is called once for each of them."""
        group.party = current_party()
        self._enqueue(group, group.pending)

    async def aclose(self) -> None:
        """Cancel the workers, which abort their connections."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    # -- the queue -----------------------------------------------------------------------

    def _enqueue(
        self, group: DomainGroup, added: Sequence[PendingAddress], *, at_front: bool = False
    ) -> None:
        """Put a group into the queue, which it is not in; `added` of its addresses are new."""
        self._waiting_addresses += len(added)
        self._queue.put(group, group.party, at_front=at_front)
        self._work_added.set()
        connections = min(
            self._max_connections, -(-self._waiting_addresses // ADDRESSES_PER_CONNECTION) or 1
        )
        while self._active_workers < connections:
            self._start_worker()

    def _start_worker(self) -> None:
        with acting_for(NO_PARTY):  # it works for all of them
            worker = asyncio.get_running_loop().create_task(self._run_worker())
        self._active_workers += 1
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def _take_window(self, size: int, *, one_transaction: bool, is_first: bool) -> Window:
        """A window of about `size` recipients, from the groups whose turn it is.

        A group whose control is not known yet is in one window at a time.
        """
        window = Window([], is_first)
        left: list[DomainGroup] = []
        while self._queue and size >= 1 and not (window.transactions and one_transaction):
            group = self._queue.pop()
            if not group.listener.is_active:
                self._waiting_addresses -= len(group.pending)
                continue
            max_recipients = min(
                size,
                self._limits.recipients_per_transaction,
                CONTROL_WINDOW_SIZE if group.control_tries else size,
            )
            transaction = group.next_transaction(max_recipients)
            self._waiting_addresses -= len(transaction.addresses)
            size -= len(transaction.addresses) + bool(transaction.control)
            window.transactions.append((group, transaction))
            if group.pending and not group.control_tries:
                left.append(group)
        for group in left:
            self._queue.put(group, group.party)
        return window

    def _move_to_other_egress(self, *, at_once: bool) -> None:
        """Hand the groups that may go by another egress to it; `at_once` as in `EgressSet`."""
        for group in self._drain():
            if self._context.egresses.has_alternative(self._target, group.tried, at_once=at_once):
                self._release(group, other_egress=True)
            else:
                self._keep(group)

    def _hand_over(
        self, *, other_egress: bool = False, only_with_other_hosts: bool = False
    ) -> None:
        """Hand all pending addresses, or those whose domain has other hosts, to the single path.

        With `other_egress` another egress takes them, if there is one.
        """
        for group in self._drain():
            if only_with_other_hosts and not group.listener.has_other_hosts:
                self._keep(group)
            else:
                self._release(group, other_egress=other_egress)

    def _keep(self, group: DomainGroup) -> None:
        self._queue.put(group, group.party)
        self._waiting_addresses += len(group.pending)

    def _release(self, group: DomainGroup, *, other_egress: bool) -> None:
        addresses = [*(pending for pending, _ in group.held_replies), *group.pending]
        group.held_replies.clear()
        group.pending.clear()
        if not group.listener.is_active:
            return
        if other_egress:
            group.listener.on_other_egress(group, addresses, self._target)
        else:
            group.listener.on_single_path(group, addresses)

    def _drain(self) -> list[DomainGroup]:
        """Empty the queue."""
        groups = list(self._queue)
        self._queue.clear()
        self._waiting_addresses -= sum(len(group.pending) for group in groups)
        return groups

    # -- a worker ------------------------------------------------------------------------

    async def _run_worker(self) -> None:
        try:
            while await self._has_work():
                if self._egress.pacer.is_skipped(self._operator):
                    self._hand_over(other_egress=True)
                    break
                if self._egress.pacer.is_backing_off(self._operator):
                    self._move_to_other_egress(at_once=True)
                    self._hand_over(only_with_other_hosts=True)
                    if not self._queue:
                        break
                party = self._queue.next_key()[1] if self._queue else NO_PARTY
                async with (
                    self._egress.pacer.slot(self._operator, pooled=True, party=party),
                    self._connection_slots.slot(party),
                ):
                    if self._queue and not await self._use_connection(party):
                        break
                pause_s, self._reconnect_pause_s = self._reconnect_pause_s, 0.0
                await asyncio.sleep(pause_s)
        except Exception as exc:
            for group in self._drain():
                group.listener.on_failure(exc)
        except asyncio.CancelledError:
            self._drain()
            raise
        finally:
            self._active_workers -= 1
            self.last_used_s = self._context.clock()
            if self._queue and not self._active_workers:
                self._start_worker()  # a group was added while the last worker ended

    async def _use_connection(self, party: Party) -> bool:
        """Open a connection in a slot of `party` and use it; False if the worker should end."""
        if self._egress.health.left_s:
            return self._handle_fault()
        if await self._egress.pause_or_start_trial(self._target.host):
            self._hand_over(other_egress=True)
            return False
        try:
            conversation = await self._open()
        except EgressFault:
            return self._handle_fault()
        except ConversationEnded as ended:
            if not ended.maybe_egress:
                self._egress.unresponsive.record_connection(
                    self._target, ended.result.meaning, ended.result.stage
                )
            return self._handle_rejection(ended)
        self._consecutive_throttled = self._failed_connects = 0
        self.has_connected = True
        try:
            await self._send_windows(conversation, party)
        except BaseException:
            conversation.abort()
            raise
        self._context.pending_quits.quit(conversation)
        self._egress.pacer.record_success(self._operator)
        return True

    def _handle_fault(self) -> bool:
        """The egress does not work; returns whether this worker should wait for it."""
        self._move_to_other_egress(at_once=False)
        rest_s = self._egress.health.left_s
        if self._queue and rest_s <= MAX_REST_WAITED_S and self._active_workers == 1:
            self._reconnect_pause_s = rest_s
            return True
        if self._active_workers == 1:
            self._hand_over()
        return False

    def _handle_rejection(self, ended: ConversationEnded) -> bool:
        """The host rejected a connection; returns whether this worker should try another one."""
        result = ended.result
        if result.reply is not None or ended.greeted:
            self._record_reputation(
                result.stage, result.classification, result.reply.text if result.reply else None
            )
        throttled = result.meaning is Meaning.THROTTLED
        if throttled:
            self._consecutive_throttled += 1
            self._egress.pacer.record_throttling(
                self._operator, result.classification.retry_after_s, result.stage
            )
        if self._active_workers > 1:
            return False  # the others have a connection, or will be rejected as well
        if throttled and self.has_connected and self._consecutive_throttled <= MAX_THROTTLED:
            return True
        if ended.maybe_egress:
            self._move_to_other_egress(at_once=True)
        may_be_restarting = result.meaning is Meaning.UNREACHABLE and self.has_connected
        if may_be_restarting and self._failed_connects < len(RECONNECT_PAUSES_S):
            self._reconnect_pause_s = RECONNECT_PAUSES_S[self._failed_connects]
            self._failed_connects += 1
            return True
        self._consecutive_throttled = self._failed_connects = 0
        self._hand_over(other_egress=refuses_egress(ended))
        return False

    def _record_reputation(
        self, stage: Stage, classification: ReplyClassification, text: str | None
    ) -> None:
        self._egress.reputation.record_outcome(
            self._target.host,
            classification.meaning,
            stage,
            block_list=classification.block_list,
            text=text,
        )

    async def _has_work(self) -> bool:
        """Whether there is work; waits up to `IDLE_TIMEOUT_S` unless others need the slot."""
        if not self._queue:
            if self._connection_slots.is_full:
                return False
            self._work_added.clear()
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    await self._work_added.wait()
            except TimeoutError:
                return False
        return True

    async def _open(self) -> Conversation:
        try:
            return await self._open_with(tls=True)
        except TlsFailed:
            return await self._open_with(tls=False)

    async def _open_with(self, *, tls: bool) -> Conversation:
        limits = self._context.limits
        return await self._context.egresses.open_conversation(
            self._egress,
            self._target,
            connect_timeout_s=limits.connect_timeout_s,
            command_timeout_s=limits.command_timeout_s,
            tls_timeout_s=limits.command_timeout_s,
            tls=self._context.tls if tls else None,
            trace=_discard_trace,
        )

    async def _send_windows(self, conversation: Conversation, party: Party) -> None:
        """Send windows until the connection, its limits or the queue are exhausted."""
        use = ConnectionUse()
        one_transaction = not conversation.supports("pipelining")
        try:
            while conversation.usable and await self._has_work():
                if self._egress.pacer.should_give_back(self._operator, party):
                    return
                size = self._limits.next_window_size(use, self._recipients_per_connection)
                if size < 1:
                    return
                window = self._take_window(
                    size, one_transaction=one_transaction, is_first=not use.recipients
                )
                if window.transactions and not await self._exchange_window(
                    conversation, window, use
                ):
                    return
        finally:
            if use.tests_budget:
                self._limits.refusal_budget.test_running = False

    async def _exchange_window(
        self, conversation: Conversation, window: Window, use: ConnectionUse
    ) -> bool:
        """Send a window; False if the connection should not be used again."""
        try:
            return await self._run_window(conversation, window, use)
        except Exception as exc:
            for group, _ in window.transactions:
                group.listener.on_failure(exc)
            raise

    async def _run_window(
        self, conversation: Conversation, window: Window, use: ConnectionUse
    ) -> bool:
        clock = self._context.clock
        started = clock()
        replies, broken = await conversation.exchange(
            window.commands(self._mail),
            self._context.limits.command_timeout_s,
            max_refusals=self._limits.max_refusals(use),
            refused_timeout_s=TARPIT_S,
        )
        took_s = clock() - started
        window.read_replies(replies)
        self._limits.record_window(
            use,
            asked=window.asked,
            refused=window.refused,
            took_s=took_s,
            broken=broken is not None,
        )
        self._record_window_reputation(window)
        connection = ConnectionInfo(
            self._target, conversation.tls, round(took_s * 1000), self._egress.name
        )
        self._settle_window(window, connection, broken)
        return broken is None and not window.mail_refused

    def _record_window_reputation(self, window: Window) -> None:
        """Record how the host treats us: well, if any reply was about a mailbox."""
        first: RcptReply | None = None
        for _, transaction in window.transactions:
            first = first or transaction.first_reply
            for _, reply in transaction.answered:
                if reply.classification.meaning in ABOUT_MAILBOX:
                    self._record_reputation(Stage.RCPT, reply.classification, None)
                    return
        if first is not None:
            self._record_reputation(Stage.RCPT, first.classification, first.text)

    def _settle_window(
        self, window: Window, connection: ConnectionInfo, broken: Meaning | None
    ) -> None:
        """Deliver the replies and queue the retries; give up on the queue after too many stalls.

        `broken` says why the replies broke off, if they did.
        """
        has_progress = window.has_progress
        stuck = broken is not None and not has_progress
        for group, transaction in window.transactions:
            self._settle_transaction(
                group, transaction, connection, stuck=stuck or window.first_mail_refused
            )
            stuck = False  # the first transaction may be the cause; the others are retried
        if has_progress:
            self._consecutive_stalls = 0
        elif broken is not None or window.first_mail_refused:
            self._consecutive_stalls += 1
            if self._consecutive_stalls >= MAX_STALLS or broken is Meaning.TIMED_OUT:
                self._consecutive_stalls = 0
                self._hand_over(other_egress=window.first_mail_refused)

    def _settle_transaction(
        self,
        group: DomainGroup,
        transaction: Transaction,
        connection: ConnectionInfo,
        *,
        stuck: bool,
    ) -> None:
        """Deliver a transaction's replies and queue its retries; `stuck` as in `split_retries`."""
        if transaction.max_recipients:
            self._limits.recipients_per_transaction = min(
                self._limits.recipients_per_transaction, transaction.max_recipients
            )
        for pending in transaction.retry_alone:
            pending.alone = True
        retries, for_single_path = transaction.split_retries(stuck=stuck)
        # While its control was unknown this window was the only one that had the group.
        was_in_queue = bool(group.pending) and not group.control_tries
        group.held_replies += transaction.answered
        if transaction.control:
            self._record_control(group, transaction)
        if not group.control_tries and group.held_replies:
            replies, group.held_replies = group.held_replies, []
            if group.listener.is_active:
                group.listener.on_replies(group, replies, connection)
        if for_single_path and group.listener.is_active:
            group.listener.on_single_path(group, for_single_path)
        group.pending.extendleft(reversed(retries))
        if was_in_queue:
            self._waiting_addresses += len(retries)
        elif group.pending or group.control_tries:
            self._enqueue(group, retries, at_front=True)

    def _record_control(self, group: DomainGroup, transaction: Transaction) -> None:
        reply = transaction.control_reply
        group.control_tries = 0 if reply is not None else group.control_tries - 1
        group.control_reply = reply
        if not group.control_tries:
            group.catch_all = self._context.catch_all_cache.update(
                group.domain, self._operator, accepts_all(reply)
            )


def _discard_trace(_who: str, _what: str) -> None:
    """A batch keeps no transcripts, which would be larger than all other evidence."""
