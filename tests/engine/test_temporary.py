"""What a mail host refuses for now, and that its list may ask again soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import Reason
from tests.engine.asking import verify_list
from tests.engine.test_probe import CONFIG, A, probe_setup
from tests.fakes.smtp import CLOSE, Action, Script

ROWS = [f"later{number}@a.test" for number in range(12)]
SOON = replace(CONFIG, greylist_retries_s=(0.001,))


@pytest.mark.parametrize(
    "refusal",
    [
        "451 4.3.0 Temporary lookup failure",
        "450 4.1.1 User unknown in local recipient table",
        CLOSE,
    ],
)
async def test_a_list_is_answered_once_the_host_answers(refusal: Action) -> None:
    no_user = "550 5.1.1 No such user"
    hosts = {A: Script(rcpt=[("^later", [refusal, refusal, "250 2.1.5 Ok"]), (".*", no_user)])}
    async with probe_setup(hosts, config=SOON) as setup:
        waiting = ROWS
        for _ in range(40):
            verifications = await verify_list(setup.engine, waiting)
            waiting = [v.address.raw for v in verifications if v.temporary]
            assert all(v.reason is Reason.ACCEPTED_EMAIL for v in verifications if not v.temporary)
    assert waiting == []


async def test_a_host_that_was_down_is_asked_again_soon() -> None:
    hosts = {A: Script(rcpt=[("^later", "250 2.1.5 Ok"), (".*", "550 5.1.1 No such user")])}
    async with probe_setup(hosts, config=SOON) as setup:
        await setup.smtp.kill(A)
        down = await verify_list(setup.engine, ROWS)
        assert {(v.reason, v.temporary) for v in down} == {(Reason.NO_CONNECT, True)}
        await setup.smtp.restart(A)
        for _ in range(200):  # far less than the minute that a lost host counts as such at most
            up = await verify_list(setup.engine, ROWS)
            if not up[0].temporary:
                break
    assert {(v.reason, v.temporary) for v in up} == {(Reason.ACCEPTED_EMAIL, False)}
