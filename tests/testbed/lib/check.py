#!/usr/bin/env python3
"""Hold every scenario against the wire: dig for DNS, a plain SMTP dialogue for mail.

A row's "dns" says what `dig MX` must show, "mx_a" the same for the address of the best MX host;
its "attempts" say what a dialogue with each listed address must end in: stage (connect, banner,
ehlo, mail, rcpt) and code (a reply code, or refused, timeout, closed, garbage). Extra keys of an
attempt:

  text       pattern the reply must contain        wait      sleep before connecting
  min_s      least seconds the dialogue may take   helo      HELO name to use
  parallel   open that many connections at once; one at least must get `code`
  more       further recipients in the same transaction, with their codes
  sender     "new": a sender address never used before (for greylisting)

Exit status 0 when every row holds.
"""

from __future__ import annotations

import argparse
import json
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

SERVER = "127.0.0.153"
SENDER = "probe@verifier.test"
HELO = "probe.verifier.test"
TIMEOUT_S = 4.0

Row = dict[str, Any]
Record = list[str]
"""Type and data, as dig prints them."""


class Answer(NamedTuple):
    status: str
    records: list[Record]
    authority: list[Record]
    truncated: bool

    def data(self, kind: str) -> list[str]:
        return [data for type_, data in self.records if type_ == kind]


class Result(NamedTuple):
    stage: str
    code: int | str
    text: str = ""


class Client(smtplib.SMTP):
    """smtplib's client, connected step by step; STARTTLS wants a name, which it keeps here."""

    def __init__(self, ip: str) -> None:
        super().__init__(timeout=TIMEOUT_S)
        self._host = ip


def dig(name: str, kind: str) -> Answer:
    options = ["+noall", "+comments", "+answer", "+authority", "+tries=1", "+timeout=3"]
    command = ["dig", f"@{SERVER}", *options, name, kind]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    status = re.search(r"status: (\w+)", shown)
    records: list[Record] = []
    authority: list[Record] = []
    part: list[Record] | None = None
    for line in shown.splitlines():
        if line.startswith(";; ANSWER"):
            part = records
        elif line.startswith(";; AUTHORITY"):
            part = authority
        elif line and not line.startswith(";") and part is not None:
            part.append(line.split(None, 4)[3:])
    return Answer(status[1] if status else "NONE", records, authority, "Truncated" in shown)


def ascii_domain(domain: str) -> str:
    return domain if domain.isascii() else domain.encode("idna").decode()


def describe_dns(domain: str) -> tuple[str, list[str]]:
    """One line for the MX answer, and the addresses to try in order."""
    answer = dig(domain, "MX")
    exchangers = sorted(
        (int(preference), host.lower()) for preference, host in map(str.split, answer.data("MX"))
    )
    shown = [f"CNAME {target}" for target in answer.data("CNAME")]
    if answer.status != "NOERROR":
        return answer.status, []
    if exchangers == [(0, ".")]:
        return "; ".join([*shown, "NULLMX"]), []
    if not exchangers:
        if any(kind == "NS" for kind, _ in answer.authority):
            return "REFERRAL", []
        return "NODATA", dig(domain, "A").data("A")
    route = [ip for _, host in exchangers for ip in dig(host, "A").data("A")]
    if len(exchangers) < 10:
        shown.append("MX " + ", ".join(f"{n} {host}" for n, host in exchangers))
    else:
        shown.append(f"MX x{len(exchangers)}")
    if answer.truncated:
        shown.append("TCP")
    return "; ".join(shown), route


def talk(
    ip: str, address: str, helo: str = HELO, more: Sequence[str] = (), sender: str = SENDER
) -> list[Result]:
    """What the recipient and each of `more` came to."""
    client = Client(ip)
    steps: list[str] = ["connect"]
    try:
        return _dialogue(client, steps, ip, address, helo, more, sender)
    except ConnectionRefusedError:
        return [Result(steps[-1], "refused")]
    except TimeoutError:
        return [Result(steps[-1], "timeout")]
    except (smtplib.SMTPServerDisconnected, ConnectionResetError, BrokenPipeError) as error:
        if isinstance(error.__context__, TimeoutError) or "timed out" in str(error):
            return [Result(steps[-1], "timeout")]
        return [Result(steps[-1], "closed", str(error))]
    except smtplib.SMTPResponseException as error:
        return [Result(steps[-1], "garbage", str(error))]
    finally:
        if client.sock is not None:
            try:
                client.sock.settimeout(1)
                client.sock.sendall(b"QUIT\r\n")
            except OSError:
                pass  # the server has hung up, as some rows want it to
            client.close()


