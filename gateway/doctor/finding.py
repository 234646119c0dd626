"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.reputation import RecentRefusals


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Worth a look; verifications go on. Also what could not be found out."""
    FAIL = "fail"
    """Answers suffer from it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, such as `ptr`; the same in every run."""
    about: str
    """Which one of several, such as a server's address; may be empty."""
    level: Level
    said: str
    """What was found."""
    advice: str = ""
    """What to do about it, in a sentence or two; empty if nothing need be done."""
    refusals: tuple[RecentRefusals, ...] = ()
    """Who refused us, where that is what was found."""


def ok(check: str, about: str, said: str) -> Finding:
    return Finding(check, about, Level.OK, said)


def warn(check: str, about: str, said: str, advice: str) -> Finding:
    return Finding(check, about, Level.WARN, said, advice)


def fail(check: str, about: str, said: str, advice: str) -> Finding:
    return Finding(check, about, Level.FAIL, said, advice)
