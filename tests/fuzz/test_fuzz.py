"""A short run of every fuzz target, the same each time. `make fuzz` runs them for longer."""

from __future__ import annotations

import gc
import logging
import time
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from tests.fuzz.running import CORPUS, mutations_of, seeds_of, try_input
from tests.fuzz.targets import TARGETS, Target

MUTATIONS = 1_500
"""Of each target; about a second."""
SIZE = 8 * 1024
TIMES_LARGER = 8
MAX_GROWTH = 4 * TIMES_LARGER
"""Of the time from one size to the larger: quadratic time is 8 times `TIMES_LARGER`."""
UNNOTICED_S = 0.05
"""Of CPU; less is not compared, since it varies."""
MAX_BYTES_PER_BYTE, MEMORY_BASE = 200, 8 * 1024 * 1024
GROWN_SEEDS = 8


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def test_every_corpus_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_mutations_are_parsed(name: str) -> None:
    target, seeds = TARGETS[name], seeds_of(name)
    for seed in seeds:
        try_input(name, target.run, seed)
    for data in islice(mutations_of(seeds, Random(name), target.max_bytes), MUTATIONS):
        try_input(name, target.run, data)


@pytest.mark.parametrize("name", TARGETS)
def test_time_and_memory_grow_with_the_input(name: str) -> None:
    target, random = TARGETS[name], Random(name)
    seeds = seeds_of(name)
    for seed in random.sample(seeds, min(GROWN_SEEDS, len(seeds))):
        start = random.randrange(len(seed))
        end = min(len(seed), start + random.choice((1, 3, 20, 100)))
        size = min(SIZE, target.max_bytes // TIMES_LARGER)
        small, large = (grown(seed, start, end, n) for n in (size, size * TIMES_LARGER))
        large_s = min(cpu_s(target, large) for _ in range(2))
        growth = large_s / max(min(cpu_s(target, small) for _ in range(2)), 1e-6)
        assert large_s < target.limit_s, (seed, start, end)
        assert large_s < UNNOTICED_S or growth < MAX_GROWTH, (seed, start, end)
    assert peak_bytes(target, large) < MEMORY_BASE + MAX_BYTES_PER_BYTE * len(large)


def grown(seed: bytes, start: int, end: int, size: int) -> bytes:
    """The seed with a part of it repeated."""
    part = seed[start:end]
    return seed[:end] + part * (size // len(part)) + seed[end:]


def cpu_s(target: Target, data: bytes) -> float:
    gc.disable()
    began = time.thread_time()
    try:
        target.run(data)
        return time.thread_time() - began
    finally:
        gc.enable()


def peak_bytes(target: Target, data: bytes) -> int:
    tracemalloc.start()
    try:
        target.run(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
