#!/usr/bin/env python3
"""Print the scenario table.   usage: table.py scenarios.json"""

import json
import signal
import sys
from pathlib import Path

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
HEADINGS = {
    "id": "id",
    "address": "address",
    "verdict": "verdict",
    "reason": "reason",
    "server": "server",
}

for row in [HEADINGS, *json.loads(Path(sys.argv[1]).read_text("utf-8"))["scenarios"]]:
    sys.stdout.write(
        f"{row['id']:20} {row['address'][:38]:38} {row['verdict']:14} {row['reason']:18} "
        f"{row['server']}\n"
    )
