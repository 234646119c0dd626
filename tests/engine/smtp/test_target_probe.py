"""What asking one target needs, without a mail host; tests/engine/test_probe.py has the rest."""

from __future__ import annotations

import pytest

from engine.model import Meaning
from engine.smtp.target_probe import needs_control


@pytest.mark.parametrize(
    ("meaning", "checks_catch_all", "catch_all", "needed"),
    [
        (Meaning.ACCEPTED, True, None, True),
        (Meaning.ACCEPTED, False, None, False),  # not asked for
        (Meaning.ACCEPTED, False, True, False),  # known already
        (Meaning.REJECTED_UNRECOGNISED, True, None, True),
        (Meaning.REJECTED_UNRECOGNISED, False, None, True),  # only the control shows whom it means
        (Meaning.REJECTED_UNRECOGNISED, False, False, True),
        (Meaning.REJECTED_UNRECOGNISED, False, True, False),  # other names are accepted
        (Meaning.MAILBOX_NOT_FOUND, True, None, False),
        (Meaning.GREYLISTED, True, None, True),  # so that both have waited at the next try
        (Meaning.GREYLISTED, False, None, False),
        (Meaning.IP_BLOCKED, True, None, False),
    ],
)
def test_needs_control(
    meaning: Meaning, checks_catch_all: bool, catch_all: bool | None, needed: bool
) -> None:
    assert needs_control(meaning, checks_catch_all, catch_all) is needed
