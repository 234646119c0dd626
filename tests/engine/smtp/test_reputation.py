"""Refusals of us: counted, bounded, and a reason to stay away for a growing while."""

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
class Desk:
    standing: ReputationTracker
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
                self.standing.record_outcome(
                    host, meaning, stage, block_list="rbl.test", text="554 blocked"
                )

    def left_s(self, host: str = HOST) -> float:
        pause = self.standing.pause_or_start_trial(host)
        return 0.0 if pause is None else pause.left_s

    def account(self, operator: str = "a.test") -> OperatorReputation:
        return next(a for a in self.standing.operators() if a.operator == operator)


@pytest.fixture
def desk() -> Desk:
    clock = Clock()
    return Desk(ReputationTracker(clock, lambda: NOW), clock)


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
def test_the_operator_is_the_provider_or_the_registrable_domain(host: str, operator: str) -> None:
    assert reputation_operator(host) == operator


@pytest.mark.parametrize("meaning", [m for m, share in REFUSAL_WEIGHTS.items() if share == 1])
def test_several_refusals_in_a_row_are_a_pause(desk: Desk, meaning: Meaning) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1, meaning=meaning)
    assert desk.left_s() == 0
    desk.refuse(HOST, meaning=meaning)
    pause = desk.standing.pause_or_start_trial(HOST)
    assert pause is not None
    assert (pause.left_s, pause.meaning) == (FIRST_PAUSE_S, meaning)
    assert pause.text == (
        f"paused: a.test refused us 4 times in a row, the last time as {meaning} (rbl.test);"
        " not asked again for 60 s"
    )


@pytest.mark.parametrize("meaning", sorted(Meaning))
def test_only_refusals_of_us_are_counted_and_few_kinds_stop_us(
    desk: Desk, meaning: Meaning
) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED, meaning=meaning)
    counted = {meaning: REFUSALS_UNTIL_HOST_PAUSED} if meaning in REFUSAL_WEIGHTS else {}
    assert desk.account().refusals == counted
    assert desk.account().conversations == REFUSALS_UNTIL_HOST_PAUSED
    assert (desk.left_s() > 0) is (REFUSAL_WEIGHTS.get(meaning) == 1)


def test_a_policy_refusal_counts_for_a_quarter(desk: Desk) -> None:
    desk.refuse(HOST, times=4 * REFUSALS_UNTIL_HOST_PAUSED - 1, meaning=Meaning.POLICY)
    assert desk.left_s() == 0
    desk.refuse(HOST, meaning=Meaning.POLICY)
    assert desk.left_s() == FIRST_PAUSE_S


def test_refusals_at_rcpt_count_for_half(desk: Desk) -> None:
    desk.refuse(HOST, times=2 * REFUSALS_UNTIL_HOST_PAUSED - 1, stage=Stage.RCPT)
    assert desk.left_s() == 0
    desk.refuse(HOST, stage=Stage.RCPT)
    assert desk.left_s() == FIRST_PAUSE_S


def test_the_tables_are_apart_and_within_the_meanings_of_a_refusal() -> None:
    assert not set(REFUSAL_WEIGHTS) & ABOUT_MAILBOX
    # whoever is left alone is answered with the last meaning: that must condemn no mailbox
    assert {
        VERDICT_BY_MEANING[meaning][0] for meaning, share in REFUSAL_WEIGHTS.items() if share
    } == {"unknown"}


@pytest.mark.parametrize("meaning", sorted(ABOUT_MAILBOX))
def test_a_word_about_a_mailbox_begins_anew(desk: Desk, meaning: Meaning) -> None:
    for _ in range(10):
        desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
        desk.standing.record_outcome(HOST, meaning, Stage.RCPT)
    assert desk.left_s() == 0
    assert desk.account().refusal_count == 10 * (REFUSALS_UNTIL_HOST_PAUSED - 1)


def test_a_refusal_beside_a_word_about_a_mailbox_is_none_of_us(desk: Desk) -> None:
    for _ in range(100):
        desk.standing.record_outcome(HOST, Meaning.IP_BLOCKED, Stage.RCPT, about_mailbox=True)
    assert desk.left_s() == 0
    assert desk.account().refusals == {}


