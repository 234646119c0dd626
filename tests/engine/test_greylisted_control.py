"""Domains that accept every name behind greylisting: the control waits as a real address does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import Checks, Reason, Verdict
from tests.engine.asking import verify_list
from tests.engine.combined import GREYLISTED_450, QUICK
from tests.engine.test_probe import A, probe_setup
from tests.fakes.smtp import Action, Script

PASSES_AT_SECOND_TRY: list[Action] = [GREYLISTED_450, "250 2.1.5 Ok"]
EVERY_NAME = Script(rcpt=[(".*", PASSES_AT_SECOND_TRY)])
KNOWN_USERS = Script(rcpt=[("^known", "250 2.1.5 Ok"), (".*", PASSES_AT_SECOND_TRY)])
"""The host let the mail of some addresses pass before; those no longer wait."""
NO_PIPELINING = ("ENHANCEDSTATUSCODES",)


@pytest.mark.parametrize("address", ["user@a.test", "known@a.test"])
@pytest.mark.parametrize("extensions", [Script().extensions, NO_PIPELINING])
async def test_it_is_found_out_every_time(address: str, extensions: tuple[str, ...]) -> None:
    hosts = {A: replace(KNOWN_USERS, extensions=extensions)}
    async with probe_setup(hosts, config=QUICK) as setup:
        for _ in range(2):
            verification = await setup.verify(address)
            assert (verification.verdict, verification.reason) == (
                Verdict.RISKY,
                Reason.CATCH_ALL,
            )
            assert not verification.temporary


async def test_another_process_asks_for_the_same_control_address() -> None:
    seen = []
    for _ in range(2):
        async with probe_setup({A: EVERY_NAME}, config=QUICK) as setup:
            await setup.verify("user@a.test")
            seen.append({to for to in setup.smtp.recipients(A) if not to.startswith("user")})
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1


async def test_a_control_that_never_passes_leaves_the_accepted_address_temporary() -> None:
    hosts = {A: Script(rcpt=[("^user@", "250 2.1.5 Ok"), (".*", GREYLISTED_450)])}
    async with probe_setup(hosts, config=QUICK) as setup:
        verification = await setup.verify("user@a.test")
        without_control = await setup.verify("user@a.test", Checks(catch_all=False))
    assert (verification.reason, verification.evidence.catch_all) == (Reason.ACCEPTED_EMAIL, None)
    assert verification.temporary
    assert not without_control.temporary


async def test_an_accepted_address_stays_accepted_when_the_host_is_gone_at_the_next_try() -> None:
    banner: list[Action] = ["220 mx.fake.test ESMTP", "421 4.3.2 Shutting down"]
    hosts = {A: replace(KNOWN_USERS, banner=banner)}
    async with probe_setup(hosts, config=QUICK) as setup:
        verification = await setup.verify("known@a.test")
    assert verification.reason is Reason.ACCEPTED_EMAIL


@pytest.mark.parametrize("extensions", [Script().extensions, NO_PIPELINING])
async def test_all_rows_of_a_list_wait_for_the_control(extensions: tuple[str, ...]) -> None:
    hosts = {A: replace(KNOWN_USERS, extensions=extensions)}
    rows = [f"known{number}@a.test" for number in range(20)] + [f"n{n}@a.test" for n in range(20)]
    async with probe_setup(hosts, config=QUICK) as setup:
        first = await verify_list(setup.engine, rows)
        assert all(verification.temporary for verification in first)
        second = await verify_list(setup.engine, rows)
    assert {verification.reason for verification in second} == {Reason.CATCH_ALL}
    assert not any(verification.temporary for verification in second)
