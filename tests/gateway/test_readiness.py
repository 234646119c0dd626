"""`/readyz` says whether the database can be written, not only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import open_services
from gateway.settings import Settings
from gateway.store import StoreBusy, open_store


async def test_it_is_not_ready_while_writes_fail(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'veriplex.db'}"
    settings = Settings.model_validate({"storage": {"url": url}})
    async with (
        open_services(settings, run_workers=False, busy_timeout_s=0.05) as services,
        open_store(url) as other,
    ):
        assert await services.not_ready_reason() is None
        async with other.write():
            # no write has failed yet: reading is enough to be ready
            assert await services.not_ready_reason() is None
            with pytest.raises(StoreBusy):
                await services.accounts.create_account()
            assert await services.not_ready_reason() == "the database cannot be written"
            assert await services.not_ready_reason() == "the database cannot be written"
        assert await services.not_ready_reason() is None
        assert not services.store.last_write_failed
