"""Open-source verifiers compared with ours: same addresses, sink, DNS and machine, in turns.

A run installs them from PyPI and npm into a temporary folder, and calls them as their documentation
says. They check different things; the table says whether a verifier sends a control address. Their
DNS server is the testbed's, in an /etc/resolv.conf of their own (`unshare`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import uvloop

from engine.address.syntax import parse_address
from engine.model import Checks, Verdict
from engine.probe import ProbeEngine
from tests.benchmarks.lists import LIST, job
from tests.benchmarks.probing import DNS, say, there_is_a_testbed
from tests.mail_testbed import CONFIG

OURS_COUNT = 20_000
PEERS_COUNT = 2_000
MANY_A_DOMAIN = 50
A_DOMAIN = (MANY_A_DOMAIN, 1)
"""Addresses of each domain: what is cached for a domain serves fifty, or only one."""
AT_ONCE = (4, 32)
"""Concurrent verifications; the better one counts. Ours has `connections_per_host`, 4."""
INSTALL_S = 180
RUN_S = 120

NPM, PYPI = "npm", "PyPI"


@dataclass(frozen=True, slots=True)
class Peer:
    """A verifier, and the lines of a driver that call it as documented."""

    name: str
    version: str
    registry: str
    call: str
    """JavaScript or Python that defines `one(address)` or `many(addresses, at_once)`; either
    returns whether, or how many, mailboxes were accepted."""
    catch_all: bool = False
    """Whether it sends a control address."""


PEERS: tuple[Peer, ...] = (
    Peer(
        "deep-email-validator",
        "0.1.27",
        NPM,
        """
        const { validate } = require('deep-email-validator')
        const one = async email => (await validate({
          email, sender: 'probe@verifier.test', validateRegex: true, validateMx: true,
          validateTypo: false, validateDisposable: true, validateSMTP: true,
          additionalTopLevelDomains: ['test'],
        })).valid
        """,
    ),
    Peer(
        "email-deep-validator",
        "3.3.0",
        NPM,
        """
        const EmailValidator = require('email-deep-validator')
        const validator = new EmailValidator()
        const one = async email => (await validator.verify(email)).validMailbox
        """,
    ),
    Peer(
        "email-verify",
        "0.2.1",
        NPM,
        """
        const { verify } = require('email-verify')
        const who = { sender: 'probe@verifier.test', fqdn: 'probe.verifier.test' }
        const one = email => new Promise((done, failed) =>
          verify(email, who, (error, info) => error ? failed(error) : done(info.success)))
        """,
    ),
    Peer(
        "py3-validate-email",
        "1.0.5.post2",
        PYPI,
        """
        from validate_email import validate_email
        def one(email):
            return validate_email(
                email, check_blacklist=False, check_dns=True, check_smtp=True,
                smtp_helo_host="probe.verifier.test", smtp_from_address="probe@verifier.test",
            )
        """,
    ),
    *(
        Peer(
            "pigeontrust",
            "0.2.0",
            PYPI,
            f"""
            from pigeontrust import Pigeontrust
            def many(emails, at_once):
                pigeon = Pigeontrust(
                    helo_host="probe.verifier.test", from_address="probe@verifier.test",
                    max_workers=at_once, check_catch_all={catch_all},
                )
                found = pigeon.verify_many(emails)
                return sum(one.verdict.value in ("deliverable", "risky") for one in found)
            """,
            catch_all,
        )
        for catch_all in (False, True)
    ),
)

NOT_MEASURED: tuple[tuple[str, str], ...] = (
    (
        "@emailcheck/email-validator-js (npm)",
        "takes no address under .test, where the sink is, to be one",
    ),
    (
        "listwash (PyPI)",
        "asks nothing about the addresses of a domain that accepts everything, as the sink does",
    ),
    ("check-if-email-exists (Rust)", "is neither in PyPI nor in npm"),
    ("AfterShip email-verifier (Go)", "is neither in PyPI nor in npm"),
    ("truemail (Ruby)", "is neither in PyPI nor in npm"),
)

DRIVERS: dict[str, str] = {
    NPM: """
{call}
const emails = require('fs').readFileSync(0, 'utf8').trim().split('\\n')
const atOnce = Number(process.argv[2])
const main = async () => {{
  await one(emails[0])
  const began = performance.now()
  let next = 0, accepted = 0
  const work = async () => {{
    while (next < emails.length) if (await one(emails[next++])) accepted++
  }}
  await Promise.all(Array.from({{ length: atOnce }}, work))
  console.log(JSON.stringify({{ seconds: (performance.now() - began) / 1000, accepted }}))
  process.exit(0)
}}
main()
""",
    PYPI: """
{call}
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
if "many" not in globals():
    def many(emails, at_once):
        with ThreadPoolExecutor(at_once) as pool:
            return sum(map(bool, pool.map(one, emails)))
