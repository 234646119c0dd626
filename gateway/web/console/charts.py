"""The data of a chart, as `console.js` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    label: str
    values: Sequence[float | None]
    colour: str = ""
    """The name of a property of `console.css`, without its dashes; empty takes the next one."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over time."""

    name: str
    """Its id on the page."""
    title: str
    summary: str
    """What it shows, in a sentence, for who does not see it."""
    starts: Sequence[int]
    """Unix time of each value; of further values nothing is shown."""
    lines: Sequence[Line]
    unit: str = "count"
    """`count`, `ms` or `money`."""

    def to_json(self) -> str:
        series = [{"label": line.label, "colour": line.colour} for line in self.lines]
        data: list[list[float | None]] = [list(self.starts)]
        data += [list(line.values[: len(self.starts)]) for line in self.lines]
        return orjson.dumps({"unit": self.unit, "series": series, "data": data}).decode()
