#!/usr/bin/env python3
"""Write every server's native configuration under the state directory.

usage: render.py SOURCE_DIR STATE_DIR [EXTRA_DIR]

EXTRA_DIR may hold mailboxes.tsv, odd.json, postfix-master.cf.in, zones/*.zone and
zones/unloaded.txt in the same form as here; they are added to what is there.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE, STATE = Path(sys.argv[1]), Path(sys.argv[2])
EXTRA = Path(sys.argv[3]) if len(sys.argv) > 3 else None
CONF = SOURCE / "conf"

Boxes = dict[str, str]
"""By address, what RCPT is answered: `ok`, `quota`, or the reply."""


def write(text: str, *parts: str) -> Path:
    path = STATE.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split("\t")


def present(name: str) -> list[Path]:
    """The file of this name in `conf/` and, if it has one, in EXTRA_DIR."""
    places = [CONF / name] + ([EXTRA / name] if EXTRA else [])
    return [path for path in places if path.exists()]


def expand(address: str) -> list[str]:
    """`u[000-499]@example` stands for 500 addresses."""
    found = re.search(r"\[(\d+)-(\d+)\]", address)
    if not found:
        return [address]
    low, high = found.groups()
    return [
        address[: found.start()] + str(n).zfill(len(low)) + address[found.end() :]
        for n in range(int(low), int(high) + 1)
    ]


def template(name: str, **values: str) -> str:
    text = (CONF / name).read_text("utf-8").replace("@DIR@", str(STATE))
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def any_user(address: str) -> str:
    """How the servers' tables write every user of a domain."""
    return address.replace("*@", "@", 1)


def load_mailboxes() -> tuple[dict[str, Boxes], dict[str, list[str]]]:
    """By server, its mailboxes and its domains."""
    boxes: dict[str, Boxes] = defaultdict(dict)
    domains: dict[str, dict[str, None]] = defaultdict(dict)
    for path in present("mailboxes.tsv"):
        for server, address, outcome in rows(path):
            domains[server][address.rsplit("@", 1)[1]] = None
            if outcome != "none":
                boxes[server].update(dict.fromkeys(expand(address), outcome))
    return boxes, {server: list(names) for server, names in domains.items()}


def postfix(boxes: Boxes, domains: list[str]) -> None:
    known = [any_user(address) for address, outcome in boxes.items() if outcome == "ok"]
    refused = [(address, outcome) for address, outcome in boxes.items() if outcome != "ok"]
    write("".join(f"{domain} x\n" for domain in domains), "postfix", "domains")
    write("".join(f"{address} x\n" for address in known), "postfix", "mailboxes")
    write("".join(f"{address} {reply}\n" for address, reply in refused), "postfix", "replies")
    write(template("postfix-main.cf.in"), "postfix", "main.cf")
    listeners = template("postfix-master.cf.in")
    for path in present("postfix-master.cf.in")[1:]:
        listeners += path.read_text("utf-8").replace("@DIR@", str(STATE))
    write(listeners, "postfix", "master.cf")


def exim(boxes: Boxes, domains: list[str]) -> None:
    write("".join(f"{domain}: x\n" for domain in domains), "exim", "domains")
    lines = (f"{address}: {outcome}\n" for address, outcome in boxes.items())
    write("".join(lines), "exim", "mailboxes")
    full = [address for address, outcome in boxes.items() if outcome == "quota"]
    for number in range(len(full)):
        write("x" * 79 * 100, "exim", "mail", f"box{number}")
    files = (f"{address}: box{number}\n" for number, address in enumerate(full))
    write("".join(files), "exim", "boxfiles")
    people = list(rows(CONF / "exim-personalities.tsv"))
    write("".join(f"{ip}: {host}\n" for ip, host, *_ in people), "exim", "hostnames")
    write("".join(f"{ip}: {banner}\n" for ip, _, banner, *_ in people), "exim", "banners")
    addresses = " ; ".join(["127.0.0.11", *(ip for ip, *_ in people)])
    write(template("exim.conf.in", EXIM_ADDRESSES=addresses), "exim", "exim.conf")


