"""`docs/settings.md`, made from the settings themselves.

python -m gateway.settings.reference > docs/settings.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.settings.model import (
    RouteSettings,
    RoutingSettings,
    Section,
    Settings,
    UpstreamSettings,
    section_class,
)

_INTRODUCTION = """\
# Settings

Veriplex runs without any. To change one, write it into `veriplex.toml`:

```toml
[server]
host = "0.0.0.0"
port = 8025

[engine]
helo = "probe.example.com"
mail_from = "probe@example.com"

[routing]
order = ["local", "emailable-main"]

[[upstreams]]
name = "emailable-main"
dialect = "emailable"
base_url = "https://api.emailable.com/v1"
api_key = "env:EMAILABLE_API_KEY"
```

The file is the one given with `--config`, else the one that `VERIPLEX_CONFIG` names, else
`veriplex.toml` in the working directory if it exists. Settings are read once, at start.

Each setting can also be given as an environment variable, `VERIPLEX_SECTION__NAME` with two
underscores between section and name, which wins over the file. Words and numbers are written
plainly, truth values as `true` or `false`, lists and tables as TOML or JSON, and a list of words
also with commas alone:

```sh
VERIPLEX_SERVER__PORT=8080
VERIPLEX_ENGINE__DNS_SERVERS='["192.0.2.53:53"]'
VERIPLEX_CACHE__TTL_S__UNKNOWN=60
VERIPLEX_UPSTREAMS='[{name = "main", dialect = "emailable", base_url = "https://api.emailable.com/v1", api_key = "env:KEY"}]'
```

An unknown name, in the file or with the prefix `VERIPLEX_`, is an error, as is a value out of
range; all mistakes are reported at once, each with its line. Secrets are never written into
the file: `api_key` refers to an environment variable (`env:NAME`) or to a file (`file:PATH`).
"""  # noqa: E501  (the last variable has to stand on one line)


def settings_page() -> str:
    """The whole page, Markdown."""
    return "\n".join([_INTRODUCTION, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    for name, info in Settings.model_fields.items():
        if (section := section_class(info)) is not None:
            yield from _table(f"[{name}]", section)
    yield from _table(
        "[[routes]]",
        RouteSettings,
        "what is below; what is not set is as by default, not as in `[routing]`.",
        inherited=RoutingSettings,
    )
    yield from _table(
        "[[upstreams]]",
        UpstreamSettings,
        "Any number of them; `VERIPLEX_UPSTREAMS` is the whole list.",
    )


def _table(
    title: str, section: type[Section], note: str = "", inherited: type[Section] = Section
) -> Iterator[str]:
    """One section; what it has from `own` is not repeated."""
    yield f"## `{title}`\n"
    yield " ".join(part for part in ((section.__doc__ or "").strip(), note) if part) + "\n"
    yield "| setting | default | unit or values | meaning |"
    yield "| --- | --- | --- | --- |"
    yield from _rows(section, "", inherited)
    yield ""


def _rows(section: type[Section], prefix: str, inherited: type[Section] = Section) -> Iterator[str]:
    for name, info in section.model_fields.items():
        if name in inherited.model_fields:
            continue
        inner = section_class(info)
        default = "required" if info.is_required() else f"`{_toml(info.default)}`"
        meaning = info.description or ""
        yield f"| `{prefix}{name}` | {default} | {_values(info)} | {meaning} |"
        if inner is not None:
            yield from _rows(inner, f"{prefix}{name}.")


def _values(info: FieldInfo) -> str:
    """The unit, the words to choose from, or the bounds."""
    extra = info.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    if unit:
        return {"s": "seconds"}.get(str(unit), str(unit))
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


if __name__ == "__main__":
    sys.stdout.write(settings_page())
