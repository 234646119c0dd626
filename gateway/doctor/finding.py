"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.reputation import RecentRefusals


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    """Worth a look, but verifications work; or a check that could not be made."""
    FAIL = "fail"
    """Verifications suffer from it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    """The name of the check, such as `ptr`; the same in every run."""
    about: str
    """The checked object, such as a server's address; may be empty."""
    level: Level
    said: str
    """The result in words."""
    advice: str = ""
    """The remedy, in a sentence or two; empty if nothing is wrong."""
    refusals: tuple[RecentRefusals, ...] = ()
    """The operators that refused us, if the check is about refusals."""
    egress: str = ""
    """Name of the egress that it is about; empty if it is about all, or if none is configured."""


def ok(check: str, about: str, said: str) -> Finding:
    return Finding(check, about, Level.OK, said)


def warn(check: str, about: str, said: str, advice: str) -> Finding:
    return Finding(check, about, Level.WARN, said, advice)


def fail(check: str, about: str, said: str, advice: str) -> Finding:
    return Finding(check, about, Level.FAIL, said, advice)
