"""Loads the settings: the file, the environment on top of it, all mistakes at once."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gateway.settings.checks import check_settings, check_source_addresses
from gateway.settings.model import Settings, known_settings, section_class
from gateway.settings.problems import (
    SettingProblem,
    SettingsError,
    dotted,
    error_message,
    suggestion,
)
from gateway.settings.proxies import ProxyVariableError, environment_proxies
from gateway.settings.section import SettingPath
from gateway.settings.values import os_error_reason

PREFIX = "VERIPLEX_"
CONFIG_VARIABLE = "VERIPLEX_CONFIG"
NON_SETTING_VARIABLES = frozenset({CONFIG_VARIABLE, "VERIPLEX_COMMAND", "VERIPLEX_TESTBED"})
"""Variables with our prefix that are not settings: the settings file, the command by which the
pytest plugin starts a server, the folder of the mail testbed."""
DEFAULT_FILE = Path("veriplex.toml")
MAX_FILE_BYTES = 4 * 1024**2
"""Of a settings file; a device such as /dev/zero has no end."""


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    dialects: Collection[str] = (),
    plans: Collection[str] = (),
    secrets: bool = True,
    probing: bool = True,
    on_ignored: Callable[[str], None] = lambda _: None,
    on_origins: Callable[[Mapping[SettingPath, str]], None] = lambda _: None,
) -> Settings:
    """The settings of `path`, or of the default file if it is None, with the environment on top.

    `dialects` and `plans`, if given, are the valid names of `upstreams.dialect` and `limits.plan`.
    Without `secrets` only the form of references is checked, which suits commands that call no
    upstream. With `probing` the proxies and addresses of `[[egress]]` are read and checked in any
    case, which the probe needs. `on_ignored` gets a line about variables with our prefix that
    cannot be meant as settings, and `on_origins` where each given setting comes from. Raises
    SettingsError with all mistakes.
    """
    file, tree, lines = _read_file(_settings_file(path, environ))
    origins: dict[SettingPath, str] = {}
    problems = list(_apply_environment(tree, origins, environ))
    for line in ignored_variables(environ):
        on_ignored(line)

    on_origins(
        {loc: f"{file}, line {line}" for loc, line in lines.items()}
        | {loc: f"environment variable {name}" for loc, name in origins.items()}
    )

    def where(loc: SettingPath) -> str:
        for end in range(len(loc), 0, -1):
            if loc[:end] in origins:
                return f"environment variable {origins[loc[:end]]}"
            if loc[:end] in lines:
                return f"{file}, line {lines[loc[:end]]}"
        return file

    settings = None
    try:
        # JSON mode is strict about types, and still accepts lists for tuples and texts for enums.
        settings = Settings.model_validate_json(
            json.dumps(tree, default=str),
            strict=True,
            context={
                "environ": environ if secrets else None,
                "probe_environ": environ if secrets or probing else None,
            },
        )
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            loc = error["loc"]
            problems.append(SettingProblem(where(loc), dotted(loc), error_message(error)))
    if settings is not None:
        problems += [
            SettingProblem(where(loc), dotted(loc), message)
            for loc, message in check_settings(settings, dialects, plans)
        ]
        if probing:
            problems += [
                SettingProblem(where(loc), dotted(loc), message)
                for loc, message in check_source_addresses(settings)
            ]
        if settings.upstreams:
            problems += _check_proxy_variables(environ)
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def _check_proxy_variables(environ: Mapping[str, str]) -> Iterator[SettingProblem]:
    """Problems with the environment's proxies; a value may hold a password, so none is shown."""
    try:
        environment_proxies(environ)
    except ProxyVariableError as exc:
        yield SettingProblem(f"environment variable {exc.variable}", "", exc.reason)


