"""The programs that call other verifiers run; their results are not tested."""

from __future__ import annotations

import pytest

from tests.benchmarks.peers import NPM, PEERS, Peer, driver_of


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.name}-{peer.catch_all}")
def test_every_driver_is_a_program(peer: Peer) -> None:
    program = driver_of(peer)
    assert "{{" not in program
    if peer.registry == NPM:
        assert f"require('{peer.name}')" in program
    else:
        compile(program, peer.name, "exec")
