"""The two distributions, built and installed, in a project that has our packages' names as well."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest

from veriplex import __version__

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "packaging" / "pytest-veriplex"
OURS = ("engine", "adapters", "gateway")


class Installed(NamedTuple):
    """Environments with the built wheels, and with what this one has besides."""

    both: Path
    plugin_alone: Path
    server_alone: Path

    @staticmethod
    def python(folder: Path) -> Path:
        return folder / "bin" / "python"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's and the plugin's. Built with what is installed here, so without a network."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    for source in (ROOT, PLUGIN):
        subprocess.run(build, cwd=source, check=True, capture_output=True)
    (server,) = folder.glob("veriplex-*.whl")
    (plugin,) = folder.glob("pytest_veriplex-*.whl")
    return server, plugin


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: tuple[Path, Path]) -> Installed:
    server, plugin = wheels
    folder = tmp_path_factory.mktemp("environments")

    def environment(name: str, *given: Path) -> Path:
        made = folder / name
        venv.create(made)
        pip = [sys.executable, "-m", "pip", "--python", str(Installed.python(made)), "install"]
        options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
        subprocess.run([*pip, *options, *given], check=True, capture_output=True)
        (packages,) = made.glob("lib/python*/site-packages")
        dependencies = _without_ours(folder / f"{name}-dependencies")
        (packages / "dependencies.pth").write_text(f"{dependencies}\n")
        return made

    return Installed(
        environment("both", server, plugin),
        environment("plugin", plugin),
        environment("server", server),
    )


def _without_ours(folder: Path) -> Path:
    """What is installed here but for our own distributions, as links."""
    folder.mkdir()
    (packages,) = Path(sys.prefix).glob("lib/python*/site-packages")
    for path in packages.iterdir():
        if "veriplex" not in path.name and path.name != "__pycache__":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project whose packages have the names of ours."""
    folder = tmp_path / "project"
    for name in OURS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("OWNER = 'the project'\n")
    (folder / "conftest.py").touch()
    (folder / "test_signup.py").write_text(
        """
import sys
import urllib.request

import adapters, engine, gateway
from veriplex_pytest import Sandbox


def test_signup(veriplex_sandbox: Sandbox) -> None:
    assert {adapters.OWNER, engine.OWNER, gateway.OWNER} == {"the project"}
    base_url, key = veriplex_sandbox.base_urls["emailable"], veriplex_sandbox.keys["emailable"]
    url = f"{base_url}/verify?email=deliverable@example.com&api_key={key}"
    with urllib.request.urlopen(url) as reply:
        assert b'"state":"deliverable"' in reply.read()
    assert veriplex_sandbox.last(operation="verify")["status"] == 200


def test_the_log_starts_empty(veriplex_sandbox):
    assert veriplex_sandbox.count() == 0
"""
    )
    return folder


def run(
    program: Path, arguments: Sequence[str], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VERIPLEX_", "PYTEST_", "PYTHON", "COV"))
    }
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run_tests(
    environment: Path, project: Path, *, as_command: bool = False, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`python -m pytest`, which puts the project first on sys.path, or `pytest`, which does not."""
    start = ["-P"] if as_command else []
    pytest_ = [*start, "-m", "pytest", "-p", "no:cacheprovider"]
    return run(Installed.python(environment), pytest_, project, **variables)


def put_on_path(folder: Path, name: str, script: str) -> str:
    """A PATH with this command, and without any other that could provide a server."""
    folder.mkdir()
    command = folder / name
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def assert_passed(done: subprocess.CompletedProcess[str]) -> None:
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_wheels_hold_types_licences_and_nothing_else(wheels: tuple[Path, Path]) -> None:
    server, plugin = (set(ZipFile(wheel).namelist()) for wheel in wheels)
    info = f"veriplex-{__version__}.dist-info"
    assert {f"{name}/py.typed" for name in OURS} <= server
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= server
    assert {name.split("/")[0] for name in server} == {*OURS, "veriplex.py", info}
    assert {name for name in plugin if "dist-info" not in name} == {
        "veriplex_pytest/__init__.py",
        "veriplex_pytest/py.typed",
    }
    assert any(name.endswith("licenses/LICENSE") for name in plugin)


@pytest.mark.parametrize("as_command", [False, True], ids=["python -m pytest", "pytest"])
def test_the_server_beside_the_plugin_is_used(
    installed: Installed, project: Path, as_command: bool
) -> None:
    variables = {"PYTHONPATH": "."} if as_command else {}
    assert_passed(run_tests(installed.both, project, as_command=as_command, **variables))


def test_a_server_on_path_is_used(installed: Installed, project: Path, tmp_path: Path) -> None:
    command = installed.server_alone / "bin" / "veriplex"
    path = put_on_path(tmp_path / "bin", "veriplex", f'exec {command} "$@"')
    assert_passed(run_tests(installed.plugin_alone, project, PATH=path, PYTHONPATH="."))


def test_uvx_is_asked_for_a_server(installed: Installed, project: Path, tmp_path: Path) -> None:
    """A stand-in for uvx: it takes the name of a package that has a command of this name."""
    command = installed.server_alone / "bin"
    path = put_on_path(tmp_path / "bin", "uvx", f'name=$1; shift; exec {command}/"$name" "$@"')
    assert_passed(run_tests(installed.plugin_alone, project, PATH=path))


def test_a_given_command_is_used_before_any_other(installed: Installed, project: Path) -> None:
    python = Installed.python(installed.server_alone)
    command = f"/usr/bin/env MARK=1 '{python}' -P -m veriplex"
    assert_passed(run_tests(installed.plugin_alone, project, VERIPLEX_COMMAND=command))
    done = run_tests(installed.both, project, VERIPLEX_COMMAND="/nowhere/veriplex --flag")
    assert "cannot run `/nowhere/veriplex --flag`" in done.stdout
    assert done.returncode == 1


def test_without_a_server_the_three_ways_are_named(
    installed: Installed, project: Path, tmp_path: Path
) -> None:
    path = put_on_path(tmp_path / "bin", "other", "exit 1")
    done = run_tests(installed.plugin_alone, project, PATH=path)
    assert done.returncode == 1
    for way in ("pip install veriplex", "`uvx veriplex`", "VERIPLEX_COMMAND="):
        assert way in done.stdout


def test_a_server_that_does_not_start_is_quoted(installed: Installed, project: Path) -> None:
    command = """sh -c 'echo "port taken" >&2; exit 3'"""
    done = run_tests(installed.both, project, VERIPLEX_COMMAND=command)
    assert done.returncode == 1
    assert "ended with 3" in done.stdout
    assert "port taken" in done.stdout


@pytest.mark.parametrize("how", [("bin/veriplex",), ("bin/python", "-P", "-m", "veriplex")])
def test_the_command_sees_our_packages_and_not_the_projects(
    installed: Installed, project: Path, how: tuple[str, ...]
) -> None:
    program = installed.server_alone / how[0]
    shown = run(program, [*how[1:], "--version"], project, PYTHONPATH=".")
    assert (shown.stdout, shown.stderr) == (f"veriplex {__version__}\n", "")
    assert run(program, [*how[1:], "check"], project, PYTHONPATH=".").returncode == 0
