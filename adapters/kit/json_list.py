"""Lists in JSON: lines of objects, an array, or an object around one. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from adapters.contract.json_values import is_nested_too_deeply
from adapters.kit.csv_rows import Remarks
from adapters.kit.decoding import NotCsv

MAX_CHARACTERS = 50_000_000
"""Of JSON that is not lines of JSON, which is read whole."""
MAX_MEMBERS = 16_384
"""Different names of members, which become columns; as many as a spreadsheet has."""
MAX_LEVELS_AROUND = 4
"""Objects around the array: `{"data": {"contacts": [...]}}` has two."""

_START = re.compile(r'\{\s*(?:["}]|$)|\[\s*(?:["{\[\]0-9]|$)')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"

Row = Mapping[str, Any]


def is_json(first_line: str) -> bool:
    """Whether a text begins as JSON does; its first line may begin with blanks."""
    return _START.match(first_line.lstrip()) is not None


def rows_and_members(
    lines: Iterator[str], again: Iterable[str] | None, remarks: Remarks, sample_size: int
) -> tuple[list[Row], Iterator[Row], list[str]]:
    """The first rows, the others, and the names of all members in the order of appearance.

    `again` are the same lines once more, None if there is no way back to the first. This and
    iterating raise NotCsv.
    """
    lines = (line for line in lines if line)
    first = next(lines, "")
    number = 1
    while first and not first.strip():
        first, number = next(lines, ""), number + 1
    lines = chain((first,), lines)
    value = _try_parse(first)
    if isinstance(value, dict) and not _path_to_list(value):
        rows = _lines_of_json(lines, number)
        sample = list(islice(rows, sample_size))
        members = dict.fromkeys(name for row in sample for name in row)
        for line in again or ():
            later = _try_parse(line)
            members |= dict.fromkeys(_flat(later) if isinstance(later, dict) else ())
            _check_members(members)
    else:
        sample = list(_elements(_whole(lines), remarks))
        rows = iter(())
        members = dict.fromkeys(name for row in sample for name in row)
    _check_members(members)
    return sample, rows, list(members)


def cell_text(value: object) -> str:
    """A value as a cell; addresses in an array are put side by side."""
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(v, str) and "@" in v for v in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _UNSTORABLE.sub(_UNREADABLE, text)


def unique_titles(titles: Sequence[str]) -> list[str]:
    """The titles, of which no two are equal: `Email`, `Email_2`."""
    unique: dict[str, None] = {}
    for title in titles:
        name, number = title, 1
        while name in unique:
            number += 1
            name = f"{title}_{number}"
        unique[name] = None
    return list(unique)


def _check_members(members: Mapping[str, Any]) -> None:
    if len(members) > MAX_MEMBERS:
        raise NotCsv("has too many different members")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which a name may stand twice (RFC 8259 section 4): both are kept."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return dict(zip(unique_titles([name for name, _ in pairs]), (v for _, v in pairs), strict=True))


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_members)


def _try_parse(line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None


def _lines_of_json(lines: Iterable[str], first: int) -> Iterator[Row]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as exc:
            raise NotCsv("is not JSON", number) from exc
        yield _row(value, number)


def _row(value: object, line: int | None = None) -> Row:
    if is_nested_too_deeply(value):
        raise NotCsv("is nested too deeply", line)
    if isinstance(value, str):
        return {"email": value}
    if isinstance(value, dict):
        return _flat(value)
    if value is None:
        return {}
    raise NotCsv("is neither a JSON object nor a text" if line else _ODD_ELEMENT, line)


def _flat(value: Row) -> Row:
    """The members of objects inside as members of their own: `profile.email`."""
    if not any(isinstance(inner, dict) for inner in value.values()):
        return value
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= {f"{name}.{deeper}": of for deeper, of in _flat(inner).items()}
        else:
            flat[name] = inner
    return flat


_ODD_ELEMENT = "has an element that is neither an object nor a text"


def _whole(lines: Iterable[str]) -> str:
    """The whole text, with as many lines above as the file has."""
    parts, characters = [], 0
    for line in lines:
        characters += len(line)
        if characters > MAX_CHARACTERS:
            raise NotCsv("is too long for one JSON text; write a line of JSON for each address")
        parts.append(line)
    return "".join(parts)


def _elements(text: str, remarks: Remarks) -> Iterator[Row]:
    """The rows of JSON values one after the other: those in arrays, and objects themselves."""
    values, end = [], _skip_blanks(text, 0)
    while end < len(text):
        try:
            value, end = _DECODER.raw_decode(text, end)
        except (ValueError, RecursionError) as exc:
            at = exc.pos if isinstance(exc, json.JSONDecodeError) else end
            raise NotCsv("is not JSON", text.count("\n", 0, at) + 1) from exc
        values.append(value)
        end = _skip_blanks(text, end)
    if len(values) == 1 and isinstance(values[0], dict):
        values = [_unwrapped(values[0], remarks)]
    for value in values:
        for element in value if isinstance(value, list) else [value]:
            yield _row(element)


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n", "\ufeff"}:
        at += 1
    return at


def _path_to_list(value: Row) -> list[str]:
    """The members that lead to the list; empty if the object is a row itself.

    The list is the only member with an array of objects or of texts, and has no address beside it.
    """
    path: list[str] = []
    for _ in range(MAX_LEVELS_AROUND):
        if _has_address(value):
            return []
        arrays = [name for name, inner in value.items() if _is_list(inner)]
        objects = [name for name, inner in value.items() if isinstance(inner, dict)]
        if len(arrays) == 1 or (not arrays and len(objects) == 1):
            path += arrays or objects
        else:
            return []
        if arrays:
            return path
        value = value[objects[0]]
    return []


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(inner, dict | str) for inner in value)


def _unwrapped(value: Any, remarks: Remarks) -> Any:
    for name in _path_to_list(value):
        if beside := [other for other in value if other != name]:
            remarks.add(1, f"{', '.join(beside[:5])} beside {name} was left out")
        value = value[name]
    return value


def _has_address(value: Row) -> bool:
    return any(isinstance(inner, str) and "@" in inner for inner in value.values())
