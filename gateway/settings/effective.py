"""The effective settings as rows for people: value, origin, meaning; without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings.model import Settings
from gateway.settings.section import Section, SettingPath
from gateway.settings.values import Secret

DEFAULT = "default"
OPTION = "option of the command"
HIDDEN = "…"
"""In the place of a secret."""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting."""

    name: str
    value: str
    """As in the settings file."""
    origin: str
    """`default`, a file with its line, an environment variable, or an option of the command."""
    meaning: str
    """The sentence of the documentation."""
    unit: str

    @property
    def is_default(self) -> bool:
        return self.origin == DEFAULT


@dataclass(frozen=True, slots=True)
class SettingTable:
    """The settings of one table of the file."""

    title: str
    """`[server]`, or `[[upstreams]] acme`."""
    meaning: str
    rows: tuple[SettingRow, ...]


def setting_tables(settings: Settings, origins: Mapping[SettingPath, str]) -> list[SettingTable]:
    """All tables, in the order of the documentation; of lists each entry is one."""
    return list(_tables(settings, origins, ()))


def _tables(
    section: BaseModel, origins: Mapping[SettingPath, str], prefix: SettingPath
) -> Iterator[SettingTable]:
    for name, info in type(section).model_fields.items():
        value, loc = getattr(section, name), (*prefix, name)
        if isinstance(value, Section):
            rows = tuple(_rows(value, origins, loc))
            yield SettingTable(f"[{_dotted(loc)}]", _meaning(value, info), rows)
            yield from _tables(value, origins, loc)
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for index, each in enumerate(value):
                label = getattr(each, "name", "") or getattr(each, "label", "") or str(index + 1)
                rows = tuple(_rows(each, origins, (*loc, index)))
                yield SettingTable(f"[[{_dotted(loc)}]] {label}", _meaning(each, info), rows)


def _rows(
    section: Section, origins: Mapping[SettingPath, str], loc: SettingPath
) -> Iterator[SettingRow]:
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            continue
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        yield SettingRow(
            name,
            shown_value(value),
            _origin(origins, (*loc, name), is_default=_is_default(value, info)),
            (info.description or "").replace("`", ""),
            unit,
        )


def _is_default(value: Any, info: FieldInfo) -> bool:
    if info.is_required():
        return False
    return shown_value(value) == shown_value(info.get_default(call_default_factory=True))


def _origin(origins: Mapping[SettingPath, str], loc: SettingPath, *, is_default: bool) -> str:
    """Of the setting, or of the table that was given as a whole."""
    if loc in origins:
        return origins[loc]
    for end in range(len(loc) - 1, 0, -1):
        # a table that stands in the file leaves its other settings as they are by default
        if loc[:end] in origins and origins[loc[:end]].startswith("environment"):
            return origins[loc[:end]]
    return DEFAULT if is_default else OPTION


def _meaning(section: Section, info: FieldInfo) -> str:
    lines = (type(section).__doc__ or info.description or "").strip().splitlines()
    return lines[0] if lines else ""


def shown_value(value: Any) -> str:
    """As in the settings file; a secret by its reference, and a URL without name and password."""
    match value:
        case Secret(reference=reference):
            return f'"{reference}"'
        case bool():
            return "true" if value else "false"
        case Enum():
            return f'"{value.value}"'
        case str():
            return f'"{without_userinfo(value)}"'
        case tuple() | list():
            return f"[{', '.join(map(shown_value, value))}]"
        case _:
            return str(value)


def without_userinfo(text: str) -> str:
    """A URL without its password, and without a name that may be a secret."""
    if "://" not in text or "@" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return text
    name, colon, _ = userinfo.partition(":")
    # of a database the name is no secret; a name that stands alone in another URL may be
    shown = name if parts.scheme == "postgresql" else HIDDEN
    return parts._replace(netloc=f"{shown}{':' + HIDDEN if colon else ''}@{host}").geturl()


def _dotted(loc: SettingPath) -> str:
    return ".".join(str(part) for part in loc)
