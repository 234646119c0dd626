"""The nginx and haproxy blocks of docs/operations.md, run in front of a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import PROXY_PATH
from tests.fakes.smtp import CERTIFICATE
from tests.gateway.cli.conftest import Shell
from tests.test_readme import free_port

pytestmark = pytest.mark.proxies

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
CLIENT_ADDRESS = "127.0.0.9"
"""Another one than the proxy's, so that the log shows which of the two is taken."""
PUBLIC_URL = "https://verify.example.com"


def block(language: str) -> str:
    (found,) = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)
    return str(found)


def nginx(folder: Path, port: int, server_port: int) -> list[str]:
    """The command that runs the block as it stands, but for ports and the certificate."""
    text = block("nginx")
    for shown, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/verify.example.com.pem", str(CERTIFICATE)),
        ("/etc/ssl/verify.example.com.key", str(CERTIFICATE)),
        ("/var/log/nginx", str(folder)),
        ("127.0.0.1:8025", f"127.0.0.1:{server_port}"),
    ):
        assert shown in text
        text = text.replace(shown, here)
    temp = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # else another user's, who cannot write here
    head = f"{user}daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
    config = folder / "nginx.conf"
    config.write_text(f"{head}http {{\n{temp}{text}}}\n")
    return ["nginx", "-c", str(config)]


def haproxy(folder: Path, port: int, server_port: int) -> list[str]:
    text = block("haproxy")
    for shown, here in (
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/verify.example.com.pem", str(CERTIFICATE)),
        ("10.0.0.1:8025", f"127.0.0.1:{server_port}"),
        ("10.0.0.2:8025", "127.0.0.1:1"),  # a server that is down
    ):
        assert shown in text
        text = text.replace(shown, here)
    config = folder / "haproxy.cfg"
    config.write_text(text)
    return ["haproxy", "-q", "-f", str(config)]


@contextlib.asynccontextmanager
async def running(command: list[str], port: int) -> AsyncIterator[httpx.AsyncClient]:
    program = shutil.which(command[0], path=PROXY_PATH)
    assert program
    process = await asyncio.create_subprocess_exec(program, *command[1:])
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    transport = httpx.AsyncHTTPTransport(verify=insecure, local_address=CLIENT_ADDRESS)
    try:
        async with httpx.AsyncClient(
            transport=transport,
            base_url=f"https://127.0.0.1:{port}",
            headers={"Host": "verify.example.com"},
        ) as client:
            async with asyncio.timeout(30):
                while not await is_up(client):
                    assert process.returncode is None
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("proxy", [nginx, haproxy], ids=lambda proxy: proxy.__name__)
async def test_the_block_works_as_documented(
    shell: Shell, tmp_path: Path, proxy: Callable[[Path, int, int], list[str]]
) -> None:
    shell.environ |= {
        "VERIPLEX_SERVER__FORWARDED_ALLOW_IPS": "127.0.0.1",
    }
    process = await shell.start("serve", "--port", "0")
    assert process.stdout is not None
    keys = ""
    while not (line := (await process.stdout.readline()).decode()).startswith("listening on "):
        keys += line
    port, server_port = free_port(), int(line.rpartition(":")[2])
    test_key = re.findall(r"test key  (test_\w+)", keys)[0]
    headers = {"Authorization": f"Bearer {test_key}", "X-Forwarded-For": "203.0.113.9"}
    async with running(proxy(tmp_path, port, server_port), port) as client:
        reply = await client.get("/v1/verify?email=role@example.com", headers=headers)
        assert reply.status_code == 200
        for closed in ("/metrics", "/readyz"):
            assert (await client.get(closed)).status_code == 403
        list_ = {"emails": [f"deliverable{n}@example.com" for n in range(40_000)]}
        reply = await client.post("/v1/batch", json=list_, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text  # more than a proxy's own limit of a body
        batch = f"/v1/batch?id={reply.json()['id']}"
        async with asyncio.timeout(60):
            while "download_file" not in (
                shown := (await client.get(batch, headers=headers)).json()
            ):
                assert "id" in shown, shown
        assert shown["download_file"].startswith(f"{PUBLIC_URL}/emailable/v1/downloads/")
    process.terminate()
    _, err = await process.communicate()
    (line,) = [line for line in err.decode().splitlines() if "GET /v1/verify  200" in line]
    assert CLIENT_ADDRESS in line  # neither the proxy's nor what the client says of itself
