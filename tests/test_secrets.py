"""Every kind of secret is planted in a running server, and looked for in all of its outputs.

Upstreams, proxies and a receiver of webhooks repeat what they know in every reply. Outputs are
replies of all dialects and of the native API, the request log, metrics, log lines, recorded
fixtures, the database, and what commands print.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from adapters.registry import DIALECTS
from tests.fakes.dns import fake_dns
from tests.fakes.echo import Echo, echo
from tests.fakes.socks import Socks, socks_server

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()")

CURRENT, SPARE, IN_FILE = "up_current_4f1e8c2a", "up-spare/9b7d+31=x", "up_file_c05ad7e19bb2"
NEW_IN_FILE = "up_rotated_7730aa19bb2e"
BASE_URL_PASSWORD, PROXY_PASSWORD = "base-pass%20word!", "proxy:pass%2Fw0rd"
BASE_URL_NAME, PROXY_NAME, EGRESS_NAME = "base-us3r", "proxy%2Fus3r", "egress-us3r"
SOCKS_PASSWORD, ENVIRONMENT_PASSWORD = "socks-passw0rd", "environ-passw0rd"
EGRESS_PASSWORDS = ("egress-passw0rd-1", "egress:pass/w0rd-2", "egress-passw0rd-3")
METRICS_TOKEN = "metrics-t0ken-of-operator"
SHARED_PASSWORD = "shared-passw0rd-of-server"
MAILGUN_KEY, POSTMARK_TOKEN = "mailgun-signing-s3cret", "postmark-t0ken-s3cret"
CONSOLE_PASSWORD, CONSOLE_VIEWER_PASSWORD = "console-passw0rd", "viewers-passw0rd"
HOOK_USER, HOOK_PASSWORD, HOOK_TOKEN = "hook-us3r", "hook-passw0rd", "hook-t0ken-sekrit"

UPSTREAM_SECRETS = {
    "current key": CURRENT,
    "spare key": SPARE,
    "key in a file": IN_FILE,
    "new key in a file": NEW_IN_FILE,
    "password of a base URL": unquote(BASE_URL_PASSWORD),
    "password of a proxy": unquote(PROXY_PASSWORD),
    "name of a base URL": BASE_URL_NAME,
    "name of a proxy": unquote(PROXY_NAME),
    "name of an egress": EGRESS_NAME,
    "password of a SOCKS proxy": SOCKS_PASSWORD,
    "password of the environment's proxy": ENVIRONMENT_PASSWORD,
    **{f"password of egress {n}": word for n, word in enumerate(EGRESS_PASSWORDS)},
    "metrics token": METRICS_TOKEN,
    "shared password": SHARED_PASSWORD,
    "signing key of Mailgun": MAILGUN_KEY,
    "token of Postmark": POSTMARK_TOKEN,
    "password of the console": CONSOLE_PASSWORD,
    "password of its viewers": CONSOLE_VIEWER_PASSWORD,
}
WEBHOOK_SECRETS = {
    "user of a webhook": HOOK_USER,
    "password of a webhook": HOOK_PASSWORD,
    "token of a webhook": HOOK_TOKEN,
}

WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "glued": lambda s: f"abc{s}xyz",
    "quoted": lambda s: quote(s, safe=""),
    "percent": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "escaped": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "html": html.escape,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of a pair": lambda s: base64.b64encode(f"name:{s}".encode()).decode(),
}


# -- looking -----------------------------------------------------------------------------


def readings(text: str) -> Iterator[str]:
    """What somebody who tries can read in a text."""
    yield text
    for _ in range(3):
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = html.unescape(unquote(text)).replace('\\"', '"').replace("\\/", "/")
        yield text
    for word in set(re.findall(r"[A-Za-z0-9+/_-]{12,}", text)):
        for skipped in range(4):
            part = word[skipped:].replace("-", "+").replace("_", "/")
            yield base64.b64decode(part + "A" * (-len(part) % 4)).decode("latin-1")


def revealed(text: str, secrets: dict[str, str]) -> list[str]:
    """Which secrets a text gives away."""
    read = "\n".join(readings(text)).lower()
    return [name for name, secret in secrets.items() if secret.lower() in read]


@pytest.mark.parametrize("way", WAYS)
def test_the_test_sees_secrets_in_every_encoding(way: str) -> None:
    everything = UPSTREAM_SECRETS | WEBHOOK_SECRETS
    for name, secret in everything.items():
        word = WAYS[way](secret)
        for text in (word, json.dumps({"x": word}), f"k={word}&"):
            assert name in revealed(text, everything)


# -- planting ----------------------------------------------------------------------------


def everything_encoded(secrets: dict[str, str]) -> bytes:
    """A JSON document that repeats all secrets in all ways, short enough for a detail in parts."""
    words = [way(secret) for secret in secrets.values() for way in WAYS.values()]
    members = [f'"told{n}":"{word}"' for n, word in enumerate(words)]
    messages = [
        f'"{name}":"no key {" ".join(words[start::7])}"'
        for start, name in enumerate(("message", "error", "Error", "detail", "reason", "status"))
    ]
    return ("{" + ",".join([*messages, *members]) + ',"success":false}').encode()


def settings_text(folder: Path, port: int, proxy_port: int, log_format: str) -> str:
    upstreams = ""
    for number, dialect in enumerate(DIALECTS):
        if dialect.upstream is None:
            continue
        proxy = ("", f"http://{PROXY_NAME}:{PROXY_PASSWORD}@127.0.0.1:{proxy_port}")[number % 2]
        upstreams += f"""
