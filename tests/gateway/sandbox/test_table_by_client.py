"""Every row of the tables in `docs/sandbox.md`, by Emailable's own client for Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emailable
import pytest
from veriplex_pytest import Sandbox

PAGE = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text("utf-8")


def rows(*head: str) -> list[list[str]]:
    """The rows of the table with that head; cells without backquotes."""
    _, found, rest = PAGE.partition("| " + " | ".join(head))
    assert found
    lines = rest.splitlines()[2:]
    return [
        [cell.strip().replace("`", "") for cell in line.split("|")[1:-1]]
        for line in lines[: lines.index("")]
    ]


PROBLEMS = [(cells[0], int(cells[1])) for cells in rows("word", "emailable")]
MAGIC = rows("address", "verdict", "reason", "also")
STATES = rows("word", "a batch is shown as")

ERRORS: dict[int, type[Exception]] = {
    401: emailable.AuthError,
    402: emailable.PaymentRequiredError,
    403: emailable.AuthError,
    404: emailable.ResourceNotFoundError,
    429: emailable.RateLimitExceededError,
    503: emailable.ServerUnavailableError,
}
"""The client's exceptions; other statuses are `ClientError(status, message)`."""

MESSAGES = {
    "completed": "Batch verification completed.",
    "paused": "Your batch is paused. Please contact support at <support@emailable.com>.",
}
PROCESSING = "Your batch is being processed."

MEMBERS = {"catch_all": "accept_all"}
"""The client's names for flags of the table."""
UNSEEN = {"spamtrap", "mailbox_disabled"}
"""Flags without a member in Emailable's answers."""


def client(sandbox: Sandbox, word: str = "") -> Any:
    made = emailable.Client(sandbox.key("emailable", word))
    made.base_url = sandbox.base_urls["emailable"] + "/"
    return made


BATCH = "5cff27400000000000000000"
"""One of the vendor's example ids, which exists for test keys without being submitted."""
EMAILS = ["ada@example.org", "joe@example.org"]


def verify_once_struck(sandbox: Sandbox, word: str) -> Any:
    sandbox.fault(simulate=word, times=1)
    return client(sandbox).verify(EMAILS[0])


Call = Callable[[Sandbox, str], Any]
CALLS: dict[str, Call] = {
    "verify, by address": lambda s, word: client(s).verify(f"ada+simulate-{word}@example.org"),
    "verify, by key": lambda s, word: client(s, word).verify(EMAILS[0]),
    "account, by key": lambda s, word: client(s, word).account(),
    "batch, by address": lambda s, word: client(s).batch([f"a+simulate-{word}@b.org", "c@d.org"]),
    "batch, by parameter": lambda s, word: client(s).batch(EMAILS, {"simulate": word}),
    "batch, by key": lambda s, word: client(s, word).batch(EMAILS),
    "status, by parameter": lambda s, word: client(s).batch_status(BATCH, word),
    "status, by key": lambda s, word: client(s, word).batch_status(BATCH),
    "verify, by fault": lambda s, word: verify_once_struck(s, word),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_word_makes_the_client_raise(veriplex_sandbox: Sandbox, call: Call) -> None:
    for word, status in PROBLEMS:
        if status < 300:
            call(veriplex_sandbox, word)
        else:
            with pytest.raises(emailable.ClientError) as raised:
                call(veriplex_sandbox, word)
            assert raised.type is ERRORS.get(status, emailable.ClientError), word
            if raised.type is emailable.ClientError:
                assert raised.value.args[0] == status, word
        assert veriplex_sandbox.last()["status"] == status, word
    assert veriplex_sandbox.count() == len(PROBLEMS)


def test_each_address_gets_the_answer_in_the_table(veriplex_sandbox: Sandbox) -> None:
    for address, verdict, _, also in MAGIC:
        answer = client(veriplex_sandbox).verify(address)
        if address.startswith("slow@"):
            assert veriplex_sandbox.last()["status"] == 249
            continue
        assert answer.state == verdict, address
        for flag, value in re.findall(r"(\w+)(?: (\S+@\S+))?(?:, |$)", also):
            if flag not in UNSEEN:
                assert getattr(answer, MEMBERS.get(flag, flag)) == (value or True), address


def test_each_state_is_shown(veriplex_sandbox: Sandbox) -> None:
    id_ = client(veriplex_sandbox).batch(EMAILS).id
    for word, shown in STATES:
        message = MESSAGES.get(shown, PROCESSING)
        assert client(veriplex_sandbox).batch_status(id_, word).message == message, word
        assert client(veriplex_sandbox, word).batch_status(id_).message == message, word
