"""The replies of an endpoint, found by running its reader and its writers over examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from adapters.contract.credential import KeyInAuthorization, KeyInHeader
from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import JobState
from adapters.contract.operations import SubmitJob, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, StreamReply, UnreadableRequest, WireRequest
from adapters.kit.openapi.outcomes import (
    ExampleRunner,
    World,
    account_worlds,
    job_worlds,
    run_now,
    verify_worlds,
)
from adapters.kit.openapi.requests import BODY_METHODS, bad_requests, described, good_requests

MAX_TEMPLATES = 8
"""Different submissions that batches are shown of."""
WORLDS_OF_VARIANTS = 24
"""States of the server that each variant of a request meets; the first meets all."""
ROWS_OF_VARIANTS = 8

ZIP = "application/zip"
ANY_CALL = (ProblemKind.UNREADABLE, ProblemKind.INTERNAL, ProblemKind.UNAVAILABLE)
OF_KEYS = (ProblemKind.NO_CREDENTIAL, ProblemKind.BAD_CREDENTIAL)
WITH_KEY = (
    *OF_KEYS,
    ProblemKind.NO_CREDITS,
    ProblemKind.SUSPENDED,
    ProblemKind.UNCONFIRMED,
    ProblemKind.CLIENT_BLOCKED,
    ProblemKind.TOO_FAST,
)
BY_CALL: Mapping[str, tuple[ProblemKind, ...]] = {
    "verify_many": (ProblemKind.TOO_MANY,),
    "submit": (
        ProblemKind.TOO_MANY,
        ProblemKind.BATCHES_WAITING,
        ProblemKind.BATCHES_RUNNING,
        ProblemKind.BATCHES_SPENT,
    ),
    "start": (ProblemKind.BATCHES_RUNNING,),
    "find": (ProblemKind.JOB_MALFORMED, ProblemKind.JOB_UNKNOWN, ProblemKind.JOB_STATE),
}
"""Problems of the gateway's, by the runner's method that may raise them."""


@dataclass(slots=True)
class Observed:
    """The replies with one status and media type."""

    results: dict[bytes, None] = field(default_factory=dict)
    """Bodies of replies with a result, the usual one first."""
    problems: dict[bytes, ProblemKind] = field(default_factory=dict)
    """Bodies of errors."""
    headers: dict[str, None] = field(default_factory=dict)


Replies = Mapping[tuple[int, str], Observed]


def submissions(dialect: Dialect) -> tuple[SubmitJob, ...]:
    """The different batches that the example requests of a dialect submit."""
    found: list[SubmitJob] = []
    for endpoint in dialect.endpoints:
        for method in endpoint.methods:
            for request in good_requests(dialect, endpoint, method):
                try:
                    op = endpoint.read(request)
                    if isinstance(op, SubmitJob):
                        found.append(replace(op, entries=tuple(op.entries)))
                except (Problem, UnreadableRequest):
                    continue
    distinct = {(op.headers, repr(op.options), bool(op.name)): op for op in reversed(found)}
    return tuple(islice(reversed(distinct.values()), MAX_TEMPLATES))


def observe(
    dialect: Dialect, endpoint: AnyEndpoint, method: str, templates: tuple[SubmitJob, ...]
) -> Replies:
    """All replies of an endpoint, by status and media type."""
    observer = _Observer(dialect, endpoint)
    requests = list(good_requests(dialect, endpoint, method))
    for at, request in enumerate(requests):
        observer.run(request, World(template=templates[0]) if templates else World())
        worlds = _worlds(dialect, observer.calls, templates)
        for world in islice(worlds, None if at == 0 else WORLDS_OF_VARIANTS):
            rows = world.rows if at == 0 else world.rows[:ROWS_OF_VARIANTS]
            observer.run(request, replace(world, rows=rows))
    for request in bad_requests(dialect, endpoint, method):
        observer.run(request, World(), is_good=False)
    for problem in _problems(endpoint, method, observer):
        observer.refuse(requests[0], problem)
        if problem.kind in OF_KEYS:
            for request in _with_wrong_keys(dialect, endpoint, requests[0]):
                observer.refuse(request, problem)
    return observer.replies


def _with_wrong_keys(
    dialect: Dialect, endpoint: AnyEndpoint, request: WireRequest
) -> Iterator[WireRequest]:
    """A request with a key in each header: some vendors refuse a key by its place."""
    for place in dialect.credential_for(endpoint).places:
        match place:
            case KeyInAuthorization():
                header = {"authorization": f"{place.schemes[0]} wrong".strip()}
            case KeyInHeader():
                header = {place.name: "wrong"}
            case _:
                continue
        yield replace(request, headers={**request.headers, **header})


def _worlds(dialect: Dialect, calls: set[str], templates: tuple[SubmitJob, ...]) -> Iterable[World]:
    if calls & {"verify", "verify_many"}:
        with_accounts = account_worlds(dialect) if "show_account" in calls else ()
        return chain(with_accounts, verify_worlds(dialect))
    if "show_account" in calls:
        return account_worlds(dialect)
    return job_worlds(templates)


class _Observer:
    def __init__(self, dialect: Dialect, endpoint: AnyEndpoint) -> None:
        self._dialect = dialect
        self._endpoint = endpoint
        self.replies: dict[tuple[int, str], Observed] = {}
        self.calls: set[str] = set()
        self.may_be_late = False
        """Whether a client may be told to come again."""

    def run(self, request: WireRequest, world: World, *, is_good: bool = True) -> None:
        """Observe the reply to a request in a world."""
        try:
            op = self._endpoint.read(request)
            if isinstance(op, Verify) and op.wait_s is not None and not op.unknown_if_late:
                self.may_be_late = True
            runner = ExampleRunner(self._dialect, world)
            outcome = run_now(op.run_by(runner))
            self.calls |= runner.calls
            reply = self._endpoint.write(op, outcome)
        except UnreadableRequest as exc:
            self.refuse(request, Problem(ProblemKind.UNREADABLE, str(exc)))
        except Problem as problem:
            self.refuse(request, problem)
        else:
            # of a request that nobody would send, only the refusal is of interest
            if is_good:
                self._add(reply).results.setdefault(_body(reply))

    def refuse(self, request: WireRequest, problem: Problem) -> None:
        """Observe the reply to a problem."""
        reply = self._dialect.write_problem(request, problem, self._endpoint)
        self._add(reply).problems.setdefault(_body(reply), problem.kind)

    def _add(self, reply: Reply) -> Observed:
        is_zip = isinstance(reply, StreamReply) and reply.zip_member
        media_type = ZIP if is_zip else reply.media_type.partition(";")[0]
        observed = self.replies.setdefault((reply.status, media_type), Observed())
        observed.headers.update(dict.fromkeys(name for name, _ in reply.headers))
        return observed


def _problems(endpoint: AnyEndpoint, method: str, observer: _Observer) -> Iterator[Problem]:
    """The problems that the gateway may raise at an endpoint, and those of any reader."""
    kinds = [
        *ANY_CALL,
        *(kind for call in sorted(observer.calls) for kind in BY_CALL.get(call, ())),
    ]
    if endpoint.needs_key:
        kinds += WITH_KEY
    if "{" in endpoint.path:
        kinds.append(ProblemKind.UNKNOWN_PATH)
    if method in BODY_METHODS:
        kinds.append(ProblemKind.TOO_LARGE)
    if observer.may_be_late:
        kinds.append(ProblemKind.NOT_READY)
    first = next(iter(described(endpoint).params), None)
    for kind in kinds:
        for state in JobState if kind is ProblemKind.JOB_STATE else ("",):
            yield Problem(
                kind,
                field=first.name if first else "",
                used=100 if kind is ProblemKind.NO_CREDITS else None,
                limit=100,
                retry_after_s=2
                if kind in (ProblemKind.TOO_FAST, ProblemKind.UNAVAILABLE)
                else None,
                reset_at=1_767_225_600,
                job_state=state,
            )
            if kind in (ProblemKind.NOT_READY, ProblemKind.NO_CREDITS):
                yield Problem(kind)


def _body(reply: Reply) -> bytes:
    if not isinstance(reply, StreamReply):
        return reply.body
    return reply.head + reply.separator.join(run_now(_rendered(reply))) + reply.tail


async def _rendered(reply: StreamReply) -> list[bytes]:
    return [reply.render(row) async for row in reply.rows]
