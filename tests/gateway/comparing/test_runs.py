"""Comparisons of vendors on loopback: money, faults, interruptions, and what is written."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.model import Reason, Verdict
from gateway.cli.comparison import ComparisonRequest, run_comparison
from gateway.cli.lists import read_list
from gateway.cli.output_file import OutputFile
from gateway.cli.terminal import CommandError
from gateway.settings import Settings
from tests.fakes.vendor import Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, settings_for

LIST = "email,outcome\n" + "".join(
    f"user{n}@example.com,{'bounced' if n < 10 else 'delivered'}\n" for n in range(60)
)


def knows(email: str) -> tuple[Verdict, Reason]:
    if int(email.removeprefix("user").partition("@")[0]) < 10:
        return Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
    return Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL


def settings(vendors: list[Vendor], folder: Path, **options: Any) -> Settings:
    return settings_for(
        vendors,
        folder,
        storage={"url": f"sqlite:///{folder / 'veriplex.db'}"},
        engine={"dns_servers": ["127.0.0.1:9"], "deadline_s": 0.2},
        **options,
    )


def request(folder: Path, name: str = "report.json", **options: Any) -> ComparisonRequest:
    given: dict[str, Any] = {
        "file": "list.csv",
        "output": OutputFile(str(folder / name), force=True),
        "names": ("v0", "v1"),
        "sample": None,
        "budget": None,
        "truth": "outcome",
        "bounce_rate": 0.2,
        "fresh": False,
        "show_addresses": False,
        "seed": 0,
        "addresses": read_list("list.csv", lambda: [LIST.encode()]),
        **options,
    }
    return ComparisonRequest(**given)


def asked(one: Vendor) -> int:
    return one.asked.total()


async def test_two_sources(tmp_path: Path) -> None:
    async with vendor(BY_NAME["emailable"], says=knows) as a, vendor(BY_NAME["kickbox"]) as b:
        where = settings([a, b], tmp_path, v0={"price": 0.01}, v1={"price": 0.02})
        await run_comparison(where, request(tmp_path))
        report = json.loads((tmp_path / "report.json").read_bytes())
        assert report["spent"] == pytest.approx(60 * 0.03)
        assert report["pairs"][0]["agreement"]["same"]["hits"] == 50
        assert report["truth"][0]["accuracy"]["precision"]["share"] == 1
        assert report["mix"]["sources"] == ["v0"]
        rows = report["differing_addresses"]
        assert len(rows) == 10
        assert not any("@" in row["address"] for row in rows)

        # asked again, nothing is paid for; the page and the table are made all the same
        await run_comparison(where, request(tmp_path, "report.html", show_addresses=True))
        assert (asked(a), asked(b)) == (60, 60)
        page = (tmp_path / "report.html").read_text()
        assert "user1@example.com" in page
        assert "Spent in this run: 0." in page
        assert not re.search(r"https?://|src=|url\(", page), "it asks nothing from any server"

        await run_comparison(where, request(tmp_path, "report.csv", fresh=True))
        assert (asked(a), asked(b)) == (120, 120)
        table = list(csv.reader(io.StringIO((tmp_path / "report.csv").read_text())))
        assert len(table) == 61
        assert table[1][2:5] == ["bounced", "undeliverable", "rejected_email"]


async def test_the_budget_is_never_passed(tmp_path: Path) -> None:
    async with vendor(BY_NAME["emailable"]) as a, vendor(BY_NAME["kickbox"]) as b:
        where = settings([a, b], tmp_path, v0={"price": 0.01}, v1={"price": 0.02})
        await run_comparison(where, request(tmp_path, budget=0.5))
        assert (asked(a), asked(b)) == (16, 16), "all sources are asked the same addresses"
        assert json.loads((tmp_path / "report.json").read_bytes())["spent"] <= 0.5
        with pytest.raises(CommandError, match="does not suffice"):
            await run_comparison(where, request(tmp_path, budget=0.02))


async def test_the_budget_of_the_settings_holds_too(tmp_path: Path) -> None:
    async with vendor(BY_NAME["emailable"]) as a, vendor(BY_NAME["kickbox"]) as b:
        limited = {"price": 0.01, "daily_budget": 0.2}
        where = settings([a, b], tmp_path, v0=limited, v1={"price": 0.0})
        await run_comparison(where, request(tmp_path))
        report = json.loads((tmp_path / "report.json").read_bytes())
        assert asked(a) == 20
        assert report["sources"][0]["faults"] == {"over_budget": 40}
        assert report["sources"][0]["stopped_by"] == "over_budget"


async def test_an_interrupted_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with vendor(BY_NAME["emailable"]) as a, vendor(BY_NAME["kickbox"]) as b:
        where = settings([a, b], tmp_path, upstream={"connections": 1})
        a.mood, a.slow_s = Mood.SLOW, 0.005
        run = asyncio.create_task(run_comparison(where, request(tmp_path, fresh=True)))
        while asked(a) < 20:
            a.was_asked.clear()
            await a.was_asked.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not (tmp_path / "report.json").exists()
        assert "the same command goes on" in capsys.readouterr().err
        a.mood = Mood.GOOD
        await run_comparison(where, request(tmp_path, fresh=True))
        assert "resuming" in capsys.readouterr().err
        assert asked(a) <= 61, "what was in flight is asked again"
        assert json.loads((tmp_path / "report.json").read_bytes())["addresses"] == 60


async def test_a_source_without_credits_is_asked_once(tmp_path: Path) -> None:
    async with vendor(BY_NAME["emailable"]) as a, vendor(BY_NAME["kickbox"]) as b:
        a.mood = Mood.EMPTY
        where = settings([a, b], tmp_path, upstream={"connections": 1})
        await run_comparison(where, request(tmp_path))
        report = json.loads((tmp_path / "report.json").read_bytes())
        assert report["sources"][0]["faults"] == {"not_asked": 59, "no_credits": 1}
        assert report["pairs"][0]["agreement"]["same"]["count"] == 0


async def test_words_of_the_outcome_column(tmp_path: Path) -> None:
    async with vendor(BY_NAME["emailable"]) as a, vendor(BY_NAME["kickbox"]) as b:
        where = settings([a, b], tmp_path)
        for column, words in (("reason", "its columns: 'email', 'outcome'"), ("email", "row 1")):
            with pytest.raises(CommandError, match=words):
                await run_comparison(where, request(tmp_path, truth=column))
        assert asked(a) == 0
