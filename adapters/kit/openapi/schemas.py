"""Schemas that describe example values (JSON Schema 2020-12, the dialect of OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Members that need more than the types of their examples."""

    words: frozenset[str] = frozenset()
    """Their texts are all that there are."""
    open: frozenset[str] = frozenset()
    """Their own members have names and values that a client chooses."""


def schema_of(values: Sequence[Any], names: Names = Names(), name: str = "") -> dict[str, Any]:
    """A schema that all values pass."""
    found = {TYPES[kind] for kind in set(map(type, values))}
    if "number" in found:
        found.discard("integer")
    if not found:
        return {}
    kinds = sorted(found, key=lambda kind: (kind == "null", kind))
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    texts = _distinct(value for value in values if isinstance(value, str))
    if name in names.words and texts and found <= {"string", "null"}:
        schema["enum"] = [*texts, *([None] if "null" in found else [])]
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        schema |= _object_schema(objects, names, name)
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        schema["items"] = schema_of([item for each in lists for item in each], names, name)
    return schema


def _object_schema(objects: Sequence[dict[str, Any]], names: Names, name: str) -> dict[str, Any]:
    if name in names.open:
        return {"additionalProperties": True}
    by_member: dict[str, list[Any]] = {}
    for each in objects:
        for key, value in each.items():
            by_member.setdefault(key, []).append(value)
    return {
        "properties": {key: schema_of(values, names, key) for key, values in by_member.items()},
        "required": [key for key, values in by_member.items() if len(values) == len(objects)],
    }


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
