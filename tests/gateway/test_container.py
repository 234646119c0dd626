"""The image, the compose file and the workflow, tested without a build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli import readyz, sandbox, serve
from gateway.settings import load

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
LINES = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
WORKFLOW = (ROOT / "docs" / "github-actions.yml").read_text("utf-8")
COMMANDS = {"readyz": readyz, "sandbox": sandbox, "serve": serve}


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def final(name: str) -> list[str]:
    """The instructions of the last stage, which is the image."""
    last = max(n for n, line in enumerate(LINES) if line.startswith("FROM "))
    return [line.removeprefix(name).strip() for line in LINES[last:] if line.startswith(f"{name} ")]


def test_every_copied_file_exists() -> None:
    sources = [
        source
        for copied in instructions("COPY")
        if not copied.startswith("--from=")
        for source in copied.split()[:-1]
    ]
    assert {"requirements.lock", "pyproject.toml", "engine", "adapters", "gateway"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    assert [source for source in sources if f"!{source}" not in ignored] == []


def test_what_the_package_is_built_from_is_copied() -> None:
    copied = " ".join(instructions("COPY")).split()
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    named = re.findall(r"^(?:readme|license-files) = (.+)$", project, re.MULTILINE)
    files = re.findall(r'"([^"]+)"', " ".join(named))
    assert files
    assert set(files) <= set(copied)


def test_nothing_runs_as_root() -> None:
    (user,) = final("USER")
    (created,) = [line for line in final("RUN") if "useradd" in line]
    assert user not in ("root", "0")
    assert created.endswith(f" {user}")
    uid = re.search(r"--uid (\d+)", created)
    assert uid
    assert int(uid[1]) >= 1_000
    order = [line.split()[0] for line in LINES]
    assert order[::-1].index("RUN") > order[::-1].index("USER")


def test_the_locked_requirements_are_installed() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)
    assert [("-r requirements.lock" in line, "--no-deps" in line) for line in installs] == [
        (True, False),
        (False, True),
    ]
    assert re.search(r"^starlette==", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)


def test_the_health_check_runs_readyz() -> None:
    (health,) = final("HEALTHCHECK")
    assert health.endswith('CMD ["veriplex", "readyz"]')
    assert final("ENTRYPOINT") == ['["veriplex"]']
    assert final("CMD") == ['["serve"]']


def test_both_stages_use_the_same_supported_python() -> None:
    images = [line.split()[0] for line in instructions("FROM")]
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.1[1-3]-slim", images[0])


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (COMPOSE, re.findall(r"command: \[(\w+)\]", COMPOSE)),
        (WORKFLOW, re.findall(r"(?m)(?:^ +|until )veriplex (\w+)", WORKFLOW)),
    ],
    ids=["compose", "workflow"],
)
def test_commands_exist_and_the_indentation_is_even(text: str, commands: list[str]) -> None:
    """No YAML parser is among the development dependencies."""
    assert len(commands) >= 2
    assert set(commands) <= set(COMMANDS)
    lines = [line for line in text.splitlines() if line.strip()]
    assert not any("\t" in line for line in lines)
    assert all((len(line) - len(line.lstrip(" "))) % 2 == 0 for line in lines)


def test_the_compose_file_publishes_the_port_of_the_image() -> None:
    (exposed,) = final("EXPOSE")
    ports = re.findall(r'ports: \["([\d.]+):(\d+):(\d+)"\]', COMPOSE)
    assert {inside for _, _, inside in ports} == {exposed}
    assert {host for host, _, _ in ports} == {"127.0.0.1"}
    assert len({outside for _, outside, _ in ports}) == len(ports) == COMPOSE.count("ports:") == 2


def test_the_services_of_the_compose_file_may_call_each_other_by_name() -> None:
    pattern = r"(?m)^  (\w+):\n(?:    .*\n)*?      (VERIPLEX_SERVER__ALLOWED_HOSTS): (\w+)"
    found = re.findall(pattern, COMPOSE)
    assert [service for service, _, _ in found] == ["sandbox", "server"]
    for service, name, value in found:
        assert load(None, environ={name: value}).server.allowed_hosts == (service,)


@pytest.mark.parametrize(
    ("env", "keys"), [({}, []), ({"VERIPLEX_KEYS": "emailable=env:EMAILABLE_API_KEY"}, ["k" * 20])]
)
def test_keys_reach_the_server_of_the_compose_file(env: dict[str, str], keys: list[str]) -> None:
    passed = dict(re.findall(r"(?m)^      (\w+): \$\{\w+:-(.*)\}$", COMPOSE))
    assert set(passed) == {"VERIPLEX_KEYS", "EMAILABLE_API_KEY"}
    settings = load(None, environ={**passed, **env, "EMAILABLE_API_KEY": "k" * 20})
    assert [key.key.value for key in settings.keys] == keys


def test_dependencies_are_installed_by_their_hashes() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-docs.lock"):
        pinned = re.split(r"(?m)^(?=[a-z])", (ROOT / name).read_text("utf-8"))
        assert len(pinned) > 3
        assert all("--hash=sha256:" in one for one in pinned if one.strip()), name


def test_the_workflow_installs_a_commit_of_the_repository() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    source = re.search(r'(?m)^Source = "(.+)"$', project)
    assert source
    (installed,) = re.findall(r"pip install (.+)", WORKFLOW)
    assert re.fullmatch(rf'"veriplex @ git\+{re.escape(source[1])}@[0-9a-f]{{40}}"', installed)
    for page in ("README.md", "docs/index.md"):
        # what is not on PyPI cannot be installed by its name
        assert not re.search(r"install veriplex\b", (ROOT / page).read_text("utf-8"))


def test_the_workflow_uses_the_key_and_the_port_of_the_sandbox() -> None:
    assert "veriplex sandbox --port 8025" in WORKFLOW
    assert "http://127.0.0.1:8025/emailable/v1" in WORKFLOW
    assert "test_7aff7fc0142c65f86a00" in WORKFLOW
