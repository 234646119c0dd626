"""Mistakes in the settings, and their messages."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from gateway.settings.model import Settings, known_settings
from gateway.settings.probe import EgressSettings
from gateway.settings.section import SettingPath
from gateway.settings.server import KeySettings
from gateway.settings.sources import UpstreamSettings


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One mistake in the settings."""

    where: str
    """The file with the line if known, or the environment variable."""
    setting: str
    """With dots, such as `server.port`; empty for the whole file."""
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.setting, self.message) if part)


class SettingsError(Exception):
    """The settings are not valid. The message has a line for each mistake."""

    def __init__(self, problems: list[SettingProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


_NAMES_OF_SECRETS = re.compile(r"key|token|password|secret|proxy|url")
"""Found in the names of settings whose invalid value may be a secret or contain one."""


def dotted(loc: SettingPath) -> str:
    """`upstreams[0].name` for `("upstreams", 0, "name")`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def error_message(error: ErrorDetails) -> str:
    """A message for one of pydantic's errors."""
    match error["type"]:
        case "extra_forbidden":
            return f"unknown setting{_suggest_setting(error['loc'])}"
        case "missing":
            return "is required"
        case "value_error":
            text = str(error["ctx"]["error"])
        case _:
            text = error["msg"].removeprefix("Input ")
            text = text[0].lower() + text[1:]
    got = error["input"]
    if not isinstance(got, str | int | float):
        return text
    if isinstance(got, str) and _may_hold_secret(error["loc"], got):
        return text
    return f"{text} (got {got!r})"


def _may_hold_secret(loc: SettingPath, value: str) -> bool:
    """Whether a message must not repeat an invalid value."""
    names = [part for part in loc if isinstance(part, str)]
    return (
        len(names) == 1  # in the place of a whole section
        or any(map(_NAMES_OF_SECRETS.search, names))
        or ("://" in value and "@" in value)
    )


def _suggest_setting(loc: SettingPath) -> str:
    """The known setting that an unknown one probably stands for."""
    wrong = str(loc[-1])
    section = ".".join(str(part) for part in loc[:-1] if not isinstance(part, int))
    known = {".".join(name) for name, _ in known_settings()}
    known |= {f"upstreams.{name}" for name in UpstreamSettings.model_fields}
    known |= {f"keys.{name}" for name in KeySettings.model_fields}
    known |= {f"egress.{name}" for name in EgressSettings.model_fields}
    known |= set(Settings.model_fields)
    siblings = {
        leaf: name
        for name in sorted(known)
        for parent, _, leaf in [name.rpartition(".")]
        if parent == section
    }
    if best := _closest(wrong, siblings, at_least=70):
        return f"; did you mean {siblings[best]}?"
    if elsewhere := [name for name in sorted(known) if name.rpartition(".")[2] == wrong]:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(siblings)}"


def suggestion(wrong: str, known: Collection[str], *, at_least: int = 60) -> str:
    """`; did you mean …?` with the most similar known word, or nothing if none is similar.

    `at_least` is in percent.
    """
    best = _closest(wrong, known, at_least=at_least)
    return f"; did you mean {best}?" if best else ""


def _closest(wrong: str, known: Collection[str], at_least: int) -> str | None:
    # imported here, since only a mistake needs it
    from rapidfuzz import fuzz, process

    best = process.extractOne(wrong, list(known), scorer=fuzz.ratio, score_cutoff=at_least)
    return best[0] if best else None
