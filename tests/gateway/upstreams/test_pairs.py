"""Any dialect in, any vendor behind: what comes back is what the vendor said."""

from contextlib import AsyncExitStack
from itertools import product

import pytest

from adapters.contract.upstream import UpstreamQuery, UpstreamReply, UpstreamResult
from engine.address import syntax
from engine.model import Reason, Verdict
from tests.adapters.test_upstream_round_trip import HONEST
from tests.dialects import FACTS, NAMES
from tests.fakes.vendor import vendor
from tests.gateway.upstreams.conftest import BY_NAME, front, settings_for

WORDS = {
    f"{verdict}.{reason}".replace("_", "-"): (verdict, reason)
    for verdict, reasons in HONEST.items()
    for reason in reasons
}
"""Mailboxes whose names say how they are."""


def says(email: str) -> tuple[Verdict, Reason]:
    return WORDS[email.partition("@")[0]]


@pytest.mark.parametrize(("before", "behind"), list(product(NAMES, NAMES)))
async def test_the_verdict_that_comes_back(before: str, behind: str) -> None:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(vendor(BY_NAME[behind], says=says))
        here = await stack.enter_async_context(front(settings_for([there])))
        for name, (verdict, reason) in WORDS.items():
            reply = await here.verify(before, f"{name}@example.com")
            assert reply.status_code == 200
            assert reply.headers["x-veriplex-source"] == "v0"
            assert reply.headers["x-veriplex-attempts"] == "1"
            assert reply.headers["cache-status"] == "veriplex; fwd=miss; stored"
            wanted = FACTS[behind].verdict_back(verdict, reason)
            answer = _read(before, f"{name}@example.com", reply.content)
            native = (await here.ask(f"{name}@example.com")).json()
            assert native["verdict"] == wanted
            back = FACTS[before].verdict_back(wanted, Reason(native["reason"]))
            assert answer.verdict == back, name
        assert sum(there.asked.values()) == len(WORDS), "the native API is answered by the cache"


def _read(dialect: str, email: str, body: bytes) -> UpstreamResult:
    upstream = BY_NAME[dialect].upstream
    assert upstream is not None
    answer = upstream.verify.parse(
        UpstreamReply(200, {}, body, 0.0), UpstreamQuery(syntax.parse_address(email))
    )
    assert isinstance(answer, UpstreamResult)
    return answer
