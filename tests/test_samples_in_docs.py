"""The samples that users copy from `docs/`, run as they stand."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
WORKFLOW = (ROOT / "docs" / "github-actions.yml").read_text("utf-8")
PORT = "8025"


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has the command `veriplex`, and none of its settings."""
    command = tmp_path / "bin" / "veriplex"
    command.parent.mkdir()
    run = "from gateway.cli import main; main()"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{run}" "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name[:9] != "VERIPLEX_"}
    return {**kept, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def free_port() -> str:
    """In the place of the workflow's port, which something else may use here."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    return str(port)


def test_the_steps_of_the_workflow_start_a_sandbox(
    tmp_path: Path, on_path: dict[str, str], free_port: str
) -> None:
    """With the shell and its options that a runner uses."""
    workflow = WORKFLOW.replace(PORT, free_port)
    (block,) = re.findall(r"name: Start the sandbox\n +run: \|\n((?: {10}.*\n)+)", workflow)
    script = tmp_path / "step.sh"
    script.write_text(textwrap.dedent(block))
    environment = {**on_path, "VERIPLEX_SERVER__PORT": free_port}
    variables = dict(re.findall(r"^ +(EMAILABLE_\w+): (\S+)$", workflow, re.MULTILINE))
    with (tmp_path / "step.log").open("wb") as log:
        step = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            assert step.wait(60) == 0, (tmp_path / "step.log").read_text()
            reply = httpx.get(
                f"{variables['EMAILABLE_BASE_URL']}/verify?email=deliverable@example.com",
                headers={"Authorization": f"Bearer {variables['EMAILABLE_API_KEY']}"},
            )
            assert reply.json()["state"] == "deliverable"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(step.pid, signal.SIGTERM)


@pytest.mark.nodejs
def test_the_sample_for_node_passes(on_path: dict[str, str]) -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter", "tap", str(ROOT / "docs" / "sandbox.test.js")],
        env=on_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 3" in done.stdout
    assert "# fail 0" in done.stdout