[[upstreams]]
name = "up-{dialect.name}"
dialect = "{dialect.name}"
base_url = "http://{BASE_URL_NAME}:{BASE_URL_PASSWORD}@127.0.0.1:{port}{dialect.base_path}"
api_key = "env:CURRENT"
spare_api_keys = ["env:SPARE", "file:{folder}/key"]
{f'proxy = "{proxy}"' if proxy else ""}
bulk_from = 1
timeout_s = 3.0
balance_every_s = 1.0
record = true
record_to = "{folder}/recorded"
"""
    return f"""
[server]
port = 0
[storage]
url = "sqlite:///{folder}/veriplex.db"
[shared]
url = "redis://127.0.0.1:{port}"
password = "env:SHARED_PASSWORD"
[engine]
allow_private_networks = true
dns_servers = ["127.0.0.1:9"]
command_timeout_s = 0.1
deadline_s = 0.2
[routing]
deadline_s = 1.0
complete = "none"
order = [{", ".join(f'"up-{d.name}"' for d in DIALECTS if d.upstream)}, "up-socks", "local"]
[circuit]
failures = 1000
[sandbox]
published = true
[metrics]
token = "env:METRICS_TOKEN"

[console]
password = "env:CONSOLE_PASSWORD"
viewer_password = "env:CONSOLE_VIEWER_PASSWORD"
[outcomes]
mailgun_signing_key = ["env:MAILGUN_KEY"]
postmark_token = "env:POSTMARK_TOKEN"
[log]
level = "debug"
format = "{log_format}"
{egresses(9, 9)}
{upstreams}
[[upstreams]]
name = "up-socks"
dialect = "emailable"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:CURRENT"
proxy = "env:SOCKS"
"""


def egresses(port: int, other_port: int) -> str:
    """Ways out whose proxies let nobody in."""
    one, two, _ = (quote(word, safe="") for word in EGRESS_PASSWORDS)
    return f"""