@pytest.mark.parametrize("meaning", [Meaning.TEMPORARY, Meaning.DROPPED, Meaning.GREYLISTED])
def test_what_tells_nothing_of_us_does_not_break_the_row(desk: Desk, meaning: Meaning) -> None:
    for _ in range(REFUSALS_UNTIL_HOST_PAUSED):
        desk.refuse(HOST)
        desk.standing.record_outcome(HOST, meaning, Stage.RCPT)
    assert desk.left_s() == FIRST_PAUSE_S


def test_refusals_far_apart_are_no_row(desk: Desk) -> None:
    for _ in range(100):
        desk.refuse(HOST)
        desk.clock.now += STREAK_WINDOW_S / (REFUSALS_UNTIL_HOST_PAUSED - 1) + 1
    assert desk.left_s() == 0


def test_one_odd_host_does_not_stop_its_operator(desk: Desk) -> None:
    desk.refuse(HOST, times=50)
    assert desk.left_s(HOST) > 0
    assert desk.left_s(SISTER) == 0
    assert desk.left_s(OTHER) == 0
    assert desk.account().paused_hosts == (HOST,)
    assert desk.account().paused_s == 0


def test_several_hosts_together_stop_the_operator(desk: Desk) -> None:
    times = REFUSALS_UNTIL_OPERATOR_PAUSED // len(GOOGLE)
    desk.refuse(*GOOGLE, times=times)
    assert desk.left_s("alt4.aspmx.l.google.com") == FIRST_PAUSE_S
    assert desk.left_s(OTHER) == 0
    assert desk.account("google").paused_s == FIRST_PAUSE_S


def test_a_word_about_a_mailbox_at_one_host_clears_the_operator(desk: Desk) -> None:
    desk.refuse(*GOOGLE)
    desk.standing.record_outcome(GOOGLE[0], Meaning.ACCEPTED, Stage.RCPT)
    desk.refuse(*GOOGLE)
    assert desk.left_s("alt4.aspmx.l.google.com") == 0


def test_after_a_pause_one_conversation_is_a_trial(desk: Desk) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    desk.clock.now += FIRST_PAUSE_S
    assert desk.left_s() == 0
    assert desk.left_s() == TRIAL_S  # for everybody else
    desk.standing.record_outcome(HOST, Meaning.MAILBOX_NOT_FOUND, Stage.RCPT)
    assert desk.left_s() == 0
    assert desk.left_s() == 0
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert desk.left_s() == 0


def test_a_trial_without_outcome_gives_way_to_the_next(desk: Desk) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    desk.clock.now += FIRST_PAUSE_S
    assert desk.left_s() == 0
    desk.standing.record_outcome(HOST, Meaning.TEMPORARY, Stage.RCPT)
    assert desk.left_s() == TRIAL_S
    desk.clock.now += TRIAL_S
    assert desk.left_s() == 0
    assert desk.left_s() == TRIAL_S


@pytest.mark.parametrize("hosts", [(HOST,), GOOGLE], ids=["host", "operator"])
def test_pauses_grow_up_to_a_bound(desk: Desk, hosts: tuple[str, ...]) -> None:
    first = hosts[0]
    desk.refuse(*hosts, times=REFUSALS_UNTIL_HOST_PAUSED)
    lengths = []
    for _ in range(9):
        lengths.append(desk.left_s(first))
        desk.clock.now += lengths[-1]
        assert desk.left_s(first) == 0
        desk.refuse(first)
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert lengths[-1] == MAX_PAUSE_S


def test_conversations_under_way_do_not_lengthen_the_pause(desk: Desk) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED + 40)
    assert desk.left_s() == FIRST_PAUSE_S


def test_a_quiet_day_is_forgiveness(desk: Desk) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    desk.clock.now += RESET_AFTER_S + 1
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert desk.left_s() == 0
    desk.refuse(HOST)
    assert desk.left_s() == FIRST_PAUSE_S


