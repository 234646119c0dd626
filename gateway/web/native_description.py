"""The OpenAPI description of the native API: `/openapi/veriplex.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson

from adapters.contract.description import ADDRESS, EXAMPLE_ADDRESS, Param, Place
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import JobRow, JobState
from adapters.contract.operations import ShowAccount, ShowJob
from adapters.contract.problems import ProblemKind
from adapters.kit.openapi.document import (
    OPENAPI,
    OWN_HEADERS,
    PROBLEM_WORDS,
    parameter_object,
    request_body_object,
    sentence,
)
from adapters.kit.openapi.outcomes import (
    AT,
    ONE_ADDRESS,
    VERIFICATIONS,
    ExampleRunner,
    World,
    account_worlds,
    job_worlds,
    run_now,
)
from adapters.kit.openapi.schemas import Names, schema_of
from engine.model import Attempt, Meaning, Verdict, Verification
from gateway.outcomes.agreements import VerdictPair, make_agreement
from gateway.outcomes.candidates import candidates_as_dict, make_candidates
from gateway.outcomes.reading import ReadOutcomes
from gateway.outcomes.records import BounceReply, JudgedReply, OutcomeTally, WrongReason
from gateway.outcomes.report import make_report, report_as_dict
from gateway.reputation import RecentRefusals
from gateway.verdicts.as_json import verification_as_dict
from gateway.web.native import PROBLEM_STATUSES, account_as_dict, reputation_as_dict
from gateway.web.native_batches import (
    DEFAULT_LIMIT,
    DEFAULT_PER_PAGE,
    MAX_LIMIT,
    MAX_PAGE,
    MAX_PER_PAGE,
    job_as_dict,
    row_as_dict,
)
from gateway.web.native_outcomes import outcomes_as_dict
from gateway.web.native_sources import REFUSALS

PREFIX = "/veriplex/v1"
NAMES = Names(
    words=frozenset({"verdict", "reason", "state", "dns", "meaning", "stage"}),
    open=frozenset({"counts", "refusals"}),
)
JSON, PROBLEM_JSON = "application/json", "application/problem+json"

ID = Param("id", "The id of the batch.", "5cff27400000000000000000", place=Place.PATH)
SOURCE = Param("name", "The name of the source.", "kickbox", place=Place.PATH)
SWITCHES = (
    Param("smtp", "Whether to ask the mail server; on.", False),
    Param("catch_all", "Whether to find out if the domain accepts every name; on.", False),
)

REFUSED_KEYS = (ProblemKind.NO_CREDENTIAL, ProblemKind.BAD_CREDENTIAL, ProblemKind.SUSPENDED)
FAILURES = (ProblemKind.INTERNAL, ProblemKind.UNAVAILABLE)
CHARGED = (ProblemKind.NO_CREDITS, ProblemKind.TOO_FAST)
ABOUT_ONE = (ProblemKind.JOB_UNKNOWN,)


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeCall:
    """One call of the native API."""

    method: str
    path: str
    """Below `PREFIX`."""
    name: str
    about: str
    params: tuple[Param, ...] = ()
    body: tuple[Param, ...] = ()
    status: int = 200
    replies: Callable[[Dialect], Iterator[Mapping[str, Any]]]
    """Examples of every form of its reply, the usual one first."""
    problems: tuple[ProblemKind, ...] = ()
    is_for_operators: bool = False
    """It takes no key, but the operator's password."""

    def examples_of_problems(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """A sentence about each problem without its full stop, and its document."""
        if self.is_for_operators:
            for refused in REFUSALS:
                document = {"status": refused.status, "detail": refused.detail}
                words = refused.detail.rstrip(".")
                yield words, {"type": "about:blank", "title": refused.title, **document}
        kinds = FAILURES if self.is_for_operators else (*self.problems, *REFUSED_KEYS, *FAILURES)
        for kind in kinds:
            yield PROBLEM_WORDS[kind], _problem(kind)


def _verifications() -> Iterator[Verification]:
    yield from VERIFICATIONS
    asked = Attempt("kickbox", "deliverable", 120, 0.008)
    failed = Attempt("kickbox", "timed_out", 120, status=503, detail="unavailable", asked=False)
    yield replace(VERIFICATIONS[0], attempts=(asked, failed), cached=True)


def _jobs(dialect: Dialect, usual: JobState = JobState.COMPLETED) -> Iterator[Mapping[str, Any]]:
    """A small batch in its usual state, then those of every state."""
    named = replace(ONE_ADDRESS, name="May")
    for world in (World(state=usual, template=named), *job_worlds(())):
        yield job_as_dict(run_now(ExampleRunner(dialect, world).show(ShowJob(job_id=""))))


def _job_lists(dialect: Dialect) -> Iterator[Mapping[str, Any]]:
    jobs = list(_jobs(dialect))
    yield {"batches": jobs[:1], "page": 1, "per_page": DEFAULT_PER_PAGE, "total": 1}
    yield {"batches": jobs, "page": 1, "per_page": DEFAULT_PER_PAGE, "total": len(jobs)}


def _results(dialect: Dialect) -> Iterator[Mapping[str, Any]]:
    jobs = list(_jobs(dialect))
    rows = [row_as_dict(JobRow(v.address.raw, (), v, "")) for v in _verifications()]
    yield {"batch": jobs[0], "offset": 0, "total": 1, "results": rows[:1]}
    yield {"batch": jobs[0], "offset": 0, "total": len(rows), "results": rows}
    for job in jobs:
        yield {"batch": job, "offset": 0, "total": 0, "results": []}


def _usage(dialect: Dialect) -> Iterator[Mapping[str, Any]]:
    for world in account_worlds(dialect):
        yield account_as_dict(run_now(ExampleRunner(dialect, world).show_account(ShowAccount())))
    yield account_as_dict(replace(World().account, credits=None))


def _standing(_: Dialect) -> Iterator[Mapping[str, Any]]:
    yield reputation_as_dict(())
    refusals = RecentRefusals(
        egress="default",
        operator="microsoft",
        meaning=Meaning.IP_BLOCKED,
        block_list="spamhaus",
        day=3,
        week=7,
        since=AT,
        paused_s=60,
        paused_hosts=1,
        last_at=AT,
        host="mx1.example.com",
        text="550 5.7.1 blocked",
    )
    yield reputation_as_dict((), (refusals,))


def _sources_reports(_: Dialect) -> Iterator[Mapping[str, Any]]:
    yield report_as_dict(
        make_report(
            {"delivered": 1_190, "hard_bounce": 14},
            [OutcomeTally("kickbox", "google", Verdict.DELIVERABLE, 90, 1_204, 14)],
            [
                WrongReason(
                    "kickbox", Verdict.DELIVERABLE, "accepted_email", "550", "No such user", 9
                )
            ],
        )
    )
    wrong = WrongReason("kickbox", Verdict.UNDELIVERABLE, "rejected_email", "", "", 1)
    pairs = {
        VerdictPair("kickbox", "local", "google", Verdict.DELIVERABLE, Verdict.DELIVERABLE): 48,
        VerdictPair("kickbox", "local", "google", Verdict.UNDELIVERABLE, Verdict.DELIVERABLE): 2,
    }
    yield report_as_dict(make_report({}, (), [wrong], make_agreement(pairs)))


def _reply_candidates(_: Dialect) -> Iterator[Mapping[str, Any]]:
    reply = JudgedReply("550 5.4.1 access denied", Verdict.UNDELIVERABLE, "rejected_email", 40, 3)
    bounce = BounceReply("5.1.1", "user unknown", 12)
    yield candidates_as_dict(make_candidates([reply], [bounce]))
    yield candidates_as_dict(make_candidates([replace(reply, count=0, bounced=0)], []))


def _outcomes(_: Dialect) -> Iterator[Mapping[str, Any]]:
    read = ReadOutcomes()
    yield outcomes_as_dict(read, 1, 1)
    read.refuse(2, "has no `email`")
    yield outcomes_as_dict(read, 0, 0)


def _sources(_: Dialect) -> Iterator[Mapping[str, Any]]:
    keys = [{"number": 1, "refused": False, "credits": 120}]
    upstream = {
        "name": "kickbox",
        "kind": "kickbox",
        "state": "closed",
        "ready_in_s": 0,
        "fault": None,
        "paused_at": None,
        "usual_latency_ms": 120,
        "spent_today": 0.8,
        "spent_this_month": 12.5,
        "keys": keys,
    }
    local = {"name": "local", "kind": "local", "paused_at": None}
    yield {"sources": [local, upstream]}
    yield {"sources": [local | {"paused_at": AT}, upstream | {"paused_at": AT}]}


def _pauses(_: Dialect, *, paused: bool) -> Iterator[Mapping[str, Any]]:
    yield {"name": "kickbox", "paused": paused}


def _trials(_: Dialect) -> Iterator[Mapping[str, Any]]:
    text = "Its key: answered in 120 ms, 950 credits left."
    yield {"name": "kickbox", "works": True, "text": text}


CALLS = (
    NativeCall(
        method="GET",
        path="/verify",
        name="verify",
        about="Verify one address, and show all evidence.",
        params=(ADDRESS, *SWITCHES, Param("refresh", "Whether to bypass every cache.", True)),
        replies=lambda _: map(verification_as_dict, _verifications()),
        problems=(ProblemKind.MISSING, *CHARGED),
    ),
    NativeCall(
        method="POST",
        path="/batches",
        name="submit_batch",
        about="Submit a batch.",
        body=(
            Param(
                "emails",
                "The addresses.",
                [EXAMPLE_ADDRESS, "undeliverable@example.com"],
                required=True,
            ),
            Param("name", "The name of the batch.", "list"),
            Param(
                "webhook_url",
                "Gets the POSTs of the key's dialect about the batch.",
                "https://example.com/hook",
            ),
            Param("retry_greylisted", "Whether greylisted addresses are tried again; on.", False),
            Param("checks", "`smtp` and `catch_all`; both are on.", {"smtp": False}),
        ),
        status=202,
        replies=partial(_jobs, usual=JobState.QUEUED),
        problems=(
            ProblemKind.INVALID,
            *CHARGED,
            ProblemKind.TOO_LARGE,
            ProblemKind.BATCHES_RUNNING,
        ),
    ),
    NativeCall(
        method="GET",
        path="/batches",
        name="list_batches",
        about="List the batches, the newest first.",
        params=(
            Param("page", "The page, from 1.", 2, minimum=1, maximum=MAX_PAGE),
            Param(
                "per_page",
                f"Batches on a page, {DEFAULT_PER_PAGE} unless given.",
                50,
                minimum=1,
                maximum=MAX_PER_PAGE,
            ),
        ),
        replies=_job_lists,
        problems=(ProblemKind.INVALID,),
    ),
    NativeCall(
        method="GET",
        path="/batches/{id}",
        name="show_batch",
        about="Show a batch.",
        params=(ID,),
        replies=_jobs,
        problems=ABOUT_ONE,
    ),
    NativeCall(
        method="DELETE",
        path="/batches/{id}",
        name="delete_batch",
        about="Delete a batch that has ended; the reply shows it once more.",
        params=(ID,),
        replies=_jobs,
        problems=(*ABOUT_ONE, ProblemKind.JOB_STATE),
    ),
    NativeCall(
        method="POST",
        path="/batches/{id}/cancel",
        name="cancel_batch",
        about="End a batch before all of its addresses are verified; the others are refunded.",
        params=(ID,),
        replies=partial(_jobs, usual=JobState.CANCELLED),
        problems=(*ABOUT_ONE, ProblemKind.JOB_STATE),
    ),
    NativeCall(
        method="GET",
        path="/batches/{id}/results",
        name="show_results",
        about="Show the results of a batch that are there so far, in the order of submission.",
        params=(
            ID,
            Param("offset", "Results to skip.", 100, minimum=0, maximum=MAX_PAGE),
            Param(
                "limit",
                f"Results in one reply, {DEFAULT_LIMIT} unless given.",
                500,
                minimum=1,
                maximum=MAX_LIMIT,
            ),
        ),
        replies=_results,
        problems=(ProblemKind.INVALID, *ABOUT_ONE),
    ),
    NativeCall(
        method="GET",
        path="/usage",
        name="show_usage",
        about="Show the plan, the use this month and the credits; null is without limit.",
        replies=_usage,
    ),
    NativeCall(
        method="GET",
        path="/standing",
        name="show_standing",
        about="Show which mail hosts refuse this server, and why.",
        replies=_standing,
    ),
    NativeCall(
        method="GET",
        path="/sources",
        name="show_sources",
        about="Show the sources: their state, latency and spending.",
        replies=_sources,
    ),
    NativeCall(
        method="GET",
        path="/sources/report",
        name="show_sources_report",
        about="Show how right each source was, by what became of the mails.",
        replies=_sources_reports,
    ),
    NativeCall(
        method="GET",
        path="/sources/report/candidates",
        name="show_reply_candidates",
        about="Show the replies of mail servers that led the engine to wrong verdicts.",
        replies=_reply_candidates,
    ),
    NativeCall(
        method="POST",
        path="/sources/{name}/pause",
        name="pause_source",
        about="Ask a source no more, in any process, until it is resumed.",
        params=(SOURCE,),
        replies=partial(_pauses, paused=True),
        is_for_operators=True,
    ),
    NativeCall(
        method="POST",
        path="/sources/{name}/resume",
        name="resume_source",
        about="Ask a paused source again.",
        params=(SOURCE,),
        replies=partial(_pauses, paused=False),
        is_for_operators=True,
    ),
    NativeCall(
        method="POST",
        path="/sources/{name}/try",
        name="try_source",
        about="End the rest of an upstream, and ask for its balance, which costs nothing.",
        params=(SOURCE,),
        replies=_trials,
        is_for_operators=True,
    ),
    NativeCall(
        method="POST",
        path="/outcomes",
        name="submit_outcomes",
        about="Tell what became of mails; also as an object a line, or as CSV (`text/csv`).",
        body=(
            Param(
                "outcomes",
                "`email`, `outcome` (delivered, hard_bounce, soft_bounce, complaint,"
                " unsubscribed), and if known `at`, `code`, `text`.",
                [{"email": EXAMPLE_ADDRESS, "outcome": "delivered"}],
                required=True,
            ),
        ),
        replies=_outcomes,
        problems=(ProblemKind.UNREADABLE, ProblemKind.TOO_LARGE),
    ),
)


def describe_native(dialect: Dialect, *, version: str) -> dict[str, Any]:
    """The document without `servers`. Examples of batches are in the words of `dialect`."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        found = [orjson.loads(orjson.dumps(reply)) for reply in call.replies(dialect)]
        title = "".join(part.title() for part in call.name.split("_"))
        schema = schema_of(found, NAMES)
        known = next((name for name, other in schemas.items() if other == schema), title)
        schemas[known] = schema
        paths.setdefault(PREFIX + call.path, {})[call.method.lower()] = _operation(
            call, {"$ref": f"#/components/schemas/{known}"}, found[0]
        )
    schemas["Problem"] = PROBLEM_SCHEMA
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Veriplex",
            "version": version,
            "description": (
                "The native API, with a key of any dialect. Members may be added to replies; none"
                " is removed or changed below `/veriplex/v1`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`console.password` of the server.",
                },
            },
            "headers": OWN_HEADERS,
        },
    }


PROBLEM_SCHEMA: dict[str, Any] = {
    "description": "RFC 9457",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "attempts": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
    },
    "required": ["type", "title", "status"],
}


def _operation(call: NativeCall, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in OWN_HEADERS}
    by_status: dict[int, list[tuple[str, Mapping[str, Any]]]] = {}
    for words, document in call.examples_of_problems():
        by_status.setdefault(document["status"], []).append((words, document))
    responses: dict[str, Any] = {
        str(call.status): {
            "description": f"{HTTPStatus(call.status).phrase}.",
            "headers": headers,
            "content": {JSON: {"schema": schema, "examples": {"usual": {"value": example}}}},
        }
    }
    for status, problems in sorted(by_status.items()):
        responses[str(status)] = {
            "description": sentence([words for words, _ in problems]),
            "headers": headers,
            "content": {
                PROBLEM_JSON: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {each["title"]: {"value": each} for _, each in problems},
                }
            },
        }
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.about,
        "parameters": [
            parameter_object(param, "path" if param.place is Place.PATH else "query")
            | ({"required": True} if param.place is Place.PATH else {})
            for param in call.params
        ],
        "responses": responses,
    }
    if call.is_for_operators:
        operation["security"] = [{"operator": []}]
    if call.body:
        operation["requestBody"] = request_body_object(call.body, (JSON,), is_list=False)
    return operation


def _problem(kind: ProblemKind) -> dict[str, Any]:
    status, detail = PROBLEM_STATUSES.get(kind, (400, f"{PROBLEM_WORDS[kind]}."))
    return {"type": "about:blank", "title": kind.value, "status": status, "detail": detail}