[[egress]]
name = "refused"
proxy = "socks5://{EGRESS_NAME}:{one}@127.0.0.1:{port}"
[[egress]]
name = "no-server"
proxy = "socks5://{EGRESS_NAME}:{two}@127.0.0.1:{other_port}"
[[egress]]
name = "by-reference"
proxy = "env:EGRESS"
"""


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CURRENT": CURRENT,
        "SPARE": SPARE,
        "METRICS_TOKEN": METRICS_TOKEN,
        "SHARED_PASSWORD": SHARED_PASSWORD,
        "MAILGUN_KEY": MAILGUN_KEY,
        "POSTMARK_TOKEN": POSTMARK_TOKEN,
        "CONSOLE_PASSWORD": CONSOLE_PASSWORD,
        "CONSOLE_VIEWER_PASSWORD": CONSOLE_VIEWER_PASSWORD,
        "EGRESS": f"socks5://{EGRESS_NAME}:{EGRESS_PASSWORDS[2]}@127.0.0.1:9",
        "SOCKS": f"socks5://su:{SOCKS_PASSWORD}@127.0.0.1:9",
        "HTTPS_PROXY": f"http://eu:{ENVIRONMENT_PASSWORD}@127.0.0.1:9",
    }


class Outputs:
    """All that came out, by where."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    def add_files(self, paths: Iterable[Path]) -> None:
        before = len(self.texts)
        for path in paths:
            self.add(path.name, path.read_bytes().decode("utf-8", "replace"))
        assert len(self.texts) > before

    def check(self, secrets: dict[str, str]) -> None:
        found = {
            f"{where}: {', '.join(names)}\n    {text[:600]}"
            for where, text in self.texts
            if (names := revealed(text, secrets))
        }
        assert not found, "\n".join(sorted(found))


async def run(folder: Path, *arguments: str) -> str:
    """The output of a command, on both streams."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        "--config",
        str(folder / "veriplex.toml"),
        cwd=folder,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return out.decode()


async def make_keys(folder: Path) -> dict[str, str]:
    """Live and test keys of an account of each dialect, by kind and dialect."""
    keys = {}
    for kind, options in (("live", ()), ("test", ("--test",))):
        made = await run(folder, "keys", "create", *options, "--json")
        for line in made.splitlines():
            key = json.loads(line)
            keys[f"{kind} {key['dialect']}"] = key["key"]
    return keys


@contextlib.asynccontextmanager
async def serving(folder: Path, outputs: Outputs) -> AsyncIterator[httpx.AsyncClient]:
    """A server while inside; its streams are outputs."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        "--config",
        str(folder / "veriplex.toml"),
        cwd=folder,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    url = ""
    while not url:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line, (await errors).decode()
        outputs.add("standard output", line)
        if found := re.search(r"listening on (http://[\w.:]+)", line):  # in text or in JSON
            url = found[1]
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        rest = await process.stdout.read()
        outputs.add("standard output", rest.decode())
        outputs.add("log", (await errors).decode())
        await process.wait()


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110  # another process makes it true
            await asyncio.sleep(0.05)


# -- the test ----------------------------------------------------------------------------


AT_FIRST = {name: word for name, word in UPSTREAM_SECRETS.items() if word != NEW_IN_FILE}
"""Without the key that a vendor does not know before it is in its file."""


@pytest.mark.parametrize(
    ("statuses", "log_format"), [((500, 401), "text"), ((200, 403), "json")], ids=["text", "json"]
)
async def test_no_secret_comes_out_of_a_server(
    tmp_path: Path, statuses: tuple[int, int], log_format: str
) -> None:
    (tmp_path / "key").write_text(IN_FILE)
    outputs = Outputs()
    async with (
        echo(status=statuses[0], body=everything_encoded(AT_FIRST)) as upstream,
        echo(status=500, body=everything_encoded(AT_FIRST), repeats_head=True) as receiver,
    ):
        text = settings_text(tmp_path, upstream.port, upstream.port, log_format)
        (tmp_path / "veriplex.toml").write_text(text)
        keys = await make_keys(tmp_path)
        async with serving(tmp_path, outputs) as client:
            traffic = Traffic(client, keys, receiver, outputs)
            await traffic.verify_everywhere()
            (tmp_path / "key").write_text(NEW_IN_FILE)
            upstream.status, upstream.repeats_head = statuses[1], True
            await traffic.submit_batches()
            await traffic.misplace_keys()
            await until(lambda: any(NEW_IN_FILE in head for head in upstream.heads))
            await until(lambda: len(receiver.heads) >= 1)
            upstream.body = everything_encoded(UPSTREAM_SECRETS)
            await traffic.verify_everywhere()
            await traffic.read_what_the_server_shows()
        assert any(CURRENT in head for head in upstream.heads)
        assert any(head.startswith(("GET http:", "POST http:")) for head in upstream.heads)
    outputs.add_files((tmp_path / "recorded").rglob("*.json"))
    outputs.check(UPSTREAM_SECRETS | WEBHOOK_SECRETS | keys)
    stored = Outputs()
    stored.add_files([tmp_path / "veriplex.db"])
    # a webhook that was not delivered yet has to be there
    stored.check(UPSTREAM_SECRETS | keys)


