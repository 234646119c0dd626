"""Simulated outcomes: what a client can ask for that no address deserves.

One word names an outcome in every dialect, and there are three ways to say it through a
client that knows nothing of it:
- in an address: `anyone+simulate-429@anywhere.example`;
- in the key: `<test key>-simulate-429`, which holds for every call made with it;
- in the vendor's own parameter, where it has one (Emailable's `simulate`).

A word is a status of HTTP, the name of a `ProblemKind`, or the state of a job. A status means
whichever problem the dialect words with it at that endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import JobState
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest

EMAIL_MARK = "+simulate-"
KEY_MARK = "-simulate-"

SIMULATED_RETRY_AFTER_S = 1
"""What a simulated refusal asks to wait: short, since a client may really wait."""

SIMULATED_LIMIT = 10
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
    "422": (ProblemKind.JOB_UNKNOWN,),
    "429": (ProblemKind.TOO_FAST,),
    "500": (ProblemKind.INTERNAL,),
    "503": (ProblemKind.UNAVAILABLE,),
    "504": (ProblemKind.NOT_READY,),
}
"""What each status usually is, most usual first. Where a dialect words none of these with the
status, any problem that it does word so is taken, and else the first of these as it is."""

KIND_WORDS: Mapping[str, ProblemKind] = {
    **{kind.replace("_", "-"): kind for kind in ProblemKind},
    # Emailable's own words
    "generic-error": ProblemKind.INTERNAL,
    "insufficient-credits-error": ProblemKind.NO_CREDITS,
    "payment-error": ProblemKind.NO_CREDITS,
    "card-error": ProblemKind.NO_CREDITS,
}

SLOW_JOB_WORD = "slow"
"""A batch that takes `SLOW_JOB_S` by the sandbox's clock, through all its states."""
SLOW_JOB_S = 60

JOB_WORDS: Mapping[str, JobState | None] = {
    **{state.value: state for state in JobState},
    # Emailable's own words
    "importing": JobState.PREPARING,
    "verifying": JobState.RUNNING,
    # follows the clock
    SLOW_JOB_WORD: None,
}
"""The states that a batch can be shown in."""

PROBLEM_WORDS = frozenset({*STATUS_KINDS, *KIND_WORDS})
SIMULATION_WORDS = PROBLEM_WORDS | JOB_WORDS.keys()


class SimulatedProblem(Exception):
    """The caller asked for a problem; `problem` says which one."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word} was asked for")
        self.word = word


def parse_word(text: str) -> str | None:
    """A word as the vendors or the tables here spell it; None if it is none."""
    word = text.strip().lower().replace("_", "-")
    return word if word in SIMULATION_WORDS else None


def word_in_email(email: str) -> str:
    """The word in an address's tag, empty without one that is known."""
    if EMAIL_MARK not in email:
        return ""
    _, _, tail = email.partition(EMAIL_MARK)
    return parse_word(tail.partition("@")[0]) or ""


def split_key(credential: str) -> tuple[str, str] | None:
    """The key and the word of a credential that has both, None if it has no known word."""
    key, mark, word = credential.rpartition(KEY_MARK)
    return (key, word) if mark and word in SIMULATION_WORDS else None


def problem_for_word(
    word: str, dialect: Dialect, request: WireRequest, endpoint: AnyEndpoint, now: float
) -> Problem:
    """The problem that one of `PROBLEM_WORDS` stands for at an endpoint.

    `now` is Unix time in seconds.
    """
    kind = KIND_WORDS.get(word) or _kind_for_status(word, dialect, request, endpoint)
    return build_problem(kind, now)


def build_problem(kind: ProblemKind, now: float) -> Problem:
    """A problem of that kind, with what belongs to it."""
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
            return Problem(kind, detail, used=SIMULATED_LIMIT, limit=SIMULATED_LIMIT)
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
