"""One verification as each dialect writes it, with the call that asks for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from adapters.contract.clients import ExampleCall
from adapters.contract.dialect import Dialect
from adapters.contract.operations import Verify
from adapters.contract.problems import Problem
from adapters.contract.wire import JSON, StreamReply, WireRequest
from engine.model import Verification
from gateway.sandbox.simulate import SimulatedProblem, problem_for_word


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client of a dialect gets."""

    dialect: Dialect
    status: int
    phrase: str
    body: str
    """Indented, if it is JSON."""
    curl: str

    @property
    def is_result(self) -> bool:
        return self.status == 200


def answer_of(
    dialect: Dialect,
    email: str,
    find: Callable[[Dialect, Verify], Verification],
    *,
    url: str,
    key: str,
    now: float,
) -> Answer | None:
    """The reply of a dialect at `url` for an address; None if the dialect has no example call.

    `find` returns the result that it writes, and may raise `Problem` and SimulatedProblem.
    """
    if dialect.example is None:
        return None
    call = dialect.example.with_address(email)
    request = _request_of(call)
    endpoint = next(
        each
        for each in dialect.endpoints
        if each.path == call.path and request.method in each.methods
    )
    try:
        try:
            op = endpoint.read(request)
            reply = endpoint.write(op, find(dialect, op))
        except SimulatedProblem as simulated:
            raise problem_for_word(simulated.word, dialect, request, endpoint, now) from None
    except Problem as problem:
        reply = dialect.write_problem(request, problem, endpoint)
    assert not isinstance(reply, StreamReply)
    phrase = dialect.reason_phrases.get(reply.status)
    if phrase is None:
        known = reply.status in HTTPStatus.__members__.values()
        phrase = HTTPStatus(reply.status).phrase if known else ""
    text = reply.body.decode("utf-8", "replace")
    if reply.media_type == JSON:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return Answer(dialect, reply.status, phrase, text, call.curl(f"{url}/{dialect.name}", key))


def _request_of(call: ExampleCall) -> WireRequest:
    body = b"" if call.body is None else json.dumps(call.body).encode()
    return WireRequest(
        "GET" if call.body is None else "POST",
        call.path,
        urlencode(call.query),
        {name.lower(): value for name, value in call.headers.items()},
        body,
    )