def test_what_is_shown(desk: Desk) -> None:
    desk.standing.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    desk.standing.record_outcome(SISTER, Meaning.RDNS_REQUIRED, Stage.RCPT, text="550 no PTR")
    desk.standing.record_outcome(
        HOST, Meaning.IP_BLOCKED, Stage.RCPT, block_list="rbl.test", text="554 5.7.1\r\nno"
    )
    desk.standing.record_outcome(OTHER, Meaning.ACCEPTED, Stage.RCPT)
    worst, other = desk.standing.operators()
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
    ("said", "shown"),
    [
        (None, None),
        ("554 <ada@example.com> no", "554 <(address)> no"),
        ("to ada.l@example.com: no", "to (address): no"),
        ("blocked \x1b[31m\r\nnow\u202e", "blocked [31m now"),
        ("x" * 5000, "x" * MAX_REFUSAL_CHARACTERS),
    ],
)
def test_words_are_kept_without_mailboxes_and_harmless(said: str | None, shown: str | None) -> None:
    assert redact(said) == shown


def test_memory_is_bounded_and_what_is_asked_is_kept() -> None:
    clock = Clock()
    desk = Desk(ReputationTracker(clock, lambda: NOW, max_operators=3, max_hosts=3), clock)
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    for number in range(10):
        desk.refuse(f"mx.{number}.test")
        assert desk.left_s(HOST) == FIRST_PAUSE_S  # looked at, so not forgotten
    assert len(desk.standing) == 3
    assert {a.operator for a in desk.standing.operators()} == {"a.test", "8.test", "9.test"}


def test_what_is_new_is_taken_once(desk: Desk) -> None:
    desk.refuse(HOST, times=2)
    desk.refuse(SISTER, OTHER)
    desk.refuse(HOST, meaning=Meaning.THROTTLED)
    desk.standing.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    taken = desk.standing.drain_refusals()
    assert {(r.operator, r.meaning, r.host): r.count for r in taken} == {
        ("a.test", Meaning.IP_BLOCKED, SISTER): 3,
        ("b.test", Meaning.IP_BLOCKED, OTHER): 1,
        ("a.test", Meaning.THROTTLED, HOST): 1,
    }
    assert {(r.block_list, r.text, r.first_at, r.last_at) for r in taken} == {
        ("rbl.test", "554 blocked", NOW, NOW)
    }
    assert desk.standing.drain_refusals() == ()
    desk.refuse(HOST)
    assert [r.count for r in desk.standing.drain_refusals()] == [1]


def test_pauses_are_handed_on_when_they_begin_and_when_a_success_ends_them(desk: Desk) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED - 1)
    assert desk.standing.drain_pauses() == ()
    desk.refuse(HOST)
    (rest,) = desk.standing.drain_pauses()
    assert (rest.operator, rest.host, rest.left_s, rest.consecutive_pauses) == (
        "a.test",
        HOST,
        60,
        1,
    )
    desk.standing.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    (rest,) = desk.standing.drain_pauses()
    assert (rest.host, rest.left_s) == (HOST, 0)
    assert desk.standing.drain_pauses() == ()


def test_a_pause_from_elsewhere_never_shortens_our_own_nor_outlives_our_success(
    desk: Desk,
) -> None:
    desk.refuse(HOST, times=REFUSALS_UNTIL_HOST_PAUSED)
    (rest,) = desk.standing.drain_pauses()
    desk.clock.now += 10
    desk.standing.restore_pause(replace(rest, left_s=20))
    assert desk.left_s() == 50
    desk.standing.restore_pause(replace(rest, left_s=200))
    assert desk.left_s() == 200
    desk.standing.record_outcome(HOST, Meaning.ACCEPTED, Stage.RCPT)
    desk.standing.restore_pause(rest)  # as it was read before our success was written
    assert desk.left_s() == 0


def test_what_waits_to_be_taken_is_bounded() -> None:
    clock = Clock()
    desk = Desk(ReputationTracker(clock, lambda: NOW, max_unsaved=3), clock)
    for number in range(5):
        desk.refuse(f"mx.{number}.test", times=REFUSALS_UNTIL_HOST_PAUSED)
    assert [r.count for r in desk.standing.drain_refusals()] == [REFUSALS_UNTIL_HOST_PAUSED] * 3
    assert len(desk.standing.drain_pauses()) == 3
