"""Blocking client addresses after failed attempts."""

from dataclasses import replace

import pytest

from adapters.contract.problems import ProblemKind
from adapters.emailable import DIALECT
from gateway.web.client_blocks import BlockRule, Guard

VENDOR = replace(DIALECT, name="v", failed_attempts=frozenset({ProblemKind.BAD_CREDENTIAL}))
OTHER = replace(DIALECT, name="w")
BAD, MISSING = ProblemKind.BAD_CREDENTIAL, ProblemKind.MISSING


@pytest.mark.parametrize(
    ("attempts", "blocked"),
    [
        ([(0, BAD), (1, BAD)], False),
        ([(0, BAD), (1, BAD), (2, BAD)], True),
        ([(0, BAD), (1, BAD), (61, BAD)], False),
        ([(0, BAD), (50, BAD), (61, BAD), (62, BAD)], True),
        ([(0, MISSING), (1, MISSING), (2, MISSING)], False),
    ],
)
def test_block(attempts: list[tuple[float, ProblemKind]], blocked: bool) -> None:
    now = 0.0
    guard = Guard({"v": BlockRule(failures=3, window_s=60)}, clock=lambda: now)
    for at, kind in attempts:
        now = at
        guard.note(VENDOR, "192.0.2.1", kind)
    assert guard.blocks(VENDOR, "192.0.2.1") is blocked
    assert not guard.blocks(VENDOR, "192.0.2.2")
    assert not guard.blocks(OTHER, "192.0.2.1")


def test_without_a_rule_nobody_is_blocked() -> None:
    guard = Guard({}, clock=lambda: 0.0)
    for _ in range(100):
        guard.note(VENDOR, "192.0.2.1", BAD)
    assert not guard.blocks(VENDOR, "192.0.2.1")
