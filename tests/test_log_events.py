"""Log events: each call names a stable event, and docs/operations.md lists them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "adapters", "gateway")

EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)*")

LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
"""Methods of a logger, and the level of what they log."""

LINE_HEAD = {"time", "level", "event", "logger"}
"""Fields of every line, which `extra` must not overwrite."""


class LogCall(NamedTuple):
    where: str
    level: str
    call: ast.Call


def log_calls(name: str, source: str) -> Iterator[LogCall]:
    """Every call of a logger's method: of `log`, `logger`, `logging` or `getLogger(...)`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver = re.sub(r"\(.*\)", "", ast.unparse(node.func.value), flags=re.DOTALL)
        if receiver.rpartition(".")[2].lstrip("_") in ("log", "logger", "logging", "getLogger"):
            level = LEVELS.get(node.func.attr, "any" if node.func.attr == "log" else "")
            if level:
                yield LogCall(f"{name}:{node.lineno}", level, node)


def fault_of(call: ast.Call) -> str:
    """What is wrong with the form of a log call; empty if nothing is."""
    if len(call.args) != 1:
        return "the event should be the only positional argument"
    event = call.args[0]
    if not isinstance(event, ast.Constant) or not isinstance(event.value, str):
        return "the event should be a literal"
    if not EVENT.fullmatch(event.value):
        return f"{event.value!r} is no dotted name"
    for keyword in call.keywords:
        if keyword.arg not in ("extra", "exc_info"):
            return f"fields belong in `extra`, not in {keyword.arg}"
        if isinstance(keyword.value, ast.Dict):
            keys = {key.value for key in keyword.value.keys if isinstance(key, ast.Constant)}
            if taken := keys & LINE_HEAD:
                return f"{taken} would overwrite the head of the line"
    return ""


CALLS = [
    call
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    for call in log_calls(str(file.relative_to(ROOT)), file.read_text("utf-8"))
]


@pytest.mark.parametrize("found", CALLS, ids=[found.where for found in CALLS])
def test_every_log_call_names_a_stable_event(found: LogCall) -> None:
    assert not fault_of(found.call)


@pytest.mark.parametrize(
    "source",
    [
        'log.info("a list was created")',
        'log.info("created: %s", name)',
        'log.info(f"created.{name}")',
        "log.info(event)",
        'self._log.warning("Created")',
        'log.error("created", stack_info=True)',
        'log.info("created", extra={"level": 3})',
        'logging.info("root logger")',
        'logging.getLogger(__name__).info("a sentence")',
    ],
)
def test_other_forms_are_found(source: str) -> None:
    (found,) = log_calls("a.py", source)
    assert fault_of(found.call)


def test_the_table_of_events_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = page.split("| event |", 1)[1].split("\n\n", 1)[0]
    listed = re.findall(r"(?m)^\| `([a-z_.]+)` \| ([a-z, ]+) \|", table)
    levels: dict[str, set[str]] = {}
    for found in CALLS:
        event = found.call.args[0]
        assert isinstance(event, ast.Constant)
        levels.setdefault(str(event.value), set()).add(found.level)
    assert dict(listed) == {event: ", ".join(sorted(found)) for event, found in levels.items()}
    assert len(listed) == len(levels)
