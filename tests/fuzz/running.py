"""Runs a target on its seeds and on changes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.fuzz.mutations import mutate

CORPUS = Path(__file__).parent / "corpus"

Run = Callable[[bytes], None]


class Finding(Exception):
    """An input that a parser cannot cope with."""

    def __init__(self, target: str, data: bytes, cause: Exception) -> None:
        super().__init__(f"{target}: {type(cause).__name__}: {str(cause)[:200]}: {data[:2_000]!r}")
        self.data = data
        self.cause = cause


def seeds_of(target: str) -> list[bytes]:
    """The inputs of the target's folder, in the order of their names."""
    return [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]


def mutations_of(seeds: list[bytes], random: Random, max_bytes: int) -> Iterator[bytes]:
    """Changed seeds without end."""
    while True:
        yield mutate(random.choice(seeds), random)[:max_bytes]


def try_input(target: str, run: Run, data: bytes) -> None:
    """Run the target; raises Finding, with an input that is as small as it is easily made."""
    try:
        run(data)
    except Exception as exc:
        raise Finding(target, _shrink(run, data, type(exc)), exc) from exc


def _shrink(run: Run, data: bytes, error: type[Exception]) -> bytes:
    """The input without the parts that it takes no less for the same error."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if _raises(run, shorter, error):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def _raises(run: Run, data: bytes, error: type[Exception]) -> bool:
    try:
        run(data)
    except Exception as exc:
        return type(exc) is error
    return False