def _dialogue(
    client: Client,
    steps: list[str],
    ip: str,
    address: str,
    helo: str,
    more: Sequence[str],
    sender: str,
) -> list[Result]:
    client.sock = socket.create_connection((ip, 25), TIMEOUT_S)
    client.file = None
    steps.append("banner")
    code, text = client.getreply()
    if code != 220:
        return [_result("banner", code, text)]
    steps.append("ehlo")
    code, text = client.ehlo(helo)
    if code >= 500:
        code, text = client.helo(helo)
    if code != 250:
        return [_result("ehlo", code, text)]
    steps.append("mail")
    local, domain = address.rsplit("@", 1)
    if local.isascii():
        address = f"{local}@{ascii_domain(domain)}"
    options = ""
    if not address.isascii():
        client.command_encoding = "utf-8"
        options = " SMTPUTF8" if client.has_extn("smtputf8") else ""
    code, text = client.docmd("MAIL", f"FROM:<{sender}>{options}")
    if code == 530 and client.has_extn("starttls"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        steps.append("starttls")
        client.starttls(context=context)
        client.ehlo(helo)
        steps.append("mail")
        code, text = client.docmd("MAIL", f"FROM:<{sender}>")
    if code != 250:
        return [_result("mail", code, text)]
    steps.append("rcpt")
    return [_result("rcpt", *client.docmd("RCPT", f"TO:<{one}>")) for one in [address, *more]]


def _result(stage: str, code: int, text: bytes) -> Result:
    return Result(stage, "garbage" if code == -1 else code, text.decode("utf-8", "replace"))


def attempt(address: str, want: Row, fresh: str) -> tuple[bool, str]:
    """Whether the dialogue ended as it should, and what it showed."""
    time.sleep(want.get("wait", 0))
    began = time.monotonic()
    if "parallel" in want:
        codes = burst(want["ip"], want["parallel"])
        shown = f"{want['parallel']} connections: {' '.join(map(str, codes))}"
        return want["code"] in codes and 220 in codes, shown
    more: dict[str, int] = want.get("more", {})
    sender = fresh if want.get("sender") == "new" else SENDER
    first, *others = talk(want["ip"], address, want.get("helo", HELO), list(more), sender)
    spent_s = time.monotonic() - began
    holds = (
        (first.stage, first.code) == (want["stage"], want["code"])
        and re.search(want.get("text", ""), first.text, re.IGNORECASE | re.DOTALL) is not None
        and spent_s >= want.get("min_s", 0)
        and [result.code for result in others] == list(more.values())
    )
    shown = f"{want['ip']} {first.stage}: {first.code} {' / '.join(first.text.splitlines())[:110]}"
    if more:
        shown += f" then {' '.join(str(result.code) for result in others)}"
    if spent_s > 1:
        shown += f" ({spent_s:.1f} s)"
    return holds, shown


def burst(ip: str, count: int) -> list[int]:
    """The codes of the banners of so many connections that are open together."""
    socks = [socket.create_connection((ip, 25), TIMEOUT_S) for _ in range(count)]
    try:
        return [int(sock.recv(200)[:3] or b"0") for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def wrong_traits(domain: str, wanted: dict[str, Any]) -> list[str]:
    wrong = []
    if "spf" in wanted:
        texts = dig(domain, "TXT").data("TXT")
        if any("v=spf1" in text for text in texts) != wanted["spf"]:
            wrong.append("spf")
    if "dmarc" in wanted:
        found = re.search(r"p=(\w+)", " ".join(dig(f"_dmarc.{domain}", "TXT").data("TXT")))
        if (found[1] if found else None) != wanted["dmarc"]:
            wrong.append("dmarc")
    return wrong


def check(row: Row) -> tuple[bool, str]:
    """Whether a scenario holds, and what was seen."""
    if row.get("dns") is None:
        return True, "syntax only, nothing on the wire"
    try:
        seen, problems = _check(row)
    except Exception as error:  # a broken row must not hide the others
        return False, f"{type(error).__name__}: {error}"
    return not problems, "; ".join(seen + problems)


def _check(row: Row) -> tuple[list[str], list[str]]:
    domain = ascii_domain(row["address"].rsplit("@", 1)[1])
    text, route = describe_dns(domain)
    seen, problems = [text], []
    if text != row["dns"]:
        problems.append(f"EXPECTED {row['dns']}")
    if wrong := wrong_traits(domain, row.get("traits", {})):
        problems.append(f"WRONG {','.join(wrong)}")
    if "mx_a" in row:
        best = re.search(r"MX \d+ ([^ ,;]+)", text)
        answer = dig(best[1], "A") if best else Answer("NO MX", [], [], False)
        empty = answer.status == "NOERROR" and not answer.records
        status = "NODATA" if empty else answer.status
        seen.append(f"MX host A: {status}")
        if status != row["mx_a"]:
            problems.append(f"EXPECTED {row['mx_a']}")
    # letters only: postgrey ignores digits and +tags in the sender
    fresh = "".join(chr(97 + int(digit)) for digit in str(time.time_ns())) + "@verifier.test"
    for want in row.get("attempts", []):
        if want["ip"] not in route:
            problems.append(f"NOT AN MX {want['ip']}")
        holds, shown = attempt(row["address"], want, fresh)
        seen.append(shown)
        if not holds:
            expected = (str(want.get(key, "")) for key in ("stage", "code", "text"))
            problems.append(f"EXPECTED {' '.join(expected)}")
    return seen, problems


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="default: the testbed's scenarios.json")
    parser.add_argument("--only", default="", metavar="ID[,ID...]")
    args = parser.parse_args()
    files = args.files or [Path(__file__).parents[1] / "scenarios.json"]
    rows = [row for path in files for row in json.loads(path.read_text("utf-8"))["scenarios"]]
    if args.only:
        rows = [row for row in rows if row["id"] in args.only.split(",")]
    failed = 0
    with ThreadPoolExecutor(6) as pool:
        for row, (holds, seen) in zip(rows, pool.map(check, rows), strict=True):
            failed += not holds
            sys.stdout.write(f"{'pass' if holds else 'FAIL'} {row['id']:22} {seen}\n")
    sys.stdout.write(f"{len(rows) - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
