"""Refusals of vendors: of the key, its account, our IP address, for credits or the rate."""

import pytest

from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery, UpstreamReply
from adapters.contract.wire import WireRequest
from engine.address import syntax
from tests.dialects import BY_NAME, FACTS, NAMES, Refusal

QUESTION = UpstreamQuery(syntax.parse_address("a@example.com"))
FIREWALL_PAGE = Refusal(
    403,
    {"content-type": "text/html; charset=UTF-8"},
    b"<title>Attention Required!</title>",
    FaultKind.BANNED,
)
"""The page of a firewall in front of the vendor, which knows no keys."""

ROWS = [
    pytest.param(name, refusal, id=f"{name}-{refusal.status}-{refusal.kind}-{number}")
    for name in NAMES
    for number, refusal in enumerate([*FACTS[name].refusals, FIREWALL_PAGE])
]


@pytest.mark.parametrize(("name", "refusal"), ROWS)
def test_a_refusal_is_a_fault_of_its_kind(name: str, refusal: Refusal) -> None:
    upstream = BY_NAME[name].upstream
    assert upstream is not None
    reply = UpstreamReply(refusal.status, refusal.headers, refusal.body, 0.0)
    found = upstream.verify.parse(reply, QUESTION)
    assert isinstance(found, Fault)
    assert (found.kind, found.status) == (refusal.kind, refusal.status)
    assert found.detail != "None"
    if upstream.balance is not None:
        balance = upstream.balance.parse(reply)
        assert isinstance(balance, Fault)
        assert balance.kind is refusal.kind


@pytest.mark.parametrize("name", NAMES)
def test_no_refusal_is_read_as_a_server_error(name: str) -> None:
    """Also those of our own server: a server error would open the circuit."""
    dialect = BY_NAME[name]
    upstream = dialect.upstream
    assert upstream is not None
    request = upstream.verify.build("the-key", QUESTION)
    for kind in (
        ProblemKind.BAD_CREDENTIAL,
        ProblemKind.SUSPENDED,
        ProblemKind.NO_CREDITS,
        ProblemKind.TOO_FAST,
    ):
        seen = WireRequest(request.method, request.path)
        problem = Problem(kind, used=1, limit=1, retry_after_s=1, reset_at=1)
        written = dialect.write_problem(seen, problem, None)
        found = upstream.verify.parse(
            UpstreamReply(written.status, {}, written.body, 0.0), QUESTION
        )
        assert isinstance(found, Fault), (kind, found)
        assert found.kind in {
            FaultKind.DEAD_KEY,
            FaultKind.BANNED,
            FaultKind.NO_CREDITS,
            FaultKind.TOO_FAST,
        }, (kind, found)
