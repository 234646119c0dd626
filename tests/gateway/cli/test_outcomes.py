"""`veriplex outcomes import`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.store import open_store
from tests.gateway.cli.conftest import Here
from tests.gateway.outcomes.test_import import dsn, mbox


async def make_database(url: str) -> None:
    async with open_store(url):
        pass


def test_the_command(here: Here, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/v.db"
    (tmp_path / "veriplex.toml").write_text(f'[storage]\nurl = "{url}"\n', "utf-8")
    asyncio.run(make_database(url))
    (tmp_path / "box").write_bytes(mbox(dsn("ada@example.com"), b"Subject: x\n\nhello\n"))
    (tmp_path / "list.csv").write_text("a@b.co\n")
    done = here("outcomes", "import", "box")
    assert (done.code, done.out) == (
        0,
        "Messages read: 2, of which 1 told what became of a mail.\n"
        "Outcomes: 1, of which 0 are of addresses that were verified here.\n"
        "No report that is understood: 1.\n",
    ), done.err
    done = here("outcomes", "import", "box", "--json")
    assert done.out.startswith('{"messages":2,"with_outcomes":1,')
    done = here("outcomes", "import", "list.csv")
    assert done.code == 1
    assert "no mbox" in done.err
    assert here("outcomes", "import", "nowhere").code == 2
    assert here("outcomes", "import", "box", VERIPLEX_OUTCOMES__KEEP_DAYS="0").code == 2
    assert b"ada@example.com" not in (tmp_path / "v.db").read_bytes()