def opensmtpd(boxes: Boxes, virtual: Boxes, virtual_domains: list[str]) -> None:
    known = [any_user(address) for address, outcome in boxes.items() if outcome == "ok"]
    users = known + [any_user(address) for address, outcome in virtual.items() if outcome == "ok"]
    write("".join(f"{address}\n" for address in known), "opensmtpd", "known")
    write("".join(f"{domain}\n" for domain in virtual_domains), "opensmtpd", "virtual-domains")
    write("".join(f"{address} tbmail\n" for address in users), "opensmtpd", "users")
    refused = [item for item in {**boxes, **virtual}.items() if item[1] != "ok"]
    filters = []
    for number, (address, reply) in enumerate(refused):
        table = write(f"{address}\n", "opensmtpd", f"box{number}")
        filters.append(f"table t_box{number} file:{table}")
        match = f"phase rcpt-to match rcpt-to <t_box{number}>"
        filters.append(f'filter "box{number}" {match} reject "{reply}"')
    if refused:
        names = ", ".join(f'"box{number}"' for number in range(len(refused)))
        filters.append(f'filter "boxes" chain {{ {names} }}')
    use = 'filter "boxes"' if refused else ""
    conf = template("smtpd.conf.in", FILTERS="\n".join(filters), USE_FILTER=use)
    write(conf, "opensmtpd", "smtpd.conf")


def dns() -> None:
    zones = STATE / "dns" / "zones"
    shutil.rmtree(zones, ignore_errors=True)
    zones.mkdir(parents=True)
    conf = template("nsd.conf.in")
    for root in (SOURCE, EXTRA):
        folder = root / "zones" if root else None
        for path in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
            if path.name == "unloaded.txt":
                for zone in path.read_text("utf-8").split():
                    conf += f'zone:\n    name: "{zone}"\n    zonefile: "{zone}.absent"\n'
                continue
            shutil.copyfile(path, zones / path.name)
            if path.suffix == ".zone":
                conf += f'zone:\n    name: "{path.stem}"\n    zonefile: "{path.name}"\n'
    write(conf, "dns", "nsd.conf")


def private_etc() -> None:
    """Files that the servers see in place of the system's (in their own mount view)."""
    resolv = "nameserver 127.0.0.153\nlookup file bind\noptions timeout:1 attempts:2\n"
    write(resolv, "etc", "resolv.conf")
    # the prober's name as in DNS, without a query for every connection
    write("127.0.0.1 probe.verifier.test\n", "etc", "hosts")
    passwd, group = Path("/etc/passwd").read_text("utf-8"), Path("/etc/group").read_text("utf-8")
    users = ["Debian-exim", "opensmtpd", "opensmtpq", "postgrey", "tbmail"]
    for ident, name in enumerate(users, 64300):
        if not re.search(rf"(?m)^{name}:", passwd):
            passwd += f"{name}:x:{ident}:{ident}::{STATE}/empty:/usr/sbin/nologin\n"
        if not re.search(rf"(?m)^{name}:", group):
            group += f"{name}:x:{ident}:\n"
    write(passwd, "etc", "passwd")
    write(group, "etc", "group")


def listeners() -> None:
    """The addresses that `up` waits for, and the tables of the scripted servers."""
    master = (STATE / "postfix" / "master.cf").read_text("utf-8")
    found = set(re.findall(r"(?m)^(127\.[\d.]+):25 inet", master))
    found |= {"127.0.0.11", "127.0.0.12", "127.0.0.13"}
    found |= {ip for ip, *_ in rows(CONF / "exim-personalities.tsv")}
    for number, path in enumerate(present("odd.json")):
        table = json.loads(path.read_text("utf-8"))
        found |= {ip for ip, profile in table.items() if not profile.get("backlog_full")}
        write(json.dumps(table), "odd", f"{number}.json")
    in_order = sorted(found, key=lambda ip: [int(part) for part in ip.split(".")])
    write("".join(f"{ip}\n" for ip in in_order), "run", "listeners")


def main() -> None:
    boxes, domains = load_mailboxes()
    postfix(boxes["postfix"], domains["postfix"])
    exim(boxes["exim"], domains["exim"])
    opensmtpd(boxes["opensmtpd"], boxes["opensmtpd-virtual"], domains["opensmtpd-virtual"])
    dns()
    private_etc()
    listeners()


if __name__ == "__main__":
    main()
