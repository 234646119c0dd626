"""What a vendor's refusal is about: the key, its account or our address, the credits, the pace.

Rows marked "ours" are what the dialect writes here, where the vendor publishes no text.
"""

from collections.abc import Mapping

import pytest

from adapters.contract.upstream import Fault, FaultKind, UpstreamQuery, UpstreamReply
from adapters.registry import DIALECTS
from engine.address import syntax

BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
QUESTION = UpstreamQuery(syntax.parse_address("a@example.com"))
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=UTF-8"}

ROWS: list[tuple[str, int, Mapping[str, str], str, FaultKind]] = [
    # emailable: a bad key is 403, no key 401; a key's own list of addresses is 403, too
    ("emailable", 401, JSON, '{"message":"API key is required"}', FaultKind.DEAD_KEY),
    ("emailable", 403, JSON, '{"message":"API key is invalid"}', FaultKind.DEAD_KEY),
    ("emailable", 403, {}, "", FaultKind.DEAD_KEY),
    ("emailable", 402, JSON, "{}", FaultKind.NO_CREDITS),
    # validto: the account is a 400 whose text differs between the brands
    ("validto", 401, JSON, '{"success":"false","result":"Invalid API Key"}', FaultKind.DEAD_KEY),
    ("validto", 200, JSON, '{"success":"false","result":"Invalid API Key"}', FaultKind.DEAD_KEY),
    ("validto", 400, JSON, '{"result":"Verify restricted","success":false}', FaultKind.BANNED),
    (
        "validto",
        400,
        JSON,
        '{"result":"Verification restricted due to account status.","success":false}',
        FaultKind.BANNED,
    ),
    ("validto", 400, JSON, '{"result":"Validation timedout","success":false}', FaultKind.PENDING),
    ("validto", 200, JSON, '{"result":"Validation timedout","success":false}', FaultKind.PENDING),
    (
        "validto",
        400,
        JSON,
        '{"result":"Invalid request. Required email.","success":false}',
        FaultKind.REFUSED,
    ),
    (
        "validto",
        200,
        JSON,
        '{"result":"Insufficient verification credits","success":"false"}',
        FaultKind.NO_CREDITS,
    ),
    # generic: both documented 403s are about the account
    ("generic", 401, JSON, '{"error":"unauthorized","message":"No."}', FaultKind.DEAD_KEY),
    ("generic", 403, JSON, '{"error":"account_suspended","message":"No."}', FaultKind.BANNED),
    ("generic", 403, JSON, '{"error":"email_not_verified","message":"No."}', FaultKind.BANNED),
    # whoisxml: 403 is a key or an empty account, which its words leave open
    (
        "whoisxml",
        403,
        JSON,
        '{"ErrorMessage":{"msg":"Access restricted. Check credits balance or enter the correct'
        ' API key."}}',
        FaultKind.NO_CREDITS,
    ),
    ("whoisxml", 403, JSON, '{"code":403,"messages":"Access restricted"}', FaultKind.NO_CREDITS),
    ("whoisxml", 403, {}, "", FaultKind.NO_CREDITS),
    ("whoisxml", 403, JSON, '{"ErrorMessage":{"msg":"Invalid API key"}}', FaultKind.DEAD_KEY),
    ("whoisxml", 401, JSON, '{"messages":"Authentication failed"}', FaultKind.DEAD_KEY),
    # ours
    (
        "whoisxml",
        403,
        JSON,
        '{"ErrorMessage":{"msg":"The account is suspended."}}',
        FaultKind.BANNED,
    ),
    # dataoorts: an address is blocked for good, whichever key it shows
    ("dataoorts", 401, JSON, '{"error":"Unauthorized"}', FaultKind.DEAD_KEY),
    ("dataoorts", 403, JSON, '{"error":"IP address blocked"}', FaultKind.BANNED),
    ("dataoorts", 403, {}, "", FaultKind.BANNED),
    # a firewall before the vendor answers with a page, and knows no keys
    *(
        (name, 403, HTML, "<title>Attention Required!</title>", FaultKind.BANNED)
        for name in BY_NAME
    ),
]


@pytest.mark.parametrize(("name", "status", "headers", "body", "kind"), ROWS)
def test_what_a_refusal_is_about(
    name: str, status: int, headers: Mapping[str, str], body: str, kind: FaultKind
) -> None:
    upstream = BY_NAME[name].upstream
    assert upstream is not None
    reply = UpstreamReply(status, headers, body.encode(), 0.0)
    told = upstream.verify.parse(reply, QUESTION)
    assert isinstance(told, Fault)
    assert (told.kind, told.status) == (kind, status)
    assert told.detail != "None"
    if upstream.balance is not None:
        balance = upstream.balance.parse(reply)
        assert isinstance(balance, Fault)
        assert balance.kind is kind
