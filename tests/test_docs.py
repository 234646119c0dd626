"""The documentation is true: its examples run, its tables and numbers are those of the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer
from veriplex_pytest import Sandbox

from adapters.contract import (
    batch_rules,
    credential,
    filters,
    forms,
    json_values,
    upstream_jobs,
    wire,
)
from adapters.contract.dialect import Dialect
from adapters.kit import csv
from adapters.neverbounce import create
from adapters.registry import DIALECTS
from engine import turns
from engine.dns import mx, resolver, udp
from engine.dns import wire as dns_wire
from engine.model import Reason
from engine.smtp import inquiry, pipe
from engine.smtp import terms as smtp_terms
from gateway.accounts import console_access
from gateway.batches import http_fetch, http_post, outbox, records, runner, uploads, webhooks
from gateway.cli import app
from gateway.doctor import spf
from gateway.outcomes.events import receiver
from gateway.sandbox import account_state, clock, faults, jobs, keys, requests
from gateway.sandbox import webhooks as sandbox_webhooks
from gateway.sandbox_app import open_sandbox
from gateway.settings import Settings
from gateway.upstreams.source import recorder
from gateway.upstreams.transport import client, reply_bounds
from gateway.verdicts import cache, codec, memory
from gateway.web import bodies, edge, mail_events, native_batches, sandbox_control, server
from gateway.web.console import application, batch_upload, visit
from gateway.web.dispatch import create_app
from gateway.web.native_description import CALLS, PREFIX
from tools.docs import TABLES, fill, tables_in

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text("utf-8")
DIALECTS_PAGE = (ROOT / "docs" / "dialects.md").read_text("utf-8")
ENGINE_PAGE = (ROOT / "docs" / "engine.md").read_text("utf-8")
SECURITY_PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")

URL = "http://127.0.0.1:8025"
"""Where the examples expect the server."""


def blocks(page: str, language: str) -> Iterator[str]:
    for block in re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page):
        yield str(block)


def commands(page: Path) -> Iterator[list[str]]:
    """The shell commands of a page, comments and continuations resolved."""
    for block in blocks(page.read_text("utf-8"), "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def veriplex_commands() -> list[list[str]]:
    """Their arguments, without what a shell makes of redirections and pipes."""
    return [
        list(takewhile(lambda word: word not in ("<", ">", "2>", "|", "&"), words[1:]))
        for page in PAGES
        for words in commands(page)
        if words[0] == "veriplex"
    ]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]
    listed: list[str] = []
    for entry in site["nav"]:
        for target in entry.values():
            listed += (
                [target] if isinstance(target, str) else [p for row in target for p in row.values()]
            )
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


EXAMPLES = re.findall(r"(?ms)^```sh\n(curl .*?)^```\n\n```json\n(.*?)\n```$", README)


@pytest.mark.parametrize(("curl", "answer"), EXAMPLES, ids=range(len(EXAMPLES)))
async def test_the_readme_shows_real_answers(curl: str, answer: str) -> None:
    async with (
        open_sandbox(Settings().sandbox.seed) as sandbox,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(sandbox))) as client,
    ):
        reply = await client.send(request_of(curl))
    assert reply.status_code == 200
    assert reply.text == answer


NATIVE_PAGE = (ROOT / "docs" / "native-api.md").read_text("utf-8")
NATIVE_CURLS = [block.strip() for block in blocks(NATIVE_PAGE, "sh")]


@pytest.mark.parametrize("curl", NATIVE_CURLS, ids=range(len(NATIVE_CURLS)))
async def test_the_examples_of_the_native_api_run(curl: str) -> None:
    async with open_sandbox("") as server:
        transport = httpx.ASGITransport(create_app(server))
        async with httpx.AsyncClient(transport=transport) as client:
            reply = await client.send(request_of(curl))
    assert reply.status_code in (200, 202)


def test_the_calls_of_the_native_api_are_those_that_are_described() -> None:
    shown = re.findall(r"^\| `(GET|POST|DELETE) (/veriplex/v1[^`?]*)", NATIVE_PAGE, re.MULTILINE)
    assert sorted(shown) == sorted((call.method, PREFIX + call.path) for call in CALLS)
    (batch,) = blocks(NATIVE_PAGE, "json")
    members = next(iter(CALLS[1].replies(DIALECTS[0])))
    assert list(orjson.loads(batch)) == list(members)


def request_of(curl: str) -> httpx.Request:
    """The request that a curl command of ours sends."""
    words = iter(shlex.split(curl.replace("\\\n", " "))[1:])
    url, headers, body = "", {}, None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        else:
            url = word
    assert url.startswith(URL)
    return httpx.Request("POST" if body else "GET", url, headers=headers, content=body)


@pytest.mark.parametrize("words", veriplex_commands(), ids=" ".join)
def test_commands_that_are_shown_are_understood(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("veriplex", list(words), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
    command.make_context(name, list(words), parent=context)


def test_settings_that_are_shown_can_be_used() -> None:
    shown = [block for page in PAGES for block in blocks(page.read_text("utf-8"), "toml")]
    assert shown
    for block in shown:
        Settings.model_validate(tomllib.loads(block), context={"environ": None})


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), (page, target)
            assert not anchor or anchor in anchors(linked), (page, target)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = heads(page.read_text("utf-8"))
    return {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in found}


def heads(text: str) -> list[str]:
    return re.findall(r"(?m)^#+ (.*)$", text)


def test_files_that_are_named_are_there() -> None:
    for name in ("architecture.md", "engine.md", "security.md"):
        for line in (ROOT / "docs" / name).read_text("utf-8").splitlines():
            folder = ""
            for path in re.findall(r"`((?:[\w<>]+/)*[\w<>]+\.py)`", line):
                # a name without a folder is in the folder of the one before, in a table
                if "/" in path:
                    folder = path.rpartition("/")[0]
                elif line.startswith("|") and folder:
                    path = f"{folder}/{path}"
                else:
                    continue
                assert list(ROOT.glob(path.replace("<dialect>", "*"))), (name, line)


KIB, MIB = 1024, 1024 * 1024

LIMITS = (
    # a phrase of docs/security.md, and the constants that are its numbers, in their order
    ("64 KiB, 100 headers", (edge.MAX_HEAD_BYTES / KIB, edge.MAX_HEADERS)),
    ("of a body | 80 KiB |", ((edge.MAX_HEAD_BYTES + edge.SLICE_BYTES) / KIB,)),
    (
        "of the event loop | 16 KiB of a body, 1 KiB",
        (edge.SLICE_BYTES / KIB, edge.HEAD_SLICE_BYTES / KIB),
    ),
    ("further request | 10 s |", (edge.HEAD_TIMEOUT_S,)),
    ("30 s for a vendor's path, 35 s", (bodies.BODY_TIMEOUT_S, edge.BODY_TIMEOUT_S)),
    ("16,384 at most; the soft limit", (edge.MAX_CONNECTIONS,)),
    ("raised up to 65,536 first", (edge.MAX_DESCRIPTORS,)),
    (
        "10 s; 512 KiB after a head, 32 MiB",
        (
            edge.LINGER_S,
            edge.MAX_LINGER_BYTES_AFTER_HEAD / KIB,
            edge.MAX_LINGER_BYTES / MIB,
        ),
    ),
    ("body in memory | 256 KiB", (bodies.MAX_BYTES_IN_MEMORY / KIB,)),
    (
        "512 MiB; 128 MiB for requests",
        (bodies.MAX_BYTES_IN_FLIGHT / MIB, bodies.MAX_BYTES_OF_STRANGERS / MIB),
    ),
    (
        "| 8 different candidates are looked for in 1,000",
        (credential.MAX_SCANNED_KEYS, credential.MAX_SCANNED_MEMBERS),
    ),
    (
        "| 250,000, 2,000,000 and 300,000;",
        (wire.MAX_JSON_BRACKETS, wire.MAX_JSON_COMMAS, wire.MAX_JSON_MEMBERS),
    ),
    ("of upstreams | 64 |", (json_values.MAX_DEPTH,)),
    (
        "parts of a multipart | 1,000; 51,000 |",
        (forms.MAX_FIELDS, forms.MAX_FORM_FIELDS),
    ),
    ("verifications in flight | 4,000;", (cache.MAX_IN_FLIGHT,)),
    ("at least 16 |", (turns.MIN_SHARE,)),
    ("entries of a batch | 50,000;", (batch_rules.MAX_BATCH_ENTRIES,)),
    ("one entry | 1,000 characters", (batch_rules.MAX_ENTRY_CHARACTERS,)),
    (
        "| 2,000, 1,000 and 1,000 characters",
        (
            records.MAX_URL_CHARACTERS,
            records.MAX_NAME_CHARACTERS,
            records.MAX_COLUMN_NAME_CHARACTERS,
        ),
    ),
    (
        "webhook | 50 of 4,000 characters",
        (http_post.MAX_HEADERS, http_post.MAX_HEADER_CHARACTERS),
    ),
    ("webhooks in flight | 64;", (webhooks.CONCURRENT_DELIVERIES,)),
    ("chunks in flight | 64;", (runner.MAX_CHUNKS_IN_FLIGHT,)),
    ("one webhook | 30 s,", (http_post.TIMEOUT_S,)),
    (
        "a list at a URL | 25 MiB, 60 s, 3 redirects",
        (create.BODY_LIMIT // 2**20, http_fetch.TIMEOUT_S, http_fetch.MAX_REDIRECTS),
    ),
    (
        "filters of an account in one dialect, one value | 1,000; 320 characters",
        (filters.MAX_FILTERS, filters.MAX_VALUE_CHARACTERS),
    ),
    (
        "use by day, filters | 2,000 days of all scopes; 1,000 lists, 4 MiB",
        (
            account_state.MAX_DAYS,
            account_state.MAX_FILTER_LISTS,
            account_state.MAX_FILTER_BYTES // 2**20,
        ),
    ),
    ("lists that are fetched at a time | 8;", (http_fetch.CONCURRENT_FETCHES,)),
    ("due again after 40 s", (outbox.LEASE_S,)),
    ("| 3,000 requests, 12 MiB", (requests.MAX_EXCHANGES, requests.MAX_LOG_BYTES / MIB)),
    ("an answer of the log | 4 MiB", (requests.MAX_PAGE_BYTES / MIB,)),
    (
        "| 1,000, 24 MiB with all their parts; 16 MiB",
        (jobs.MAX_JOBS, jobs.MAX_STORED_BYTES / MIB, jobs.MAX_BATCH_BYTES / MIB),
    ),
    (
        "faults | 1,000; 100 of one scope; their rate limits count 1,000,000 calls",
        (faults.MAX_FAULTS, faults.MAX_FAULTS_OF_SCOPE, faults.MAX_LIMITED_CALLS),
    ),
    (
        "| 8,192 octets, 32,768 octets, 2,000 |",
        (pipe.MAX_LINE_OCTETS, pipe.MAX_REPLY_OCTETS, pipe.MAX_UNREAD_REPLIES),
    ),
    ("| 10; 16 of each family", (mx.MAX_HOSTS, mx.MAX_ADDRESSES_PER_FAMILY)),
    (
        "| 1,000; a session ends after 12 h, a link after 24 h",
        (
            console_access.MAX_TOKENS,
            console_access.SESSION_S / 3600,
            console_access.LINK_S / 3600,
        ),
    ),
    ("a list that is uploaded | 25 MiB", (batch_upload.MAX_FILE_BYTES / 1024**2,)),
    ("not submitted | 50, each", (uploads.MAX_UPLOADS,)),
    ("verified again | 50,000 of", (batch_upload.MAX_RETRIED,)),
    ("the native API | 16 MiB", (native_batches.MAX_BODY_BYTES / 1024**2,)),
    (
        "client | 10 in 10 min, in each process; a network of 64 bits",
        (
            console_access.MAX_FAILED_LOGINS,
            console_access.FAILED_LOGIN_S / 60,
            console_access.IPV6_NETWORK_BITS,
        ),
    ),
    (
        "a form | 256 KiB, 200 fields",
        (visit.MAX_FORM_BYTES / KIB, application.MAX_FORM_FIELDS),
    ),
    ("DNS cache | 40 MiB", (resolver.CACHE_BYTES / MIB,)),
    ("in memory have 80 MiB", (memory.MAX_BYTES / MIB,)),
    ("idle connection between requests | 75 s", (server.KEEP_ALIVE_S,)),
    (
        "events | 4 MiB; 32 MiB of all",
        (mail_events.MAX_EVENT_BYTES / MIB, mail_events.MAX_BYTES_IN_FLIGHT / MIB),
    ),
    (
        "Amazon SNS | 20 a minute, of 64 KiB",
        (receiver.FETCHES_PER_MINUTE, receiver.MAX_CERTIFICATE_BYTES / KIB),
    ),
    ("characters of a line | 1,000,000 each", (csv.MAX_LINES,)),
    (
        "for webhooks | 100; 20 of one scope; 60 s",
        (requests.MAX_WAITERS, requests.MAX_WAITERS_OF_SCOPE, sandbox_control.MAX_WAIT_S),
    ),
    (
        "of a request | 4 KiB of its body, its reply and its query, 8 KiB",
        (requests.MAX_BODY_BYTES / KIB, requests.MAX_HEADERS_CHARACTERS / KIB),
    ),
    ("`serve` | 100 of one scope", (faults.MAX_SLOW_REQUESTS,)),
    ("clocks | 10,000,", (clock.MAX_OWN_CLOCKS,)),
    ("accounts of test keys | 10,000 |", (keys.MAX_ACCOUNTS,)),
    (
        "waiting webhooks | 1,000, 4 MiB",
        (sandbox_webhooks.MAX_DELIVERIES, sandbox_webhooks.MAX_DELIVERIES_BYTES / MIB),
    ),
    ("one attempt | 32,", (sandbox_webhooks.MAX_IN_FLIGHT,)),
    ("the first 2,000 characters", (smtp_terms.MAX_REPLY_CHARACTERS,)),
    (
        "with a result | 200 characters of a reply, 500 of",
        (codec.MAX_TEXT, codec.MAX_HOSTS_TEXT),
    ),
    ("a DNS response | 4,096 octets", (udp.MAX_DATAGRAM,)),
    ("in a name | 8, 16 |", (resolver.MAX_CNAMES, dns_wire.MAX_POINTERS)),
    ("that refuse us | 12 and 3", (inquiry.MAX_TARGETS, inquiry.MAX_REFUSING_HOSTS)),
    ("SPF | 10 look-ups, 2 void", (spf.MAX_LOOKUPS, spf.MAX_VOID_LOOKUPS)),
    (
        "a reply | 256 KiB; 64 MiB",
        (client.MAX_SINGLE_REPLY_BYTES / KIB, upstream_jobs.MAX_RESULT_PAGE_BYTES / MIB),
    ),
    (
        "| 20 interim replies (`",
        (reply_bounds.MAX_INTERIM,),
    ),
    (
        "replies up to 16 KiB, in a thread, one at a time, 32 waiting, 200 files",
        (recorder.MAX_REPLY_BYTES / KIB, recorder.MAX_WAITING, recorder.MAX_FILES),
    ),
)


@pytest.mark.parametrize(("phrase", "values"), LIMITS, ids=[phrase for phrase, _ in LIMITS])
def test_limits_that_are_named_are_those_of_the_code(
    phrase: str, values: tuple[float, ...]
) -> None:
    assert phrase in SECURITY_PAGE
    numbers = re.findall(r"\d[\d,]*", phrase)
    assert [int(number.replace(",", "")) for number in numbers] == list(values)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_filled_from_the_code(page: Path) -> None:
    text = page.read_text("utf-8")
    assert fill(text) == text, "run: python -m tools.docs"


def test_every_table_is_on_one_page() -> None:
    marked = [name for page in PAGES for name in tables_in(page.read_text("utf-8"))]
    assert sorted(marked) == sorted(TABLES)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_every_endpoint_is_in_the_tables(dialect: Dialect) -> None:
    section = DIALECTS_PAGE.split(f"\n## {dialect.name}\n", 1)[1].split("\n## ", 1)[0]
    documented = {
        (method, path)
        for row in re.findall(r"(?m)^\| (`[A-Z]+`.*?) \|", section)
        for method in re.findall(r"`([A-Z]+)`", row)
        for path in re.findall(r"`(/[^`]*)`", row)
    }
    # the text says that each path of dataoorts is also served with a slash at its end
    assert documented == {
        (method, endpoint.path)
        for endpoint in dialect.endpoints
        for method in endpoint.methods
        if not endpoint.path.endswith("/")
    }


def test_every_reason_is_explained() -> None:
    assert set(re.findall(r"(?m)^\| `(\w+)` \| \w+ \|", ENGINE_PAGE)) == set(Reason)


def test_json_that_is_shown_is_json() -> None:
    for page in PAGES:
        for block in blocks(page.read_text("utf-8"), "json"):
            orjson.loads(block)


@pytest.mark.parametrize("page", ["docs/sandbox.md", "packaging/pytest-veriplex/README.md"])
def test_the_pages_name_the_members_of_the_pytest_fixture(page: str) -> None:
    """In its table: all of them, and no others."""
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    public = {name for name in vars(Sandbox) if name[0] != "_"} | {"url", "base_urls", "keys"}
    table = next(rows[i:] for i, row in enumerate(rows) if "`base_urls" in row)
    in_table = {
        name
        for row in table[: table.index(next(r for r in table if "reset(" in r)) + 1]
        for name in re.findall(r"`([a-z_]+)(?=[(`\[])", row)
    }
    assert in_table == public
