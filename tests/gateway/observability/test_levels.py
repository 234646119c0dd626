"""Which loggers write what, in a process that has imported everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.observability.levels import QUIET_LOGGERS

ROOT = Path(__file__).parent.parent.parent.parent

SPEAK = """
import importlib, logging, pathlib, sys

for package in ("engine", "adapters", "gateway"):
    for file in sorted(pathlib.Path(package).rglob("*.py")):
        if "migrations" not in file.parts:
            importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
# imported by their libraries when they are first used
import alembic.runtime.migration, httpcore, sqlalchemy.pool
import uvicorn.protocols.http.httptools_impl

from gateway.observability.logs import set_up_logs
from gateway.settings.server import LogSettings

set_up_logs(LogSettings(level=sys.argv[1]))
uvicorn.Config(None, log_config=None)  # which sets levels of its own in other set-ups
names = list(logging.root.manager.loggerDict)
for name in names:
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger(name), level)(f"{level} of {name}.")
print(*names, sep="\\n")
"""

OWN = ("gateway", "engine", "adapters", "veriplex")


@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_logger_of_a_library_writes_below_warning(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAK, level], cwd=ROOT, capture_output=True, check=True, text=True
    )
    names, written = done.stdout.split(), done.stderr
    ours = [name for name in names if name.partition(".")[0] in OWN]
    libraries = [name for name in names if name not in ours]
    assert {"httpx", "aiohttp.client", "asyncio", "uvicorn.error", "sqlalchemy"} <= {*libraries}
    for name in libraries:
        assert f"debug of {name}." not in written
        assert f"info of {name}." not in written
        is_quiet = any(f"{name}.".startswith(f"{quiet}.") for quiet in QUIET_LOGGERS)
        assert (f"warning of {name}." in written) == (not is_quiet)
    assert "veriplex.request" in ours
    for name in ours:
        assert f"info of {name}." in written
        assert (f"debug of {name}." in written) == (level == "debug")
