"""The ways out to mail hosts, with pacing and reputation of their own, and the choice among them.

An address goes by the same egress each time, as long as that one may be used: a host that greylists
knows us by our address. So the choice is a function of the address and the weights, not a draw.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from zlib import crc32

from engine.cache import BoundedDict, TtlCache
from engine.model import Meaning, Stage
from engine.sharing import UNSHARED, SharedState
from engine.smtp.connect import EgressFault
from engine.smtp.dialogue import Conversation, ConversationEnded, TlsFailed, open_conversation
from engine.smtp.egress_health import EgressHealth
from engine.smtp.meanings import ABOUT_US
from engine.smtp.pacing import Pacer
from engine.smtp.providers import pacing_operator, reputation_operator
from engine.smtp.reputation import TRIAL_S, Pause, ReputationTracker
from engine.smtp.terms import EgressConfig, EgressStrategy, Target, Trace
from engine.smtp.unresponsive import UnresponsiveTargets

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # a command without a log shows its user a hint instead

MAX_FURTHER_EGRESSES = 2
"""Egresses by which a host that refuses us is asked again about an address."""
GREYLISTED_FOR_S = 86_400.0
"""How long a greylisted address goes by the same egress; hosts remember us about as long."""
GREYLISTED_CACHE_SIZE = 100_000
"""Addresses."""

MAX_DOUBTED_S = 1.0
"""A host that stays silent for longer is not asked again by another egress if this one works: that
costs a list with many dead hosts more than it brings."""
SLOTS = 2_048
"""Parts of the keys, each of which goes by one egress; the weights are exact to such a part."""

REFUSES_EGRESS = (ABOUT_US - {Meaning.TLS_REQUIRED}) | {
    Meaning.THROTTLED,
    Meaning.REJECTED_UNRECOGNISED,
}
"""Meanings of replies that may differ by where we come from. A host that wants TLS wants it of
all."""


def refuses_egress(ended: ConversationEnded) -> bool:
    """Whether the host may have ended a conversation because of where it came from.

    It may also do so without a reply: it refuses the connection, or closes it.
    """
    meaning = ended.result.meaning
    in_silence = ended.refused or (meaning is Meaning.DROPPED and not ended.greeted)
    return ended.maybe_egress or in_silence or meaning in REFUSES_EGRESS


class Egress:
    """One way out: its settings, and what was learnt by using it."""

    def __init__(
        self,
        config: EgressConfig,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        shared: SharedState | None = None,
    ) -> None:
        """`shared` is what processes with an egress of the same name share."""
        shared = shared or UNSHARED
        self.config = config
        self._notes = shared.notes
        self.pacer = Pacer(
            config.connections_per_host,
            clock,
            places=shared.places_of(config.name),
            paces=shared.paces_of(config.name),
        )
        self.reputation = ReputationTracker(clock, now)
        self.unresponsive = UnresponsiveTargets(clock, shared.notes, config.name)
        self.health = EgressHealth(clock)

    @property
    def name(self) -> str:
        return self.config.name

    async def pause_or_start_trial(self, host: str) -> Pause | None:
        """As `ReputationTracker.pause_or_start_trial`, with one trial in all processes."""
        pause = self.reputation.pause_or_start_trial(host)
        if pause is None and self.reputation.is_paused(host):  # this is a trial
            name = f"trial {self.name} {reputation_operator(host)}"
            if not await self._notes.claim(name, TRIAL_S, lasting=True):
                return self.reputation.pause_or_start_trial(host)
        return pause

    def record_banner(self, ip: str) -> None:
        """As `EgressHealth.record_banner`; an egress that had failed is logged."""
        if self.health.record_banner(ip):
            log.info("egress.restored", extra={"egress": self.name})

    def record_fault(self, reason: str) -> None:
        """As `EgressHealth.record_fault`; a rest is logged."""
        if self.health.record_fault(reason):
            self._log_rest()

    def record_doubt(self, operator: str, reason: str) -> None:
        """As `EgressHealth.record_doubt`; a rest is logged."""
        if self.health.record_doubt(operator, reason):
            self._log_rest()

    def _log_rest(self) -> None:
        log.warning(
            "egress.rested",
            extra={
                "egress": self.name,
                "reason": self.health.reason,
                "paused_s": round(self.health.left_s),
            },
        )

    @cached_property
    def scores(self) -> Sequence[float]:
        """Its score for each slot of the keys: the egress with the highest one gets the slot.

        This is weighted rendezvous hashing: the slots are shared out in proportion to the weights,
        and those of the other egresses stay where they are if one is added or removed.
        """
        scores = []
        for slot in range(SLOTS):
            digest = blake2b(f"{self.name}\0{slot}".encode(), digest_size=8).digest()
            share = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)  # in (0, 1)
            scores.append(self.config.weight / -math.log(share))
        return scores

    def reaches(self, ip: str) -> bool:
        """Whether it may have a way to addresses of that family."""
        is_ipv6 = ":" in ip
        source = self.config.source_address
        if source and self.config.proxy is None:
            return is_ipv6 == (":" in source)
        return not is_ipv6 or self.health.reaches_ipv6


class EgressSet:
    """All egresses of an engine."""

    def __init__(
        self,
        egresses: Sequence[Egress],
        strategy: EgressStrategy,
        clock: Callable[[], float],
    ) -> None:
        self._egresses = tuple(egresses)
        self._strategy = strategy
        self._clock = clock
        self._greylisted: TtlCache[str, str] = TtlCache(GREYLISTED_CACHE_SIZE, clock)
        self._winners: BoundedDict[tuple[Egress, ...], Sequence[Egress]] = BoundedDict(100)
        """By the egresses that may be chosen, which change as they fail and are refused."""

    def __iter__(self) -> Iterator[Egress]:
        return iter(self._egresses)

    def __len__(self) -> int:
        return len(self._egresses)

    @property
    def reputations(self) -> Mapping[str, ReputationTracker]:
        """How the mail hosts' operators treat us, by the name of the egress."""
        return {egress.name: egress.reputation for egress in self._egresses}

    def choose(self, target: Target, key: str, *, tried: Container[str] = ()) -> Egress | None:
        """The egress for `target`, of those whose names are not in `tried`; None without any.

        `key` is what goes by the same egress each time, such as an address. An egress that is
        paused or backs off at the target's operator comes after all others, but a greylisted
        address waits for its own.
        """
        choose = self.chooser(target, tried=tried)
        return choose(key) if choose is not None else None

    def chooser(
        self, target: Target, *, tried: Container[str] = ()
    ) -> Callable[[str], Egress] | None:
        """As `choose`, for many keys at the same time; None if there is no egress."""
        usable = [egress for egress in self._usable(target, tried) if not egress.health.left_s]
        if not usable:
            return None
        first = usable[0]
        if len(usable) == 1:
            return lambda _: first
        ranks = {egress: self._rank(egress, target) for egress in usable}
        best_rank = min(ranks.values())
        best = [egress for egress in usable if ranks[egress] == best_rank]
        pick = self._picker(best)
        if not self._greylisted:
            return pick
        by_name = {egress.name: egress for egress in usable if ranks[egress] < _PAUSED}
        return lambda key: by_name.get(self._greylisted.get(key) or "") or pick(key)

    def record_greylisted(self, recipient: str, egress: str) -> None:
        """`recipient` was greylisted by the egress of that name: it keeps to it for a while."""
        if len(self._egresses) > 1:
            self._greylisted.put(recipient, egress, GREYLISTED_FOR_S)

    def any_greylisted(self, recipients: Iterable[str]) -> bool:
        """Whether one of `recipients` was greylisted lately, so that its egress matters."""
        return bool(self._greylisted) and any(map(self._greylisted.get, recipients))

    def soonest_s(self, target: Target) -> float | None:
        """Seconds until an egress may be used for `target` again; None if there is none."""
        return min((egress.health.left_s for egress in self._usable(target, ())), default=None)

    def has_alternative(
        self, target: Target, tried: Container[str], *, at_once: bool = False
    ) -> bool:
        """Whether an egress whose name is not in `tried` may be used for `target` now.

        With `at_once` it must not be paused or back off there.
        """
        return any(
            not (egress.health.left_s or (at_once and self._rank(egress, target)))
            for egress in self._usable(target, tried)
        )

    async def learn(self, target: Target) -> None:
        """Take over which egresses of other processes `target` did not answer."""
        for egress in self._usable(target, ()):
            await egress.unresponsive.learn(target)

    def passes_over(self, target: Target) -> bool:
        """Whether no egress should ask `target` now, if there is another target."""
        operator = pacing_operator(target.host)
        return all(
            target in egress.unresponsive or egress.pacer.is_backing_off(operator)
            for egress in self._usable(target, ())
        )

    def rejects_all(self, target: Target, *, if_backing_off: bool) -> bool:
        """Whether the target's operator rejects the connections of every egress for now."""
        operator = pacing_operator(target.host)
        return all(
            egress.pacer.is_skipped(operator)
            or (if_backing_off and egress.pacer.is_backing_off(operator))
            for egress in self._usable(target, ())
        )

    def why_none(self, target: Target) -> str:
        """Why no egress can be used for `target`, with their names and without secrets."""
        operator = reputation_operator(target.host)
        serving = [egress for egress in self._egresses if egress.config.serves(operator)]
        if not serving:
            return f"no egress serves the operator {operator}"
        reaching = [egress for egress in serving if egress.reaches(target.ip)]
        if not reaching:
            family = "IPv6" if ":" in target.ip else "IPv4"
            names = ", ".join(egress.name for egress in serving)
            return f"no egress reaches {family} addresses: {names}"
        return "; ".join(
            f"egress {egress.name}: {egress.health.reason};"
            f" not used for {math.ceil(egress.health.left_s)} s"
            for egress in reaching
            if egress.health.left_s
        )

    async def open_conversation(
        self,
        egress: Egress,
        target: Target,
        *,
        connect_timeout_s: float,
        command_timeout_s: float,
        tls_timeout_s: float,
        tls: ssl.SSLContext | None,
        trace: Trace,
    ) -> Conversation:
        """As `dialogue.open_conversation`, by `egress`, whose health learns from it."""
        egress.health.start_trial()
        started = self._clock()
        try:
            conversation = await open_conversation(
                target,
                egress.config,
                connect_timeout_s=connect_timeout_s,
                command_timeout_s=command_timeout_s,
                tls_timeout_s=tls_timeout_s,
                tls=tls,
                trace=trace,
            )
        except EgressFault as fault:
            trace(target.host, str(fault))
            egress.record_fault(fault.reason)
            raise
        except ConversationEnded as ended:
            if egress.health.is_proven and self._clock() - started > MAX_DOUBTED_S:
                ended.maybe_egress = False
            self._record_end(egress, target, ended)
            raise
        except TlsFailed:
            egress.record_banner(target.ip)
            raise
        egress.record_banner(target.ip)
        return conversation

    def _record_end(self, egress: Egress, target: Target, ended: ConversationEnded) -> None:
        """Learn from a conversation that ended before EHLO was accepted."""
        health = egress.health
        if ended.greeted or ended.result.reply is not None:
            egress.record_banner(target.ip)
            return
        if ":" in target.ip and ended.result.stage is Stage.CONNECT and not ended.refused:
            health.record_ipv6_failure(target.host, certain=ended.no_ipv6)
        if ended.maybe_egress and not ended.no_ipv6 and self.has_alternative(target, {egress.name}):
            # The only one that works is not rested for what may be the hosts' fault.
            reason = f"no mail host's banner came by it, lately not that of {target.host}"
            egress.record_doubt(pacing_operator(target.host), reason)
        else:
            health.record_no_banner()

    def _usable(self, target: Target, tried: Container[str]) -> Iterator[Egress]:
        operator = reputation_operator(target.host)
        for egress in self._egresses:
            if (
                egress.name not in tried
                and egress.config.serves(operator)
                and egress.reaches(target.ip)
            ):
                yield egress

    def _rank(self, egress: Egress, target: Target) -> int:
        """0 if it may be used at once; the less usable, the higher."""
        if egress.reputation.is_paused(target.host):
            return _PAUSED
        return int(
            target in egress.unresponsive
            or egress.pacer.is_backing_off(pacing_operator(target.host))
        )

    def _picker(self, egresses: Sequence[Egress]) -> Callable[[str], Egress]:
        """Picks one of `egresses` for a key: by weight, or the first one."""
        first = egresses[0]
        if self._strategy is EgressStrategy.FAILOVER or len(egresses) == 1:
            return lambda _: first
        winners = self._winners_of(tuple(egresses))
        return lambda key: winners[crc32(key.encode()) % SLOTS]

    def _winners_of(self, egresses: tuple[Egress, ...]) -> Sequence[Egress]:
        """The egress of each slot."""
        winners = self._winners.get(egresses)
        if winners is None:
            winners = [
                max(egresses, key=lambda egress: egress.scores[slot]) for slot in range(SLOTS)
            ]
            self._winners[egresses] = winners
        return winners


_PAUSED = 2
"""The rank of an egress at which the target is paused."""
