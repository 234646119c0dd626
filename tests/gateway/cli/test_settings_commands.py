"""`veriplex init` and `veriplex check`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gateway.cli.init import template
from gateway.cli.terminal import EXIT_FAILURE, EXIT_USAGE
from gateway.settings import Settings, load
from tests.gateway.cli.conftest import Here


def test_init_writes_what_check_accepts(here: Here) -> None:
    assert here("init").out == "wrote veriplex.toml\n"
    done = here("check")
    assert done.code == 0
    assert "good (veriplex.toml, then the environment)" in done.out
    assert "engine.helo is localhost" in done.err
    assert here("init").code == EXIT_FAILURE
    assert here("init", "--force").code == 0


def test_every_setting_of_the_template_has_its_default(tmp_path: Path) -> None:
    text = template()
    assert load(_written(tmp_path, text), {}) == Settings()
    bare = re.sub(r"(?m)^# (?=[a-z_.0-9]+ = |\[\[)", "", text)
    assert set(tomllib.loads(bare)) == set(Settings.model_fields)
    loaded = load(_written(tmp_path, bare), {}, secrets=False)
    lists = {"egress": (), "keys": (), "upstreams": (), "routes": ()}
    assert loaded.model_copy(update=lists) == Settings()
    assert loaded.upstreams[0].dialect == "emailable"


def test_a_plan_that_does_not_exist_is_a_mistake_of_its_line(here: Here) -> None:
    Path("veriplex.toml").write_text('[limits]\nplan = "stater"\n')
    for command in ("check", "serve"):
        done = here(command)
        assert done.code == EXIT_USAGE
        assert "veriplex.toml, line 2: limits.plan: no plan is named 'stater'" in done.err
        assert "did you mean starter?" in done.err


def test_check_names_the_upstreams_that_are_never_asked(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    upstreams = "".join(
        f'[[upstreams]]\nname = "{name}"\ndialect = "emailable"\napi_key = "env:KEY"\n'
        'base_url = "https://vendor.test/v1"\n'
        for name in ("one", "two", "three")
    )
    settings = f'{upstreams}[routing]\norder = ["local", "one"]\n'
    routes = '[[routes]]\nname = "r"\nkeys = ["k"]\norder = ["two"]\n'
    hint = "routing.order names the sources to ask, and leaves out"
    for text, expected in (
        (settings, f"{hint} two, three"),
        (settings + routes, f"{hint} three"),
        (upstreams, ""),
    ):
        Path("veriplex.toml").write_text(text)
        done = here("check")
        assert done.code == 0
        assert (expected or "engine.helo") in done.err
        assert (hint in done.err) == bool(expected)


def _written(folder: Path, text: str) -> Path:
    path = folder / "template.toml"
    path.write_text(text, encoding="utf-8")
    return path