async def test_no_secret_comes_out_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(IN_FILE)
    outputs = Outputs()
    body = everything_encoded(AT_FIRST)
    async with echo(status=401, body=body, repeats_head=True) as upstream:
        text = settings_text(tmp_path, upstream.port, upstream.port, "text")
        (tmp_path / "veriplex.toml").write_text(text)
        keys = await make_keys(tmp_path)
        for command in (
            ("upstreams", "check"),
            ("upstreams", "check", "--json"),
            ("check",),
            ("keys", "list"),
            ("keys", "list", "--json"),
            ("doctor", "--json", "--timeout", "0.5"),
        ):
            outputs.add(" ".join(command), await run(tmp_path, *command))
    assert "…" in outputs.texts[0][1]
    outputs.check(UPSTREAM_SECRETS | keys)


async def test_no_password_of_a_way_out_comes_out(tmp_path: Path) -> None:
    outputs = Outputs()
    zone = {"a.test": {"MX": ["1 mx.a.test."]}, "mx.a.test": {"A": ["127.0.0.2"]}}
    async with fake_dns(zone) as dns, socks_server(Socks("mu", "another")) as socks:
        (tmp_path / "veriplex.toml").write_text(f"""
[server]
port = 0
[storage]
url = "sqlite:///{tmp_path}/veriplex.db"
[engine]
allow_private_networks = true
dns_servers = ["{dns.address}"]
deadline_s = 3.0
[log]
level = "debug"
[metrics]
token = "env:METRICS_TOKEN"
{egresses(socks.port, 9)}
""")
        for command in (
            ("verify", "user@a.test"),
            ("verify", "--json", "user@a.test"),
            ("verify", "--egress", "refused", "user@a.test"),
            ("check",),
            ("doctor", "--json", "--timeout", "0.5"),
        ):
            outputs.add(" ".join(command), await run(tmp_path, *command))
        keys = await make_keys(tmp_path)
        async with serving(tmp_path, outputs) as client:
            bearer = {"Authorization": f"Bearer {keys['live emailable']}"}
            for path in ("verify?email=user@a.test", "standing"):
                reply = await client.get(f"/veriplex/v1/{path}", headers=bearer)
                assert "egress" in reply.text
                outputs.add(path, reply.text)
            token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
            metrics = await client.get("/metrics", headers=token)
            assert "veriplex_egress_faults" in metrics.text
            outputs.add("metrics", metrics.text)
        assert socks.turned_away > 0
    assert "egress refused: the proxy" in outputs.texts[0][1]
    outputs.check(UPSTREAM_SECRETS)
    outputs.add_files([tmp_path / "veriplex.db"])
    outputs.check(UPSTREAM_SECRETS)


