"""`veriplex init` and `veriplex check`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from gateway.cli.init import template
from gateway.cli.terminal import EXIT_FAILURE
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


def _written(folder: Path, text: str) -> Path:
    path = folder / "template.toml"
    path.write_text(text, encoding="utf-8")
    return path
