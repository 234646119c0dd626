"""What all sections of the settings are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SettingPath = tuple[str | int, ...]
"""The keys that lead to a setting, such as `("upstreams", 0, "name")`."""


class Section(BaseModel):
    """A table of settings. It is frozen, and refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def setting(default: Any, meaning: str, unit: str = "", **bounds: Any) -> Any:
    """A field with its text in `docs/settings.md`."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)
