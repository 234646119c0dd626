"""The domain that a reply shows is the end of the address beside it, in every dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.contract.dialect import Dialect
from tests import dialects
from tests.dialects import ALL, verify_request

FORMS = ("bücher.test", "xn--bcher-kva.test")


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts_in(member)


@pytest.mark.parametrize("domain", [*FORMS, "BÜCHER.test", "XN--BCHER-KVA.test"])
@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
async def test_it_has_the_form_of_the_address(
    client: httpx.AsyncClient, dialect: Dialect, domain: str
) -> None:
    request = verify_request(dialect, dialect.sandbox_key, f"user@{domain}")
    reply = await dialects.send(client, dialect, request)
    assert reply.status_code == 200, reply.text
    texts = [text.lower() for text in texts_in(reply.json())]
    addresses = [text for text in texts if text.startswith("user@")]
    shown = [text for text in texts if text in FORMS]
    for each in shown:
        assert addresses, reply.text
        assert all(address.endswith(f"@{each}") for address in addresses), reply.text


async def test_some_dialect_shows_both(client: httpx.AsyncClient) -> None:
    shown = 0
    for dialect in ALL:
        request = verify_request(dialect, dialect.sandbox_key, f"user@{FORMS[1]}")
        reply = await dialects.send(client, dialect, request)
        shown += any(text in FORMS for text in texts_in(reply.json()))
    assert shown >= 4
