"""Simulated outcomes: what a client can ask for that no address deserves.

One word names an outcome in every dialect, and there are three ways to say it through a
client that knows nothing of it:
- in an address: `anyone+simulate-429@anywhere.example`;
- in the key: `<test key>-simulate-429`, which holds for every call made with it;
- in the vendor's own parameter, where it has one (`Dialect.simulate`).

A word is a status of HTTP, the name of a `ProblemKind`, or the state of a job. A status means
whichever problem the dialect words with it at that endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.dialect import Dialect, Endpoint, Problem, ProblemKind
from adapters.wire import WireRequest
from engine.model import Address

PREFIX = "simulate-"
KEY_MARK = f"-{PREFIX}"

RETRY_AFTER_S = 1
"""What a simulated refusal asks to wait: short, since a client may really wait."""

LIMIT = 10
"""The limit that a simulated refusal names."""

STATUS_KINDS: Mapping[str, tuple[ProblemKind, ...]] = {
    "249": (ProblemKind.NOT_READY,),
    "400": (ProblemKind.INVALID, ProblemKind.UNREADABLE),
    "401": (ProblemKind.BAD_CREDENTIAL, ProblemKind.NO_CREDENTIAL),
    "402": (ProblemKind.NO_CREDITS,),
    "403": (ProblemKind.SUSPENDED, ProblemKind.CLIENT_BLOCKED),
    "404": (ProblemKind.UNKNOWN_PATH,),
    "405": (ProblemKind.WRONG_METHOD,),
    "413": (ProblemKind.TOO_LARGE,),
    "422": (),
    "429": (ProblemKind.TOO_FAST,),
    "500": (ProblemKind.INTERNAL,),
    "503": (ProblemKind.UNAVAILABLE,),
    "504": (ProblemKind.NOT_READY,),
}
"""What each status usually is, most usual first. Where a dialect words none of these with the
status, any problem that it does word so is taken, and else the first of these as it is."""

KIND_WORDS: Mapping[str, ProblemKind] = {kind.replace("_", "-"): kind for kind in ProblemKind}

WORDS = frozenset({*STATUS_KINDS, *KIND_WORDS})


def word_of_address(address: Address) -> str | None:
    """The word in an address's tag, None without one that is known."""
    tag = address.tag
    if tag is None or not tag.lower().startswith(PREFIX):
        return None
    word = tag.lower()[len(PREFIX) :]
    return word if word in WORDS else None


def split_key(credential: str) -> tuple[str, str] | None:
    """The key and the word of a credential that has both, None if it has no known word."""
    key, mark, word = credential.rpartition(KEY_MARK)
    return (key, word) if mark and word in WORDS else None


def problem(
    word: str, dialect: Dialect, request: WireRequest, endpoint: Endpoint[Any], now: float
) -> Problem | None:
    """The problem that a word stands for at an endpoint; None for a word that is none.

    `now` is Unix time in seconds.
    """
    kind = KIND_WORDS.get(word)
    if kind is None:
        kind = _kind_of_status(word, dialect, request, endpoint)
    return None if kind is None else made(kind, now)


def made(kind: ProblemKind, now: float) -> Problem:
    """A problem of that kind, with what belongs to it."""
    detail = "This answer was simulated, as asked."
    match kind:
        case ProblemKind.TOO_FAST:
            return Problem(
                kind,
                detail,
                limit=LIMIT,
                retry_after_s=RETRY_AFTER_S,
                reset_at=int(now) + RETRY_AFTER_S,
            )
        case ProblemKind.UNAVAILABLE:
            return Problem(kind, detail, retry_after_s=RETRY_AFTER_S)
        case ProblemKind.NO_CREDITS:
            return Problem(kind, detail, used=LIMIT, limit=LIMIT)
        case ProblemKind.MISSING | ProblemKind.INVALID:
            return Problem(kind, detail, field="email")
    return Problem(kind, detail)


def _kind_of_status(
    word: str, dialect: Dialect, request: WireRequest, endpoint: Endpoint[Any]
) -> ProblemKind | None:
    usual = STATUS_KINDS.get(word)
    if usual is None:
        return None
    for kind in (*usual, *ProblemKind):
        if dialect.write_problem(request, made(kind, 0), endpoint).status == int(word):
            return kind
    return usual[0] if usual else None
