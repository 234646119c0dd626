"""Simulated outcomes: problems and states of batches that a test asks for by a word.

A word has the same meaning in every dialect. An unmodified client can send it in three ways:
- in an address: `anyone+simulate-429@anywhere.example`;
- after the key: `<test key>-simulate-429`, for every call with that key;
- in the vendor's own parameter, if it has one (Emailable's `simulate`).

A word is an HTTP status, the name of a `ProblemKind`, or the state of a batch. A status stands for
a problem that the dialect answers with this status at that endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import JobState
from adapters.contract.operations import UNLIMITED, Plan
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest

KEY_MARK = "-simulate-"
_WORD_IN_EMAIL = re.compile(r"[+ ]simulate-([^+@]*)", re.IGNORECASE)

MAX_SHOWN_CHARACTERS = 40
"""Of an unknown word."""

SIMULATED_RETRY_AFTER_S = 1
"""Retry-After of simulated refusals; short, since a client may really wait."""

SIMULATED_LIMIT = 10
"""The limit in simulated refusals."""

STATUS_KINDS: Mapping[str, tuple[ProblemKind, ...]] = {
    "249": (ProblemKind.NOT_READY,),
    "400": (ProblemKind.INVALID, ProblemKind.UNREADABLE),
    "401": (ProblemKind.BAD_CREDENTIAL, ProblemKind.NO_CREDENTIAL),
    "402": (ProblemKind.NO_CREDITS,),
    "403": (ProblemKind.SUSPENDED, ProblemKind.CLIENT_BLOCKED),
    "404": (ProblemKind.UNKNOWN_PATH,),
    "405": (ProblemKind.WRONG_METHOD,),
    "413": (ProblemKind.TOO_LARGE,),
    "422": (ProblemKind.JOB_UNKNOWN,),
    "429": (ProblemKind.TOO_FAST,),
    "500": (ProblemKind.INTERNAL,),
    "503": (ProblemKind.UNAVAILABLE,),
    "504": (ProblemKind.NOT_READY,),
}
"""The usual problems of each status, most usual first. If a dialect answers none of these with the
status, any problem that it does answer so is simulated, else the first of these."""

KIND_WORDS: Mapping[str, ProblemKind] = {
    **{kind.replace("_", "-"): kind for kind in ProblemKind},
    # Emailable's own words
    "generic-error": ProblemKind.INTERNAL,
    "insufficient-credits-error": ProblemKind.NO_CREDITS,
    "payment-error": ProblemKind.NO_CREDITS,
    "card-error": ProblemKind.NO_CREDITS,
}

SLOW_JOB_WORD = "slow"
"""The word for a batch that passes through its states in `SLOW_JOB_S` of the sandbox's clock."""
SLOW_JOB_S = 60

JOB_WORDS: Mapping[str, JobState | None] = {
    **{state.value: state for state in JobState},
    # Emailable's own words
    "importing": JobState.PREPARING,
    "verifying": JobState.RUNNING,
    # depends on the clock
    SLOW_JOB_WORD: None,
}
"""The words for states of batches."""

PROBLEM_WORDS = frozenset({*STATUS_KINDS, *KIND_WORDS})
SIMULATION_WORDS = tuple(dict.fromkeys((*STATUS_KINDS, *KIND_WORDS, *JOB_WORDS)))


class SimulatedProblem(Exception):
    """A request asked for the problem of this word."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word} was requested")
        self.word = word


def parse_word(text: str) -> str | None:
    """The word in the tables' spelling, from theirs or a vendor's; None if it is unknown."""
    word = text.strip().lower().replace("_", "-")
    return word if word in SIMULATION_WORDS else None


def word_in_email(email: str) -> str:
    """The word in an address's tag; empty without one. Raises `Problem` for an unknown word.

    A blank before it was a `+` that was not encoded. Further tags may follow it.
    """
    match = _WORD_IN_EMAIL.search(email)
    return _known_word(match[1]) if match else ""


def word_of_parameter(text: str) -> str:
    """The word in a vendor's own parameter; empty without one. Raises `Problem` for an unknown."""
    return _known_word(text) if text.strip() else ""


def split_key(credential: str) -> tuple[str, str] | None:
    """The key and the word of a credential, which may be unknown; None without a word."""
    key, mark, word = credential.rpartition(KEY_MARK)
    return (key, word) if mark else None


def _known_word(text: str) -> str:
    word = parse_word(text)
    if word is None:
        raise unknown_word(text)
    return word


def unknown_word(text: str) -> Problem:
    """The problem of a word for an outcome that is in no table: a test that asks for it would pass
    or fail for another reason."""
    # imported here, since only a mistake needs it
    from gateway.settings.problems import suggestion

    shown = "".join(c for c in text[:MAX_SHOWN_CHARACTERS] if c.isascii() and c.isprintable())
    hint = suggestion(shown.lower().replace("_", "-"), SIMULATION_WORDS) or (
        f"; there are {', '.join(SIMULATION_WORDS)}"
    )
    return Problem(ProblemKind.INVALID, f"no outcome is named {shown}{hint}", "simulate")


def problem_for_word(
    word: str, dialect: Dialect, request: WireRequest, endpoint: AnyEndpoint, now: float
) -> Problem:
    """The problem that a word of `PROBLEM_WORDS` stands for at an endpoint.

    `now` is Unix time in seconds.
    """
    kind = KIND_WORDS.get(word) or _kind_for_status(word, dialect, request, endpoint)
    problem = build_problem(kind, now, dialect.sandbox_plan)
    problem.word = word
    return problem


def build_problem(kind: ProblemKind, now: float, plan: Plan = UNLIMITED) -> Problem:
    """A problem of that kind, with the fields that belong to it; `plan` is that of test keys."""
    detail = "This answer was simulated, as asked."
    match kind:
        case ProblemKind.TOO_FAST:
            return Problem(
                kind,
                detail,
                limit=SIMULATED_LIMIT,
                retry_after_s=SIMULATED_RETRY_AFTER_S,
                reset_at=int(now) + SIMULATED_RETRY_AFTER_S,
            )
        case ProblemKind.UNAVAILABLE:
            return Problem(kind, detail, retry_after_s=SIMULATED_RETRY_AFTER_S)
        case ProblemKind.NO_CREDITS:
            limit = plan.included or SIMULATED_LIMIT
            return Problem(kind, detail, used=limit, limit=limit)
        case ProblemKind.MISSING | ProblemKind.INVALID:
            return Problem(kind, detail, field="email")
        case ProblemKind.TOO_MANY:
            return Problem(kind, detail, field="emails", limit=SIMULATED_LIMIT)
        case ProblemKind.JOB_STATE:
            return Problem(kind, detail, job_state=JobState.RUNNING)
        case ProblemKind.BATCHES_SPENT:
            return Problem(
                kind, detail, limit=SIMULATED_LIMIT, retry_after_s=SIMULATED_RETRY_AFTER_S
            )
    return Problem(kind, detail)


def _kind_for_status(
    word: str, dialect: Dialect, request: WireRequest, endpoint: AnyEndpoint
) -> ProblemKind:
    usual = STATUS_KINDS[word]
    for kind in (*usual, *ProblemKind):
        if dialect.write_problem(request, build_problem(kind, 0), endpoint).status == int(word):
            return ProblemKind(kind)
    return usual[0]
