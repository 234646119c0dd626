"""The vendor that docs/adding-a-vendor.md adds, in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "adding-a-vendor.md").read_text("utf-8")
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "node_modules", "build", "dist"
)
SHOWN = re.findall(r"(?ms)^`([\w/.-]+)`:\n\n```\w+\n(.*?)^```$", PAGE)
"""Names of files, and their content."""
ROW = "acme.DIALECT,"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_COPIED)
    return tmp_path / "copy"


def run(folder: Path, *arguments: str) -> str:
    """Python in a copy of the repository. Fails with the output if that fails."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_the_vendor_that_the_page_adds_passes_the_tests_of_all_dialects(copy: Path) -> None:
    assert f"`{ROW}`" in PAGE
    for name, content in SHOWN:
        path = copy / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(content)
    registry = copy / "adapters" / "registry.py"
    text = registry.read_text("utf-8")
    text = text.replace(
        "from adapters import", "from adapters import acme\nfrom adapters import", 1
    )
    rows, end = text.rsplit("\n)", 1)
    registry.write_text(f"{rows}\n    {ROW}\n){end}", "utf-8")

    run(copy, "-m", "tools.docs")
    suites = ("adapters", "gateway", "test_compat_fixtures.py", "test_docs.py")
    out = run(
        copy, "-m", "pytest", "-q", "-k", "acme", "-p", "no:cacheprovider",
        *(f"tests/{suite}" for suite in suites),
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None
    assert int(passed[1]) > 100
    assert "skipped" not in out
