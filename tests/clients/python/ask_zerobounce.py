"""Asks through an unmodified client, by the vendor's host names, and prints one JSON object.

usage: PYTHONPATH=CLIENT python ask_zerobounce.py KEY FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hosts  # type: ignore[import-not-found]  # noqa: F401 - before any look-up
from zerobouncesdk import ZBValidateBatchElement, ZeroBounce

KNOWN, UNKNOWN, CATCH_ALL = "alice@postfix.test", "nobody@postfix.test", "x85@catchall.test"


def shown(found: Any) -> dict[str, Any]:
    """The fields of a response object, as JSON has them."""
    values: dict[str, Any] = json.loads(json.dumps(vars(found), default=str))
    return values


def failed(ask: Callable[[], Any]) -> str:
    """The message of the exception that is raised, with its class."""
    try:
        return f"none: {shown(ask())}"
    except Exception as exc:  # whatever the client raises
        return f"{type(exc).__name__}: {exc}"


def wait_for(ask: Callable[[str], Any], file_id: str) -> dict[str, Any]:
    while True:
        status = shown(ask(file_id))
        if status["file_status"] not in ("Queued", "Processing"):
            return status
        time.sleep(0.1)


def main(key: str, folder: Path) -> dict[str, Any]:
    client, stranger = ZeroBounce(key), ZeroBounce("0" * 32)
    sent = folder / "people.csv"
    sent.write_text(f"email,name\n{KNOWN},Ada\n{UNKNOWN},Bob\n")
    file_id = client.send_file(str(sent), 1, has_header_row=True).file_id
    status = wait_for(client.file_status, file_id)
    got = client.get_file(file_id, str(folder / "got.csv"))
    scores_id = client.scoring_send_file(str(sent), 1, has_header_row=True).file_id
    found = {
        "known": shown(client.validate(KNOWN)),
        "unknown": shown(client.validate(UNKNOWN, "127.0.0.1")),
        "batch": [
            shown(row)
            for row in client.validate_batch(
                [ZBValidateBatchElement(KNOWN), ZBValidateBatchElement(CATCH_ALL)]
            ).email_batch
        ],
        "credits": shown(client.get_credits()),
        "activity": shown(client.get_activity(KNOWN)),
        "status": status,
        "file": Path(got.local_file_path).read_text(),
        "deleted": shown(client.delete_file(file_id)),
        "scores_deleted": shown(client.scoring_delete_file(scores_id)),
        "wrong": failed(lambda: stranger.validate(KNOWN)),
        "wrong_file": failed(lambda: stranger.send_file(str(sent), 1)),
    }
    if hasattr(client, "find_domain"):
        found["guess"] = shown(client.find_domain(domain="postfix.test"))
    else:
        found["guess"] = shown(client.guess_format("postfix.test", "Ada"))
    if hasattr(client, "add_filter"):
        client.add_filter("block", "email", KNOWN)
        found["filters"] = client.list_filters()
        found["blocked"] = shown(client.validate(KNOWN))
        client.delete_filter("block", "email", KNOWN)
    today = datetime.now(UTC).date()
    found["usage"] = shown(client.get_api_usage(today, today))
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))  # noqa: T201