emails = sys.stdin.read().split()
many(emails[:1], 1)
began = time.perf_counter()
accepted = many(emails, int(sys.argv[1]))
print(json.dumps({{"seconds": time.perf_counter() - began, "accepted": accepted}}))
""",
}


class CannotRunError(Exception):
    """Why a peer gave no figure."""


def peers(rounds: int, _: float) -> None:
    """Addresses a second through ours and through the others."""
    if not there_is_a_testbed("peers"):
        return
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        commands: dict[Peer, list[str]] = {}
        failed: dict[Peer, str] = {}
        for peer in PEERS:
            try:
                commands[peer] = _installed(peer, Path(folder))
            except CannotRunError as exc:
                failed[peer] = str(exc)
        for a_domain in A_DOMAIN:
            _side_by_side(rounds, a_domain, commands, failed)
    for peer, why in failed.items():
        say(f"{peer.name} {peer.version} ({peer.registry}): not measured: {why}")
    for name, why in NOT_MEASURED:
        say(f"{name}: not measured: {why}")


def _side_by_side(
    rounds: int, a_domain: int, commands: dict[Peer, list[str]], failed: dict[Peer, str]
) -> None:
    """One table; peers that fail are in `failed` afterwards."""
    ours: dict[str, float] = {}
    theirs: dict[Peer, float] = {}
    for _round in range(rounds):
        for name, measure in _ours(a_domain).items():
            ours[name] = max(ours.get(name, 0.0), measure())
        for peer, command in commands.items():
            try:
                rates = [_rate(command, at_once, a_domain) for at_once in AT_ONCE]
                theirs[peer] = max(theirs.get(peer, 0.0), *rates)
            except CannotRunError as exc:
                failed[peer] = str(exc)
    say(
        f"addresses a domain: {a_domain}; all on one sink; best of the rounds, taken in turns;"
        f" theirs at {' or '.join(map(str, AT_ONCE))} at once, whichever is faster"
    )
    say(f"{'verifier':<48} {'control asked':<14} {'addresses/s':>11}")
    for name, per_s in ours.items():
        asked = "no" if name == WITHOUT else "yes"
        say(f"{'veriplex ' + version('veriplex') + ', ' + name:<48} {asked:<14} {per_s:>11,.0f}")
    for peer, per_s in sorted(theirs.items(), key=lambda item: -item[1]):
        ratio = ours[WITH if peer.catch_all else WITHOUT] / per_s
        name = f"{peer.name} {peer.version} ({peer.registry})"
        asked = "yes" if peer.catch_all else "no"
        say(f"{name:<48} {asked:<14} {per_s:>11,.0f}   verify_many: {ratio:.1f} times that")


# -- ours --------------------------------------------------------------------------------

WITHOUT, WITH = "verify_many without it", "verify_many"


def _addresses(count: int, a_domain: int) -> Iterator[str]:
    return (f"user{n}@d{n // a_domain}.sink.test" for n in range(count))


def _through_engine(checks: Checks, wanted: Verdict, a_domain: int) -> float:
    async def verify() -> int:
        accepted = 0

        engine = ProbeEngine.open(CONFIG)
        try:
            addresses = map(parse_address, _addresses(OURS_COUNT, a_domain))
            async for _, found in engine.verify_many(addresses, checks):
                accepted += found.verdict is wanted
        finally:
            await engine.aclose()
        return accepted

    began = time.perf_counter()
    accepted = uvloop.run(verify())
    if accepted != OURS_COUNT:
        raise SystemExit(f"verify_many: {accepted} of {OURS_COUNT} are {wanted}")
    return OURS_COUNT / (time.perf_counter() - began)


def _ours(a_domain: int) -> dict[str, Callable[[], float]]:
    without = Checks(catch_all=False)
    found: dict[str, Callable[[], float]] = {
        WITHOUT: lambda: _through_engine(without, Verdict.DELIVERABLE, a_domain),
        WITH: lambda: _through_engine(Checks(), Verdict.RISKY, a_domain),
    }
    if a_domain == MANY_A_DOMAIN:
        found["durable job"] = lambda: LIST / uvloop.run(job(LIST // a_domain))
    return found


# -- theirs ------------------------------------------------------------------------------


def driver_of(peer: Peer) -> str:
    """The program that calls it."""
    return DRIVERS[peer.registry].format(call=dedent(peer.call))


def _installed(peer: Peer, folder: Path) -> list[str]:
    """The command that runs its driver."""
    here = folder / peer.name.strip("@").replace("/", "-")
    here.mkdir(exist_ok=True)
    wanted = (
        f"{peer.name}@{peer.version}" if peer.registry == NPM else f"{peer.name}=={peer.version}"
    )
    if peer.registry == NPM:
        _run(["npm", "install", "--prefix", str(here), "--ignore-scripts", "--no-audit", wanted])
        interpreter, driver = "node", here / f"driver{peer.catch_all:d}.cjs"
    else:
        _run([sys.executable, "-m", "venv", str(here)])
        interpreter, driver = str(here / "bin/python"), here / f"driver{peer.catch_all:d}.py"
        _run([interpreter, "-m", "pip", "install", "--quiet", wanted])
    driver.write_text(driver_of(peer))
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {DNS.host}\n")
    mounted = f"mount --bind '{resolver}' /etc/resolv.conf && exec \"$@\""
    return [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        mounted,
        "sh",
        interpreter,
        str(driver),
    ]


def _rate(command: Sequence[str], at_once: int, a_domain: int) -> float:
    emails = "\n".join(_addresses(PEERS_COUNT, a_domain))
    report = json.loads(_run([*command, str(at_once)], emails, RUN_S).strip().splitlines()[-1])
    if report["accepted"] != PEERS_COUNT:
        raise CannotRunError(f"it accepts {report['accepted']} of {PEERS_COUNT} addresses")
    return PEERS_COUNT / float(report["seconds"])


def _run(command: Sequence[str], given: str = "", timeout_s: float = INSTALL_S) -> str:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CannotRunError(str(exc)) from exc
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        raise CannotRunError(f"{command[0]}: {words[-1][:200]}")
    return done.stdout
