"""Refusals of us: counted, bounded, and followed by pauses of growing length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from engine.model import Meaning, Stage
from engine.smtp.meanings import ABOUT_MAILBOX, REFUSAL_WEIGHTS
from engine.smtp.providers import reputation_operator
from engine.smtp.reputation import (
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    MAX_REFUSAL_CHARACTERS,
    REFUSALS_UNTIL_HOST_PAUSED,
    REFUSALS_UNTIL_OPERATOR_PAUSED,
    RESET_AFTER_S,
    STREAK_WINDOW_S,
    TRIAL_S,
    OperatorReputation,
    ReputationTracker,
    redact,
)
from engine.verdict import VERDICT_BY_MEANING
from tests.fakes.clock import Clock

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOST, SISTER, OTHER = "mx1.a.test", "mx2.a.test", "mx.b.test"
GOOGLE = ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com", "aspmx.l.google.com")


@dataclass(frozen=True, slots=True)
class World:
    """A tracker whose clock the test moves."""

    tracker: ReputationTracker
    clock: Clock

    def refuse(
        self,
        *hosts: str,
        times: int = 1,
        meaning: Meaning = Meaning.IP_BLOCKED,
        stage: Stage = Stage.BANNER,
    ) -> None:
        for _ in range(times):
            for host in hosts:
                self.tracker.record_outcome(
                    host, meaning, stage, block_list="rbl.test", text="554 blocked"
                )

    def left_s(self, host: str = HOST) -> float:
        pause = self.tracker.pause_or_start_trial(host)
        return 0.0 if pause is None else pause.left_s

    def shown(self, operator: str = "a.test") -> OperatorReputation:
        return next(a for a in self.tracker.operators() if a.operator == operator)


@pytest.fixture
def world() -> World:
    clock = Clock()
    return World(ReputationTracker(clock, lambda: NOW), clock)


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        (GOOGLE[1], "google"),
        ("acme-com.mail.protection.outlook.com", "microsoft"),
        ("mx1.mail.example.co.uk", "example.co.uk"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
    ],
)
def test_the_operator_is_a_known_provider_or_the_registrable_domain(
    host: str, operator: str
) -> None:
    assert reputation_operator(host) == operator


@pytest.mark.parametrize("meaning", [m for m, weight in REFUSAL_WEIGHTS.items() if weight == 1])
def test_consecutive_refusals_pause_a_host(world: World, meaning: Meaning) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1, meaning=meaning)
    assert world.left_s() == 0
    world.refuse(HOST, meaning=meaning)
    pause = world.tracker.pause_or_start_trial(HOST)
    assert pause is not None
    assert (pause.left_s, pause.meaning) == (FIRST_PAUSE_S, meaning)
    assert pause.text == (
        f"paused: a.test refused us 4 times in a row, the last time as {meaning} (rbl.test);"
        " not asked again for 60 s"
    )


@pytest.mark.parametrize("meaning", sorted(Meaning))
def test_only_refusals_of_us_are_counted_and_only_some_pause_a_host(
    world: World, meaning: Meaning
) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED, meaning=meaning)
    counted = {meaning: REFUSALS_UNTIL_HOST_PAUSED} if meaning in REFUSAL_WEIGHTS else {}
    assert world.shown().refusals == counted
    assert world.shown().conversations == REFUSALS_UNTIL_HOST_PAUSED
    assert (world.left_s() > 0) is (REFUSAL_WEIGHTS.get(meaning) == 1)


def test_a_policy_refusal_counts_for_a_quarter(world: World) -> None:
    world.refuse(HOST, times=4 * REFUSALS_UNTIL_HOST_PAUSED - 1, meaning=Meaning.POLICY)
    assert world.left_s() == 0
    world.refuse(HOST, meaning=Meaning.POLICY)
    assert world.left_s() == FIRST_PAUSE_S


def test_refusals_at_rcpt_count_for_half(world: World) -> None:
    world.refuse(HOST, times=2 * REFUSALS_UNTIL_HOST_PAUSED - 1, stage=Stage.RCPT)
    assert world.left_s() == 0
    world.refuse(HOST, stage=Stage.RCPT)
    assert world.left_s() == FIRST_PAUSE_S


def test_no_refusal_of_us_condemns_a_mailbox() -> None:
    assert not set(REFUSAL_WEIGHTS) & ABOUT_MAILBOX
    # A paused host gives each address the meaning of its last refusal.
    assert {
        VERDICT_BY_MEANING[meaning][0] for meaning, weight in REFUSAL_WEIGHTS.items() if weight
    } == {"unknown"}


@pytest.mark.parametrize("meaning", sorted(ABOUT_MAILBOX))
def test_a_reply_about_a_mailbox_ends_the_streak(world: World, meaning: Meaning) -> None:
    for _ in range(10):
        world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
        world.tracker.record_outcome(HOST, meaning, Stage.RCPT)
    assert world.left_s() == 0
    assert world.shown().refusal_count == 10 * (REFUSALS_UNTIL_HOST_PAUSED - 1)


def test_a_refusal_beside_a_reply_about_a_mailbox_is_not_counted(world: World) -> None:
    for _ in range(100):
        world.tracker.record_outcome(HOST, Meaning.IP_BLOCKED, Stage.RCPT, about_mailbox=True)
    assert world.left_s() == 0
    assert world.shown().refusals == {}


@pytest.mark.parametrize("meaning", [Meaning.TEMPORARY, Meaning.DROPPED, Meaning.GREYLISTED])
def test_other_meanings_do_not_end_the_streak(world: World, meaning: Meaning) -> None:
    for _ in range(REFUSALS_UNTIL_HOST_PAUSED):
        world.refuse(HOST)
        world.tracker.record_outcome(HOST, meaning, Stage.RCPT)
    assert world.left_s() == FIRST_PAUSE_S


def test_refusals_far_apart_are_not_consecutive(world: World) -> None:
    for _ in range(100):
        world.refuse(HOST)
        world.clock.now += STREAK_WINDOW_S / (REFUSALS_UNTIL_HOST_PAUSED - 1) + 1
    assert world.left_s() == 0


def test_one_refusing_host_does_not_pause_its_operator(world: World) -> None:
    world.refuse(HOST, times=50)
    assert world.left_s(HOST) > 0
    assert world.left_s(SISTER) == 0
    assert world.left_s(OTHER) == 0
    assert world.shown().paused_hosts == (HOST,)
    assert world.shown().paused_s == 0


def test_several_refusing_hosts_pause_their_operator(world: World) -> None:
    times = REFUSALS_UNTIL_OPERATOR_PAUSED // len(GOOGLE)
    world.refuse(*GOOGLE, times=times)
    assert world.left_s("alt4.aspmx.l.google.com") == FIRST_PAUSE_S
    assert world.left_s(OTHER) == 0
    assert world.shown("google").paused_s == FIRST_PAUSE_S


def test_a_reply_about_a_mailbox_at_one_host_clears_the_operator(world: World) -> None:
    world.refuse(*GOOGLE)
    world.tracker.record_outcome(GOOGLE[0], Meaning.ACCEPTED, Stage.RCPT)
    world.refuse(*GOOGLE)
    assert world.left_s("alt4.aspmx.l.google.com") == 0


def test_after_a_pause_one_conversation_is_a_trial(world: World) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    world.clock.now += FIRST_PAUSE_S
    assert world.left_s() == 0
    assert world.left_s() == TRIAL_S  # for the others
    world.tracker.record_outcome(HOST, Meaning.MAILBOX_NOT_FOUND, Stage.RCPT)
    assert world.left_s() == 0
    assert world.left_s() == 0
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert world.left_s() == 0


def test_a_trial_without_outcome_is_followed_by_another(world: World) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    world.clock.now += FIRST_PAUSE_S
    assert world.left_s() == 0
    world.tracker.record_outcome(HOST, Meaning.TEMPORARY, Stage.RCPT)
    assert world.left_s() == TRIAL_S
    world.clock.now += TRIAL_S
    assert world.left_s() == 0
    assert world.left_s() == TRIAL_S


@pytest.mark.parametrize("hosts", [(HOST,), GOOGLE], ids=["host", "operator"])
def test_pauses_grow_up_to_a_bound(world: World, hosts: tuple[str, ...]) -> None:
    first = hosts[0]
    world.refuse(*hosts, times=REFUSALS_UNTIL_HOST_PAUSED)
    lengths = []
    for _ in range(9):
        lengths.append(world.left_s(first))
        world.clock.now += lengths[-1]
        assert world.left_s(first) == 0
        world.refuse(first)
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert lengths[-1] == MAX_PAUSE_S


def test_refusals_during_a_pause_do_not_lengthen_it(world: World) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED + 40)
    assert world.left_s() == FIRST_PAUSE_S


def test_a_day_without_refusals_resets_the_pause_length(world: World) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    world.clock.now += RESET_AFTER_S + 1
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert world.left_s() == 0
    world.refuse(HOST)
    assert world.left_s() == FIRST_PAUSE_S


def test_operators_shows_conversations_and_the_last_refusal(world: World) -> None:
    world.tracker.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    world.tracker.record_outcome(SISTER, Meaning.RDNS_REQUIRED, Stage.RCPT, text="550 no PTR")
    world.tracker.record_outcome(
        HOST, Meaning.IP_BLOCKED, Stage.RCPT, block_list="rbl.test", text="554 5.7.1\r\nno"
    )
    world.tracker.record_outcome(OTHER, Meaning.ACCEPTED, Stage.RCPT)
    worst, other = world.tracker.operators()
    assert worst == OperatorReputation(
        operator="a.test",
        conversations=3,
        refusals={Meaning.RDNS_REQUIRED: 1, Meaning.IP_BLOCKED: 1},
        block_list="rbl.test",
        host=HOST,
        text="554 5.7.1 no",
        refused_at=NOW,
        paused_s=0.0,
        paused_hosts=(),
    )
    assert (other.operator, other.refusal_count, other.refused_at) == ("b.test", 0, None)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (None, None),
        ("554 <ada@example.com> no", "554 <(address)> no"),
        ("to ada.l@example.com: no", "to (address): no"),
        ("blocked \x1b[31m\r\nnow\u202e", "blocked [31m now"),
        ("x" * 5000, "x" * MAX_REFUSAL_CHARACTERS),
    ],
)
def test_redact_removes_addresses_and_unprintable_characters(
    text: str | None, redacted: str | None
) -> None:
    assert redact(text) == redacted


def test_the_least_recently_used_are_evicted() -> None:
    clock = Clock()
    world = World(ReputationTracker(clock, lambda: NOW, max_operators=3, max_hosts=3), clock)
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    for number in range(10):
        world.refuse(f"mx.{number}.test")
        assert world.left_s(HOST) == FIRST_PAUSE_S  # used, so not evicted
    assert len(world.tracker) == 3
    assert {a.operator for a in world.tracker.operators()} == {"a.test", "8.test", "9.test"}


def test_refusals_are_drained_once(world: World) -> None:
    world.refuse(HOST, times=2)
    world.refuse(SISTER, OTHER)
    world.refuse(HOST, meaning=Meaning.THROTTLED)
    world.tracker.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    drained = world.tracker.drain_refusals()
    assert {(r.operator, r.meaning, r.host): r.count for r in drained} == {
        ("a.test", Meaning.IP_BLOCKED, SISTER): 3,
        ("b.test", Meaning.IP_BLOCKED, OTHER): 1,
        ("a.test", Meaning.THROTTLED, HOST): 1,
    }
    assert {(r.block_list, r.text, r.first_at, r.last_at) for r in drained} == {
        ("rbl.test", "554 blocked", NOW, NOW)
    }
    assert world.tracker.drain_refusals() == ()
    world.refuse(HOST)
    assert [r.count for r in world.tracker.drain_refusals()] == [1]


def test_pauses_are_drained_when_they_begin_and_when_a_success_ends_them(world: World) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert world.tracker.drain_pauses() == ()
    world.refuse(HOST)
    (pause,) = world.tracker.drain_pauses()
    assert (pause.operator, pause.host, pause.left_s, pause.consecutive_pauses) == (
        "a.test",
        HOST,
        60,
        1,
    )
    world.tracker.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    (pause,) = world.tracker.drain_pauses()
    assert (pause.host, pause.left_s) == (HOST, 0)
    assert world.tracker.drain_pauses() == ()


def test_a_restored_pause_neither_shortens_ours_nor_outlives_our_success(
    world: World,
) -> None:
    world.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    (pause,) = world.tracker.drain_pauses()
    world.clock.now += 10
    world.tracker.restore_pause(replace(pause, left_s=20))
    assert world.left_s() == 50
    world.tracker.restore_pause(replace(pause, left_s=200))
    assert world.left_s() == 200
    world.tracker.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    world.tracker.restore_pause(pause)  # as it was read before our success was written
    assert world.left_s() == 0


def test_what_waits_to_be_drained_is_bounded() -> None:
    clock = Clock()
    world = World(ReputationTracker(clock, lambda: NOW, max_unsaved=3), clock)
    for number in range(5):
        world.refuse(f"mx.{number}.test", times=REFUSALS_UNTIL_HOST_PAUSED)
    assert [r.count for r in world.tracker.drain_refusals()] == [REFUSALS_UNTIL_HOST_PAUSED] * 3
    assert len(world.tracker.drain_pauses()) == 3