def _settings_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_file(path: Path | None) -> tuple[str, dict[str, Any], dict[SettingPath, int]]:
    """The file's name for messages, its content, and the line of each setting."""
    if path is None:
        return "settings", {}, {}
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            problem = SettingProblem(name, "", f"has more than {MAX_FILE_BYTES:,} bytes")
            raise SettingsError([problem])
        text = content.decode("utf-8-sig")
        return name, tomllib.loads(text), _line_numbers(text)
    except OSError as exc:
        raise SettingsError(
            [SettingProblem(name, "", f"cannot read: {os_error_reason(exc)}")]
        ) from exc
    except UnicodeDecodeError as exc:
        raise SettingsError([SettingProblem(name, "", "is not UTF-8 text")]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError([SettingProblem(name, "", f"is not TOML: {exc}")]) from exc
    except RecursionError as exc:
        raise SettingsError([SettingProblem(name, "", "is nested too deeply")]) from exc


_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _line_numbers(text: str) -> dict[SettingPath, int]:
    """The line of each key of a TOML text, which tomllib does not report.

    A line inside a multi-line string may look like a key, but never hides a real one.
    """
    lines: dict[SettingPath, int] = {}
    prefix: SettingPath = ()
    tables: dict[SettingPath, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            prefix = _split_key(header[2])
            if header[1] == "[[":
                tables[prefix] = tables.get(prefix, -1) + 1
                prefix = (*prefix, tables[prefix])
            lines.setdefault(prefix, number)
        elif key := _KEY.match(line):
            loc = (*prefix, *_split_key(key[1]))
            for end in range(len(prefix) + 1, len(loc) + 1):
                lines.setdefault(loc[:end], number)
    return lines


def _split_key(key: str) -> SettingPath:
    return tuple(part.strip().strip("\"'") for part in key.split("."))


def _apply_environment(
    tree: dict[str, Any], origins: dict[SettingPath, str], environ: Mapping[str, str]
) -> Iterator[SettingProblem]:
    """Write the variables' values into `tree`, and their names into `origins`."""
    known = {variable_name(loc): (loc, info) for loc, info in known_settings()}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in NON_SETTING_VARIABLES:
            continue
        if name not in known and _is_no_setting(name, environ[name]):
            continue
        if name not in known:
            meant = suggestion(name, [*known, *NON_SETTING_VARIABLES])
            yield SettingProblem(f"environment variable {name}", "", f"unknown setting{meant}")
            continue
        loc, info = known[name]
        try:
            value = _parse_variable(environ[name], info)
        except ValueError as exc:
            yield SettingProblem(f"environment variable {name}", dotted(loc), str(exc))
            continue
        place = tree
        for part in loc[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[loc[-1]] = value
        origins[loc] = name


MISSPELT = 92
"""How similar in percent an unknown variable is to one without `__` that it was meant to be."""
_PORT_LINK = re.compile(r"_PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?\Z")


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes has set it, for a Service whose name begins with `veriplex`.

    It does so in every pod of the namespace. `VERIPLEX_PORT=8080` was rather set by somebody.
    """
    if name.endswith("_PORT") and "_SERVICE_" not in name and not _PORT_LINK.search(name):
        return "://" in value
    is_of_service = name.endswith("_SERVICE_HOST") or "_SERVICE_PORT" in name
    return is_of_service or _PORT_LINK.search(name) is not None


def _is_no_setting(name: str, value: str) -> bool:
    """Whether an unknown variable is ignored, and no mistake that would stop the start."""
    if "__" in name:
        return False
    if _is_service_link(name, value):
        return True
    bare = {CONFIG_VARIABLE, *(variable_name((section,)) for section in Settings.model_fields)}
    return name not in bare and not suggestion(name, bare, at_least=MISSPELT)


def ignored_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """A line for variables with our prefix that no setting can have meant: without `__`."""
    known = [variable_name(loc) for loc, _ in known_settings()]
    links = []
    for name in sorted(environ):
        is_ours = name in NON_SETTING_VARIABLES or name in known
        if not name.startswith(PREFIX) or is_ours or not _is_no_setting(name, environ[name]):
            continue
        if _is_service_link(name, environ[name]):
            links.append(name)
            continue
        leaf = f"__{name.removeprefix(PREFIX)}"
        same = [each for each in known if each.endswith(leaf)]
        meant = f"; did you mean {same[0]}?" if same else suggestion(name, known)
        yield f"environment variable {name}: unknown, and ignored{meant}"
    if links:
        yield (
            f"environment variables {', '.join(links)}: ignored; they look like service links of"
            " Kubernetes (`enableServiceLinks: false` removes them)"
        )


_BOOLEAN_WORDS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _parse_variable(text: str, info: FieldInfo) -> Any:
    """An environment variable's value in the type of its setting."""
    kind = info.annotation
    if kind is bool:
        if text.strip().lower() not in _BOOLEAN_WORDS:
            raise ValueError("should be true or false")
        return _BOOLEAN_WORDS[text.strip().lower()]
    if kind in (int, float):
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            raise ValueError(f"should be a number (got {text!r})") from None
    if get_origin(kind) is tuple or section_class(info) is not None:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        try:
            return json.loads(text)
        except ValueError:
            if get_origin(kind) is tuple and not text.startswith("["):
                return [part.strip() for part in text.split(",") if part.strip()]
            raise ValueError("should be a TOML or JSON value") from None
    return text


def variable_name(loc: tuple[str, ...]) -> str:
    """VERIPLEX_SERVER__PORT for `("server", "port")`."""
    return PREFIX + "__".join(loc).upper()
