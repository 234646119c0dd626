"""Blocking client addresses after failed attempts."""

from dataclasses import replace

import pytest

from adapters.contract.dialect import ClientBlock
from adapters.contract.problems import ProblemKind
from adapters.emailable import DIALECT
from gateway.web.client_blocks import ClientBlocks

BLOCK = ClientBlock(frozenset({ProblemKind.BAD_CREDENTIAL}), failures=3, window_s=60)
VENDOR = replace(DIALECT, name="v", client_block=BLOCK)
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
def test_a_client_is_blocked_after_enough_failures_within_the_window(
    attempts: list[tuple[float, ProblemKind]], blocked: bool
) -> None:
    now = 0.0
    blocks = ClientBlocks(clock=lambda: now)
    for at, kind in attempts:
        now = at
        blocks.count_failed_attempt(VENDOR, "192.0.2.1", kind)
    assert blocks.is_blocked(VENDOR, "192.0.2.1") is blocked
    assert not blocks.is_blocked(VENDOR, "192.0.2.2")
    assert not blocks.is_blocked(OTHER, "192.0.2.1")


def test_a_dialect_without_a_rule_blocks_no_client() -> None:
    blocks = ClientBlocks(clock=lambda: 0.0)
    for _ in range(100):
        blocks.count_failed_attempt(OTHER, "192.0.2.1", BAD)
    assert not blocks.is_blocked(OTHER, "192.0.2.1")
