"""Replies that were once taken for something else, asked for singly and in a list."""

from __future__ import annotations

import pytest

from engine.model import Verdict
from tests.engine.asking import verify_list
from tests.engine.combined import BLOCKED, REJECTED, Outcome
from tests.engine.test_probe import A, probe_setup
from tests.fakes.smtp import Action, Script

NAMES = ("ann", "dmarc", "quota", "spf", "ptr", "full", "blacklist")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("550 No such user: {name}", REJECTED),
        ("550 5.1.1 {name}... User unknown", REJECTED),
        ("551 5.3.0 Unknown error", None),
        ("551 5.7.1 Loop detected", None),
        ("551 Sorry", None),
        ("552 5.1.1 <{name}@a.test> Mailbox delivery failure policy error", BLOCKED),
        ("550 5.1.1 <{name}@a.test> Rejected by policy", BLOCKED),
    ],
)
async def test_a_reply_to_everybody(reply: str, outcome: Outcome | None) -> None:
    rows: list[tuple[str, Action | list[Action]]] = [
        (f"^{name}@", reply.format(name=name)) for name in NAMES
    ]
    to_control = reply.format(name="nobody").replace("nobody@a.test", "kloster@a.test")
    async with probe_setup({A: Script(rcpt=[*rows, (".*", to_control)])}) as setup:
        addresses = [f"{name}@a.test" for name in NAMES]
        singly = [await setup.verify(address) for address in addresses]
        listed = await verify_list(setup.engine, addresses)
    for verification in [*singly, *listed]:
        if outcome is None:
            assert verification.verdict is Verdict.UNKNOWN
        else:
            assert (verification.verdict, verification.reason) == outcome


async def test_a_551_that_only_some_names_get_is_about_them() -> None:
    script = Script(rcpt=[("^ann@", "551 5.3.0 Unknown error"), (".*", "250 2.1.5 Ok")])
    async with probe_setup({A: script}) as setup:
        verification = await setup.verify("ann@a.test")
    assert (verification.verdict, verification.reason) == REJECTED
