"""A batch of separators alone is refused before it takes memory."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from adapters.contract.batch_rules import MAX_BATCH_ENTRIES
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireRequest
from adapters.emailable.batch import read_submit

FORM = {"content-type": "application/x-www-form-urlencoded"}


def form(**fields: str) -> WireRequest:
    body = "&".join(f"{name}={quote(value, safe=',')}" for name, value in fields.items())
    return WireRequest("POST", "/v1/batch", headers=FORM, body=body.encode())


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"emails": "a@b.org" + "," * (2 * MAX_BATCH_ENTRIES + 1)}, ProblemKind.TOO_MANY),
        ({"emails": "a@b.org,,b@b.org,"}, None),
        ({"emails": "a@b.org", "response_fields": "x" + ",x" * 100_000}, ProblemKind.INVALID),
        ({"emails": "a@b.org", "response_fields": "email,state"}, None),
    ],
)
def test_separators_are_bounded(fields: dict[str, str], kind: ProblemKind | None) -> None:
    if kind is None:
        assert read_submit(form(**fields)).entries
        return
    with pytest.raises(Problem) as refused:
        read_submit(form(**fields))
    assert refused.value.kind is kind
