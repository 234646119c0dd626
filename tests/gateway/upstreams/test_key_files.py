"""Keys in files that are exchanged under a running server."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.contract.upstream import UpstreamQuery
from engine.address import syntax
from engine.model import Verification
from gateway.upstreams.opening import open_upstreams
from gateway.upstreams.source.key_files import KeyFiles
from gateway.upstreams.source.keys import REFUSED_KEY_PAUSE_S, KeyRing
from gateway.upstreams.source.upstream import UpstreamSource
from tests.dialects import ALL
from tests.fakes.clock import Clock
from tests.fakes.vendor import GOOD_KEY, Mood, Vendor, vendor
from tests.gateway.upstreams.conftest import BY_NAME, front, settings_for

QUESTION = UpstreamQuery(syntax.parse_address("a@example.com"), wait_s=5.0)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("old-key\n")
    return file


def put(file: Path, content: str | bytes | None) -> None:
    """What the file holds from now on; None: there is none."""
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


async def made(
    stack: AsyncExitStack, file: Path, name: str = "generic", **options: Any
) -> tuple[Vendor, UpstreamSource, KeyFiles]:
    """An upstream whose first key is in a file."""
    one = await stack.enter_async_context(vendor(BY_NAME[name]))
    settings = settings_for([one], v0={"api_key": f"file:{file}", **options})
    (source,) = await stack.enter_async_context(
        open_upstreams(
            settings,
            ALL,
            clock=time.time,
            monotonic=time.monotonic,
            rng=random.Random(7),
        )
    )
    assert source.key_files is not None
    return one, source, source.key_files


def values(ring: KeyRing) -> list[str]:
    return [key.value for key in ring.keys]


async def test_a_key_that_was_exchanged_is_fresh(
    stack: AsyncExitStack, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, source, files = await made(stack, file, spare_api_keys=["env:KEY", "env:BAD"])
    old, spare, other = source.keys.keys
    source.keys.mark_refused(old)
    source.keys.mark_refused(other)
    source.keys.record_balance(spare, 7)
    put(file, "new-key\n")
    await files.reread()
    new, same, still_dead = source.keys.keys
    assert (new.value, new.number, new.dead, new.paused_until) == ("new-key", 1, False, 0.0)
    assert (same, still_dead) == (spare, other)
    assert (same.credits, still_dead.dead) == (7, True)
    assert source.keys.pick() is new
    (line,) = [r for r in caplog.records if r.getMessage() == "upstream_key.changed"]
    assert (line.source, line.keys) == ("v0", [1])  # type: ignore[attr-defined]
    assert "new-key" not in caplog.text
    assert "old-key" not in caplog.text
    await files.reread()
    assert source.keys.keys[0] is new, "what is the same is left alone"
    source.keys.mark_refused(old)
    assert source.keys.pick() is new, "a request of before says nothing of it"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
async def test_an_unreadable_file_changes_nothing_and_is_logged_once(
    stack: AsyncExitStack, file: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    _, source, files = await made(stack, file)
    key = source.keys.keys[0]
    for times in (1, 2):
        put(file, content)
        for _ in range(3):
            await files.reread()
        assert source.keys.keys == (key,)
        warnings = [r for r in caplog.records if r.getMessage() == "upstream_key.file_unreadable"]
        assert len(warnings) == times, "and again only after it was well in between"
        put(file, "old-key")
        await files.reread()


async def test_keys_of_the_environment_are_not_read_again(stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["generic"]))
    (source,) = await stack.enter_async_context(
        open_upstreams(
            settings_for([one]),
            ALL,
            clock=time.time,
            monotonic=time.monotonic,
            rng=random.Random(7),
        )
    )
    assert source.key_files is None


async def test_a_refused_key_is_looked_up_again_first(stack: AsyncExitStack, file: Path) -> None:
    """The vendor's key was replaced, and the file with it: clients see no error."""
    one, source, _ = await made(stack, file)
    put(file, GOOD_KEY)
    found = await source.try_verify(QUESTION)
    assert isinstance(found, Verification)
    assert one.asked == {"old-key": 1, GOOD_KEY: 1}
    assert source.unusable_fault == ""


async def test_all_who_are_refused_at_once_find_the_new_key(
    stack: AsyncExitStack, file: Path
) -> None:
    one, source, _ = await made(stack, file)
    one.mood = Mood.SLOW
    put(file, GOOD_KEY)
    found = await asyncio.gather(*(source.try_verify(QUESTION) for _ in range(10)))
    assert all(isinstance(one, Verification) for one in found)
    assert one.asked == {"old-key": 10, GOOD_KEY: 10}


async def test_a_refused_key_is_tried_once_however_often_it_is_looked_up(
    stack: AsyncExitStack, file: Path
) -> None:
    one, source, files = await made(stack, file)
    for _ in range(3):
        await source.try_verify(QUESTION)
        await files.reread()
    assert one.asked == {"old-key": 1}
    assert source.unusable_fault == "dead_key"


async def test_a_question_under_way_ends_with_the_key_it_began_with(
    stack: AsyncExitStack, file: Path
) -> None:
    one, source, files = await made(stack, file, "emailable")
    one.keys = {"old-key", "new-key"}
    one.mood, one.pending = Mood.PENDING, 1
    asking = asyncio.create_task(source.try_verify(QUESTION))
    await one.was_asked.wait()  # it pauses for a second before it asks again
    assert one.asked == {"old-key": 1}
    put(file, "new-key")
    await files.reread()
    assert isinstance(await asking, Verification)
    assert one.asked == {"old-key": 2}, "a 249 is only free for who asked first"
    assert isinstance(await source.try_verify(QUESTION), Verification)
    assert one.asked == {"old-key": 2, "new-key": 1}


async def test_new_keys_are_tried_where_the_old_ones_were_banned(
    stack: AsyncExitStack, file: Path
) -> None:
    one, source, files = await made(stack, file)
    one.mood = Mood.BANNED
    await source.try_verify(QUESTION)
    assert source.unusable_fault == "banned"
    one.mood = Mood.GOOD
    put(file, GOOD_KEY)
    await files.reread()
    assert source.unusable_fault == ""
    assert source.ready_in_s == 0


async def test_a_running_server_reads_them(stack: AsyncExitStack, file: Path) -> None:
    one = await stack.enter_async_context(vendor(BY_NAME["generic"]))
    settings = settings_for([one], v0={"api_key": f"file:{file}"})
    here = await stack.enter_async_context(front(settings))
    assert (await here.ask("a@example.com")).status_code == 503
    assert (await here.ask("a@example.com")).status_code == 503
    assert one.asked == {"old-key": 1}
    put(file, GOOD_KEY)
    status = 503
    async with asyncio.timeout(30):
        while status != 200:
            await asyncio.sleep(0)
            status = (await here.ask("a@example.com")).status_code
    assert one.asked == {"old-key": 1, GOOD_KEY: 1}


def test_requests_under_way_do_not_make_a_dead_key_deader() -> None:
    clock = Clock()
    ring = KeyRing(["a"], clock=clock)
    (key,) = ring.keys
    assert [ring.mark_refused(key) for _ in range(20)] == [True] + [False] * 19
    assert ring.ready_in_s == REFUSED_KEY_PAUSE_S
    clock.now += REFUSED_KEY_PAUSE_S
    assert ring.mark_refused(key)
    assert ring.ready_in_s == 2 * REFUSED_KEY_PAUSE_S
