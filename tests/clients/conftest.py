"""A `veriplex serve` of its own for the vendors' published clients to talk to."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.registry import DIALECTS
from tests.mail_testbed import DNS_SERVER

VERIPLEX = Path(sys.executable).parent / "veriplex"

NO_SETTINGS: Mapping[str, str] = {}
TESTBED = {
    "VERIPLEX_ENGINE__DNS_SERVERS": f'["{DNS_SERVER}"]',
    "VERIPLEX_ENGINE__HELO": "probe.verifier.test",
    "VERIPLEX_ENGINE__MAIL_FROM": "probe@verifier.test",
    "VERIPLEX_ENGINE__ALLOW_PRIVATE_NETWORKS": "true",
}


@dataclass(frozen=True)
class Served:
    """A running server, and a live key of each dialect."""

    url: str
    keys: dict[str, str]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """On an empty database, a free port and the mail testbed's DNS."""
    with serving(tmp_path_factory.mktemp("served"), "--port", "0") as running:
        yield running


@contextmanager
def serving(
    folder: Path, *options: str, settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[Served]:
    """`veriplex serve` with its database in `folder`; it must exit with 0 on SIGTERM.

    `settings` are further variables of its environment.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VERIPLEX_")},
        **TESTBED,
        **settings,
        "VERIPLEX_SANDBOX__PUBLISHED": "true",
        "VERIPLEX_STORAGE__URL": f"sqlite:///{folder / 'veriplex.db'}",
    }

    def start(*command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [VERIPLEX, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=environment,
        )

    server = start("serve", *options)
    try:
        assert server.stdout is not None
        listening = next(line for line in server.stdout if line.startswith("listening on "))
        made, _ = start("keys", "create", "--json").communicate(timeout=20)
        keys = [json.loads(line) for line in made.splitlines()]
        yield Served(listening.split()[-1], {key["dialect"]: key["key"] for key in keys})
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert server.returncode == 0


@contextmanager
def _alone_at(address: str) -> Iterator[None]:
    """Wait until no other test, of any process, serves at the address."""
    with open(Path(tempfile.gettempdir()) / f"veriplex-test-{address}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def serving_host_names(
    folder: Path, address: str, settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server at port 443 of a loopback address, with a certificate for all vendors' host names.

    Also the environment for clients, which find it by these names with `node --require ./hosts.js`,
    and in Python with the module `hosts`.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    hosts = [host for dialect in DIALECTS for host in dialect.hosts]
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ",".join(f"DNS:{host}" for host in hosts)
    subject = ["-subj", "/CN=veriplex", "-addext", f"subjectAltName={names}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request.split(), *subject, *files], check=True, capture_output=True)
    options = ["--host", address, "--port", "443"]
    options += ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
    with _alone_at(address), serving(folder, *options, settings=settings) as served:
        assert served.url == f"https://{address}:443"
        yield (
            served,
            {
                "VERIPLEX_ADDRESS": address,
                "VERIPLEX_HOSTS": ",".join(hosts),
                "NODE_EXTRA_CA_CERTS": str(certificate),
                "REQUESTS_CA_BUNDLE": str(certificate),
            },
        )
