"""A greylisted test address is verified again, and its callback sent, when the clock moves on."""

from __future__ import annotations

import json
from typing import Any

import httpx

from adapters.zerobounce import DIALECT
from tests.gateway.sandbox.test_webhooks import body_of, receiving

API = "/veriplex/v1"


async def validate(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    params = {
        "email": "greylisted@example.com",
        "ip_address": "",
        "greylist_processing": "true",
        "callback_url": url,
        "api_key": DIALECT.sandbox_key,
    }
    found: dict[str, Any] = (await client.get("/v2/validate", params=params)).json()
    return found


async def test_the_callback_comes_half_an_hour_later(client: httpx.AsyncClient) -> None:
    async with receiving(200) as receiver:
        await client.post(f"{API}/clock", json={"frozen": True})
        first = await validate(client, receiver.url)
        assert (first["status"], first["sub_status"]) == ("unknown", "greylisted")
        pending = await validate(client, receiver.url)
        assert list(pending) == ["Message"]
        assert receiver.bodies.empty()
        await client.post(f"{API}/clock", json={"advance_s": 1_801})
        second = await body_of(receiver)
        assert {**second, "processed_at": ""} == {**first, "processed_at": ""}
        assert "Message" not in await validate(client, receiver.url)
        assert json.dumps(list(second)) == json.dumps(list(first))
