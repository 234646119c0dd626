"""`veriplex init`: writes a settings file that explains every setting."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from gateway.cli.terminal import CommandError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_LINE_WIDTH = 98


def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write.", show_default=True)
    ] = Path("veriplex.toml"),
    force: Annotated[
        bool,
        typer.Option("--force", help="Overwrite an existing file.", show_default=False),
    ] = False,
) -> None:
    """Write a settings file with every setting and its default, commented out.

    Veriplex runs without a settings file: uncomment only what you change.
    `veriplex check` finds mistakes in it.

    Examples:
      veriplex init
      veriplex init /etc/veriplex.toml
    """
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(template())
    except FileExistsError as exc:
        raise CommandError(f"{file} exists; --force overwrites it") from exc
    except OSError as exc:
        raise CommandError(f"cannot write {file}: {exc.strerror}") from exc
    typer.echo(f"wrote {file}")


def template() -> str:
    """The file's text, made from the classes of the settings."""
    from gateway.settings.model import Settings, section_class
    from gateway.settings.section import Section
    from gateway.settings.sources import RoutingSettings

    parts = [_INTRODUCTION]
    for name, info in Settings.model_fields.items():
        section = section_class(info)
        if section is not None:
            head, known = f"[{name}]", Section
        else:  # a list of tables; a route repeats the settings of [routing]
            section = get_args(info.annotation)[0]
            head, known = (
                f"# [[{name}]]",
                RoutingSettings if issubclass(section, RoutingSettings) else Section,
            )
        parts.append(_comment(section.__doc__ or "") + f"{head}\n")
        parts += [
            _setting(key, inner, f"{name}.{key}")
            for key, inner in section.model_fields.items()
            if key not in known.model_fields
        ]
    return "\n".join(parts)


_INTRODUCTION = """\
# Settings of Veriplex. A setting that is commented out has the value shown.
# Each can also be set by the variable VERIPLEX_SECTION__NAME, such as VERIPLEX_SERVER__PORT=8080.
"""

_EXAMPLES: dict[str, Any] = {
    "egress.name": "second-address",
    "upstreams.name": "emailable-main",
    "upstreams.dialect": "emailable",
    "upstreams.base_url": "https://api.emailable.com/v1",
    "upstreams.api_key": "env:EMAILABLE_API_KEY",
    "keys.dialect": "emailable",
    "keys.key": "env:EMAILABLE_KEY",
    "routes.name": "sign-up",
    "routes.keys": ["sign-up form"],
}
"""Values of settings without a default."""


def _setting(name: str, info: FieldInfo, full_name: str) -> str:
    from gateway.settings.section import Section

    value: Any = _EXAMPLES[full_name] if info.is_required() else info.default
    if isinstance(value, Section):
        return "".join(
            _setting(f"{name}.{inner}", field, f"{full_name}.{inner}")
            for inner, field in type(value).model_fields.items()
        )
    # JSON's strings, numbers, booleans and lists are valid TOML
    return _comment(info.description or "") + f"# {name} = {json.dumps(value)}\n"


def _comment(text: str) -> str:
    return "".join(f"{line}\n" for line in _wrap_comment(text.replace("`", "")))


def _wrap_comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _LINE_WIDTH - 2):
        yield f"# {line}"
