"""Cells that a spreadsheet would run as a formula, in the vendors' CSV files."""

from __future__ import annotations

import httpx
import pytest

from gateway.app import open_services
from gateway.settings import Settings
from gateway.web.dispatch import create_app
from tests.gateway.upstreams.conftest import Local

FORMULA = "=1+1@evil.example"


@pytest.mark.parametrize("neutralise", [False, True])
async def test_they_are_text_if_the_settings_say_so(neutralise: bool) -> None:
    settings = Settings.model_validate(
        {
            "storage": {"url": "sqlite:///:memory:"},
            "server": {"neutralise_formulas": neutralise},
        }
    )
    async with open_services(settings, verifier=Local(), run_workers=False) as services:
        account = await services.accounts.create_account()
        key = (await services.accounts.create_key(account, "validto")).key
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            table = f"email,=cmd|x\n{FORMULA},-5\nada@example.com,@SUM(1)\n"
            reply = await client.post(
                "/validto/v1/bulk",
                params={"apikey": key},
                data={"auto_verify": "true"},
                files={"local_file": ("a.csv", table.encode(), "text/csv")},
            )
            job_id = reply.json()["job_id"]
            await services.batch_services.drain()
            url = "/validto/v1/download"
            reply = await client.post(url, params={"apikey": key, "jobId": job_id})
            text = reply.text
            shown = await client.get(f"/validto/v1/bulk/{job_id}", params={"apikey": key})
    mark = "'" if neutralise else ""
    for cell in (FORMULA, "@SUM(1)", "=cmd|x"):
        assert f'"{mark}{cell}"' in text
    assert '"-5"' in text
    assert "'" not in shown.text
