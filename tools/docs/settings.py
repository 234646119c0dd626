"""The tables of `docs/settings.md`, one for each section of the settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.settings.model import DIALECT_SECTIONS, Settings, section_class
from gateway.settings.probe import EgressSettings
from gateway.settings.section import Section
from gateway.settings.server import KeySettings
from gateway.settings.sources import RouteSettings, RoutingSettings, UpstreamSettings
from tools.docs.markdown import row, table_head


def section_table(section: type[Section], inherited: type[Section] = Section) -> Iterator[str]:
    """What the section is, and a row for each setting that is not `inherited`."""
    yield f"{' '.join((section.__doc__ or '').split())}\n"
    yield from table_head("setting", "default", "unit or values", "meaning")
    yield from _rows(section, "", inherited)


def _rows(section: type[Section], prefix: str, inherited: type[Section] = Section) -> Iterator[str]:
    for name, info in section.model_fields.items():
        if name in inherited.model_fields:
            continue
        inner = section_class(info)
        default = "required" if info.is_required() else f"`{_toml(info.default)}`"
        meaning = info.description or ""
        yield row(f"`{prefix}{name}`", default, _values(info), meaning)
        if inner is not None:
            yield from _rows(inner, f"{prefix}{name}.")


def _values(info: FieldInfo) -> str:
    """The unit, the words to choose from, or the bounds."""
    extra = info.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    if unit:
        return {"s": "seconds", "ms": "milliseconds"}.get(str(unit), str(unit))
    kind: Any = info.annotation
    if kind is bool:
        return "`true`, `false`"
    words: tuple[str, ...] = ()
    if get_origin(kind) is Literal:
        words = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        words = tuple(kind)
    if words:
        return ", ".join(f"`{word}`" for word in words)
    bounds = {
        side: getattr(item, side)
        for item in info.metadata
        for side in ("ge", "le")
        if getattr(item, side, None) is not None
    }
    return f"{bounds['ge']} to {bounds['le']}" if len(bounds) == 2 else ""


def _toml(value: Any) -> str:
    """A default as it would be written in the file."""
    if isinstance(value, Section):
        inner = ", ".join(
            f"{name} = {_toml(getattr(value, name))}" for name in type(value).model_fields
        )
        return f"{{ {inner} }}"
    return json.dumps(value)


def dialect_tables() -> Iterator[str]:
    """A part for each dialect that has options."""
    for number, (name, section) in enumerate(DIALECT_SECTIONS.items()):
        yield f"{chr(10) if number else ''}### `[{name}]`\n"
        yield from section_table(section)


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    **{
        f"settings-{name}": partial(section_table, section)
        for name, info in Settings.model_fields.items()
        if (section := section_class(info)) is not None and name not in DIALECT_SECTIONS
    },
    "settings-dialects": dialect_tables,
    "settings-keys": partial(section_table, KeySettings),
    "settings-egress": partial(section_table, EgressSettings),
    "settings-routes": partial(section_table, RouteSettings, RoutingSettings),
    "settings-upstreams": partial(section_table, UpstreamSettings),
}