class Traffic:
    """What clients do."""

    def __init__(
        self, client: httpx.AsyncClient, keys: dict[str, str], receiver: Echo, outputs: Outputs
    ) -> None:
        self._client = client
        self._keys = keys
        self._receiver = receiver
        self._outputs = outputs
        self._asked = 0

    async def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        reply = await self._client.request(method, url, **options)
        shown = [f"{name}: {value}" for name, value in reply.headers.items()]
        self._outputs.add(f"{method} {url.partition('?')[0]}", "\n".join([*shown, reply.text]))
        return reply

    async def verify_everywhere(self) -> None:
        """Each dialect by its own single call, and by the native API."""
        for kind in ("live", "test"):
            for dialect in DIALECTS:
                key = self._keys[f"{kind} {dialect.name}"]
                self._asked += 1
                email = f"person{self._asked}@example{self._asked}.com"
                for endpoint in dialect.endpoints:
                    for method in endpoint.methods:
                        await self.send(
                            method,
                            f"/{dialect.name}{endpoint.path}",
                            params={
                                **dict.fromkeys(("email", "emailAddress"), email),
                                **dict.fromkeys(("api_key", "apikey", "apiKey"), key),
                            },
                            headers={"Authorization": f"Bearer {key}", "X-API-Key": key},
                            json={"email": email, "apiKey": key} if method != "GET" else None,
                        )
                bearer = {"Authorization": f"Bearer {key}"}
                reply = await self.send(
                    "GET", f"/veriplex/v1/verify?email=native-{email}", headers=bearer
                )
                assert kind == "test" or "attempts" in reply.json()

    async def submit_batches(self) -> None:
        """With webhooks, to a receiver and to URLs that cannot be used."""
        port = self._receiver.port
        for place in (
            f"127.0.0.1:{port}",
            "127.0.0.1:9",
            f"127.0.0.1:{port}\\",
            "[::1",
            f"127.0.0.1:{HOOK_TOKEN}",
        ):
            # the first go to upstreams; the second are seen to be no addresses, so that they end
            for emails in ([f"b{n}@batch.example" for n in range(3)], ["none", "neither"]):
                await self.send(
                    "POST",
                    "/emailable/v1/batch",
                    headers={"Authorization": f"Bearer {self._keys['live emailable']}"},
                    json={
                        "emails": emails,
                        "url": f"http://{HOOK_USER}:{HOOK_PASSWORD}@{place}/cb?token={HOOK_TOKEN}",
                    },
                )

    async def misplace_keys(self) -> None:
        """Keys of others in requests with a test key, whose log shows them."""
        own = self._keys["test emailable"]
        url = f"/emailable/v1/verify?email=a@b.org&api_key={own}"
        for key in self._keys.values():
            words = [way(key) for way in WAYS.values()]
            notes = {f"X-Note-{n}": word for n, word in enumerate(words)}
            await self.send("GET", f"{url}&note={'&note='.join(words)}", headers=notes)
            members = ",".join(f'"{word}": ["{word}"]' for word in words)
            content_type = {"Content-Type": "application/json"}
            await self.send("POST", url, content=f"{{{members}}}", headers=content_type)
            for word in words:
                await self.send("GET", f"/emailable/v1/{word}?api_key={own}&{word}")
            await self.send("GET", f"/nothing/{words[0]}?key={words[0]}", headers=notes)
            await self.send("GET", "/emailable/v1/verify", headers={"Authorization": words[1]})

    async def misuse_events(self) -> None:
        """Of mail services, with the secret and with one that is nearly right."""
        url = "/veriplex/v1/outcomes"
        row = {"RecordType": POSTMARK_TOKEN, "Email": MAILGUN_KEY}
        for token in (POSTMARK_TOKEN, POSTMARK_TOKEN + "x"):
            headers = {"X-Veriplex-Token": token}
            reply = await self.send("POST", f"{url}/postmark", json={**row}, headers=headers)
            assert reply.status_code == (200 if token == POSTMARK_TOKEN else 401)
        signature = {"timestamp": "1", "token": MAILGUN_KEY, "signature": MAILGUN_KEY}
        body = {"signature": signature, "event-data": row}
        assert (await self.send("POST", f"{url}/mailgun", json=body)).status_code == 401

    async def read_what_the_server_shows(self) -> None:
        token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        metrics = await self.send("GET", "/metrics", headers=token)
        assert metrics.status_code == 200
        for name, key in self._keys.items():
            bearer = {"Authorization": f"Bearer {key}"}
            for path in ("requests?limit=1000", "standing", "sandbox", "clock", "faults"):
                reply = await self.send("GET", f"/veriplex/v1/{path}", headers=bearer)
                if name == "test emailable" and path.startswith("requests"):
                    assert len(reply.json()["requests"]) >= 20
        await self.misuse_events()
        for path in ("livez", "readyz", "metrics", "veriplex/v1/requests"):
            await self.send("GET", f"/{path}")
